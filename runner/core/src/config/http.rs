//! `[origin.NAME]`: one origin of the web, and what its requests are like.
//!
//! What an origin and a header may be is `web`'s to say.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::document::Node;
use super::shape::{Complaint, Key, Kind, Parsed, Presence, Shape};
use crate::job::{OriginTarget, SecretText};
use crate::name::TargetName;
use crate::reference::{self, Part};
use crate::units::{parse_duration, parse_size};
use crate::web::{Origin, is_header_of_operators, is_header_value};

/// Longer, and a query is better asked in parts.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// What a plugin can hold in its memory beside what it makes of it.
const MAX_RESPONSE_DEFAULT: u64 = 8 << 20;

pub(super) static ORIGIN: Shape = Shape {
    keys: &[
        Key {
            name: "url",
            kind: Kind::Parsed(&URL),
            presence: Presence::Required,
            doc: "Scheme, host and port: `https://api.osv.dev`. Plugins write the path. Redirects are not followed and \
                  no proxy is used.",
        },
        Key {
            name: "allow_private",
            kind: Kind::Boolean,
            presence: Presence::Default("false"),
            doc: "It may be this machine's own or of its network (loopback, private, link-local), and `http://`.",
        },
        Key {
            name: "query",
            kind: Kind::Boolean,
            presence: Presence::Default("false"),
            doc: "Its POSTs only ask, as a search does: they are sent in plans too, and are no effects.",
        },
        Key {
            name: "headers",
            kind: Kind::Map {
                key: &HEADER_NAME,
                of: &Kind::Parsed(&HEADER_VALUE),
            },
            presence: Presence::Optional,
            doc: "Sent with every request, such as `Authorization = \"Bearer ${env:TOKEN}\"`. No plugin sees them.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(600),
            },
            presence: Presence::Default("\"30s\""),
            doc: "One request at most, from its name's resolution to the last byte of its answer.",
        },
        Key {
            name: "max_response",
            kind: Kind::Size {
                min: 1 << 10,
                max: 32 << 20,
            },
            presence: Presence::Default("\"8 MiB\""),
            doc: "One answer at most; a longer one is given up.",
        },
    ],
};

static URL: Parsed = Parsed {
    what: "an origin, as `https://api.osv.dev`",
    code: "bad-url",
    pattern: None,
    // Whether it may be private stands beside it; `read` knows.
    check: |text| match reference::parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Complaint::new(error.problem, error.hint)),
    },
};

pub(super) static HEADER_NAME: Parsed = Parsed {
    what: "a header",
    code: "bad-header",
    pattern: Some("^[A-Za-z0-9_-]{1,64}$"),
    check: |text| {
        if is_header_of_operators(text) {
            Ok(())
        } else {
            Err(Complaint::new(
                "this is no header, or one that sereno writes itself",
                "write one such as `Authorization` or `User-Agent`",
            ))
        }
    },
};

static HEADER_VALUE: Parsed = Parsed {
    what: "a header's value",
    code: "bad-header",
    pattern: None,
    check: |text| {
        let parts = reference::parse(text).map_err(|error| Complaint::new(error.problem, error.hint))?;
        let plain = parts.iter().all(|part| match part {
            Part::Text(text) => is_header_value(text),
            Part::Reference(_) => true,
        });
        if plain {
            Ok(())
        } else {
            Err(Complaint::new(
                "a header's value is printable ASCII in one line",
                "a secret comes by reference: `${env:TOKEN}`",
            ))
        }
    },
};

/// True for a header that says who asks: its value is a secret, or holds one.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "authorization",
        "cookie",
        "key",
        "token",
        "secret",
        "password",
        "auth",
    ]
    .iter()
    .any(|part| name.contains(part))
}

fn has_reference(text: &str) -> bool {
    reference::parse(text)
        .unwrap_or_default()
        .iter()
        .any(|part| matches!(part, Part::Reference(_)))
}

/// The values of headers that hold a secret in plain text: they are never shown.
pub(super) fn plain_secrets(root: &Node) -> Vec<&Node> {
    root.entries_of("origin")
        .iter()
        .flat_map(|entry| entry.node.entries_of("headers"))
        .filter(|header| is_secret(&header.key))
        .map(|header| &header.node)
        .filter(|node| node.text().is_some_and(|text| !has_reference(text)))
        .collect()
}

pub(super) fn read(root: &Node, mistakes: &mut Vec<Diagnostic>) -> BTreeMap<TargetName, OriginTarget> {
    for node in plain_secrets(root) {
        mistakes.push(
            Diagnostic::at("plain-secret", node.span.clone(), "a secret stands in plain text")
                .label("kept in the configuration")
                .hint("keep it elsewhere: `\"Bearer ${env:TOKEN}\"` or `${file:/run/secrets/token}`"),
        );
    }
    let mut origins = BTreeMap::new();
    for entry in root.entries_of("origin") {
        let Ok(name) = entry.key.parse::<TargetName>() else {
            continue;
        };
        origins.insert(name, read_one(&entry.node, mistakes));
    }
    origins
}

fn read_one(node: &Node, mistakes: &mut Vec<Diagnostic>) -> OriginTarget {
    let allow_private = node.is_true("allow_private");
    if let Some(at) = node.get("url")
        && let Some(text) = at.text()
        // What stands elsewhere is looked at when it is used.
        && reference::parse(text).is_ok() && !has_reference(text)
        && let Err(error) = Origin::parse(text, allow_private)
    {
        mistakes.push(
            Diagnostic::at("bad-url", at.span.clone(), error.problem)
                .label("this should be an origin")
                .hint(error.hint),
        );
    }
    let headers = node.entries_of("headers").iter();
    OriginTarget {
        url: SecretText::new(node.text_of("url").unwrap_or_default()),
        allow_private,
        query: node.is_true("query"),
        headers: headers
            .filter_map(|entry| Some((entry.key.clone(), SecretText::new(entry.node.text()?))))
            .collect(),
        timeout: node
            .text_of("timeout")
            .and_then(|text| parse_duration(text).ok())
            .unwrap_or(TIMEOUT_DEFAULT),
        max_response: node
            .text_of("max_response")
            .and_then(|text| parse_size(text).ok())
            .unwrap_or(MAX_RESPONSE_DEFAULT),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{masked, read};

    fn codes(text: &str) -> Vec<&'static str> {
        let text = format!("version = 1\n{text}");
        let reading = read(&text, Path::new("/srv"));
        reading.mistakes.iter().map(|mistake| mistake.code).collect()
    }

    #[test]
    fn an_origin_is_public_and_encrypted_unless_it_says_otherwise() {
        assert_eq!(
            codes("[origin.osv]\nurl = \"https://api.osv.dev\"\nquery = true"),
            [""; 0]
        );
        assert_eq!(codes("[origin.osv]\nurl = \"${env:OSV_URL}\""), [""; 0]);
        let private = "url = \"http://127.0.0.1:8080\"";
        assert_eq!(
            codes(&format!("[origin.x]\n{private}\nallow_private = true")),
            [""; 0]
        );
        assert_eq!(codes(&format!("[origin.x]\n{private}")), ["bad-url"]);
        assert_eq!(codes("[origin.x]\nurl = \"https://api.osv.dev/v1\""), ["bad-url"]);
        assert_eq!(codes("[origin.x]\nurl = \"${enw:X}\""), ["bad-url"]);
        assert_eq!(codes("[origin.x]"), ["missing-key"]);
        assert_eq!(
            codes("[origin.x]\nurl = \"https://a.dev\"\ntimeout = \"1h\"\nmax_response = \"1 GiB\""),
            ["out-of-range", "out-of-range"]
        );
    }

    #[test]
    fn secrets_of_headers_come_by_reference_and_are_never_shown() {
        let origin =
            |headers: &str| format!("[origin.x]\nurl = \"https://a.dev\"\nheaders = {{ {headers} }}");
        assert_eq!(
            codes(&origin(
                "Authorization = \"Bearer ${env:T}\", User-Agent = \"us\""
            )),
            [""; 0]
        );
        assert_eq!(
            codes(&origin("Authorization = \"Bearer hunter2\"")),
            ["plain-secret"]
        );
        assert_eq!(codes(&origin("X-Api-Key = \"hunter2\"")), ["plain-secret"]);
        assert_eq!(codes(&origin("Host = \"evil\"")), ["bad-header"]);
        assert_eq!(codes(&origin("Accept = \"a\\r\\nHost: evil\"")), ["bad-header"]);
        let text = origin("X-Api-Key = \"hunter2\"");
        let masked = masked(&text);
        assert!(
            !masked.contains("hunter2") && masked.len() == text.len(),
            "{masked}"
        );
    }
}
