//! Rows that are archived before they go, on real databases: what is in the archive is what is gone, whatever breaks.
//!
//! How objects are named and marked is tested in core.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use async_trait::async_trait;
use flate2::read::GzDecoder;
use serde_json::Value as Json;
use sereno_core::name::TargetName;
use sereno_core::ports::database::{Archive, DatabaseError, Fence, Purge};
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome, digest};
use sereno_core::value::{Condition, Filter, Operator, Value};
use sereno_tests::house::{House, amounts};
use sereno_tests::postgres;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// 400 entries, one a day: with `keep = "300 days"` the last hundred go.
const ROWS: i64 = 400;
const OLD: std::ops::RangeInclusive<i64> = 301..=400;

struct World {
    folder: TempDir,
    url: String,
}

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

impl World {
    async fn both() -> [Self; 2] {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db?mode=rwc", folder.path().display());
        let sqlite = Self { folder, url };
        sqlite
            .execute(&format!(
                "CREATE TABLE audit_logs (id INTEGER PRIMARY KEY, at TEXT NOT NULL, body TEXT, raw BLOB, part REAL);
                 CREATE INDEX by_age ON audit_logs (at, id);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
                 INSERT INTO audit_logs SELECT i, datetime('now', '-' || (i * 24 - 1) || ' hours'), 'entry ' || i || char(10) || '\"',
                     CASE WHEN i % 2 THEN x'00ff' END, i / 3.0 FROM n;"
            ))
            .await;
        let database = postgres::shared().unwrap().database("archive").await.unwrap();
        let postgres = Self {
            folder: tempfile::tempdir().unwrap(),
            url: database.url,
        };
        postgres
            .execute(&format!(
                "CREATE TABLE audit_logs (id bigint PRIMARY KEY, at timestamptz NOT NULL, body text, raw bytea, part float8,
                     exact numeric, doc jsonb, tags text[], span interval);
                 CREATE INDEX by_age ON audit_logs (at, id);
                 INSERT INTO audit_logs SELECT i, now() - make_interval(hours => i * 24 - 1), 'entry ' || i || chr(10) || '\"',
                     CASE WHEN i % 2 = 1 THEN '\\x00ff'::bytea END, i / 3.0::float8, i / 3.0, jsonb_build_object('i', i),
                     ARRAY['a', NULL, i::text], make_interval(mins => i) FROM generate_series(1, {ROWS}) AS n (i);"
            ))
            .await;
        for world in [&sqlite, &postgres] {
            fs::create_dir(world.archive()).unwrap();
        }
        [sqlite, postgres]
    }

    fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
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

    async fn ids(&self) -> Vec<i64> {
        let text = "SELECT id FROM audit_logs ORDER BY id";
        if self.is_postgres() {
            let mut session = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(text).fetch_all(&mut session).await.unwrap()
        } else {
            let mut session = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(text).fetch_all(&mut session).await.unwrap()
        }
    }

    fn house(&self, guard: &str) -> House {
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{url}"
[storage.archive]
url = "file://archive"
[job.audit]
plugin = "row-retention"
params = {{ database = "app", table = "audit_logs", column = "at", keep = "300 days", archive = "archive", archive_prefix = "old" }}
grant = {{ database.app.tables.audit_logs = ["read", "delete"], storage.archive = ["write"] }}
guard = {{ max_rows_percent = 90{guard} }}
"#,
            url = self.url.trim_end_matches("?mode=rwc")
        );
        House::new(&configuration, self.folder.path()).unwrap()
    }

    /// Every object by its name, wherever it is.
    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.archive()];
        while let Some(folder) = open.pop() {
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
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

    /// The rows of every object that counts.
    fn archived(&self) -> Vec<Json> {
        let objects = self.objects();
        let mut rows = Vec::new();
        for (name, manifest) in objects.iter().filter(|(name, _)| is(name, "json")) {
            let manifest: Json = serde_json::from_slice(manifest).unwrap();
            let object = &objects[manifest["object"].as_str().unwrap()];
            assert_eq!(manifest["sha256"], digest(object), "{name}");
            let lines = lines(object);
            assert_eq!(manifest["rows"], lines.len(), "{name}");
            rows.extend(lines);
        }
        rows.sort_by_key(|row| row["id"].as_i64());
        rows
    }

    /// The lines of all objects, byte for byte.
    fn lines(&self) -> Vec<String> {
        let objects = self.objects();
        let rows = objects.iter().filter(|(name, _)| is(name, "gz"));
        rows.flat_map(|(_, object)| text(object).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    fn archived_ids(&self) -> Vec<i64> {
        self.archived()
            .iter()
            .map(|row| row["id"].as_i64().unwrap())
            .collect()
    }
}

fn is(name: &str, end: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == end)
}

fn text(object: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(object).read_to_string(&mut text).unwrap();
    text
}

fn lines(object: &[u8]) -> Vec<Json> {
    text(object)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn run(house: &House, mode: Mode) -> Report {
    house.submit(House::request("audit", mode)).await.unwrap()
}

fn young() -> Vec<i64> {
    (1..=300).collect()
}

#[tokio::test]
async fn what_is_archived_is_what_is_gone_and_comes_back_as_it_was() {
    for world in World::both().await {
        let house = world.house("");
        if world.is_postgres() {
            world
                .execute("CREATE TABLE before AS SELECT * FROM audit_logs")
                .await;
        }
        let plan = run(&house, Mode::Plan).await;
        assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
        assert_eq!(world.objects(), BTreeMap::new(), "a plan keeps nothing");
        let done = run(&house, Mode::Apply).await;
        assert_eq!(done.outcome, Outcome::Succeeded, "{done:#?}");
        assert_eq!(amounts(&done), amounts(&plan));
        let counts: Vec<_> = done
            .effects()
            .map(|effect| (effect.verb.to_string(), effect.unit.clone(), effect.done))
            .collect();
        assert_eq!(
            counts,
            [
                ("delete".to_owned(), "rows".to_owned(), 100),
                ("write".to_owned(), "rows".to_owned(), 100)
            ]
        );
        assert_eq!(world.ids().await, young());
        assert_eq!(world.archived_ids(), OLD.collect::<Vec<_>>());
        let again = run(&house, Mode::Apply).await;
        assert_eq!(again.effects().map(|effect| effect.done).sum::<u64>(), 0);
        let rows = world.archived();
        assert_eq!(rows.len(), 100);
        assert_eq!(rows[0]["body"], "entry 301\n\"");
        if world.is_postgres() {
            // As it stands there: a number that went through JSON's own would have lost digits.
            let json = format!("[{}]", world.lines().join(",")).replace('\'', "''");
            world
                .execute(&format!(
                    "INSERT INTO audit_logs SELECT * FROM json_populate_recordset(NULL::audit_logs, '{json}');
                     DO $$ BEGIN
                       IF EXISTS (SELECT * FROM before EXCEPT SELECT * FROM audit_logs) THEN RAISE 'not as it was'; END IF;
                     END $$"
                ))
                .await;
            assert_eq!(world.ids().await.len(), 400);
        } else {
            assert_eq!(rows[0]["raw"], serde_json::json!({ "$blob": "00ff" }));
            assert_eq!(rows[1]["raw"], Json::Null);
            assert_eq!(rows[0]["part"].as_f64(), Some(301.0 / 3.0));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_archived_is_not_deleted_and_the_next_delivery_neither_loses_nor_doubles() {
    for world in World::both().await {
        let house = world.house("");
        // Nothing can be put below a file.
        fs::create_dir(world.archive().join("old")).unwrap();
        fs::write(world.archive().join("old/app"), "in the way").unwrap();
        let failed = run(&house, Mode::Apply).await;
        assert!(matches!(failed.outcome, Outcome::Failed(_)), "{failed:#?}");
        assert_eq!(failed.effects().map(|effect| effect.done).sum::<u64>(), 0);
        assert_eq!(world.ids().await.len(), 400);
        fs::remove_file(world.archive().join("old/app")).unwrap();
        let done = run(&house, Mode::Apply).await;
        assert_eq!(done.outcome, Outcome::Succeeded, "{done:#?}");
        assert_eq!(world.ids().await, young());
        assert_eq!(world.archived_ids(), OLD.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_host_that_died_before_it_said_so_is_made_up_for_by_the_databases_record() {
    for world in World::both().await {
        let house = world.house("");
        run(&house, Mode::Apply).await;
        // Died after the rows went: the object has no manifest.
        let objects = world.objects();
        let manifest = objects.keys().find(|name| is(name, "json")).unwrap();
        fs::remove_file(world.archive().join(manifest)).unwrap();
        assert_eq!(world.archived_ids(), Vec::<i64>::new());
        // Died before: rows were put that are still there, under a number that the database never recorded.
        let object = objects.keys().find(|name| is(name, "gz")).unwrap();
        let orphan = object.replace("1-000001-0", "1-000009-3");
        fs::copy(world.archive().join(object), world.archive().join(&orphan)).unwrap();
        let next = run(&house, Mode::Apply).await;
        assert_eq!(next.outcome, Outcome::Succeeded, "{next:#?}");
        assert_eq!(world.archived_ids(), OLD.collect::<Vec<_>>(), "each once");
        let orphans: Vec<_> = world
            .objects()
            .into_keys()
            .filter(|name| name.contains("000009"))
            .collect();
        assert_eq!(orphans, [orphan], "it counts for nothing, and nobody touches it");
    }
}

/// Keeps rows in memory, and fails at some.
#[derive(Default)]
struct Pocket {
    kept: Mutex<Vec<(u32, Vec<String>)>>,
    fails: Mutex<u32>,
}

#[async_trait]
impl Archive for Pocket {
    async fn keep(&self, batch: u32, rows: &[String]) -> Result<(), DatabaseError> {
        let mut fails = self.fails.lock().unwrap();
        if *fails > 0 {
            *fails -= 1;
            return Err(DatabaseError::Fault {
                operation: "archive rows",
                reason: "no space left".to_owned(),
            });
        }
        self.kept.lock().unwrap().push((batch, rows.to_vec()));
        Ok(())
    }
}

#[tokio::test]
async fn a_batch_goes_with_the_rows_that_were_kept_or_not_at_all() {
    for world in World::both().await {
        let house = world.house("");
        let name: TargetName = "app".parse().unwrap();
        let database = house.services.targets.database(&name).await.unwrap();
        let fence = Fence {
            run: "73vxrj5mdw".parse().unwrap(),
            attempt: 1,
            scope: "database.app.tables.audit_logs".to_owned(),
            token: 1,
            in_database: true,
        };
        database.take_fence(&fence).await.unwrap();
        let cutoff = database.now().await.unwrap() - chrono::TimeDelta::days(300);
        let purge = Purge {
            table: "audit_logs".parse().unwrap(),
            filter: Filter(vec![Condition {
                column: "at".to_owned(),
                op: Operator::Less,
                value: Value::Instant(cutoff),
            }]),
            order_by: "at".to_owned(),
        };
        let pocket = Pocket {
            fails: Mutex::new(1),
            ..Pocket::default()
        };
        let failed = database.archive_batch(&purge, None, 40, &fence, &pocket).await;
        assert!(matches!(failed, Err(DatabaseError::Fault { .. })), "{failed:?}");
        assert_eq!(world.ids().await.len(), 400, "what was not kept is there");
        assert_eq!(database.recorded(&fence.run).await.unwrap(), []);
        let (mut cursor, mut gone) = (None, 0);
        loop {
            let batch = database
                .archive_batch(&purge, cursor.as_deref(), 40, &fence, &pocket)
                .await
                .unwrap();
            gone += batch.rows;
            cursor = batch.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((gone, world.ids().await), (100, young()));
        let recorded = database.recorded(&fence.run).await.unwrap();
        let kept = pocket.kept.lock().unwrap();
        let numbers: Vec<_> = kept.iter().map(|(batch, rows)| (*batch, rows.len())).collect();
        let recorded: Vec<_> = recorded
            .iter()
            .map(|batch| (batch.batch, usize::try_from(batch.rows).unwrap()))
            .collect();
        assert_eq!(numbers, recorded, "the archive's numbers are the record's");
        let mut ids: Vec<_> = kept
            .iter()
            .flat_map(|(_, rows)| rows)
            .map(|row| serde_json::from_str::<Json>(row).unwrap()["id"].as_i64().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, OLD.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn rows_that_take_others_along_are_not_archived_and_stay() {
    for world in World::both().await {
        world
            .execute(
                "CREATE TABLE details (id integer PRIMARY KEY, log bigint REFERENCES audit_logs (id) ON DELETE CASCADE);
                 CREATE INDEX details_log ON details (log); INSERT INTO details VALUES (1, 400);",
            )
            .await;
        let table = if world.is_postgres() {
            "public.details"
        } else {
            "main.details"
        };
        for accepted in [table, "details"] {
            let guard = format!(", accept = [\"cascade:{accepted}\"]");
            let refused = run(&world.house(&guard), Mode::Apply).await;
            assert!(matches!(refused.outcome, Outcome::Refused(..)), "{refused:#?}");
        }
        assert_eq!(world.ids().await.len(), 400);
        assert_eq!(world.objects(), BTreeMap::new());
    }
}
