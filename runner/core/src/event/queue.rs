//! Messages of SQS, as Lambda hands them over (`Records`) or as a state machine has polled them (`Messages`).
//!
//! Each is told apart by itself, by its body.

use chrono::DateTime;
use serde_json::{Map, Value as Json};

use super::{Arrival, Carrier, EventError, Meaning, Origin, RECORDS_MAX, Record, measure, one, too_many};
use crate::job::Config;
use crate::value::Instant;

/// `Records`: of SQS only.
pub(super) fn records(raw: &Json, records: &Json, config: &Config) -> Arrival {
    let Some(records) = records.as_array() else {
        return Arrival::alone(Err(EventError::new(raw, "`Records` is no list")));
    };
    if records.len() > RECORDS_MAX {
        return Arrival::alone(Err(too_many(raw)));
    }
    let foreign = records.iter().find(|record| source(record) != Some("aws:sqs"));
    if let Some(foreign) = foreign {
        let service = match source(foreign) {
            Some("aws:s3") => "S3",
            Some("aws:sns") => "SNS",
            Some("aws:kinesis") => "Kinesis",
            Some("aws:dynamodb") => "DynamoDB",
            _ => "something else than SQS",
        };
        return Arrival::alone(Err(EventError::new(
            foreign,
            format!("the event's `Records` are of {service}, which starts nothing here"),
        )
        .hint("let it send messages to a queue, in the form `{\"v\":1,\"job\":\"NAME\"}`")));
    }
    let records = records.iter().map(|record| {
        let arn = record
            .get("eventSourceARN")
            .and_then(Json::as_str)
            .unwrap_or_default();
        let attribute = |name: &str| text(record.get("attributes"), name);
        // A queue's name says that it keeps an order, whether or not the group is told.
        let is_ordered = arn.rsplit_once('.').is_some_and(|(_, end)| end == "fifo");
        let group = is_ordered.then(|| attribute("MessageGroupId").unwrap_or_default().to_owned());
        let message = Message {
            record,
            id: text(Some(record), "messageId"),
            body: text(Some(record), "body"),
            sent: attribute("SentTimestamp"),
        };
        Record {
            id: message.id.map(str::to_owned),
            group,
            meaning: message.meaning("sqs", config),
        }
    });
    Arrival {
        carrier: Carrier::Queue,
        records: records.collect(),
    }
}

/// `Messages`: as `ReceiveMessage` answers them.
pub(super) fn messages(raw: &Json, messages: &[Json], config: &Config) -> Arrival {
    if messages.len() > RECORDS_MAX {
        return Arrival::alone(Err(too_many(raw)));
    }
    let records = messages.iter().map(|record| {
        let message = Message {
            record,
            id: text(Some(record), "MessageId"),
            body: text(Some(record), "Body"),
            sent: text(record.get("Attributes"), "SentTimestamp"),
        };
        Record {
            id: message.id.map(str::to_owned),
            group: text(record.get("Attributes"), "MessageGroupId").map(str::to_owned),
            meaning: message.meaning("messages", config),
        }
    });
    Arrival {
        carrier: Carrier::Queue,
        records: records.collect(),
    }
}

fn source(record: &Json) -> Option<&str> {
    // SNS alone writes it with a capital letter.
    record
        .get("eventSource")
        .or_else(|| record.get("EventSource"))
        .and_then(Json::as_str)
}

fn text<'a>(of: Option<&'a Json>, key: &str) -> Option<&'a str> {
    of.and_then(Json::as_object)
        .and_then(|keys: &Map<String, Json>| keys.get(key))
        .and_then(Json::as_str)
}

struct Message<'a> {
    record: &'a Json,
    id: Option<&'a str>,
    body: Option<&'a str>,
    sent: Option<&'a str>,
}

impl Message<'_> {
    fn meaning(&self, shape: &'static str, config: &Config) -> Result<Meaning, EventError> {
        let refused = |message: &str| EventError::new(self.record, message);
        let id = self.id.ok_or_else(|| refused("the message has no id"))?;
        let body = self.body.ok_or_else(|| refused("the message has no body"))?;
        measure::check_text(self.record, body)?;
        let event: Json =
            serde_json::from_str(body).map_err(|_| refused("the body of the message is no JSON"))?;
        let origin = Origin {
            shape: Some(shape),
            key: id,
            sent: self.sent.and_then(instant),
        };
        one(&event, config, origin)
    }
}

/// Milliseconds since 1970, in a text.
fn instant(millis: &str) -> Option<Instant> {
    DateTime::from_timestamp_millis(millis.parse().ok()?)
}
