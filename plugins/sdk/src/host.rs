//! What the host can do for a plugin: one trait for each interface of the contract.
//!
//! Take `&mut impl Host`, or only what you use (`&mut (impl Files + Log)`): then the signature shows what the task
//! touches. In a component the implementation calls the host; natively it is [`crate::testing::FakeHost`]. The names
//! given are those of the configuration (`temp`, `app`), never paths or URLs.

use crate::backup::Backups;
use crate::data::{
    Archive, Bucket, Compression, Content, DatabaseStatistics, DeleteBatch, DiskUsage, FileFilter, Filter,
    IndexStatistics, Listing, Object, ObjectPart, Page, Removal, Response, Rows, Summary, TableStatistics,
    Upkeep, Value,
};
use crate::insight::{
    Activity, Connection, ForeignKey, IndexDetail, Part, PartitionStep, Partitions, Queries, TableSize,
};
use crate::{Error, Instant, Measurement};

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to do.
    Debug,
    /// Routine work done.
    Info,
    /// The work shows that something is wrong.
    Warn,
    /// Failed.
    Error,
}

impl Level {
    /// Its text in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Only its statement.
    Cancel,
    /// All of it.
    Terminate,
}

impl End {
    /// Its text in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Terminate => "terminate",
        }
    }
}

/// Lines for the run's log. Always there.
pub trait Log {
    /// Writes one line with its fields.
    fn log(&mut self, level: Level, message: &str, fields: &[(&str, &str)]);
}

/// Numbers kept over time. Always there.
pub trait Measurements {
    /// Keeps one reading.
    fn measure(&mut self, measurement: Measurement);
}

/// Files below one granted directory: regular ones only, no link is followed.
pub trait Files {
    /// The file system that holds the directory.
    fn usage(&mut self, directory: &str) -> Result<DiskUsage, Error>;

    /// Counts what matches.
    fn summarize(&mut self, directory: &str, filter: &FileFilter) -> Result<Summary, Error>;

    /// Sorts what matches into equal spans of time between `start` and `end`. Earlier files count into the first,
    /// later ones into the last.
    fn age_histogram(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        start: Instant,
        end: Instant,
        buckets: u32,
    ) -> Result<Vec<Bucket>, Error>;

    /// One page of what matches, for a decision that only the plugin can take.
    fn entries(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, Error>;

    /// Visits up to `max` entries and removes those that match.
    fn remove_batch(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Removal, Error>;

    /// Removes the named files, each only while it still matches.
    fn remove(&mut self, directory: &str, paths: &[Vec<u8>], filter: &FileFilter) -> Result<Removal, Error>;

    /// Up to `max` bytes of one file; none at its end.
    fn read_content(&mut self, directory: &str, path: &[u8], offset: u64, max: u32)
    -> Result<Content, Error>;

    /// Gives a file another path; never replaces one.
    fn rename(&mut self, directory: &str, from: &[u8], to: &[u8]) -> Result<(), Error>;

    /// Puts `NAME.gz` in the place of each named file that matches and that nobody has open for writing.
    fn compress(
        &mut self,
        directory: &str,
        paths: &[Vec<u8>],
        filter: &FileFilter,
    ) -> Result<Compression, Error>;

    /// Copies a file to a free path and empties it. What is written between the two is lost.
    fn copy_truncate(&mut self, directory: &str, from: &[u8], to: &[u8]) -> Result<(), Error>;
}

/// Typed reads and the operator's named queries.
pub trait DatabaseRead {
    /// The tables that this job was granted `verb` on, in order of name.
    fn granted_tables(&mut self, database: &str, verb: &str) -> Result<Vec<String>, Error>;

    /// Size and connections.
    fn database_statistics(&mut self, database: &str) -> Result<DatabaseStatistics, Error>;

    /// Up to `max` (at most 500) tables with their sizes, partitions by themselves.
    fn tables(&mut self, database: &str, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, Error>;

    /// One table's size and upkeep.
    fn table_statistics(&mut self, database: &str, table: &str) -> Result<TableStatistics, Error>;

    /// One table's indexes.
    fn indexes(&mut self, database: &str, table: &str) -> Result<Vec<IndexStatistics>, Error>;

    /// Counts rows exactly, with a time cap of the host's.
    fn count(&mut self, database: &str, table: &str, filter: &Filter) -> Result<u64, Error>;

    /// Runs the operator's query `name` with `params` in the order that the configuration names them.
    fn query(&mut self, database: &str, name: &str, params: &[Value]) -> Result<Rows, Error>;

    /// One table's indexes with their definition and use.
    fn index_details(&mut self, database: &str, table: &str) -> Result<Vec<IndexDetail>, Error>;

    /// One table's foreign keys.
    fn foreign_keys(&mut self, database: &str, table: &str) -> Result<Vec<ForeignKey>, Error>;

    /// Up to `max` (at most 5,000) statements with what they took. [`Error::NotFound`] where nothing counts them.
    fn slow_queries(&mut self, database: &str, max: u32) -> Result<Queries, Error>;

    /// The texts of up to 50 statements without their literals, by id.
    fn query_texts(&mut self, database: &str, ids: &[String]) -> Result<Vec<(String, String)>, Error>;

    /// Up to `max` (at most 500) connections of clients.
    fn connections(
        &mut self,
        database: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Part<Connection>, Error>;

    /// The partitions of a table, with those that sereno has detached and not yet dropped.
    fn partitions(&mut self, database: &str, table: &str) -> Result<Partitions, Error>;

    /// What is at work, and what holds the database back.
    fn activities(&mut self, database: &str) -> Result<Vec<Activity>, Error>;
}

/// Changes to rows and to partitions.
pub trait DatabaseWrite {
    /// Deletes up to `max` rows that match, in the order of `order_by`, the column that ages.
    fn delete_batch(
        &mut self,
        database: &str,
        table: &str,
        filter: &Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<DeleteBatch, Error>;

    /// The same, and every row is kept in `archive` before it goes.
    #[expect(clippy::too_many_arguments, reason = "the contract's own")]
    fn archive_batch(
        &mut self,
        database: &str,
        table: &str,
        filter: &Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
        archive: &Archive,
    ) -> Result<DeleteBatch, Error>;

    /// Takes a partition that ends at `before` or earlier out of its table, beside readers and writers.
    fn detach_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        before: Instant,
    ) -> Result<PartitionStep, Error>;

    /// Keeps all rows of a detached partition in `archive`.
    fn archive_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        archive: &Archive,
    ) -> Result<PartitionStep, Error>;

    /// Drops a partition that has been in the archive since before `archived_before`, if nothing of it has changed.
    fn drop_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        archived_before: Instant,
        storage: &str,
    ) -> Result<PartitionStep, Error>;
}

/// Upkeep of tables and indexes.
pub trait DatabaseUpkeep {
    /// VACUUM of one table, with ANALYZE or without, for at most `max_ms`.
    fn vacuum(&mut self, database: &str, table: &str, analyze: bool, max_ms: u64) -> Result<Upkeep, Error>;

    /// ANALYZE of one table.
    fn analyze(&mut self, database: &str, table: &str, max_ms: u64) -> Result<Upkeep, Error>;

    /// Rebuilds one index without blocking writers.
    fn reindex(&mut self, database: &str, table: &str, index: &str, max_ms: u64) -> Result<Upkeep, Error>;

    /// Rewrites one table, which nobody can use meanwhile, with the operator's consent and room on the disk.
    fn vacuum_full(&mut self, database: &str, table: &str, max_ms: u64) -> Result<Upkeep, Error>;

    /// Ends one connection, or only its statement, while it still is what was told.
    fn terminate(&mut self, database: &str, connection: &Connection, mode: End) -> Result<Upkeep, Error>;
}

/// Requests to granted origins of the web. Paths start with a slash; where they lead is the operator's.
pub trait Http {
    /// Reads what is at `path`.
    fn get(&mut self, origin: &str, path: &str, headers: &[(&str, &str)]) -> Result<Response, Error>;

    /// Sends `body` to `path`.
    fn post(
        &mut self,
        origin: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, Error>;
}

/// Whole objects in granted storages. An object is published whole, and never changed.
pub trait Storage {
    /// Up to `max` objects whose keys begin with `prefix`, which need not end at a slash.
    fn list_objects(
        &mut self,
        storage: &str,
        prefix: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Listing, Error>;

    /// Size and age of an object; none when it is not there.
    fn object(&mut self, storage: &str, key: &str) -> Result<Option<Object>, Error>;

    /// Up to `max` bytes, and never more than 1 MiB, from byte `from` on.
    fn read_object(&mut self, storage: &str, key: &str, from: u64, max: u32) -> Result<ObjectPart, Error>;

    /// Puts a new object. A key that is taken is an error, and its object stays.
    fn put_object(&mut self, storage: &str, key: &str, content: &[u8]) -> Result<Object, Error>;

    /// Removes an object, if the guards let it; false when it is not there.
    fn remove_object(&mut self, storage: &str, key: &str) -> Result<bool, Error>;
}

/// Programs that keep files open, and can be told to open them anew.
pub trait NotifyWriter {
    /// How the writer would be told now. [`Error::NotFound`]: it does not run. [`Error::Fault`]: it would not be told.
    fn look(&mut self, writer: &str) -> Result<String, Error>;

    /// Tells it, and answers how.
    fn notify(&mut self, writer: &str) -> Result<String, Error>;
}

/// All of it. A component imports only what its plugin calls.
pub trait Host:
    Log
    + Measurements
    + Files
    + DatabaseRead
    + DatabaseWrite
    + DatabaseUpkeep
    + Http
    + Storage
    + NotifyWriter
    + Backups
{
}

impl<H> Host for H where
    H: Log
        + Measurements
        + Files
        + DatabaseRead
        + DatabaseWrite
        + DatabaseUpkeep
        + Http
        + Storage
        + NotifyWriter
        + Backups
{
}
