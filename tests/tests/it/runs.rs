//! Whole runs of which data do not tell: clocks that the test sets, a look into the ledger, a host that dies.
//!
//! All that is configuration, rows, files and what becomes of them is in `tests/scenarios`.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::Utc;
use sereno_core::dispatch::DispatchError;
use sereno_core::ports::clock::Clock;
use sereno_core::ports::ledger::RunQuery;
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome, Reason, Refusal, RunRequest};
use sereno_tests::house::{House, plugins_folder, reported};
use sereno_tests::postgres;
use sereno_tests::wait::wait_for;
use sqlx::{Connection as _, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

/// 1,200 sessions, one an hour: those of the last seven days are 168, and the rest is far more than the guard allows.
const SESSIONS: u32 = 1_200;
/// Expired by more than 1,000 hours, which is within the guard's 20 %.
const KEEP_MOST: &str = "1000h";

/// A database with a table of sessions, by whichever means.
enum World {
    Sqlite(TempDir),
    Postgres(TempDir, String),
}

impl World {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db?mode=rwc", folder.path().display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let sql = format!(
            "CREATE TABLE user_sessions (id INTEGER PRIMARY KEY, updated_at TEXT NOT NULL);
             CREATE INDEX by_age ON user_sessions (updated_at, id);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SESSIONS})
             INSERT INTO user_sessions SELECT i, datetime('now', '-' || (i * 60 - 30) || ' minutes') FROM n;"
        );
        sqlx::raw_sql(self::sql(sql))
            .execute(&mut connection)
            .await
            .unwrap();
        Self::Sqlite(folder)
    }

    async fn postgres() -> Self {
        let database = postgres::shared().unwrap().database("runs").await.unwrap();
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        let sql = format!(
            "CREATE TABLE user_sessions (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
             CREATE INDEX by_age ON user_sessions (updated_at, id);
             INSERT INTO user_sessions
             SELECT i, now() - make_interval(mins => i * 60 - 30) FROM generate_series(1, {SESSIONS}) i;"
        );
        sqlx::raw_sql(self::sql(sql))
            .execute(&mut connection)
            .await
            .unwrap();
        Self::Postgres(tempfile::tempdir().unwrap(), database.url)
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Sqlite(folder) | Self::Postgres(folder, _) => folder.path(),
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}/app.db", folder.path().display()),
            Self::Postgres(_, url) => url.clone(),
        }
    }

    fn house(&self) -> House {
        self.house_of("user_sessions")
    }

    /// With the table written as `table` in the job's params.
    fn house_of(&self, table: &str) -> House {
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{}"
[job.sessions]
plugin = "row-retention"
params = {{ database = "app", table = "{table}", column = "updated_at", keep = "{KEEP_MOST}" }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
"#,
            self.url()
        );
        House::new(&configuration, self.folder()).unwrap()
    }

    async fn ids(&self) -> BTreeSet<i64> {
        let sql = "SELECT id FROM user_sessions ORDER BY id";
        match self {
            Self::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
                sqlx::query(sql)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap()
                    .iter()
                    .map(|row| row.get(0))
                    .collect()
            }
            Self::Postgres(_, url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query(sql)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap()
                    .iter()
                    .map(|row| row.get(0))
                    .collect()
            }
        }
    }
}

async fn worlds() -> [World; 2] {
    [World::sqlite().await, World::postgres().await]
}

fn ids(range: std::ops::RangeInclusive<i64>) -> BTreeSet<i64> {
    range.collect()
}

fn done(report: &Report) -> u64 {
    report.effects().map(|effect| effect.done).sum()
}

#[tokio::test]
async fn a_plan_is_void_after_a_day() {
    let world = World::sqlite().await;
    let house = world.house();
    let plan = house.plan("sessions").await.unwrap();
    house.clock.advance(Duration::from_secs(86_401));
    let refused = house.apply(&plan, &[]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 3, "{refused}");
    assert_eq!(world.ids().await, ids(1..=1_200));
}

/// The host believes it is tomorrow; the database knows better. A SQLite file has no clock but the host's.
#[tokio::test]
async fn a_host_whose_clock_is_ahead_of_the_database_deletes_nothing() {
    let world = World::postgres().await;
    let house = world.house();
    house.clock.advance(Duration::from_secs(86_400));
    let report = house.run("sessions").await.unwrap();
    assert!(
        matches!(report.outcome, Outcome::Refused(Refusal::Future, _)),
        "{report:#?}"
    );
    assert_eq!(report.exit_code(None), 3);
    assert_eq!(world.ids().await, ids(1..=1_200));
}

#[tokio::test]
async fn everything_that_does_not_exist_is_told_at_once_and_nothing_is_started() {
    for world in worlds().await {
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{}"
[job.sessions]
plugin = "row-retention"
params = {{ database = "app", table = "user_sessions", column = "updated", keep = "7 days", where = [{{ column = "state", op = "=", value = "x" }}] }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
"#,
            world.url()
        );
        let house = House::new(&configuration, world.folder()).unwrap();
        let error = house.run("sessions").await.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let DispatchError::Usage(problems) = &error else {
            panic!("{error:?}");
        };
        let text = format!("{problems:?}");
        assert_eq!(problems.len(), 2, "{text}");
        assert!(text.contains("`updated`") || text.contains(" updated "), "{text}");
        assert!(text.contains("updated_at"), "the near name is told: {text}");
        assert!(text.contains("state"), "{text}");
        let all = RunQuery {
            limit: 9,
            ..RunQuery::default()
        };
        assert_eq!(house.services.ledger.runs(&all).await.unwrap(), []);
    }
}

/// The host dies in the middle of a purge. What the next run finds recorded is what is gone.
#[tokio::test]
async fn a_purge_killed_in_the_middle_is_closed_with_what_it_really_did() {
    let world = World::postgres().await;
    let World::Postgres(folder, url) = &world else {
        unreachable!("made above")
    };
    let mut connection = PgConnection::connect(url).await.unwrap();
    let more = "INSERT INTO user_sessions SELECT i, now() - interval '90 days' - make_interval(secs => i)
                FROM generate_series(100000, 159999) i";
    sqlx::raw_sql(more).execute(&mut connection).await.unwrap();
    // Another session holds the youngest of the doomed: the purge waits for it with its earlier batches committed.
    let mut other = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT 1 FROM user_sessions WHERE id = 100000 FOR UPDATE")
        .execute(&mut other)
        .await
        .unwrap();
    let configuration = format!(
        r#"
version = 1
[ledger]
url = "sqlite://ledger.db"
[database.app]
url = "{url}"
[job.sessions]
plugin = "row-retention"
params = {{ database = "app", table = "user_sessions", column = "updated_at", keep = "80 days" }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
guard = {{ max_rows_percent = 100 }}
"#
    );
    fs::write(folder.path().join("sereno.toml"), &configuration).unwrap();
    let plugins = plugins_folder().unwrap();
    std::os::unix::fs::symlink(plugins, folder.path().join("plugins")).unwrap();
    let mut run = std::process::Command::new(sereno_tests::house::program().unwrap())
        .args(["run", "sessions"])
        .current_dir(folder.path())
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    let batches = "SELECT CASE WHEN to_regclass('sereno.effect') IS NULL THEN 0
                   ELSE (xpath('/row/c/text()', query_to_xml('SELECT count(*) AS c FROM sereno.effect', false, true, '')))[1]::text::bigint END";
    loop {
        let count: i64 = sqlx::query(batches)
            .fetch_one(&mut connection)
            .await
            .unwrap()
            .get(0);
        if count > 0 {
            break;
        }
        assert!(
            run.try_wait().unwrap().is_none(),
            "the run ended before its first batch"
        );
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no batch within a minute"
        );
        tokio::task::yield_now().await;
    }
    run.kill().unwrap();
    run.wait().unwrap();
    // The server notices that its client is gone, or finishes the statement; either way nothing of the run is left.
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sereno%' AND datname = current_database()";
    while sqlx::query(busy)
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get::<i64, _>(0)
        > 0
    {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the killed run still works in the server"
        );
        tokio::task::yield_now().await;
    }
    let left = world.ids().await;
    let gone = 61_200 - left.len() as u64;
    assert!(gone > 0 && left.contains(&100_000), "{gone} rows gone");
    assert!(
        ids(1..=1_200).is_subset(&left),
        "rows that were to stay are there"
    );

    let mut house = House::new(&configuration, folder.path()).unwrap();
    let ledger = format!("sqlite://{}/ledger.db", folder.path().display());
    house.services.ledger = sereno_adapters::ledger::open(&ledger, folder.path())
        .await
        .unwrap();
    house.clock.advance(Duration::from_secs(120));
    let lost = sereno_core::dispatch::rescue(&house.services).await.unwrap();
    assert_eq!(lost.len(), 1, "{lost:#?}");
    let report = house.services.ledger.report(&lost[0].id).await.unwrap().unwrap();
    assert!(matches!(report.outcome, Outcome::Lost(_)), "{report:#?}");
    assert_eq!(done(&report), gone, "{report:#?}");
}

/// No time passes for whoever waits: the heartbeat beats whenever the guest lets it.
struct Restless;

#[async_trait::async_trait]
impl Clock for Restless {
    fn now(&self) -> sereno_core::value::Instant {
        Utc::now()
    }

    fn monotonic_ms(&self) -> u64 {
        0
    }

    async fn sleep(&self, _duration: Duration) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_heartbeat_and_its_guest_never_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let temp = folder.path().join("temp");
    fs::create_dir(&temp).unwrap();
    let old = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(40 * 86_400));
    for file in 0..60 {
        let file = File::create(temp.join(format!("{file}.tmp"))).unwrap();
        file.set_times(old).unwrap();
    }
    let configuration = r#"
version = 1
[directory.temp]
path = "temp"
[job.both]
plugin = "two-pass"
params = { directory = "temp" }
grant = { directory.temp = ["read", "remove"] }
"#;
    let mut house = House::new(configuration, folder.path()).unwrap();
    house.services.clock = Arc::new(Restless);
    house.services.ledger = sereno_adapters::ledger::open("sqlite://ledger.db", folder.path())
        .await
        .unwrap();
    let run = tokio::time::timeout(Duration::from_mins(2), house.run("both"))
        .await
        .expect("the run ends");
    assert_eq!(run.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "every file was old");
}

#[tokio::test]
async fn a_table_written_with_its_default_schema_is_fenced_and_recorded_all_the_same() {
    let world = World::postgres().await;
    let house = world.house_of("public.user_sessions");
    let report = house.run("sessions").await.unwrap();
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:#?}");
    assert_eq!(world.ids().await, ids(1..=1_000));
    let mut connection = PgConnection::connect(&world.url()).await.unwrap();
    let recorded: i64 = sqlx::query("SELECT sum(rows)::int8 FROM sereno.effect WHERE run = $1")
        .bind(report.run.as_str())
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get(0);
    assert_eq!(recorded, 200);
}

#[tokio::test]
async fn what_keeps_a_scheduled_run_from_its_start_is_in_the_history_and_a_typing_mistake_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(
        r#"
version = 1
[database.app]
url = "postgres://127.0.0.1:1/app"
[job.sessions]
plugin = "row-retention"
params = { database = "app", table = "user_sessions", column = "updated_at", keep = "7 days" }
grant = { database.app.tables.user_sessions = ["read", "delete"] }
"#,
        folder.path(),
    )
    .unwrap();
    let ticked = |params: &[(&str, &str)]| RunRequest {
        reason: Reason::Tick,
        params: params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), serde_json::json!(value)))
            .collect(),
        ..House::request("sessions", Mode::Apply)
    };
    let listed = async || {
        let rows = house.services.ledger.runs(&RunQuery::default()).await.unwrap();
        let row = |row: sereno_core::ports::ledger::RunRow| (row.attempt, row.outcome.unwrap());
        rows.into_iter().map(row).collect::<Vec<_>>()
    };
    let unreachable = (1, "unreachable".to_owned());
    // Out of reach: of a person's run too.
    assert_eq!(house.run("sessions").await.unwrap_err().exit_code(), 7);
    assert_eq!(listed().await, std::slice::from_ref(&unreachable));
    // The next delivery of the same tick is the next attempt.
    let tick = RunRequest {
        scheduled_at: Some(house.clock.now()),
        ..ticked(&[])
    };
    for _ in 0..2 {
        house.submit(tick.clone()).await.unwrap_err();
    }
    let second = (2, "unreachable".to_owned());
    assert_eq!(
        listed().await,
        [second.clone(), unreachable.clone(), unreachable.clone()]
    );
    // A wrong param: of the schedule only.
    let wrong = [("keep", "soon")];
    let mut typed = ticked(&wrong);
    typed.reason = Reason::Manual;
    assert_eq!(house.submit(typed).await.unwrap_err().exit_code(), 2);
    assert_eq!(listed().await.len(), 3);
    assert_eq!(house.submit(ticked(&wrong)).await.unwrap_err().exit_code(), 2);
    let rows = house.services.ledger.runs(&RunQuery::default()).await.unwrap();
    assert_eq!(rows[0].outcome.as_deref(), Some("usage"));
    assert_eq!(rows[0].targets, ["database.app"]);
    let report = house.services.ledger.report(&rows[0].id).await.unwrap().unwrap();
    let text = report.outcome.message().unwrap();
    assert!(text.starts_with("job.sessions.params.keep: "), "{text}");
}

#[test]
fn a_key_typed_again_is_the_same_work_in_whatever_second() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    fs::create_dir(home.join("temp")).unwrap();
    let old = File::create(home.join("temp/old")).unwrap();
    let days_ago = SystemTime::now() - Duration::from_secs(3 * 86_400);
    old.set_times(FileTimes::new().set_modified(days_ago)).unwrap();
    let configuration = "version = 1\n[directory.temp]\npath = \"temp\"\n[job.temp]\nplugin = \"temp-files\"\n\
        params = { directory = \"temp\", older_than = \"48h\", age_by = [\"mtime\"] }\n\
        grant = { directory.temp = [\"read\", \"remove\"] }\n";
    fs::write(home.join("sereno.toml"), configuration).unwrap();
    std::os::unix::fs::symlink(plugins_folder().unwrap(), home.join("plugins")).unwrap();
    let typed = || reported(home, &["run", "temp", "--key", "tonight"]);
    let first = typed();
    assert_eq!(
        (&first["outcome"], home.join("temp/old").exists()),
        (&"succeeded".into(), false)
    );
    let second = Utc::now().timestamp();
    assert!(wait_for(
        || Utc::now().timestamp() > second,
        Duration::from_secs(5)
    ));
    let again = typed();
    assert_eq!(
        (&again["run"], &again["duplicate"]),
        (&first["run"], &true.into()),
        "{again:#}"
    );
}
