//! Says what was seen of an event that is refused: its keys and the types of their values, never a value.

use serde_json::Value as Json;

/// More would hide what matters.
const KEYS_MAX: usize = 16;

/// A key longer than this is none of anybody's.
const KEY_CHARS_MAX: usize = 40;

/// `it has "detail": object, "id": string`.
pub fn seen(event: &Json) -> String {
    match event {
        Json::Object(keys) if keys.is_empty() => "it is an empty object".to_owned(),
        Json::Object(keys) => {
            let mut parts: Vec<String> = keys
                .iter()
                .take(KEYS_MAX)
                .map(|(key, value)| format!("{}: {}", show_key(key), kind(value)))
                .collect();
            if keys.len() > KEYS_MAX {
                parts.push(format!("and {} more", keys.len() - KEYS_MAX));
            }
            format!("it has {}", parts.join(", "))
        }
        Json::Array(elements) if elements.is_empty() => "it is an empty list".to_owned(),
        Json::Array(elements) => format!("it is a list of {}", elements.len()),
        other => format!("it is {}", a(kind(other))),
    }
}

/// The key in quotes; nothing in it can forge a line of a log.
pub(super) fn show_key(key: &str) -> String {
    let short: String = key.chars().take(KEY_CHARS_MAX).collect();
    let more = if short.len() < key.len() { "…" } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}

pub(super) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "list",
        Json::Object(_) => "object",
    }
}

fn a(kind: &str) -> String {
    if kind == "null" {
        kind.to_owned()
    } else {
        format!("a {kind}")
    }
}
