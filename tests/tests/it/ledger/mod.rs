//! What every ledger promises, asked of memory, a SQLite file, SQLite in memory and PostgreSQL: here are the places to ask
//! them at, and what is written there.
//!
//! Each file asks for one part of it.

mod faults;
mod forget;
mod leases;
mod orders;
mod runs;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sereno_adapters::ledger::{self};
use sereno_core::grant::Verb;
use sereno_core::guard::GuardState;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::{Lease, Ledger, NewRun, RunQuery, RunRow, Start};
use sereno_core::report::{Effect, Finding, LimitsUsed, Measurement, Report, Severity, TargetReport};
use sereno_core::run::{Mode, Outcome, Reason, RunEvent, RunRequest, RunState, Work};
use sereno_core::value::Instant;
use sereno_tests::postgres::shared;
use tempfile::TempDir;

/// A place for one test's ledger.
pub(crate) struct Home {
    pub(crate) url: String,
    folder: TempDir,
    /// The one handle there can be, where a second opening would not meet the first.
    single: Option<Arc<dyn Ledger>>,
}

impl Home {
    fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            folder: tempfile::tempdir().unwrap(),
            single: None,
        }
    }

    pub(crate) async fn memory() -> Self {
        Self {
            single: Some(open("memory:", Path::new("/")).await),
            ..Self::at("memory:")
        }
    }

    pub(crate) async fn sqlite_in_memory() -> Self {
        let url = "sqlite::memory:";
        Self {
            single: Some(open(url, Path::new("/")).await),
            ..Self::at(url)
        }
    }

    pub(crate) async fn sqlite_file() -> Self {
        std::future::ready(Self::at("sqlite://state/sereno.db")).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = shared().unwrap().database("ledger").await.unwrap();
        Self::at(&database.url)
    }

    /// A handle of its own on this ledger, where there can be more than one.
    pub(crate) async fn open(&self) -> Arc<dyn Ledger> {
        match &self.single {
            Some(ledger) => Arc::clone(ledger),
            None => open(&self.url, self.folder.path()).await,
        }
    }

    async fn open_many(&self, count: usize) -> Vec<Arc<dyn Ledger>> {
        join_all((0..count).map(|_| self.open())).await
    }

    /// The folder that a relative path starts from.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the database is, for looking behind the ledger's back; none in memory.
    fn behind(&self) -> Option<String> {
        match self.url.as_str() {
            "sqlite://state/sereno.db" => {
                Some(format!("sqlite://{}/state/sereno.db", self.folder().display()))
            }
            url if url.starts_with("postgres:") => Some(url.to_owned()),
            _ => None,
        }
    }
}

pub(crate) async fn open(url: &str, folder: &Path) -> Arc<dyn Ledger> {
    ledger::open(url, folder).await.unwrap()
}

pub(crate) fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn midnight() -> Instant {
    at("2026-11-24T00:00:00.123456Z")
}

pub(crate) fn id(text: &str) -> RunId {
    format!("{text:0<10}").parse().unwrap()
}

pub(crate) fn job(name: &str) -> Work {
    name.parse().unwrap()
}

/// Everything about it follows from `run`, `key` and `name`, so that a row can be compared as a whole.
pub(crate) fn new_run(run: &RunId, key: &str, name: &str, started_at: Instant) -> NewRun {
    let request = RunRequest {
        params: BTreeMap::from([("keep".to_owned(), serde_json::json!("7 days"))]),
        scheduled_at: Some(at("2026-11-23T23:30:00Z")),
        shard: Some("tenant_7".to_owned()),
        reason: Reason::Event("B".to_owned()),
        ..RunRequest::manual(job(name))
    };
    let row = RunRow {
        id: run.clone(),
        key: key.to_owned(),
        attempt: 1,
        work: job(name),
        targets: vec!["database.app".to_owned(), "directory.temp".to_owned()],
        shard: Some("tenant_7".to_owned()),
        mode: Mode::Apply,
        reason: Reason::Event("B".to_owned()),
        scheduled_at: at("2026-11-23T23:30:00Z"),
        consent: "consent".to_owned(),
        digest: "digest".to_owned(),
        state: RunState::New,
        cursor: Some("from before".to_owned()),
        started_at,
        ended_at: None,
        outcome: None,
    };
    NewRun {
        row,
        request,
        params: serde_json::json!({ "keep": "7 days", "ños": [1, 2.5, null] }),
    }
}

/// Begins an attempt, whichever of its key it is, with the leases it needs.
pub(crate) async fn start(ledger: &Arc<dyn Ledger>, mut new: NewRun, names: &[&str]) -> Start {
    let of_key = RunQuery {
        key: Some(new.row.key.clone()),
        ..RunQuery::default()
    };
    let known = ledger.runs(&of_key).await.unwrap().len();
    new.row.attempt = u32::try_from(known).unwrap() + 1;
    ledger.start(new, &scopes(names), TTL).await.unwrap()
}

/// The same, where nothing is in the way.
pub(crate) async fn begun(ledger: &Arc<dyn Ledger>, new: NewRun, names: &[&str]) -> (RunRow, Vec<Lease>) {
    match start(ledger, new, names).await {
        Start::Begun(row, leases) => (*row, leases),
        other => panic!("{other:?}"),
    }
}

/// Ends a run, which gives its leases back.
pub(crate) async fn end(ledger: &Arc<dyn Ledger>, run: &RunId) {
    let end = ended(run, Outcome::Succeeded, midnight());
    ledger.append(run, midnight(), &[end]).await.unwrap();
}

pub(crate) fn log(message: &str) -> RunEvent {
    RunEvent::Log {
        level: "info".to_owned(),
        message: message.to_owned(),
        fields: vec![("key".to_owned(), "value".to_owned())],
    }
}

fn cursor(text: &str) -> RunEvent {
    RunEvent::Cursor {
        cursor: text.to_owned(),
    }
}

fn effect(done: u64) -> Effect {
    Effect {
        planned: 3_120,
        total: Some(40_000),
        done,
        skipped: 1,
        cutoff: Some(at("2026-11-17T02:30:00Z")),
        guard: Some(GuardState::new("max_rows_percent", 20.0, 7.8)),
        ..Effect::of(
            Verb::Delete,
            "database.app.tables.user_sessions",
            "rows",
            "updated_at before 2026-11-17 02:30 UTC",
        )
    }
}

pub(crate) fn report(run: &RunId, outcome: Outcome, ended_at: Instant) -> Report {
    Report {
        schema_version: 1,
        run: run.clone(),
        key: "key".to_owned(),
        attempt: 1,
        work: job("purge"),
        mode: Mode::Apply,
        reason: Reason::Manual,
        scheduled_at: midnight(),
        started_at: midnight(),
        ended_at,
        outcome,
        duplicate: false,
        targets: vec![TargetReport {
            target: "database.app".to_owned(),
            effects: vec![effect(3_120)],
            findings: vec![Finding {
                code: "rows-never-reached".to_owned(),
                severity: Severity::Warn,
                target: "database.app.tables.user_sessions".to_owned(),
                text: "12 rows have no time: \u{1f319}".to_owned(),
                next: None,
            }],
        }],
        measurements: vec![measurement("disk.used_percent", Some(81.5))],
        limits_used: LimitsUsed {
            wall_ms: 12,
            ..LimitsUsed::default()
        },
        continued: false,
        params: serde_json::json!({}),
        notes: vec!["fence: ledger only".to_owned()],
        earlier: vec![effect(40)],
        steps: Vec::new(),
    }
}

fn ended(run: &RunId, outcome: Outcome, at: Instant) -> RunEvent {
    RunEvent::Ended {
        report: Box::new(report(run, outcome, at)),
    }
}

fn measurement(name: &str, value: Option<f64>) -> Measurement {
    Measurement {
        name: name.to_owned(),
        target: "directory.temp".to_owned(),
        value,
        unit: "percent".to_owned(),
        note: value.is_none().then(|| "no permission".to_owned()),
    }
}

fn scopes(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn ids(rows: &[RunRow]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

const TTL: Duration = Duration::from_mins(1);
/// The last moment at which a lease of that time holds.
const NEARLY_TTL: Duration = Duration::from_micros(59_999_999);

/// Each test for each ledger there is.
macro_rules! every_home {
    ($($test:ident)+) => { every_home! { @home memory: $($test)+ } every_home! { @home sqlite_in_memory: $($test)+ }
        every_home! { @home sqlite_file: $($test)+ } every_home! { @home postgres: $($test)+ } };
    (@home $home:ident: $($test:ident)+) => {
        mod $home {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Home::$home().await).await;
            })+
        }
    };
}

use every_home;

/// For what a failing test should say of itself.
#[expect(
    clippy::print_stderr,
    reason = "the harness shows it only when the test fails"
)]
pub(crate) fn eprintln(text: &str) {
    eprintln!("{text}");
}
