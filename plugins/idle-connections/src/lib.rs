//! The plugin `idle-connections`: ends connections that have been idle for too long.
//!
//! Only glue; which connections those are is in `judge`, ending them in `task`, what it takes in `plugin.toml`.

mod judge;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
