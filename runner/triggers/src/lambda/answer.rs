//! What Lambda is answered: a report, an error that makes it deliver again, or the ids of a queue's messages to deliver again.

use serde_json::{Value as Json, json};
use sereno_core::dispatch::{DispatchError, Problem};
use sereno_core::event::{Carrier, Continuation};
use sereno_core::report::{Report, Severity};

/// What became of one record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    /// Done with, and answered so.
    Done(Json),
    /// To be delivered again, or to be kept where failures are.
    Failed(Failed),
}

/// An error as Lambda takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    /// Short and stable: `unreachable`, `at-work`, `event`.
    pub(super) kind: String,
    /// A sentence.
    pub(super) message: String,
}

impl Failed {
    pub(super) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.into(),
        }
    }
}

/// A report, as every program reads it, with its exit code. `next` is what to invoke for the rest of it, where no queue does.
pub(super) fn report(report: &Report, next: Option<&Continuation>) -> Json {
    let mut document = report.document();
    document["exit"] = report.exit_code(Some(Severity::Critical)).into();
    if let Some(next) = next {
        document["next"] = next.event();
    }
    document
}

/// What was wrong with a request, for whoever sent it.
pub(super) fn refused(error: &DispatchError) -> Json {
    let problems: &[Problem] = match error {
        DispatchError::Usage(problems) => problems,
        _ => &[],
    };
    let problems = problems
        .iter()
        .map(|problem| json!({ "at": problem.at, "message": problem.message, "hint": problem.hint }));
    json!({
        "schema_version": 1,
        "outcome": error.outcome().label(),
        "exit": error.exit_code(),
        "message": error.to_string(),
        "problems": problems.collect::<Vec<_>>(),
    })
}

/// The answer to all of them, in the order they came.
pub(super) fn all(carrier: Carrier, told: Vec<(Option<String>, Told)>) -> Result<Json, Failed> {
    match carrier {
        Carrier::Alone => match told.into_iter().next() {
            Some((_, Told::Done(answer))) => Ok(answer),
            Some((_, Told::Failed(failed))) => Err(failed),
            None => Ok(Json::Null),
        },
        Carrier::Batch => batch(told),
        Carrier::Queue => queue(told),
    }
}

/// A list is delivered again as a whole: what is done answers its report then.
fn batch(told: Vec<(Option<String>, Told)>) -> Result<Json, Failed> {
    let count = told.len();
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for (place, (_, told)) in told.into_iter().enumerate() {
        match told {
            Told::Done(answer) => answers.push(answer),
            Told::Failed(failed) => failures.push(format!("[{place}] {}: {}", failed.kind, failed.message)),
        }
    }
    if failures.is_empty() {
        return Ok(json!({ "records": answers }));
    }
    let message = format!(
        "{} of {count} events failed: {}",
        failures.len(),
        failures.join("; ")
    );
    Err(Failed::new("batch", message))
}

/// Lambda takes no other key than this one.
fn queue(told: Vec<(Option<String>, Told)>) -> Result<Json, Failed> {
    let mut failures = Vec::new();
    for (id, told) in told {
        match (id, told) {
            (_, Told::Done(_)) => {}
            (Some(id), Told::Failed(_)) => failures.push(json!({ "itemIdentifier": id })),
            // It cannot be named, so that all of them must come again.
            (None, Told::Failed(failed)) => return Err(failed),
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: &str, is_done: bool) -> (Option<String>, Told) {
        let told = if is_done {
            Told::Done(json!({ "run": id }))
        } else {
            Told::Failed(Failed::new("unreachable", id))
        };
        (Some(id.to_owned()), told)
    }

    #[test]
    fn a_queue_is_told_exactly_the_ids_that_failed() {
        let mixed = vec![
            told("a", true),
            told("b", false),
            told("c", true),
            told("d", false),
        ];
        assert_eq!(
            all(Carrier::Queue, mixed),
            Ok(json!({ "batchItemFailures": [{ "itemIdentifier": "b" }, { "itemIdentifier": "d" }] }))
        );
        assert_eq!(
            all(Carrier::Queue, Vec::new()),
            Ok(json!({ "batchItemFailures": [] }))
        );
        let nameless = vec![told("a", true), (None, told("x", false).1)];
        assert_eq!(
            all(Carrier::Queue, nameless),
            Err(Failed::new("unreachable", "x"))
        );
    }

    #[test]
    fn a_list_fails_as_a_whole_and_one_event_by_itself() {
        assert_eq!(
            all(Carrier::Batch, vec![told("a", true), told("b", true)]),
            Ok(json!({ "records": [{ "run": "a" }, { "run": "b" }] }))
        );
        assert_eq!(
            all(Carrier::Batch, vec![told("a", true), told("b", false)]),
            Err(Failed::new("batch", "1 of 2 events failed: [1] unreachable: b"))
        );
        assert_eq!(
            all(Carrier::Alone, vec![told("a", true)]),
            Ok(json!({ "run": "a" }))
        );
        assert_eq!(
            all(Carrier::Alone, vec![told("a", false)]),
            Err(Failed::new("unreachable", "a"))
        );
    }
}
