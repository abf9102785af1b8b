//! SQS, as what carries a continuation to a deployed runner: one message, sent once. (SQS API reference, `SendMessage`.)

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sereno_core::event::Continuation;
use sereno_core::job::QueueTarget;
use sereno_core::ports::carrier::{CarrierError, Continuations};
use sereno_core::run::digest;
use url::Url;

use super::Service;
use crate::post::Poster;
use crate::secrets::Secrets;

/// The answer of a runner whose time is nearly over waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A queue; nothing is resolved or opened before the first message.
pub struct Queue {
    target: QueueTarget,
    secrets: Secrets,
    poster: Poster,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// The queue that `target` names.
    pub fn new(target: QueueTarget, secrets: Secrets) -> Self {
        Self {
            target,
            secrets,
            poster: Poster::new(TIMEOUT),
        }
    }

    async fn resolve(&self, text: &sereno_core::job::SecretText) -> Result<String, CarrierError> {
        let secret = self.secrets.resolve(text.reference()).await;
        secret
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| refused(error.to_string()))
    }
}

fn refused(reason: impl Into<String>) -> CarrierError {
    CarrierError {
        reason: reason.into(),
    }
}

#[async_trait]
impl Continuations for Queue {
    async fn send(&self, more: &Continuation) -> Result<(), CarrierError> {
        let url = self.resolve(&self.target.url).await?;
        let endpoint = match &self.target.endpoint {
            Some(endpoint) => Some(self.resolve(endpoint).await?),
            None => None,
        };
        let service = Service::new("sqs", region(&url), endpoint);
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", "AmazonSQS.SendMessage"),
        ];
        let body = message(&url, more).to_string();
        let sent = service.post(&self.poster, &headers, body).await;
        sent.map(drop).map_err(refused)
    }
}

/// A queue that keeps an order keeps it by key, and drops what it has: a continuation that is sent twice is one.
fn message(url: &str, more: &Continuation) -> Json {
    let mut message = json!({ "QueueUrl": url, "MessageBody": more.event().to_string() });
    // A name of AWS, and no file.
    if url.rsplit_once('.').is_some_and(|(_, end)| end == "fifo") {
        let sent_once = format!("{}:{}", more.key, more.attempt);
        message["MessageGroupId"] = more.key.as_str().into();
        message["MessageDeduplicationId"] = digest(sent_once.as_bytes()).into();
    }
    message
}

/// `sqs.REGION.amazonaws.com`; none for another server.
fn region(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let (service, rest) = url.host_str()?.split_once('.')?;
    let (region, domain) = rest.split_once('.')?;
    let is_aws = service == "sqs" && domain.starts_with("amazonaws.com");
    is_aws.then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_queues_own() {
        for (url, expected) in [
            (
                "https://sqs.eu-central-1.amazonaws.com/123456789012/more",
                Some("eu-central-1"),
            ),
            (
                "https://sqs.cn-north-1.amazonaws.com.cn/123456789012/more",
                Some("cn-north-1"),
            ),
            ("http://127.0.0.1:5000/123456789012/more", None),
            ("http://localhost/more", None),
            ("no URL", None),
        ] {
            assert_eq!(region(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_message_carries_the_key_and_the_attempt_and_no_more() {
        let more = Continuation {
            key: "k".to_owned(),
            attempt: 3,
        };
        let body = r#"{"continue":{"attempt":3,"key":"k"},"v":1}"#;
        let plain = message("https://sqs.us-east-1.amazonaws.com/1/more", &more);
        assert_eq!(
            plain,
            json!({ "QueueUrl": "https://sqs.us-east-1.amazonaws.com/1/more", "MessageBody": body })
        );
        let ordered = message("https://sqs.us-east-1.amazonaws.com/1/more.fifo", &more);
        assert_eq!(ordered["MessageGroupId"], "k");
        assert_eq!(ordered["MessageDeduplicationId"].as_str().map(str::len), Some(64));
    }
}
