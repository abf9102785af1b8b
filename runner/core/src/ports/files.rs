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
    /// Something is there already, and nothing is ever replaced.
    #[error("{path} is there already, and no file is ever replaced")]
    Taken {
        /// What.
        path: String,
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
    /// What is used and what is free; blocks that are kept for root are neither.
    pub bytes_total: Option<u64>,
    /// Free for this user.
    pub bytes_free: Option<u64>,
    /// Inodes there are; none where the file system has no such count.
    pub inodes_total: Option<u64>,
    /// Inodes left.
    pub inodes_free: Option<u64>,
    /// Which file system it is: directories with the same share its room.
    pub device: Option<u64>,
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

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// From the offset on; none at the end.
    pub bytes: Vec<u8>,
    /// The whole file's size.
    pub total: u64,
}

/// A file that stands under a new path, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its new path below the directory.
    pub to: Vec<u8>,
    /// Its size.
    pub bytes: u64,
    /// Last write.
    pub mtime: Instant,
    /// Last change of the inode.
    pub ctime: Instant,
    /// Birth, if the file system knows.
    pub btime: Option<Instant>,
}

/// Why a named file was left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// It is not there.
    Gone,
    /// It does not match, has several names, or is compressed already.
    NotMatching,
    /// Somebody has it open for writing.
    BeingWritten,
    /// It changed while it was being worked on.
    Changed,
    /// Another file has the name that it would get.
    NameTaken,
    /// The file system is full.
    NoSpace,
    /// The system refused.
    Refused,
}

impl Left {
    /// As the contract has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::NotMatching => "not-matching",
            Self::BeingWritten => "being-written",
            Self::Changed => "changed",
            Self::NameTaken => "name-taken",
            Self::NoSpace => "no-space",
            Self::Refused => "refused",
        }
    }
}

/// A file that was compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compressed {
    /// Its path.
    pub from: Vec<u8>,
    /// Its size.
    pub bytes: u64,
    /// What stands in its place; of a preview with a guessed size.
    pub to: Moved,
}

/// What a compression did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compression {
    /// Those that went.
    pub done: Vec<Compressed>,
    /// Those that were left, and why.
    pub left: Vec<(Vec<u8>, Left)>,
    /// The allowance ended before the files did.
    pub exhausted: bool,
}

impl Compression {
    /// Bytes of the files that went.
    pub fn bytes(&self) -> u64 {
        self.done.iter().map(|file| file.bytes).sum()
    }

    /// Bytes of what stands in their place.
    pub fn bytes_after(&self) -> u64 {
        self.done.iter().map(|file| file.to.bytes).sum()
    }
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

    /// At most `max` bytes of one regular file with one name.
    async fn read_content(&self, _path: &[u8], _offset: u64, _max: u32) -> Result<Content, FilesError> {
        not_offered()
    }

    /// Gives a file another path, and never replaces one.
    async fn rename(&self, _from: &[u8], _to: &[u8]) -> Result<Moved, FilesError> {
        not_offered()
    }

    /// What [`Self::rename`] would do; what matches `without` is gone already.
    async fn preview_rename(
        &self,
        _from: &[u8],
        _to: &[u8],
        _without: &[FileFilter],
    ) -> Result<Moved, FilesError> {
        not_offered()
    }

    /// Puts a compressed file in the place of each of the named files that matches and that nobody has open for
    /// writing. The original goes when its copy was read back, compared and kept.
    async fn compress(
        &self,
        _paths: &[Vec<u8>],
        _filter: &FileFilter,
        _allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        not_offered()
    }

    /// What [`Self::compress`] would do, with sizes guessed from samples.
    async fn preview_compress(
        &self,
        _paths: &[Vec<u8>],
        _filter: &FileFilter,
        _without: &[FileFilter],
        _allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        not_offered()
    }

    /// Copies a file to a free path and empties it.
    async fn copy_truncate(&self, _from: &[u8], _to: &[u8]) -> Result<Moved, FilesError> {
        not_offered()
    }
}

/// What a directory answers whose files are only counted and removed.
fn not_offered<T>() -> Result<T, FilesError> {
    Err(FilesError::Invalid(
        "files in this directory can only be counted and removed".to_owned(),
    ))
}
