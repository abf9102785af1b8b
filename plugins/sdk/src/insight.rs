//! What a database tells of itself as a whole: the sizes of all its tables. None is unknown, never 0.

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
