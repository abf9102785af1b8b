//! The plugin `partition-retention`: detaches partitions that are older than they have to be kept, archives them, and drops them
//! after a grace.
//!
//! Only glue; what it does is in `task`, what it takes in `plugin.toml`.

mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
