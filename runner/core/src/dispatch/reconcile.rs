//! Makes what is told of a run agree with what really happened, after an end that it did not choose.
//!
//! The truth about rows is beside the rows (`sereno.effect`); the truth about files is in the ledger's events.

use std::collections::BTreeMap;

use crate::grant::Verb;
use crate::name::RunId;
use crate::ports::database::{Database, DatabaseError, Fence};
use crate::ports::ledger::StoredEvent;
use crate::report::Effect;
use crate::run::RunEvent;

/// Raises `fences`, which waits for a batch in flight and lets none come after; then makes `effects` add up to what
/// the database recorded for `run`.
pub(super) async fn reconcile(
    database: &dyn Database,
    fences: &[Fence],
    run: &RunId,
    effects: &mut Vec<Effect>,
) -> Result<(), DatabaseError> {
    for fence in fences {
        match database.take_fence(fence).await {
            // Whoever has a newer one has waited as well.
            Ok(()) | Err(DatabaseError::Fenced { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut recorded = BTreeMap::<String, u64>::new();
    for batch in database.recorded(run).await? {
        *recorded.entry(batch.scope).or_default() += batch.rows;
    }
    for (scope, rows) in recorded {
        correct(effects, &scope, rows);
    }
    Ok(())
}

/// Whoever counted may have missed the last batch.
fn correct(effects: &mut Vec<Effect>, scope: &str, rows: u64) {
    let is_rows = |effect: &&mut Effect| effect.on == scope && effect.unit == "rows";
    let known: u64 = effects.iter_mut().filter(is_rows).map(|effect| effect.done).sum();
    let more = rows.saturating_sub(known);
    if more == 0 {
        return;
    }
    if let Some(last) = effects.iter_mut().rfind(is_rows) {
        last.done += more;
        last.planned = last.planned.max(last.done);
        return;
    }
    effects.push(missed(scope, rows));
}

fn missed(scope: &str, rows: u64) -> Effect {
    Effect {
        planned: rows,
        done: rows,
        ..Effect::of(
            Verb::Delete,
            scope,
            "rows",
            "of a batch that was recorded beside the rows and nowhere else",
        )
    }
}

/// Changes of files and of objects that were begun and never recorded as done.
pub(super) fn open_intents(events: &[StoredEvent]) -> u64 {
    events.iter().fold(0, |open: u64, stored| match &stored.event {
        RunEvent::Intent { .. } => open + 1,
        RunEvent::Effect { effect } if is_intended(effect) => open.saturating_sub(1),
        _ => open,
    })
}

/// True for what is written down before it is done.
fn is_intended(effect: &Effect) -> bool {
    match effect.unit.as_str() {
        "objects" => true,
        "files" => matches!(
            effect.verb,
            Verb::Remove | Verb::Rename | Verb::Compress | Verb::Truncate
        ),
        _ => false,
    }
}

/// What a report says of them.
pub(super) fn note_of_intents(open: u64) -> Option<String> {
    (open > 0)
        .then(|| "a change of files or objects was begun and never recorded; it may have been made, in part or as a whole; names may have changed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "database.app.tables.user_sessions";

    fn effect(what: &str, planned: u64, done: u64) -> Effect {
        Effect {
            what: what.to_owned(),
            planned,
            done,
            ..missed(SCOPE, 0)
        }
    }

    #[test]
    fn what_was_missed_is_added_to_the_last_effect_on_the_scope() {
        let mut effects = vec![effect("first", 50, 50), effect("second", 100, 20)];
        correct(&mut effects, SCOPE, 90);
        assert_eq!(effects, [effect("first", 50, 50), effect("second", 100, 40)]);
        correct(&mut effects, SCOPE, 200);
        assert_eq!(effects, [effect("first", 50, 50), effect("second", 150, 150)]);
    }

    #[test]
    fn an_effect_of_which_nothing_was_told_is_told_now() {
        let mut effects = vec![effect("first", 50, 50)];
        correct(&mut effects, "database.app.tables.audit", 7);
        let audit = missed("database.app.tables.audit", 7);
        assert_eq!(effects, [effect("first", 50, 50), audit]);
    }

    #[test]
    fn more_than_was_recorded_is_left_as_it_is() {
        // A job with the weaker fence records nothing beside its rows.
        let mut effects = vec![effect("first", 50, 50)];
        correct(&mut effects, SCOPE, 0);
        correct(&mut effects, SCOPE, 49);
        assert_eq!(effects, [effect("first", 50, 50)]);
    }
}
