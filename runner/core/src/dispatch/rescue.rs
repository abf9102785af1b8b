//! Closes runs whose host died, with what really happened as far as anything recorded it.
//!
//! The truth about rows is beside the rows (`sereno.effect`), the truth about files is in the ledger's events. It
//! starts nothing again: the next delivery is a new attempt.

use std::collections::BTreeMap;

use super::admit::empty_report;
use super::{DispatchError, Services};
use crate::effect::add;
use crate::grant::Verb;
use crate::name::TargetName;
use crate::ports::ledger::{LedgerError, RunRow};
use crate::report::{Effect, TargetReport};
use crate::run::{Outcome, RunEvent};

/// Closes every orphan as lost. Answers their rows as they were.
///
/// # Errors
/// Only the ledger's own; a target out of reach is noted in the report instead.
pub async fn rescue(services: &Services) -> Result<Vec<RunRow>, DispatchError> {
    let orphans = services.ledger.orphans(services.clock.now()).await?;
    for row in &orphans {
        close(services, row).await?;
    }
    Ok(orphans)
}

async fn close(services: &Services, row: &RunRow) -> Result<(), DispatchError> {
    let mut effects = Vec::new();
    let mut params = serde_json::Value::Null;
    let mut intents = 0_u64;
    for stored in services.ledger.events(&row.id).await? {
        match stored.event {
            RunEvent::Started { params: given, .. } => params = given,
            RunEvent::Effect { effect } => {
                add(&mut effects, &effect);
                intents =
                    intents.saturating_sub(u64::from(effect.verb == Verb::Remove && effect.unit == "files"));
            }
            RunEvent::Intent { .. } => intents += 1,
            _ => {}
        }
    }
    let outcome = Outcome::Lost(format!(
        "the host of run {} died; what it did up to then is recorded here",
        row.id
    ));
    let mut report = empty_report(services, row, params, outcome);
    for target in &row.targets {
        let Some(name) = target
            .strip_prefix("database.")
            .and_then(|name| name.parse::<TargetName>().ok())
        else {
            continue;
        };
        match recorded_rows(services, &name, row).await {
            Ok(scopes) => scopes
                .iter()
                .for_each(|(scope, rows)| correct(&mut effects, scope, *rows)),
            Err(reason) => report
                .notes
                .push(format!("{target} could not be asked what the run did: {reason}")),
        }
    }
    if intents > 0 {
        report
            .notes
            .push("a batch of files was begun and never recorded; some of its files may be gone".to_owned());
    }
    let mut targets = BTreeMap::<String, Vec<Effect>>::new();
    for effect in effects {
        let end = effect
            .on
            .match_indices('.')
            .nth(1)
            .map_or(effect.on.len(), |(at, _)| at);
        targets
            .entry(effect.on[..end].to_owned())
            .or_default()
            .push(effect);
    }
    report.targets = targets
        .into_iter()
        .map(|(target, effects)| TargetReport {
            target,
            effects,
            findings: Vec::new(),
        })
        .collect();
    let event = RunEvent::Rescued {
        report: Box::new(report),
    };
    match services
        .ledger
        .append(&row.id, services.clock.now(), &[event])
        .await
    {
        // Another process was quicker.
        Ok(()) | Err(LedgerError::Illegal { .. }) => Ok(services.ledger.release(&row.id).await?),
        Err(error) => Err(error.into()),
    }
}

async fn recorded_rows(
    services: &Services,
    name: &TargetName,
    row: &RunRow,
) -> Result<BTreeMap<String, u64>, String> {
    let database = services
        .targets
        .database(name)
        .await
        .map_err(|error| error.to_string())?;
    let batches = database
        .recorded(&row.id)
        .await
        .map_err(|error| error.to_string())?;
    let mut scopes = BTreeMap::new();
    for batch in batches {
        *scopes.entry(batch.scope).or_default() += batch.rows;
    }
    Ok(scopes)
}

/// Makes the effects on `scope` add up to what the database itself recorded: the ledger may have missed the last
/// batch.
fn correct(effects: &mut [Effect], scope: &str, rows: u64) {
    let known: u64 = effects
        .iter()
        .filter(|effect| effect.on == scope && effect.unit == "rows")
        .map(|effect| effect.done)
        .sum();
    if let Some(last) = effects
        .iter_mut()
        .rfind(|effect| effect.on == scope && effect.unit == "rows")
    {
        last.done += rows.saturating_sub(known);
    }
}
