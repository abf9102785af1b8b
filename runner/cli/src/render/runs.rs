//! Runs in a list, one run with its events, and the lines that a plugin logged.

use serde_json::{Value as Json, json};
use sereno_core::ports::ledger::{RunRow, StoredEvent};
use sereno_core::report::Effect;
use sereno_core::run::{Reason, RunEvent, RunState};
use sereno_core::units::show_duration;
use sereno_core::value::{Instant, show_instant};

use super::paint::Paint;
use super::table::table;
use super::words;

/// Newest first.
pub(crate) fn list(rows: &[RunRow], now: Instant, paint: Paint) -> String {
    if rows.is_empty() {
        return "no runs yet\n".to_owned();
    }
    let rows: Vec<[String; 7]> = rows
        .iter()
        .map(|row| {
            [
                row.id.to_string(),
                row.work.name().to_owned(),
                row.mode.to_string(),
                state(row),
                show_instant(second(row.started_at)),
                took(row, now),
                why(&row.reason),
            ]
        })
        .collect();
    table(
        ["run", "job", "mode", "outcome", "started", "took", "from"],
        &rows,
        paint,
    )
}

/// The outcome of an ended run, or that it has none yet.
fn state(row: &RunRow) -> String {
    match (&row.outcome, row.state) {
        (Some(outcome), _) => outcome.clone(),
        (None, RunState::Ended) => "ended".to_owned(),
        (None, _) => "at work".to_owned(),
    }
}

fn took(row: &RunRow, now: Instant) -> String {
    let until = row.ended_at.unwrap_or(now);
    show_duration((until - row.started_at).to_std().unwrap_or_default())
}

/// Whole seconds are enough for a list.
pub(super) fn second(at: Instant) -> Instant {
    Instant::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}

fn why(reason: &Reason) -> String {
    match reason {
        Reason::Manual => "manual".to_owned(),
        Reason::Tick => "schedule".to_owned(),
        Reason::Event(shape) => format!("event {shape}"),
        Reason::Invoke => "invocation".to_owned(),
        Reason::Apply(plan) => format!("plan {plan}"),
        Reason::Continuation => "continuation".to_owned(),
        Reason::Step { round, .. } => format!("round {round}"),
    }
}

/// A run that has not ended: what it has recorded so far.
pub(crate) fn at_work(row: &RunRow, effects: &[Effect], now: Instant, program: &str, paint: Paint) -> String {
    let mut text = format!(
        "{} {}\n",
        paint.strong(row.work.name()),
        paint.faint(format!(
            "run {} scheduled at {}",
            row.id,
            show_instant(row.scheduled_at)
        ))
    );
    for effect in effects {
        text.push_str(&format!("  {}\n", words::effect(effect, row.mode, paint)));
    }
    text.push_str(&format!(
        "{} for {}, since {}\n{} {program} runs cancel {}\n",
        paint.warn("at work"),
        took(row, now),
        show_instant(second(row.started_at)),
        paint.hint("stop it:"),
        row.id
    ));
    text
}

/// The sum of the effects that a run has recorded.
pub(crate) fn effects_so_far(events: &[StoredEvent]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for stored in events {
        if let RunEvent::Effect { effect } = &stored.event {
            sereno_core::effect::add(&mut effects, effect);
        }
    }
    effects
}

/// The lines that a plugin logged.
pub(crate) fn logs(events: &[StoredEvent], paint: Paint) -> String {
    let mut text = String::new();
    for stored in events {
        if let RunEvent::Log {
            level,
            message,
            fields,
        } = &stored.event
        {
            let level = match level.as_str() {
                "error" => paint.error("error"),
                "warn" => paint.warn("warn "),
                "debug" => paint.faint("debug"),
                other => format!("{other:5}"),
            };
            let at = stored.at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            text.push_str(&format!("{} {level} {message}", paint.faint(at)));
            for (key, value) in fields {
                text.push_str(&format!(" {}{value}", paint.faint(format!("{key}="))));
            }
            text.push('\n');
        }
    }
    text
}

/// The same for programs.
pub(crate) fn logs_json(events: &[StoredEvent]) -> Vec<Json> {
    events
        .iter()
        .filter_map(|stored| match &stored.event {
            RunEvent::Log { level, message, fields } => {
                let fields: serde_json::Map<String, Json> =
                    fields.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
                Some(json!({ "at": stored.at, "seq": stored.seq, "level": level, "message": message, "fields": fields }))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use sereno_core::name::RunId;
    use sereno_core::run::Mode;

    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("a time")
    }

    pub(in super::super) fn row(id: &str, outcome: Option<&str>) -> RunRow {
        RunRow {
            id: RunId::try_from(id.to_owned()).expect("an id"),
            key: "k".to_owned(),
            attempt: 1,
            work: "temp-files".parse().expect("a name"),
            targets: vec!["directory.temp".to_owned()],
            shard: None,
            mode: Mode::Apply,
            reason: Reason::Manual,
            scheduled_at: at("2026-11-24T02:30:00Z"),
            consent: String::new(),
            digest: String::new(),
            state: if outcome.is_some() {
                RunState::Ended
            } else {
                RunState::Running
            },
            cursor: None,
            started_at: at("2026-11-24T02:30:00.123Z"),
            ended_at: outcome.map(|_| at("2026-11-24T02:30:01.323Z")),
            outcome: outcome.map(str::to_owned),
        }
    }

    #[test]
    fn a_list_tells_what_ended_how_and_what_is_still_at_work() {
        let rows = [row("k3v9x2m4qd", None), row("0000000000", Some("succeeded"))];
        assert_eq!(
            list(&rows, at("2026-11-24T02:32:00.123Z"), Paint::plain()),
            "run         job         mode   outcome    started               took   from\n\
             k3v9x2m4qd  temp-files  apply  at work    2026-11-24 02:30 UTC  2 min  manual\n\
             0000000000  temp-files  apply  succeeded  2026-11-24 02:30 UTC  1.2 s  manual\n"
        );
        assert_eq!(
            list(&[], at("2026-11-24T02:32:00Z"), Paint::plain()),
            "no runs yet\n"
        );
    }

    #[test]
    fn a_log_line_is_one_line_with_its_fields() {
        let events = [StoredEvent {
            seq: 2,
            at: at("2026-11-24T02:30:00.5Z"),
            event: RunEvent::Log {
                level: "warn".to_owned(),
                message: "3 files are ours no more".to_owned(),
                fields: vec![("directory".to_owned(), "temp".to_owned())],
            },
        }];
        assert_eq!(
            logs(&events, Paint::plain()),
            "2026-11-24T02:30:00.500Z warn  3 files are ours no more directory=temp\n"
        );
        assert_eq!(logs_json(&events)[0]["fields"]["directory"], "temp");
    }
}
