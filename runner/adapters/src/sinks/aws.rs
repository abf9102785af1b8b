//! A message for Amazon SNS and for Amazon EventBridge: what is asked, and what their answers mean.

use form_urlencoded::Serializer;
use serde_json::{Value as Json, json};
use sereno_core::alert::Message;
use sereno_core::ports::sinks::SinkError;

use super::{document, text};
use crate::aws::{Service, region_of};
use crate::post::Poster;

/// SNS refuses a longer subject, and one with anything but printable ASCII.
const SUBJECT_MAX: usize = 99;

/// Publishes to a topic.
///
/// The text is the one people read, since a topic's subscribers are often mailboxes and phones; kind, severity, subject
/// and id are attributes, for filters. A topic that keeps an order (`.fifo`) keeps it by subject, and drops what it has.
/// (SNS API reference, `Publish`.)
pub(super) async fn publish(
    poster: &Poster,
    topic: &str,
    endpoint: Option<String>,
    message: &Message,
) -> Result<(), SinkError> {
    let Some(region) = region_of(topic) else {
        return Err(SinkError::new(
            "its `topic` is no ARN; `aws sns list-topics` prints them",
        ));
    };
    let service = Service::new("sns", Some(region), endpoint);
    let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let asked = service.post(poster, &headers, publication(topic, message));
    asked.await.map(drop).map_err(SinkError::new)
}

fn publication(topic: &str, message: &Message) -> String {
    let title: String = format!("[{}] {}", message.kind.label(), message.title)
        .chars()
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .take(SUBJECT_MAX)
        .collect();
    let severity = document(message)["severity"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let attributes = [
        ("kind", message.kind.label()),
        ("severity", &severity),
        ("subject", &message.subject),
        ("id", &message.id),
    ];
    let text = text(message);
    let mut form = Serializer::new(String::new());
    form.extend_pairs([
        ("Action", "Publish"),
        ("Version", "2010-03-31"),
        ("TopicArn", topic),
        ("Subject", title.trim()),
        ("Message", &text),
    ]);
    for (number, (name, value)) in (1..).zip(attributes) {
        let entry = format!("MessageAttributes.entry.{number}");
        form.append_pair(&format!("{entry}.Name"), name)
            .append_pair(&format!("{entry}.Value.DataType"), "String")
            .append_pair(&format!("{entry}.Value.StringValue"), value);
    }
    // A name of AWS, and no file.
    if topic.rsplit_once('.').is_some_and(|(_, end)| end == "fifo") {
        form.append_pair("MessageGroupId", &message.subject)
            .append_pair("MessageDeduplicationId", &message.id);
    }
    form.finish()
}

/// Puts one event on a bus: source `sereno`, detail type `sereno alert`, and the whole message as its detail.
///
/// The bus answers 200 with an entry that failed: that is a failure. (EventBridge API reference, `PutEvents`.)
pub(super) async fn put_event(
    poster: &Poster,
    bus: &str,
    region: Option<String>,
    endpoint: Option<String>,
    message: &Message,
) -> Result<(), SinkError> {
    let region = region.or_else(|| region_of(bus));
    let entry = json!({
        "Source": "sereno",
        "DetailType": "sereno alert",
        "Detail": document(message).to_string(),
        "EventBusName": bus,
        "Time": message.at.timestamp(),
    });
    let headers = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "AWSEvents.PutEvents"),
    ];
    let service = Service::new("events", region, endpoint);
    let body = json!({ "Entries": [entry] }).to_string();
    let answer = service
        .post(poster, &headers, body)
        .await
        .map_err(SinkError::new)?;
    let answer: Json = serde_json::from_str(&answer).unwrap_or_default();
    if answer["FailedEntryCount"] == 0 {
        return Ok(());
    }
    let code = answer["Entries"][0]["ErrorCode"].as_str().unwrap_or("no reason");
    Err(SinkError::new(format!("the bus refused the event: {code}")))
}
