//! The plugin `emergency-space`: climbs a ladder of steps that free space, and stops as soon as there is enough.
//!
//! Only glue; how full a file system is and what is too much is in `room`, which files a step takes in `step`, climbing in `task`,
//! what it takes in `plugin.toml`.

mod room;
mod step;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
