//! What a document may hold, as tables of keys: one source for the checks, the JSON Schema and the reference.
//!
//! A shape judges each value alone. What depends on two values (a grant and its target) is checked by the section
//! that reads them.

use std::ops::Range;
use std::time::Duration;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::document::{Data, Node};
use crate::units;

/// The keys of one table.
pub(crate) struct Shape {
    pub keys: &'static [Key],
}

/// One key.
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub presence: Presence,
    /// Sentences, for the reference and for editors.
    pub doc: &'static str,
}

/// What happens when a key is not there.
#[derive(Clone, Copy)]
pub(crate) enum Presence {
    Required,
    Optional,
    /// This value is taken, written as in TOML.
    Default(&'static str),
}

/// What a value may be.
pub(crate) enum Kind {
    Text,
    /// A text that must be readable as something.
    Parsed(&'static Parsed),
    Integer {
        min: i64,
        max: i64,
    },
    /// Greater than `above`, up to `max`.
    Number {
        above: f64,
        max: f64,
    },
    Boolean,
    Duration {
        min: Duration,
        max: Duration,
    },
    Size {
        min: u64,
        max: u64,
    },
    OneOf(&'static Choice),
    List(&'static Kind),
    Table(&'static Shape),
    /// A text, or a table that says more.
    TextOr(&'static Parsed, &'static Shape),
    /// A table whose keys are the operator's own.
    Map {
        key: &'static Parsed,
        of: &'static Kind,
    },
    /// Anything that JSON can hold; somebody else checks it.
    Any,
    /// A name that is kept for a later version.
    Later,
}

/// One of some texts.
pub(crate) struct Choice {
    /// With an article, such as `a verb of a table`.
    pub what: &'static str,
    /// The code of a mistake in it.
    pub code: &'static str,
    pub texts: &'static [&'static str],
}

/// A text that must be readable as something.
pub(crate) struct Parsed {
    /// With an article, such as `a time zone`.
    pub what: &'static str,
    /// The code of a mistake in it.
    pub code: &'static str,
    /// For editors: a regular expression that every good text matches.
    pub pattern: Option<&'static str>,
    pub check: fn(&str) -> Result<(), Complaint>,
}

/// Why a text is not what it should be.
pub(crate) struct Complaint {
    pub message: String,
    pub hint: Option<String>,
}

impl Complaint {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

impl From<crate::name::NameError> for Complaint {
    fn from(error: crate::name::NameError) -> Self {
        Self {
            message: format!("`{}` is not a {}", error.text, error.what),
            hint: Some(error.rule.to_owned()),
        }
    }
}

/// A year: longer than any limit or guard makes sense for.
pub(crate) const A_YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Shape {
    fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Holds `node` against `kind`. `place` is how the table around it is called, such as `[job.temp-files]`; `name` is
/// its key.
pub(crate) fn check(kind: &Kind, node: &Node, place: &str, name: &str, mistakes: &mut Vec<Diagnostic>) {
    match (kind, &node.data) {
        (Kind::Any, _) => check_any(node, mistakes),
        (Kind::Later, _) | (Kind::Text, Data::Text(_)) | (Kind::Boolean, Data::Boolean(_)) => {}
        (Kind::Parsed(parsed), Data::Text(text)) => {
            if let Err(complaint) = (parsed.check)(text) {
                mistakes.push(
                    Diagnostic::at(parsed.code, node.span.clone(), complaint.message)
                        .label(format!("this should be {}", parsed.what))
                        .maybe_hint(complaint.hint),
                );
            }
        }
        (Kind::Integer { min, max }, Data::Integer(found)) => {
            if !(min..=max).contains(&found) {
                mistakes.push(out_of_range(node, name, &range_text(*min, *max)));
            }
        }
        (Kind::Integer { min, max }, Data::HugeInteger) => {
            mistakes.push(out_of_range(node, name, &range_text(*min, *max)));
        }
        (Kind::Number { above, max }, Data::Integer(_) | Data::Float(_)) => {
            if !node.number().is_some_and(|found| found > *above && found <= *max) {
                mistakes.push(out_of_range(
                    node,
                    name,
                    &format!("more than {above} and at most {max}"),
                ));
            }
        }
        (Kind::Duration { min, max }, Data::Text(text)) => match units::parse_duration(text) {
            Ok(found) if (min..=max).contains(&&found) => {}
            Ok(_) => mistakes.push(out_of_range(
                node,
                name,
                &format!(
                    "from {} to {}",
                    units::show_duration(*min),
                    units::show_duration(*max)
                ),
            )),
            Err(error) => mistakes.push(unit_mistake("bad-duration", node.span.clone(), &error)),
        },
        (Kind::Size { min, max }, Data::Text(text)) => match units::parse_size(text) {
            Ok(found) if (min..=max).contains(&&found) => {}
            Ok(_) => mistakes.push(out_of_range(
                node,
                name,
                &format!("from {} to {}", units::show_bytes(*min), units::show_bytes(*max)),
            )),
            Err(error) => mistakes.push(unit_mistake("bad-size", node.span.clone(), &error)),
        },
        (Kind::Duration { .. }, Data::Integer(found)) => {
            mistakes.push(no_unit("bad-duration", node, *found, "h"));
        }
        (Kind::Size { .. }, Data::Integer(found)) => mistakes.push(no_unit("bad-size", node, *found, " MiB")),
        (Kind::OneOf(choice), Data::Text(text)) => {
            if !choice.texts.contains(&text.as_str()) {
                mistakes.push(
                    Diagnostic::at(
                        choice.code,
                        node.span.clone(),
                        format!("`{text}` is not {}", choice.what),
                    )
                    .label(format!("this should be {}", kind.type_name()))
                    .maybe_hint(did_you_mean(text, choice.texts.iter().copied())),
                );
            }
        }
        (Kind::List(of), Data::List(items)) => {
            for item in items {
                check(of, item, place, name, mistakes);
            }
        }
        (Kind::TextOr(parsed, _), Data::Text(_)) => check(&Kind::Parsed(parsed), node, place, name, mistakes),
        (Kind::TextOr(_, shape) | Kind::Table(shape), Data::Table(_)) => {
            check_table(shape, node, place, mistakes);
        }
        (Kind::Map { key, of }, Data::Table(entries)) => {
            for entry in entries {
                if let Err(complaint) = (key.check)(&entry.key) {
                    mistakes.push(
                        Diagnostic::at(key.code, entry.key_span.clone(), complaint.message)
                            .label(format!("this should be {}", key.what))
                            .maybe_hint(complaint.hint),
                    );
                }
                check(
                    of,
                    &entry.node,
                    &inner_place(place, &entry.key),
                    &entry.key,
                    mistakes,
                );
            }
        }
        _ => mistakes.push(
            Diagnostic::at(
                "wrong-type",
                node.span.clone(),
                format!(
                    "`{name}` should be {}, not {}",
                    kind.type_name(),
                    node.type_name()
                ),
            )
            .label(format!("this is {}", node.type_name()))
            .maybe_hint(match (kind, node.entries().first()) {
                // `tables.billing.rows = [...]`: the operator meant one name.
                (Kind::List(_), Some(inner)) => Some(format!(
                    "a name with a dot in it is quoted: `\"{name}.{}\" = ...`",
                    inner.key
                )),
                _ => kind.example(name),
            }),
        ),
    }
}

/// Holds a table against its keys: unknown ones, missing ones, and each value.
pub(crate) fn check_table(shape: &Shape, node: &Node, place: &str, mistakes: &mut Vec<Diagnostic>) {
    for entry in node.entries() {
        match shape.key(&entry.key) {
            Some(Key {
                kind: Kind::Later,
                name,
                ..
            }) => mistakes.push(
                Diagnostic::at(
                    "not-yet",
                    entry.key_span.clone(),
                    format!("`{name}` is not available in this version"),
                )
                .label("reserved for a later version")
                .hint("remove it"),
            ),
            Some(key) => check(
                &key.kind,
                &entry.node,
                &inner_place(place, key.name),
                key.name,
                mistakes,
            ),
            None => mistakes.push(
                Diagnostic::at(
                    "unknown-key",
                    entry.key_span.clone(),
                    if place.is_empty() {
                        format!("`{}` is not a key of the configuration", entry.key)
                    } else {
                        format!("`{}` is not a key of [{place}]", entry.key)
                    },
                )
                .label("unknown key")
                .maybe_hint(did_you_mean(&entry.key, shape.available())),
            ),
        }
    }
    for key in shape
        .keys
        .iter()
        .filter(|key| matches!(key.presence, Presence::Required))
    {
        if node.get(key.name).is_none() {
            let message = if place.is_empty() {
                format!("`{}` is missing", key.name)
            } else {
                format!("[{place}] has no `{}`", key.name)
            };
            let mistake = Diagnostic::at("missing-key", node.span.clone(), message).label("here");
            mistakes.push(mistake.maybe_hint(key.kind.example(key.name)));
        }
    }
}

impl Shape {
    fn available(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.keys
            .iter()
            .filter(|key| !matches!(key.kind, Kind::Later))
            .map(|key| key.name)
    }
}

/// How the table at `key` of `place` is called.
pub(crate) fn inner_place(place: &str, key: &str) -> String {
    if place.is_empty() {
        key.to_owned()
    } else {
        format!("{place}.{key}")
    }
}

fn check_any(node: &Node, mistakes: &mut Vec<Diagnostic>) {
    let refuse = |what: &str, hint: &str| {
        Diagnostic::at(
            "wrong-type",
            node.span.clone(),
            format!("{what} cannot be given to a plugin"),
        )
        .label("this")
        .hint(hint)
    };
    match &node.data {
        Data::Datetime => mistakes.push(refuse("a date", "write it as a text, in quotes")),
        Data::HugeInteger => mistakes.push(refuse(
            "a number of more than 64 bits",
            "write it as a text, in quotes",
        )),
        Data::Float(float) if !float.is_finite() => {
            mistakes.push(refuse("a number without end", "leave it out"));
        }
        Data::List(items) => items.iter().for_each(|item| check_any(item, mistakes)),
        Data::Table(entries) => entries.iter().for_each(|entry| check_any(&entry.node, mistakes)),
        _ => {}
    }
}

fn range_text(min: i64, max: i64) -> String {
    match max {
        i64::MAX => format!("{min} or more"),
        _ if min == max => min.to_string(),
        _ => format!("from {min} to {max}"),
    }
}

fn out_of_range(node: &Node, name: &str, range: &str) -> Diagnostic {
    Diagnostic::at(
        "out-of-range",
        node.span.clone(),
        format!("`{name}` should be {range}"),
    )
    .label("out of range")
}

fn no_unit(code: &'static str, node: &Node, found: i64, unit: &str) -> Diagnostic {
    Diagnostic::at(code, node.span.clone(), format!("`{found}` has no unit"))
        .label("a unit is missing")
        .hint(format!("write the unit, in quotes: `\"{found}{unit}\"`"))
}

/// A mistake in a duration or a size.
pub(crate) fn unit_mistake(code: &'static str, span: Range<usize>, error: &units::UnitError) -> Diagnostic {
    Diagnostic::at(code, span, error.problem.clone())
        .label(if code == "bad-size" {
            "this should be a size"
        } else {
            "this should be a duration"
        })
        .hint(error.hint.clone())
}

impl Kind {
    /// What it is, with an article.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Parsed(parsed) => parsed.what.to_owned(),
            Self::Integer { .. } => "a whole number".to_owned(),
            Self::Number { .. } => "a number".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Duration { .. } => "a duration".to_owned(),
            Self::Size { .. } => "a size".to_owned(),
            Self::OneOf(choice) => choice.what.to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) | Self::Map { .. } => "a table".to_owned(),
            Self::TextOr(parsed, _) => format!("{} or a table", parsed.what),
            Self::Any => "a value".to_owned(),
            Self::Later => "absent".to_owned(),
        }
    }

    fn example(&self, name: &str) -> Option<String> {
        let value = match self {
            Self::Duration { .. } => "\"24h\"",
            Self::Size { .. } => "\"500 MiB\"",
            Self::Boolean => "true",
            Self::List(of) => return of.example("").map(|item| format!("write `{name} = [{item}]`")),
            Self::OneOf(choice) if name.is_empty() => {
                return choice.texts.first().map(|text| format!("\"{text}\""));
            }
            Self::Text | Self::Parsed(_) if name.is_empty() => "\"...\"",
            Self::OneOf(choice) => {
                return choice
                    .texts
                    .first()
                    .map(|text| format!("for example `{name} = \"{text}\"`"));
            }
            Self::Integer { min, .. } => return Some(format!("for example `{name} = {}`", (*min).max(1))),
            _ => return None,
        };
        Some(if name.is_empty() {
            value.to_owned()
        } else {
            format!("for example `{name} = {value}`")
        })
    }
}
