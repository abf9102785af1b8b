//! From the context's JSON to the typed params that [`crate::plugin`] makes out of `plugin.toml`.
//!
//! The host has validated them against the manifest and filled in the defaults; what is refused here anyway is a
//! host and a plugin that were built from different manifests.

use std::time::Duration;

pub use serde_json::Value as Json;

use crate::{Failure, Value};

/// Something that a param can be.
pub trait FromParam: Sized {
    /// Reads it; `path` is for the message.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    fn from_param(value: &Json, path: &str) -> Result<Self, String>;

    /// What it is when nobody gave it.
    ///
    /// # Errors
    /// It has to be given.
    fn absent(path: &str) -> Result<Self, String> {
        Err(format!("`{path}` is missing"))
    }
}

/// Reads a whole params object.
///
/// # Errors
/// [`Failure::InvalidParams`] with the path of the first value that does not fit.
pub fn parse<P: FromParam>(json: &str) -> Result<P, Failure> {
    let value = serde_json::from_str(json)
        .map_err(|error| Failure::InvalidParams(format!("the params are no JSON: {error}")))?;
    P::from_param(&value, "").map_err(Failure::InvalidParams)
}

/// Reads the field `name` of a record.
///
/// # Errors
/// The record is none, or the field does not fit.
pub fn field<T: FromParam>(record: &Json, path: &str, name: &str) -> Result<T, String> {
    let Some(fields) = record.as_object() else {
        return Err(expected(path, "a record", record));
    };
    let path = if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    };
    match fields.get(name) {
        None | Some(Json::Null) => T::absent(&path),
        Some(value) => T::from_param(value, &path),
    }
}

/// The message for a value of the wrong kind.
pub fn expected(path: &str, what: &str, found: &Json) -> String {
    format!("`{path}` should be {what}, not {found}")
}

/// A string, an integer, a float or a boolean: a value to compare a column with.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// True or false.
    Boolean(bool),
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => Self::Text(text),
            Scalar::Integer(number) => Self::Integer(number),
            Scalar::Real(number) => Self::Real(number),
            Scalar::Boolean(truth) => Self::Boolean(truth),
        }
    }
}

impl FromParam for Scalar {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        match value {
            Json::String(text) => Ok(Self::Text(text.clone())),
            Json::Bool(truth) => Ok(Self::Boolean(*truth)),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Ok(Self::Integer(whole)),
                (None, Some(real)) => Ok(Self::Real(real)),
                (None, None) => Err(expected(path, "a number", value)),
            },
            other => Err(expected(path, "a text, a number, true or false", other)),
        }
    }
}

impl FromParam for String {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| expected(path, "a text", value))
    }
}

impl FromParam for bool {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| expected(path, "true or false", value))
    }
}

impl FromParam for i64 {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        value
            .as_i64()
            .ok_or_else(|| expected(path, "a whole number", value))
    }
}

impl FromParam for u64 {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        value
            .as_u64()
            .ok_or_else(|| expected(path, "a number of bytes", value))
    }
}

impl FromParam for f64 {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        value.as_f64().ok_or_else(|| expected(path, "a number", value))
    }
}

/// Whole milliseconds in the JSON.
impl FromParam for Duration {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        value
            .as_u64()
            .map(Self::from_millis)
            .ok_or_else(|| expected(path, "a number of milliseconds", value))
    }
}

impl<T: FromParam> FromParam for Vec<T> {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        let items = value.as_array().ok_or_else(|| expected(path, "a list", value))?;
        items
            .iter()
            .enumerate()
            .map(|(place, item)| T::from_param(item, &format!("{path}[{place}]")))
            .collect()
    }
}

impl<T: FromParam> FromParam for Option<T> {
    fn from_param(value: &Json, path: &str) -> Result<Self, String> {
        T::from_param(value, path).map(Some)
    }

    fn absent(_path: &str) -> Result<Self, String> {
        Ok(None)
    }
}
