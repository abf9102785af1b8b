//! Patterns of needs and references: paths and names with `{param}`, `{list}` or `{list[].field}` in them.
//!
//! A pattern is checked against the declared params when the manifest is read, and filled when a job's params are
//! known. A placeholder stands for a whole part of a path, never for a piece of one.

use serde_json::Value as Json;

use super::{Param, ParamKind};
use crate::config::shape::Complaint;
use crate::grant::Path;
use crate::name::{TableName, TargetName};

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Template {
    Literal(String),
    /// `{name}` or `{name[].field}`.
    Placeholder {
        param: String,
        field: Option<String>,
    },
}

/// What a path pattern is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Table,
    Whole,
    Query,
    Directory,
    Origin,
    Storage,
    Writer,
}

impl Slot {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Table => "a table",
            Self::Whole => "a whole database",
            Self::Query => "a named query",
            Self::Directory => "a directory",
            Self::Origin => "an origin",
            Self::Storage => "a storage",
            Self::Writer => "a writer",
        }
    }
}

/// A path with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathPattern {
    Table(Template, Template),
    Whole(Template),
    Query(Template, Template),
    Directory(Template),
    Origin(Template),
    Storage(Template),
    Writer(Template),
}

const PATHS: &str = "a path is `database.{database}.tables.{table}`, `database.{database}.whole`, \
                     `database.{database}.queries.NAME`, `directory.{directory}`, `origin.{origin}`, `storage.{storage}` \
                     or `writer.{writer}`";

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, Complaint> {
        let refuse = || {
            Complaint::new(
                format!("`{text}` is not a placeholder"),
                "write `{param}`, or `{list[].field}` for the field of each element",
            )
        };
        let Some(inner) = text.strip_prefix('{') else {
            return if text.is_empty() || text.contains(['{', '}', '"']) {
                Err(refuse())
            } else {
                Ok(Self::Literal(text.to_owned()))
            };
        };
        let inner = inner.strip_suffix('}').ok_or_else(refuse)?;
        let (param, field) = match inner.split_once("[].") {
            Some((param, field)) => (param, Some(field)),
            None => (inner, None),
        };
        let plain =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if plain(param) && field.is_none_or(plain) {
            Ok(Self::Placeholder {
                param: param.to_owned(),
                field: field.map(str::to_owned),
            })
        } else {
            Err(refuse())
        }
    }

    /// Refuses a placeholder that names no param, or one whose kind is none of `kinds`.
    pub(super) fn check(&self, params: &[Param], kinds: &[&ParamKind], part: &str) -> Result<(), Complaint> {
        let Self::Placeholder { param: name, field } = self else {
            return Ok(());
        };
        let unknown = |name: &str, among: &[Param]| Complaint {
            message: format!("`{name}` is not a param"),
            hint: crate::config::diagnostic::did_you_mean(
                name,
                among.iter().map(|param| param.name.as_str()),
            ),
        };
        let param = params
            .iter()
            .find(|param| param.name == *name)
            .ok_or_else(|| unknown(name, params))?;
        let element = match &param.kind {
            ParamKind::List(item) => &item.kind,
            kind => kind,
        };
        let kind = match (field, &param.kind, element) {
            (None, ..) => element,
            (Some(field), ParamKind::List(_), ParamKind::Record(fields)) => {
                &fields
                    .iter()
                    .find(|param| param.name == *field)
                    .ok_or_else(|| unknown(field, fields))?
                    .kind
            }
            (Some(_), ..) => {
                return Err(Complaint::new(
                    format!("`{name}` is not a list of records"),
                    format!("write `{{{name}}}`, or declare a list whose items are records"),
                ));
            }
        };
        if kinds.contains(&kind) {
            Ok(())
        } else {
            Err(Complaint::new(
                format!("`{name}` is of the type `{}`, which names no {part}", kind.name()),
                format!(
                    "declare it as {}",
                    kinds
                        .iter()
                        .map(|kind| format!("`{}`", kind.name()))
                        .collect::<Vec<_>>()
                        .join(" or ")
                ),
            ))
        }
    }

    /// The text it stands for in turn `turns`; none when its param or field is absent.
    pub(super) fn fill<'a>(&'a self, params: &'a Json, turns: &Turns<'_>) -> Option<&'a str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Placeholder { param, field } => {
                let value = params.get(param)?;
                let value = turns.of(param).map_or(Some(value), |turn| value.get(turn))?;
                let value = field.as_ref().map_or(Some(value), |field| value.get(field))?;
                value.as_str()
            }
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Placeholder { param, .. } => Some(param),
        }
    }
}

/// Which element of each list is meant: several placeholders of one list advance together.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns<'a>(Vec<(&'a str, usize)>);

impl Turns<'_> {
    fn of(&self, param: &str) -> Option<usize> {
        self.0
            .iter()
            .find(|(name, _)| *name == param)
            .map(|(_, turn)| *turn)
    }
}

/// Every turn that `templates` go through: one for each element, of each list with each of another.
pub(super) fn turns<'a>(templates: &[&'a Template], declared: &[Param], params: &Json) -> Vec<Turns<'a>> {
    let mut all = vec![Turns::default()];
    let mut seen: Vec<&str> = Vec::new();
    for param in templates.iter().filter_map(|template| template.param()) {
        let is_list = declared
            .iter()
            .any(|known| known.name == param && matches!(known.kind, ParamKind::List(_)));
        if !is_list || seen.contains(&param) {
            continue;
        }
        seen.push(param);
        let length = params.get(param).and_then(Json::as_array).map_or(0, Vec::len);
        all = all
            .iter()
            .flat_map(|turns| {
                (0..length).map(move |turn| {
                    let mut turns = turns.clone();
                    turns.0.push((param, turn));
                    turns
                })
            })
            .collect();
    }
    all
}

/// Splits at the dots that stand neither in braces nor in quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut braces, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '{' if !quoted => braces += 1,
            '}' if !quoted => braces = braces.saturating_sub(1),
            '.' if !quoted && braces == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

impl PathPattern {
    /// Reads a pattern and holds it against the declared params.
    pub(super) fn parse(text: &str, params: &[Param]) -> Result<Self, Complaint> {
        let target = |part: &str, kind: &ParamKind, what: &str| -> Result<Template, Complaint> {
            let template = Template::parse(part)?;
            template.check(params, &[kind], what)?;
            if let Template::Literal(name) = &template {
                name.parse::<TargetName>().map_err(Complaint::from)?;
            }
            Ok(template)
        };
        match parts(text).as_slice() {
            ["database", database, "tables", table] => {
                let database = target(database, &ParamKind::Database, "database")?;
                let table = match table.strip_prefix('"').and_then(|table| table.strip_suffix('"')) {
                    Some(quoted) => Template::Literal(quoted.to_owned()),
                    None => Template::parse(table)?,
                };
                table.check(params, &[&ParamKind::Table], "table")?;
                if let Template::Literal(name) = &table
                    && name != "*"
                {
                    name.parse::<TableName>().map_err(Complaint::from)?;
                }
                Ok(Self::Table(database, table))
            }
            ["database", database, "whole"] => {
                Ok(Self::Whole(target(database, &ParamKind::Database, "database")?))
            }
            ["database", database, "queries", query] => Ok(Self::Query(
                target(database, &ParamKind::Database, "database")?,
                target(query, &ParamKind::String, "named query")?,
            )),
            ["directory", directory] => Ok(Self::Directory(target(
                directory,
                &ParamKind::Directory,
                "directory",
            )?)),
            ["origin", origin] => Ok(Self::Origin(target(origin, &ParamKind::Origin, "origin")?)),
            ["storage", storage] => Ok(Self::Storage(target(storage, &ParamKind::Storage, "storage")?)),
            ["writer", writer] => Ok(Self::Writer(target(writer, &ParamKind::Writer, "writer")?)),
            _ => Err(Complaint::new(format!("`{text}` is not a path"), PATHS)),
        }
    }

    pub(super) fn slot(&self) -> Slot {
        match self {
            Self::Table(..) => Slot::Table,
            Self::Whole(_) => Slot::Whole,
            Self::Query(..) => Slot::Query,
            Self::Directory(_) => Slot::Directory,
            Self::Origin(_) => Slot::Origin,
            Self::Storage(_) => Slot::Storage,
            Self::Writer(_) => Slot::Writer,
        }
    }

    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Table(a, b) | Self::Query(a, b) => vec![a, b],
            Self::Whole(a) | Self::Directory(a) | Self::Origin(a) | Self::Storage(a) | Self::Writer(a) => {
                vec![a]
            }
        }
    }

    /// The same, with "every table" where a list of tables was left out.
    pub(super) fn widened(self, declared: &[Param], params: &Json) -> Self {
        match self {
            Self::Table(database, Template::Placeholder { param, field: None })
                if params.get(&param).is_none()
                    && declared.iter().any(|known| {
                        known.name == param
                            && matches!(&known.kind, ParamKind::List(item) if item.kind == ParamKind::Table)
                    }) =>
            {
                Self::Table(database, Template::Literal("*".to_owned()))
            }
            same => same,
        }
    }

    /// The path in turn `turns`; none when a param is absent. The error is the text that is no name.
    pub(super) fn fill(
        &self,
        params: &Json,
        turns: &Turns<'_>,
    ) -> Option<Result<Path, crate::name::NameError>> {
        let name = |template: &Template| template.fill(params, turns).map(str::parse::<TargetName>);
        Some(match self {
            Self::Table(database, table) => {
                let (database, table) = (name(database)?, table.fill(params, turns)?);
                if table == "*" {
                    database.map(Path::AllTables)
                } else {
                    database.and_then(|database| Ok(Path::Table(database, table.parse()?)))
                }
            }
            Self::Whole(database) => name(database)?.map(Path::Whole),
            Self::Query(database, query) => {
                let (database, query) = (name(database)?, name(query)?);
                database.and_then(|database| Ok(Path::Query(database, query?)))
            }
            Self::Directory(directory) => name(directory)?.map(Path::Directory),
            Self::Origin(origin) => name(origin)?.map(Path::Origin),
            Self::Storage(storage) => name(storage)?.map(Path::Storage),
            Self::Writer(writer) => name(writer)?.map(Path::Writer),
        })
    }
}
