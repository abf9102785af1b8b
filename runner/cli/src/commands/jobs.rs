//! `jobs list | explain | pause | resume`: what is configured, and whether it starts.

use std::sync::Arc;

use chrono::SubsecRound as _;
use sereno_core::dispatch::{self, examine};
use sereno_core::event::Scope;
use sereno_core::job::Config;
use sereno_core::ports::ledger::RunQuery;
use sereno_core::run::RunRequest;

use super::source;
use crate::args::{Global, Jobs, Which};
use crate::compose::{self, Watching};
use crate::failure::Failure;
use crate::output::Output;
use crate::render::jobs::{Listed, explain, explain_json, list, list_json};
use crate::render::orders::{standstill, still_paused};

pub(super) async fn jobs(global: &Global, args: Jobs, output: &Output) -> Result<u8, Failure> {
    let config = source(global)?.parse(output)?;
    let args = match args {
        Jobs::Pause(which) => return stand_still(config, which, true, output).await,
        Jobs::Resume(which) => return stand_still(config, which, false, output).await,
        args => args,
    };
    let now = compose::clock().now().trunc_subsecs(0);
    let zone = &config.timezone;
    match args {
        Jobs::List => {
            let ledger = match compose::history(&config).await {
                Ok(ledger) => Some(ledger),
                // What is configured is worth knowing when the history is out of reach.
                Err(failure) => {
                    output.talk(&format!(
                        "{}last runs are unknown",
                        failure.text(output.paint_talk)
                    ));
                    None
                }
            };
            let paused = match &ledger {
                Some(ledger) => {
                    dispatch::paused(&compose::over(Arc::clone(&config), Arc::clone(ledger))?).await?
                }
                None => Vec::new(),
            };
            let mut listed = Vec::new();
            for job in config.jobs.values() {
                let last = match &ledger {
                    Some(ledger) => {
                        let query = RunQuery {
                            work: Some(job.name.clone().into()),
                            limit: 1,
                            ..RunQuery::default()
                        };
                        ledger.runs(&query).await?.into_iter().next()
                    }
                    None => None,
                };
                let rounds = config.rounds.values().filter(|round| round.has(&job.name));
                listed.push(Listed {
                    job,
                    rounds: rounds.collect(),
                    last,
                    is_paused: paused
                        .iter()
                        .any(|raised| raised.on == "*" || raised.on == job.name.as_str()),
                });
            }
            if output.is_text() {
                for raised in &paused {
                    output.talk(&still_paused(raised, &output.program));
                }
                output.data(&list(&listed, zone, now, output.paint))?;
            } else {
                output.documents("jobs", list_json(&listed, zone, now))?;
            }
        }
        Jobs::Explain { job } => {
            let services = compose::offline(Arc::clone(&config))?;
            let examined = examine(&services, &RunRequest::manual(job)).await?;
            // What is configured is worth knowing when the history is out of reach.
            let standing = match compose::history(&config).await {
                Ok(ledger) => {
                    let services = compose::over(Arc::clone(&config), ledger)?;
                    Some(dispatch::standing(&services, &examined).await?)
                }
                Err(failure) => {
                    output.talk(&format!(
                        "{}its approval is unknown",
                        failure.text(output.paint_talk)
                    ));
                    None
                }
            };
            let standing = standing.as_ref();
            if output.is_text() {
                output.data(&explain(
                    &examined,
                    standing,
                    zone,
                    now,
                    &output.program,
                    output.paint,
                ))?;
            } else {
                output.document(&explain_json(&examined, standing, zone, now))?;
            }
        }
        Jobs::Pause(_) | Jobs::Resume(_) => unreachable!("answered above"),
    }
    Ok(0)
}

async fn stand_still(
    config: Arc<Config>,
    which: Which,
    is_paused: bool,
    output: &Output,
) -> Result<u8, Failure> {
    let services = compose::services(config, &Watching::new(output)).await?;
    let scope = match &which.name {
        Some(name) => Scope::One(dispatch::named(&services, name.as_str())?),
        None => Scope::All,
    };
    let done = if is_paused {
        dispatch::pause(&services, scope).await?
    } else {
        dispatch::resume(&services, scope).await?
    };
    if output.is_text() {
        output.data(&standstill(&done, is_paused, &output.program, output.paint))?;
    } else {
        output.document(&done.document())?;
    }
    Ok(0)
}
