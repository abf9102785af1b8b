//! Finds the param that names something, so that whoever misses it can be shown where it is written.
//!
//! Of several that name it the first is answered. Nothing is judged here.

use serde_json::Value as Json;

use super::{Manifest, Param, ParamKind};
use crate::name::TargetName;

/// What a param may name.
#[derive(Clone, Copy)]
pub enum Sought<'a> {
    /// A configured database.
    Database(&'a TargetName),
    /// A configured directory.
    Directory(&'a TargetName),
    /// A configured origin.
    Origin(&'a TargetName),
    /// A configured storage.
    Storage(&'a TargetName),
    /// A configured writer.
    Writer(&'a TargetName),
    /// Whatever this says yes to, in this database.
    Within(&'a TargetName, &'a dyn Fn(&ParamKind, &str) -> bool),
}

impl Sought<'_> {
    fn is(&self, kind: &ParamKind, text: &str) -> bool {
        match self {
            Self::Database(name) => *kind == ParamKind::Database && text == name.as_str(),
            Self::Directory(name) => *kind == ParamKind::Directory && text == name.as_str(),
            Self::Origin(name) => *kind == ParamKind::Origin && text == name.as_str(),
            Self::Storage(name) => *kind == ParamKind::Storage && text == name.as_str(),
            Self::Writer(name) => *kind == ParamKind::Writer && text == name.as_str(),
            Self::Within(_, is) => is(kind, text),
        }
    }

    /// Names beside the name of another database are that one's.
    fn is_elsewhere(&self, params: &[Param], values: &Json) -> bool {
        let Self::Within(database, _) = self else {
            return false;
        };
        params
            .iter()
            .filter(|param| param.kind == ParamKind::Database)
            .filter_map(|param| values.get(&param.name)?.as_str())
            .any(|name| name != database.as_str())
    }
}

impl Manifest {
    /// The path of the param that names it: `table`, `where[0].column`. None when no param does.
    pub fn param_naming(&self, params: &Json, sought: Sought<'_>) -> Option<String> {
        in_fields(&self.params, params, "", sought)
    }
}

fn in_fields(params: &[Param], values: &Json, at: &str, sought: Sought<'_>) -> Option<String> {
    if sought.is_elsewhere(params, values) {
        return None;
    }
    params.iter().find_map(|param| {
        let value = values.get(&param.name)?;
        let path = match at {
            "" => param.name.clone(),
            at => format!("{at}.{}", param.name),
        };
        in_value(&param.kind, value, path, sought)
    })
}

fn in_value(kind: &ParamKind, value: &Json, at: String, sought: Sought<'_>) -> Option<String> {
    match (kind, value) {
        (kind, Json::String(text)) => sought.is(kind, text).then_some(at),
        (ParamKind::List(items), Json::Array(values)) => values
            .iter()
            .enumerate()
            .find_map(|(place, value)| in_value(&items.kind, value, format!("{at}[{place}]"), sought)),
        (ParamKind::Record(fields), value) => in_fields(fields, value, &at, sought),
        _ => None,
    }
}
