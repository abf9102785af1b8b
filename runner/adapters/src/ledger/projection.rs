//! What events do to a run's row, the same for every home of the ledger.
//!
//! The state machine itself is [`RunState::after`].

use sereno_core::name::RunId;
use sereno_core::ports::ledger::{LedgerError, NewRun, RunRow};
use sereno_core::run::{RunEvent, RunState};
use sereno_core::value::Instant;

use super::kept;

/// How a batch of events changes the row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    /// Afterwards.
    pub state: RunState,
    /// None: as before.
    pub cursor: Option<String>,
    /// When and with which outcome the run ended; none: it goes on.
    pub ended: Option<(Instant, String)>,
}

/// The row of a new attempt as it is stored, and its first event.
pub(super) fn started(run: &NewRun) -> (RunRow, RunEvent) {
    let mut row = run.row.clone();
    row.state = RunState::Running;
    row.scheduled_at = kept(row.scheduled_at);
    row.started_at = kept(row.started_at);
    row.ended_at = None;
    row.outcome = None;
    row.targets.sort();
    let event = RunEvent::Started {
        request: Box::new(run.request.clone()),
        params: run.params.clone(),
        cursor: row.cursor.clone(),
    };
    (row, event)
}

/// Walks `events` from `state`; the first one that cannot be met refuses them all.
pub(super) fn change(run: &RunId, mut state: RunState, events: &[RunEvent]) -> Result<Change, LedgerError> {
    let (mut cursor, mut ended) = (None, None);
    for event in events {
        state = state.after(event).ok_or_else(|| LedgerError::Illegal {
            run: run.clone(),
            state,
            event: kind(event).to_owned(),
        })?;
        match event {
            RunEvent::Cursor { cursor: at } => cursor = Some(at.clone()),
            RunEvent::Ended { report } | RunEvent::Rescued { report } => {
                ended = Some((kept(report.ended_at), report.outcome.label()));
            }
            RunEvent::Started { .. }
            | RunEvent::Intent { .. }
            | RunEvent::Effect { .. }
            | RunEvent::Step { .. }
            | RunEvent::Log { .. } => {}
        }
    }
    Ok(Change { state, cursor, ended })
}

impl Change {
    /// Makes the change.
    pub(super) fn apply(self, row: &mut RunRow) {
        row.state = self.state;
        if self.cursor.is_some() {
            row.cursor = self.cursor;
        }
        if let Some((at, outcome)) = self.ended {
            row.ended_at = Some(at);
            row.outcome = Some(outcome);
        }
    }
}

/// The event's `kind`, as its JSON has it.
pub(super) fn kind(event: &RunEvent) -> &'static str {
    match event {
        RunEvent::Started { .. } => "started",
        RunEvent::Intent { .. } => "intent",
        RunEvent::Effect { .. } => "effect",
        RunEvent::Cursor { .. } => "cursor",
        RunEvent::Step { .. } => "step",
        RunEvent::Log { .. } => "log",
        RunEvent::Ended { .. } => "ended",
        RunEvent::Rescued { .. } => "rescued",
    }
}

/// The state as the `run` table has it.
pub(super) fn state_text(state: RunState) -> &'static str {
    match state {
        RunState::New => "new",
        RunState::Running => "running",
        RunState::Ended => "ended",
    }
}

/// The state that [`state_text`] stands for.
pub(super) fn state_of(text: &str) -> Result<RunState, sqlx::Error> {
    match text {
        "new" => Ok(RunState::New),
        "running" => Ok(RunState::Running),
        "ended" => Ok(RunState::Ended),
        _ => Err(sqlx::Error::Decode(
            format!("`{text}` is no state of a run").into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_states_are_written_as_core_writes_them() {
        let log = RunEvent::Log {
            level: "info".into(),
            message: "hi".into(),
            fields: vec![],
        };
        let cursor = RunEvent::Cursor { cursor: "c".into() };
        for event in [log, cursor] {
            let json = serde_json::to_value(&event).expect("JSON");
            assert_eq!(json["kind"], kind(&event));
        }
        for state in [RunState::New, RunState::Running, RunState::Ended] {
            assert_eq!(serde_json::to_value(state).expect("JSON"), state_text(state));
            assert_eq!(state_of(state_text(state)).expect("a state"), state);
        }
    }
}
