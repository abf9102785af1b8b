//! What a walk needs of a file system, so that the twin in memory walks by the same rules as the real one.
//!
//! Every call names an entry by its last name below a directory that is already held; there is no path to resolve.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;

use chrono::{DateTime, Utc};
use sereno_core::ports::files::DiskUsage;
use sereno_core::value::Instant;

/// A stamp: seconds since 1970, and nanoseconds on top. Ordered as times are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) i64, pub(super) u32);

impl Time {
    /// As the contract has it; a stamp beyond the calendar is its nearest end.
    pub(super) fn instant(self) -> Instant {
        DateTime::from_timestamp(self.0, self.1).unwrap_or(if self.0 < 0 {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        })
    }
}

impl From<Instant> for Time {
    fn from(at: Instant) -> Self {
        Self(at.timestamp(), at.timestamp_subsec_nanos())
    }
}

/// What an entry is, as far as its directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A link, a device, a socket, a pipe.
    Other,
    /// The file system does not say: a stat will.
    Unknown,
}

/// One entry's inode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    pub(super) kind: Kind,
    /// Tells a file from another of the same name.
    pub(super) inode: u64,
    pub(super) bytes: u64,
    pub(super) links: u64,
    pub(super) owner: u32,
    pub(super) sticky: bool,
    /// Immutable, append-only, or the root of a mount: no unlink will take it.
    pub(super) pinned: bool,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
    pub(super) btime: Option<Time>,
}

/// Whose entries of a directory this process may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    None,
    /// In a sticky directory of somebody else: only what this user owns.
    OwnedBy(u32),
    All,
}

impl Rights {
    pub(super) fn cover(self, stat: &Stat) -> bool {
        !stat.pinned
            && match self {
                Self::None => false,
                Self::OwnedBy(user) => user == stat.owner,
                Self::All => true,
            }
    }
}

/// What came of entering a subdirectory.
pub(super) enum Entered<D> {
    Inside(D),
    /// Gone, or no directory any more.
    Gone,
    /// Another file system, a mount point, a link.
    Apart,
    /// It holds a database's data.
    Sealed,
    Refused(io::Error),
}

/// Names worth waking a thread for: about a hundred.
const SHARED_FROM_BYTES: usize = 2 << 10;

/// The entries that were read and not visited yet: a kind, which is no NUL, and a name that ends in NUL, one after the
/// other.
#[derive(Debug, Default)]
pub(super) struct Names {
    packed: Vec<u8>,
    at: usize,
}

impl Names {
    const KINDS: [Kind; 4] = [Kind::File, Kind::Directory, Kind::Other, Kind::Unknown];

    pub(super) fn push(&mut self, kind: Kind, name: &CStr) {
        self.packed.push(kind as u8 + 1);
        self.packed.extend_from_slice(name.to_bytes_with_nul());
    }

    pub(super) fn clear(&mut self) {
        self.packed.clear();
        self.at = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.packed.len()
    }

    /// The next entry; its name with the NUL.
    pub(super) fn next(&mut self) -> Option<(Kind, &[u8])> {
        let (kind, rest) = self.packed.get(self.at..)?.split_first()?;
        let name = CStr::from_bytes_until_nul(rest).ok()?.to_bytes_with_nul();
        self.at += 1 + name.len();
        Some((Self::KINDS[usize::from(*kind - 1)], name))
    }

    /// Cuts the second half off; none when it is all too few to share.
    pub(super) fn split(&mut self) -> Option<Self> {
        let left = self.packed.len().checked_sub(self.at)?;
        if left < SHARED_FROM_BYTES {
            return None;
        }
        let middle = self.at + left / 2;
        let end = self.packed[middle..].iter().position(|byte| *byte == 0)?;
        let packed = self.packed.split_off(middle + end + 1);
        Some(Self { packed, at: 0 })
    }
}

impl Stat {
    /// True when nobody has touched the file between two looks.
    pub(super) fn is_untouched(&self, before: &Self) -> bool {
        (self.inode, self.bytes, self.mtime, self.ctime)
            == (before.inode, before.bytes, before.mtime, before.ctime)
    }
}

/// A file system below one directory.
pub(super) trait System: Send + Sync + 'static {
    /// A directory that is held, with its own place in its list of entries.
    type Dir: Send + Sync;
    /// A regular file that is read.
    type Source: io::Read + io::Seek;
    /// A file that is written, and that nobody else knows yet.
    type Sink: io::Write;

    /// The directory itself, for messages.
    fn shown(&self) -> &str;
    /// A fresh hold on it.
    fn root(&self) -> io::Result<Self::Dir>;
    /// A subdirectory.
    fn enter(&self, parent: &Self::Dir, name: &CStr) -> Entered<Self::Dir>;
    /// Reads on in the list of entries; `false` when it has ended. An entry may have gone since, none comes twice.
    fn list(&self, dir: &Self::Dir, scratch: &mut Vec<u8>, names: &mut Names) -> io::Result<bool>;
    /// Back to the first entry.
    fn rewind(&self, dir: &Self::Dir) -> io::Result<()>;
    /// The inode behind a name, of a link the link's own.
    fn stat(&self, dir: &Self::Dir, name: &CStr) -> io::Result<Stat>;
    /// The directory's own.
    fn stat_self(&self, dir: &Self::Dir) -> io::Result<Stat>;
    /// Whose entries may go.
    fn rights(&self, dir: &Self::Dir) -> Rights;
    /// Takes a file's name away.
    fn unlink(&self, dir: &Self::Dir, name: &CStr) -> io::Result<()>;
    /// Takes an empty subdirectory away.
    fn rmdir(&self, dir: &Self::Dir, name: &CStr) -> io::Result<()>;
    /// Opens a regular file for reading; what is none is an error.
    fn open(&self, dir: &Self::Dir, name: &CStr) -> io::Result<(Self::Source, Stat)>;
    /// Makes a file that is not there. What a dead run left under that name goes first; what a living one is
    /// writing makes it `ResourceBusy`.
    fn create(&self, dir: &Self::Dir, name: &CStr) -> io::Result<Self::Sink>;
    /// Gives a written file the mode, the owner and the last write of its source, and has it kept on the disk.
    fn seal(&self, sink: &mut Self::Sink, like: &Self::Source) -> io::Result<()>;
    /// Moves a name to another that is free.
    fn rename(&self, from: (&Self::Dir, &CStr), to: (&Self::Dir, &CStr)) -> io::Result<()>;
    /// Has the names in a directory kept on the disk.
    fn sync(&self, dir: &Self::Dir) -> io::Result<()>;
    /// Empties a file.
    fn truncate(&self, dir: &Self::Dir, name: &CStr) -> io::Result<()>;
    /// The inodes that some process has open for writing, as far as this one may see.
    fn being_written(&self) -> HashSet<u64>;
    /// Of the file system that holds it.
    fn usage(&self) -> io::Result<DiskUsage>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_names_are_all_there_in_their_order() {
        let mut names = Names::default();
        let kinds = [Kind::File, Kind::Directory, Kind::Other, Kind::Unknown];
        let expected: Vec<(Kind, Vec<u8>)> = (0..500)
            .map(|number: usize| (kinds[number % 4], vec![b'n'; 1 + number % 255]))
            .collect();
        for (kind, name) in &expected {
            let name = std::ffi::CString::new(name.clone()).expect("no NUL");
            names.push(*kind, &name);
        }
        let mut seen = Vec::new();
        let mut parts = vec![names];
        while let Some(mut part) = parts.pop() {
            if let Some(rest) = part.split() {
                parts.extend([rest, part]);
                continue;
            }
            while let Some((kind, name)) = part.next() {
                seen.push((kind, name[..name.len() - 1].to_vec()));
            }
        }
        assert_eq!(seen, expected);
    }
}
