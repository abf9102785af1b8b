//! What a database tells of itself: sizes, use of indexes and statements, connections, what is at work. None is unknown,
//! never 0.

use crate::Instant;

/// A page of a list that may be long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    /// In the order of the walk.
    pub items: Vec<T>,
    /// Where to go on; none when all were told.
    pub cursor: Option<String>,
}

/// What a table takes, each kind of storage by itself. Sizes are none where somebody has locked the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSize {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Of its rows, without indexes and out-of-line storage.
    pub bytes: Option<u64>,
    /// Of its indexes.
    pub index_bytes: Option<u64>,
    /// Of its out-of-line storage, with the index of that.
    pub toast_bytes: Option<u64>,
    /// Live rows, estimated.
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
    pub total: Option<u64>,
    /// What is counted: `blocks`, `bytes`, `transactions`.
    pub unit: String,
    /// More about it: the state of a slot's WAL.
    pub note: Option<String>,
}

/// A partition of a table, or what was one until sereno took it out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// Its own name as a table.
    pub name: String,
    /// `attached`, `detaching`, `detached`, `archived`, `gone`.
    pub state: String,
    /// Everything in it lies before; none: it has no such bound.
    pub upper: Option<Instant>,
    /// Why nothing is ever done with it; none: it may go.
    pub kept: Option<String>,
    /// Since when all of it is in an archive.
    pub archived_at: Option<Instant>,
}

/// The partitions of a table, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Why none of them can be detached; none: they can.
    pub obstacle: Option<String>,
    /// All of them.
    pub partitions: Vec<Partition>,
}

/// What a step did with a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionStep {
    /// False: nothing was done, or not to the end; `note` says why.
    pub done: bool,
    /// Its rows.
    pub rows: u64,
    /// Its bytes on disk.
    pub bytes: Option<u64>,
    /// Why not.
    pub note: Option<String>,
}
