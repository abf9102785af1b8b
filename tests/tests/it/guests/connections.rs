//! A guest that ends everybody, on a real server: the host's grants, guards and comparisons hold whatever it asks for.

use std::collections::BTreeMap;

use sereno_core::report::Report;
use sereno_tests::house::House;
use sereno_tests::postgres;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

const GUEST: &str = "end-everybody";

fn house(url: &str, verbs: &str, folder: &std::path::Path) -> House {
    let configuration = format!(
        r#"
version = 1
[database.app]
url = "{url}"
[job.hostile]
plugin = "{GUEST}"
grant = {{ database.app.whole = [{verbs}] }}
guard = {{ max_connections = 1 }}
"#
    );
    House::new(&configuration, folder).unwrap()
}

async fn client(url: &str, user: &str, name: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    PgConnection::connect_with(&options.username(user).application_name(name))
        .await
        .unwrap()
}

fn answers(report: &Report) -> BTreeMap<&str, &str> {
    report
        .findings()
        .map(|finding| (finding.code.as_str(), finding.text.as_str()))
        .collect()
}

#[tokio::test]
async fn a_guest_ends_no_more_than_the_guard_allows_and_nobody_who_is_kept_or_another() {
    let cluster = postgres::shared().unwrap();
    let database = cluster.database("hostile").await.unwrap();
    let role = "DO $$ BEGIN CREATE ROLE hostile_app LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
    cluster.execute(role).await.unwrap();
    let mut clients = Vec::new();
    for (user, name) in [
        ("hostile_app", "a"),
        ("hostile_app", "b"),
        ("postgres", "boss"),
        ("hostile_app", "pg_dump"),
    ] {
        clients.push((name, client(&database.url, user, name).await));
    }
    let folder = tempfile::tempdir().unwrap();
    let report = house(&database.url, r#""read", "terminate""#, folder.path())
        .run("hostile")
        .await
        .unwrap();
    let answers = answers(&report);
    for name in ["a", "b"] {
        assert!(
            answers[&*format!("kill {name}")].starts_with("invalid: "),
            "{answers:#?}"
        );
        for forged in ["earlier", "other"] {
            let answer = answers[&*format!("{forged} {name}")];
            assert_eq!(
                answer, "left: it has gone on since it was looked at",
                "{forged} {name}"
            );
        }
    }
    for name in ["boss", "pg_dump"] {
        assert!(
            answers[&*format!("end {name}")].starts_with("guard: "),
            "{answers:#?}"
        );
        let answer = answers[&*format!("earlier {name}")];
        assert!(answer.contains("is never ended"), "{answer}");
    }
    assert_eq!(answers["end a"], "ended");
    assert!(
        answers["end b"].contains("max_connections allows 1"),
        "{answers:#?}"
    );
    assert!(
        answers
            .iter()
            .filter(|(code, _)| code.starts_with("made up"))
            .all(|(_, text)| *text != "ended")
    );
    for (name, client) in &mut clients {
        assert_eq!(client.ping().await.is_ok(), *name != "a", "{name}");
    }
}

#[tokio::test]
async fn a_guest_without_the_grant_is_not_begun() {
    let database = postgres::shared().unwrap().database("hostile").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let refused = house(&database.url, r#""read""#, folder.path())
        .run("hostile")
        .await;
    let text = format!("{refused:?}");
    assert!(text.contains("terminate"), "{text}");
    assert!(refused.is_err() || text.contains("Refused(Grant"), "{text}");
}
