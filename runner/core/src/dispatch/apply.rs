//! Applies a recorded plan: that plan's job, params and scheduled time, once, within a day, up to its counts.

use tokio::sync::watch;

use super::subject::Subject;
use super::{DispatchError, Services, Stop, deliver, examine, run_to_end};
use crate::guard::{Allowances, GuardState, Guards};
use crate::name::RunId;
use crate::ports::ledger::{RunQuery, RunRow};
use crate::report::{Effect, Report};
use crate::run::{Mode, Reason, RunEvent, RunRequest, RunState, Work};
use crate::units::show_duration;
use crate::value::show_instant;

/// A plan says nothing about a world that has moved on for a day.
pub const PLAN_VALID: chrono::Duration = chrono::Duration::hours(24);

/// Applies the plan `id` (a run id or the start of one), with guards lifted by `allow`.
///
/// # Errors
/// It is no plan, it is too old, it was applied already, its job has changed, an exceeded guard has no allowance,
/// or whatever keeps a run from being admitted.
pub async fn apply(
    services: &Services,
    id: &str,
    allow: Allowances,
    stop: watch::Receiver<Stop>,
) -> Result<Report, DispatchError> {
    let named = services.ledger.run(id).await?;
    let job = match &named.work {
        Work::Job(job) => job,
        Work::Round(round) => {
            let plan = services.ledger.report(&named.id).await?;
            let runs = plan
                .iter()
                .flat_map(|plan| &plan.steps)
                .filter_map(|step| step.run.as_ref());
            let steps: Vec<String> = runs.map(|run| format!("`sereno apply {run}`")).collect();
            return Err(DispatchError::Refused {
                message: format!(
                    "run {} is the plan of round `{round}`: its steps are applied one by one",
                    named.id
                ),
                hint: Some(format!(
                    "{}; or all of it: `sereno run --round {round}`",
                    steps.join(", ")
                )),
            });
        }
    };
    let again = Some(format!("`sereno plan {job}` makes a new one"));
    let refused = |message: String| DispatchError::Refused {
        message,
        hint: again.clone(),
    };
    if named.mode != Mode::Plan {
        return Err(refused(format!(
            "run {} is no plan: it was an {}",
            named.id, named.mode
        )));
    }
    // A plan that was continued is all of its attempts, whichever of them is named.
    let attempts = of_key(services, &named.key).await?;
    let row = attempts.first().unwrap_or(&named);
    if row.state != RunState::Ended {
        return Err(refused(format!("plan {} has not ended", row.id)));
    }
    let age = services.clock.now() - row.started_at;
    if age > PLAN_VALID {
        let age = show_duration(age.to_std().unwrap_or_default());
        return Err(refused(format!(
            "plan {} is {age} old; a plan is valid for 24 h",
            row.id
        )));
    }
    let Some(plan) = services.ledger.report(&row.id).await? else {
        return Err(refused(format!("plan {} has no report", row.id)));
    };
    if !matches!(
        row.outcome.as_deref(),
        Some("succeeded" | "refused(guard)" | "refused(plan-needed)")
    ) {
        let outcome = plan.outcome.label();
        return Err(refused(format!(
            "plan {} ended {outcome}: there is nothing to apply",
            row.id
        )));
    }
    allowed(&plan, &allow)?;
    let key = format!("apply:{}", row.id);
    let mut request = stored_request(services, &row.id).await?;
    request.mode = Mode::Apply;
    request.scheduled_at = Some(row.scheduled_at);
    request.reason = Reason::Apply(row.id.clone());
    request.key = Some(key);
    request.allow = allow;
    request.unapproved = None;
    let examined = examine(services, &request).await?;
    if examined.consent != row.consent {
        return Err(refused(format!(
            "job `{job}` has other params, grants, guards or needs than when plan {} was made",
            row.id
        )));
    }
    let accepted = super::admit::accept(services, &Subject::of(&examined), &mut request);
    if let Some(done) = of_key(services, &accepted.key)
        .await?
        .iter()
        .find(|row| row.outcome.as_deref() == Some("succeeded"))
    {
        return Err(refused(format!(
            "plan {} was applied by run {} at {}; a plan is applied once",
            row.id,
            done.id,
            show_instant(done.started_at)
        )));
    }
    let report = run_to_end(services, request, Some(plan.effects_of_key()), stop).await;
    deliver(services, false).await;
    Ok(report?)
}

/// All attempts of a key, newest first.
async fn of_key(services: &Services, key: &str) -> Result<Vec<RunRow>, DispatchError> {
    let query = RunQuery {
        key: Some(key.to_owned()),
        ..RunQuery::default()
    };
    Ok(services.ledger.runs(&query).await?)
}

/// One `--allow` per exceeded guard, each up to at least what the plan found, and none that is not known.
fn allowed(plan: &Report, allow: &Allowances) -> Result<(), DispatchError> {
    if let Err(name) = Guards::default().lifted(allow) {
        return Err(DispatchError::Refused {
            message: format!("`{name}` is no guard that an apply can lift"),
            hint: Some(format!("these are: {}", Guards::LIFTABLE.join(", "))),
        });
    }
    let effects = plan.effects_of_key();
    let mut missing: Vec<&GuardState> = effects
        .iter()
        .flat_map(Effect::exceeded)
        .filter(|guard| allow.0.get(&guard.name).is_none_or(|value| *value < guard.found))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("plan {} exceeds a guard, and nothing was done", plan.run);
    let fixed = missing
        .iter()
        .find(|guard| !Guards::LIFTABLE.contains(&guard.name.as_str()));
    let hint = if let Some(guard) = fixed {
        let job = plan.work.name();
        format!(
            "no apply can lift {}: `sereno jobs explain {job}` says where it is set",
            guard.name
        )
    } else {
        // Of two tables beyond the same guard, the worse one says how far it must be lifted.
        missing.sort_by(|a, b| a.name.cmp(&b.name).then(b.found.total_cmp(&a.found)));
        missing.dedup_by(|a, b| a.name == b.name);
        let flags = missing
            .iter()
            .map(|guard| format!("--allow {}={}", guard.name, guard.found.ceil()));
        let flags = flags.collect::<Vec<_>>().join(" ");
        format!("if that is what you want: sereno apply {} {flags}", plan.run)
    };
    Err(DispatchError::Refused {
        message,
        hint: Some(hint),
    })
}

pub(super) async fn stored_request(services: &Services, run: &RunId) -> Result<RunRequest, DispatchError> {
    let events = services.ledger.events(run).await?;
    events
        .into_iter()
        .find_map(|stored| match stored.event {
            RunEvent::Started { request, .. } => Some(*request),
            _ => None,
        })
        .ok_or_else(|| crate::ports::ledger::LedgerError::NoRun(run.to_string()).into())
}
