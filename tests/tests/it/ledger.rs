//! What every ledger promises, asked of all of them: memory, a SQLite file, SQLite in memory, PostgreSQL.
//!
//! What happens to them when a disk is full or a process dies is `ledger_faults`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sereno_adapters::clock::{FakeClock, SeededEntropy};
use sereno_adapters::ledger::{self, MemoryLedger};
use sereno_core::grant::Verb;
use sereno_core::guard::GuardState;
use sereno_core::name::RunId;
use sereno_core::ports::clock::{Clock, Entropy};
use sereno_core::ports::ledger::{
    Flag, Held, Lease, Ledger, LedgerError, NewRun, Past, RunQuery, RunRow, Start, StoredEvent,
};
use sereno_core::report::{Effect, Finding, LimitsUsed, Measurement, Report, Severity, TargetReport};
use sereno_core::run::{Mode, Outcome, Reason, Refusal, RunEvent, RunRequest, RunState, Work};
use sereno_core::value::Instant;
use sereno_tests::postgres::shared;
use sqlx::{Connection, PgConnection, SqliteConnection};
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
        verb: Verb::Delete,
        on: "database.app.tables.user_sessions".to_owned(),
        unit: "rows".to_owned(),
        what: "updated_at before 2026-11-17 02:30 UTC".to_owned(),
        planned: 3_120,
        total: Some(40_000),
        done,
        bytes: None,
        freed: None,
        bytes_estimated: false,
        skipped: 1,
        cutoff: Some(at("2026-11-17T02:30:00Z")),
        guard: Some(GuardState::new("max_rows_percent", 20.0, 7.8)),
        also_exceeded: Vec::new(),
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

every_home! {
    a_started_run_is_answered_as_it_is_stored
    attempts_of_a_key_are_counted
    events_come_back_in_order_and_byte_for_byte
    the_row_is_what_its_events_make_it
    what_a_run_cannot_meet_is_refused_with_all_that_came_with_it
    a_run_is_found_by_the_start_of_its_id
    runs_are_listed_newest_first
    only_an_ended_run_has_a_report
    scopes_are_taken_all_or_none
    a_lease_ends_with_its_time_and_its_token_grows_for_ever
    a_new_ledger_is_not_shut_out_by_the_fences_of_an_older_one
    the_end_of_a_run_gives_its_leases_back
    a_run_learns_that_its_lease_went_to_another
    an_orphan_is_taken_over_once_and_learns_of_it
    an_attempt_begins_only_after_all_that_its_caller_has_seen
    all_that_was_before_is_told_at_once
    a_running_run_without_a_lease_is_an_orphan
    flags_are_raised_and_lowered
    measurements_are_kept_and_unknown_stays_unknown
    of_many_that_take_one_scope_one_wins
    of_many_that_take_overlapping_scopes_each_gets_all_or_none
    of_many_that_start_one_attempt_one_begins
    many_that_append_to_one_run_leave_no_gap
}

async fn a_started_run_is_answered_as_it_is_stored(home: Home) {
    let ledger = home.open().await;
    let run = id("a");
    // Databases keep microseconds.
    let mut new = new_run(&run, "key", "purge", at("2026-11-24T00:00:00.123456789Z"));
    new.row.scheduled_at = at("2026-11-23T23:30:00.999999999Z");
    new.row.targets.reverse();
    let row = begun(&ledger, new.clone(), &[]).await.0;
    assert_eq!(
        row,
        RunRow {
            attempt: 1,
            state: RunState::Running,
            targets: scopes(&["database.app", "directory.temp"]),
            scheduled_at: at("2026-11-23T23:30:00.999999Z"),
            started_at: at("2026-11-24T00:00:00.123456Z"),
            ..new.row.clone()
        }
    );
    assert_eq!(ledger.run(run.as_str()).await.unwrap(), row);
    let first = RunEvent::Started {
        request: Box::new(new.request.clone()),
        params: new.params.clone(),
        cursor: Some("from before".to_owned()),
    };
    assert_eq!(
        ledger.events(&run).await.unwrap(),
        [StoredEvent {
            seq: 1,
            at: row.started_at,
            event: first
        }]
    );

    // The same id is never recorded twice, whatever its key.
    new.row.key = "another".into();
    let again = ledger.start(new, &[], TTL).await;
    assert!(matches!(again, Err(LedgerError::Fault { .. })), "{again:?}");
    assert_eq!(ledger.runs(&RunQuery::default()).await.unwrap(), [row]);
}

async fn attempts_of_a_key_are_counted(home: Home) {
    let ledger = home.open().await;
    for (run, key, attempt) in [("a", "x", 1), ("b", "x", 2), ("c", "y", 1), ("d", "x", 3)] {
        let row = begun(&ledger, new_run(&id(run), key, "purge", midnight()), &[])
            .await
            .0;
        assert_eq!(row.attempt, attempt, "{run}");
        assert_eq!(ledger.run(run).await.unwrap().attempt, attempt);
    }
}

async fn events_come_back_in_order_and_byte_for_byte(home: Home) {
    let ledger = home.open().await;
    let run = id("a");
    begun(&ledger, new_run(&run, "key", "purge", midnight()), &[]).await;
    let batches = [
        vec![
            log("quotes \" ' ` \\ and ${env:X} and \u{1f319} and \u{7f}"),
            log("a NUL \0, a line break \n, a tab \t"),
            log(&"long ".repeat(20_000)),
        ],
        vec![
            RunEvent::Intent {
                effect: Box::new(effect(0)),
            },
            RunEvent::Effect {
                effect: Box::new(effect(500)),
            },
        ],
        vec![],
        vec![cursor("opaque \0 \" cursor"), log("")],
        vec![ended(
            &run,
            Outcome::Refused(Refusal::Guard, "max_rows".to_owned()),
            midnight(),
        )],
    ];
    let mut expected = Vec::new();
    for (batch, minute) in batches.iter().zip(1..) {
        let at = midnight() + Duration::from_secs(60 * minute);
        ledger.append(&run, at, batch).await.unwrap();
        expected.extend(batch.iter().map(|event| (at, event.clone())));
    }
    let stored = ledger.events(&run).await.unwrap();
    assert_eq!(
        stored.iter().map(|stored| stored.seq).collect::<Vec<_>>(),
        (1..=9).collect::<Vec<_>>()
    );
    for (stored, (at, event)) in stored[1..].iter().zip(&expected) {
        assert_eq!((&stored.at, &stored.event), (at, event));
    }
    assert_eq!(
        ledger.run("a").await.unwrap().cursor.as_deref(),
        Some("opaque \0 \" cursor")
    );

    if let Some(url) = home.behind() {
        let bodies = bodies(&url).await;
        let written: Vec<String> = expected
            .iter()
            .map(|(_, event)| serde_json::to_string(event).unwrap())
            .collect();
        assert_eq!(bodies[1..], written);
    }
}

async fn bodies(url: &str) -> Vec<String> {
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let sql = "SELECT body::text FROM sereno.event ORDER BY seq";
        sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
    } else {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar("SELECT body FROM event ORDER BY seq")
            .fetch_all(&mut connection)
            .await
            .unwrap()
    }
}

/// Random batches, legal or not, over a few runs; the rows are then made again from the stored events.
async fn the_row_is_what_its_events_make_it(home: Home) {
    const SEED: u64 = 20_261_124;
    eprintln(&format!("seed {SEED}"));
    let chance = SeededEntropy::new(SEED);
    let ledger = home.open().await;
    let runs: Vec<RunId> = ["a", "b", "c", "d"].into_iter().map(id).collect();
    let mut first = BTreeMap::new();
    for run in &runs {
        let (row, _) = begun(&ledger, new_run(run, "key", "purge", midnight()), &[]).await;
        first.insert(run, row);
    }
    let (mut accepted, mut refused) = (0, 0);
    for step in 0..120 {
        let run = &runs[usize::try_from(chance.next() % 4).unwrap()];
        let now = midnight() + Duration::from_secs(step);
        let batch: Vec<RunEvent> = (0..chance.next() % 4)
            .map(|_| match chance.next() % 24 {
                0 => ended(run, Outcome::Succeeded, now),
                1 => RunEvent::Rescued {
                    report: Box::new(report(run, Outcome::Lost("gone".to_owned()), now)),
                },
                2..12 => cursor(&format!("{step}")),
                _ => log("line"),
            })
            .collect();
        match ledger.append(run, now, &batch).await {
            Ok(()) => accepted += 1,
            Err(LedgerError::Illegal { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        accepted > 20 && refused > 20,
        "{accepted} batches accepted, {refused} refused"
    );

    for run in &runs {
        let mut row = first[run].clone();
        let mut state = RunState::New;
        for (stored, seq) in ledger.events(run).await.unwrap().iter().zip(1..) {
            assert_eq!(stored.seq, seq);
            state = state.after(&stored.event).expect("only legal events are stored");
            match &stored.event {
                RunEvent::Cursor { cursor } => row.cursor = Some(cursor.clone()),
                RunEvent::Ended { report } | RunEvent::Rescued { report } => {
                    row.ended_at = Some(report.ended_at);
                    row.outcome = Some(report.outcome.label());
                }
                _ => {}
            }
        }
        row.state = state;
        assert_eq!(ledger.run(run.as_str()).await.unwrap(), row);
    }
}

/// For what a failing test should say of itself.
#[expect(
    clippy::print_stderr,
    reason = "the harness shows it only when the test fails"
)]
pub(crate) fn eprintln(text: &str) {
    eprintln!("{text}");
}

async fn what_a_run_cannot_meet_is_refused_with_all_that_came_with_it(home: Home) {
    let ledger = home.open().await;
    let run = id("a");
    let new = new_run(&run, "key", "purge", midnight());
    let started = RunEvent::Started {
        request: Box::new(new.request.clone()),
        params: new.params.clone(),
        cursor: None,
    };
    begun(&ledger, new, &[]).await;
    let end = || ended(&run, Outcome::Succeeded, midnight());
    let refusal = async |batch: &[RunEvent]| {
        let before = (ledger.run("a").await.unwrap(), ledger.events(&run).await.unwrap());
        let refused = ledger.append(&run, midnight(), batch).await;
        assert_eq!(
            (ledger.run("a").await.unwrap(), ledger.events(&run).await.unwrap()),
            before
        );
        match refused {
            Err(LedgerError::Illegal {
                run: which,
                state,
                event,
            }) if which == run => (state, event),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refusal(&[log("x"), started.clone()]).await,
        (RunState::Running, "started".to_owned())
    );
    assert_eq!(
        refusal(&[cursor("new"), end(), log("late")]).await,
        (RunState::Ended, "log".to_owned())
    );
    assert_eq!(
        refusal(&[end(), end()]).await,
        (RunState::Ended, "ended".to_owned())
    );

    ledger.append(&run, midnight(), &[end()]).await.unwrap();
    assert_eq!(refusal(&[log("late")]).await, (RunState::Ended, "log".to_owned()));
    assert_eq!(
        refusal(&[cursor("late")]).await,
        (RunState::Ended, "cursor".to_owned())
    );
    assert_eq!(refusal(&[end()]).await, (RunState::Ended, "ended".to_owned()));
    assert_eq!(refusal(&[started]).await, (RunState::Ended, "started".to_owned()));

    let nobody = id("b");
    assert!(
        matches!(ledger.append(&nobody, midnight(), &[log("x")]).await, Err(LedgerError::NoRun(text)) if text == "b000000000")
    );
    assert!(matches!(ledger.events(&nobody).await, Err(LedgerError::NoRun(_))));
    assert!(matches!(ledger.report(&nobody).await, Err(LedgerError::NoRun(_))));
    assert!(matches!(
        ledger.measure(&nobody, midnight(), &[]).await,
        Err(LedgerError::NoRun(_))
    ));
}

async fn a_run_is_found_by_the_start_of_its_id(home: Home) {
    let ledger = home.open().await;
    for run in ["ab1", "ab2", "ac", "zz"] {
        begun(&ledger, new_run(&id(run), run, "purge", midnight()), &[]).await;
    }
    for (text, found) in [("ac", "ac"), ("z", "zz"), ("ab1", "ab1"), ("ab20000000", "ab2")] {
        assert_eq!(ledger.run(text).await.unwrap().id, id(found), "{text}");
    }
    for (text, many) in [("a", 3), ("ab", 2)] {
        match ledger.run(text).await {
            Err(LedgerError::Ambiguous { text: told, count }) => {
                assert_eq!((told.as_str(), count), (text, many));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in [
        "",
        "b",
        "ab3",
        "a%",
        "a_",
        "%",
        "AC",
        "zz00000000x",
        "\u{10ffff}",
        "a\0",
        "'",
    ] {
        assert!(
            matches!(ledger.run(text).await, Err(LedgerError::NoRun(_))),
            "{text:?}"
        );
    }
}

async fn runs_are_listed_newest_first(home: Home) {
    let ledger = home.open().await;
    // `b` is recorded last, by a runner whose clock is late.
    for (run, key, name, minute) in [
        ("a", "x", "purge", 1),
        ("c", "y", "sweep", 2),
        ("d", "x", "sweep", 2),
        ("b", "x", "purge", 0),
    ] {
        let started_at = midnight() + Duration::from_secs(60 * minute);
        begun(&ledger, new_run(&id(run), key, name, started_at), &[]).await;
    }
    ledger
        .append(
            &id("c"),
            midnight(),
            &[ended(&id("c"), Outcome::Succeeded, midnight())],
        )
        .await
        .unwrap();
    let list = async |query: RunQuery| {
        let rows = ledger.runs(&query).await.unwrap();
        ids(&rows).iter().map(|id| id[..1].to_owned()).collect::<String>()
    };
    let all = RunQuery::default();
    assert_eq!(list(all.clone()).await, "bdca");
    assert_eq!(
        list(RunQuery {
            limit: u32::MAX,
            ..all.clone()
        })
        .await,
        "bdca"
    );
    assert_eq!(
        list(RunQuery {
            limit: 3,
            ..all.clone()
        })
        .await,
        "bdc"
    );
    assert_eq!(
        list(RunQuery {
            work: Some(job("purge")),
            ..all.clone()
        })
        .await,
        "ba"
    );
    assert_eq!(
        list(RunQuery {
            key: Some("x".to_owned()),
            ..all.clone()
        })
        .await,
        "bda"
    );
    assert_eq!(
        list(RunQuery {
            running: true,
            ..all.clone()
        })
        .await,
        "bda"
    );
    let narrow = RunQuery {
        key: Some("x".to_owned()),
        work: Some(job("purge")),
        running: true,
        limit: 1,
        mode: Some(Mode::Apply),
        outcome: None,
    };
    assert_eq!(list(narrow).await, "b");
    assert_eq!(
        list(RunQuery {
            key: Some("y".to_owned()),
            running: true,
            ..all.clone()
        })
        .await,
        ""
    );
    assert_eq!(
        list(RunQuery {
            work: Some(job("nothing")),
            ..all
        })
        .await,
        ""
    );
}

async fn only_an_ended_run_has_a_report(home: Home) {
    let ledger = home.open().await;
    let (done, lost, running) = (id("a"), id("b"), id("c"));
    for run in [&done, &lost, &running] {
        begun(&ledger, new_run(run, "key", "purge", midnight()), &[]).await;
        ledger.append(run, midnight(), &[log("line")]).await.unwrap();
    }
    let kept = report(
        &done,
        Outcome::Limit("memory".to_owned(), "too much".to_owned()),
        midnight(),
    );
    ledger
        .append(
            &done,
            midnight(),
            &[RunEvent::Ended {
                report: Box::new(kept.clone()),
            }],
        )
        .await
        .unwrap();
    let rebuilt = report(&lost, Outcome::Lost("the host died".to_owned()), midnight() + TTL);
    ledger
        .append(
            &lost,
            midnight(),
            &[RunEvent::Rescued {
                report: Box::new(rebuilt.clone()),
            }],
        )
        .await
        .unwrap();

    assert_eq!(ledger.report(&done).await.unwrap(), Some(kept));
    assert_eq!(ledger.report(&lost).await.unwrap(), Some(rebuilt));
    assert_eq!(ledger.report(&running).await.unwrap(), None);
    let row = ledger.run("b").await.unwrap();
    assert_eq!(
        (row.ended_at, row.outcome.as_deref()),
        (Some(midnight() + TTL), Some("lost"))
    );
}

/// A run of its own key, that wants `names`.
async fn wish(ledger: &Arc<dyn Ledger>, run: &str, name: &str, names: &[&str], now: Instant) -> Start {
    start(ledger, new_run(&id(run), run, name, now), names).await
}

fn leases(start: Start) -> Vec<Lease> {
    match start {
        Start::Begun(_, leases) => leases,
        other => panic!("{other:?}"),
    }
}

fn holders(start: Start) -> Vec<RunId> {
    match start {
        Start::Held(held) => held.into_iter().map(|held| held.run).collect(),
        other => panic!("{other:?}"),
    }
}

async fn scopes_are_taken_all_or_none(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let now = clock.now();
    let taken = leases(wish(&ledger, "a", "purge", &["y", "x", "y"], now).await);
    assert_eq!(
        taken
            .iter()
            .map(|lease| (lease.scope.as_str(), &lease.run, lease.until))
            .collect::<Vec<_>>(),
        [("x", &id("a"), now + TTL), ("y", &id("a"), now + TTL)]
    );

    clock.advance(Duration::from_secs(59));
    let refused = wish(&ledger, "b", "sweep", &["w", "x", "y", "z"], clock.now()).await;
    let holds = |scope: &str| Held {
        scope: scope.to_owned(),
        run: id("a"),
        work: job("purge"),
        until: now + TTL,
    };
    assert_eq!(refused, Start::Held(vec![holds("x"), holds("y")]));
    // Nothing of the refused wish is there: no run, and what was free still is.
    assert!(matches!(ledger.run("b").await, Err(LedgerError::NoRun(_))));
    let third = leases(wish(&ledger, "c", "sweep", &["z", "w"], clock.now()).await);
    assert_eq!(third.len(), 2);
    assert_eq!(leases(wish(&ledger, "d", "sweep", &[], clock.now()).await), []);
}

async fn a_lease_ends_with_its_time_and_its_token_grows_for_ever(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let first = leases(wish(&ledger, "a", "purge", &["x"], clock.now()).await)[0].token;
    clock.advance(NEARLY_TTL);
    let held = wish(&ledger, "b", "purge", &["x"], clock.now()).await;
    assert_eq!(holders(held), [id("a")]);
    clock.advance(Duration::from_micros(1));
    // At the very end of its time it is over.
    let second = leases(wish(&ledger, "b", "purge", &["x"], clock.now()).await)[0].token;
    end(&ledger, &id("b")).await;
    // The same moment, or an earlier one: somebody's clock is late.
    let third = leases(wish(&ledger, "c", "purge", &["x"], clock.now()).await)[0].token;
    end(&ledger, &id("c")).await;
    let fourth = leases(wish(&ledger, "d", "purge", &["x"], midnight()).await)[0].token;
    assert!(
        first < second && second < third && third < fourth,
        "{first} {second} {third} {fourth}"
    );
}

/// Fences stay in the targets when a ledger is lost or replaced.
async fn a_new_ledger_is_not_shut_out_by_the_fences_of_an_older_one(home: Home) {
    let ledger = home.open().await;
    let older: Arc<dyn Ledger> = Arc::new(MemoryLedger::default());
    let clock = FakeClock::at(midnight());
    let mut token = 0;
    for run in ["a", "b", "c"] {
        token = leases(wish(&older, run, "purge", &["x"], clock.now()).await)[0].token;
        end(&older, &id(run)).await;
    }
    clock.advance(Duration::from_millis(1));
    assert!(leases(wish(&ledger, "a", "purge", &["x"], clock.now()).await)[0].token > token);
}

async fn the_end_of_a_run_gives_its_leases_back(home: Home) {
    let ledger = home.open().await;
    leases(wish(&ledger, "a", "purge", &["x", "y"], midnight()).await);
    leases(wish(&ledger, "b", "purge", &["z"], midnight()).await);
    ledger.append(&id("a"), midnight(), &[log("line")]).await.unwrap();
    assert_eq!(
        holders(wish(&ledger, "c", "purge", &["x"], midnight()).await),
        [id("a")]
    );
    end(&ledger, &id("a")).await;
    leases(wish(&ledger, "c", "purge", &["x", "y"], midnight()).await);
    // What was refused gives nothing back.
    let late = ended(&id("b"), Outcome::Succeeded, midnight());
    let refused = ledger.append(&id("b"), midnight(), &[late, log("after")]).await;
    assert!(matches!(refused, Err(LedgerError::Illegal { .. })));
    assert_eq!(
        holders(wish(&ledger, "d", "purge", &["z"], midnight()).await),
        [id("b")]
    );
}

async fn a_run_learns_that_its_lease_went_to_another(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let renew = async |run: &str| ledger.renew(&id(run), clock.now(), TTL).await.unwrap();
    assert!(!renew("a").await, "it holds nothing");
    leases(wish(&ledger, "a", "purge", &["x", "y"], clock.now()).await);
    clock.advance(Duration::from_secs(45));
    assert!(renew("a").await);
    clock.advance(Duration::from_secs(45));
    // A renewed lease holds for its whole time again.
    assert_eq!(
        holders(wish(&ledger, "b", "purge", &["x"], clock.now()).await),
        [id("a")]
    );
    clock.advance(TTL);
    leases(wish(&ledger, "b", "purge", &["x"], clock.now()).await);
    assert!(!renew("a").await);
    // Even when the other is done and a third one has come and gone.
    end(&ledger, &id("b")).await;
    assert!(!renew("a").await);
    leases(wish(&ledger, "c", "purge", &["x"], clock.now()).await);
    end(&ledger, &id("c")).await;
    assert!(!renew("a").await);
    // Its other lease goes on; who took over never lost anything.
    assert_eq!(
        holders(wish(&ledger, "d", "purge", &["y"], clock.now()).await),
        [id("a")]
    );
    leases(wish(&ledger, "d", "purge", &["x"], clock.now()).await);
    assert!(renew("d").await);
}

async fn a_running_run_without_a_lease_is_an_orphan(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    for (run, names) in [("a", &["x"] as &[&str]), ("b", &[]), ("c", &["z"]), ("d", &["w"])] {
        leases(wish(&ledger, run, "purge", names, clock.now()).await);
    }
    end(&ledger, &id("d")).await;
    let orphans = async || ids(&ledger.orphans(clock.now()).await.unwrap()).join(" ");
    assert_eq!(orphans().await, "b000000000");
    clock.advance(NEARLY_TTL);
    assert_eq!(orphans().await, "b000000000");
    ledger.renew(&id("c"), clock.now(), TTL).await.unwrap();
    clock.advance(Duration::from_micros(1));
    assert_eq!(orphans().await, "a000000000 b000000000");
    let orphan = ledger.orphans(clock.now()).await.unwrap().remove(0);
    assert_eq!(orphan, ledger.run("a").await.unwrap());
}

async fn an_orphan_is_taken_over_once_and_learns_of_it(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let run = id("a");
    let own = leases(wish(&ledger, "a", "purge", &["key", "x", "y"], clock.now()).await);
    let take_over = async |run: &RunId| ledger.take_over(run, clock.now(), TTL).await.unwrap();
    assert_eq!(take_over(&run).await, None, "it lives");
    clock.advance(TTL);
    // One of its scopes has gone to another run already.
    leases(wish(&ledger, "b", "sweep", &["x"], clock.now()).await);
    let taken = take_over(&run).await.unwrap();
    assert_eq!(
        taken
            .iter()
            .map(|lease| (lease.scope.as_str(), &lease.run, lease.until))
            .collect::<Vec<_>>(),
        [("key", &run, clock.now() + TTL), ("y", &run, clock.now() + TTL)]
    );
    assert!(taken[0].token > own[0].token && taken[1].token > own[2].token);
    assert_eq!(take_over(&run).await, None, "somebody is at it");
    assert!(!ledger.renew(&run, clock.now(), TTL).await.unwrap());
    // Whoever was at it died as well.
    clock.advance(TTL);
    assert_eq!(ids(&ledger.orphans(clock.now()).await.unwrap()).len(), 2);
    assert_eq!(take_over(&run).await.unwrap().len(), 2);
    let lost = report(&run, Outcome::Lost("gone".to_owned()), clock.now());
    let rescued = RunEvent::Rescued {
        report: Box::new(lost),
    };
    ledger.append(&run, clock.now(), &[rescued]).await.unwrap();
    assert_eq!(take_over(&run).await, None, "it has ended");
    leases(wish(&ledger, "c", "purge", &["key", "y"], clock.now()).await);
    // One that holds nothing any more can be closed all the same.
    leases(wish(&ledger, "d", "purge", &[], clock.now()).await);
    assert_eq!(take_over(&id("d")).await, Some(vec![]));
    assert!(matches!(
        ledger.take_over(&id("e"), clock.now(), TTL).await,
        Ok(None) | Err(LedgerError::NoRun(_))
    ));
}

async fn an_attempt_begins_only_after_all_that_its_caller_has_seen(home: Home) {
    let ledger = home.open().await;
    let attempt = async |run: &str, attempt: u32, names: &[&str]| {
        let mut new = new_run(&id(run), "key", "purge", midnight());
        new.row.attempt = attempt;
        ledger.start(new, &scopes(names), TTL).await.unwrap()
    };
    assert_eq!(attempt("a", 2, &["x"]).await, Start::Overtaken);
    let Start::Begun(first, _) = attempt("a", 1, &["x"]).await else {
        panic!("there was none before");
    };
    assert_eq!(first.attempt, 1);
    // At work: that is told first, whatever the caller knew.
    assert_eq!(holders(attempt("b", 1, &["x"]).await), [id("a")]);
    end(&ledger, &id("a")).await;
    assert_eq!(attempt("b", 1, &["x"]).await, Start::Overtaken);
    assert!(matches!(ledger.run("b").await, Err(LedgerError::NoRun(_))));
    // Nothing was taken by it either.
    leases(wish(&ledger, "c", "purge", &["x"], midnight()).await);
    assert!(matches!(attempt("b", 2, &["y"]).await, Start::Begun(row, _) if row.attempt == 2));
}

async fn all_that_was_before_is_told_at_once(home: Home) {
    let ledger = home.open().await;
    let past = async |name: &str, key: &str, now: Instant| ledger.past(&job(name), key, now).await.unwrap();
    assert_eq!(past("purge", "key", midnight()).await, Past::default());
    let (first, _) = begun(&ledger, new_run(&id("b"), "key", "purge", midnight()), &[]).await;
    let (second, _) = begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &["x"]).await;
    let (other, _) = begun(&ledger, new_run(&id("c"), "other", "sweep", midnight()), &["y"]).await;
    ledger
        .set_flag("sweep", Flag::Pause, true, midnight())
        .await
        .unwrap();
    assert_eq!(
        past("purge", "key", midnight()).await,
        Past {
            orphans: vec![first.clone()],
            attempts: vec![second.clone(), first.clone()],
            paused: false
        }
    );
    assert_eq!(
        past("sweep", "nothing", midnight() + TTL).await,
        Past {
            orphans: vec![first, second, other],
            attempts: vec![],
            paused: true
        }
    );
    ledger.set_flag("*", Flag::Pause, true, midnight()).await.unwrap();
    assert!(past("purge", "key", midnight()).await.paused);
}

async fn flags_are_raised_and_lowered(home: Home) {
    let ledger = home.open().await;
    let set = async |on, flag, raised| ledger.set_flag(on, flag, raised, midnight()).await.unwrap();
    let flag = async |on: &[&str], flag| ledger.flag(on, flag).await.unwrap();
    set("purge", Flag::Pause, true).await;
    set("purge", Flag::Pause, true).await;
    set("sweep", Flag::Cancel, false).await;
    assert!(flag(&["purge"], Flag::Pause).await);
    assert!(flag(&["sweep", "*", "purge"], Flag::Pause).await);
    assert!(!flag(&["purge"], Flag::Cancel).await);
    assert!(!flag(&["sweep", "*", "pur", "PURGE"], Flag::Pause).await);
    assert!(!flag(&[], Flag::Pause).await);
    set("*", Flag::Pause, true).await;
    set("purge", Flag::Pause, false).await;
    assert!(!flag(&["purge"], Flag::Pause).await);
    assert!(flag(&["purge", "*"], Flag::Pause).await);
}

async fn measurements_are_kept_and_unknown_stays_unknown(home: Home) {
    let ledger: Arc<dyn Ledger> = home.open().await;
    let memory = Arc::new(MemoryLedger::default());
    let in_memory = home.url == "memory:";
    // The in-memory twin is asked itself; the others through their tables.
    let ledger: Arc<dyn Ledger> = if in_memory {
        Arc::<MemoryLedger>::clone(&memory)
    } else {
        ledger
    };
    let run = id("a");
    begun(&ledger, new_run(&run, "key", "purge", midnight()), &[]).await;
    let given = [
        measurement("disk.used_percent", Some(81.25)),
        measurement("inodes.used_percent", None),
        measurement("rows.growth", Some(f64::NAN)),
        measurement("zero", Some(0.0)),
    ];
    ledger.measure(&run, midnight(), &given).await.unwrap();
    ledger.measure(&run, midnight() + TTL, &given[..1]).await.unwrap();
    ledger.measure(&run, midnight(), &[]).await.unwrap();

    let found: Vec<(String, Option<f64>, Option<String>)> = if in_memory {
        let kept = memory.measurements();
        assert_eq!(kept[4].1, midnight() + TTL);
        kept.into_iter()
            .map(|(_, _, one)| (one.name, one.value, one.note))
            .collect()
    } else if let Some(url) = home.behind() {
        measured(&url).await
    } else {
        // Nobody can look behind a SQLite ledger in memory, which is the file's code.
        return;
    };
    let unknown = Some("no permission".to_owned());
    assert_eq!(
        found,
        [
            ("disk.used_percent".to_owned(), Some(81.25), None),
            ("inodes.used_percent".to_owned(), None, unknown),
            ("rows.growth".to_owned(), None, None),
            ("zero".to_owned(), Some(0.0), None),
            ("disk.used_percent".to_owned(), Some(81.25), None),
        ]
    );
}

async fn measured(url: &str) -> Vec<(String, Option<f64>, Option<String>)> {
    if url.starts_with("postgres") {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let sql = "SELECT name, value, note FROM sereno.measurement ORDER BY at, name";
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
    } else {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        let sql = "SELECT name, value, note FROM measurement ORDER BY at, name";
        sqlx::query_as(sql).fetch_all(&mut connection).await.unwrap()
    }
}

/// As many as race for one thing.
const RACERS: u32 = 8;

/// Runs `f` once for each racer, on handles of their own, all at once.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    home: &Home,
    f: impl Fn(Arc<dyn Ledger>, RunId) -> F,
) -> Vec<T> {
    let handles = home.open_many(RACERS.try_into().unwrap()).await;
    let racers = handles
        .into_iter()
        .zip(0..)
        .map(|(ledger, place)| tokio::spawn(f(ledger, RunId::from_entropy(place))));
    join_all(racers.collect::<Vec<_>>())
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

async fn of_many_that_take_one_scope_one_wins(home: Home) {
    let ledger = home.open().await;
    let mut last = 0;
    for round in 1..=5 {
        // A new scope, one that was given back, and ones that ran out.
        let now = midnight() + TTL * round;
        let answers = race(&home, move |ledger, racer| async move {
            let run = format!("{}{round}", &racer.as_str()[..1]);
            (wish(&ledger, &run, "purge", &["x"], now).await, id(&run))
        })
        .await;
        let (winners, losers): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .partition(|(answer, _)| matches!(answer, Start::Begun(..)));
        assert_eq!(winners.len(), 1, "round {round}");
        let (won, winner) = winners.into_iter().next().unwrap();
        let token = leases(won)[0].token;
        assert!(token > last, "round {round}");
        last = token;
        for (lost, _) in losers {
            assert_eq!(holders(lost), std::slice::from_ref(&winner));
        }
        if round == 2 {
            end(&ledger, &winner).await;
        }
    }
}

async fn of_many_that_take_overlapping_scopes_each_gets_all_or_none(home: Home) {
    let now = midnight();
    let answers = race(&home, move |ledger, run| async move {
        let place = u32::from(run.as_str().as_bytes()[0] - b'0');
        let names = [format!("s{place}"), format!("s{}", (place + 1) % RACERS)];
        let names = names.each_ref().map(String::as_str);
        let new = new_run(&run, run.as_str(), "purge", now);
        (start(&ledger, new, &names).await, run)
    })
    .await;
    let mut winners = BTreeMap::new();
    for (answer, run) in answers {
        if let Start::Begun(_, leases) = answer {
            assert_eq!(leases.len(), 2);
            for lease in leases {
                assert_eq!(
                    winners.insert(lease.scope, run.clone()),
                    None,
                    "one scope, two holders"
                );
            }
        }
    }
    assert!(!winners.is_empty());
    // What the losers wanted and nobody got is free.
    let ledger = home.open().await;
    for place in 0..RACERS {
        let scope = format!("s{place}");
        let answer = wish(&ledger, &format!("z{place}"), "purge", &[&scope], now).await;
        match (answer, winners.get(&scope)) {
            (Start::Begun(..), None) => {}
            (held, Some(holder)) => assert_eq!(holders(held), std::slice::from_ref(holder)),
            other => panic!("{other:?}"),
        }
    }
}

async fn of_many_that_start_one_attempt_one_begins(home: Home) {
    let answers = race(&home, |ledger, run| async move {
        let new = new_run(&run, "key", "purge", midnight());
        ledger.start(new, &[], TTL).await.unwrap()
    })
    .await;
    let begun = answers
        .iter()
        .filter(|answer| matches!(answer, Start::Begun(row, _) if row.attempt == 1));
    assert_eq!(begun.count(), 1);
    let overtaken = answers.iter().filter(|answer| **answer == Start::Overtaken);
    assert_eq!(overtaken.count(), answers.len() - 1);
    assert_eq!(
        home.open().await.runs(&RunQuery::default()).await.unwrap().len(),
        1
    );
}

async fn many_that_append_to_one_run_leave_no_gap(home: Home) {
    let ledger = home.open().await;
    begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &[]).await;
    race(&home, |ledger, racer| async move {
        for part in 0..5 {
            let batch = [
                log(&format!("{racer} {part} first")),
                log(&format!("{racer} {part} second")),
            ];
            ledger.append(&id("a"), midnight(), &batch).await.unwrap();
        }
    })
    .await;
    let events = ledger.events(&id("a")).await.unwrap();
    let total = u64::from(RACERS) * 10 + 1;
    assert_eq!(
        events.iter().map(|stored| stored.seq).collect::<Vec<_>>(),
        (1..=total).collect::<Vec<_>>()
    );
    for pair in events[1..].chunks(2) {
        let [
            RunEvent::Log { message: first, .. },
            RunEvent::Log { message: second, .. },
        ] = [&pair[0].event, &pair[1].event]
        else {
            panic!("{pair:?}");
        };
        assert_eq!(first.replace("first", "second"), *second, "batches stay together");
    }
}
