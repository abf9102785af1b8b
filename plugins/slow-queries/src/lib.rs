//! The plugin `slow-queries`: tells which statements took the most time since the last look.
//!
//! Only glue; the counters of a look and their difference to an earlier one are in `snapshot`, what is told in `task`, what it
//! takes in `plugin.toml`.

mod snapshot;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
