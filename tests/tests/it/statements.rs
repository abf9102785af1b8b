//! What servers of different versions count, told by plugins: `slow-queries` and `index-upkeep` on PostgreSQL 15 and 18.
//!
//! How counters are subtracted and indexes judged is the plugins' own, and tested there.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

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
[job.indexes]
plugin = "index-upkeep"
params = {{ database = "app", unused_after = "1ms", bytes_from = "1 B" }}
grant = {{ database.app.whole = ["read"], database.app.tables.orders = ["read"] }}
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

/// The use of two indexes, one of which was used once, in the words of the plugin.
async fn uses(cluster: &Cluster) -> Vec<String> {
    let database = cluster.database("indexes").await.unwrap();
    let mut session = PgConnection::connect(&database.url).await.unwrap();
    for text in [
        "CREATE TABLE orders (id integer, note text); CREATE INDEX never ON orders (id); CREATE INDEX once ON orders (note)",
        "SET enable_seqscan = off; SELECT 1 FROM orders WHERE note = 'x'",
        "SELECT pg_stat_force_next_flush()",
    ] {
        say(&mut session, text, 1).await;
    }
    let used = "SELECT count(*) FROM pg_stat_user_indexes WHERE indexrelname = 'once' AND idx_scan = 1";
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    let started = Instant::now();
    while sqlx::query_scalar::<_, i64>(used)
        .fetch_one(&mut other)
        .await
        .unwrap()
        != 1
    {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "the use of an index is never counted"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let report = house(folder.path(), &database.url).run("indexes").await.unwrap();
    let told = report.findings().filter(|finding| finding.code == "index-unused");
    told.map(|finding| finding.text.clone()).collect()
}

#[tokio::test]
async fn the_last_use_of_an_index_is_told_where_the_server_keeps_it() {
    let [never, once] = &uses(postgres::shared().unwrap()).await[..] else {
        panic!("two indexes")
    };
    assert!(
        never.starts_with("never (") && never.contains("was used 0 times since"),
        "{never}"
    );
    assert!(
        once.contains("was used 1 time since") || once.contains("was last used at"),
        "{once}"
    );
    let [never, once] = &uses(postgres::shared_18().unwrap()).await[..] else {
        panic!("two indexes")
    };
    assert!(never.contains("was used 0 times since"), "{never}");
    assert!(once.contains("was last used at"), "{once}");
}
