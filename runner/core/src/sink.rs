//! Where messages go, as the configuration names it: validated, secrets unresolved.
//!
//! How each is spoken to is the adapter's business.

use crate::job::SecretText;

/// `[sink.NAME.KIND]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// A POST of JSON.
    Webhook {
        /// Where to.
        url: SecretText,
        /// More headers, by name.
        headers: Vec<(String, SecretText)>,
        /// The body as a template; none: the message itself.
        body: Option<String>,
    },
    /// Slack's incoming webhook.
    Slack {
        /// As Slack gave it.
        url: SecretText,
    },
    /// A Telegram bot.
    Telegram {
        /// The bot's.
        token: SecretText,
        /// The chat's id or `@name`.
        chat: SecretText,
        /// Telegram's own server, or another that speaks like it.
        api: SecretText,
    },
    /// A dead man's switch: `URL/start`, `URL`, `URL/fail`.
    Heartbeat {
        /// The check's ping URL.
        url: SecretText,
    },
    /// A line in sereno's own log.
    Log,
}

impl Sink {
    /// As in `[sink.NAME.KIND]`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Telegram { .. } => "telegram",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Log => "log",
        }
    }
}
