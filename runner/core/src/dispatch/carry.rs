//! Runs a request for a carrier that delivers again, and says whether it should.
//!
//! The carrier alone retries: nothing is tried a second time here. See architecture.md §3 for the table of outcomes.

use tokio::sync::watch;

use super::apply::stored_request;
use super::error::Unstarted;
use super::retries::{allowed, is_worth_another, may_succeed, tries};
use super::{DispatchError, Problem, Services, Stop, whole};
use crate::event::Continuation;
use crate::ports::ledger::{RunQuery, RunRow};
use crate::report::{Effect, Report};
use crate::run::{Mode, Outcome, Reason, RunRequest};
use crate::value::Instant;

/// What the carrier is to do.
#[derive(Debug)]
pub enum Carried {
    /// Nothing more. What is left of a continued run goes on with [`Report::continuation`].
    Done(Box<Report>),
    /// Nothing more: it was wrong, and would be again.
    Refused(DispatchError),
    /// Deliver it once more.
    Again {
        /// The outcome's label, or `at-work`.
        kind: String,
        /// A sentence.
        message: String,
    },
}

/// Runs a request, and answers its carrier. Nothing is sent or forgotten afterwards: see [`super::afterwards`].
pub async fn carry(services: &Services, request: RunRequest, stop: watch::Receiver<Stop>) -> Carried {
    carry_with(services, request, None, stop).await
}

/// Goes on with the work of a key where its last attempt stopped, until `until`.
///
/// A continuation that another has overtaken does nothing: what stands is answered as a duplicate.
pub async fn go_on(
    services: &Services,
    more: &Continuation,
    until: Option<Instant>,
    stop: watch::Receiver<Stop>,
) -> Carried {
    let (request, plan) = match going_on(services, more, until).await {
        Ok(Going::On(request, plan)) => (*request, plan),
        Ok(Going::Overtaken(report)) => return Carried::Done(report),
        Err(error) => return refused(error.into()),
    };
    carry_with(services, request, plan, stop).await
}

async fn carry_with(
    services: &Services,
    request: RunRequest,
    plan: Option<Vec<Effect>>,
    stop: watch::Receiver<Stop>,
) -> Carried {
    let work = request.work.clone();
    let (outcome, report) = match whole(services, request, plan, stop).await {
        Ok(report) if !is_worth_another(&report.outcome) => return Carried::Done(Box::new(report)),
        Ok(report) => (report.outcome.clone(), Some(Box::new(report))),
        Err(Unstarted { error, report }) => {
            let outcome = error.outcome();
            match report {
                Some(report) if is_worth_another(&outcome) => (outcome, Some(report)),
                report => return refused(Unstarted { error, report }),
            }
        }
    };
    let Some(report) = report else {
        return again(&outcome, "");
    };
    let retries = allowed(&services.config, &work).unwrap_or_default();
    match attempts(services, &report.key).await {
        // The first try is none of the retries.
        Ok(attempts) if tries(&attempts) > retries => Carried::Done(report),
        _ => again(&outcome, report.run.as_str()),
    }
}

fn again(outcome: &Outcome, run: &str) -> Carried {
    let text = outcome.text().unwrap_or("it was stopped before its end");
    Carried::Again {
        kind: outcome.label(),
        message: format!("run {run}: {text}"),
    }
}

/// For what was not run. An error of the ledger's is nobody's fault who asked.
fn refused(unstarted: Unstarted) -> Carried {
    let Unstarted { error, .. } = unstarted;
    let kind = match &error {
        DispatchError::AtWork { .. } => "at-work".to_owned(),
        DispatchError::Ledger(_) => "ledger".to_owned(),
        error if is_worth_another(&error.outcome()) => error.outcome().label(),
        _ => return Carried::Refused(error),
    };
    Carried::Again {
        kind,
        message: error.to_string(),
    }
}

/// Of a key, newest first.
async fn attempts(services: &Services, key: &str) -> Result<Vec<RunRow>, DispatchError> {
    let query = RunQuery {
        key: Some(key.to_owned()),
        ..RunQuery::default()
    };
    Ok(services.ledger.runs(&query).await?)
}

enum Going {
    On(Box<RunRequest>, Option<Vec<Effect>>),
    Overtaken(Box<Report>),
}

async fn going_on(
    services: &Services,
    more: &Continuation,
    until: Option<Instant>,
) -> Result<Going, DispatchError> {
    let attempts = attempts(services, &more.key).await?;
    let Some(newest) = attempts.first() else {
        let hint = "the ledger forgets runs after `[ledger] keep`; or it is another ledger's key".to_owned();
        let problem = Problem::new("continue", "no run has this key", Some(hint));
        return Err(DispatchError::Usage(vec![problem]));
    };
    let is_overtaken = attempts
        .iter()
        .filter(|row| row.attempt > more.attempt)
        .any(|row| row.outcome.is_some() && !may_succeed(row));
    if is_overtaken && let Some(mut report) = services.ledger.report(&newest.id).await? {
        report.duplicate = true;
        // What it left is its own continuation's to do.
        report.continued = false;
        return Ok(Going::Overtaken(Box::new(report)));
    }
    let mut request = stored_request(services, &newest.id).await?;
    // An apply is held to its plan for as long as it goes on.
    let mut plan = None;
    if let Reason::Apply(id) = &request.reason {
        plan = services
            .ledger
            .report(id)
            .await?
            .map(|plan| plan.effects_of_key());
    } else if request.mode == Mode::Apply {
        request.reason = Reason::Continuation;
    }
    request.until = until;
    request.once = true;
    Ok(Going::On(Box::new(request), plan))
}

impl Report {
    /// What goes on with the rest of it; none when nothing is left.
    pub fn continuation(&self) -> Option<Continuation> {
        self.continued.then(|| Continuation {
            key: self.key.clone(),
            attempt: self.attempt,
        })
    }
}
