//! Events from outside: raw JSON is told apart by its shape, and becomes requests, continuations or commands.
//!
//! What an event may say is decided here, for whichever trigger it came by; nothing here runs anything. A refusal names
//! the keys and types that were seen and never a value, which may be a secret of whoever sent it.

mod command;
mod continuation;
mod envelope;
mod measure;
mod own;
mod queue;
mod seen;
#[cfg(test)]
mod tests;

use serde_json::Value as Json;

use crate::job::Config;
use crate::run::RunRequest;

pub use command::{Command, Scope};
pub use continuation::Continuation;
pub use seen::seen;

/// One invocation carries no more: a queue hands over 10,000 messages at most.
const RECORDS_MAX: usize = 10_000;

/// Why an event is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {seen}")]
pub struct EventError {
    /// A sentence without a full stop, and without anything of the event but its keys.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Keys and types: `it has "detail": object, "id": string`.
    pub seen: String,
}

impl EventError {
    fn new(event: &Json, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            seen: seen(event),
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What one record of an event asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// Runs; several when it names shards.
    Run(Vec<RunRequest>),
    /// More work under a key.
    Continue(Continuation),
    /// What an operator would type. Whether commands are taken at all is `[policy] remote_commands`, which whoever
    /// carries one out asks first.
    Command(Command),
}

/// One thing that was delivered, to be answered on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What its carrier calls it when it is to be delivered again; none when it comes alone.
    pub id: Option<String>,
    /// Of a queue that keeps an order: what is in order with what.
    pub group: Option<String>,
    /// What it asks for.
    pub meaning: Result<Meaning, EventError>,
}

/// How an event came, and so how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Alone: one answer or one error.
    Alone,
    /// A list that is delivered again as a whole.
    Batch,
    /// Messages of a queue, each delivered again by its id.
    Queue,
}

/// An event, told apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// How it came.
    pub carrier: Carrier,
    /// What is in it, in its order.
    pub records: Vec<Record>,
}

impl Arrival {
    fn alone(meaning: Result<Meaning, EventError>) -> Self {
        Self {
            carrier: Carrier::Alone,
            records: vec![Record {
                id: None,
                group: None,
                meaning,
            }],
        }
    }
}

/// Where an event was found, which says what it may ask for and what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin<'a> {
    /// The shape's name, as `Reason::Event` keeps it; none for what somebody invoked directly.
    shape: Option<&'static str>,
    /// The key of an event that says neither a key nor a time: the same at every delivery.
    key: &'a str,
    /// The time of an event that says none: when its message was sent.
    sent: Option<crate::value::Instant>,
}

/// Tells an event apart. `invocation` names the delivery: the same when the same event is delivered again.
///
/// | shape | told by | `Reason::Event` |
/// |---|---|---|
/// | A | `source` `aws.events` | `eventbridge-rule` |
/// | B, D | our own form with `schedule_arn`, `execution_id` or `attempt` | `schedule` |
/// | C | `source` `aws.scheduler` | `eventbridge-scheduler` |
/// | E | `Records` of `aws:sqs` | `sqs` |
/// | F | `Messages`, or `Items` of a map | `messages`, `items` |
/// | G | our own form | `Reason::Invoke` |
/// | H | a list; an envelope with a `source` of your own | `batch`, `eventbridge-bus` |
///
/// A message's body and what a destination passes on are told apart in their turn, once.
pub fn read(raw: &Json, config: &Config, invocation: &str) -> Arrival {
    let origin = Origin {
        shape: None,
        key: invocation,
        sent: None,
    };
    match raw {
        Json::Array(events) => batch(raw, events, "batch", config, origin),
        Json::Object(event) => {
            if let Some(records) = event.get("Records") {
                return queue::records(raw, records, config);
            }
            if let Some(Json::Array(messages)) = event.get("Messages") {
                return queue::messages(raw, messages, config);
            }
            if let Some(Json::Array(items)) = event.get("Items") {
                return batch(raw, items, "items", config, origin);
            }
            Arrival::alone(one(raw, config, origin))
        }
        _ => Arrival::alone(one(raw, config, origin)),
    }
}

/// Several events at once, of which none says that it failed.
fn batch(raw: &Json, events: &[Json], shape: &'static str, config: &Config, origin: Origin<'_>) -> Arrival {
    if events.len() > RECORDS_MAX {
        return Arrival::alone(Err(too_many(raw)));
    }
    let records = events.iter().enumerate().map(|(place, event)| {
        let key = format!("{}#{place}", origin.key);
        let origin = Origin {
            shape: Some(shape),
            key: &key,
            sent: None,
        };
        Record {
            id: None,
            group: None,
            meaning: one(event, config, origin),
        }
    });
    Arrival {
        carrier: Carrier::Batch,
        records: records.collect(),
    }
}

fn too_many(raw: &Json) -> EventError {
    EventError::new(raw, format!("more than {RECORDS_MAX} events came at once"))
}

/// One event by itself.
fn one(event: &Json, config: &Config, origin: Origin<'_>) -> Result<Meaning, EventError> {
    measure::check(event)?;
    let Json::Object(keys) = event else {
        return Err(nothing_named(event, config));
    };
    if let Some(passed_on) = keys
        .get("requestPayload")
        .filter(|_| keys.contains_key("requestContext"))
    {
        let origin = Origin {
            shape: Some("destination"),
            ..origin
        };
        return match passed_on.as_object() {
            Some(inner) if envelope::is_envelope(inner) => envelope::read(passed_on, inner, config, origin),
            _ => own::read(passed_on, config, origin),
        };
    }
    if envelope::is_envelope(keys) {
        return envelope::read(event, keys, config, origin);
    }
    own::read(event, config, origin)
}

/// For an event that says nothing that could be done.
fn nothing_named(event: &Json, config: &Config) -> EventError {
    let jobs = config.jobs.keys().map(|name| format!("`{name}`"));
    let rounds = config.rounds.keys().map(|name| format!("round `{name}`"));
    let all: Vec<String> = jobs.chain(rounds).collect();
    let known = if all.is_empty() {
        "the configuration has no jobs yet".to_owned()
    } else {
        format!("there are {}", all.join(", "))
    };
    EventError::new(event, "the event names neither a job nor a round")
        .hint(format!("send `{{\"v\":1,\"job\":\"NAME\"}}`; {known}"))
}
