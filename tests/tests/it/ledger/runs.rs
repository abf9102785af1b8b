//! What every ledger promises of runs: their events in order, the row that these make, flags and measurements.

use sereno_adapters::clock::SeededEntropy;
use sereno_adapters::ledger::MemoryLedger;
use sereno_core::name::RunId;
use sereno_core::ports::clock::Entropy;
use sereno_core::ports::ledger::{Flag, Ledger, LedgerError, RunQuery, RunRow, StoredEvent};
use sereno_core::run::{Mode, Outcome, Refusal, RunEvent, RunState};
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Home, TTL, at, begun, cursor, effect, ended, eprintln, every_home, id, ids, job, log, measurement,
    midnight, new_run, report, scopes,
};

every_home! {
    a_started_run_is_answered_as_it_is_stored
    attempts_of_a_key_are_counted
    events_come_back_in_order_and_byte_for_byte
    the_row_is_what_its_events_make_it
    what_a_run_cannot_meet_is_refused_with_all_that_came_with_it
    a_run_is_found_by_the_start_of_its_id
    runs_are_listed_newest_first
    only_an_ended_run_has_a_report
    flags_are_raised_and_lowered
    measurements_are_kept_and_unknown_stays_unknown
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
