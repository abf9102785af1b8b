//! Writes the end of a run together with what it leaves: measurements, how gauges and alerts stand, messages.
//!
//! How the run ended is decided before; sending is `deliver`'s business. What could not be judged or told must not make
//! a finished run look lost: then its end is written alone, and a warning says so.

use std::time::Duration;

use super::judge::{gauges, letters_of, work_alerts};
use super::{DispatchError, Services};
use crate::alert::MessageKind;
use crate::ports::ledger::{LedgerError, RunRow};
use crate::ports::watch::{Aftermath, LetterState, OutboxQuery, Settled};
use crate::report::{Finding, Report, Severity, TargetReport};
use crate::run::{Mode, RunEvent};

/// Others that settle on the same gauge get their way first; as many as ever run at once are fewer.
const TRIES_MAX: u32 = 20;

/// Messages are worth sending for a week: after that their news is in the history.
pub(super) const LETTER_AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// A late heartbeat would tell a dead man's switch of a life that may be over.
pub(super) const HEARTBEAT_AGE_MAX: Duration = Duration::from_hours(1);

/// Which event closes the run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Closing {
    /// By itself.
    Ended,
    /// By a later one.
    Rescued,
}

/// Appends `events` and the run's end. `report` gains what was given up of the outbox.
pub(super) async fn close(
    services: &Services,
    row: &RunRow,
    mut events: Vec<RunEvent>,
    report: &mut Report,
    closing: Closing,
) -> Result<(), LedgerError> {
    let given_up = given_up(services, report).await;
    let end = Box::new(report.clone());
    events.push(match closing {
        Closing::Ended => RunEvent::Ended { report: end },
        Closing::Rescued => RunEvent::Rescued { report: end },
    });
    for _ in 0..TRIES_MAX {
        let mut after = match aftermath(services, row, report).await {
            Ok(after) => after,
            Err(error) => {
                tracing::warn!(run = %row.id, %error, "gauges and alerts were not looked at");
                break;
            }
        };
        after.given_up.clone_from(&given_up);
        if after == Aftermath::default() {
            break;
        }
        match services
            .ledger
            .settle(&row.id, report.ended_at, &events, &after)
            .await
        {
            Ok(Settled::Done) => return Ok(()),
            Ok(Settled::Overtaken) => {}
            Err(error @ (LedgerError::Illegal { .. } | LedgerError::NoRun(_))) => return Err(error),
            Err(error) => {
                tracing::warn!(run = %row.id, %error, "measurements are in the report only, and nobody is told");
                break;
            }
        }
    }
    services.ledger.append(&row.id, report.ended_at, &events).await
}

/// Ends a run by itself. When its lease ran out and another process has closed it, what that found is what stands.
pub(super) async fn close_own(
    services: &Services,
    row: &RunRow,
    events: Vec<RunEvent>,
    mut report: Report,
) -> Result<Report, DispatchError> {
    match close(services, row, events, &mut report, Closing::Ended).await {
        Ok(()) => Ok(report),
        Err(error @ LedgerError::Illegal { .. }) => {
            let stored = services.ledger.report(&row.id).await?;
            stored.ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn aftermath(services: &Services, row: &RunRow, report: &Report) -> Result<Aftermath, LedgerError> {
    let mut after = Aftermath::default();
    if row.mode == Mode::Apply {
        after.measurements.clone_from(&report.measurements);
        gauges(services, report, &mut after).await?;
    }
    work_alerts(services, row, report, &mut after).await?;
    Ok(after)
}

/// Ids of letters that grew too old, each told in the report unless it was a heartbeat.
async fn given_up(services: &Services, report: &mut Report) -> Vec<String> {
    if services.config.sinks.is_empty() {
        return Vec::new();
    }
    let query = OutboxQuery {
        state: Some(LetterState::Waiting),
        expired: Some(report.ended_at),
        limit: 100,
    };
    // The next run looks again.
    let old = services.ledger.outbox(&query).await.unwrap_or_default();
    for one in &old {
        if one.letter.message.kind.is_heartbeat() {
            continue;
        }
        let target = format!("sink.{}", one.letter.sink);
        let finding = Finding {
            code: "alert-given-up".to_owned(),
            severity: Severity::Warn,
            target: target.clone(),
            text: format!(
                "`{}` could not be sent in {} tries: {}",
                one.letter.message.title,
                one.attempts,
                one.last_error.as_deref().unwrap_or("nobody tried")
            ),
            next: Some(format!("sereno alerts test {}", one.letter.sink)),
        };
        match report.targets.iter_mut().find(|other| other.target == target) {
            Some(other) => other.findings.push(finding),
            None => report.targets.push(TargetReport {
                target,
                effects: Vec::new(),
                findings: vec![finding],
            }),
        }
    }
    old.into_iter().map(|one| one.letter.id).collect()
}

/// How long a message of this kind is tried.
pub(super) fn age_max(kind: MessageKind) -> Duration {
    if kind.is_heartbeat() {
        HEARTBEAT_AGE_MAX
    } else {
        LETTER_AGE_MAX
    }
}

/// A message to a sink by hand, and nothing else, goes the same way as all others.
///
/// # Errors
/// The ledger's own.
pub async fn post(
    services: &Services,
    sink: &crate::name::SinkName,
    message: crate::alert::Message,
) -> Result<(), LedgerError> {
    let mut letters = Vec::new();
    letters_of(&message, std::slice::from_ref(sink), &mut letters);
    services.ledger.post(&letters).await
}
