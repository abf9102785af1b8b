//! The plugin `index-upkeep`: advises on indexes, and changes nothing.
//!
//! Only glue; what a table's indexes lack or have too much of is in `advice`, the statements to type in `statement`, which tables
//! are looked at in `task`, what it takes in `plugin.toml`.

mod advice;
mod statement;
mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
