//! The configured sinks: each message is one request, made once. What it says stands in `core::alert`.
//!
//! Secrets are resolved at the moment of sending. No error repeats a URL: Slack's and Telegram's hold the secret.

#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "mail")]
mod mail;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use sereno_core::alert::{Message, MessageKind};
use sereno_core::job::{Config, SecretText};
use sereno_core::name::SinkName;
use sereno_core::ports::sinks::{SinkError, Sinks};
use sereno_core::report::Severity;
use sereno_core::sink::Sink;

use crate::post::Poster;
use crate::secrets::Secrets;

/// A sink that needs longer keeps a command waiting; less than `dispatch::DELIVERY_TIME`.
const SEND_TIMEOUT: Duration = Duration::from_secs(8);

/// See the module.
pub struct ConfiguredSinks {
    sinks: BTreeMap<SinkName, Sink>,
    secrets: Secrets,
    poster: Poster,
}

impl std::fmt::Debug for ConfiguredSinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfiguredSinks")
            .field("sinks", &self.sinks)
            .finish_non_exhaustive()
    }
}

impl ConfiguredSinks {
    /// The sinks of `config`; nothing is opened.
    pub fn new(config: &Config, secrets: Secrets) -> Self {
        Self {
            sinks: config.sinks.clone(),
            secrets,
            poster: Poster::new(SEND_TIMEOUT),
        }
    }

    async fn resolve(&self, text: &SecretText) -> Result<String, SinkError> {
        let secret = self.secrets.resolve(text.reference()).await;
        secret
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| SinkError::new(error.to_string()))
    }

    async fn post(&self, url: &str, headers: &[(String, String)], body: String) -> Result<(), SinkError> {
        let answer = self.poster.post(url, headers, body).await;
        answer.map(drop).map_err(SinkError::new)
    }
}

impl ConfiguredSinks {
    #[cfg(feature = "aws")]
    async fn optional(&self, text: Option<&SecretText>) -> Result<Option<String>, SinkError> {
        match text {
            Some(text) => self.resolve(text).await.map(Some),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Sinks for ConfiguredSinks {
    async fn send(&self, sink: &SinkName, message: &Message) -> Result<(), SinkError> {
        let Some(sink) = self.sinks.get(sink) else {
            return Err(SinkError::new(format!(
                "there is no sink `{sink}` in the configuration any more"
            )));
        };
        match sink {
            Sink::Webhook { url, headers, body } => {
                let mut resolved = Vec::new();
                for (name, value) in headers {
                    resolved.push((name.clone(), self.resolve(value).await?));
                }
                let body = match body {
                    Some(template) => template.fill(&document(message)),
                    None => document(message).to_string(),
                };
                self.post(&self.resolve(url).await?, &resolved, body).await
            }
            Sink::Slack { url } => {
                let body = json!({ "text": text(message) });
                self.post(&self.resolve(url).await?, &[], body.to_string()).await
            }
            Sink::Telegram { token, chat, api } => {
                let api = self.resolve(api).await?;
                let url = format!(
                    "{}/bot{}/sendMessage",
                    api.trim_end_matches('/'),
                    self.resolve(token).await?
                );
                let body = json!({ "chat_id": self.resolve(chat).await?, "text": text(message) });
                self.post(&url, &[], body.to_string()).await
            }
            Sink::Heartbeat { url } => {
                let end = match message.kind {
                    MessageKind::Start => "/start",
                    MessageKind::Fail | MessageKind::Firing | MessageKind::Unknown => "/fail",
                    MessageKind::Success | MessageKind::Resolved | MessageKind::Test => "",
                };
                let url = self.resolve(url).await?;
                self.poster
                    .get(&format!("{}{end}", url.trim_end_matches('/')))
                    .await
                    .map_err(SinkError::new)
            }
            #[cfg(feature = "mail")]
            Sink::Mail {
                server,
                security,
                from,
                to,
                login,
            } => {
                let login = match login {
                    Some((user, password)) => {
                        Some((self.resolve(user).await?, self.resolve(password).await?))
                    }
                    None => None,
                };
                let mut mailboxes = Vec::new();
                for one in to {
                    mailboxes.push(self.resolve(one).await?);
                }
                let post = mail::Post {
                    server: self.resolve(server).await?,
                    security: *security,
                    from: self.resolve(from).await?,
                    to: mailboxes,
                    login,
                };
                post.send(message, SEND_TIMEOUT).await
            }
            #[cfg(feature = "aws")]
            Sink::Sns { topic, endpoint } => {
                let endpoint = self.optional(endpoint.as_ref()).await?;
                aws::publish(&self.poster, &self.resolve(topic).await?, endpoint, message).await
            }
            #[cfg(feature = "aws")]
            Sink::EventBridge {
                bus,
                region,
                endpoint,
            } => {
                let (region, endpoint) = (
                    self.optional(region.as_ref()).await?,
                    self.optional(endpoint.as_ref()).await?,
                );
                aws::put_event(&self.poster, &self.resolve(bus).await?, region, endpoint, message).await
            }
            #[cfg(not(feature = "mail"))]
            Sink::Mail { .. } => Err(not_built(sink)),
            #[cfg(not(feature = "aws"))]
            Sink::Sns { .. } | Sink::EventBridge { .. } => Err(not_built(sink)),
            Sink::Log => {
                let (kind, subject) = (message.kind.label(), message.subject.as_str());
                match message.severity {
                    Severity::Critical if message.kind != MessageKind::Resolved => {
                        tracing::error!(kind, subject, id = %message.id, text = %message.text, "{}", message.title);
                    }
                    Severity::Warn | Severity::Critical => {
                        tracing::warn!(kind, subject, id = %message.id, text = %message.text, "{}", message.title);
                    }
                    Severity::Info => {
                        tracing::info!(kind, subject, id = %message.id, text = %message.text, "{}", message.title);
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(not(all(feature = "aws", feature = "mail")))]
fn not_built(sink: &Sink) -> SinkError {
    SinkError::new(format!(
        "this build of sereno has no sink of kind {}",
        sink.kind()
    ))
}

fn document(message: &Message) -> Json {
    serde_json::to_value(message).unwrap_or_default()
}

/// The message as people read it in a chat.
fn text(message: &Message) -> String {
    let mut text = format!("[{}] {}", message.kind.label(), message.title);
    if !message.text.is_empty() {
        text.push('\n');
        text.push_str(&message.text);
    }
    if let Some(next) = &message.next {
        text.push_str("\nnext: ");
        text.push_str(next);
    }
    format!(
        "{text}\n{} on {}, message {}",
        message.subject, message.host, message.id
    )
}
