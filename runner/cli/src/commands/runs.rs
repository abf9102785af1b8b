//! `runs list | show | logs | cancel`: what has run.

use serde_json::json;
use sereno_core::dispatch;
use sereno_core::job::Config;
use sereno_core::name::{JobName, RunId};
use sereno_core::ports::ledger::{Ledger, RunQuery};
use sereno_core::run::RunEvent;

use super::source;
use crate::args::{Global, Runs};
use crate::compose;
use crate::failure::Failure;
use crate::output::{DOCUMENT_SCHEMA_VERSION, Output};
use crate::render;
use crate::render::next::Asked;

pub(super) async fn runs(global: &Global, args: Runs, output: &Output) -> Result<u8, Failure> {
    let config = source(global)?.parse(output)?;
    if let Runs::List { job: Some(job), .. } = &args {
        known(&config, job, output);
    }
    let ledger = compose::history(&config).await?;
    let now = compose::clock().now();
    match args {
        Runs::List { job, limit } => {
            let rows = ledger
                .runs(&RunQuery {
                    work: job.map(Into::into),
                    limit,
                    ..RunQuery::default()
                })
                .await?;
            if output.is_text() {
                output.data(&render::runs::list(&rows, now, output.paint))?;
            } else {
                output.documents("runs", rows.iter().map(render::json::row).collect())?;
            }
        }
        Runs::Show { run } => {
            let row = ledger.run(&run).await?;
            match ledger.report(&row.id).await? {
                Some(report) if output.is_text() => {
                    let asked = recorded(&*ledger, &row.id, output).await?;
                    output.data(&render::report::report(
                        &report,
                        &asked,
                        output.verbose,
                        output.paint,
                    ))?;
                }
                Some(report) => output.document(&render::json::report(&report))?,
                None => {
                    let effects = render::runs::effects_so_far(&ledger.events(&row.id).await?);
                    if output.is_text() {
                        output.data(&render::runs::at_work(
                            &row,
                            &effects,
                            now,
                            &output.program,
                            output.paint,
                        ))?;
                    } else {
                        output.document(&json!({
                            "schema_version": DOCUMENT_SCHEMA_VERSION,
                            "row": render::json::row(&row),
                            "effects": effects,
                        }))?;
                    }
                }
            }
        }
        Runs::Logs { run } => {
            let row = ledger.run(&run).await?;
            let events = ledger.events(&row.id).await?;
            if output.is_text() {
                let lines = render::runs::logs(&events, output.paint);
                if lines.is_empty() {
                    output.talk(&format!("run {} logged nothing", row.id));
                }
                output.data(&lines)?;
            } else {
                output.documents("lines", render::runs::logs_json(&events))?;
            }
        }
        Runs::Cancel { run } => {
            let services = compose::over(config, ledger)?;
            let row = dispatch::cancel(&services, &run).await?;
            if output.is_text() {
                output.data(&format!(
                    "run {} is asked to stop: its next call to the host answers `cancelled`\n",
                    row.id
                ))?;
            } else {
                output.document(
                    &json!({ "schema_version": DOCUMENT_SCHEMA_VERSION, "run": row.id, "cancel": true }),
                )?;
            }
        }
    }
    Ok(0)
}

/// What a run was asked with, as the ledger has it.
pub(super) async fn recorded(ledger: &dyn Ledger, run: &RunId, output: &Output) -> Result<Asked, Failure> {
    let events = ledger.events(run).await?;
    Ok(events
        .iter()
        .find_map(|stored| match &stored.event {
            RunEvent::Started { request, .. } => Some(Asked::recorded(&output.program, request)),
            _ => None,
        })
        .unwrap_or_else(|| Asked::plainly(&output.program)))
}

/// Runs of a job that is no longer configured are still there; a typing mistake looks the same, so it is told.
fn known(config: &Config, job: &JobName, output: &Output) {
    if let Err(missing) = config.job(job) {
        output.talk(&format!(
            "note: {missing}; its old runs are listed, if there are any\nhint: {}",
            missing.hint
        ));
    }
}
