//! The plugin `slow-queries` on real servers: what is told is what ran between two looks, on PostgreSQL 15 and 18.
//!
//! How counters are subtracted is the plugin's own, and tested there.

use std::fs;
use std::path::Path;

use sereno_core::report::{Finding, Report};
use sereno_tests::house::House;
use sereno_tests::postgres::{self, Cluster};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

fn house(folder: &Path, url: &str) -> House {
    let configuration = format!(
        r#"
version = 1
[database.app]
url = "{url}"
[storage.looks]
url = "file://looks"
[job.statements]
plugin = "slow-queries"
params = {{ database = "app", storage = "looks", mean_over = "1ms", calls_from = 3, share_over = 100.0 }}
grant = {{ database.app.whole = ["read"], storage.looks = ["read", "write", "remove"] }}
"#
    );
    House::new(&configuration, folder).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
async fn say(session: &mut PgConnection, text: &str, times: usize) {
    for _ in 0..times {
        sqlx::raw_sql(AssertSqlSafe(text))
            .execute(&mut *session)
            .await
            .unwrap();
    }
}

fn told(report: &Report) -> Vec<&Finding> {
    report
        .findings()
        // The server also counts what looks at it.
        .filter(|finding| finding.code == "slow-query" && finding.text.contains("generate_series"))
        .collect()
}

fn codes(report: &Report) -> Vec<&str> {
    report.findings().map(|finding| finding.code.as_str()).collect()
}

fn looks(folder: &Path) -> usize {
    fs::read_dir(folder.join("looks/slow-queries/app")).map_or(0, Iterator::count)
}

async fn only_what_ran_between_two_looks_is_told(cluster: &Cluster) {
    let database = cluster.database("statements").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (home, url) = (folder.path(), database.url.as_str());
    fs::create_dir(home.join("looks")).unwrap();
    let mut session = PgConnection::connect(url).await.unwrap();

    let report = house(home, url).run("statements").await.unwrap();
    assert_eq!(codes(&report), ["statements-not-counted"]);
    assert_eq!(looks(home), 0);

    say(&mut session, "CREATE EXTENSION pg_stat_statements", 1).await;
    let early = "SELECT count(early), 'a secret' AS note FROM generate_series(1, 300000) AS early";
    say(&mut session, early, 5).await;
    let planned = house(home, url).plan("statements").await.unwrap();
    assert_eq!(looks(home), 0, "a plan keeps nothing");
    assert_eq!(told(&planned).len(), 1, "{planned:#?}");
    let first = house(home, url).run("statements").await.unwrap();
    assert_eq!(
        (codes(&first)[0], told(&first).len(), looks(home)),
        ("first-look", 1, 1)
    );
    assert!(told(&first)[0].text.contains("early"), "{first:#?}");

    let late = "SELECT max(late), 'another secret' AS note FROM generate_series(1, 300000) AS late";
    say(&mut session, late, 4).await;
    say(&mut session, early, 1).await;
    let second = house(home, url).run("statements").await.unwrap();
    let [finding] = told(&second)[..] else {
        panic!("{second:#?}")
    };
    assert!(
        finding.text.contains("late") && finding.text.contains("in 4 calls"),
        "{finding:#?}"
    );
    let whole = format!("{first:?}{second:?}");
    assert!(!whole.contains("secret"), "a literal left the server: {whole}");
    assert_eq!(looks(home), 2);

    say(&mut session, "SELECT pg_stat_statements_reset()", 1).await;
    let third = house(home, url).run("statements").await.unwrap();
    assert_eq!(told(&third).len(), 0, "{third:#?}");
}

#[tokio::test]
async fn only_what_ran_between_two_looks_is_told_on_the_machines_own_postgres() {
    only_what_ran_between_two_looks_is_told(postgres::shared().unwrap()).await;
}

#[tokio::test]
async fn only_what_ran_between_two_looks_is_told_on_postgres_18() {
    only_what_ran_between_two_looks_is_told(postgres::shared_18().unwrap()).await;
}
