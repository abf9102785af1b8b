//! Files below one directory.
//!
//! An adapter walks with directory descriptors, follows no link, leaves no file system and touches regular files
//! only. `without` lists filters whose files count as gone already: that is how a plan sees its own removals in
//! flat memory. **Dropping a future stops the walk at the next entry.**

use async_trait::async_trait;

use crate::value::{FileFilter, Instant};

/// Why a directory did not do as asked. Paths are escaped for display.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It is not there.
    #[error("{path} does not exist")]
    NotFound {
        /// Which.
        path: String,
    },
    /// It may not be used: `/`, a database's data, a file.
    #[error("{path} cannot be used as a directory for jobs: {reason}")]
    Unfit {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// The arguments make no sense: a bad glob, a foreign cursor, a name with a slash.
    #[error("{0}")]
    Invalid(String),
    /// The operating system refused.
    #[error("could not {operation} {path}: {source}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
}

/// The file system that holds the directory; none is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Size.
    pub bytes_total: Option<u64>,
    /// Free for this user.
    pub bytes_free: Option<u64>,
    /// Inodes there are; none where the file system has no such count.
    pub inodes_total: Option<u64>,
    /// Inodes left.
    pub inodes_free: Option<u64>,
}

/// What matches a filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories that a removal would leave empty, if the filter asks for those.
    pub directories: u64,
    /// Every regular file below the directory that the walk saw, matching or not.
    pub total: u64,
    /// Oldest stamp among the matches.
    pub oldest: Option<Instant>,
    /// Newest stamp among the matches.
    pub newest: Option<Instant>,
}

/// Files whose stamp is at `from` or later and before the next bucket's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Where it starts.
    pub from: Instant,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A span of time in equal buckets. Earlier files count into the first, later ones into the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where the first bucket starts.
    pub start: Instant,
    /// Where the last ends; later than `start`.
    pub end: Instant,
    /// 1 to 4,096.
    pub buckets: u32,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Below the directory, as bytes.
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
    /// Where to go on; none: all visited.
    pub cursor: Option<String>,
}

/// How much one removal may still take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removal {
    /// Regular files removed.
    pub files: u64,
    /// Emptied directories removed.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Matched, and left: no permission, several links, changed meanwhile.
    pub skipped: u64,
    /// Where to go on; none: all visited, or `exhausted`.
    pub cursor: Option<String>,
    /// The allowance ended before the matches did; nothing beyond it was removed.
    pub exhausted: bool,
}

/// One configured directory. Implementations pass `files::` of the integration tests.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Free and total space.
    async fn usage(&self) -> Result<DiskUsage, FilesError>;

    /// Regular files below the directory by their directory entries alone (an entry of unknown type counts), and
    /// only until there are more than `limit`.
    async fn files_up_to(&self, recursive: bool, limit: u64) -> Result<u64, FilesError>;

    /// Counts what matches.
    async fn summarize(&self, filter: &FileFilter, without: &[FileFilter]) -> Result<Summary, FilesError>;

    /// Sorts what matches by age, in flat memory.
    async fn age_histogram(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        span: Span,
    ) -> Result<Vec<Bucket>, FilesError>;

    /// One page of what matches, at most `max` entries.
    async fn entries(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, FilesError>;

    /// Visits up to `max` entries and removes those that match, looking and removing in one pass, never beyond
    /// `allowance`. Emptied directories go in a pass of their own before the cursor is none.
    async fn remove_batch(
        &self,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError>;

    /// What [`Self::remove_batch`] would do, without doing it; what matches `without` is gone already.
    async fn preview_remove_batch(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError>;

    /// Removes the named files, each only while it still matches.
    async fn remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
    ) -> Result<Removal, FilesError>;

    /// What [`Self::remove`] would do, without doing it.
    async fn preview_remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
    ) -> Result<Removal, FilesError>;
}
