//! The JSON Schema and the reference page, made from the tables that also check a configuration.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::ROOT;
use super::document;
use super::shape::{Key, Kind, Presence, Shape};
use crate::units::{show_bytes, show_count, show_duration};

/// What `parse_duration` reads; zero and months are refused when the value is used.
const DURATION_PATTERN: &str =
    "^(\\s*[0-9][0-9_]*\\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?))+\\s*$";

/// What `parse_size` reads.
const SIZE_PATTERN: &str = "^\\s*[0-9][0-9_.]*\\s*(B|[kK]B|[MGT]B|[KMGT]iB)\\s*$";

/// The JSON Schema (draft 7) of a configuration, for editors.
pub fn schema() -> Json {
    let mut schema = of_shape(&ROOT);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("sereno.toml");
    schema
}

fn of_shape(shape: &Shape) -> Json {
    let known = || shape.keys.iter().filter(|key| !matches!(key.kind, Kind::Later));
    let required: Vec<&str> = known()
        .filter(|key| matches!(key.presence, Presence::Required))
        .map(|key| key.name)
        .collect();
    let properties: Map<String, Json> = known().map(|key| (key.name.to_owned(), of_key(key))).collect();
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn of_key(key: &Key) -> Json {
    let mut schema = of_kind(&key.kind);
    schema["description"] = json!(key.doc);
    if let Presence::Default(text) = key.presence {
        let (table, _) = document::read(&format!("value = {text}"));
        if let Some(value) = table.get("value").and_then(document::Node::json) {
            schema["default"] = value;
        }
    }
    schema
}

fn of_kind(kind: &Kind) -> Json {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Parsed(parsed) => match parsed.pattern {
            Some(pattern) => json!({ "type": "string", "pattern": pattern }),
            None => json!({ "type": "string" }),
        },
        Kind::Integer { min, max } if min == max => json!({ "const": min }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { above, max } => json!({ "type": "number", "exclusiveMinimum": above, "maximum": max }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Duration { .. } => json!({ "type": "string", "pattern": DURATION_PATTERN }),
        Kind::Size { .. } => json!({ "type": "string", "pattern": SIZE_PATTERN }),
        Kind::OneOf(choice) => json!({ "enum": choice.texts }),
        Kind::List(of) => json!({ "type": "array", "items": of_kind(of) }),
        Kind::Table(shape) => of_shape(shape),
        Kind::TextOr(parsed, shape) => json!({ "anyOf": [of_kind(&Kind::Parsed(parsed)), of_shape(shape)] }),
        Kind::Map { key, of } => {
            let mut schema = json!({ "type": "object", "additionalProperties": of_kind(of) });
            if let Some(pattern) = key.pattern {
                schema["propertyNames"] = json!({ "pattern": pattern });
            }
            schema
        }
        Kind::Any | Kind::Later => json!({}),
    }
}

/// The reference of every key, as Markdown.
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\nEvery key of `sereno.toml`. Generated from the tables that\nalso check it: do not edit.\n",
    );
    section(&mut page, "At the top", &ROOT, "");
    page
}

/// One table of keys, then those inside it.
fn section(page: &mut String, title: &str, shape: &Shape, path: &str) {
    let inner = |key: &Key| {
        if path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{path}.{}", key.name)
        }
    };
    let plain: Vec<&Key> = shape
        .keys
        .iter()
        .filter(|key| nested(&key.kind).is_none() && !matches!(key.kind, Kind::Later))
        .collect();
    if !plain.is_empty() {
        let _ = write!(
            page,
            "\n## {title}\n\n| key | value | default | |\n|---|---|---|---|\n"
        );
    }
    for key in plain {
        let default = match key.presence {
            Presence::Required => "required".to_owned(),
            Presence::Optional => "none".to_owned(),
            Presence::Default(text) => format!("`{text}`"),
        };
        let cells = [
            format!("`{}`", key.name),
            describe(&key.kind),
            default,
            key.doc.to_owned(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    for key in shape.keys {
        if let Some((shape, is_map)) = nested(&key.kind) {
            let path = if is_map {
                format!("{}.NAME", inner(key))
            } else {
                inner(key)
            };
            section(page, &format!("`[{path}]`"), shape, &path);
        }
    }
}

fn nested(kind: &Kind) -> Option<(&'static Shape, bool)> {
    match kind {
        Kind::Table(shape) => Some((shape, false)),
        Kind::Map {
            of: Kind::Table(shape),
            ..
        } => Some((shape, true)),
        _ => None,
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Integer { min, max } if min == max => format!("`{min}`"),
        Kind::Integer { min, max } => format!(
            "a whole number from {} to {}",
            show_count(min.unsigned_abs()),
            show_count(max.unsigned_abs())
        ),
        Kind::Number { above, max } => format!("a number above {above}, up to {max}"),
        Kind::Duration { min, max } => format!(
            "a duration from {} to {}",
            show_duration(*min),
            show_duration(*max)
        ),
        Kind::Size { min, max } => format!("a size from {} to {}", show_bytes(*min), show_bytes(*max)),
        Kind::OneOf(choice) => choice
            .texts
            .iter()
            .map(|text| format!("`\"{text}\"`"))
            .collect::<Vec<_>>()
            .join(", "),
        Kind::List(of) => format!("a list of: {}", describe(of)),
        Kind::Map { key, of } => format!("a table: {} = {}", key.what, describe(of)),
        Kind::TextOr(parsed, shape) => {
            let keys: Vec<String> = shape.keys.iter().map(|key| format!("`{}`", key.name)).collect();
            format!("{}, or a table of {}", parsed.what, keys.join(", "))
        }
        Kind::Any => "anything".to_owned(),
        other => other.type_name(),
    }
}
