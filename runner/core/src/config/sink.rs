//! `[sink.NAME.KIND]`: where messages go. Tokens, passwords and headers are references, never plain text.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::document::{Entry, Node};
use super::http::HEADER_NAME;
use super::shape::{Choice, Complaint, Key, Kind, Parsed, Presence, Shape};

use crate::job::{Config, SecretText};
use crate::name::SinkName;
use crate::reference::{self, Part};
use crate::sink::{MailSecurity, Sink, Template};

/// A text in which references may stand.
static REFERRING: Parsed = Parsed {
    what: "a text, or a reference such as `${env:NAME}`",
    code: "bad-reference",
    pattern: None,
    check: |text| match reference::parse(text) {
        Err(error) => Err(Complaint::new(error.problem, error.hint)),
        Ok(parts) if parts.is_empty() => Err(Complaint::new("a blank text", "write it, or `${env:NAME}`")),
        Ok(_) => Ok(()),
    },
};

/// A text that must be kept elsewhere.
static SECRET: Parsed = Parsed {
    what: "a reference such as `${env:NAME}`",
    code: "plain-secret",
    pattern: None,
    check: |text| match reference::parse(text) {
        Err(error) => Err(Complaint::new(error.problem, error.hint)),
        Ok(parts) if parts.iter().any(|part| matches!(part, Part::Reference(_))) => Ok(()),
        Ok(_) => Err(Complaint::new(
            "a secret stands in plain text",
            "keep it elsewhere: `${env:NAME}` or `${file:/run/secrets/name}`",
        )),
    },
};

static TEMPLATE: Parsed = Parsed {
    what: "a template over a message's fields",
    code: "bad-template",
    pattern: None,
    check: |text| {
        Template::parse(text).map(drop).map_err(|problem| {
            Complaint::new(problem, format!("the fields are {}", Template::FIELDS.join(", ")))
        })
    },
};

const fn key(name: &'static str, kind: Kind, presence: Presence, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        presence,
        doc,
    }
}

static WEBHOOK: Shape = Shape {
    keys: &[
        key(
            "url",
            Kind::Parsed(&REFERRING),
            Presence::Required,
            "Where each message is posted as JSON.",
        ),
        key(
            "headers",
            Kind::Map {
                key: &HEADER_NAME,
                of: &Kind::Parsed(&SECRET),
            },
            Presence::Optional,
            "More headers, their values by reference.",
        ),
        key(
            "body",
            Kind::Parsed(&TEMPLATE),
            Presence::Optional,
            "The body, with the message's fields put in: `{{ title }}`, `{{ text }}`. Each is written as JSON, so `{\"content\": {{ title }}}` is right. By default the whole message.",
        ),
    ],
};

static SLACK: Shape = Shape {
    keys: &[key(
        "url",
        Kind::Parsed(&SECRET),
        Presence::Required,
        "The incoming webhook's URL.",
    )],
};

static TELEGRAM: Shape = Shape {
    keys: &[
        key(
            "token",
            Kind::Parsed(&SECRET),
            Presence::Required,
            "The bot's token.",
        ),
        key(
            "chat",
            Kind::Parsed(&REFERRING),
            Presence::Required,
            "The chat's id, or `@name` of a channel.",
        ),
        key(
            "api",
            Kind::Parsed(&REFERRING),
            Presence::Default("\"https://api.telegram.org\""),
            "Another server that speaks like Telegram's.",
        ),
    ],
};

static HEARTBEAT: Shape = Shape {
    keys: &[key(
        "url",
        Kind::Parsed(&REFERRING),
        Presence::Required,
        "The check's ping URL; `/start` and `/fail` are put behind it.",
    )],
};

static MAIL: Shape = Shape {
    keys: &[
        key(
            "server",
            Kind::Parsed(&REFERRING),
            Presence::Required,
            "The SMTP server, `HOST` or `HOST:PORT`. The port follows `security`: 587, 465 or 25.",
        ),
        key(
            "security",
            Kind::OneOf(&MAIL_SECURITY),
            Presence::Default("\"starttls\""),
            "`starttls`: TLS after a greeting, or nothing is sent. `tls`: from the first byte. `none`: only for a server on this machine or its own network.",
        ),
        key(
            "from",
            Kind::Parsed(&MAILBOX),
            Presence::Required,
            "Who writes: `sereno@example.com` or `sereno <sereno@example.com>`.",
        ),
        key(
            "to",
            Kind::List(&Kind::Parsed(&MAILBOX)),
            Presence::Required,
            "Who is written to, at least one.",
        ),
        key(
            "user",
            Kind::Parsed(&REFERRING),
            Presence::Optional,
            "For servers that ask who one is; with `password`.",
        ),
        key(
            "password",
            Kind::Parsed(&SECRET),
            Presence::Optional,
            "By reference only, as `${env:NAME}`; with `user`.",
        ),
    ],
};

static SNS: Shape = Shape {
    keys: &[
        key(
            "topic",
            Kind::Parsed(&TOPIC),
            Presence::Required,
            "The topic's ARN, which names its region too. Credentials are the environment's or the machine's own role.",
        ),
        key("endpoint", Kind::Parsed(&REFERRING), Presence::Optional, ENDPOINT),
    ],
};

static EVENT_BRIDGE: Shape = Shape {
    keys: &[
        key(
            "bus",
            Kind::Parsed(&REFERRING),
            Presence::Default("\"default\""),
            "The bus's name or ARN. Credentials are the environment's or the machine's own role.",
        ),
        key(
            "region",
            Kind::Parsed(&REFERRING),
            Presence::Optional,
            "Where the bus is. By default where its ARN says, else `AWS_REGION`, else `us-east-1`.",
        ),
        key("endpoint", Kind::Parsed(&REFERRING), Presence::Optional, ENDPOINT),
    ],
};

const ENDPOINT: &str = "A server other than AWS that speaks the same protocol, such as an emulator. By default `AWS_ENDPOINT_URL`, else AWS.";

static MAIL_SECURITY: Choice = Choice {
    what: "how the way to a mail server is kept private",
    code: "bad-value",
    texts: &["starttls", "tls", "none"],
};

/// Whether a mail server would take it is known when it is asked.
static MAILBOX: Parsed = Parsed {
    what: "a mail address",
    code: "bad-address",
    pattern: None,
    check: |text| {
        (REFERRING.check)(text)?;
        let is_plain = !text.contains("${");
        if is_plain && !text.contains('@') || text.contains(['\r', '\n']) {
            return Err(Complaint::new(
                format!("`{text}` is no mail address"),
                "write `ops@example.com` or `Operations <ops@example.com>`",
            ));
        }
        Ok(())
    },
};

static TOPIC: Parsed = Parsed {
    what: "the ARN of a topic",
    code: "bad-arn",
    pattern: None,
    check: |text| {
        (REFERRING.check)(text)?;
        let fields: Vec<&str> = text.split(':').collect();
        if text.contains("${")
            || matches!(fields[..], ["arn", _, "sns", region, _, name] if !region.is_empty() && !name.is_empty())
        {
            return Ok(());
        }
        Err(Complaint::new(
            format!("`{text}` is not the ARN of a topic"),
            "write `arn:aws:sns:eu-west-1:123456789012:ops`, as `aws sns list-topics` prints it",
        ))
    },
};

static LOG: Shape = Shape { keys: &[] };

const KINDS: [&str; 8] = [
    "webhook",
    "slack",
    "telegram",
    "mail",
    "sns",
    "eventbridge",
    "heartbeat",
    "log",
];

pub(super) static SINK: Shape = Shape {
    keys: &[
        key(
            "webhook",
            Kind::Table(&WEBHOOK),
            Presence::Optional,
            "Posts JSON to a URL.",
        ),
        key(
            "slack",
            Kind::Table(&SLACK),
            Presence::Optional,
            "Posts to a Slack channel.",
        ),
        key(
            "telegram",
            Kind::Table(&TELEGRAM),
            Presence::Optional,
            "A Telegram bot writes to a chat.",
        ),
        key(
            "mail",
            Kind::Table(&MAIL),
            Presence::Optional,
            "Writes a letter over SMTP.",
        ),
        key(
            "sns",
            Kind::Table(&SNS),
            Presence::Optional,
            "Publishes to a topic of Amazon SNS.",
        ),
        key(
            "eventbridge",
            Kind::Table(&EVENT_BRIDGE),
            Presence::Optional,
            "Puts an event on a bus of Amazon EventBridge: source `sereno`, detail the message.",
        ),
        key(
            "heartbeat",
            Kind::Table(&HEARTBEAT),
            Presence::Optional,
            "Pings a dead man's switch at the start and the end of each run of the jobs that name it.",
        ),
        key(
            "log",
            Kind::Table(&LOG),
            Presence::Optional,
            "Writes a line to sereno's own log.",
        ),
    ],
};

/// The sinks; each has one kind.
pub(super) fn read(root: &Node, mistakes: &mut Vec<Diagnostic>) -> BTreeMap<SinkName, Sink> {
    let mut sinks = BTreeMap::new();
    for entry in root.entries_of("sink") {
        let kinds: Vec<&Entry> = entry
            .node
            .entries()
            .iter()
            .filter(|kind| KINDS.contains(&kind.key.as_str()))
            .collect();
        if kinds.len() != 1 {
            mistakes.push(
                Diagnostic::at(
                    "sink-kind",
                    entry.key_span.clone(),
                    format!(
                        "sink `{}` has {}",
                        entry.key,
                        if kinds.is_empty() {
                            "no kind"
                        } else {
                            "several kinds"
                        }
                    ),
                )
                .label("one kind each")
                .hint(format!(
                    "write `[sink.{}.KIND]`, KIND one of {}",
                    entry.key,
                    KINDS.join(", ")
                )),
            );
        }
        if let (Ok(name), Some(kind)) = (entry.key.parse::<SinkName>(), kinds.first())
            && let Some(sink) = read_one(&kind.key, &kind.node, mistakes)
        {
            sinks.insert(name, sink);
        }
    }
    sinks
}

fn read_one(kind: &str, node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Sink> {
    let secret = |key: &str| node.text_of(key).map(SecretText::new);
    let or = |key: &str, default: &str| SecretText::new(node.text_of(key).unwrap_or(default));
    Some(match kind {
        "webhook" => Sink::Webhook {
            url: secret("url")?,
            headers: node
                .entries_of("headers")
                .iter()
                .filter_map(|entry| Some((entry.key.clone(), SecretText::new(entry.node.text()?))))
                .collect(),
            body: node.text_of("body").and_then(|text| Template::parse(text).ok()),
        },
        "slack" => Sink::Slack { url: secret("url")? },
        "telegram" => Sink::Telegram {
            token: secret("token")?,
            chat: secret("chat")?,
            api: or("api", "https://api.telegram.org"),
        },
        "heartbeat" => Sink::Heartbeat { url: secret("url")? },
        "mail" => read_mail(node, mistakes)?,
        "sns" => Sink::Sns {
            topic: secret("topic")?,
            endpoint: secret("endpoint"),
        },
        "eventbridge" => Sink::EventBridge {
            bus: or("bus", "default"),
            region: secret("region"),
            endpoint: secret("endpoint"),
        },
        "log" => Sink::Log,
        _ => return None,
    })
}

fn read_mail(node: &Node, mistakes: &mut Vec<Diagnostic>) -> Option<Sink> {
    let mut mistake = |at: &Node, problem: &str, label: &str, hint: &str| {
        let found = Diagnostic::at("bad-mail", at.span.clone(), problem);
        mistakes.push(found.label(label.to_owned()).hint(hint.to_owned()));
    };
    let security = MailSecurity::ALL
        .into_iter()
        .find(|(text, _)| node.text_of("security") == Some(text))
        .map_or(MailSecurity::StartTls, |(_, security)| security);
    let to = node.get("to")?;
    if to.items().is_empty() {
        mistake(
            to,
            "a letter to nobody",
            "empty",
            "write `to = [\"ops@example.com\"]`",
        );
    }
    let login = match (node.get("user"), node.get("password")) {
        (Some(user), Some(password)) => {
            if security == MailSecurity::None && !is_here(node.text_of("server").unwrap_or_default()) {
                mistake(
                    password,
                    "the password would travel in plain text",
                    "over a way that is not private",
                    "remove `security = \"none\"`",
                );
            }
            Some((SecretText::new(user.text()?), SecretText::new(password.text()?)))
        }
        (Some(alone), None) => {
            mistake(
                alone,
                "a user without a password",
                "alone",
                "add `password = \"${env:NAME}\"`",
            );
            None
        }
        (None, Some(alone)) => {
            mistake(
                alone,
                "a password without a user",
                "alone",
                "add `user = \"...\"`",
            );
            None
        }
        (None, None) => None,
    };
    Some(Sink::Mail {
        server: SecretText::new(node.text_of("server")?),
        security,
        from: SecretText::new(node.text_of("from")?),
        to: to
            .items()
            .iter()
            .filter_map(Node::text)
            .map(SecretText::new)
            .collect(),
        login,
    })
}

/// True for a server on this machine, which nobody listens on the way to.
fn is_here(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// The values of sinks that hold a secret in plain text: they are never shown.
pub(super) fn plain_secrets(root: &Node) -> Vec<&Node> {
    let mut secrets = Vec::new();
    for Entry { node, .. } in root.entries_of("sink") {
        secrets.extend(node.get("slack").and_then(|slack| slack.get("url")));
        secrets.extend(node.get("telegram").and_then(|telegram| telegram.get("token")));
        secrets.extend(node.get("mail").and_then(|mail| mail.get("password")));
        let headers = node
            .get("webhook")
            .map_or(&[][..], |webhook| webhook.entries_of("headers"));
        secrets.extend(headers.iter().map(|header| &header.node));
    }
    secrets.retain(|node| node.text().is_some_and(|text| (SECRET.check)(text).is_err()));
    secrets
}

/// The sinks that a list names; those that there are not are mistakes. None when there is no list.
pub(super) fn named(
    list: Option<&Node>,
    config: &Config,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Vec<SinkName>> {
    let items = list?.items().iter();
    Some(items.filter_map(|item| one(item, config, mistakes)).collect())
}

/// The sink that a text names.
pub(super) fn one(item: &Node, config: &Config, mistakes: &mut Vec<Diagnostic>) -> Option<SinkName> {
    let name: SinkName = item.text()?.parse().ok()?;
    if config.sinks.contains_key(&name) {
        return Some(name);
    }
    let hint = did_you_mean(name.as_str(), config.sinks.keys().map(SinkName::as_str));
    mistakes.push(
        Diagnostic::at(
            "unknown-sink",
            item.span.clone(),
            format!("there is no `sink.{name}`"),
        )
        .label("unknown")
        .hint(hint.unwrap_or_else(|| format!("add a section such as `[sink.{name}.webhook]`"))),
    );
    None
}

/// The heartbeat that a job names.
pub(super) fn heartbeat(
    item: Option<&Node>,
    config: &Config,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<SinkName> {
    let item = item?;
    let name = one(item, config, mistakes)?;
    if matches!(config.sinks.get(&name), Some(Sink::Heartbeat { .. })) {
        return Some(name);
    }
    mistakes.push(
        Diagnostic::at(
            "sink-kind",
            item.span.clone(),
            format!("`sink.{name}` is no heartbeat"),
        )
        .label("this should be a sink of kind heartbeat")
        .hint("write `[sink.NAME.heartbeat] url = \"…\"` and name that"),
    );
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{masked, parse};

    #[test]
    fn what_a_sink_must_not_hold_is_refused_and_not_shown() {
        let text = r#"version = 1
[sink.a.slack]
url = "https://hooks.example/services/hunter2"
[sink.b.telegram]
token = "1:hunter2"
chat = "1"
[sink.c.webhook]
url = "https://example.com/x"
headers = { Authorization = "Bearer hunter2", Host = "${env:X}" }
body = "{ \"x\": {{ titel }} }"
"#;
        let mistakes = parse(text, Path::new("/srv")).expect_err("it is full of them");
        let codes: Vec<_> = mistakes.iter().map(|mistake| mistake.code).collect();
        assert_eq!(
            codes,
            [
                "plain-secret",
                "plain-secret",
                "plain-secret",
                "bad-header",
                "bad-template"
            ]
        );
        assert!(!masked(text).contains("hunter2"), "{}", masked(text));
        let kept = text
            .replace("hunter2", "${env:X}")
            .replace("titel", "title")
            .replace("Host", "X-Key");
        assert_eq!(
            parse(&kept, Path::new("/srv")).map(|config| config.sinks.len()),
            Ok(3)
        );
        assert_eq!(masked(&kept), kept);
    }

    #[test]
    fn a_mail_sink_is_whole_and_gives_no_password_away() {
        let sink = |rest: &str| {
            let text = format!(
                "version = 1\n[sink.a.mail]\nserver = \"smtp.example.com\"\nfrom = \"s@example.com\"\n{rest}"
            );
            parse(&text, Path::new("/srv")).map_or_else(
                |mistakes| mistakes.iter().map(|mistake| mistake.code).collect(),
                |config| vec![config.sinks[&"a".parse().expect("a name")].kind()],
            )
        };
        let login = "to = [\"o@example.com\"]\nuser = \"u\"\npassword = \"${env:P}\"\n";
        assert_eq!(sink(login), ["mail"]);
        assert_eq!(sink(&format!("{login}security = \"none\"")), ["bad-mail"]);
        assert_eq!(sink("to = []"), ["bad-mail"]);
        assert_eq!(sink("to = [\"nobody\"]"), ["bad-address"]);
        assert_eq!(sink("to = [\"o@example.com\"]\nuser = \"u\""), ["bad-mail"]);
        let plain = "[sink.a.mail]\npassword = \"hunter2\"\n";
        assert!(!masked(plain).contains("hunter2"));
    }

    #[test]
    fn a_topic_is_an_arn() {
        let topic = |topic: &str| {
            let text = format!("version = 1\n[sink.a.sns]\ntopic = \"{topic}\"\n");
            parse(&text, Path::new("/srv"))
                .map_err(|mistakes| mistakes[0].code)
                .map(drop)
        };
        assert_eq!(topic("arn:aws:sns:eu-west-1:123456789012:ops"), Ok(()));
        assert_eq!(topic("${env:TOPIC}"), Ok(()));
        assert_eq!(topic("ops"), Err("bad-arn"));
    }
}
