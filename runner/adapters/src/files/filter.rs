//! A filter, compiled: what it says about a path and about a stat.
//!
//! It reads nothing; the walk hands it what it found.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sereno_core::ports::files::FilesError;
use sereno_core::value::{FileFilter, Stamp};

use super::error::show;
use super::system::{Kind, Stat, Time};

/// One filter, ready.
#[derive(Debug)]
pub(super) struct Matcher {
    older_than: Option<Time>,
    age_by: Vec<Stamp>,
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
    pub(super) recursive: bool,
    pub(super) unit: bool,
    pub(super) remove_emptied: bool,
    /// Nothing but these files, and the directories above them.
    only: Option<Only>,
}

/// Files by name.
#[derive(Debug)]
struct Only {
    files: HashSet<Vec<u8>>,
    /// None: any directory may matter, because other filters empty some.
    above: Option<HashSet<Vec<u8>>>,
}

impl Matcher {
    /// # Errors
    /// A glob that is none.
    pub(super) fn new(filter: &FileFilter) -> Result<Self, FilesError> {
        Ok(Self {
            older_than: filter.older_than.map(Time::from),
            age_by: match filter.age_by.as_slice() {
                [] => Stamp::ALL.map(|(_, stamp)| stamp).to_vec(),
                named => named.to_vec(),
            },
            include: globs(&filter.include)?,
            exclude: globs(&filter.exclude)?,
            recursive: filter.recursive,
            unit: filter.directory_as_unit && filter.recursive,
            remove_emptied: filter.remove_emptied && filter.recursive,
            only: None,
        })
    }

    pub(super) fn includes(&self, path: &[u8]) -> bool {
        self.only.as_ref().is_none_or(|only| only.files.contains(path)) && self.is_included(path)
    }

    fn is_included(&self, path: &[u8]) -> bool {
        self.include
            .as_ref()
            .is_none_or(|globs| globs.is_match(OsStr::from_bytes(path)))
    }

    pub(super) fn excludes(&self, path: &[u8]) -> bool {
        self.exclude
            .as_ref()
            .is_some_and(|globs| globs.is_match(OsStr::from_bytes(path)))
    }

    /// False for a subdirectory in which nothing could match.
    pub(super) fn may_enter(&self, path: &[u8]) -> bool {
        let above = self.only.as_ref().and_then(|only| only.above.as_ref());
        above.is_none_or(|above| above.contains(path)) && !self.excludes(path)
    }

    /// True for a directory that was empty before the removal came by.
    pub(super) fn takes_empty(&self, path: &[u8], age: Option<Time>) -> bool {
        self.only.is_none() && self.is_included(path) && self.is_old(age)
    }

    /// The newest of the stamps that count; none where the file system has none of them.
    pub(super) fn age(&self, stat: &Stat) -> Option<Time> {
        self.age_by
            .iter()
            .filter_map(|stamp| match stamp {
                Stamp::Mtime => Some(stat.mtime),
                Stamp::Ctime => Some(stat.ctime),
                Stamp::Btime => stat.btime,
            })
            .max()
    }

    /// Strictly before the cutoff, if there is one.
    pub(super) fn is_old(&self, age: Option<Time>) -> bool {
        self.older_than
            .is_none_or(|cutoff| age.is_some_and(|age| age < cutoff))
    }

    /// What its inode says, names apart.
    pub(super) fn takes(&self, stat: &Stat) -> bool {
        stat.kind == Kind::File && !stat.sticky && self.is_old(self.age(stat))
    }

    /// The stamp to show: where nothing counts, the last write.
    pub(super) fn stamp(&self, stat: &Stat) -> Time {
        self.age(stat).unwrap_or(stat.mtime)
    }
}

fn globs(patterns: &[String]) -> Result<Option<GlobSet>, FilesError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let bad = |pattern: &str, error: &globset::Error| {
        FilesError::Invalid(format!(
            "`{}` is no glob: {}",
            show(pattern.as_bytes()),
            error.kind()
        ))
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|error| bad(pattern, &error))?;
        set.add(glob);
    }
    set.build()
        .map(Some)
        .map_err(|error| bad(&patterns.join(" "), &error))
}

/// Filters in the order in which they work: each sees what those before it have left. The last is the one that is asked
/// about; what the others take counts as gone.
#[derive(Debug)]
pub(super) struct Filters(Vec<Matcher>);

impl Filters {
    /// # Errors
    /// A glob that is none.
    pub(super) fn new(filter: &FileFilter, without: &[FileFilter]) -> Result<Self, FilesError> {
        without
            .iter()
            .chain([filter])
            .map(Matcher::new)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The same, asked about these files alone. What the others take is still found everywhere.
    pub(super) fn only(mut self, paths: &[Vec<u8>]) -> Self {
        let parents = |path: &[u8]| -> Vec<Vec<u8>> {
            (0..path.len())
                .filter(|at| path[*at] == b'/')
                .map(|at| path[..at].to_vec())
                .collect()
        };
        let is_alone = self.0.len() == 1;
        let above = is_alone.then(|| paths.iter().flat_map(|path| parents(path)).collect());
        if let Some(main) = self.0.last_mut() {
            main.only = Some(Only {
                files: paths.iter().cloned().collect(),
                above,
            });
        }
        self
    }

    pub(super) fn all(&self) -> &[Matcher] {
        &self.0
    }

    /// The place of the one that is asked about.
    pub(super) fn main_at(&self) -> usize {
        self.0.len() - 1
    }

    pub(super) fn main(&self) -> &Matcher {
        &self.0[self.main_at()]
    }
}

/// A number that stands for a filter in a cursor. Not a secret and no proof: it finds mistakes.
pub(super) fn digest(filter: &FileFilter) -> u64 {
    // FNV-1a, because the number must be the same after an upgrade, which std's hasher does not promise.
    let text = serde_json::to_vec(filter).expect("a filter is plain data");
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
