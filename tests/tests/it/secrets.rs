//! Secrets that AWS keeps, asked of moto by the program itself: what they stand for is used, a new value counts from the
//! next run on, and what cannot be read is told without a value.
//!
//! References to variables and files are tested beside `adapters::secrets`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use sereno_tests::house::{plugins_folder, program};
use sereno_tests::moto;
use sqlx::{ConnectOptions as _, Connection as _};

/// The words of a URL that must never be told.
const CANARY: &str = "hunter2";

fn call(service: &str, target: &str, body: &Json) -> String {
    let headers = format!("content-type: application/x-amz-json-1.1\r\nx-amz-target: {target}\r\n");
    let moto = moto::shared().unwrap();
    moto.call(service, &headers, &body.to_string()).unwrap()
}

fn sereno(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(program().unwrap())
        .args(args)
        .arg("--config")
        .arg(folder.join("sereno.toml"))
        .env("SERENO_CACHE_DIR", folder.join("cache"))
        .env("AWS_ENDPOINT_URL", moto::shared().unwrap().endpoint())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "t3st")
        .env("AWS_REGION", "us-east-1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// A database of sessions that are old, and its URL.
async fn database(folder: &Path, name: &str, rows: i64) -> (PathBuf, String) {
    let file = folder.join(format!("{name}-{CANARY}.db"));
    let url = format!("sqlite://{}", file.display());
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql("CREATE TABLE user_sessions (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL);")
        .execute(&mut connection)
        .await
        .unwrap();
    for id in 1..=rows {
        sqlx::query("INSERT INTO user_sessions VALUES (?, '2024-01-01 00:00:00')")
            .bind(id)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    connection.close().await.unwrap();
    (file, url)
}

async fn ids(file: &Path) -> Vec<i64> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = options.connect().await.unwrap();
    sqlx::query_scalar("SELECT id FROM user_sessions ORDER BY id")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn parameters_and_secrets_are_read_at_every_run_and_never_told() {
    let folder = tempfile::tempdir().unwrap();
    let (first, first_url) = database(folder.path(), "first", 3).await;
    let (second, second_url) = database(folder.path(), "second", 4).await;
    let ledger = format!("sqlite://{}/ledger-{CANARY}.db", folder.path().display());
    call(
        "ssm",
        "AmazonSSM.PutParameter",
        &json!({ "Name": "/sereno/ledger", "Type": "SecureString", "Value": ledger }),
    );
    let secret = |url: &str| json!({ "url": url, "port": 5432 }).to_string();
    call(
        "secretsmanager",
        "secretsmanager.CreateSecret",
        &json!({ "Name": "prod/db", "ClientRequestToken": "0123456789abcdef0123456789abcdef", "SecretString": secret(&first_url) }),
    );
    std::os::unix::fs::symlink(plugins_folder().unwrap(), folder.path().join("plugins")).unwrap();
    let configure = |url: &str| {
        let text = format!(
            r#"
version = 1
[ledger]
url = "${{ssm:/sereno/ledger}}"
[database.app]
url = "{url}"
[job.sessions]
plugin = "row-retention"
params = {{ database = "app", table = "user_sessions", column = "updated_at", keep = "7 days" }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
"#
        );
        fs::write(folder.path().join("sereno.toml"), text).unwrap();
    };
    configure("${secretsmanager:prod/db#url}");
    let (exit, said) = sereno(folder.path(), &["run", "sessions"]);
    assert_eq!(exit, Some(0), "{said}");
    assert_eq!(
        (ids(&first).await, ids(&second).await),
        (vec![], vec![1, 2, 3, 4])
    );
    assert!(folder.path().join(format!("ledger-{CANARY}.db")).is_file());
    assert!(!said.contains(CANARY), "{said}");

    call(
        "secretsmanager",
        "secretsmanager.PutSecretValue",
        &json!({ "SecretId": "prod/db", "ClientRequestToken": "1123456789abcdef0123456789abcdef", "SecretString": secret(&second_url) }),
    );
    let (exit, said) = sereno(folder.path(), &["run", "sessions"]);
    assert_eq!(exit, Some(0), "{said}");
    assert_eq!(ids(&second).await, Vec::<i64>::new());

    for (url, why) in [
        (
            "${secretsmanager:prod/db#password}",
            "the secret has no text or number called `password`",
        ),
        ("${secretsmanager:prod/other}", "(ResourceNotFoundException)"),
        ("${ssm:/sereno/other}", "(ParameterNotFound)"),
    ] {
        configure(url);
        let (exit, said) = sereno(folder.path(), &["run", "sessions"]);
        assert_eq!(exit, Some(2), "{said}");
        // A sentence is broken where a terminal's line would end.
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            said.contains(&format!("could not read {url}: ")) && said.contains(why),
            "{said}"
        );
        assert!(!said.contains(CANARY) && !said.contains("t3st"), "{said}");
    }
}
