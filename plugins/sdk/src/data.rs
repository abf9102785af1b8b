//! What goes to the host and what comes back: filters, values, statistics. None is unknown, never 0.

use crate::Instant;

/// A column's value, or a parameter of a named query.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A boolean.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A double.
    Real(f64),
    /// Text.
    Text(String),
    /// A point in time.
    Instant(Instant),
    /// Something that this contract has no word for yet.
    Other(String),
}

/// How a column is compared. NULL and infinite timestamps never match a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// The column is NULL.
    IsNull,
    /// The column is not NULL.
    IsNotNull,
}

impl Operator {
    /// Its text in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::IsNull => "is-null",
            Self::IsNotNull => "is-not-null",
        }
    }
}

/// One comparison of a column with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The column, byte for byte.
    pub column: String,
    /// The comparison.
    pub op: Operator,
    /// Ignored by the two null tests.
    pub value: Value,
}

/// Which rows: all of the conditions hold. An empty one matches every row, and no changing call accepts it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(pub Vec<Condition>);

impl Filter {
    /// Every row.
    pub const fn all() -> Self {
        Self(Vec::new())
    }

    /// Adds a comparison.
    #[must_use]
    pub fn and(mut self, column: &str, op: Operator, value: Value) -> Self {
        self.0.push(Condition {
            column: column.to_owned(),
            op,
            value,
        });
        self
    }

    /// Adds: the column lies strictly before `cutoff`.
    #[must_use]
    pub fn before(self, column: &str, cutoff: Instant) -> Self {
        self.and(column, Operator::Less, Value::Instant(cutoff))
    }

    /// Adds: the column lies at `from` or after it.
    #[must_use]
    pub fn since(self, column: &str, from: Instant) -> Self {
        self.and(column, Operator::GreaterOrEqual, Value::Instant(from))
    }

    /// Adds: the column is NULL.
    #[must_use]
    pub fn null(self, column: &str) -> Self {
        self.and(column, Operator::IsNull, Value::Null)
    }
}

/// Which files. Start from [`FileFilter::default`], which means every file directly in the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFilter {
    /// Strictly older than this; none: of any age. A removal needs one.
    pub older_than: Option<Instant>,
    /// Which of `mtime`, `ctime`, `btime` count; the newest of them decides. Empty: all three.
    pub age_by: Vec<String>,
    /// Globs over the path below the directory; empty: every file.
    pub include: Vec<String>,
    /// Globs that keep a file, whatever `include` says.
    pub exclude: Vec<String>,
    /// Go into subdirectories.
    pub recursive: bool,
    /// A subdirectory goes whole, when its newest file is old enough, or stays whole.
    pub directory_as_unit: bool,
    /// Subdirectories that a removal leaves empty go too.
    pub remove_emptied: bool,
}

impl FileFilter {
    /// The same files, as far as they are strictly older than `cutoff`.
    #[must_use]
    pub fn older_than(&self, cutoff: Instant) -> Self {
        Self {
            older_than: Some(cutoff),
            ..self.clone()
        }
    }
}

/// The file system that holds a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Its size.
    pub bytes_total: Option<u64>,
    /// Free for the host's user.
    pub bytes_free: Option<u64>,
    /// Inodes there are.
    pub inodes_total: Option<u64>,
    /// Inodes left.
    pub inodes_free: Option<u64>,
}

/// What matches a file filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories that a removal would leave empty.
    pub directories: u64,
    /// The oldest stamp among them.
    pub oldest: Option<Instant>,
    /// The newest stamp among them.
    pub newest: Option<Instant>,
}

/// Files whose stamp is at `from` or later and before the next bucket's `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Where it starts.
    pub from: Instant,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below the directory; names are bytes.
    pub path: Vec<u8>,
    /// Its size.
    pub bytes: u64,
    /// The newest of the stamps that the filter names.
    pub stamp: Instant,
}

/// A page of files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of the walk.
    pub entries: Vec<Entry>,
    /// Where to go on; none when all have been visited.
    pub cursor: Option<String>,
}

/// What a removal did, or in a plan would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// Files removed.
    pub files: u64,
    /// Emptied directories removed.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Matched, but left: no permission, several links, changed meanwhile.
    pub skipped: u64,
    /// Where to go on; none when all have been visited.
    pub cursor: Option<String>,
}

/// An object of a storage, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was published.
    pub modified: Instant,
}

/// A page of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By key, in the order of their bytes.
    pub objects: Vec<Object>,
    /// Where to go on; none when all have been listed.
    pub cursor: Option<String>,
}

/// A part of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPart {
    /// From where it was asked for.
    pub bytes: Vec<u8>,
    /// The size of the whole object.
    pub total: u64,
}

/// A part of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// From the offset on.
    pub bytes: Vec<u8>,
    /// The whole file's size.
    pub total: u64,
}

/// What a compression did, or in a plan would have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compression {
    /// Files compressed.
    pub files: u64,
    /// Their bytes before.
    pub bytes: u64,
    /// And after; in a plan a guess.
    pub bytes_after: u64,
    /// Those that were left, and why: `being-written`, `changed`, `name-taken`, `no-space`, `refused`, `gone`,
    /// `not-matching`.
    pub left: Vec<(Vec<u8>, String)>,
}

/// A table's size and upkeep, as the database's own statistics have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableStatistics {
    /// Of the table, its indexes and its out-of-line storage together.
    pub bytes: Option<u64>,
    /// Of its indexes.
    pub index_bytes: Option<u64>,
    /// Live rows, estimated.
    pub rows_estimate: Option<u64>,
    /// Dead rows, estimated.
    pub dead_rows_estimate: Option<u64>,
    /// Transactions since the oldest row was frozen.
    pub freeze_age: Option<u64>,
    /// By hand or by itself.
    pub last_vacuum: Option<Instant>,
    /// By hand or by itself.
    pub last_analyze: Option<Instant>,
    /// A partitioned parent, which holds no rows itself.
    pub partitioned: bool,
}

/// An index's size and state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexStatistics {
    /// Its name.
    pub index: String,
    /// Its size.
    pub bytes: Option<u64>,
    /// The share of it that is not needed, in percent, estimated.
    pub bloat_percent: Option<f64>,
    /// False after an interrupted build.
    pub valid: bool,
    /// What an interrupted rebuild left behind (`_ccnew`, `_ccold`).
    pub leftover: bool,
}

/// A database's size and connections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseStatistics {
    /// On disk.
    pub bytes: Option<u64>,
    /// Open connections.
    pub connections: Option<u64>,
    /// The most there may be.
    pub connections_limit: Option<u64>,
    /// Bytes inside the file that hold nothing.
    pub free_bytes: Option<u64>,
}

/// What a named query answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// In the order of the columns.
    pub rows: Vec<Vec<Value>>,
    /// More rows matched than the query's cap let through.
    pub capped: bool,
}

/// What one batch of a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteBatch {
    /// Rows deleted.
    pub rows: u64,
    /// Where to go on; none when every row has been visited.
    pub cursor: Option<String>,
    /// Rows that others still held after the final pass; only with the last batch.
    pub locked: u64,
}

/// Where rows go before they are deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Which storage.
    pub storage: String,
    /// What the objects' keys begin with; database, table and run follow.
    pub prefix: String,
}

/// What one piece of upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// False when the database skipped it; `note` says why.
    pub done: bool,
    /// Bytes given back or made reusable.
    pub bytes: Option<u64>,
    /// Why not, or how.
    pub note: Option<String>,
}
/// What an origin answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// 200 and the like.
    pub status: u16,
    /// Names in lower case; only those that say what the body is and when to ask again.
    pub headers: Vec<(String, String)>,
    /// As it came.
    pub body: Vec<u8>,
}
