//! What a database tells of itself as a whole: the sizes of all its tables.
//!
//! Reading only. Everything is answered in pages or up to a number, and what a server does not gather is none.

use async_trait::async_trait;

use super::database::DatabaseError;

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

/// What a database tells of itself.
#[async_trait]
pub trait Insight: Send + Sync {
    /// Up to `max` tables with their sizes, partitions by themselves; none of the database's own and none of sereno's.
    async fn sizes(&self, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, DatabaseError>;
}
