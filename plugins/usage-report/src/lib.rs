//! The plugin `usage-report`: where the space goes, what grew, and when the limits are reached.
//!
//! Only glue; what it does is in `task`, what it takes in `plugin.toml`.

mod capacity;
mod collect;
mod compare;
mod page;
mod report;
mod shelf;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
