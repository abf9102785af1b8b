//! What a database tells of itself: sizes, how indexes and statements are used, who is connected, what is at work.
//!
//! Reading only. Everything is answered in pages or up to a number, and what a server does not gather is none.

use async_trait::async_trait;

use super::database::DatabaseError;
use crate::name::TableName;
use crate::value::Instant;

/// A page of a list that may be long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    /// In the order of the walk.
    pub items: Vec<T>,
    /// Where to go on; none: this was the last page.
    pub cursor: Option<String>,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            cursor: None,
        }
    }
}

/// What a table takes, each kind of storage by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSize {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Of its rows, without indexes and out-of-line storage; none where somebody has locked it.
    pub bytes: Option<u64>,
    /// Of its indexes.
    pub index_bytes: Option<u64>,
    /// Of its out-of-line storage, with the index of that.
    pub toast_bytes: Option<u64>,
    /// Estimated live rows.
    pub rows_estimate: Option<u64>,
    /// The partitioned table it belongs to, as `schema.table`.
    pub partition_of: Option<String>,
    /// A partitioned table, which holds no rows itself.
    pub partitioned: bool,
}

/// An index as it is defined and used.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each told by the catalogue"
)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexDetail {
    /// Its name.
    pub index: String,
    /// Its key, in order: names of columns, and expressions in parentheses.
    pub columns: Vec<String>,
    /// How each of them is ordered: operator class, collation, direction.
    pub ordering: Vec<String>,
    /// Columns that it only carries.
    pub included: Vec<String>,
    /// Which rows it has; none: all.
    pub predicate: Option<String>,
    /// `btree`.
    pub method: String,
    /// No two rows alike.
    pub unique: bool,
    /// Of the primary key.
    pub primary: bool,
    /// A constraint or the replica identity stands on it.
    pub constraint: bool,
    /// False after an interrupted build.
    pub valid: bool,
    /// Its size.
    pub bytes: Option<u64>,
    /// Times it was used.
    pub scans: Option<u64>,
    /// When it was last used (PostgreSQL 16).
    pub last_scan: Option<Instant>,
    /// Since when that is counted, at the latest.
    pub counted_since: Option<Instant>,
    /// The statement that makes it.
    pub definition: String,
}

/// A foreign key of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name; empty where the database gives none.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table it refers to, as `schema.table`.
    pub refers_to: String,
    /// An index begins with its columns.
    pub indexed: bool,
}

/// What the server counted for one statement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryStatistics {
    /// Tells it from others, until the server forgets it.
    pub id: String,
    /// Who ran it.
    pub user: Option<String>,
    /// How often it ran.
    pub calls: u64,
    /// All its time.
    pub total_ms: f64,
    /// Rows it answered or changed.
    pub rows: u64,
    /// Blocks found in memory.
    pub blocks_hit: u64,
    /// Blocks that were not.
    pub blocks_read: u64,
    /// Blocks written for sorts and the like.
    pub blocks_temp: u64,
    /// Since when it is counted (PostgreSQL 17).
    pub since: Option<Instant>,
}

/// What the server counted for the statements of a database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Queries {
    /// The ones that took the most time, first.
    pub queries: Vec<QueryStatistics>,
    /// There were more.
    pub capped: bool,
    /// When all counters were last set to 0.
    pub since: Option<Instant>,
    /// How often the server forgot statements for want of room.
    pub deallocated: Option<u64>,
}

/// A connection to the database, of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The number of its process, which may be given again.
    pub pid: i64,
    /// Tells it from another with that number.
    pub started: Instant,
    /// Who.
    pub user: String,
    /// What it calls itself.
    pub application: String,
    /// Its address, `local` for a socket.
    pub client: String,
    /// `active`, `idle`, `idle in transaction`, ...; none: the role may not see it.
    pub state: Option<String>,
    /// Since when it is in that state.
    pub state_changed: Option<Instant>,
    /// Since when its transaction is open.
    pub transaction_started: Option<Instant>,
    /// Since when its statement runs, or ran.
    pub query_started: Option<Instant>,
    /// `SELECT`, `UPDATE`; never the text.
    pub query_kind: Option<String>,
    /// What it waits for: `Lock:transactionid`.
    pub waits_for: Option<String>,
    /// Whose locks it waits for.
    pub blocked_by: Vec<i64>,
    /// Why it is never ended: `a superuser`, `replication`, `a backup tool`; none: it may be.
    pub kept: Option<String>,
}

/// Something at work in the database, or holding it back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// `vacuum`, `index`, `rewrite`: work that reports its progress. `slot`: a replication slot. `horizon`: what keeps dead
    /// rows from being removed.
    pub kind: String,
    /// In words: `vacuum of public.t, scanning heap`.
    pub what: String,
    /// Whose.
    pub pid: Option<i64>,
    /// Since when.
    pub since: Option<Instant>,
    /// How much of it is done, or is held back.
    pub amount: Option<u64>,
    /// Of how much.
    pub of: Option<u64>,
    /// What is counted: `blocks`, `bytes`, `transactions`.
    pub unit: String,
    /// More about it: the state of a slot's WAL.
    pub note: Option<String>,
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndMode {
    /// Only its statement.
    Cancel,
    /// All of it.
    Terminate,
}

/// One connection as it was looked at: it is ended only while it still is that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// Its process.
    pub pid: i64,
    /// When it began.
    pub started: Instant,
    /// When it last changed its state.
    pub state_changed: Option<Instant>,
}

/// What a database tells of itself.
#[async_trait]
pub trait Insight: Send + Sync {
    /// Up to `max` tables with their sizes, partitions by themselves; none of the database's own and none of sereno's.
    async fn sizes(&self, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, DatabaseError>;

    /// The indexes of a table, by name.
    async fn index_details(&self, table: &TableName) -> Result<Vec<IndexDetail>, DatabaseError>;

    /// The foreign keys of a table, by name.
    async fn foreign_keys(&self, table: &TableName) -> Result<Vec<ForeignKey>, DatabaseError>;

    /// Up to `max` statements with what they took, those with the most time first; no text.
    async fn queries(&self, max: u32) -> Result<Queries, DatabaseError>;

    /// The texts of these statements without their literals; those that the server has forgotten are left out.
    async fn query_texts(&self, ids: &[String]) -> Result<Vec<(String, String)>, DatabaseError>;

    /// Up to `max` connections of clients, without our own.
    async fn connections(&self, cursor: Option<&str>, max: u32) -> Result<Part<Connection>, DatabaseError>;

    /// What is at work, and what holds the database back.
    async fn activity(&self) -> Result<Vec<Activity>, DatabaseError>;
}
