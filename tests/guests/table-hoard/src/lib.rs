//! 07: does nothing, but its table of functions starts beyond the limit (see build.rs).

use kit::{Answer, Context};

fn run(_context: &Context) -> Answer {
    kit::done()
}

kit::guest!(run);
