//! `jobs list | explain`: what is configured.

use std::sync::Arc;

use chrono::SubsecRound as _;
use sereno_core::dispatch::examine;
use sereno_core::ports::ledger::RunQuery;
use sereno_core::run::RunRequest;

use super::source;
use crate::args::{Global, Jobs};
use crate::compose;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::jobs::{Listed, explain, explain_json, list, list_json};

pub(super) async fn jobs(global: &Global, args: Jobs, output: &Output) -> Result<u8, Failure> {
    let config = source(global)?.parse(output)?;
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
                });
            }
            if output.is_text() {
                output.data(&list(&listed, zone, now, output.paint))?;
            } else {
                output.documents("jobs", list_json(&listed, zone, now))?;
            }
        }
        Jobs::Explain { job } => {
            let services = compose::offline(Arc::clone(&config))?;
            let examined = examine(&services, &RunRequest::manual(job)).await?;
            if output.is_text() {
                output.data(&explain(&examined, zone, now, &output.program, output.paint))?;
            } else {
                output.document(&explain_json(&examined, zone, now))?;
            }
        }
    }
    Ok(0)
}
