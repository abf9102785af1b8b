//! 37: imports `files`, and its manifest says nothing of it.

use kit::{Answer, Context, Failure, files};

fn run(_context: &Context) -> Answer {
    files::usage("temp").map_err(Failure::PassedOn)?;
    kit::done()
}

kit::guest!(run);
