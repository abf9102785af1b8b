//! Values, conditions and filters: how a plugin says which rows or files it means, as data.
//!
//! No SQL and no globbing is done here; adapters give these their meaning, and the conformance suites hold all
//! adapters to the same one.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A point in time, always UTC.
pub type Instant = DateTime<Utc>;

/// `2026-11-17 02:30 UTC`, with seconds only where there are some.
pub fn show_instant(at: Instant) -> String {
    let plain = at.format("%Y-%m-%d %H:%M").to_string();
    if at.timestamp() % 60 == 0 && at.timestamp_subsec_micros() == 0 {
        format!("{plain} UTC")
    } else {
        format!("{} UTC", at.format("%Y-%m-%d %H:%M:%S%.f"))
    }
}

/// RFC 3339 with microseconds only when needed, for keys and machine output.
pub fn rfc3339(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A column's value, or a parameter of a named query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A boolean.
    Boolean(bool),
    /// A 64-bit integer.
    Integer(i64),
    /// A double.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// A point in time.
    Instant(Instant),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "'{}'", value.escape_debug()),
            Self::Instant(value) => f.write_str(&show_instant(*value)),
        }
    }
}

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// Equal.
    #[serde(rename = "=")]
    Equal,
    /// Not equal; NULL does not match.
    #[serde(rename = "!=")]
    NotEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Greater.
    #[serde(rename = ">")]
    Greater,
    /// Greater or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
    /// The column is NULL.
    #[serde(rename = "is-null")]
    IsNull,
    /// The column is not NULL.
    #[serde(rename = "is-not-null")]
    IsNotNull,
}

impl Operator {
    /// Every operator with its text, as the contract and the configuration write it.
    pub const ALL: [(&'static str, Self); 8] = [
        ("=", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
        ("is-null", Self::IsNull),
        ("is-not-null", Self::IsNotNull),
    ];

    /// The operator that `text` names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, operator)| operator)
    }

    /// Its text.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, operator)| *operator == self)
            .map_or("?", |(name, _)| name)
    }
}

/// One comparison of a column with a value. NULL and infinite timestamps never match a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The column, byte for byte.
    pub column: String,
    /// The comparison.
    pub op: Operator,
    /// Ignored by the two null tests.
    pub value: Value,
}

/// A conjunction of conditions. Empty matches every row; no changing call accepts an empty one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter(pub Vec<Condition>);

impl Filter {
    /// The latest point in time that a `<` or `<=` on `column` lets through: the cutoff of a purge.
    pub fn cutoff(&self, column: &str) -> Option<Instant> {
        self.0
            .iter()
            .filter(|c| c.column == column && matches!(c.op, Operator::Less | Operator::LessOrEqual))
            .filter_map(|c| match &c.value {
                Value::Instant(at) => Some(*at),
                _ => None,
            })
            .min()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, condition) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            match (condition.op, &condition.value) {
                (Operator::IsNull, _) => write!(f, "{} is NULL", condition.column)?,
                (Operator::IsNotNull, _) => write!(f, "{} is not NULL", condition.column)?,
                (Operator::Less, Value::Instant(at)) => {
                    write!(f, "{} before {}", condition.column, show_instant(*at))?;
                }
                (op, value) => write!(f, "{} {} {value}", condition.column, op.as_str())?,
            }
        }
        Ok(())
    }
}

/// Which stamps of a file say how old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stamp {
    /// Last write.
    Mtime,
    /// Last change of the inode: writes, renames, modes, links.
    Ctime,
    /// Birth; where the file system has none it does not count.
    Btime,
}

impl Stamp {
    /// Every stamp with its text.
    pub const ALL: [(&'static str, Self); 3] = [
        ("mtime", Self::Mtime),
        ("ctime", Self::Ctime),
        ("btime", Self::Btime),
    ];

    /// The stamp that `text` names.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, stamp)| stamp)
    }
}

/// Which files are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFilter {
    /// Strictly older than this; none: any age.
    pub older_than: Option<Instant>,
    /// The newest of these decides; empty: all three.
    pub age_by: Vec<Stamp>,
    /// Globs over the path below the directory; empty: every file.
    pub include: Vec<String>,
    /// Globs that keep a file whatever `include` says.
    pub exclude: Vec<String>,
    /// Go into subdirectories.
    pub recursive: bool,
    /// A subdirectory goes whole, when its newest file is old enough, or stays whole.
    pub directory_as_unit: bool,
    /// Subdirectories that the removal leaves empty go too.
    pub remove_emptied: bool,
}

impl fmt::Display for FileFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.older_than {
            Some(cutoff) => write!(f, "older than {}", show_instant(cutoff))?,
            None => f.write_str("of any age")?,
        }
        if !self.include.is_empty() {
            write!(f, ", {}", self.include.join(" "))?;
        }
        if !self.exclude.is_empty() {
            write!(f, ", not {}", self.exclude.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("a timestamp")
    }

    #[test]
    fn a_filter_reads_as_a_sentence() {
        let filter = Filter(vec![
            Condition {
                column: "created_at".into(),
                op: Operator::Less,
                value: Value::Instant(at("2026-10-25T02:30:00Z")),
            },
            Condition {
                column: "status".into(),
                op: Operator::Equal,
                value: Value::Text("sent".into()),
            },
        ]);
        assert_eq!(
            filter.to_string(),
            "created_at before 2026-10-25 02:30 UTC, status = 'sent'"
        );
        assert_eq!(filter.cutoff("created_at"), Some(at("2026-10-25T02:30:00Z")));
        assert_eq!(filter.cutoff("status"), None);
    }

    #[test]
    fn operators_are_read_back_as_they_are_written() {
        for (text, operator) in Operator::ALL {
            assert_eq!(Operator::parse(text), Some(operator));
            assert_eq!(operator.as_str(), text);
        }
        assert_eq!(Operator::parse("like"), None);
    }
}
