//! `[database.NAME]`: a database, its protected tables and its named queries.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::diagnostic::Diagnostic;
use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::grant::Need;
use crate::job::{Config, DatabaseTarget, NamedQuery, SecretText, TimeFormat};
use crate::manifest::{Manifest, ParamError};
use crate::name::{TableName, TargetName};
use crate::reference::{self, Part, Reference};
use crate::schedule::Zone;

/// Enough for a plugin to decide on, too little to carry a table away.
const QUERY_MAX_ROWS_DEFAULT: u32 = 1_000;

pub(super) static DATABASE: Shape = Shape {
    keys: &[
        Key {
            name: "url",
            kind: Kind::Parsed(&texts::DATABASE_URL),
            presence: Presence::Required,
            doc: "`postgres://` or `sqlite://`, with a narrow role; passwords only by reference. A pooler before \
                  PostgreSQL must be in session mode: in transaction mode, settings and cancellations would reach \
                  other clients.",
        },
        Key {
            name: "upkeep_url",
            kind: Kind::Parsed(&UPKEEP_URL),
            presence: Presence::Optional,
            doc: "For VACUUM, ANALYZE, REINDEX and backups only: a direct connection as owner or with MAINTAIN. Blank or \
                  absent: `url`.",
        },
        Key {
            name: "protected",
            kind: Kind::List(&Kind::Parsed(&texts::TABLE_NAME)),
            presence: Presence::Default("[]"),
            doc: "Tables in which nothing may be deleted. Reading and upkeep are allowed.",
        },
        Key {
            name: "timezone",
            kind: Kind::Parsed(&texts::ZONE),
            presence: Presence::Default("\"UTC\""),
            doc: "The zone that timestamps without one are read in.",
        },
        Key {
            name: "time_format",
            kind: Kind::OneOf(&texts::TIME_FORMAT),
            presence: Presence::Default("\"text\""),
            doc: "How SQLite columns keep time: `text` (`YYYY-MM-DD HH:MM:SS`, UTC), `iso` (`...T...Z`), `epoch` \
                  (seconds) or `epoch-ms`.",
        },
        Key {
            name: "queries",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&QUERY),
            },
            presence: Presence::Optional,
            doc: "Named queries: SQL that plugins may call by name and not change.",
        },
        Key {
            name: "data_directory_free",
            kind: Kind::Parsed(&DATA_DIRECTORY),
            presence: Presence::Optional,
            doc: "`directory.NAME`: a directory on the file system that holds the server's data, as this machine sees it. Its \
                  free space is the proof that VACUUM FULL has room; without one it is refused.",
        },
        Key {
            name: "scratch",
            kind: Kind::Boolean,
            presence: Presence::Default("false"),
            doc: "Holds nothing that anybody needs: backups may be restored into it when it is empty, and it is emptied again.",
        },
        Key {
            name: "tenants",
            kind: Kind::Later,
            presence: Presence::Optional,
            doc: "",
        },
    ],
};

/// As `url`, and it may be blank.
static UPKEEP_URL: super::shape::Parsed = super::shape::Parsed {
    what: "a database URL",
    code: "bad-url",
    pattern: None,
    check: |text| {
        if text.is_empty() {
            Ok(())
        } else {
            super::secret::check_url(text)
        }
    },
};

/// A directory of this configuration.
static DATA_DIRECTORY: super::shape::Parsed = super::shape::Parsed {
    what: "a directory",
    code: "bad-value",
    pattern: Some("^directory\\..+$"),
    check: |text| match text.strip_prefix("directory.").map(str::parse::<TargetName>) {
        Some(Ok(_)) => Ok(()),
        _ => Err(super::shape::Complaint::new(
            format!("`{text}` is not the name of a directory"),
            "write `directory.NAME`, with a section of that name",
        )),
    },
};

static QUERY: Shape = Shape {
    keys: &[
        Key {
            name: "sql",
            kind: Kind::Parsed(&texts::SQL),
            presence: Presence::Required,
            doc: "One statement that only reads, with `$1`, `$2`, ... for its params.",
        },
        Key {
            name: "params",
            kind: Kind::Map {
                key: &texts::PARAM_NAME,
                of: &Kind::OneOf(&texts::QUERY_TYPE),
            },
            presence: Presence::Optional,
            doc: "Names and types (`text`, `integer`, `real`, `boolean`, `timestamp`), in the order of their numbers.",
        },
        Key {
            name: "max_rows",
            kind: Kind::Integer { min: 1, max: 100_000 },
            presence: Presence::Default("1000"),
            doc: "Rows returned at most.",
        },
    ],
};

pub(super) fn read(root: &Node, mistakes: &mut Vec<Diagnostic>) -> BTreeMap<TargetName, DatabaseTarget> {
    let mut databases = BTreeMap::new();
    for entry in root.entries_of("database") {
        let Ok(name) = entry.key.parse::<TargetName>() else {
            continue;
        };
        databases.insert(name, read_one(&entry.node, mistakes));
    }
    databases
}

fn read_one(node: &Node, mistakes: &mut Vec<Diagnostic>) -> DatabaseTarget {
    let url = |key: &str| {
        node.text_of(key)
            .filter(|text| !text.is_empty())
            .map(SecretText::new)
    };
    let zone = node.text_of("timezone").and_then(|text| Zone::parse(text).ok());
    let queries = node.entries_of("queries").iter().filter_map(|entry| {
        let params = entry.node.get("params");
        if let Some(params) = params
            && let Some(sql) = entry.node.text_of("sql")
        {
            check_numbers(sql, params, mistakes);
        }
        Some((entry.key.parse().ok()?, read_query(&entry.node)))
    });
    let queries = queries.collect();
    DatabaseTarget {
        url: url("url").unwrap_or_else(|| SecretText::new("")),
        upkeep_url: url("upkeep_url"),
        protected: node
            .texts_of("protected")
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        timezone: zone.unwrap_or_else(Zone::utc),
        time_format: match node.text_of("time_format") {
            Some("iso") => TimeFormat::Iso,
            Some("epoch") => TimeFormat::Epoch,
            Some("epoch-ms") => TimeFormat::EpochMs,
            _ => TimeFormat::Text,
        },
        queries,
        data_directory_free: node
            .text_of("data_directory_free")
            .and_then(|text| text.strip_prefix("directory.")?.parse().ok()),
        scratch: node.is_true("scratch"),
    }
}

fn read_query(node: &Node) -> NamedQuery {
    let params = node.entries_of("params").iter();
    let max_rows = node
        .integer_of("max_rows")
        .and_then(|rows| u32::try_from(rows).ok());
    NamedQuery {
        sql: node.text_of("sql").unwrap_or_default().to_owned(),
        params: params
            .filter_map(|entry| Some((entry.key.clone(), entry.node.text()?.to_owned())))
            .collect(),
        max_rows: max_rows.unwrap_or(QUERY_MAX_ROWS_DEFAULT),
    }
}

/// A param whose number the statement never mentions is one that an operator got wrong.
fn check_numbers(sql: &str, params: &Node, mistakes: &mut Vec<Diagnostic>) {
    for (place, entry) in params.entries().iter().enumerate() {
        let number = format!("${}", place + 1);
        let mentioned = sql
            .match_indices(&number)
            .any(|(at, _)| !sql[at + number.len()..].starts_with(|c: char| c.is_ascii_digit()));
        if !mentioned {
            mistakes.push(
                Diagnostic::at(
                    "unused-param",
                    entry.key_span.clone(),
                    format!("the query does not mention `{number}`, which is `{}`", entry.key),
                )
                .label("never used")
                .hint("params are numbered in the order that they are written in"),
            );
        }
    }
}

/// What kind of database a URL leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `postgres://`.
    Postgres,
    /// `sqlite://`.
    Sqlite,
}

impl Dialect {
    /// The schema of a table that is named without one.
    pub fn default_schema(self) -> &'static str {
        match self {
            Self::Postgres => "public",
            Self::Sqlite => "main",
        }
    }

    /// The dialect of a URL whose references are unresolved, and whether that is sure. A reference with a default is
    /// taken for its default; another for PostgreSQL.
    fn of(url: &str) -> (Self, bool) {
        match reference::parse(url).unwrap_or_default().first() {
            Some(Part::Text(start)) if start.starts_with("sqlite:") => (Self::Sqlite, true),
            Some(Part::Text(_)) | None => (Self::Postgres, true),
            Some(Part::Reference(Reference::Env {
                default: Some(default),
                ..
            })) => (Self::of(default).0, false),
            Some(Part::Reference(_)) => (Self::Postgres, false),
        }
    }
}

impl DatabaseTarget {
    /// What kind of database it is, as far as its URL tells before its references are resolved.
    pub fn dialect(&self) -> Dialect {
        Dialect::of(self.url.reference()).0
    }

    /// Every way to write the name of `table` that may mean it. Where the dialect is not sure until a reference is
    /// resolved, that is one more: a protected table stays protected either way.
    pub(super) fn spellings(&self, table: &TableName) -> BTreeSet<TableName> {
        let (dialect, sure) = Dialect::of(self.url.reference());
        let schemas: &[Dialect] = if sure {
            &[dialect]
        } else {
            &[Dialect::Postgres, Dialect::Sqlite]
        };
        let schemas = schemas.iter().map(|dialect| dialect.default_schema());
        if !schemas
            .clone()
            .any(|schema| table.schema.as_deref().is_none_or(|found| found == schema))
        {
            return BTreeSet::from([table.clone()]);
        }
        schemas
            .map(|schema| Some(schema.to_owned()))
            .chain([None])
            .map(|schema| TableName {
                schema,
                table: table.table.clone(),
            })
            .collect()
    }
}

impl Config {
    /// The default schema of each database.
    pub fn default_schemas(&self) -> BTreeMap<TargetName, &'static str> {
        self.databases
            .iter()
            .map(|(name, database)| (name.clone(), database.dialect().default_schema()))
            .collect()
    }

    /// The needs of `manifest` with these settled params, in the form that grants are in.
    ///
    /// # Errors
    /// As [`Manifest::needs`].
    pub fn needs(&self, manifest: &Manifest, params: &Json) -> Result<Vec<Need>, Vec<ParamError>> {
        let mut needs = manifest.needs(params)?;
        for need in &mut needs {
            if let Some(database) = need.on.database().and_then(|name| self.databases.get(name)) {
                need.on = need.on.clone().canonical(database.dialect().default_schema());
            }
        }
        Ok(needs)
    }
}
