//! The plugin `backup`: makes backups of a database, and lets old ones go.
//!
//! Only glue; what it does is in `task`, what it takes in `plugin.toml`.

mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
