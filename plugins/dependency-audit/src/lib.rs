//! The plugin `dependency-audit`: asks for known vulnerabilities of what lock files name, and fixes nothing.
//!
//! Only glue; what it does is in `task`, what it takes in `plugin.toml`.

mod advisory;
mod cvss;
mod ignore;
mod lockfile;
mod source;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
