//! What operators do to running work: cancel a run, pause and resume jobs, rounds or everything; and all that they may ask
//! from outside, in one function.
//!
//! Who may ask is the trigger's to know. A cancel or a pause is a flag in the ledger, so that it reaches whichever process is at work. A pause of everything is the kill
//! switch: what is at work stops before its next batch.

use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::{DispatchError, PlannedAll, Services, Stop, apply, plan_all};
use crate::event::{Command, Scope};
use crate::name::RunId;
use crate::ports::ledger::{Flag, LedgerError, RunQuery, RunRow};
use crate::ports::orders::Raised;
use crate::report::{DOCUMENT_SCHEMA_VERSION, Report};
use crate::run::{Outcome, RunState, Skip, Work};

/// What came of a pause or a resume.
#[derive(Debug, Clone, PartialEq)]
pub struct Standstill {
    /// What it was about.
    pub scope: Scope,
    /// Runs at work: after a pause of everything they are about to stop, after another they go on to their end.
    pub at_work: Vec<RunRow>,
    /// All that is paused now, each a name or `*`.
    pub paused: Vec<Raised>,
}

/// What came of a command.
#[derive(Debug)]
pub enum Answer {
    /// A run's report: of an apply, or of the run that was asked for.
    Report(Box<Report>),
    /// All jobs were planned.
    PlannedAll(PlannedAll),
    /// The run is asked to stop.
    Cancelled(Box<RunRow>),
    /// Something was paused or resumed.
    Standstill(Standstill),
    /// The newest runs; one that is at work, if only that was asked for.
    Runs(Vec<RunRow>),
}

impl Answer {
    /// The exit code of the same command at the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Report(report) => report.outcome.exit_code(),
            Self::PlannedAll(all) => all.exit_code(),
            Self::Cancelled(_) | Self::Standstill(_) | Self::Runs(_) => 0,
        }
    }

    /// As programs read it; the same documents as the command line's.
    pub fn document(&self) -> Json {
        match self {
            Self::Report(report) => report.document(),
            Self::PlannedAll(all) => all.document(),
            Self::Cancelled(row) => {
                json!({ "schema_version": DOCUMENT_SCHEMA_VERSION, "run": row.id, "cancel": true })
            }
            Self::Standstill(done) => done.document(),
            Self::Runs(rows) => {
                let rows: Vec<Json> = rows.iter().map(RunRow::document).collect();
                json!({ "schema_version": DOCUMENT_SCHEMA_VERSION, "runs": rows })
            }
        }
    }
}

impl Standstill {
    /// As programs read it.
    pub fn document(&self) -> Json {
        let paused = self
            .paused
            .iter()
            .map(|raised| json!({ "on": raised.on, "since": raised.at }));
        json!({
            "schema_version": DOCUMENT_SCHEMA_VERSION,
            "on": self.subject(),
            "paused": paused.collect::<Vec<_>>(),
            "at_work": self.at_work.iter().map(RunRow::document).collect::<Vec<_>>(),
        })
    }

    /// What the flag is raised on.
    pub fn subject(&self) -> &str {
        subject(&self.scope)
    }

    /// True when everything stands still.
    pub fn is_all(&self) -> bool {
        self.paused.iter().any(|raised| raised.on == EVERYTHING)
    }
}

/// What a flag is raised on that is about everything.
const EVERYTHING: &str = "*";

fn subject(scope: &Scope) -> &str {
    match scope {
        Scope::All => EVERYTHING,
        Scope::One(work) => work.name(),
    }
}

/// Carries out what an operator asked for from outside, if that is taken at all.
///
/// # Errors
/// `[policy] remote_commands` is off, or whatever the command meets.
pub async fn operate(
    services: &Services,
    command: Command,
    stop: watch::Receiver<Stop>,
) -> Result<Answer, DispatchError> {
    if !services.config.policy.remote_commands {
        return Err(DispatchError::Refused {
            message: "commands from outside are not taken".to_owned(),
            hint: Some("set `remote_commands = true` under [policy], and deploy that".to_owned()),
        });
    }
    Ok(match command {
        Command::Apply { run, allow } => Answer::Report(Box::new(apply(services, &run, allow, stop).await?)),
        Command::PlanAll => Answer::PlannedAll(plan_all(services, stop).await?),
        Command::Cancel { run } => Answer::Cancelled(Box::new(cancel(services, &run).await?)),
        Command::Pause(scope) => Answer::Standstill(pause(services, scope).await?),
        Command::Resume(scope) => Answer::Standstill(resume(services, scope).await?),
        Command::Runs { run: Some(run), .. } => {
            let row = services.ledger.run(&run).await?;
            match services.ledger.report(&row.id).await? {
                Some(report) => Answer::Report(Box::new(report)),
                None => Answer::Runs(vec![row]),
            }
        }
        Command::Runs { of, run: None, limit } => {
            let query = RunQuery {
                work: of_scope(&of),
                limit,
                ..RunQuery::default()
            };
            Answer::Runs(services.ledger.runs(&query).await?)
        }
    })
}

fn of_scope(scope: &Scope) -> Option<Work> {
    match scope {
        Scope::All => None,
        Scope::One(work) => Some(work.clone()),
    }
}

/// Asks a run at work to stop: its next call to the host answers `cancelled`, a statement at work is cancelled, and
/// whatever goes on is ended after some seconds.
///
/// # Errors
/// There is no such run, it has ended, or the ledger's own.
pub async fn cancel(services: &Services, run: &str) -> Result<RunRow, DispatchError> {
    let row = services.ledger.run(run).await?;
    if row.state == RunState::Ended {
        return Err(DispatchError::HasEnded(Box::new(row)));
    }
    let now = services.clock.now();
    let raised = services
        .ledger
        .set_flag(row.id.as_str(), Flag::Cancel, true, now)
        .await;
    raised?;
    Ok(row)
}

/// From now on nothing of `scope` starts.
///
/// # Errors
/// It is not configured, or the ledger's own.
pub async fn pause(services: &Services, scope: Scope) -> Result<Standstill, DispatchError> {
    if let Scope::One(work) = &scope {
        configured(services, work)?;
    }
    set(services, scope, true).await
}

/// Takes a pause back. What is paused by another name stays so, and is in the answer. What is not configured any more may
/// be resumed too.
///
/// # Errors
/// It is neither configured nor paused, or the ledger's own.
pub async fn resume(services: &Services, scope: Scope) -> Result<Standstill, DispatchError> {
    if let Scope::One(work) = &scope
        && !services.ledger.flag(&[work.name()], Flag::Pause).await?
    {
        configured(services, work)?;
    }
    set(services, scope, false).await
}

/// All that is paused, each a job's or round's name or `*`.
///
/// # Errors
/// The ledger's own.
pub async fn paused(services: &Services) -> Result<Vec<Raised>, DispatchError> {
    let mut raised = services.ledger.raised().await?;
    raised.retain(|raised| raised.flag == Flag::Pause);
    Ok(raised)
}

/// The job or round of this name, for whoever does not know which it is.
///
/// # Errors
/// There is neither.
pub fn named(services: &Services, name: &str) -> Result<Work, DispatchError> {
    let rounds = &services.config.rounds;
    let round = name.parse().ok().filter(|round| rounds.contains_key(round));
    if let Some(round) = round {
        return Ok(Work::Round(round));
    }
    let job = name.parse().map_err(|error: crate::name::NameError| {
        let problem = super::Problem::new(name, error.to_string(), None);
        DispatchError::Usage(vec![problem])
    })?;
    Ok(Work::Job(job))
}

fn configured(services: &Services, work: &Work) -> Result<(), DispatchError> {
    match work {
        Work::Job(name) => services.config.job(name).map(|_| ())?,
        Work::Round(name) => services.config.round(name).map(|_| ())?,
    }
    Ok(())
}

async fn set(services: &Services, scope: Scope, is_paused: bool) -> Result<Standstill, DispatchError> {
    let now = services.clock.now();
    let ledger = &services.ledger;
    ledger
        .set_flag(subject(&scope), Flag::Pause, is_paused, now)
        .await?;
    let query = RunQuery {
        work: of_scope(&scope),
        running: true,
        ..RunQuery::default()
    };
    Ok(Standstill {
        at_work: ledger.runs(&query).await?,
        paused: paused(services).await?,
        scope,
    })
}

/// How a request for work ends that is paused, by itself or with everything.
pub(super) async fn standing_still(services: &Services, work: &Work) -> Result<Option<Outcome>, LedgerError> {
    let raised = services.ledger.raised().await?;
    let is_raised = |on: &str| raised.iter().any(|one| one.flag == Flag::Pause && one.on == on);
    let text = if is_raised(EVERYTHING) {
        "everything is paused; `sereno jobs resume --all` lifts it".to_owned()
    } else if is_raised(work.name()) {
        format!("{work} is paused; `sereno jobs resume {}` lifts it", work.name())
    } else {
        return Ok(None);
    };
    Ok(Some(Outcome::Skipped(Skip::Paused, text)))
}

/// Whether one of the flags says that the run must stop where it is.
pub(super) fn stops(raised: &[Raised], run: &RunId) -> bool {
    raised.iter().any(|raised| match raised.flag {
        Flag::Cancel => raised.on == run.as_str() || raised.on == EVERYTHING,
        Flag::Pause => raised.on == EVERYTHING,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stops_for_its_own_cancel_and_for_a_pause_of_everything() {
        let run: RunId = "k3v9x2m4qd".parse().expect("an id");
        let raised = |on: &str, flag| Raised {
            on: on.to_owned(),
            flag,
            at: "2026-11-24T00:00:00Z".parse().expect("a time"),
        };
        assert!(stops(&[raised("k3v9x2m4qd", Flag::Cancel)], &run));
        assert!(stops(
            &[raised("sweep", Flag::Pause), raised("*", Flag::Pause)],
            &run
        ));
        assert!(!stops(
            &[
                raised("0000000000", Flag::Cancel),
                raised("sweep", Flag::Pause),
                raised("k3v9x2m4qd", Flag::Pause)
            ],
            &run
        ));
        assert!(!stops(&[], &run));
    }
}
