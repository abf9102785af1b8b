//! Whole runs of `usage-report`: what its objects say is what the database says, and old reports go within the guards.
//!
//! How it compares, reckons and draws is tested natively in the plugin.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::{TimeDelta, Utc};
use serde_json::Value as Json;
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome};
use sereno_tests::house::House;
use sereno_tests::postgres;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// A name that would be markup, if anybody let it.
const EVIL: &str = "<script>x</script>";

/// A database that grows, by whichever means, and a folder for its reports.
struct World {
    folder: TempDir,
    url: String,
}

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

impl World {
    async fn new(url: impl AsyncFnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("reports")).unwrap();
        let url = url(folder.path()).await;
        let world = Self { folder, url };
        world
            .execute(&format!(
                "CREATE TABLE orders (id bigint PRIMARY KEY, note text); CREATE INDEX orders_note ON orders (note);
                 CREATE TABLE \"{EVIL}\" (id bigint PRIMARY KEY);"
            ))
            .await;
        world
    }

    async fn both() -> [Self; 2] {
        [
            Self::new(async |folder| format!("sqlite://{}/app.db?mode=rwc", folder.display())).await,
            Self::new(async |_| postgres::shared().unwrap().database("usage").await.unwrap().url).await,
        ]
    }

    fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    async fn execute(&self, text: &str) {
        if self.is_postgres() {
            let mut session = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql(text.to_owned()))
                .execute(&mut session)
                .await
                .unwrap();
        } else {
            let mut session = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql(text.to_owned()))
                .execute(&mut session)
                .await
                .unwrap();
        }
    }

    async fn number(&self, text: &str) -> u64 {
        let found: i64 = if self.is_postgres() {
            let mut session = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql(text.to_owned()))
                .fetch_one(&mut session)
                .await
                .unwrap()
        } else {
            let mut session = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql(text.to_owned()))
                .fetch_one(&mut session)
                .await
                .unwrap()
        };
        u64::try_from(found).unwrap()
    }

    /// So many rows more, from `from` on, each of a KiB or so.
    async fn grow(&self, from: u32) {
        let (series, note) = if self.is_postgres() {
            ("generate_series(1, 500) AS n (i)", "repeat(md5(i::text), 30)")
        } else {
            (
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i FROM n)",
                "hex(randomblob(480))",
            )
        };
        self.execute(&format!(
            "INSERT INTO orders SELECT {from} + i, {note} FROM {series};"
        ))
        .await;
    }

    fn house(&self, keep: u32) -> House {
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{url}"
[directory.here]
path = "."
[storage.reports]
url = "file://reports"
[job.usage]
plugin = "usage-report"
[job.usage.params]
databases = ["app"]
directories = ["here"]
storage = "reports"
keep = {keep}
limits = [{{ database = "app", size = "10 GiB" }}]
[job.usage.grant]
database.app.whole = ["read"]
database.app.tables."*" = ["read"]
directory.here = ["read"]
storage.reports = ["read", "write", "remove"]
"#,
            url = self.url.trim_end_matches("?mode=rwc")
        );
        House::new(&configuration, self.folder.path()).unwrap()
    }

    /// The objects' contents by key.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let folder = self.folder.path().join("reports/usage/usage");
        let Ok(entries) = fs::read_dir(folder) else {
            return BTreeMap::new();
        };
        entries
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect()
    }

    fn newest(&self, end: &str) -> String {
        let objects = self.objects();
        let (_, content) = objects.iter().rfind(|(key, _)| key.ends_with(end)).unwrap();
        String::from_utf8(content.clone()).unwrap()
    }
}

async fn run(house: &House, mode: Mode, days_ago: i64) -> Report {
    let mut request = House::request("usage", mode);
    // The house's clock stands where it was made, and a run that is ahead of it would wait.
    request.scheduled_at = Some(Utc::now() - TimeDelta::days(days_ago) - TimeDelta::hours(1));
    house.submit(request).await.unwrap()
}

#[tokio::test]
async fn what_a_report_says_is_what_the_database_says() {
    for world in World::both().await {
        let house = world.house(60);
        for nth in 0..10 {
            world.grow(nth * 500).await;
            let report = run(&house, Mode::Apply, 9 - i64::from(nth)).await;
            assert_eq!(report.outcome, Outcome::Succeeded, "{report:#?}");
        }
        let json: Json = serde_json::from_str(&world.newest(".json")).unwrap();
        let app = &json["databases"][0];
        let orders = &app["tables"][0];
        assert_eq!(orders["table"], "orders");
        let (size, whole) = if world.is_postgres() {
            (
                "SELECT pg_total_relation_size('orders')",
                "SELECT pg_database_size(current_database())",
            )
        } else {
            (
                "SELECT sum(pgsize) FROM dbstat WHERE name IN ('orders', 'orders_note', 'sqlite_autoindex_orders_1')",
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
            )
        };
        assert_eq!(orders["bytes"], world.number(size).await);
        let bytes = app["bytes"].as_u64().unwrap();
        // The host's own records in the database are written after it was asked.
        assert!(world.number(whole).await.abs_diff(bytes) < 1 << 20);
        assert!(orders["change"].as_i64().unwrap() > 0, "{orders:#}");
        let indexes: Vec<_> = app["indexes"].as_array().unwrap().iter().collect();
        assert!(indexes.iter().any(|index| index["index"] == "orders_note"));
        let limit = &json["capacity"][0];
        assert_eq!(
            (&limit["target"], &limit["state"], &limit["samples"]),
            (&"database.app".into(), &"growing".into(), &10.into())
        );
        for end in [".html", ".md", ".txt"] {
            let page = world.newest(end);
            assert!(page.contains("orders"), "{end}: {page}");
            // Plain text has no markup to be kept from.
            assert_eq!(page.contains(EVIL), end == ".txt", "{end}: {page}");
            assert!(page.contains("10 reports since"), "{end}: {page}");
        }
    }
}

#[tokio::test]
async fn old_reports_go_as_planned_and_a_guard_keeps_the_young() {
    let [world, _] = World::both().await;
    let house = world.house(2);
    for days_ago in [6, 5, 4] {
        run(&house, Mode::Apply, days_ago).await;
    }
    let before = world.objects();
    assert_eq!(before.len(), 12, "all were written just now, and none is old");
    let aged = SystemTime::now() - Duration::from_secs(30 * 86_400);
    for key in before.keys() {
        let path = world.folder.path().join("reports/usage/usage").join(key);
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(aged)).unwrap();
    }
    let plan = run(&house, Mode::Plan, 0).await;
    assert_eq!(world.objects(), before, "a plan changes nothing");
    let done = run(&house, Mode::Apply, 0).await;
    assert_eq!(done.outcome, Outcome::Succeeded);
    let amounts = |report: &Report| -> Vec<_> {
        let effects = report.effects();
        effects
            .map(|effect| (effect.verb.to_string(), effect.planned))
            .collect()
    };
    assert_eq!(
        amounts(&plan),
        [("write".to_owned(), 4), ("remove".to_owned(), 8)]
    );
    assert_eq!(amounts(&done), amounts(&plan));
    let keys: Vec<_> = world.objects().into_keys().collect();
    let old: Vec<_> = before.keys().collect();
    assert_eq!(keys.len(), 8);
    assert_eq!(
        keys[..4].iter().collect::<Vec<_>>(),
        old[8..],
        "the newest of the old stays"
    );
}
