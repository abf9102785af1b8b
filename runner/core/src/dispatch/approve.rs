//! Asks for approvals before a schedule applies a destructive job, and records them when all jobs are planned.
//!
//! What an approval is and what voids it is `approval`'s; what consent is about is `consent`'s.

use chrono::SubsecRound as _;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::{DispatchError, Examined, Services, Stop, examine, submit};
use crate::approval::{Approval, Standing};
use crate::job::Job;
use crate::name::JobName;
use crate::report::{DOCUMENT_SCHEMA_VERSION, Report};
use crate::run::{Mode, Outcome, Refusal, RunRequest};

/// A job among all that were planned.
#[derive(Debug)]
pub struct PlannedJob {
    /// Which.
    pub job: JobName,
    /// How it stood before; none: it could not even be examined.
    pub before: Option<Standing>,
    /// Its plan; none: nothing that it may do changes anything, or it could not be planned.
    pub report: Option<Report>,
    /// Why it could not be planned.
    pub error: Option<DispatchError>,
    /// It was approved now.
    pub is_approved: bool,
}

/// All jobs, planned.
#[derive(Debug)]
pub struct PlannedAll {
    /// By name.
    pub jobs: Vec<PlannedJob>,
}

impl PlannedAll {
    /// As programs read it.
    pub fn document(&self) -> Json {
        let job = |job: &PlannedJob| {
            let before = job.before.as_ref();
            json!({
                "job": job.job,
                "before": before.map(Standing::label),
                "changes": before.map(Standing::changes).unwrap_or_default(),
                "approved": job.is_approved,
                "plan": job.report.as_ref().map(Report::document),
                "error": job.error.as_ref().map(ToString::to_string),
            })
        };
        json!({ "schema_version": DOCUMENT_SCHEMA_VERSION, "jobs": self.jobs.iter().map(job).collect::<Vec<_>>() })
    }

    /// The gravest of what its jobs met.
    pub fn exit_code(&self) -> u8 {
        /// What a person must see first, first.
        const GRAVEST_FIRST: [u8; 9] = [130, 143, 2, 7, 1, 8, 3, 4, 5];
        let code = |job: &PlannedJob| match (&job.report, &job.error) {
            (_, Some(error)) => error.exit_code(),
            (Some(report), None) => report.outcome.exit_code(),
            (None, None) => 0,
        };
        let codes: Vec<u8> = self.jobs.iter().map(code).collect();
        let gravest = GRAVEST_FIRST.into_iter().find(|code| codes.contains(code));
        gravest.unwrap_or_default()
    }
}

/// Whether a schedule may apply the job.
///
/// # Errors
/// The ledger's own.
pub async fn standing(services: &Services, examined: &Examined) -> Result<Standing, DispatchError> {
    if !services.config.policy.plan_first && examined.job.grants.is_destructive() {
        return Ok(Standing::NotAsked);
    }
    recorded(services, examined).await
}

/// The same, whether anybody asks for approvals or not.
async fn recorded(services: &Services, examined: &Examined) -> Result<Standing, DispatchError> {
    if !examined.job.grants.is_destructive() {
        return Ok(Standing::NotNeeded);
    }
    let approval = services.ledger.approval(&examined.job.name).await?;
    Ok(Standing::of(approval, &examined.consent, &examined.terms))
}

/// Makes a plan of what a schedule was to apply and nobody has approved.
pub(super) async fn or_plan(
    services: &Services,
    examined: &Examined,
    request: &mut RunRequest,
) -> Result<(), DispatchError> {
    if request.mode != Mode::Apply || !request.reason.is_scheduled() {
        return Ok(());
    }
    if let Some(why) = standing(services, examined).await?.why_not() {
        request.mode = Mode::Plan;
        request.unapproved = Some(format!(
            "job `{}` is destructive, and {why}; this is what it would do. `sereno plan --all` approves it",
            examined.job.name
        ));
    }
    Ok(())
}

/// How a plan ends that was to be an apply. One that did not come to its end is told as it is.
pub(super) fn unless_unapproved(outcome: Outcome, request: &RunRequest) -> Outcome {
    let Some(why) = &request.unapproved else {
        return outcome;
    };
    let text = match &outcome {
        Outcome::Succeeded => why.clone(),
        Outcome::Refused(Refusal::Guard, guard) => format!("{why}\nand {guard}"),
        _ => return outcome,
    };
    Outcome::Refused(Refusal::PlanNeeded, text)
}

/// Plans every job that changes something, and approves each destructive one whose plan went well: what its schedule does from
/// now on. A plan that a guard refuses approves nothing.
///
/// # Errors
/// The ledger's own; what keeps one job from being planned is told with that job.
pub async fn plan_all(services: &Services, stop: watch::Receiver<Stop>) -> Result<PlannedAll, DispatchError> {
    let mut jobs = Vec::new();
    for job in services.config.jobs.values() {
        if *stop.borrow() != Stop::None {
            break;
        }
        jobs.push(plan_one(services, job, stop.clone()).await?);
    }
    Ok(PlannedAll { jobs })
}

async fn plan_one(
    services: &Services,
    job: &Job,
    stop: watch::Receiver<Stop>,
) -> Result<PlannedJob, DispatchError> {
    let request = RunRequest {
        mode: Mode::Plan,
        // As for a plan by hand, whose cutoffs people read.
        scheduled_at: Some(services.clock.now().trunc_subsecs(0)),
        ..RunRequest::manual(job.name.clone())
    };
    let mut planned = PlannedJob {
        job: job.name.clone(),
        before: None,
        report: None,
        error: None,
        is_approved: false,
    };
    let examined = match examine(services, &request).await {
        Ok(examined) => examined,
        Err(error) => {
            planned.error = Some(error);
            return Ok(planned);
        }
    };
    let before = recorded(services, &examined).await?;
    let needs_one = before != Standing::NotNeeded;
    planned.before = Some(before);
    if !needs_one && !job.grants.0.values().flatten().any(|verb| verb.is_changing()) {
        return Ok(planned);
    }
    match submit(services, request, stop).await {
        Ok(report) => {
            if needs_one && report.outcome == Outcome::Succeeded {
                services
                    .ledger
                    .approve(&approval(services, &examined, &report))
                    .await?;
                planned.is_approved = true;
            }
            planned.report = Some(report);
        }
        Err(error @ DispatchError::Ledger(_)) => return Err(error),
        Err(error) => planned.error = Some(error),
    }
    Ok(planned)
}

fn approval(services: &Services, examined: &Examined, plan: &Report) -> Approval {
    Approval {
        job: examined.job.name.clone(),
        consent: examined.consent.clone(),
        terms: examined.terms.clone(),
        plan: plan.run.clone(),
        at: services.clock.now(),
        host: services.host.clone(),
    }
}
