//! A database: typed reads, and changes as data.
//!
//! Every changing verb has a `preview_` twin with the same arguments and result, which must leave the database as
//! it is. `plan::PlannedDatabase` maps one to the other, so that a plan walks the very path of the apply.
//!
//! **Dropping a future cancels the work**: an adapter must reach the server (`pg_cancel_backend`), not only stop
//! waiting for it.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::insight::{Backend, EndMode, Insight};
use super::partition::Partitioned;
use crate::job::NamedQuery;
use crate::name::{RunId, TableName};
use crate::report::Effect;
use crate::value::{Filter, Instant, Value};

/// Why a database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// No connection, or it broke.
    #[error("could not reach the database to {operation}: {reason}")]
    Unreachable {
        /// What was attempted.
        operation: &'static str,
        /// Without the URL.
        reason: String,
    },
    /// Somebody else holds a lock, a deadlock, a serialization failure: a later try may work.
    #[error("{operation} met a lock: {reason}")]
    Busy {
        /// What was attempted.
        operation: &'static str,
        /// The server's words.
        reason: String,
    },
    /// A statement took longer than it may.
    #[error("{operation} took longer than {limit:?}")]
    Timeout {
        /// What was attempted.
        operation: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The table, column, index or query is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// `table public.user_sessions`.
        what: String,
    },
    /// The role may not.
    #[error("the database role may not {operation}: {reason}")]
    Forbidden {
        /// What was attempted.
        operation: &'static str,
        /// The server's words.
        reason: String,
    },
    /// The arguments make no sense: a type that the column has not, an empty filter, a foreign cursor.
    #[error("{0}")]
    Invalid(String),
    /// Another run has taken over; nothing was changed.
    #[error("the lease on {scope} was lost to another run; nothing of this batch was changed")]
    Fenced {
        /// What was leased.
        scope: String,
    },
    /// It is never done, whoever asks: a connection that is kept.
    #[error("{0}")]
    Refused(String),
    /// This database cannot do it (SQLite has no connections to count).
    #[error("{0} is not possible on this database")]
    Unsupported(&'static str),
    /// Anything else the database said.
    #[error("could not {operation}: {reason}")]
    Fault {
        /// What was attempted.
        operation: &'static str,
        /// The server's words.
        reason: String,
    },
}

/// The token that makes a lost lease harmless, checked in the transaction of every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The run that writes.
    pub run: RunId,
    /// Its attempt.
    pub attempt: u32,
    /// What is leased, as a grant path.
    pub scope: String,
    /// Grows with every lease on the scope.
    pub token: i64,
    /// False: there is no `sereno` schema in this database, and the operator knows.
    pub in_database: bool,
}

/// A batch that an adapter recorded beside its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedBatch {
    /// The run that wrote it.
    pub run: RunId,
    /// Its attempt.
    pub attempt: u32,
    /// Counts from 1.
    pub batch: u32,
    /// What was leased, as a grant path.
    pub scope: String,
    /// Rows changed.
    pub rows: u64,
    /// Where it stopped.
    pub cursor: Option<String>,
}

/// Something that must be there before anything runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// The table.
    Table(TableName),
    /// A column of it.
    Column(TableName, String),
    /// An index of it.
    Index(TableName, String),
}

/// Something wanted that is not there, or may not be used, with what is near it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// `column updated_att of table user_sessions`.
    pub what: String,
    /// `did you mean updated_at?`, or the names there are.
    pub hint: String,
}

/// What makes deleting from a table more than deleting from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hazard {
    /// What the guard's `accept` calls it: `trigger:NAME`, `cascade:TABLE`, `row-security`; `trigger:TABLE.NAME` on a table
    /// that follows.
    pub name: String,
    /// One sentence.
    pub text: String,
}

/// A table's own statistics; none is unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableStatistics {
    /// Of table, indexes and out-of-line storage.
    pub bytes: Option<u64>,
    /// Of its indexes.
    pub index_bytes: Option<u64>,
    /// Estimated live rows.
    pub rows_estimate: Option<u64>,
    /// Estimated dead rows.
    pub dead_rows_estimate: Option<u64>,
    /// Transactions since the oldest row was frozen.
    pub freeze_age: Option<u64>,
    /// By hand or by autovacuum.
    pub last_vacuum: Option<Instant>,
    /// By hand or by autovacuum.
    pub last_analyze: Option<Instant>,
    /// A partitioned parent.
    pub partitioned: bool,
}

/// An index's own statistics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexStatistics {
    /// Its name.
    pub index: String,
    /// Its size.
    pub bytes: Option<u64>,
    /// Estimated share that is not needed, in percent.
    pub bloat_percent: Option<f64>,
    /// False after an interrupted build.
    pub valid: bool,
    /// `_ccnew`, `_ccold`.
    pub leftover: bool,
}

/// The database's own statistics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DatabaseStatistics {
    /// On disk.
    pub bytes: Option<u64>,
    /// Open connections.
    pub connections: Option<u64>,
    /// The most there may be.
    pub connections_limit: Option<u64>,
    /// Bytes inside that hold nothing.
    pub free_bytes: Option<u64>,
}

/// What a named query answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Column names.
    pub columns: Vec<String>,
    /// In order of the columns.
    pub rows: Vec<Vec<Value>>,
    /// More matched than the cap let through.
    pub capped: bool,
}

/// A purge: which rows, in what order.
#[derive(Debug, Clone, PartialEq)]
pub struct Purge {
    /// From which table.
    pub table: TableName,
    /// Which rows; never empty.
    pub filter: Filter,
    /// The column that ages; batches follow it when an index does.
    pub order_by: String,
}

/// What a batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteBatch {
    /// Rows deleted.
    pub rows: u64,
    /// Where to go on; none: all visited.
    pub cursor: Option<String>,
    /// Rows still locked after the final pass; only with the last batch.
    pub locked: u64,
}

/// What upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// False: the database skipped it, and `note` says why.
    pub done: bool,
    /// Given back or made reusable.
    pub bytes: Option<u64>,
    /// Why not, or how much was really done.
    pub note: Option<String>,
}

/// One kind of upkeep, on one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpkeepTask {
    /// VACUUM of a table, with ANALYZE or without.
    Vacuum {
        /// The table.
        table: TableName,
        /// Statistics too.
        analyze: bool,
    },
    /// ANALYZE of a table.
    Analyze {
        /// The table.
        table: TableName,
    },
    /// Rewrite of a table, which nobody can read or write meanwhile (before PostgreSQL 19).
    VacuumFull {
        /// The table.
        table: TableName,
    },
    /// Rebuild of an index without blocking writers.
    Reindex {
        /// The index's table.
        table: TableName,
        /// The index.
        index: String,
    },
}

/// Keeps rows before they go.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Keeps `rows`, a JSON object each, which the database records as `batch` of this attempt once they are gone. After an
    /// answer they are kept and were read back; after an error they must not go.
    async fn keep(&self, batch: u32, rows: &[String]) -> Result<(), DatabaseError>;
}

/// One configured database. Implementations pass `database::` of the integration tests.
#[async_trait]
pub trait Database: Insight + Partitioned + Send + Sync {
    /// The database's own clock.
    async fn now(&self) -> Result<Instant, DatabaseError>;

    /// Which of `wanted` are missing, all of them at once.
    async fn missing(&self, wanted: &[Wanted]) -> Result<Vec<Missing>, DatabaseError>;

    /// What the role lacks to run `verbs` on `table` (none: nothing), as sentences with the GRANT to run.
    async fn rights_missing(
        &self,
        table: &TableName,
        verbs: &[crate::grant::Verb],
    ) -> Result<Vec<Missing>, DatabaseError>;

    /// Every table that can be worked on, whole ones only (no partition of another), in the order of their names; none
    /// of the database's own and none of sereno's.
    async fn tables(&self) -> Result<Vec<TableName>, DatabaseError>;

    /// What a delete from `table` would meet or set off: triggers, row security, and every table whose rows would follow,
    /// however far, with what triggers it has for that.
    async fn hazards(&self, table: &TableName) -> Result<Vec<Hazard>, DatabaseError>;

    /// Sizes and connections.
    async fn statistics(&self) -> Result<DatabaseStatistics, DatabaseError>;

    /// Of one table.
    async fn table_statistics(&self, table: &TableName) -> Result<TableStatistics, DatabaseError>;

    /// Of one table's indexes, by name.
    async fn indexes(&self, table: &TableName) -> Result<Vec<IndexStatistics>, DatabaseError>;

    /// Exact: rows that match `filter` and none of `without`.
    async fn count(
        &self,
        table: &TableName,
        filter: &Filter,
        without: &[Filter],
    ) -> Result<u64, DatabaseError>;

    /// Runs the operator's query in a read-only transaction, with row and time caps.
    async fn query(&self, query: &NamedQuery, params: &[Value]) -> Result<Rows, DatabaseError>;

    /// Takes the scope for `fence`: later changes under an older token are refused. Creates what it needs.
    async fn take_fence(&self, fence: &Fence) -> Result<(), DatabaseError>;

    /// The batches that were recorded beside their effects for `run`, in order.
    async fn recorded(&self, run: &RunId) -> Result<Vec<RecordedBatch>, DatabaseError>;

    /// Up to `max` runs whose batches here were all recorded before `before`, the oldest first.
    async fn old_records(&self, _before: Instant, _max: u32) -> Result<Vec<RunId>, DatabaseError> {
        Ok(Vec::new())
    }

    /// Forgets what was recorded for these runs, and answers how many batches that were.
    async fn forget_records(&self, _runs: &[RunId]) -> Result<u64, DatabaseError> {
        Ok(0)
    }

    /// Deletes up to `max` rows in one short transaction with the fence's check and record. After some seconds in which no
    /// row matched it answers none, and the cursor to go on from.
    async fn delete_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError>;

    /// As [`Self::delete_batch`], but the rows are given to `archive` before the transaction ends, and only what it has
    /// kept goes. Needs a fence in the database, whose record is how a batch is known to have gone. A plan keeps nothing.
    async fn archive_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
        archive: &dyn Archive,
    ) -> Result<DeleteBatch, DatabaseError>;

    /// What [`Self::delete_batch`] would do, without doing it; rows that match one of `without` are gone already.
    async fn preview_delete_batch(
        &self,
        purge: &Purge,
        without: &[Filter],
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError>;

    /// Ends one connection or its statement, if it still is what was looked at; never one that is kept.
    async fn end_connection(
        &self,
        backend: &Backend,
        mode: EndMode,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError>;

    /// What [`Self::end_connection`] would do.
    async fn preview_end_connection(
        &self,
        backend: &Backend,
        mode: EndMode,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError>;

    /// Does one upkeep task within `limit`. VACUUM and REINDEX are not begun when their estimate does not fit.
    async fn upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError>;

    /// What [`Self::upkeep`] would do: the same `done` and reasons, bytes estimated.
    async fn preview_upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError>;
}

/// Tells whoever watches that an effect grew. Never blocks.
pub trait Progress: Send + Sync {
    /// `effect` is the sum so far.
    fn effect(&self, effect: &Effect);

    /// The run stands still for `what`.
    fn waiting(&self, what: &str);

    /// An attempt has begun and is in the ledger; a round's comes before those of its steps.
    fn begun(&self, _run: &crate::name::RunId) {}
}
