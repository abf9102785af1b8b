//! `alerts list | send | test`: the outbox.

use serde_json::json;
use sereno_core::alert::{MESSAGE_SCHEMA_VERSION, Message, MessageKind};
use sereno_core::dispatch::{deliver, post};
use sereno_core::name::{RunId, SinkName};
use sereno_core::ports::watch::{LetterState, OutboxQuery};
use sereno_core::report::Severity;

use super::source;
use crate::args::{Alerts, Global};
use crate::compose::{self, Watching};
use crate::failure::{Failure, USAGE};
use crate::output::{DOCUMENT_SCHEMA_VERSION, Output};
use crate::render::alerts::{list, outgoing_json};

/// Exit code of something that is out of reach.
const UNREACHED: u8 = 7;

pub(super) async fn alerts(global: &Global, args: Alerts, output: &Output) -> Result<u8, Failure> {
    let config = source(global)?.parse(output)?;
    match args {
        Alerts::List { waiting, limit } => {
            let ledger = compose::history(&config).await?;
            let query = OutboxQuery {
                state: waiting.then_some(LetterState::Waiting),
                expired: None,
                limit,
            };
            let outbox = ledger.outbox(&query).await?;
            if output.is_text() {
                output.data(&list(&outbox, output.paint))?;
            } else {
                output.documents("messages", outbox.iter().map(outgoing_json).collect())?;
            }
            Ok(0)
        }
        Alerts::Send => {
            let services = compose::services(config, &Watching::new(output)).await?;
            send(&services, output, None).await
        }
        Alerts::Test { sink } => {
            if !config.sinks.contains_key(&sink) {
                let known: Vec<&str> = config.sinks.keys().map(SinkName::as_str).collect();
                let failure = Failure::new(
                    USAGE,
                    "no-sink",
                    format!("there is no sink `{sink}` in the configuration"),
                );
                return Err(failure.hint(if known.is_empty() {
                    format!("add a section such as `[sink.{sink}.webhook]`")
                } else {
                    format!("its sinks are: {}", known.join(", "))
                }));
            }
            let services = compose::services(config, &Watching::new(output)).await?;
            let message = Message {
                schema_version: MESSAGE_SCHEMA_VERSION,
                id: RunId::from_entropy(services.entropy.next()).to_string(),
                kind: MessageKind::Test,
                severity: Severity::Info,
                subject: format!("test.{sink}"),
                about: String::new(),
                title: "a test message of sereno".to_owned(),
                text: format!("Whoever reads this is reached by sink.{sink}."),
                next: None,
                at: services.clock.now(),
                since: None,
                host: services.host.clone(),
                job: None,
                run: None,
                gauge: None,
                target: None,
                value: None,
                unit: None,
                threshold: None,
            };
            post(&services, &sink, message.clone()).await?;
            send(&services, output, Some(format!("{}@{sink}", message.id))).await
        }
    }
}

/// Sends what waits; with `only`, that letter decides how the command ends.
async fn send(
    services: &sereno_core::dispatch::Services,
    output: &Output,
    only: Option<String>,
) -> Result<u8, Failure> {
    let delivery = deliver(services, true).await;
    let counts = |id: &String| only.as_ref().is_none_or(|only| only == id);
    let put_off: Vec<&(String, String)> = delivery.put_off.iter().filter(|(id, _)| counts(id)).collect();
    if output.is_text() {
        let mut text = format!(
            "sent {}, put off {}\n",
            delivery.sent.len(),
            delivery.put_off.len()
        );
        for (id, reason) in &delivery.put_off {
            text.push_str(&format!("  {id}: {reason}\n"));
        }
        if delivery.cut_short {
            text.push_str("the time was over; the rest is sent by the next command\n");
        }
        output.data(&text)?;
    } else {
        let put_off: Vec<_> = delivery
            .put_off
            .iter()
            .map(|(id, reason)| json!({ "id": id, "reason": reason }))
            .collect();
        output.document(&json!({
            "schema_version": DOCUMENT_SCHEMA_VERSION,
            "sent": delivery.sent,
            "put_off": put_off,
            "cut_short": delivery.cut_short,
        }))?;
    }
    let done = put_off.is_empty() && only.is_none_or(|only| delivery.sent.contains(&only));
    Ok(if done && !delivery.cut_short { 0 } else { UNREACHED })
}
