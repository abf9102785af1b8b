//! Names and ids that validate on construction, so that the rest of the house need not ask again.
//!
//! These are the operator's own names (jobs, targets, plugins) and the ids of runs. Names inside a database are
//! [`TableName`] and plain strings: those are resolved byte for byte in the catalogue, never by a pattern here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name; says what a name looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct NameError {
    /// What was expected, such as `job name`.
    pub what: &'static str,
    /// The text that was found.
    pub text: String,
    /// What a valid one looks like.
    pub rule: &'static str,
}

/// Long enough for any sensible name, short enough for a table of them on a terminal.
const NAME_BYTES_MAX: usize = 64;

const NAME_RULE: &str =
    "use 1 to 64 lower-case letters, digits, `-` and `_`, starting with a letter or a digit";

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                if is_name(&text) {
                    Ok(Self(text))
                } else {
                    Err(NameError { what: $what, text, rule: NAME_RULE })
                }
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a job, as in `[job.NAME]`.
    JobName, "job name"
);
name!(
    /// The name of a round, as in `[round.NAME]`; no job has it.
    RoundName, "round name"
);
name!(
    /// The name of a plugin, as in `plugin = "NAME"`.
    PluginName, "plugin name"
);
name!(
    /// The name of a configured database, directory, storage or named query.
    TargetName, "target name"
);
name!(
    /// The name of a gauge, as in `[gauge.NAME]`.
    GaugeName, "gauge name"
);
name!(
    /// The name of a sink, as in `[sink.NAME.KIND]`.
    SinkName, "sink name"
);

/// A table as the operator names it: `schema.table`, or a bare name in the database's default schema.
///
/// Both parts are kept byte for byte; the adapter resolves them in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    /// None: `public` on PostgreSQL, `main` on SQLite.
    pub schema: Option<String>,
    /// The table itself.
    pub table: String,
}

impl TryFrom<String> for TableName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let (schema, table) = match text.split_once('.') {
            Some((schema, table)) => (Some(schema.to_owned()), table.to_owned()),
            None => (None, text.clone()),
        };
        let plain = |part: &str| !part.is_empty() && !part.contains(['\0', '.', '"', '*']);
        if plain(&table) && schema.as_deref().is_none_or(plain) {
            Ok(Self { schema, table })
        } else {
            Err(NameError {
                what: "table name",
                text,
                rule: "use `table` or `schema.table`",
            })
        }
    }
}

impl FromStr for TableName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// The id of one attempt: ten characters of Crockford's base 32, drawn at random, short enough to be typed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RUN_ID_CHARS: usize = 10;

impl RunId {
    /// An id from 50 bits of `entropy`; the lower bits are used.
    pub fn from_entropy(entropy: u64) -> Self {
        let id = (0..RUN_ID_CHARS)
            .map(|place| {
                char::from(CROCKFORD[usize::try_from((entropy >> (5 * place)) & 31).expect("5 bits")])
            })
            .collect();
        Self(id)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RunId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        if text.len() == RUN_ID_CHARS && text.bytes().all(|b| CROCKFORD.contains(&b)) {
            Ok(Self(text))
        } else {
            Err(NameError {
                what: "run id",
                text,
                rule: "copy one from `sereno runs list`",
            })
        }
    }
}

impl FromStr for RunId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_readable_back_and_use_the_whole_entropy() {
        let low = RunId::from_entropy(0);
        let high = RunId::from_entropy((1 << 50) - 1);
        assert_eq!(low.as_str(), "0000000000");
        assert_eq!(high.as_str(), "zzzzzzzzzz");
        assert_eq!(low.to_string().parse::<RunId>().as_ref(), Ok(&low));
        assert!("short".parse::<RunId>().is_err());
        assert!(
            "ilou000000".parse::<RunId>().is_err(),
            "letters that look like digits are not used"
        );
    }

    #[test]
    fn names_are_refused_with_the_rule() {
        assert!("temp-files".parse::<JobName>().is_ok());
        for bad in ["", "Temp", "a b", "-x", "é", &"x".repeat(65)] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tables_keep_their_bytes() {
        let table: TableName = "Billing.Año Fiscal".parse().expect("two parts");
        assert_eq!(table.schema.as_deref(), Some("Billing"));
        assert_eq!(table.table, "Año Fiscal");
        for bad in ["", ".", "a.", ".b", "a.b.c", "*", "a\"b"] {
            assert!(bad.parse::<TableName>().is_err(), "{bad}");
        }
    }
}
