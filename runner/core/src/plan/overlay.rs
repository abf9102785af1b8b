//! Files that a plan has moved: gone from one path, and there under another.
//!
//! It holds names, which is why core bounds how many files one attempt may rename or compress. What a filter means is
//! the adapter's; this is the same for files that are on no disk, and knows neither directories that go as a unit nor
//! directories that stay because a moved file is in them.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

use crate::ports::files::{Bucket, Entry, Moved, Summary};
use crate::value::{FileFilter, Instant, Stamp};

/// What was moved so far.
#[derive(Default)]
pub(super) struct Overlay {
    /// Names that are gone from the disk, as globs.
    gone: Vec<String>,
    /// By path.
    added: BTreeMap<Vec<u8>, Moved>,
}

fn glob(pattern: &str) -> Option<GlobMatcher> {
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    Some(glob.ok()?.compile_matcher())
}

fn any(patterns: &[String], path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path);
    patterns
        .iter()
        .filter_map(|pattern| glob(pattern))
        .any(|glob| glob.is_match(path.as_ref()))
}

/// The newest of the stamps that the filter names.
fn stamp(filter: &FileFilter, file: &Moved) -> Instant {
    let counts = |stamp| filter.age_by.is_empty() || filter.age_by.contains(&stamp);
    let stamps = [
        Some(file.mtime).filter(|_| counts(Stamp::Mtime)),
        Some(file.ctime).filter(|_| counts(Stamp::Ctime)),
        file.btime.filter(|_| counts(Stamp::Btime)),
    ];
    stamps.into_iter().flatten().max().unwrap_or(file.mtime)
}

fn matches(filter: &FileFilter, file: &Moved) -> bool {
    let path = &file.to;
    let excluded_above = || {
        let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        slashes
            .map(|at| &path[..at])
            .any(|above| any(&filter.exclude, above))
    };
    (filter.recursive || !path.contains(&b'/'))
        && (filter.include.is_empty() || any(&filter.include, path))
        && !any(&filter.exclude, path)
        && !excluded_above()
        && filter
            .older_than
            .is_none_or(|cutoff| stamp(filter, file) < cutoff)
}

impl Overlay {
    /// The filter whose files are gone from the disk; none when none are.
    pub(super) fn gone(&self) -> Option<FileFilter> {
        (!self.gone.is_empty()).then(|| FileFilter {
            include: self.gone.clone(),
            recursive: true,
            ..FileFilter::default()
        })
    }

    /// True when a moved file stands there.
    pub(super) fn holds(&self, path: &[u8]) -> bool {
        self.added.contains_key(path)
    }

    /// The moved file that stands there.
    pub(super) fn get(&self, path: &[u8]) -> Option<&Moved> {
        self.added.get(path)
    }

    /// A file has left the disk, or its moved place. A name that is no UTF-8 is seen again on the disk.
    pub(super) fn leave(&mut self, from: &[u8]) {
        if self.added.remove(from).is_none()
            && let Ok(name) = std::str::from_utf8(from)
        {
            self.gone.push(globset::escape(name));
        }
    }

    /// A file stands where it was moved to.
    pub(super) fn arrive(&mut self, moved: Moved) {
        self.added.insert(moved.to.clone(), moved);
    }

    /// The moved files that match, as entries.
    pub(super) fn entries(&self, filter: &FileFilter) -> Vec<Entry> {
        let entry = |file: &Moved| Entry {
            path: file.to.clone(),
            bytes: file.bytes,
            stamp: stamp(filter, file),
        };
        let found = self.added.values().filter(|file| matches(filter, file));
        found.map(entry).collect()
    }

    /// Adds the moved files that match.
    pub(super) fn count(&self, filter: &FileFilter, into: &mut Summary) {
        for entry in self.entries(filter) {
            into.files += 1;
            into.bytes += entry.bytes;
            into.oldest = into.oldest.into_iter().chain([entry.stamp]).min();
            into.newest = into.newest.into_iter().chain([entry.stamp]).max();
        }
        let seen = self.added.keys();
        into.total += seen
            .filter(|path| filter.recursive || !path.contains(&b'/'))
            .count() as u64;
    }

    /// Sorts the moved files that match into the buckets.
    pub(super) fn sort(&self, filter: &FileFilter, buckets: &mut [Bucket]) {
        for entry in self.entries(filter) {
            let place = buckets
                .partition_point(|bucket| bucket.from <= entry.stamp)
                .saturating_sub(1);
            if let Some(bucket) = buckets.get_mut(place) {
                bucket.files += 1;
                bucket.bytes += entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("a timestamp")
    }

    fn moved(to: &str) -> Moved {
        Moved {
            to: to.as_bytes().to_vec(),
            bytes: 10,
            mtime: at("2026-11-01T00:00:00Z"),
            ctime: at("2026-11-24T00:00:00Z"),
            btime: None,
        }
    }

    #[test]
    fn a_moved_file_is_gone_from_one_path_and_there_under_the_other() {
        let mut overlay = Overlay::default();
        assert_eq!(overlay.gone(), None);
        overlay.leave(b"app[1].log");
        overlay.arrive(moved("old/app.log.gz"));
        assert_eq!(overlay.gone().expect("one").include, ["app[[]1[]].log"]);
        let found = |filter: &FileFilter| overlay.entries(filter).len();
        let deep = FileFilter {
            recursive: true,
            ..FileFilter::default()
        };
        assert_eq!(found(&FileFilter::default()), 0, "it is in a subdirectory");
        assert_eq!(found(&deep), 1);
        let of = |include: &str, exclude: &str, age_by: Stamp| FileFilter {
            include: vec![include.to_owned()],
            exclude: vec![exclude.to_owned()],
            age_by: vec![age_by],
            older_than: Some(at("2026-11-20T00:00:00Z")),
            ..deep.clone()
        };
        assert_eq!(found(&of("**/*.gz", "x", Stamp::Mtime)), 1);
        assert_eq!(found(&of("*.gz", "x", Stamp::Mtime)), 0, "`*` stops at a slash");
        assert_eq!(
            found(&of("**/*.gz", "old", Stamp::Mtime)),
            0,
            "its directory is excluded"
        );
        assert_eq!(found(&of("**/*.gz", "x", Stamp::Ctime)), 0, "it is new there");
    }
}
