//! Where messages go, as the configuration names it: validated, secrets unresolved.
//!
//! How each is spoken to is the adapter's business.

use serde_json::Value as Json;

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
        body: Option<Template>,
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
    /// A letter over SMTP.
    Mail {
        /// `HOST` or `HOST:PORT`.
        server: SecretText,
        /// How the way to it is kept private.
        security: MailSecurity,
        /// One address, or `Name <address>`.
        from: SecretText,
        /// Addresses of the same form; at least one.
        to: Vec<SecretText>,
        /// User and password; none: the server takes letters from anybody it knows by other means.
        login: Option<(SecretText, SecretText)>,
    },
    /// A topic of Amazon SNS.
    Sns {
        /// Its ARN.
        topic: SecretText,
        /// Another server that speaks SNS's protocol.
        endpoint: Option<SecretText>,
    },
    /// A bus of Amazon EventBridge.
    EventBridge {
        /// Its name or ARN.
        bus: SecretText,
        /// Where it is; none: what the environment says.
        region: Option<SecretText>,
        /// Another server that speaks EventBridge's protocol.
        endpoint: Option<SecretText>,
    },
    /// A line in sereno's own log.
    Log,
}

/// How the way to a mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// In plain text at first, then TLS or nothing; port 587 (RFC 6409).
    StartTls,
    /// TLS from the first byte; port 465 (RFC 8314).
    Tls,
    /// Not at all; port 25.
    None,
}

impl MailSecurity {
    /// Every kind with its text.
    pub const ALL: [(&'static str, Self); 3] = [
        ("starttls", Self::StartTls),
        ("tls", Self::Tls),
        ("none", Self::None),
    ];

    /// The port that a server without one is asked on.
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }
}

impl Sink {
    /// As in `[sink.NAME.KIND]`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Telegram { .. } => "telegram",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Mail { .. } => "mail",
            Self::Sns { .. } => "sns",
            Self::EventBridge { .. } => "eventbridge",
            Self::Log => "log",
        }
    }
}

/// A text with fields of a message in it: `{"content": {{ title }}}`.
///
/// A field is written as JSON, so that no message can break out of the body it is put into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(&'static str),
}

impl Template {
    /// The fields of a message, in the order of their definition.
    pub const FIELDS: [&'static str; 19] = [
        "schema_version",
        "id",
        "kind",
        "severity",
        "subject",
        "about",
        "title",
        "text",
        "next",
        "at",
        "since",
        "host",
        "job",
        "run",
        "gauge",
        "target",
        "value",
        "unit",
        "threshold",
    ];

    /// # Errors
    /// What is wrong with it, as a sentence: a field that messages do not have, braces that are not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after
                .split_once("}}")
                .ok_or("a `{{` of the template is not closed by `}}`")?;
            let name = name.trim();
            let field = Self::FIELDS.into_iter().find(|field| *field == name);
            let field = field.ok_or_else(|| format!("messages have no field `{name}`"))?;
            pieces.extend([Piece::Text(before.to_owned()), Piece::Field(field)]);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// With the fields of `message`, a message as JSON.
    pub fn fill(&self, message: &Json) -> String {
        let pieces = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(name) => message.get(name).unwrap_or(&Json::Null).to_string(),
        });
        pieces.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::alert::{MESSAGE_SCHEMA_VERSION, Message, MessageKind};
    use crate::report::Severity;

    #[test]
    fn fields_are_put_in_as_json_wherever_they_stand() {
        let template =
            Template::parse("{\"content\": {{title}}, \"n\": [{{ value }},{{ value }}], \"o\": {}}");
        let message = serde_json::json!({ "title": "a \"quoted\"\n{{ text }}", "text": "x", "value": null });
        assert_eq!(
            template.map(|template| template.fill(&message)),
            Ok(r#"{"content": "a \"quoted\"\n{{ text }}", "n": [null,null], "o": {}}"#.to_owned())
        );
    }

    #[test]
    fn every_field_of_a_message_may_be_named() {
        let message = Message {
            schema_version: MESSAGE_SCHEMA_VERSION,
            id: String::new(),
            kind: MessageKind::Test,
            severity: Severity::Info,
            subject: String::new(),
            about: String::new(),
            title: String::new(),
            text: String::new(),
            next: None,
            at: chrono::DateTime::UNIX_EPOCH,
            since: None,
            host: String::new(),
            job: None,
            run: None,
            gauge: None,
            target: None,
            value: None,
            unit: None,
            threshold: None,
        };
        let message = serde_json::to_value(message).expect("a message is JSON");
        let fields: BTreeSet<&str> = message
            .as_object()
            .expect("of fields")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(fields, Template::FIELDS.into());
    }

    #[test]
    fn a_template_that_cannot_be_filled_is_refused() {
        assert_eq!(
            Template::parse("{{ titel }}"),
            Err("messages have no field `titel`".to_owned())
        );
        assert!(Template::parse("{{ title }").is_err());
    }
}
