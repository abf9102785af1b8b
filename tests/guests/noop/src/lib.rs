//! Does nothing: what a run costs when the plugin costs nothing, and the neighbour of every hostile guest.

use kit::{Answer, Context};

fn run(_context: &Context) -> Answer {
    kit::done()
}

kit::guest!(run);
