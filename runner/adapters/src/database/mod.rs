//! Databases: the port of core for PostgreSQL and for SQLite, with one meaning, held by one conformance suite.
//!
//! Nothing is opened before the first call. No SQL comes from a plugin: it is put together in `sql` out of names that
//! the catalogue knows and of parameters.

mod cursor;
pub(crate) mod dump;
mod estimate;
mod fault;
pub mod look;
mod near;
mod pace;
mod params;
mod postgres;
mod redact;
pub mod roles;
mod sql;
mod sqlite;
mod take;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use sereno_core::job::TimeFormat;
use sereno_core::ports::database::{Database, DatabaseError};
use sereno_core::schedule::Zone;
use sereno_core::value::{Filter, Value};

/// How a configured database is reached and read.
#[derive(Clone)]
pub struct Options {
    /// `postgres://…`, `sqlite://path` or `sqlite::memory:`, secrets resolved.
    pub url: String,
    /// For upkeep only; none: `url`. SQLite has no other way in and ignores it.
    pub upkeep_url: Option<String>,
    /// The zone that PostgreSQL's timestamps without one are read in.
    pub timezone: Zone,
    /// How SQLite's columns keep time.
    pub time_format: TimeFormat,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timezone", &self.timezone)
            .field("time_format", &self.time_format)
            .finish_non_exhaustive()
    }
}

/// The database behind a URL, not yet connected.
///
/// # Errors
/// A URL of another kind, or one that makes no sense.
pub fn open(options: &Options) -> Result<Arc<dyn Database>, DatabaseError> {
    match options.url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => Ok(Arc::new(postgres::Postgres::new(options)?)),
        Some("sqlite") => Ok(Arc::new(sqlite::Sqlite::new(options)?)),
        _ => Err(DatabaseError::Invalid(
            "a database's URL starts with `postgres://` or `sqlite://`".to_owned(),
        )),
    }
}

/// Refuses the filter that matches every row.
fn refuse_empty(filter: &Filter) -> Result<(), DatabaseError> {
    if filter.0.is_empty() {
        return Err(DatabaseError::Invalid(
            "a filter without a condition matches every row; name at least one".to_owned(),
        ));
    }
    Ok(())
}

/// Without a record nobody could tell later whether rows that are archived are gone.
fn no_record() -> DatabaseError {
    DatabaseError::Invalid("rows are archived only where each batch is recorded beside its effect".to_owned())
}

/// What a named query may answer in bytes; one page of the contract.
const QUERY_BYTES_MAX: usize = 1 << 20;

/// About what a row of a named query takes.
fn size(row: &[Value]) -> usize {
    row.iter()
        .map(|value| match value {
            Value::Text(text) => text.len(),
            _ => std::mem::size_of::<u64>(),
        })
        .sum()
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
}
