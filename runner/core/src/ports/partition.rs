//! Partitions of a table: what they are, and how the old ones leave it: detached, kept, dropped.
//!
//! Only a partition that sereno itself has detached is ever kept or dropped: the database has a record of it. A database without
//! partitions answers that it has none.

use std::time::Duration;

use async_trait::async_trait;

use super::database::{DatabaseError, Fence};
use crate::name::TableName;
use crate::value::Instant;

/// How far a partition is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionState {
    /// Part of its table.
    Attached,
    /// A detach was begun and not finished: queries no longer see it.
    Detaching,
    /// A table by itself, whose rows are kept nowhere else yet.
    Detached,
    /// A table by itself, whose rows are in an archive too.
    Archived,
    /// Recorded, and no longer there: whoever dropped it could not say so.
    Gone,
}

impl PartitionState {
    /// Its word in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::Detached => "detached",
            Self::Archived => "archived",
            Self::Gone => "gone",
        }
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its own name as a table.
    pub name: TableName,
    /// How far it is.
    pub state: PartitionState,
    /// Everything in it lies before; none: it has no such bound.
    pub upper: Option<Instant>,
    /// Why nothing is ever done with it; none: it may go.
    pub kept: Option<String>,
    /// Since when it is in the archive.
    pub archived_at: Option<Instant>,
    /// Where the archive says what is in it.
    pub manifest: Option<String>,
}

/// The partitions of one table, the oldest first, and what was one and is on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partitions {
    /// Why none of them can be detached.
    pub obstacle: Option<String>,
    /// All of them.
    pub partitions: Vec<Partition>,
}

/// What a step did with a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionStep {
    /// False: nothing was done, or not to the end; `note` says why.
    pub done: bool,
    /// Rows of the partition.
    pub rows: u64,
    /// Its bytes on disk.
    pub bytes: Option<u64>,
    /// Why not.
    pub note: Option<String>,
}

impl PartitionStep {
    /// Nothing was done.
    pub fn not_done(note: impl Into<String>) -> Self {
        Self {
            note: Some(note.into()),
            ..Self::default()
        }
    }
}

/// Keeps a whole table in parts.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// Keeps `rows`, a JSON object each, as the next part. After an answer they are kept and were read back.
    async fn part(&self, rows: &[String]) -> Result<(), DatabaseError>;

    /// The parts are all there is, `rows` together: says so beside them, and answers where.
    async fn finish(&self, rows: u64) -> Result<String, DatabaseError>;
}

/// What a database does with partitions. Each changing verb has its `preview_` twin, and each may be asked again after a host
/// that died: it goes on from what it finds.
#[async_trait]
pub trait Partitioned: Send + Sync {
    /// The partitions of `table`, and those that left it by sereno and are still on their way.
    async fn partitions(&self, _table: &TableName) -> Result<Partitions, DatabaseError> {
        Err(UNSUPPORTED)
    }

    /// Takes a partition that ends at `before` or earlier out of its table, and records that. Nobody waits for it longer than
    /// for a moment; what it cannot finish is `Detaching`.
    async fn detach_partition(
        &self,
        _table: &TableName,
        _partition: &TableName,
        _before: Instant,
        _limit: Duration,
        _fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        Err(UNSUPPORTED)
    }

    /// What [`Self::detach_partition`] would do, with an exact count of the rows.
    async fn preview_detach_partition(
        &self,
        _table: &TableName,
        _partition: &TableName,
        _before: Instant,
        _limit: Duration,
        _fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        Err(UNSUPPORTED)
    }

    /// Gives all rows of a detached partition to `shelf`, and records that they are kept and what they were.
    async fn archive_partition(
        &self,
        _table: &TableName,
        _partition: &TableName,
        _limit: Duration,
        _fence: &Fence,
        _shelf: &dyn Shelf,
    ) -> Result<PartitionStep, DatabaseError> {
        Err(UNSUPPORTED)
    }

    /// What [`Self::archive_partition`] would do; `detached` is a partition that the plan has detached.
    async fn preview_archive_partition(
        &self,
        _table: &TableName,
        _partition: &TableName,
        _limit: Duration,
        _detached: bool,
    ) -> Result<PartitionStep, DatabaseError> {
        Err(UNSUPPORTED)
    }

    /// Drops an archived partition, if it still has exactly what was archived.
    async fn drop_partition(
        &self,
        _table: &TableName,
        _partition: &TableName,
        _limit: Duration,
        _fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        Err(UNSUPPORTED)
    }

    /// What [`Self::drop_partition`] would do.
    async fn preview_drop_partition(
        &self,
        _table: &TableName,
        _partition: &TableName,
        _limit: Duration,
        _fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        Err(UNSUPPORTED)
    }
}

const UNSUPPORTED: DatabaseError = DatabaseError::Unsupported("work on partitions");
