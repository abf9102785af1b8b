//! 04: does nothing, but its memory starts beyond the limit (see build.rs).

use kit::{Answer, Context};

fn run(_context: &Context) -> Answer {
    kit::done()
}

kit::guest!(run);
