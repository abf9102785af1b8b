//! Partitions that leave their table on real servers: only what sereno detached is archived, only what is archived is dropped, and
//! whatever dies in between, the next run goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::Value as Json;
use sereno_adapters::clock::SeededEntropy;
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome, digest};
use sereno_tests::house::{House, amounts};
use sereno_tests::postgres::{self, Cluster};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// A run that waits for a lock gives up before this.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    folder: TempDir,
    url: String,
    /// In the words of the configuration.
    urls: String,
    /// How many there were.
    runs: AtomicU64,
}

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
fn sql(text: impl Into<String>) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text.into())
}

impl World {
    /// Three partitions that are old, of 1, 2 and 3 rows, and one that is not.
    async fn new(cluster: &Cluster) -> Self {
        let database = cluster.database("partitions").await.unwrap();
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            urls: format!("url = \"{}\"", database.url),
            url: database.url,
            runs: AtomicU64::new(1),
        };
        world
            .execute(
                "CREATE TABLE events (id bigint, at timestamptz NOT NULL, body text, exact numeric, tags text[])
                     PARTITION BY RANGE (at);
                 CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
                 CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
                 CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
                 CREATE TABLE events_4 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2100-01-01');
                 INSERT INTO events SELECT i, t::timestamptz, 'entry ' || i || chr(10) || '\"', i / 3.0, ARRAY['a', NULL]
                     FROM (VALUES (1, '2020-05-05'), (2, '2021-05-05'), (3, '2021-06-06'), (4, '2022-05-05'), (5, '2022-06-06'),
                         (6, '2022-07-07'), (7, '2025-01-01')) AS n (i, t);",
            )
            .await;
        fs::create_dir(world.archive()).unwrap();
        world
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    async fn execute(&self, text: &str) {
        let mut session = self.connect().await;
        sqlx::raw_sql(sql(text)).execute(&mut session).await.unwrap();
    }

    async fn ids(&self, table: &str) -> Vec<i64> {
        let mut session = self.connect().await;
        let text = format!("SELECT id FROM {table} ORDER BY id");
        sqlx::query_scalar(sql(text))
            .fetch_all(&mut session)
            .await
            .unwrap()
    }

    /// Every table of the schema `public` that holds rows itself: `name partition` or `name alone`.
    async fn tables(&self) -> Vec<String> {
        let mut session = self.connect().await;
        let text =
            "SELECT relname || CASE WHEN relispartition THEN ' partition' ELSE ' alone' END FROM pg_class
                    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1";
        sqlx::query_scalar(text).fetch_all(&mut session).await.unwrap()
    }

    /// As if all that is archived had been for longer than its grace.
    async fn grace_is_over(&self) {
        self.execute("UPDATE sereno.detached SET archived_at = archived_at - interval '8 days'")
            .await;
    }

    fn configuration(&self, more: &str) -> String {
        format!(
            r#"
version = 1
[database.app]
{urls}
[storage.archive]
url = "file://archive"
[job.events]
plugin = "partition-retention"
params = {{ database = "app", table = "events", keep = "90 days", archive = "archive", archive_prefix = "old" }}
grant = {{ database.app.tables.events = ["read", "detach", "drop"], storage.archive = ["write"] }}
{more}
"#,
            urls = self.urls
        )
    }

    async fn run(&self) -> Report {
        self.run_with("").await
    }

    /// A new house each time: its clock stands still.
    async fn run_with(&self, more: &str) -> Report {
        let mut house = House::new(&self.configuration(more), self.folder.path()).unwrap();
        // Each house draws ids of its own, as hosts do.
        let seed = self.runs.fetch_add(1, Ordering::Relaxed);
        house.services.entropy = Arc::new(SeededEntropy::new(seed * 1_000));
        house.submit(House::request("events", Mode::Apply)).await.unwrap()
    }

    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.archive()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(self.archive()).unwrap().display().to_string();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    /// The rows of every manifest, by partition; each object is what its manifest says.
    fn archived(&self) -> BTreeMap<String, Vec<i64>> {
        let objects = self.objects();
        let mut found = BTreeMap::<String, Vec<i64>>::new();
        for (name, text) in objects.iter().filter(|(name, _)| is(name, "json")) {
            let manifest: Json = serde_json::from_slice(text).unwrap();
            let mut ids = Vec::new();
            for kept in manifest["objects"].as_array().unwrap() {
                let object = &objects[kept["object"].as_str().unwrap()];
                assert_eq!(kept["sha256"], digest(object), "{name}");
                let mut lines = String::new();
                GzDecoder::new(object.as_slice())
                    .read_to_string(&mut lines)
                    .unwrap();
                ids.extend(lines.lines().map(|line| {
                    let row: Json = serde_json::from_str(line).unwrap();
                    row["id"].as_i64().unwrap()
                }));
            }
            ids.sort_unstable();
            assert_eq!(manifest["rows"], ids.len(), "{name}");
            found
                .entry(manifest["partition"].as_str().unwrap().to_owned())
                .or_default()
                .extend(ids);
        }
        found
    }
}

fn is(name: &str, end: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == end)
}

fn expected(partitions: &[(&str, &[i64])]) -> BTreeMap<String, Vec<i64>> {
    partitions
        .iter()
        .map(|(name, ids)| ((*name).to_owned(), ids.to_vec()))
        .collect()
}

fn all_archived() -> BTreeMap<String, Vec<i64>> {
    expected(&[
        ("events_1", &[1]),
        ("events_2", &[2, 3]),
        ("events_3", &[4, 5, 6]),
    ])
}

/// `VERB DONE`, in the order of the report.
fn done(report: &Report) -> Vec<String> {
    report
        .effects()
        .map(|effect| format!("{} {}", effect.verb, effect.done))
        .collect()
}

fn findings(report: &Report) -> String {
    let texts: Vec<_> = report
        .targets
        .iter()
        .flat_map(|target| &target.findings)
        .map(|finding| format!("{}: {}", finding.code, finding.text))
        .collect();
    texts.join("\n")
}

fn well(report: &Report) {
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:#?}");
}

#[tokio::test]
async fn partitions_go_step_by_step_on_15_and_18_with_a_role_for_rows_and_one_that_owns() {
    for cluster in [postgres::shared().unwrap(), postgres::shared_18().unwrap()] {
        let mut world = World::new(cluster).await;
        let name = world.url.split(['/', '?']).nth(3).unwrap().to_owned();
        world
            .execute(&format!(
                "DO $$ BEGIN CREATE ROLE rows_only LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
                 DO $$ BEGIN CREATE ROLE owns_tables LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
                 GRANT CREATE ON DATABASE {name} TO rows_only; GRANT SELECT ON events TO rows_only;
                 GRANT ALL ON SCHEMA public TO owns_tables;
                 ALTER TABLE events OWNER TO owns_tables; ALTER TABLE events_1 OWNER TO owns_tables;
                 ALTER TABLE events_2 OWNER TO owns_tables; ALTER TABLE events_3 OWNER TO owns_tables;
                 ALTER TABLE events_4 OWNER TO owns_tables;"
            ))
            .await;
        world.urls = format!(
            "url = \"{}\"\nupkeep_url = \"{}\"",
            cluster.url_for(&name, "rows_only"),
            cluster.url_for(&name, "owns_tables")
        );
        let house = House::new(&world.configuration(""), world.folder.path()).unwrap();
        let plan = house.plan("events").await.unwrap();
        well(&plan);
        assert_eq!(world.objects(), BTreeMap::new(), "a plan keeps nothing");
        let report = world.run().await;
        well(&report);
        assert_eq!(amounts(&report), amounts(&plan));
        assert_eq!(done(&report), ["detach 1", "detach 2", "detach 3", "write 6"]);
        assert_eq!(world.ids("events").await, [7]);
        assert_eq!(
            world.tables().await,
            [
                "events_1 alone",
                "events_2 alone",
                "events_3 alone",
                "events_4 partition"
            ]
        );
        assert_eq!(world.archived(), all_archived());
        let again = world.run().await;
        well(&again);
        assert_eq!(done(&again), [""; 0], "their grace is not over");
        world.grace_is_over().await;
        let last = world.run().await;
        well(&last);
        assert_eq!(done(&last), ["drop 1", "drop 2", "drop 3"]);
        assert_eq!(world.tables().await, ["events_4 partition"]);
        assert_eq!(world.archived(), all_archived());
        let nothing = world.run().await;
        assert_eq!(done(&nothing), [""; 0]);
    }
}

#[tokio::test]
async fn a_run_that_is_killed_in_a_detach_is_finished_by_the_next() {
    let world = World::new(postgres::shared().unwrap()).await;
    // Whoever reads the table keeps a detach from ending.
    let mut reader = world.connect().await;
    sqlx::raw_sql("BEGIN; SELECT * FROM events")
        .execute(&mut reader)
        .await
        .unwrap();
    fs::write(world.folder.path().join("sereno.toml"), world.configuration("")).unwrap();
    let plugins = sereno_tests::house::plugins_folder().unwrap();
    std::os::unix::fs::symlink(plugins, world.folder.path().join("plugins")).unwrap();
    let mut run = Command::new(sereno_tests::house::program().unwrap())
        .args(["run", "events"])
        .current_dir(world.folder.path())
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let mut session = world.connect().await;
    let pending = "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)";
    while !sqlx::query_scalar::<_, bool>(pending)
        .fetch_one(&mut session)
        .await
        .unwrap()
    {
        assert!(
            run.try_wait().unwrap().is_none(),
            "the run ended before it detached anything"
        );
        assert!(began.elapsed() < PATIENCE, "nothing was detached");
        tokio::task::yield_now().await;
    }
    run.kill().unwrap();
    run.wait().unwrap();
    // The server notices that its client is gone.
    let busy = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'sereno%' AND datname = current_database())";
    while sqlx::query_scalar::<_, bool>(busy)
        .fetch_one(&mut session)
        .await
        .unwrap()
    {
        assert!(
            began.elapsed() < PATIENCE,
            "the killed run still works in the server"
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(world.ids("events_1").await, [1], "nothing is lost");
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    let report = world.run().await;
    well(&report);
    assert_eq!(done(&report), ["detach 1", "detach 2", "detach 3", "write 6"]);
    assert_eq!(world.ids("events").await, [7]);
    assert_eq!(world.archived(), all_archived());
}

#[tokio::test]
async fn a_long_transaction_is_named_and_makes_nobody_wait() {
    let world = World::new(postgres::shared().unwrap()).await;
    let mut reader = world.connect().await;
    sqlx::raw_sql("BEGIN; SELECT * FROM events")
        .execute(&mut reader)
        .await
        .unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut reader)
        .await
        .unwrap();
    let report = world.run().await;
    well(&report);
    let told = findings(&report);
    assert!(
        told.contains(&format!("process {pid} has been using the table")),
        "{told}"
    );
    assert_eq!(world.archived(), BTreeMap::new());
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    let next = world.run().await;
    well(&next);
    assert_eq!(
        done(&next),
        ["detach 1", "detach 2", "detach 3", "write 6"],
        "{told}"
    );
}

#[tokio::test]
async fn a_host_that_died_between_two_steps_is_made_up_for() {
    let world = World::new(postgres::shared().unwrap()).await;
    well(&world.run().await);
    // It died before it said that the first is detached, and between the drop of the second and its word.
    world
        .execute(
            "UPDATE sereno.detached SET detached_at = NULL, archived_at = NULL, digest = NULL, manifest = NULL
                 WHERE name = 'events_1';
             UPDATE sereno.detached SET dropping_at = now() WHERE name = 'events_2';
             DROP TABLE events_2",
        )
        .await;
    let report = world.run().await;
    well(&report);
    assert_eq!(
        done(&report),
        ["detach 1", "drop 2", "write 1"],
        "each is counted by whoever could"
    );
    assert_eq!(
        world.tables().await,
        ["events_1 alone", "events_3 alone", "events_4 partition"]
    );
    let next = world.run().await;
    assert_eq!(done(&next), [""; 0]);
    world.grace_is_over().await;
    assert_eq!(done(&world.run().await), ["drop 1", "drop 3"]);
    assert_eq!(world.tables().await, ["events_4 partition"]);
}

#[tokio::test]
async fn only_what_sereno_detached_is_ever_dropped() {
    let world = World::new(postgres::shared().unwrap()).await;
    // By hand, before and as if it were one of ours.
    world
        .execute("ALTER TABLE events DETACH PARTITION events_1")
        .await;
    well(&world.run().await);
    assert_eq!(
        world.archived(),
        expected(&[("events_2", &[2, 3]), ("events_3", &[4, 5, 6])])
    );
    // One is another table by now, and one goes by another name.
    world
        .execute(
            "DROP TABLE events_2; CREATE TABLE events_2 (id bigint); INSERT INTO events_2 VALUES (42);
             ALTER TABLE events_3 RENAME TO kept_for_the_lawyers",
        )
        .await;
    world.grace_is_over().await;
    let report = world.run().await;
    well(&report);
    assert_eq!(done(&report), [""; 0]);
    let told = findings(&report);
    assert!(told.contains("another table has its name"), "{told}");
    assert!(told.contains("another name"), "{told}");
    assert_eq!(
        world.tables().await,
        [
            "events_1 alone",
            "events_2 alone",
            "events_4 partition",
            "kept_for_the_lawyers alone"
        ]
    );
    // One that was attached again is a partition like the others, and begins anew.
    world
        .execute(
            "ALTER TABLE kept_for_the_lawyers RENAME TO events_3;
             ALTER TABLE events ATTACH PARTITION events_3 FOR VALUES FROM ('2022-01-01') TO ('2023-01-01')",
        )
        .await;
    let anew = world.run().await;
    assert_eq!(done(&anew), ["detach 3", "write 3"], "{}", findings(&anew));
    assert_eq!(done(&world.run().await), [""; 0], "its grace begins anew");
}

#[tokio::test]
async fn what_is_dropped_is_what_is_in_the_archive() {
    let world = World::new(postgres::shared().unwrap()).await;
    well(&world.run().await);
    world.grace_is_over().await;
    // Somebody changed a row of one; its number of rows is the same.
    world
        .execute("UPDATE events_1 SET body = 'changed' WHERE id = 1")
        .await;
    // Of another, one bit in the archive is another.
    let broken = |name: &&String| name.contains("events_2") && is(name, "gz");
    let objects = world.objects();
    let object = world.archive().join(objects.keys().find(broken).unwrap());
    let whole = fs::read(&object).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    fs::write(&object, &flipped).unwrap();
    let refused = world.run().await;
    assert!(matches!(refused.outcome, Outcome::Refused(..)), "{refused:#?}");
    assert!(
        format!("{refused:?}").contains("is not what was put"),
        "{refused:#?}"
    );
    assert_eq!(
        world.tables().await,
        [
            "events_1 alone",
            "events_2 alone",
            "events_3 alone",
            "events_4 partition"
        ]
    );
    fs::write(&object, &whole).unwrap();
    let report = world.run().await;
    well(&report);
    assert_eq!(
        done(&report),
        ["drop 2", "drop 3", "write 1"],
        "the changed one is archived anew"
    );
    assert_eq!(world.tables().await, ["events_1 alone", "events_4 partition"]);
    world.grace_is_over().await;
    assert_eq!(done(&world.run().await), ["drop 1"]);
}

#[tokio::test]
async fn guards_hold_what_leaves_and_what_is_dropped() {
    let world = World::new(postgres::shared().unwrap()).await;
    let refused = world.run_with("guard = { max_rows = 2 }").await;
    assert!(matches!(refused.outcome, Outcome::Refused(..)), "{refused:#?}");
    assert_eq!(world.ids("events").await, [2, 3, 4, 5, 6, 7], "2 more would be 3");
    let refused = world
        .run_with("guard = { retention_floor = \"20000 days\" }")
        .await;
    assert!(matches!(refused.outcome, Outcome::Refused(..)), "{refused:#?}");
    let refused = world.run_with("guard = { protected = [\"events_2\"] }").await;
    assert!(matches!(refused.outcome, Outcome::Refused(..)), "{refused:#?}");
    assert_eq!(world.ids("events").await, [2, 3, 4, 5, 6, 7]);
    well(&world.run().await);
    world.grace_is_over().await;
    let refused = world.run_with("guard = { max_rows = 3 }").await;
    assert!(matches!(refused.outcome, Outcome::Refused(..)), "{refused:#?}");
    assert_eq!(world.tables().await, ["events_3 alone", "events_4 partition"]);
    assert_eq!(done(&world.run().await), ["drop 3"]);
}
