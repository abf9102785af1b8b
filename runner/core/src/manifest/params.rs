//! Holds a job's params against its plugin's manifest.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::{Manifest, Param, ParamKind};
use crate::config::diagnostic::did_you_mean;
use crate::name::{NameError, TableName, TargetName};
use crate::units::{UnitError, parse_duration, parse_size, show_bytes, show_duration};

/// One mistake in a job's params.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamError {
    /// The path of the value: `keep`, `where[0].op`. Of a missing value, the path of what should hold it.
    pub path: String,
    /// True when the path is of a param that the plugin has not.
    pub is_unknown: bool,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Manifest {
    /// The params as the plugin gets them: types checked, defaults filled in, durations in milliseconds, sizes in
    /// bytes. An optional param that was not given and has no default is left out.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn settle_params(&self, given: &BTreeMap<String, Json>) -> Result<Json, Vec<ParamError>> {
        let mut errors = Vec::new();
        let given = given.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let settled = fields(&self.params, &given, "", &mut errors);
        if errors.is_empty() {
            Ok(Json::Object(settled))
        } else {
            Err(errors)
        }
    }
}

impl ParamKind {
    /// Its name in the manifest.
    pub fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Glob => "glob",
            Self::Database => "database",
            Self::Directory => "directory",
            Self::Origin => "origin",
            Self::Storage => "storage",
            Self::Writer => "writer",
            Self::Table => "table",
            Self::Column => "column",
            Self::Index => "index",
            Self::Enum(_) => "enum",
            Self::Scalar => "scalar",
            Self::List(_) => "list",
            Self::Record(_) => "record",
        }
    }

    fn noun(&self) -> &'static str {
        match self {
            Self::String | Self::Enum(_) => "a text",
            Self::Integer => "a whole number",
            Self::Float => "a number",
            Self::Boolean => "true or false",
            Self::Duration => "a duration",
            Self::Size => "a size",
            Self::Glob => "a glob",
            Self::Database => "the name of a database",
            Self::Directory => "the name of a directory",
            Self::Origin => "the name of an origin",
            Self::Storage => "the name of a storage",
            Self::Writer => "the name of a writer",
            Self::Table => "the name of a table",
            Self::Column => "the name of a column",
            Self::Index => "the name of an index",
            Self::Scalar => "a text, a number, true or false",
            Self::List(_) => "a list",
            Self::Record(_) => "a table of fields",
        }
    }
}

fn noun(json: &Json) -> &'static str {
    match json {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a table of fields",
    }
}

fn fields(
    params: &[Param],
    given: &BTreeMap<&str, &Json>,
    at: &str,
    errors: &mut Vec<ParamError>,
) -> Map<String, Json> {
    let inner = |name: &str| {
        if at.is_empty() {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        }
    };
    for name in given
        .keys()
        .filter(|name| !params.iter().any(|param| param.name == **name))
    {
        errors.push(ParamError {
            is_unknown: true,
            path: inner(name),
            message: format!("`{name}` is not a param of this plugin"),
            hint: did_you_mean(name, params.iter().map(|param| param.name.as_str())),
        });
    }
    let mut settled = Map::new();
    for param in params {
        match given.get(param.name.as_str()) {
            Some(value) => {
                if let Some(value) = settle(param, value, &inner(&param.name), errors) {
                    settled.insert(param.name.clone(), value);
                }
            }
            None if param.required => errors.push(ParamError {
                is_unknown: false,
                path: at.to_owned(),
                message: format!("`{}` is missing", inner(&param.name)),
                hint: Some(if param.doc.is_empty() {
                    format!("`{}` is {}", param.name, param.kind.noun())
                } else {
                    format!("`{}` is {}: {}", param.name, param.kind.noun(), param.doc)
                }),
            }),
            None => {
                if let Some(default) = &param.default {
                    settled.insert(param.name.clone(), default.clone());
                }
            }
        }
    }
    // Their neighbours are settled now.
    for param in params
        .iter()
        .filter(|param| !given.contains_key(param.name.as_str()))
    {
        if let Some(unless) = param
            .required_unless
            .as_ref()
            .filter(|unless| unless.asks(&settled))
        {
            errors.push(ParamError {
                is_unknown: false,
                path: at.to_owned(),
                message: format!("`{}` is missing", inner(&param.name)),
                hint: Some(format!(
                    "`{}` is {}, {}",
                    param.name,
                    param.kind.noun(),
                    unless.words()
                )),
            });
        }
    }
    settled
}

/// One value, checked and normalised. None when it is wrong, and `errors` says why.
pub(super) fn settle(param: &Param, value: &Json, path: &str, errors: &mut Vec<ParamError>) -> Option<Json> {
    let mut refuse = |message: String, hint: Option<String>| {
        errors.push(ParamError {
            is_unknown: false,
            path: path.to_owned(),
            message,
            hint,
        });
        None
    };
    let settled = match (&param.kind, value) {
        (ParamKind::Duration, Json::Number(number)) => {
            return refuse(
                format!("`{number}` has no unit"),
                Some(format!("write `\"{number} days\"` or `\"{number}h\"`")),
            );
        }
        (ParamKind::Size, Json::Number(number)) => {
            return refuse(
                format!("`{number}` has no unit"),
                Some(format!("write `\"{number} MiB\"` or `\"{number} B\"`")),
            );
        }
        (ParamKind::Duration, Json::String(text)) => match parse_duration(text) {
            Ok(duration) => Json::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            Err(error) => return refuse_unit(refuse, error),
        },
        (ParamKind::Size, Json::String(text)) => match parse_size(text) {
            Ok(bytes) => Json::from(bytes),
            Err(error) => return refuse_unit(refuse, error),
        },
        (ParamKind::Integer, Json::Number(number)) if number.is_i64() || number.is_u64() => value.clone(),
        (ParamKind::Float, Json::Number(number)) => Json::from(number.as_f64()?),
        (ParamKind::Boolean, Json::Bool(_))
        | (ParamKind::Scalar, Json::String(_) | Json::Number(_) | Json::Bool(_)) => value.clone(),
        (ParamKind::String, Json::String(text)) => {
            if text.contains('\0') {
                return refuse(format!("`{path}` has a zero byte in it"), None);
            }
            value.clone()
        }
        (ParamKind::Enum(values), Json::String(text)) => {
            if values.contains(text) {
                value.clone()
            } else {
                let hint = did_you_mean(text, values.iter().map(String::as_str));
                return refuse(format!("`{path}` cannot be `{text}`"), hint);
            }
        }
        (ParamKind::Glob, Json::String(text)) => match glob_problem(text) {
            None => value.clone(),
            Some(problem) => {
                return refuse(
                    format!("`{text}` is not a glob: {problem}"),
                    Some(
                        "write a path below the directory with `*`, `?`, `**` or `[a-z]`: `\"**/*.log\"`"
                            .to_owned(),
                    ),
                );
            }
        },
        (
            ParamKind::Database
            | ParamKind::Directory
            | ParamKind::Origin
            | ParamKind::Storage
            | ParamKind::Writer,
            Json::String(text),
        ) => match text.parse::<TargetName>() {
            Ok(_) => value.clone(),
            Err(error) => return refuse_name(refuse, &error),
        },
        (ParamKind::Table, Json::String(text)) => match text.parse::<TableName>() {
            Ok(_) => value.clone(),
            Err(error) => return refuse_name(refuse, &error),
        },
        (ParamKind::Column | ParamKind::Index, Json::String(text)) => {
            if text.is_empty() || text.contains('\0') {
                return refuse(format!("`{path}` is not {}", param.kind.noun()), None);
            }
            value.clone()
        }
        (ParamKind::List(items), Json::Array(given)) => return settle_list(items, given, path, errors),
        (ParamKind::Record(inner), Json::Object(given)) => {
            let before = errors.len();
            let given = given.iter().map(|(name, value)| (name.as_str(), value)).collect();
            let settled = fields(inner, &given, path, errors);
            return (errors.len() == before).then_some(Json::Object(settled));
        }
        (kind, value) => {
            let hint = match kind {
                ParamKind::List(_) => Some(format!("write `[{value}]`")),
                ParamKind::Enum(values) => did_you_mean("", values.iter().map(String::as_str)),
                _ => None,
            };
            return refuse(
                format!("`{path}` should be {}, not {}", kind.noun(), noun(value)),
                hint,
            );
        }
    };
    let number = settled.as_f64();
    let too_small = number.zip(param.min).is_some_and(|(number, min)| number < min);
    let too_large = number.zip(param.max).is_some_and(|(number, max)| number > max);
    if too_small || too_large {
        let show = |bound: f64| show_bound(&param.kind, bound);
        let range = match (param.min.map(show), param.max.map(show)) {
            (Some(min), Some(max)) => format!("from {min} to {max}"),
            (Some(min), None) => format!("{min} or more"),
            (None, max) => format!("at most {}", max.unwrap_or_default()),
        };
        return refuse(format!("`{path}` should be {range}"), None);
    }
    Some(settled)
}

/// "Every table" is said alone, in a list of tables.
fn settle_list(items: &Param, given: &[Json], path: &str, errors: &mut Vec<ParamError>) -> Option<Json> {
    let is_star = |value: &Json| value.as_str() == Some("*");
    if items.kind == ParamKind::Table && given.iter().any(is_star) {
        if given.len() == 1 {
            return Some(Json::Array(given.to_vec()));
        }
        errors.push(ParamError {
            is_unknown: false,
            path: path.to_owned(),
            message: "`\"*\"` means every table, and stands alone".to_owned(),
            hint: Some("write `[\"*\"]`, or only names".to_owned()),
        });
        return None;
    }
    let settled: Vec<_> = given
        .iter()
        .enumerate()
        .filter_map(|(place, value)| settle(items, value, &format!("{path}[{place}]"), errors))
        .collect();
    (settled.len() == given.len()).then_some(Json::Array(settled))
}

fn refuse_unit(
    refuse: impl FnOnce(String, Option<String>) -> Option<Json>,
    error: UnitError,
) -> Option<Json> {
    refuse(error.problem, Some(error.hint))
}

fn refuse_name(
    refuse: impl FnOnce(String, Option<String>) -> Option<Json>,
    error: &NameError,
) -> Option<Json> {
    refuse(
        format!("`{}` is not a {}", error.text, error.what),
        Some(error.rule.to_owned()),
    )
}

fn glob_problem(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is blank".to_owned());
    }
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Some("it leaves the directory".to_owned());
    }
    globset::Glob::new(text)
        .err()
        .map(|error| error.kind().to_string())
}

/// A bound in the param's own notation.
fn show_bound(kind: &ParamKind, bound: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounds come from units, never below zero"
    )]
    let whole = bound as u64;
    match kind {
        ParamKind::Duration => show_duration(Duration::from_millis(whole)),
        ParamKind::Size => show_bytes(whole),
        _ => bound.to_string(),
    }
}
