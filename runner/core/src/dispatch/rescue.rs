//! Closes runs whose host died, with what really happened as far as anything recorded it.
//!
//! A host that was only asleep finds its fences raised and its run ended. Nothing is started again here: the next
//! delivery is a new attempt.

use super::begin::{LEASE_TTL, of_host};
use super::close::{Closing, close as close_run};
use super::reconcile::{note_of_intents, open_intents, reconcile};
use super::report::{by_target, empty_report, target_of};
use super::{DispatchError, Services};
use crate::effect::add;
use crate::grant::Path;
use crate::job::{DatabaseTarget, FenceKind};
use crate::name::TargetName;
use crate::ports::database::Fence;
use crate::ports::ledger::{Lease, LedgerError, RunRow};
use crate::report::Effect;
use crate::run::{Outcome, RunEvent};

/// Closes every orphan as lost. Answers their rows as they were.
///
/// # Errors
/// Only the ledger's own; a target out of reach is noted in the report instead.
pub async fn rescue(services: &Services) -> Result<Vec<RunRow>, DispatchError> {
    let orphans = services.ledger.orphans(services.clock.now()).await?;
    close_all(services, &orphans).await?;
    Ok(orphans)
}

pub(super) async fn close_all(services: &Services, orphans: &[RunRow]) -> Result<(), DispatchError> {
    for row in orphans {
        close(services, row).await?;
    }
    Ok(())
}

async fn close(services: &Services, row: &RunRow) -> Result<(), DispatchError> {
    let now = services.clock.now();
    let Some(leases) = services.ledger.take_over(&row.id, now, LEASE_TTL).await? else {
        // It has ended, or another process is closing it.
        return Ok(());
    };
    let mut effects = Vec::new();
    let mut params = serde_json::Value::Null;
    let events = services.ledger.events(&row.id).await?;
    for stored in &events {
        match &stored.event {
            RunEvent::Started { params: given, .. } => params = given.clone(),
            RunEvent::Effect { effect } => add(&mut effects, effect),
            _ => {}
        }
    }
    let mut notes = Vec::new();
    for target in &row.targets {
        let Some(name) = target
            .strip_prefix("database.")
            .and_then(|name| name.parse::<TargetName>().ok())
        else {
            continue;
        };
        let asked = match fences(services, row, &name, target, &leases) {
            Some(fences) => ask(services, &name, &fences, row, &mut effects).await,
            None => Err("it is a file of the machine that the run was on".to_owned()),
        };
        if let Err(reason) = asked {
            notes.push(format!("{target} could not be asked what the run did: {reason}"));
        }
    }
    notes.extend(note_of_intents(open_intents(&events)));
    let outcome = Outcome::Lost(format!(
        "the host of run {} died; what it did up to then is recorded here",
        row.id
    ));
    let mut report = empty_report(services, row, params, outcome);
    report.targets = by_target(effects, Vec::new());
    report.notes = notes;
    let closed = close_run(services, row, Vec::new(), &mut report, Closing::Rescued).await;
    match closed {
        // It woke up and ended by itself.
        Ok(()) | Err(LedgerError::Illegal { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The fences that keep a sleeper from the tables of `target`; none when that is another machine's own.
fn fences(
    services: &Services,
    row: &RunRow,
    name: &TargetName,
    target: &str,
    leases: &[Lease],
) -> Option<Vec<Fence>> {
    let host = of_host(services);
    let jobs = &services.config.jobs;
    let database = services.config.databases.get(name);
    let is_of_host = database.is_some_and(DatabaseTarget::is_of_host);
    let fence = |lease: &Lease| {
        let scope = if is_of_host {
            lease.scope.strip_suffix(&host)?
        } else {
            &lease.scope
        };
        Some(Fence {
            run: row.id.clone(),
            attempt: row.attempt,
            scope: scope.to_owned(),
            token: lease.token,
            in_database: true,
        })
    };
    let job = jobs.values().find(|job| row.work.job() == Some(&job.name));
    let fenced = job.is_none_or(|job| job.fence == FenceKind::Database);
    let whole = Path::Whole(name.clone());
    let is_of_tools = job
        .and_then(|job| job.grants.0.get(&whole))
        .is_some_and(|verbs| !verbs.iter().any(|verb| verb.is_fenced()));
    let whole = whole.to_string();
    let is_fenced = |lease: &&Lease| {
        let is_whole = lease.scope.strip_suffix(&host).unwrap_or(&lease.scope) == whole;
        fenced && !(is_whole && is_of_tools)
    };
    let of_target = leases.iter().filter(|lease| target_of(&lease.scope) == target);
    of_target.filter(is_fenced).map(fence).collect()
}

async fn ask(
    services: &Services,
    name: &TargetName,
    fences: &[Fence],
    row: &RunRow,
    effects: &mut Vec<Effect>,
) -> Result<(), String> {
    let database = services
        .targets
        .database(name)
        .await
        .map_err(|error| error.to_string())?;
    reconcile(&*database, fences, &row.id, effects)
        .await
        .map_err(|error| error.to_string())
}
