//! The commands, one file each: read, call dispatch or a port, hand what comes back to `render`.

mod alerts;
mod apply;
mod check;
mod completions;
mod config;
mod docs;
mod gauges;
mod init;
mod jobs;
mod missed;
#[cfg(feature = "compiler")]
mod package;
mod plugin;
pub(crate) mod run;
mod runs;
mod schedule;
mod schema;
#[cfg(feature = "serve")]
mod serve;
mod validate;

use std::future::Future;

use anyhow::Context as _;

use crate::args::{Arguments, Command, Global};
use crate::config_source::Source;
use crate::demo;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) use plugin::is_file as is_plugin_file;

/// Runs the command and answers the exit code.
pub(crate) fn dispatch(arguments: Arguments, output: &Output) -> Result<u8, Failure> {
    let global = arguments.global;
    match arguments.command {
        Command::Run(args) => block_on(run::run(&global, args, output)),
        Command::Plan(args) => block_on(run::plan(&global, args, output)),
        Command::Apply(args) => block_on(apply::apply(&global, args, output)),
        Command::Validate(args) => block_on(validate::validate(&global, &args, output)),
        Command::Runs(args) => block_on(runs::runs(&global, args, output)),
        Command::Jobs(args) => block_on(jobs::jobs(&global, args, output)),
        Command::Gauges(args) => block_on(gauges::gauges(&global, &args, output)),
        Command::Missed(args) => block_on(missed::missed(&global, &args, output)),
        Command::Alerts(args) => block_on(alerts::alerts(&global, args, output)),
        Command::Schedule(args) => schedule::schedule(&global, &args, output),
        Command::Plugin(args) => plugin::plugin(&global, args, output),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::serve(&global, &args, output),
        #[cfg(feature = "compiler")]
        Command::Package(args) => block_on(package::package(&global, args, output)),
        Command::Init(args) => init::init(&args, output),
        Command::Schema => schema::schema(output),
        Command::Config(args) => config::config(&global, &args, output),
        Command::Completions { shell } => completions::completions(shell, output),
        Command::Demo(args) => block_on(demo::demo(&args, output)),
        Command::Docs { page } => docs::docs(page, output),
    }
}

/// The configuration that the command works with.
fn source(global: &Global) -> Result<Source, Failure> {
    Source::find(global.config.as_deref())
}

/// One thread is enough for one command, and the quickest to start.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the asynchronous runtime")?;
    let result = runtime.block_on(work);
    // A blocking call that nobody waits for must not keep the process.
    runtime.shutdown_background();
    result
}
