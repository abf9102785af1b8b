//! What every ledger forgets of its own history, and what never; then the same by a run, with the configuration's `keep`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sereno_adapters::clock::SeededEntropy;
use sereno_core::ports::ledger::{Ledger, LedgerError, Old, RunQuery, Start};
use sereno_core::ports::watch::MeasurementQuery;
use sereno_core::report::Measurement;
use sereno_core::run::{Mode, Outcome, RunEvent};
use sereno_core::value::Instant;
use sereno_tests::house::House;
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::{Home, at, begun, every_home, id, job, new_run, report};

const DAY: Duration = Duration::from_hours(24);

fn midnight() -> Instant {
    at("2026-11-24T00:00:00Z")
}

every_home! {
    old_runs_go_with_all_that_is_theirs_and_the_newest_and_the_last_success_stay
    runs_are_listed_by_mode_and_outcome
    a_scope_that_nobody_has_held_for_long_is_forgotten_and_no_other
}

/// A run of `name` that began so many days ago and, unless it is still at work, has ended so.
async fn run(
    ledger: &Arc<dyn Ledger>,
    run: &str,
    name: &str,
    days: u32,
    mode: Mode,
    outcome: Option<Outcome>,
) {
    let then = midnight() - days * DAY;
    let mut new = new_run(&id(run), run, name, then);
    new.row.mode = mode;
    begun(ledger, new, &[]).await;
    let measured = Measurement {
        name: "files.count".to_owned(),
        target: "directory.temp".to_owned(),
        value: Some(f64::from(days)),
        unit: "files".to_owned(),
        note: None,
    };
    ledger.measure(&id(run), then, &[measured]).await.unwrap();
    if let Some(outcome) = outcome {
        let mut report = report(&id(run), outcome, then);
        report.ended_at = then;
        let report = Box::new(report);
        ledger
            .append(&id(run), then, &[RunEvent::Ended { report }])
            .await
            .unwrap();
    }
}

async fn left(ledger: &Arc<dyn Ledger>) -> BTreeSet<String> {
    let rows = ledger.runs(&RunQuery::default()).await.unwrap();
    let name = |id: &str| id.trim_end_matches('0').to_owned();
    rows.iter().map(|row| name(row.id.as_str())).collect()
}

fn half() -> Outcome {
    Outcome::Partial("half".to_owned())
}

async fn old_runs_go_with_all_that_is_theirs_and_the_newest_and_the_last_success_stay(home: Home) {
    let ledger = home.open().await;
    let success = Some(Outcome::Succeeded);
    run(&ledger, "a", "purge", 90, Mode::Apply, success.clone()).await;
    run(&ledger, "b", "purge", 80, Mode::Apply, success.clone()).await;
    run(&ledger, "c", "purge", 70, Mode::Apply, Some(half())).await;
    run(&ledger, "d", "purge", 60, Mode::Plan, success.clone()).await;
    run(&ledger, "e", "purge", 50, Mode::Apply, Some(half())).await;
    run(&ledger, "f", "purge", 10, Mode::Apply, Some(half())).await;
    run(&ledger, "g", "purge", 91, Mode::Apply, None).await;
    run(&ledger, "x", "sweep", 92, Mode::Apply, success).await;

    let old = |limit| Old {
        before: midnight() - 30 * DAY,
        but_newest: 3,
        limit,
    };
    // The oldest first: `b` is the last success of its job, `g` is at work; `e`, `f` and `g` are the newest three.
    assert_eq!(ledger.forget(&old(1)).await.unwrap(), 1);
    assert_eq!(
        left(&ledger).await,
        ["b", "c", "d", "e", "f", "g", "x"].map(str::to_owned).into()
    );
    assert_eq!(ledger.forget(&old(10)).await.unwrap(), 2);
    assert_eq!(
        left(&ledger).await,
        ["b", "e", "f", "g", "x"].map(str::to_owned).into()
    );
    assert_eq!(ledger.forget(&old(10)).await.unwrap(), 0);

    let gone = ledger.events(&id("c")).await;
    assert!(matches!(gone, Err(LedgerError::NoRun(_))), "{gone:?}");
    assert_eq!(ledger.events(&id("b")).await.unwrap().len(), 2);
    let query = MeasurementQuery {
        name: "files.count".to_owned(),
        target: "directory.temp".to_owned(),
        since: midnight() - 400 * DAY,
        every: None,
        limit: 100,
    };
    let samples = ledger.measurements(&query).await.unwrap();
    let of: BTreeSet<String> = samples.iter().map(|sample| sample.run.to_string()).collect();
    assert_eq!(
        of,
        ["b", "e", "f", "g", "x"].map(|run| id(run).to_string()).into()
    );
}

async fn runs_are_listed_by_mode_and_outcome(home: Home) {
    let ledger = home.open().await;
    run(&ledger, "a", "purge", 3, Mode::Apply, Some(Outcome::Succeeded)).await;
    run(&ledger, "b", "purge", 2, Mode::Plan, Some(Outcome::Succeeded)).await;
    run(&ledger, "c", "purge", 1, Mode::Apply, Some(half())).await;
    let list = async |mode, outcome: Option<&str>| {
        let query = RunQuery {
            work: Some(job("purge")),
            mode,
            outcome: outcome.map(ToOwned::to_owned),
            ..RunQuery::default()
        };
        let rows = ledger.runs(&query).await.unwrap();
        rows.iter()
            .map(|row| row.id.as_str()[..1].to_owned())
            .collect::<String>()
    };
    assert_eq!(list(Some(Mode::Apply), Some("succeeded")).await, "a");
    assert_eq!(list(None, Some("succeeded")).await, "ba");
    assert_eq!(list(Some(Mode::Apply), None).await, "ca");
    assert_eq!(list(None, Some("partial")).await, "c");
}

/// A scope's next token is above its last one; of a scope that was forgotten it is the clock's, even one that was set back.
async fn a_scope_that_nobody_has_held_for_long_is_forgotten_and_no_other(home: Home) {
    let ledger = home.open().await;
    let then = midnight() - 90 * DAY;
    let one = async |run: &str, days: u32, scope: &str, ends: bool| {
        let at = midnight() - days * DAY;
        begun(&ledger, new_run(&id(run), run, "purge", at), &[scope]).await;
        if ends {
            let mut report = report(&id(run), Outcome::Succeeded, at);
            report.ended_at = at;
            let ended = RunEvent::Ended {
                report: Box::new(report),
            };
            ledger.append(&id(run), at, &[ended]).await.unwrap();
        }
    };
    one("a", 80, "long-ago", true).await;
    one("b", 80, "at-work", false).await;
    one("c", 20, "lately", true).await;
    let old = Old {
        before: midnight() - 30 * DAY,
        but_newest: 10,
        limit: 10,
    };
    assert_eq!(
        ledger.forget(&old).await.unwrap(),
        0,
        "all runs are among the newest"
    );
    let mut tokens = Vec::new();
    for (run, scope) in [("d", "long-ago"), ("e", "at-work"), ("f", "lately")] {
        let new = new_run(&id(run), run, "purge", then);
        match ledger.start(new, &[scope.to_owned()], DAY).await.unwrap() {
            Start::Begun(_, leases) => tokens.push((scope, leases[0].token == then.timestamp_micros())),
            // By the clock that was set back, whoever is at work still has its lease.
            Start::Held(held) => tokens.push((held[0].scope.as_str().to_owned().leak(), false)),
            Start::Overtaken => panic!("nobody else is here"),
        }
    }
    assert_eq!(
        tokens,
        [("long-ago", true), ("at-work", false), ("lately", false)]
    );
}

const CONFIGURATION: &str = r#"
version = 1
[ledger]
keep = "30 days"
[directory.temp]
path = "temp"
[job.capacity]
plugin = "capacity-check"
params = { directories = ["temp"] }
grant = { directory.temp = ["read"] }
"#;

#[tokio::test]
async fn a_run_forgets_what_the_configuration_keeps_no_longer_and_not_more_than_once_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("temp")).unwrap();
    let house = House::new(CONFIGURATION, folder.path()).unwrap();
    let ledger = Arc::clone(&house.services.ledger);
    let count = async || ledger.runs(&RunQuery::default()).await.unwrap().len();
    for _ in 0..15 {
        house.clock.advance(Duration::from_secs(60));
        house.run("capacity").await.unwrap();
    }
    assert_eq!(count().await, 15);
    house.clock.advance(31 * DAY);
    house.run("capacity").await.unwrap();
    // The newest ten, this one among them.
    assert_eq!(count().await, 10);
    house.clock.advance(Duration::from_mins(59));
    house.run("capacity").await.unwrap();
    assert_eq!(count().await, 11);
}

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
async fn runs_of(url: &str, text: &str) -> Vec<String> {
    let text = sqlx::AssertSqlSafe(text.to_owned());
    if url.starts_with("postgres") {
        let mut session = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(text).fetch_all(&mut session).await.unwrap()
    } else {
        let mut session = SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(text).fetch_all(&mut session).await.unwrap()
    }
}

/// What a database recorded is how a lost run is closed: it stays while that may still be.
#[tokio::test]
async fn what_was_recorded_beside_rows_goes_for_runs_that_ended_longer_ago_than_history_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/app.db", folder.path().display());
    std::fs::write(folder.path().join("app.db"), "").unwrap();
    let database = sereno_tests::postgres::shared()
        .unwrap()
        .database("records")
        .await
        .unwrap();
    for url in [sqlite, database.url] {
        let (effect, clock) = if url.starts_with("postgres") {
            ("sereno.effect", "now() - interval '31 days'")
        } else {
            ("sereno_effect", "datetime('now', '-31 days')")
        };
        let runs = async || runs_of(&url, &format!("SELECT DISTINCT run FROM {effect} ORDER BY run")).await;
        runs_of(
            &url,
            "CREATE TABLE logs (id integer PRIMARY KEY, at timestamp NOT NULL)",
        )
        .await;
        runs_of(&url, "INSERT INTO logs VALUES (1, '2020-01-01 00:00:00')").await;
        let configuration = format!(
            r#"
version = 1
[ledger]
keep = "30 days"
[database.app]
url = "{url}"
[job.logs]
plugin = "row-retention"
params = {{ database = "app", table = "logs", column = "at", keep = "30 days" }}
grant = {{ database.app.tables.logs = ["read", "delete"] }}
"#
        );
        let first = House::new(&configuration, folder.path()).unwrap();
        let ended = first.run("logs").await.unwrap();
        assert_eq!(ended.outcome, Outcome::Succeeded, "{ended:#?}");
        assert_eq!(runs().await, [ended.run.to_string()]);
        let now = chrono::Utc::now();
        let ledger = Arc::clone(&first.services.ledger);
        let started = new_run(&id("started"), "key", "logs", now);
        let scope = ["elsewhere".to_owned()];
        ledger.start(started, &scope, DAY).await.unwrap();
        for (run, at) in [
            (ended.run.clone(), clock),
            (id("started"), clock),
            (id("past"), clock),
        ] {
            runs_of(&url, &format!("DELETE FROM {effect} WHERE run = '{run}'")).await;
            let insert = format!(
                "INSERT INTO {effect} (run, attempt, batch, scope, rows, at) VALUES ('{run}', 1, 1, 's', 1, {at})"
            );
            runs_of(&url, &insert).await;
        }
        let other = format!(
            "INSERT INTO {effect} (run, attempt, batch, scope, rows, at) VALUES ('{}', 1, 1, 's', 1, {})",
            id("recent"),
            clock.replace("31", "29")
        );
        runs_of(&url, &other).await;
        // One that only looks changes nothing, and within an hour nobody looks again.
        let mut second = House::new(&configuration, folder.path()).unwrap();
        second.services.ledger = ledger;
        second.services.entropy = Arc::new(SeededEntropy::new(2));
        second.plan("logs").await.unwrap();
        first.run("logs").await.unwrap();
        assert_eq!(runs().await.len(), 4);
        let run = second.run("logs").await.unwrap();
        assert_eq!(run.outcome, Outcome::Succeeded, "{run:#?}");
        assert_eq!(
            runs().await,
            [id("recent").to_string(), id("started").to_string()]
        );
    }
}
