//! 31: waits for a host call that may never answer, and passes on what it does answer.

use kit::{Answer, Context, Failure, files};

fn run(context: &Context) -> Answer {
    match files::usage(kit::param(context, "directory")) {
        Ok(_) => kit::done(),
        Err(error) => Err(Failure::PassedOn(error)),
    }
}

kit::guest!(run);
