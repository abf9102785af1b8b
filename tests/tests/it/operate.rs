//! What operators do to running work, from another process than the one that works: cancel, pause, the kill switch.
//!
//! That flags are kept is `ledger`'s; how a guest is stopped is `guests`'.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use sereno_tests::house::{plugins_folder, program};
use sereno_tests::postgres;
use sereno_tests::wait::wait_for;
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;

/// A cancelled run has ended by then: a second until it looks, a second for its batch, five for its guest, and the
/// machine's own slowness.
const STOPPED: Duration = Duration::from_secs(30);

/// A statement that nobody cancels takes this many seconds, which is longer.
const SLOW: u32 = 55;

/// A folder with a configuration, and a database in which deleting row 5 takes [`SLOW`].
struct World {
    folder: TempDir,
    connection: PgConnection,
}

impl World {
    async fn new() -> Self {
        let database = postgres::shared().unwrap().database("operate").await.unwrap();
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        let sql = format!(
            "CREATE TABLE user_sessions (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
             CREATE INDEX by_age ON user_sessions (updated_at, id);
             INSERT INTO user_sessions SELECT i, now() - make_interval(days => 10 * i) FROM generate_series(1, 20) i;
             CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(CASE OLD.id WHEN 15 THEN {SLOW} ELSE 0 END); RETURN OLD; END $$;
             CREATE TRIGGER slow BEFORE DELETE ON user_sessions FOR EACH ROW EXECUTE FUNCTION slow();"
        );
        #[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
        let sql = sqlx::AssertSqlSafe(sql);
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("temp")).unwrap();
        let configuration = format!(
            r#"
version = 1
[ledger]
url = "sqlite://ledger.db"
[database.app]
url = "{}"
[directory.temp]
path = "temp"
[job.sessions]
plugin = "row-retention"
params = {{ database = "app", table = "user_sessions", column = "updated_at", keep = "95 days" }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
guard = {{ accept = ["trigger:slow"] }}
[job.temp-files]
plugin = "temp-files"
params = {{ directory = "temp", older_than = "24h" }}
grant = {{ directory.temp = ["read", "remove"] }}
[round.nightly]
jobs = ["temp-files", "sessions"]
"#,
            database.url
        );
        fs::write(folder.path().join("sereno.toml"), configuration).unwrap();
        std::os::unix::fs::symlink(plugins_folder().unwrap(), folder.path().join("plugins")).unwrap();
        Self { folder, connection }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program().unwrap());
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
            .stdin(Stdio::null());
        command
    }

    fn sereno(&self, args: &[&str]) -> (i32, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command(args).output().unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        );
        (code(status), text)
    }

    fn start(&self, args: &[&str]) -> Child {
        let silent = || fs::File::create(Path::new("/dev/null")).unwrap();
        self.command(args)
            .stdout(silent())
            .stderr(silent())
            .spawn()
            .unwrap()
    }

    /// Waits until a statement sleeps in the trigger, or until none does.
    async fn wait_until_slow(&mut self, is_slow: bool, run: &mut Child) {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        let started = std::time::Instant::now();
        loop {
            let count: i64 = sqlx::query(sql)
                .fetch_one(&mut self.connection)
                .await
                .unwrap()
                .get(0);
            if (count > 0) == is_slow {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{:?}",
                run.try_wait()
            );
            tokio::task::yield_now().await;
        }
    }

    async fn ids(&mut self) -> BTreeSet<i64> {
        let rows = sqlx::query("SELECT id FROM user_sessions")
            .fetch_all(&mut self.connection)
            .await;
        rows.unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// The newest run in JSON lines.
    fn runs(&self, job: &str) -> Vec<serde_json::Value> {
        let (exit, text) = self.sereno(&["runs", "list", "--job", job, "--format", "ndjson"]);
        assert_eq!(exit, 0, "{text}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap()
}

fn ended(run: &mut Child) -> i32 {
    let mut status = None;
    let has_ended = wait_for(
        || {
            status = run.try_wait().unwrap();
            status.is_some()
        },
        STOPPED,
    );
    assert!(has_ended, "the run is still at work");
    code(status.unwrap())
}

fn all() -> BTreeSet<i64> {
    (1..=20).collect()
}

#[tokio::test]
async fn another_process_cancels_a_run_and_the_statement_that_it_waits_for() {
    let mut world = World::new().await;
    let mut run = world.start(&["run", "sessions"]);
    world.wait_until_slow(true, &mut run).await;
    let id = world.runs("sessions")[0]["id"].as_str().unwrap().to_owned();
    let (exit, text) = world.sereno(&["runs", "cancel", &id]);
    assert_eq!(exit, 0, "{text}");
    assert_eq!(ended(&mut run), 130);
    world.wait_until_slow(false, &mut run).await;
    assert_eq!(world.ids().await, all());
    assert_eq!(world.runs("sessions")[0]["outcome"], "cancelled");
    let (exit, text) = world.sereno(&["runs", "cancel", &id]);
    assert_eq!(exit, 2, "{text}");
    assert!(
        text.contains("has ended") && text.contains("only a run at work"),
        "{text}"
    );
}

#[tokio::test]
async fn the_kill_switch_stops_a_round_at_work_and_lets_nothing_start_until_it_is_taken_back() {
    let mut world = World::new().await;
    let mut run = world.start(&["run", "--round", "nightly"]);
    world.wait_until_slow(true, &mut run).await;
    let (exit, text) = world.sereno(&["jobs", "pause", "--all"]);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("of round `nightly` is about to stop"), "{text}");
    assert!(text.contains("of job `sessions` is about to stop"), "{text}");
    assert_eq!(ended(&mut run), 130);
    world.wait_until_slow(false, &mut run).await;
    assert_eq!(world.ids().await, all());

    let (exit, text) = world.sereno(&["run", "temp-files"]);
    assert_eq!(exit, 5, "{text}");
    assert!(text.contains("jobs resume --all"), "{text}");
    let (_, text) = world.sereno(&["jobs", "list"]);
    assert!(text.contains("everything is paused since"), "{text}");
    assert_eq!(world.sereno(&["jobs", "resume", "--all"]).0, 0);
    let (exit, text) = world.sereno(&["run", "temp-files"]);
    assert_eq!(exit, 0, "{text}");
}

#[tokio::test]
async fn a_paused_job_is_skipped_wherever_it_is_asked_for_and_others_go_on() {
    let world = World::new().await;
    let (exit, text) = world.sereno(&["jobs", "pause", "temp-files"]);
    assert_eq!((exit, text.contains("nothing starts it")), (0, true), "{text}");
    for _ in 0..2 {
        let (exit, text) = world.sereno(&["run", "temp-files"]);
        assert_eq!(exit, 5, "{text}");
    }
    assert_eq!(world.runs("temp-files")[0]["outcome"], "skipped(paused)");
    let (exit, text) = world.sereno(&["plan", "sessions"]);
    assert_eq!(exit, 0, "{text}");
    let (_, text) = world.sereno(&["jobs", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(text.split("\n`").next().unwrap()).unwrap();
    let paused: Vec<bool> = listed["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["paused"].as_bool().unwrap())
        .collect();
    assert_eq!(paused, [false, true]);
    // The kill switch's end does not wake what was paused before it.
    assert_eq!(world.sereno(&["jobs", "pause", "--all"]).0, 0);
    let (_, text) = world.sereno(&["jobs", "resume", "--all"]);
    assert!(text.contains("`temp-files` is paused since"), "{text}");
    let (exit, text) = world.sereno(&["jobs", "resume", "temp-files"]);
    assert_eq!((exit, text.as_str()), (0, "job `temp-files` may start again\n"));
    assert_eq!(world.sereno(&["run", "temp-files"]).0, 0);
    let (exit, text) = world.sereno(&["jobs", "pause", "temp-file"]);
    assert_eq!(exit, 2, "{text}");
    assert!(text.contains("did you mean `temp-files`?"), "{text}");
}
