//! `apply`: what a plan showed, once.

use sereno_core::dispatch;
use sereno_core::guard::Allowances;
use sereno_core::run::Mode;

use super::check::{configuration, wrong_request};
use super::run::{answer, stoppable};
use super::runs::recorded;
use super::source;
use crate::args::{Apply, Global};
use crate::compose::{self, Watching};
use crate::failure::Failure;
use crate::output::Output;

pub(super) async fn apply(global: &Global, args: Apply, output: &Output) -> Result<u8, Failure> {
    let source = source(global)?;
    let config = configuration(&source, output).await?;
    let watching = Watching::new(output);
    let services = compose::services(config, &watching).await?;
    let allow = Allowances(args.allow.into_iter().collect());
    // Which job it is only the ledger knows; that there is no such plan the apply itself tells.
    if output.is_watched
        && let Ok(plan) = services.ledger.run(&args.run).await
    {
        watching.start(&services.config, &plan.work, Mode::Apply);
    }
    let applied = stoppable(output, &watching, |stop| {
        dispatch::apply(&services, &args.run, allow, stop)
    })
    .await?;
    watching.clear();
    let report = applied.map_err(|error| wrong_request(&source, &[], error, output))?;
    let asked = recorded(&*services.ledger, &report.run, output).await?;
    answer(&report, &asked, args.fail_on, output)
}
