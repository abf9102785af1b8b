//! Whole runs: a configuration, real plugins in the real sandbox, real rows and files; which went and which stayed.
//!
//! What one adapter or one plugin does alone is tested beside it.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use sereno_core::dispatch::DispatchError;
use sereno_core::grant::Verb;
use sereno_core::ports::clock::Clock;
use sereno_core::ports::ledger::RunQuery;
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome, Refusal};
use sereno_tests::house::{House, amounts};
use sereno_tests::postgres;
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

    fn house_with(&self, keep: &str, grant: &str) -> House {
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{}"
[job.sessions]
plugin = "row-retention"
params = {{ database = "app", table = "user_sessions", column = "updated_at", keep = "{keep}" }}
grant = {{ database.app.tables.user_sessions = {grant} }}
"#,
            self.url()
        );
        House::new(&configuration, self.folder()).unwrap()
    }

    fn house(&self, keep: &str) -> House {
        self.house_with(keep, r#"["read", "delete"]"#)
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

fn planned(report: &Report) -> u64 {
    report.effects().map(|effect| effect.planned).sum()
}

#[tokio::test]
async fn a_plan_changes_nothing_and_its_apply_does_just_that_once() {
    for world in worlds().await {
        let house = world.house(KEEP_MOST);
        let before = world.ids().await;
        let plan = house.plan("sessions").await.unwrap();
        assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
        assert_eq!((planned(&plan), done(&plan)), (200, 0));
        assert_eq!(world.ids().await, before);

        let applied = house.apply(&plan, &[]).await.unwrap();
        assert_eq!(applied.outcome, Outcome::Succeeded, "{applied:#?}");
        assert_eq!(amounts(&applied), amounts(&plan));
        assert_eq!(done(&applied), 200);
        assert_eq!(world.ids().await, ids(1..=1_000));

        let refused = house.apply(&plan, &[]).await.unwrap_err();
        assert_eq!(refused.exit_code(), 3, "{refused}");
        let again = house.run("sessions").await.unwrap();
        assert_eq!(
            (again.outcome.clone(), planned(&again), done(&again)),
            (Outcome::Succeeded, 0, 0)
        );
        assert_eq!(world.ids().await, ids(1..=1_000));
    }
}

#[tokio::test]
async fn a_purge_over_the_guard_is_refused_and_can_be_allowed_once() {
    for world in worlds().await {
        let house = world.house("7 days");
        let before = world.ids().await;
        let refused = house.run("sessions").await.unwrap();
        let Outcome::Refused(Refusal::Guard, text) = &refused.outcome else {
            panic!("{refused:#?}");
        };
        assert!(
            text.contains("1,032 of 1,200 rows") && text.contains("86.0 %") && text.contains("20 %"),
            "{text}"
        );
        assert_eq!(refused.exit_code(None), 3);
        assert_eq!(world.ids().await, before);

        let plan = house.plan("sessions").await.unwrap();
        assert!(
            matches!(plan.outcome, Outcome::Refused(Refusal::Guard, _)),
            "{plan:#?}"
        );
        assert_eq!(planned(&plan), 1_032);
        let without = house.apply(&plan, &[]).await.unwrap_err();
        assert!(
            matches!(&without, DispatchError::Refused { hint: Some(hint), .. }
            if hint.contains("--allow max_rows_percent=86")),
            "{without:?}"
        );
        let too_little = house
            .apply(&plan, &[("max_rows_percent", 50.0)])
            .await
            .unwrap_err();
        assert_eq!(too_little.exit_code(), 3);
        assert_eq!(world.ids().await, before);

        let applied = house.apply(&plan, &[("max_rows_percent", 86.0)]).await.unwrap();
        assert_eq!(applied.outcome, Outcome::Succeeded, "{applied:#?}");
        assert_eq!(world.ids().await, ids(1..=168));
        assert_eq!(
            house
                .apply(&plan, &[("max_rows_percent", 86.0)])
                .await
                .unwrap_err()
                .exit_code(),
            3
        );
    }
}

#[tokio::test]
async fn a_plan_is_void_after_a_day() {
    let world = World::sqlite().await;
    let house = world.house(KEEP_MOST);
    let plan = house.plan("sessions").await.unwrap();
    house.clock.advance(Duration::from_secs(86_401));
    let refused = house.apply(&plan, &[]).await.unwrap_err();
    assert_eq!(refused.exit_code(), 3, "{refused}");
    assert_eq!(world.ids().await, ids(1..=1_200));
}

#[tokio::test]
async fn a_missing_grant_is_refused_with_the_line_to_add() {
    let world = World::sqlite().await;
    let house = world.house_with(KEEP_MOST, r#"["read"]"#);
    let report = house.run("sessions").await.unwrap();
    let Outcome::Refused(Refusal::Grant, text) = &report.outcome else {
        panic!("{report:#?}");
    };
    assert!(
        text.contains(r#"database.app.tables.user_sessions = ["read", "delete"]"#),
        "{text}"
    );
    assert_eq!(report.exit_code(None), 3);
    assert_eq!(world.ids().await, ids(1..=1_200));
}

#[tokio::test]
async fn nothing_is_deleted_for_a_time_that_has_not_come() {
    for world in worlds().await {
        let house = world.house(KEEP_MOST);
        for mode in [Mode::Apply, Mode::Plan] {
            let mut request = House::request("sessions", mode);
            request.scheduled_at = Some("2099-01-01T00:00:00Z".parse().unwrap());
            let report = house.submit(request).await.unwrap();
            assert!(
                matches!(report.outcome, Outcome::Refused(Refusal::Future, _)),
                "{report:#?}"
            );
        }
        // The host believes it is tomorrow; the database knows better. A SQLite file has no clock but the host's.
        if matches!(world, World::Postgres(..)) {
            house.clock.advance(Duration::from_secs(86_400));
            let report = house.run("sessions").await.unwrap();
            assert!(
                matches!(report.outcome, Outcome::Refused(Refusal::Future, _)),
                "{report:#?}"
            );
            assert_eq!(report.exit_code(None), 3);
        }
        assert_eq!(world.ids().await, ids(1..=1_200));
    }
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

#[tokio::test]
async fn a_delivery_of_a_settled_key_answers_the_stored_report() {
    for world in worlds().await {
        let house = world.house(KEEP_MOST);
        let mut request = House::request("sessions", Mode::Apply);
        request.key = Some("nightly".to_owned());
        request.scheduled_at = Some(house.services.clock.now());
        let first = house.submit(request.clone()).await.unwrap();
        let second = house.submit(request.clone()).await.unwrap();
        assert!(!first.duplicate && second.duplicate);
        assert_eq!((second.run, done(&first)), (first.run, 200));
        request.params.insert("keep".to_owned(), "900h".into());
        assert_eq!(house.submit(request).await.unwrap_err().exit_code(), 2);
        assert_eq!(world.ids().await, ids(1..=1_000));
    }
}

/// Writes `names` below `folder`, each as old as `age`.
fn files(folder: &Path, names: &[&str], age: Duration) {
    for name in names {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, name).unwrap();
        let at = SystemTime::now() - age;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(FileTimes::new().set_accessed(at).set_modified(at))
            .unwrap();
    }
}

/// Path, inode, length, mode, mtime and content.
type Listed = (String, u64, u64, u32, DateTime<Utc>, Vec<u8>);

/// Every file and folder below `folder`.
fn listing(folder: &Path) -> BTreeSet<Listed> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let known = fs::symlink_metadata(&path).unwrap();
            let content = if known.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            found.insert((
                name,
                known.ino(),
                known.len(),
                known.mode(),
                known.modified().unwrap().into(),
                content,
            ));
            if known.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

fn names(folder: &Path) -> BTreeSet<String> {
    listing(folder).into_iter().map(|entry| entry.0).collect()
}

fn files_house(folder: &Path, more: &str) -> House {
    let configuration = format!(
        r#"
version = 1
[directory.temp]
path = "temp"
[job.temp]
plugin = "temp-files"
params = {{ directory = "temp", older_than = "24h", age_by = ["mtime"]{more} }}
grant = {{ directory.temp = ["read", "remove"] }}
"#
    );
    House::new(&configuration, folder).unwrap()
}

#[tokio::test]
async fn old_files_go_and_young_ones_stay_as_planned() {
    let folder = tempfile::tempdir().unwrap();
    let temp = folder.path().join("temp");
    files(
        &temp,
        &["a.tmp", "deep/b.tmp", "deep/er/c.tmp"],
        Duration::from_secs(3 * 86_400),
    );
    files(
        &temp,
        &["young.tmp", "deep/young.tmp"],
        Duration::from_secs(3_600),
    );
    let house = files_house(folder.path(), "");
    let before = listing(&temp);
    let plan = house.plan("temp").await.unwrap();
    assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
    assert_eq!(listing(&temp), before);
    let applied = house.apply(&plan, &[]).await.unwrap();
    assert_eq!(applied.outcome, Outcome::Succeeded, "{applied:#?}");
    assert_eq!(amounts(&applied), amounts(&plan));
    assert_eq!(
        names(&temp),
        ["deep", "deep/young.tmp", "young.tmp"].map(String::from).into()
    );
    let again = house.run("temp").await.unwrap();
    assert_eq!((planned(&again), done(&again)), (0, 0));
}

#[tokio::test]
async fn more_files_than_the_guard_allows_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let temp = folder.path().join("temp");
    let many: Vec<String> = (0..20).map(|n| format!("{n}.tmp")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    files(&temp, &many, Duration::from_secs(3 * 86_400));
    let house = files_house(folder.path(), " }\nguard = { max_files = 10");
    let before = listing(&temp);
    let refused = house.run("temp").await.unwrap();
    assert!(
        matches!(refused.outcome, Outcome::Refused(Refusal::Guard, _)),
        "{refused:#?}"
    );
    assert_eq!(listing(&temp), before);
    let plan = house.plan("temp").await.unwrap();
    assert!(
        matches!(plan.outcome, Outcome::Refused(Refusal::Guard, _)),
        "{plan:#?}"
    );
    assert_eq!(planned(&plan), 20);
    let applied = house.apply(&plan, &[("max_files", 20.0)]).await.unwrap();
    assert_eq!(applied.outcome, Outcome::Succeeded, "{applied:#?}");
    assert_eq!(names(&temp), BTreeSet::new());
}

/// Plans and applies `job` at the same time and holds one against the other: effects in verbs, targets, words and
/// counts, and everything that the plugin was told in between.
async fn plan_equals_apply(house: &House, job: &str) -> (Report, Report) {
    let mut request = House::request(job, Mode::Plan);
    request.scheduled_at = Some(house.services.clock.now());
    let plan = house.submit(request.clone()).await.unwrap();
    assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
    assert_eq!(done(&plan), 0);
    request.mode = Mode::Apply;
    let applied = house.submit(request).await.unwrap();
    assert_eq!(applied.outcome, Outcome::Succeeded, "{applied:#?}");
    assert_eq!(amounts(&applied), amounts(&plan));
    assert_eq!(
        applied.effects().map(|effect| effect.done).collect::<Vec<_>>(),
        plan.effects()
            .map(|effect| effect.planned - effect.skipped.min(effect.planned))
            .collect::<Vec<_>>()
    );
    (plan, applied)
}

#[tokio::test]
async fn a_purge_in_parts_is_held_against_the_guard_as_one() {
    for world in worlds().await {
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{}"
[job.parts]
plugin = "two-pass"
params = {{ database = "app", table = "user_sessions", column = "updated_at" }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
guard = {{ max_rows_percent = 80 }}
"#,
            world.url()
        );
        let house = House::new(&configuration, world.folder()).unwrap();
        // 480 of 1,200 are 40 %; the next 552 of the 720 that are left would be 77 % by themselves, and are 86 % of all.
        let plan = house.plan("parts").await.unwrap();
        assert!(
            matches!(plan.outcome, Outcome::Refused(Refusal::Guard, _)),
            "{plan:#?}"
        );
        assert_eq!(world.ids().await, ids(1..=i64::from(SESSIONS)));
        let run = house.run("parts").await.unwrap();
        assert!(
            matches!(run.outcome, Outcome::Refused(Refusal::Guard, _)),
            "{run:#?}"
        );
        assert_eq!(world.ids().await, ids(1..=720));
    }
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
    let all: Vec<String> = (0..60).map(|file| format!("{file}.tmp")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    files(&temp, &all, Duration::from_secs(40 * 86_400));
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
    assert_eq!(names(&temp), BTreeSet::new());
}

#[tokio::test]
async fn a_table_written_with_its_default_schema_is_fenced_and_recorded_all_the_same() {
    let world = World::postgres().await;
    let configuration = format!(
        r#"
version = 1
[database.app]
url = "{}"
[job.sessions]
plugin = "row-retention"
params = {{ database = "app", table = "public.user_sessions", column = "updated_at", keep = "{KEEP_MOST}" }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
"#,
        world.url()
    );
    let house = House::new(&configuration, world.folder()).unwrap();
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
async fn a_plugin_that_removes_in_two_passes_is_told_the_same_in_plan_and_apply() {
    for world in worlds().await {
        let temp = world.folder().join("temp");
        let day = 86_400;
        files(
            &temp,
            &["a.log", "a.tmp", "deep/a.log"],
            Duration::from_secs(40 * day),
        );
        files(
            &temp,
            &["b.log", "b.tmp", "c.tmp", "deep/b.tmp"],
            Duration::from_secs(10 * day),
        );
        files(&temp, &["d.tmp", "deep/d.log"], Duration::from_secs(2 * day));
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{}"
[directory.temp]
path = "temp"
[job.both]
plugin = "two-pass"
params = {{ directory = "temp", database = "app", table = "user_sessions", column = "updated_at" }}
guard = {{ max_rows_percent = 100 }}
[job.both.grant]
directory.temp = ["read", "remove"]
database.app.tables.user_sessions = ["read", "delete"]
"#,
            world.url()
        );
        let house = House::new(&configuration, world.folder()).unwrap();
        let before = (listing(&temp), world.ids().await);
        let plan = house.plan("both").await.unwrap();
        assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
        assert_eq!((listing(&temp), world.ids().await), before);
        let applied = house.apply(&plan, &[]).await.unwrap();
        assert_eq!(applied.outcome, Outcome::Succeeded, "{applied:#?}");
        assert_eq!(amounts(&applied), amounts(&plan));
        let told = |report: &Report| -> Vec<(String, String)> {
            report
                .findings()
                .map(|finding| (finding.code.clone(), finding.text.clone()))
                .collect()
        };
        assert_eq!(told(&applied), told(&plan));
        assert!(told(&plan).len() >= 10, "{:?}", told(&plan));
        assert_eq!(world.ids().await, ids(1..=168));
        let left = names(&temp);
        assert!(
            left.contains("b.log") && left.contains("d.tmp") && left.contains("deep/d.log"),
            "{left:?}"
        );
        assert!(
            !left.contains("a.log") && !left.contains("a.tmp") && !left.contains("deep/a.log"),
            "{left:?}"
        );
    }
}

#[tokio::test]
async fn upkeep_does_what_its_plan_said() {
    for world in worlds().await {
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{}"
[job.upkeep]
plugin = "table-upkeep"
params = {{ database = "app", do = ["vacuum", "analyze"] }}
grant = {{ database.app.tables.user_sessions = ["read", "vacuum", "analyze"] }}
"#,
            world.url()
        );
        let house = House::new(&configuration, world.folder()).unwrap();
        let (plan, _) = plan_equals_apply(&house, "upkeep").await;
        assert!(plan.effects().count() > 0, "{plan:#?}");
        assert!(plan.effects().all(|effect| effect.bytes_estimated), "{plan:#?}");
        if matches!(world, World::Sqlite(_)) {
            let again = house.run("upkeep").await.unwrap();
            let analyzed = again
                .effects()
                .filter(|effect| effect.verb == Verb::Analyze)
                .count();
            assert_eq!(analyzed, 0, "what was just analyzed needs no more: {again:#?}");
        }
    }
}

#[tokio::test]
async fn a_check_measures_the_same_in_plan_and_apply_and_unknown_is_never_zero() {
    for world in worlds().await {
        files(&world.folder().join("temp"), &["a", "b"], Duration::from_secs(60));
        let configuration = format!(
            r#"
version = 1
[database.app]
url = "{}"
[directory.temp]
path = "temp"
[job.check]
plugin = "capacity-check"
params = {{ directories = ["temp"], databases = ["app"], counts = [{{ name = "sessions.active", database = "app", table = "user_sessions", column = "updated_at", active_within = "24h" }}] }}
[job.check.grant]
directory.temp = ["read"]
database.app.whole = ["read"]
database.app.tables.user_sessions = ["read"]
"#,
            world.url()
        );
        let house = House::new(&configuration, world.folder()).unwrap();
        let (plan, applied) = plan_equals_apply(&house, "check").await;
        let value = |report: &Report, name: &str| {
            let found = report
                .measurements
                .iter()
                .find(|measurement| measurement.name == name);
            found.unwrap_or_else(|| panic!("{name} in {report:#?}")).value
        };
        for report in [&plan, &applied] {
            assert_eq!(value(report, "sessions.active"), Some(24.0));
            assert_eq!(value(report, "files.count"), Some(2.0));
            assert!(value(report, "database.bytes").unwrap() > 0.0);
            if matches!(world, World::Sqlite(_)) {
                assert_eq!(value(report, "database.connections"), None);
            }
        }
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
    let plugins = sereno_tests::house::plugins_folder().unwrap();
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
