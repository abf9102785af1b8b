//! What operators do to running work: cancel a run, pause and resume jobs, rounds or everything.
//!
//! Each is a flag in the ledger, so that it reaches whichever process is at work. A pause of everything is the kill
//! switch: what is at work stops before its next batch.

use super::{DispatchError, Services};
use crate::command::Extent;
use crate::name::RunId;
use crate::ports::ledger::{Flag, LedgerError, RunQuery, RunRow};
use crate::ports::orders::Raised;
use crate::run::{Outcome, RunState, Skip, Work};

/// What came of a pause or a resume.
#[derive(Debug, Clone, PartialEq)]
pub struct Standstill {
    /// What it was about.
    pub extent: Extent,
    /// Runs at work: after a pause of everything they are about to stop, after another they go on to their end.
    pub at_work: Vec<RunRow>,
    /// All that is paused now, each a name or `*`.
    pub paused: Vec<Raised>,
}

impl Standstill {
    /// True when everything stands still.
    pub fn is_all(&self) -> bool {
        self.paused.iter().any(|raised| raised.on == EVERYTHING)
    }
}

/// What a flag is raised on that is about everything.
const EVERYTHING: &str = "*";

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

/// From now on nothing of `extent` starts.
///
/// # Errors
/// It is not configured, or the ledger's own.
pub async fn pause(services: &Services, extent: Extent) -> Result<Standstill, DispatchError> {
    if let Extent::Of(work) = &extent {
        configured(services, work)?;
    }
    set(services, extent, true).await
}

/// Takes a pause back. What is paused by another name stays so, and is in the answer. What is not configured any more may
/// be resumed too.
///
/// # Errors
/// It is neither configured nor paused, or the ledger's own.
pub async fn resume(services: &Services, extent: Extent) -> Result<Standstill, DispatchError> {
    if let Extent::Of(work) = &extent
        && !services.ledger.flag(&[work.name()], Flag::Pause).await?
    {
        configured(services, work)?;
    }
    set(services, extent, false).await
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

async fn set(services: &Services, extent: Extent, is_paused: bool) -> Result<Standstill, DispatchError> {
    let now = services.clock.now();
    let ledger = &services.ledger;
    ledger
        .set_flag(extent.subject(), Flag::Pause, is_paused, now)
        .await?;
    let query = RunQuery {
        work: match &extent {
            Extent::All => None,
            Extent::Of(work) => Some(work.clone()),
        },
        running: true,
        ..RunQuery::default()
    };
    Ok(Standstill {
        at_work: ledger.runs(&query).await?,
        paused: paused(services).await?,
        extent,
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
