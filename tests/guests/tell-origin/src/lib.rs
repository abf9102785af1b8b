//! Sends one request with a body, and says what was answered: nothing in the answer tells a plan from an apply.

use kit::{Answer, Context, Failure, http};

fn run(_context: &Context) -> Answer {
    match http::post("web", "/told?x=1", &[], b"a body") {
        Ok(answer) => kit::done_with(vec![kit::finding("answered", answer.status.to_string())]),
        Err(error) => Err(Failure::PassedOn(error)),
    }
}

kit::guest!(run);
