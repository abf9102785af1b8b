//! The params that a manifest declares, as far as their Rust types depend on it.

use toml::{Table, Value};

/// One param, or one field of a record.
#[derive(Debug, PartialEq)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Given or filled in by the host, so that the plugin always finds it.
    pub(crate) always: bool,
    pub(crate) doc: String,
}

/// What it holds, by the Rust type it becomes.
#[derive(Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    Duration,
    Size,
    Scalar,
    Enum(Vec<String>),
    List(Box<Kind>),
    Record(Vec<Param>),
}

/// Reads `[params]`.
pub(crate) fn params(text: &str) -> Result<Vec<Param>, String> {
    let manifest: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    match manifest.get("params") {
        None => Ok(Vec::new()),
        Some(Value::Table(params)) => read_all(params, "params"),
        Some(_) => Err("`params` is not a table".to_owned()),
    }
}

fn read_all(params: &Table, path: &str) -> Result<Vec<Param>, String> {
    params
        .iter()
        .map(|(name, value)| {
            let path = format!("{path}.{name}");
            let table = value
                .as_table()
                .ok_or_else(|| format!("`{path}` is not a table"))?;
            let flag = |key: &str| table.get(key).and_then(Value::as_bool).unwrap_or(false);
            Ok(Param {
                name: name.clone(),
                kind: read_kind(table, &path)?,
                always: flag("required") || table.contains_key("default"),
                doc: table
                    .get("doc")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
            })
        })
        .collect()
}

fn read_kind(table: &Table, path: &str) -> Result<Kind, String> {
    let kind = table
        .get("type")
        .and_then(Value::as_str)
        .ok_or_else(|| format!("`{path}` has no `type`"))?;
    let inner = |key: &str| {
        table
            .get(key)
            .and_then(Value::as_table)
            .ok_or_else(|| format!("`{path}` is a {kind} without `{key}`"))
    };
    Ok(match kind {
        "string" | "glob" | "database" | "directory" | "origin" | "storage" | "writer" | "table"
        | "column" | "index" => Kind::Text,
        "integer" => Kind::Integer,
        "float" => Kind::Float,
        "boolean" => Kind::Boolean,
        "duration" => Kind::Duration,
        "size" => Kind::Size,
        "scalar" => Kind::Scalar,
        "enum" => {
            let values = table
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let values: Vec<_> = values.filter_map(Value::as_str).map(str::to_owned).collect();
            if values.is_empty() {
                return Err(format!("`{path}` is an enum without `values`"));
            }
            Kind::Enum(values)
        }
        "list" => Kind::List(Box::new(read_kind(inner("items")?, &format!("{path}[]"))?)),
        "record" => Kind::Record(read_all(inner("fields")?, path)?),
        other => return Err(format!("`{path}` has the unknown type `{other}`")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_param_is_always_there_when_it_is_required_or_has_a_default() {
        let found = params(
            "[params]\na = { type = \"size\", required = true }\nb = { type = \"boolean\", default = false }\n\
             c = { type = \"list\", items = { type = \"enum\", values = [\"x\"] }, doc = \"Some.\" }",
        );
        let param = |name: &str, kind, always, doc: &str| Param {
            name: name.into(),
            kind,
            always,
            doc: doc.into(),
        };
        let list = Kind::List(Box::new(Kind::Enum(vec!["x".to_owned()])));
        assert_eq!(
            found,
            Ok(vec![
                param("a", Kind::Size, true, ""),
                param("b", Kind::Boolean, true, ""),
                param("c", list, false, "Some."),
            ])
        );
    }

    #[test]
    fn what_cannot_become_a_type_is_refused_with_its_path() {
        for (text, problem) in [
            ("params = 1", "`params` is not a table"),
            ("[params]\na = 1", "`params.a` is not a table"),
            ("[params.a]\nrequired = true", "`params.a` has no `type`"),
            (
                "[params.a]\ntype = \"date\"",
                "`params.a` has the unknown type `date`",
            ),
            (
                "[params.a]\ntype = \"enum\"",
                "`params.a` is an enum without `values`",
            ),
            (
                "[params.a]\ntype = \"list\"",
                "`params.a` is a list without `items`",
            ),
            (
                "[params.a]\ntype = \"list\"\nitems = { type = \"record\" }",
                "`params.a[]` is a record without `fields`",
            ),
        ] {
            assert_eq!(params(text), Err(problem.to_owned()));
        }
    }
}
