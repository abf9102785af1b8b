//! The plugin `table-upkeep`: vacuums, analyzes and reindexes the tables that need it.
//!
//! Only glue; which tables need what is in `need`, where a run is in `place`, doing it in `task`, what it takes in
//! `plugin.toml`.

mod need;
mod place;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
