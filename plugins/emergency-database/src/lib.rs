//! The plugin `emergency-database`: climbs a ladder of steps for a database in trouble.
//!
//! Only glue; what stands above its target and who is in the way is in `state`, where a run is in `place`, climbing in `task`, what it
//! takes in `plugin.toml`.

mod place;
mod state;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
