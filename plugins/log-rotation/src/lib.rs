//! The plugin `log-rotation`: rotates logs, compresses what nobody writes any more, and keeps it for so long and so many.
//!
//! Only glue; what it does is in `task`, what it takes in `plugin.toml`. What a file's name says the SDK knows.

mod task;

use sereno_plugin::{Context, Failure, Host, Outcome};

#[sereno_plugin::plugin]
fn run(context: &Context, params: &Params, host: &mut impl Host) -> Result<Outcome, Failure> {
    task::run(context, params, host)
}
