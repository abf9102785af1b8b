//! How the targets of a configuration are opened: late, with their secrets, and from the configuration's folder.
//!
//! What can be done with an opened one is the conformance suites' matter.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use sereno_adapters::secrets::Secrets;
use sereno_adapters::targets::ConfiguredTargets;
use sereno_core::config;
use sereno_core::name::TargetName;
use sereno_core::ports::database::{DatabaseError, Wanted};
use sereno_core::ports::files::FilesError;
use sereno_core::ports::plugins::Targets;
use sereno_core::value::FileFilter;
use sqlx::{Connection, SqliteConnection};

const CONFIGURATION: &str = r#"
version = 1

[database.app]
url = "sqlite://${env:STATE:-state}/app.db"
upkeep_url = "${env:UPKEEP_URL:-}"

[database.locked]
url = "postgres://app:${env:PASSWORD}@db/app"

[database.sealed]
url = "postgres://app@db/app"
upkeep_url = "postgres://owner:${file:pw}@db/app"

[directory.temp]
path = "temp"
"#;

fn targets(folder: &Path) -> ConfiguredTargets {
    let config = config::parse(CONFIGURATION, folder).unwrap();
    ConfiguredTargets::new(&config, Secrets::new(folder).with_environment(BTreeMap::new()))
}

fn name(text: &str) -> TargetName {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_database_is_opened_from_the_folder_and_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    let url = format!("sqlite://{}/state/app.db?mode=rwc", folder.path().display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE sessions (id INTEGER PRIMARY KEY)")
        .execute(&mut connection)
        .await
        .unwrap();

    let targets = targets(folder.path());
    let first = targets.database(&name("app")).await.unwrap();
    let wanted = |table: &str| Wanted::Table(table.parse().unwrap());
    let missing = first
        .missing(&[wanted("sessions"), wanted("receipts")])
        .await
        .unwrap();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].what.contains("receipts"), "{missing:?}");
    let second = targets.database(&name("app")).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn a_missing_secret_stops_only_who_needs_it_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let targets = targets(folder.path());
    fs::create_dir(folder.path().join("state")).unwrap();
    fs::write(folder.path().join("state/app.db"), "").unwrap();
    assert!(targets.database(&name("app")).await.is_ok());
    let pw = folder.path().join("pw");
    for (database, problem) in [
        (
            "locked",
            "its url: the environment variable PASSWORD is not set".to_owned(),
        ),
        (
            "sealed",
            format!(
                "its upkeep_url: could not read the secret in {}: No such file or directory (os error 2)",
                pw.display()
            ),
        ),
    ] {
        match targets.database(&name(database)).await.map(|_| ()) {
            Err(DatabaseError::Invalid(told)) => assert_eq!(told, problem),
            other => panic!("{other:?}"),
        }
    }
    // Nothing of the failure is kept: the secret may come later.
    fs::write(pw, "hunter2\n").unwrap();
    assert!(targets.database(&name("sealed")).await.is_ok());
}

#[tokio::test]
async fn a_missing_sqlite_file_is_told_with_its_path_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state/app.db");
    let missing = targets(folder.path()).database(&name("app")).await.err().unwrap();
    assert_eq!(
        missing.to_string(),
        format!("the file {} does not exist", file.display())
    );
    assert!(!file.exists());
}

#[tokio::test]
async fn a_directory_is_the_one_that_is_there_now() {
    let folder = tempfile::tempdir().unwrap();
    let temp = folder.path().join("temp");
    let targets = targets(folder.path());
    assert!(matches!(
        targets.directory(&name("temp")).await.map(|_| ()),
        Err(FilesError::NotFound { .. })
    ));
    for file in ["old", "new"] {
        fs::create_dir(&temp).unwrap();
        fs::write(temp.join(file), "x").unwrap();
        let directory = targets.directory(&name("temp")).await.unwrap();
        let page = directory
            .entries(&FileFilter::default(), &[], None, 10)
            .await
            .unwrap();
        assert_eq!(
            page.entries
                .iter()
                .map(|entry| entry.path.clone())
                .collect::<Vec<_>>(),
            [file.as_bytes()]
        );
        fs::rename(&temp, folder.path().join(file)).unwrap();
    }
}

#[tokio::test]
async fn a_target_that_nobody_configured_is_not_found() {
    let targets = targets(Path::new("/srv"));
    let database = targets.database(&name("nothing")).await.err().unwrap();
    assert_eq!(
        database.to_string(),
        "[database.nothing] in the configuration does not exist"
    );
    let directory = targets.directory(&name("nothing")).await.err().unwrap();
    assert_eq!(
        directory.to_string(),
        "[directory.nothing] in the configuration does not exist"
    );
}
