//! 40: asks an origin again and again, and passes on what ends that.

use kit::{Answer, Context, Failure, http};

fn run(_context: &Context) -> Answer {
    loop {
        if let Err(error) = http::get("web", "/", &[]) {
            return Err(Failure::PassedOn(error));
        }
    }
}

kit::guest!(run);
