//! Where a purge stopped: an opaque text for everybody else.
//!
//! It holds the last key that was visited, never a row's other columns.

use serde::{Deserialize, Serialize};
use sereno_core::name::TableName;
use sereno_core::ports::database::DatabaseError;

/// The only version there has been.
const VERSION: u32 = 1;

/// One part of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Key {
    /// PostgreSQL writes every type as text.
    Text(String),
    Integer(i64),
    Real(f64),
    /// As hexadecimal digits.
    Blob(String),
}

/// Which pass over the table this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// In the order of the key.
    First,
    /// Once more from the start, for the rows that were locked.
    Final,
}

/// The state of a purge between two batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    version: u32,
    table: String,
    /// The columns walked by; empty for a table without a key.
    by: Vec<String>,
    pub(super) phase: Phase,
    /// The last key visited; none: at the start.
    pub(super) after: Option<Vec<Key>>,
    /// Rows were left behind because they were locked.
    pub(super) skipped: bool,
    /// Rows still locked in the final pass, so far.
    pub(super) locked: u64,
    /// Rows visited, where there is no key to tell.
    pub(super) visited: u64,
}

impl Cursor {
    /// Reads what an earlier batch answered, or starts.
    ///
    /// # Errors
    /// A text that no batch of this purge has answered.
    pub(super) fn read(text: Option<&str>, table: &TableName, by: &[&str]) -> Result<Self, DatabaseError> {
        let start = Self {
            version: VERSION,
            table: table.to_string(),
            by: by.iter().map(|&column| column.to_owned()).collect(),
            phase: Phase::First,
            after: None,
            skipped: false,
            locked: 0,
            visited: 0,
        };
        let Some(text) = text else {
            return Ok(start);
        };
        let foreign = || {
            DatabaseError::Invalid(format!(
                "the cursor was not answered by a batch of this purge of {table}"
            ))
        };
        let cursor: Self = serde_json::from_str(text).map_err(|_| foreign())?;
        let keys_fit = cursor.after.as_ref().is_none_or(|keys| keys.len() == by.len());
        if (cursor.version, &cursor.table, &cursor.by) == (start.version, &start.table, &start.by) && keys_fit
        {
            Ok(cursor)
        } else {
            Err(foreign())
        }
    }

    /// As text.
    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and lists always become JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_a_foreign_one_is_refused() {
        let table: TableName = "user_sessions".parse().expect("a table");
        let mut cursor = Cursor::read(None, &table, &["updated_at", "id"]).expect("the start");
        cursor.after = Some(vec![Key::Text("2026-01-01".to_owned()), Key::Integer(7)]);
        let text = cursor.write();
        assert_eq!(
            Cursor::read(Some(&text), &table, &["updated_at", "id"]).expect("its own"),
            cursor
        );
        let other: TableName = "audit_logs".parse().expect("a table");
        for (foreign, table, by) in [
            ("", &table, ["updated_at", "id"]),
            ("{}", &table, ["updated_at", "id"]),
            (text.as_str(), &other, ["updated_at", "id"]),
            (text.as_str(), &table, ["created_at", "id"]),
        ] {
            assert!(
                matches!(
                    Cursor::read(Some(foreign), table, &by),
                    Err(DatabaseError::Invalid(_))
                ),
                "{foreign}"
            );
        }
    }
}
