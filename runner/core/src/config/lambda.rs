//! `[lambda]`: how it runs as a function of AWS Lambda.

use super::document::Node;
use super::shape::{Complaint, Key, Kind, Parsed, Presence, Shape};
use crate::job::{LambdaSettings, QueueTarget, SecretText};
use crate::reference::{self, Part};

pub(super) static LAMBDA: Shape = Shape {
    keys: &[
        Key {
            name: "continue_queue",
            kind: Kind::Parsed(&QUEUE),
            presence: Presence::Optional,
            doc: "The URL of an SQS queue that invokes the function: what a run leaves when its time is over goes on by a message \
                  to it. Without one the answer says what to invoke next, for a loop of Step Functions.",
        },
        Key {
            name: "endpoint",
            kind: Kind::Parsed(&QUEUE),
            presence: Presence::Optional,
            doc: "A server other than AWS that speaks like its SQS.",
        },
    ],
};

static QUEUE: Parsed = Parsed {
    what: "an HTTP URL, or a reference such as `${env:NAME}`",
    code: "bad-url",
    pattern: None,
    check: |text| match reference::parse(text) {
        Err(error) => Err(Complaint::new(error.problem, error.hint)),
        Ok(parts) => {
            let is_reference = matches!(parts.first(), Some(Part::Reference(_)));
            if is_reference || text.starts_with("https://") || text.starts_with("http://") {
                return Ok(());
            }
            Err(Complaint::new(
                "it is no URL",
                "write `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`; `aws sqs get-queue-url` prints it",
            ))
        }
    },
};

pub(super) fn read(root: &Node) -> LambdaSettings {
    let text = |key: &str| {
        let text = root.get("lambda")?.text_of(key)?;
        Some(SecretText::new(text))
    };
    LambdaSettings {
        continue_queue: text("continue_queue").map(|url| QueueTarget {
            url,
            endpoint: text("endpoint"),
        }),
    }
}
