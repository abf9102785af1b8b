//! Turns how a guest ended into an outcome, holds what it did against what is recorded, and closes the run.

use super::admit::Admitted;
use super::approve;
use super::close::close_own;
use super::examine::Examined;
use super::history::History;
use super::reconcile::{note_of_intents, open_intents, reconcile};
use super::record::RunRecorder;
use super::report::{by_target, empty_report};
use super::{CONTINUATIONS_MAX, DispatchError, Services, Stop};
use crate::capability::explain_all;
use crate::effect::Book;
use crate::job::FenceKind;
use crate::name::TargetName;
use crate::ports::database::Fence;
use crate::ports::plugins::{CallError, GuestEnd, GuestFailure, GuestRun, PluginError};
use crate::report::{Effect, LimitsUsed, Report};
use crate::run::{Mode, Outcome, Refusal, RunEvent};

/// How an attempt's execution ended.
pub(super) enum Ending {
    /// The guest's own end.
    Guest(GuestRun),
    /// The host stopped it.
    Stopped(Stop, LimitsUsed),
    /// The plugin could not be run.
    Plugin(PluginError),
    /// Another run took over.
    LeaseLost,
}

impl Ending {
    fn used(&self) -> LimitsUsed {
        match self {
            Self::Guest(run) => run.used,
            Self::Stopped(_, used) => *used,
            Self::Plugin(_) | Self::LeaseLost => LimitsUsed::default(),
        }
    }
}

pub(super) async fn settle(
    services: &Services,
    examined: &Examined,
    admitted: &Admitted,
    recorder: &RunRecorder,
    book: &Book,
    fences: &[(TargetName, Fence)],
    ending: Ending,
) -> Result<Report, DispatchError> {
    let row = &admitted.row;
    let mut events = recorder.take_lines();
    let mut effects = book.effects();
    let used = ending.used();
    let mut notes = Vec::new();
    if row.mode == Mode::Apply && book.is_unsure() {
        notes = recount(services, admitted, fences, &mut effects).await?;
    }
    let outcome = outcome(&ending, &effects, row.mode, &admitted.history);
    let outcome = approve::unless_unapproved(outcome, &admitted.request);
    if let Ending::Guest(GuestRun {
        end: GuestEnd::More(cursor),
        ..
    }) = ending
    {
        events.push(RunEvent::Cursor { cursor });
    }
    let mut report = empty_report(services, row, examined.params.clone(), outcome);
    report.targets = by_target(effects, book.findings());
    report.measurements = book.measurements();
    report.limits_used = used;
    report.earlier.clone_from(&admitted.history.before);
    report.notes = notes;
    if row.mode == Mode::Apply && examined.job.fence == FenceKind::LedgerOnly {
        report.notes.push(
            "fence = \"ledger only\": after a crash, effects of the last batch may be missing from this history".to_owned(),
        );
    }
    close_own(services, row, events, report).await
}

/// What the effects of a call were whose answer nobody waited for. Answers what could not be found out.
async fn recount(
    services: &Services,
    admitted: &Admitted,
    fences: &[(TargetName, Fence)],
    effects: &mut Vec<Effect>,
) -> Result<Vec<String>, DispatchError> {
    let run = &admitted.row.id;
    let mut notes = Vec::new();
    for (name, database) in &admitted.opened.databases {
        let fences = fences.iter().filter(|(of, _)| of == name);
        let fences: Vec<Fence> = fences.map(|(_, fence)| fence.clone()).collect();
        if fences.is_empty() {
            continue;
        }
        if let Err(error) = reconcile(&**database, &fences, run, effects).await {
            notes.push(format!(
                "database.{name} could not be asked what the run did: {error}"
            ));
        }
    }
    notes.extend(note_of_intents(open_intents(&services.ledger.events(run).await?)));
    Ok(notes)
}

fn outcome(ending: &Ending, effects: &[Effect], mode: Mode, history: &History) -> Outcome {
    let end = match ending {
        Ending::Stopped(stop, _) => return stop.outcome(),
        Ending::LeaseLost => return Outcome::Retryable("the lease was lost to another run".to_owned()),
        Ending::Plugin(error @ PluginError::Host { .. }) => return Outcome::Retryable(error.to_string()),
        Ending::Plugin(error) => return Outcome::Invalid(error.to_string()),
        Ending::Guest(run) => &run.end,
    };
    // A guest may swallow a refusal; the book does not. A plan goes on to its end, and is refused there.
    let goes_on = mode == Mode::Plan && matches!(end, GuestEnd::More(_));
    if end_in_order(end) && !goes_on {
        let exceeded = history
            .before
            .iter()
            .filter(|_| mode == Mode::Plan)
            .chain(effects);
        if let Some(text) = exceeded.into_iter().find_map(explain_all) {
            return Outcome::Refused(Refusal::Guard, text);
        }
    }
    match end {
        GuestEnd::Done => Outcome::Succeeded,
        GuestEnd::More(cursor) => more(cursor, &history.stops),
        GuestEnd::PassedOn(error) => passed_on(error),
        GuestEnd::Failed(failure) => match failure.clone() {
            GuestFailure::InvalidParams(text) => Outcome::Usage(text),
            GuestFailure::Retryable(text) => Outcome::Retryable(text),
            GuestFailure::Refused(text) => Outcome::Refused(Refusal::Guard, text),
            GuestFailure::Permanent(text) | GuestFailure::Other(text) => Outcome::Failed(text),
        },
        GuestEnd::Limit(name, text) => Outcome::Limit(name.clone(), text.clone()),
        GuestEnd::Trap(text) => Outcome::Trap(text.clone()),
        GuestEnd::Invalid(text) => Outcome::Invalid(text.clone()),
        GuestEnd::Cancelled => Outcome::Cancelled,
        GuestEnd::Host(text) => Outcome::Retryable(text.clone()),
    }
}

/// True when the guest answered something that it may answer after a refusal.
fn end_in_order(end: &GuestEnd) -> bool {
    matches!(
        end,
        GuestEnd::Done | GuestEnd::More(_) | GuestEnd::PassedOn(_) | GuestEnd::Failed(_)
    )
}

/// More work, unless that has become a loop. `stops` are the cursors of the attempts before, newest first.
fn more(cursor: &str, stops: &[Option<String>]) -> Outcome {
    let stood = |stop: Option<&Option<String>>| stop.is_some_and(|stop| stop.as_deref() == Some(cursor));
    if stood(stops.first()) && stood(stops.get(1)) {
        return Outcome::Failed("the cursor has not moved in two attempts".to_owned());
    }
    if stops.len() >= CONTINUATIONS_MAX {
        return Outcome::Failed(format!("still not done after {CONTINUATIONS_MAX} continuations"));
    }
    Outcome::Continued
}

fn passed_on(error: &CallError) -> Outcome {
    let text = error.to_string();
    match error {
        CallError::Denied(_) => Outcome::Refused(Refusal::Grant, text),
        CallError::Guard(_) => Outcome::Refused(Refusal::Guard, text),
        CallError::Limit(_) => Outcome::Limit("calls".to_owned(), text),
        CallError::Cancelled => Outcome::Cancelled,
        CallError::Busy(_) | CallError::Deadline => Outcome::Retryable(text),
        CallError::Unreachable(_) => Outcome::Unreachable(text),
        CallError::NotFound(_) | CallError::Invalid(_) | CallError::Fault(_) => Outcome::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::Verb;
    use crate::guard::GuardState;

    fn stops(stops: &[&str]) -> Vec<Option<String>> {
        stops.iter().map(|&stop| Some(stop.to_owned())).collect()
    }

    fn guest(end: GuestEnd) -> Ending {
        Ending::Guest(GuestRun {
            end,
            used: LimitsUsed::default(),
        })
    }

    fn exceeded() -> Effect {
        Effect {
            planned: 900,
            total: Some(1_000),
            guard: Some(GuardState::new("max_rows_percent", 20.0, 90.0)),
            ..Effect::of(
                Verb::Delete,
                "database.app.tables.user_sessions",
                "rows",
                "updated_at before 2026-11-17 02:30 UTC",
            )
        }
    }

    fn label(end: GuestEnd, effects: &[Effect], mode: Mode, before: &[Effect]) -> String {
        let history = History {
            before: before.to_vec(),
            ..History::default()
        };
        outcome(&guest(end), effects, mode, &history).label()
    }

    #[test]
    fn a_cursor_may_stand_still_once_and_not_twice() {
        for before in [
            &[] as &[&str],
            &["b"],
            &["b", "c"],
            &["a", "b"],
            &["b", "a"],
            &["a", "b", "a"],
        ] {
            assert_eq!(more("a", &stops(before)), Outcome::Continued, "{before:?}");
        }
        for before in [&["a", "a"] as &[&str], &["a", "a", "b"]] {
            assert_eq!(
                more("a", &stops(before)).label(),
                "failed(permanent)",
                "{before:?}"
            );
        }
    }

    #[test]
    fn what_is_continued_ends_after_so_many_continuations() {
        let stops: Vec<_> = (0..CONTINUATIONS_MAX).map(|hop| Some(hop.to_string())).collect();
        assert_eq!(more("a", &stops[1..]), Outcome::Continued);
        assert_eq!(more("a", &stops).label(), "failed(permanent)");
    }

    #[test]
    fn a_refusal_that_a_guest_swallows_is_the_outcome_and_a_broken_guest_is_told_as_broken() {
        let over = [exceeded()];
        let more = || GuestEnd::More("a".to_owned());
        for mode in [Mode::Plan, Mode::Apply] {
            assert_eq!(label(GuestEnd::Done, &over, mode, &[]), "refused(guard)");
            assert_eq!(label(GuestEnd::Trap(String::new()), &over, mode, &[]), "trap");
            let limit = GuestEnd::Limit("memory".to_owned(), String::new());
            assert_eq!(label(limit, &over, mode, &[]), "limit(memory)");
            let host = GuestEnd::Host(String::new());
            assert_eq!(label(host, &over, mode, &[]), "failed(retryable)");
        }
        // A plan goes on to its end, where what an earlier attempt found still counts.
        assert_eq!(label(more(), &over, Mode::Plan, &[]), "continued");
        assert_eq!(label(more(), &over, Mode::Apply, &[]), "refused(guard)");
        assert_eq!(label(GuestEnd::Done, &[], Mode::Plan, &over), "refused(guard)");
        assert_eq!(label(GuestEnd::Done, &[], Mode::Apply, &over), "succeeded");
    }
}
