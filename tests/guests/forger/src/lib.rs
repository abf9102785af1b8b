//! 35, 39: answers errors that no host call gave, outcomes that nobody knows, and more than it may say.

use kit::{Answer, Context, Error, Failure, Outcome, measurements};

fn run(context: &Context) -> Answer {
    match kit::param(context, "how") {
        "guard" => Err(Failure::PassedOn(Error::Guard("nothing of the kind".to_owned()))),
        "cancelled" => Err(Failure::PassedOn(Error::Cancelled)),
        "outcome" => Ok(Outcome::Other("a miracle".to_owned())),
        "findings" => kit::done_with(vec![kit::finding("x", "y".repeat(2_000)); 400]),
        "measurements" => {
            for n in 0.. {
                measurements::add(&measurements::Measurement {
                    name: format!("n{n}"),
                    target: String::new(),
                    value: Some(1.0),
                    unit: "count".to_owned(),
                    note: None,
                });
            }
            kit::done()
        }
        how => Err(Failure::InvalidParams(how.to_owned())),
    }
}

kit::guest!(run);
