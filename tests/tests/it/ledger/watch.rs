//! What every ledger promises to those who watch: measurements over time, standings and the outbox, asked of memory,
//! a SQLite file, SQLite in memory and PostgreSQL.
//!
//! What it promises of runs is `ledger`; what is made of all this is `gauges` and `alerts`.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use sereno_core::alert::{MESSAGE_SCHEMA_VERSION, Message, MessageKind};
use sereno_core::ports::ledger::{Ledger, LedgerError};
use sereno_core::ports::watch::{
    Aftermath, Letter, LetterState, MeasurementQuery, OUTBOX_KEPT, OutboxQuery, Outgoing, Settled, Standing,
};
use sereno_core::report::{Measurement, Severity};
use sereno_core::run::{Outcome, RunEvent, RunState};
use sereno_core::value::Instant;

use super::{Home, at, begun, every_home, id, new_run, report};

const HOUR: Duration = Duration::from_hours(1);

fn midnight() -> Instant {
    at("2026-11-24T00:00:00Z")
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

fn message(message: &str, subject: &str) -> Message {
    Message {
        schema_version: MESSAGE_SCHEMA_VERSION,
        id: message.to_owned(),
        kind: MessageKind::Firing,
        severity: Severity::Critical,
        subject: subject.to_owned(),
        about: "failed(permanent)".to_owned(),
        title: "backup failed".to_owned(),
        text: "quotes \" ' and a NUL \0 and \u{1f319}".to_owned(),
        next: None,
        at: midnight(),
        since: Some(midnight()),
        host: "night".to_owned(),
        job: Some("backup".parse().unwrap()),
        run: Some(id("a")),
        gauge: None,
        target: None,
        value: Some(86.5),
        unit: Some("percent".to_owned()),
        threshold: Some("> 85 %".to_owned()),
    }
}

fn letter(name: &str, sink: &str, subject: &str) -> Letter {
    Letter {
        id: format!("{name}@{sink}"),
        sink: sink.parse().unwrap(),
        message: message(name, subject),
        created_at: midnight(),
        expires_at: midnight() + 24 * HOUR,
    }
}

fn waiting(letter: Letter) -> Outgoing {
    Outgoing {
        state: LetterState::Waiting,
        attempts: 0,
        next_at: letter.created_at,
        last_error: None,
        ended_at: None,
        letter,
    }
}

fn standing(subject: &str, version: i64, value: i64) -> Standing {
    Standing {
        subject: subject.to_owned(),
        version,
        body: json!({ "value": value, "ños": "a NUL \0" }),
    }
}

fn end(run: &str) -> RunEvent {
    RunEvent::Ended {
        report: Box::new(report(&id(run), Outcome::Succeeded, midnight())),
    }
}

fn names(outgoing: &[Outgoing]) -> Vec<&str> {
    let mut names: Vec<&str> = outgoing.iter().map(|one| one.letter.id.as_str()).collect();
    names.sort_unstable();
    names
}

/// All that is due, held for a minute.
async fn claim(ledger: &Arc<dyn Ledger>, now: Instant) -> Vec<Outgoing> {
    let until = now + Duration::from_mins(1);
    ledger.claim(now, now, until, 100).await.unwrap()
}

every_home! {
    measurements_are_read_back_oldest_first_and_thinned_out
    what_ends_a_run_is_written_with_what_it_leaves
    a_standing_that_another_has_changed_keeps_everything_from_being_written
    a_run_that_has_ended_leaves_nothing_more
    letters_come_back_as_they_were_and_once
    a_letter_is_held_by_one_sender_and_comes_back_when_that_one_is_gone
    letters_about_one_subject_leave_in_order
    what_has_grown_too_old_is_not_taken_and_can_be_given_up
    what_was_sent_is_forgotten_after_a_while
    of_many_senders_each_letter_goes_to_one
    of_many_that_settle_on_one_reading_one_wins
}

async fn measurements_are_read_back_oldest_first_and_thinned_out(home: Home) {
    let ledger = home.open().await;
    begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &[]).await;
    for minute in 0..6_u32 {
        let value = (minute != 3).then(|| f64::from(minute));
        let given = [measurement("disk", value), measurement("other", Some(1.0))];
        let when = midnight() + minute * Duration::from_mins(20);
        ledger.measure(&id("a"), when, &given).await.unwrap();
    }
    let read = async |since: Instant, every: Option<Duration>, limit: u32| {
        let query = MeasurementQuery {
            name: "disk".to_owned(),
            target: "directory.temp".to_owned(),
            since,
            every,
            limit,
        };
        let samples = ledger.measurements(&query).await.unwrap();
        assert!(
            samples
                .iter()
                .all(|one| one.run == id("a") && one.measurement.name == "disk")
        );
        let minutes = samples.iter().map(|one| (one.at - midnight()).num_minutes());
        let values = samples.iter().map(|one| one.measurement.value);
        minutes.zip(values).collect::<Vec<_>>()
    };
    let all = [
        (0, Some(0.0)),
        (20, Some(1.0)),
        (40, Some(2.0)),
        (60, None),
        (80, Some(4.0)),
        (100, Some(5.0)),
    ];
    assert_eq!(read(midnight(), None, 100).await, all);
    assert_eq!(read(midnight() + HOUR, None, 100).await, all[3..]);
    assert_eq!(read(midnight(), None, 2).await, all[4..]);
    // The last of each hour.
    assert_eq!(read(midnight(), Some(HOUR), 100).await, [all[2], all[5]]);
    assert_eq!(read(midnight(), Some(HOUR), 1).await, [all[5]]);

    let nowhere = MeasurementQuery {
        name: "disk".to_owned(),
        target: "directory.logs".to_owned(),
        since: midnight(),
        every: None,
        limit: 100,
    };
    assert_eq!(ledger.measurements(&nowhere).await.unwrap(), []);
}

async fn what_ends_a_run_is_written_with_what_it_leaves(home: Home) {
    let ledger = home.open().await;
    begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &["x"]).await;
    let after = Aftermath {
        measurements: vec![
            measurement("disk", Some(86.5)),
            measurement("none", Some(f64::NAN)),
        ],
        standings: vec![standing("job.purge", 0, 1), standing("gauge.disk", 0, 2)],
        letters: vec![
            letter("m1", "ops", "gauge.disk"),
            letter("m1", "mail", "gauge.disk"),
        ],
        given_up: Vec::new(),
    };
    let settled = ledger.settle(&id("a"), midnight(), &[end("a")], &after).await;
    assert_eq!(settled.unwrap(), Settled::Done);
    let row = ledger.run("a").await.unwrap();
    assert_eq!(
        (row.state, row.outcome.as_deref()),
        (RunState::Ended, Some("succeeded"))
    );
    assert!(ledger.report(&id("a")).await.unwrap().is_some());
    // Its lease is free again.
    begun(&ledger, new_run(&id("b"), "other", "purge", midnight()), &["x"]).await;

    let subjects = ["gauge.disk", "job.purge", "gauge.none"].map(str::to_owned);
    assert_eq!(
        ledger.standings(&subjects).await.unwrap(),
        [standing("gauge.disk", 1, 2), standing("job.purge", 1, 1)]
    );
    let query = MeasurementQuery {
        name: "none".to_owned(),
        target: "directory.temp".to_owned(),
        since: midnight(),
        every: None,
        limit: 1,
    };
    assert_eq!(
        ledger.measurements(&query).await.unwrap()[0].measurement.value,
        None
    );
    assert_eq!(
        ledger.outbox(&OutboxQuery::default()).await.unwrap(),
        [
            waiting(letter("m1", "mail", "gauge.disk")),
            waiting(letter("m1", "ops", "gauge.disk"))
        ]
    );
}

async fn a_standing_that_another_has_changed_keeps_everything_from_being_written(home: Home) {
    let ledger = home.open().await;
    for (run, key) in [("a", "1"), ("b", "2")] {
        begun(&ledger, new_run(&id(run), key, "purge", midnight()), &[]).await;
    }
    let after = |version: i64, name: &str| Aftermath {
        measurements: vec![measurement("disk", Some(1.0))],
        standings: vec![standing("job.new", 0, 9), standing("gauge.disk", version, 1)],
        letters: vec![letter(name, "ops", "gauge.disk")],
        given_up: Vec::new(),
    };
    let first = Aftermath {
        standings: vec![standing("gauge.disk", 0, 1)],
        ..after(0, "m1")
    };
    ledger
        .settle(&id("a"), midnight(), &[end("a")], &first)
        .await
        .unwrap();
    for wrong in [0, 2] {
        let settled = ledger
            .settle(&id("b"), midnight(), &[end("b")], &after(wrong, "m2"))
            .await;
        assert_eq!(settled.unwrap(), Settled::Overtaken);
    }
    assert_eq!(ledger.run("b").await.unwrap().state, RunState::Running);
    assert_eq!(ledger.events(&id("b")).await.unwrap().len(), 1);
    assert_eq!(
        names(&ledger.outbox(&OutboxQuery::default()).await.unwrap()),
        ["m1@ops"]
    );
    let subjects = ["gauge.disk", "job.new"].map(str::to_owned);
    assert_eq!(
        ledger.standings(&subjects).await.unwrap(),
        [standing("gauge.disk", 1, 1)]
    );

    let settled = ledger
        .settle(&id("b"), midnight(), &[end("b")], &after(1, "m2"))
        .await;
    assert_eq!(settled.unwrap(), Settled::Done);
    assert_eq!(
        ledger.standings(&subjects).await.unwrap(),
        [standing("gauge.disk", 2, 1), standing("job.new", 1, 9)]
    );
}

async fn a_run_that_has_ended_leaves_nothing_more(home: Home) {
    let ledger = home.open().await;
    begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &[]).await;
    ledger.append(&id("a"), midnight(), &[end("a")]).await.unwrap();
    let after = Aftermath {
        letters: vec![letter("m1", "ops", "job.purge")],
        ..Aftermath::default()
    };
    let late = ledger.settle(&id("a"), midnight(), &[end("a")], &after).await;
    assert!(matches!(late, Err(LedgerError::Illegal { .. })), "{late:?}");
    let nobody = ledger.settle(&id("b"), midnight(), &[end("b")], &after).await;
    assert!(matches!(nobody, Err(LedgerError::NoRun(_))), "{nobody:?}");
    assert_eq!(ledger.outbox(&OutboxQuery::default()).await.unwrap(), []);
}

async fn letters_come_back_as_they_were_and_once(home: Home) {
    let ledger = home.open().await;
    let sent = letter("m1", "ops", "job.backup");
    let changed = Letter {
        message: message("m1", "job.other"),
        ..sent.clone()
    };
    ledger.post(&[sent.clone(), changed.clone()]).await.unwrap();
    ledger.post(&[changed]).await.unwrap();
    let taken = claim(&ledger, midnight()).await;
    assert_eq!(
        taken,
        [Outgoing {
            attempts: 1,
            next_at: midnight() + Duration::from_mins(1),
            ..waiting(sent)
        }]
    );
    ledger.sent("m1@ops", midnight() + HOUR).await.unwrap();
    ledger.put_off("m1@ops", "too late", midnight()).await.unwrap();
    assert_eq!(claim(&ledger, midnight() + 2 * HOUR).await, []);
    let outbox = ledger.outbox(&OutboxQuery::default()).await.unwrap();
    assert_eq!(
        outbox,
        [Outgoing {
            state: LetterState::Sent,
            ended_at: Some(midnight() + HOUR),
            ..taken[0].clone()
        }]
    );
}

async fn a_letter_is_held_by_one_sender_and_comes_back_when_that_one_is_gone(home: Home) {
    let ledger = home.open().await;
    ledger.post(&[letter("m1", "ops", "job.backup")]).await.unwrap();
    assert_eq!(
        claim(&ledger, midnight() - HOUR).await,
        [],
        "its time has not come"
    );
    assert_eq!(names(&claim(&ledger, midnight()).await), ["m1@ops"]);
    assert_eq!(claim(&ledger, midnight() + Duration::from_secs(59)).await, []);
    // Whoever had it is gone.
    let again = claim(&ledger, midnight() + Duration::from_mins(1)).await;
    assert_eq!(again[0].attempts, 2);
    let later = midnight() + HOUR;
    ledger
        .put_off("m1@ops", "connection refused \0", later)
        .await
        .unwrap();
    assert_eq!(claim(&ledger, later - Duration::from_secs(1)).await, []);
    // Whoever asks for everything need not wait.
    let now = midnight() + Duration::from_mins(10);
    let flushed = ledger.claim(now, later, later, 100).await.unwrap();
    assert_eq!(flushed[0].attempts, 3);
    let reason = flushed[0].last_error.as_deref().unwrap();
    assert!(reason.starts_with("connection refused"), "{reason}");
}

async fn letters_about_one_subject_leave_in_order(home: Home) {
    let ledger = home.open().await;
    let letters = [
        letter("m1", "ops", "job.backup"),
        letter("m2", "ops", "job.backup"),
        letter("m2", "mail", "job.backup"),
        letter("m3", "ops", "gauge.disk"),
    ];
    ledger.post(&letters).await.unwrap();
    let now = midnight();
    assert_eq!(names(&claim(&ledger, now).await), ["m1@ops", "m2@mail", "m3@ops"]);
    ledger.put_off("m1@ops", "down", now + HOUR).await.unwrap();
    assert_eq!(
        claim(&ledger, now).await,
        [],
        "the second does not overtake the first"
    );
    ledger.sent("m1@ops", now).await.unwrap();
    assert_eq!(names(&claim(&ledger, now).await), ["m2@ops"]);
    assert_eq!(ledger.claim(now, now, now, 0).await.unwrap(), []);
}

async fn what_has_grown_too_old_is_not_taken_and_can_be_given_up(home: Home) {
    let ledger = home.open().await;
    begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &[]).await;
    let old = letter("m1", "ops", "job.backup");
    let young = Letter {
        expires_at: midnight() + 48 * HOUR,
        ..letter("m2", "ops", "job.backup")
    };
    ledger.post(&[old, young]).await.unwrap();
    let next_day = midnight() + 24 * HOUR;
    assert_eq!(
        names(&claim(&ledger, next_day).await),
        ["m2@ops"],
        "what is too old blocks nothing"
    );
    let too_old = OutboxQuery {
        state: Some(LetterState::Waiting),
        expired: Some(next_day),
        limit: 0,
    };
    assert_eq!(names(&ledger.outbox(&too_old).await.unwrap()), ["m1@ops"]);
    let after = Aftermath {
        given_up: vec!["m1@ops".to_owned(), "nothing".to_owned()],
        ..Aftermath::default()
    };
    ledger
        .settle(&id("a"), next_day, &[end("a")], &after)
        .await
        .unwrap();
    assert_eq!(ledger.outbox(&too_old).await.unwrap(), []);
    let given_up = OutboxQuery {
        state: Some(LetterState::GivenUp),
        expired: None,
        limit: 5,
    };
    let found = ledger.outbox(&given_up).await.unwrap();
    assert_eq!(
        (names(&found), found[0].ended_at),
        (vec!["m1@ops"], Some(next_day))
    );
}

async fn what_was_sent_is_forgotten_after_a_while(home: Home) {
    let ledger = home.open().await;
    let later = midnight() + OUTBOX_KEPT;
    let young = Letter {
        created_at: later,
        expires_at: later + HOUR,
        ..letter("m2", "ops", "job.backup")
    };
    ledger
        .post(&[letter("m1", "ops", "job.backup"), young])
        .await
        .unwrap();
    ledger.sent("m1@ops", midnight()).await.unwrap();
    ledger.sent("nothing", later).await.unwrap();
    let all = OutboxQuery::default();
    assert_eq!(names(&ledger.outbox(&all).await.unwrap()), ["m1@ops", "m2@ops"]);
    ledger
        .sent("nothing", later + Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(names(&ledger.outbox(&all).await.unwrap()), ["m2@ops"]);
}

const RACERS: usize = 8;

async fn of_many_senders_each_letter_goes_to_one(home: Home) {
    let first = home.open().await;
    let letters: Vec<Letter> = (0..40)
        .map(|n| letter(&format!("m{n}"), "ops", &format!("job.j{n}")))
        .collect();
    first.post(&letters).await.unwrap();
    let ledgers: Vec<_> = join_all((0..RACERS).map(|_| home.open())).await;
    let taken = join_all(ledgers.into_iter().map(|ledger| {
        tokio::spawn(async move {
            let mut own = Vec::new();
            loop {
                let until = midnight() + HOUR;
                let taken = ledger.claim(midnight(), midnight(), until, 3).await.unwrap();
                if taken.is_empty() {
                    return own;
                }
                own.extend(taken);
            }
        })
    }))
    .await;
    let taken: Vec<Outgoing> = taken.into_iter().flat_map(Result::unwrap).collect();
    let mut expected: Vec<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(names(&taken), expected);
}

async fn of_many_that_settle_on_one_reading_one_wins(home: Home) {
    let first = home.open().await;
    let runs: Vec<String> = (0..RACERS).map(|n| format!("r{n}")).collect();
    for run in &runs {
        begun(&first, new_run(&id(run), run, "purge", midnight()), &[]).await;
    }
    for version in [0, 1] {
        let ledgers: Vec<_> = join_all((0..RACERS).map(|_| home.open())).await;
        let settled = join_all(ledgers.into_iter().zip(runs.clone()).map(|(ledger, run)| {
            tokio::spawn(async move {
                let after = Aftermath {
                    standings: vec![
                        standing("gauge.disk", version, 1),
                        standing("job.purge", version, 1),
                    ],
                    letters: vec![letter(&format!("m{version}{run}"), "ops", "gauge.disk")],
                    ..Aftermath::default()
                };
                ledger.settle(&id(&run), midnight(), &[end(&run)], &after).await
            })
        }))
        .await;
        let won = settled
            .into_iter()
            .filter(|settled| matches!(settled, Ok(Ok(Settled::Done))))
            .count();
        assert_eq!(won, 1);
        let letters = first.outbox(&OutboxQuery::default()).await.unwrap().len();
        assert_eq!(i64::try_from(letters).unwrap(), version + 1);
    }
}
