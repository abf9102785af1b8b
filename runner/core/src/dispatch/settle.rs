//! Turns how a guest ended into an outcome, builds the report, closes the run and gives its leases back.

use std::collections::BTreeMap;

use super::admit::{Admitted, empty_report};
use super::examine::Examined;
use super::record::RunRecorder;
use super::{CONTINUATIONS_MAX, DispatchError, Services, Stop};
use crate::capability::explain;
use crate::effect::Book;
use crate::job::FenceKind;
use crate::ports::plugins::{CallError, GuestEnd, GuestFailure, GuestRun, PluginError};
use crate::report::{Effect, Finding, LimitsUsed, Report, Severity, TargetReport};
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

pub(super) async fn settle(
    services: &Services,
    examined: &Examined,
    admitted: &Admitted,
    recorder: &RunRecorder,
    book: &Book,
    ending: Ending,
) -> Result<Report, DispatchError> {
    let row = &admitted.row;
    let mut events = recorder.take_lines();
    let used = match &ending {
        Ending::Guest(run) => run.used,
        Ending::Stopped(_, used) => *used,
        Ending::Plugin(_) | Ending::LeaseLost => LimitsUsed::default(),
    };
    let cursor = match &ending {
        Ending::Guest(GuestRun {
            end: GuestEnd::More(cursor),
            ..
        }) => Some(cursor.clone()),
        _ => None,
    };
    let outcome = outcome(ending, book, admitted, cursor.as_deref());
    if let Some(cursor) = cursor {
        events.push(RunEvent::Cursor { cursor });
    }
    let mut report = empty_report(services, row, examined.params.clone(), outcome);
    report.targets = by_target(book);
    report.measurements = book.measurements();
    report.limits_used = used;
    if row.mode == Mode::Apply && examined.job.fence == FenceKind::LedgerOnly {
        report.notes.push(
            "fence = \"ledger only\": after a crash, effects of the last batch may be missing from this history".to_owned(),
        );
    }
    events.push(RunEvent::Ended {
        report: Box::new(report.clone()),
    });
    services.ledger.append(&row.id, report.ended_at, &events).await?;
    services.ledger.release(&row.id).await?;
    // After the end: what could not be kept for a chart must not make a finished run look lost. The report has it too.
    if row.mode == Mode::Apply && !report.measurements.is_empty() {
        let kept = services
            .ledger
            .measure(&row.id, report.ended_at, &report.measurements)
            .await;
        if let Err(error) = kept {
            tracing::warn!(run = %row.id, %error, "measurements are in the report only");
        }
    }
    Ok(report)
}

fn outcome(ending: Ending, book: &Book, admitted: &Admitted, cursor: Option<&str>) -> Outcome {
    let end = match ending {
        Ending::Stopped(Stop::Interrupt, _) => return Outcome::Interrupted,
        Ending::Stopped(..) => return Outcome::Cancelled,
        Ending::LeaseLost => return Outcome::Retryable("the lease was lost to another run".to_owned()),
        Ending::Plugin(error @ PluginError::Host { .. }) => return Outcome::Retryable(error.to_string()),
        Ending::Plugin(error) => return Outcome::Invalid(error.to_string()),
        Ending::Guest(run) => run.end,
    };
    // A guest may swallow a refusal; the book does not.
    if let Some((effect, guard)) = exceeded(book) {
        return Outcome::Refused(Refusal::Guard, explain(&effect, &guard));
    }
    match end {
        GuestEnd::Done => Outcome::Succeeded,
        GuestEnd::More(_)
            if cursor.is_some() && admitted.cursor.as_deref() == cursor && admitted.row.attempt > 2 =>
        {
            Outcome::Failed("the cursor has not moved in two attempts".to_owned())
        }
        GuestEnd::More(_) if admitted.row.attempt > CONTINUATIONS_MAX => {
            Outcome::Failed(format!("still not done after {CONTINUATIONS_MAX} continuations"))
        }
        GuestEnd::More(_) => Outcome::Continued,
        GuestEnd::PassedOn(error) => passed_on(&error),
        GuestEnd::Failed(failure) => match failure {
            GuestFailure::InvalidParams(text) => Outcome::Usage(text),
            GuestFailure::Retryable(text) => Outcome::Retryable(text),
            GuestFailure::Refused(text) => Outcome::Refused(Refusal::Guard, text),
            GuestFailure::Permanent(text) | GuestFailure::Other(text) => Outcome::Failed(text),
        },
        GuestEnd::Limit(name, text) => Outcome::Limit(name, text),
        GuestEnd::Trap(text) => Outcome::Trap(text),
        GuestEnd::Invalid(text) => Outcome::Invalid(text),
        GuestEnd::Cancelled => Outcome::Cancelled,
        GuestEnd::Host(text) => Outcome::Retryable(text),
    }
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

fn exceeded(book: &Book) -> Option<(Effect, crate::guard::GuardState)> {
    book.effects().into_iter().find_map(|effect| {
        let guard = effect.guard.clone().filter(|guard| guard.exceeded)?;
        Some((effect, guard))
    })
}

/// Effects and findings under the target they are about; what was skipped becomes a finding.
fn by_target(book: &Book) -> Vec<TargetReport> {
    let mut targets = BTreeMap::<String, TargetReport>::new();
    let mut entry = |path: &str, add: &mut dyn FnMut(&mut TargetReport)| {
        let target = target_of(path);
        add(targets.entry(target.clone()).or_insert_with(|| TargetReport {
            target,
            effects: Vec::new(),
            findings: Vec::new(),
        }));
    };
    for effect in book.effects() {
        if effect.skipped > 0 && effect.unit != "tables" && effect.unit != "indexes" {
            let finding = left_behind(&effect);
            entry(&effect.on, &mut |target| target.findings.push(finding.clone()));
        }
        entry(&effect.on, &mut |target| target.effects.push(effect.clone()));
    }
    for finding in book.findings() {
        entry(&finding.target, &mut |target| {
            target.findings.push(finding.clone());
        });
    }
    targets.into_values().collect()
}

/// What matched and was left. Plugins need not tell it: they see no more of it than the host does.
fn left_behind(effect: &Effect) -> Finding {
    let (one, why, next) = if effect.unit == "rows" {
        (
            "row",
            "locked by other transactions",
            "run the job again when the other work is over",
        )
    } else {
        (
            "file",
            "no permission, several hard links, or changed meanwhile",
            "look at the owners and modes of what is left",
        )
    };
    let left = crate::units::show_counted(effect.skipped, one, &effect.unit);
    let were = if effect.skipped == 1 { "was" } else { "were" };
    Finding {
        code: format!("{}-skipped", effect.unit),
        severity: Severity::Warn,
        target: effect.on.clone(),
        text: format!("{left} matched and {were} left: {why}"),
        next: Some(next.to_owned()),
    }
}

/// The first two parts of a grant path: `database.app`, `directory.temp`.
fn target_of(path: &str) -> String {
    let end = path.match_indices('.').nth(1).map_or(path.len(), |(at, _)| at);
    path[..end].to_owned()
}
