//! Puts SQL text together out of literals, quoted identifiers from the catalogue and numbered parameters.
//!
//! The only module of sereno that may assert that a text is safe SQL. Whatever comes from a plugin, an event or a
//! row is a parameter; nothing here reads a catalogue or runs a statement.

use std::fmt::Write as _;

use sereno_core::job::NamedQuery;
use sereno_core::value::Instant;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Postgres, Sqlite};

/// A name that a catalogue answered, byte for byte. Quoting it is enough on both databases.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identifier(String);

impl Identifier {
    /// Takes a name as it stands in the catalogue.
    pub(super) fn from_catalogue(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name, unquoted.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, quoted, for a statement that a person is to run.
    pub(super) fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// The name of a type as PostgreSQL's own `format_type` wrote it: qualified and quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TypeName(String);

impl TypeName {
    /// Takes what `format_type` answered.
    pub(super) fn from_catalogue(name: String) -> Self {
        Self(name)
    }

    /// The name as text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A parameter. None is a NULL of that type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Arg {
    Boolean(Option<bool>),
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    /// PostgreSQL only: SQLite has no such type, and its adapter binds what the column keeps.
    Instant(Option<Instant>),
    /// SQLite only.
    Blob(Vec<u8>),
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Integer(Some(i64::from(value)))
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

/// A statement with its parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct Sql {
    text: String,
    args: Vec<Arg>,
}

impl Sql {
    /// Starts with a literal.
    pub(super) fn new(text: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            args: Vec::new(),
        }
    }

    /// Starts with what the operator wrote in the configuration.
    pub(super) fn named(query: &NamedQuery) -> Self {
        Self {
            text: query.sql.trim_end().trim_end_matches(';').to_owned(),
            args: Vec::new(),
        }
    }

    /// Adds a literal.
    pub(super) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a quoted name.
    pub(super) fn name(&mut self, name: &Identifier) -> &mut Self {
        self.text.push_str(&name.quoted());
        self
    }

    /// Adds quoted names with commas between.
    pub(super) fn names<'a>(&mut self, names: impl IntoIterator<Item = &'a Identifier>) -> &mut Self {
        for (place, name) in names.into_iter().enumerate() {
            if place > 0 {
                self.push(", ");
            }
            self.name(name);
        }
        self
    }

    /// Adds a type's name.
    pub(super) fn type_name(&mut self, name: &TypeName) -> &mut Self {
        self.text.push_str(&name.0);
        self
    }

    /// Adds a number, such as the place of a column.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        let _ = write!(self.text, "{number}");
        self
    }

    /// Adds what the operator wrote, on lines of its own so that a closing comment ends with it.
    pub(super) fn operators_own(&mut self, query: &NamedQuery) -> &mut Self {
        self.text.push('\n');
        self.text.push_str(query.sql.trim_end().trim_end_matches(';'));
        self.text.push('\n');
        self
    }

    /// Adds a parameter.
    pub(super) fn bind(&mut self, arg: impl Into<Arg>) -> &mut Self {
        self.args.push(arg.into());
        let _ = write!(self.text, "${}", self.args.len());
        self
    }

    /// Adds another statement, which must have been written with this one's parameters before it: none.
    pub(super) fn append(&mut self, other: Self) -> &mut Self {
        assert!(
            self.args.is_empty(),
            "the parameters of the statement that is added are numbered from 1"
        );
        self.text.push_str(&other.text);
        self.args = other.args;
        self
    }

    /// Adds a parameter's value whose place the operator's own text already names.
    pub(super) fn bind_unwritten(&mut self, arg: Arg) -> &mut Self {
        self.args.push(arg);
        self
    }

    /// For PostgreSQL; never kept prepared, so that it is planned for its parameters and works behind a pooler.
    pub(super) fn postgres(self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one module that puts SQL together"
        )]
        let query = sqlx::query(AssertSqlSafe(self.text)).persistent(false);
        self.args.into_iter().fold(query, |query, arg| match arg {
            Arg::Boolean(value) => query.bind(value),
            Arg::Integer(value) => query.bind(value),
            Arg::Real(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
            Arg::Instant(value) => query.bind(value),
            Arg::Blob(value) => query.bind(value),
        })
    }

    /// For SQLite.
    pub(super) fn sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one module that puts SQL together"
        )]
        let query = sqlx::query(AssertSqlSafe(self.text)).persistent(false);
        self.args.into_iter().fold(query, |query, arg| match arg {
            Arg::Boolean(value) => query.bind(value),
            Arg::Integer(value) => query.bind(value),
            Arg::Real(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
            Arg::Instant(value) => query.bind(value),
            Arg::Blob(value) => query.bind(value),
        })
    }

    /// The text, to prepare it without running it.
    pub(super) fn into_safe_text(self) -> sqlx::SqlStr {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one module that puts SQL together"
        )]
        let text = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(self.text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_name_cannot_end_it() {
        let mut sql = Sql::new("DELETE FROM ");
        sql.name(&Identifier::from_catalogue("a\"; DROP TABLE b; --"));
        assert_eq!(sql.text, "DELETE FROM \"a\"\"; DROP TABLE b; --\"");
    }

    #[test]
    fn parameters_are_numbered_in_order() {
        let mut sql = Sql::new("SELECT ");
        sql.bind(1_i64).push(", ").bind("two");
        assert_eq!(sql.text, "SELECT $1, $2");
        assert_eq!(
            sql.args,
            [Arg::Integer(Some(1)), Arg::Text(Some("two".to_owned()))]
        );
    }
}
