//! What a grant or a need is about: a table, a directory, a storage, by its place in the configuration.
//!
//! What may be done there is `verb`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{TableName, TargetName};

/// What a grant or a need is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// `database.D.tables.T`.
    Table(TargetName, TableName),
    /// `database.D.tables."*"`: every table that the grants name, or in a grant every table there is.
    AllTables(TargetName),
    /// `database.D.whole`: sizes and connections of the database itself.
    Whole(TargetName),
    /// `database.D.queries.Q`.
    Query(TargetName, TargetName),
    /// `directory.N`.
    Directory(TargetName),
    /// `origin.N`.
    Origin(TargetName),
    /// `storage.N`.
    Storage(TargetName),
    /// `writer.N`.
    Writer(TargetName),
}

impl Path {
    /// The configured target this path is in, as `database.app` or `directory.temp`.
    pub fn target(&self) -> String {
        match self {
            Self::Table(database, _)
            | Self::AllTables(database)
            | Self::Whole(database)
            | Self::Query(database, _) => {
                format!("database.{database}")
            }
            Self::Directory(name) => format!("directory.{name}"),
            Self::Origin(name) => format!("origin.{name}"),
            Self::Storage(name) => format!("storage.{name}"),
            Self::Writer(name) => format!("writer.{name}"),
        }
    }

    /// The database that it is in.
    pub fn database(&self) -> Option<&TargetName> {
        match self {
            Self::Table(database, _)
            | Self::AllTables(database)
            | Self::Whole(database)
            | Self::Query(database, _) => Some(database),
            Self::Directory(_) | Self::Origin(_) | Self::Storage(_) | Self::Writer(_) => None,
        }
    }

    /// The same path with a table of the default schema named without it: `public.x` and `x` are one table on
    /// PostgreSQL, `main.x` and `x` on SQLite. Grants and needs are held against each other in this form.
    #[must_use]
    pub fn canonical(self, default_schema: &str) -> Self {
        match self {
            Self::Table(
                database,
                TableName {
                    schema: Some(schema),
                    table,
                },
            ) if schema == default_schema => Self::Table(database, TableName { schema: None, table }),
            other => other,
        }
    }

    /// True when a grant on `self` also covers `other`; both are in their canonical form.
    pub fn covers(&self, other: &Self) -> bool {
        self == other
            || match (self, other) {
                (Self::AllTables(mine), Self::Table(theirs, _)) => mine == theirs,
                _ => false,
            }
    }
}

/// A TOML key: bare where TOML allows it, quoted otherwise.
fn key(text: &str) -> String {
    if !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(database, table) => {
                write!(f, "database.{database}.tables.{}", key(&table.to_string()))
            }
            Self::AllTables(database) => write!(f, "database.{database}.tables.\"*\""),
            Self::Whole(database) => write!(f, "database.{database}.whole"),
            Self::Query(database, query) => write!(f, "database.{database}.queries.{query}"),
            Self::Directory(name) => write!(f, "directory.{name}"),
            Self::Origin(name) => write!(f, "origin.{name}"),
            Self::Storage(name) => write!(f, "storage.{name}"),
            Self::Writer(name) => write!(f, "writer.{name}"),
        }
    }
}
