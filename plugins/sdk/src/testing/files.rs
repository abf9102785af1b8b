//! Directories in memory: names, sizes and three stamps a file.

use std::collections::{BTreeMap, BTreeSet};

use super::{FakeHost, names};
use crate::data::{Bucket, Compression, Content, DiskUsage, Entry, FileFilter, Page, Removal, Summary};
use crate::{Error, Files, Instant};

/// One directory: regular files by their path, and subdirectories.
#[derive(Debug, Default)]
pub struct FakeDirectory {
    files: BTreeMap<String, File>,
    folders: BTreeSet<String>,
    /// What is in those of which a test says it.
    contents: BTreeMap<String, Vec<u8>>,
    /// Files that somebody has open for writing.
    written: BTreeSet<String>,
    /// Files that somebody has open, whose room stays taken when they go.
    held: BTreeSet<String>,
    /// What the file system says of itself.
    pub usage: DiskUsage,
}

#[derive(Debug, Clone)]
struct File {
    bytes: u64,
    /// mtime, ctime, btime.
    stamps: [Instant; 3],
    removable: bool,
}

impl FakeDirectory {
    /// Puts a file there, with the subdirectories that its path needs, all three stamps the same.
    pub fn file(&mut self, path: &str, bytes: u64, stamp: Instant) -> &mut Self {
        self.stamped(path, bytes, [stamp; 3])
    }

    /// Puts a file there that holds this; of others every byte is 0.
    pub fn holding(&mut self, path: &str, content: &[u8], stamp: Instant) -> &mut Self {
        self.contents.insert(path.to_owned(), content.to_vec());
        self.file(path, content.len() as u64, stamp)
    }

    /// A part of what a file holds.
    fn part(&self, path: &str, offset: u64, length: usize) -> Vec<u8> {
        let Some(content) = self.contents.get(path) else {
            return vec![0; length];
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        content[start..(start + length).min(content.len())].to_vec()
    }

    /// Puts a file there with its mtime, ctime and btime.
    pub fn stamped(&mut self, path: &str, bytes: u64, stamps: [Instant; 3]) -> &mut Self {
        for (slash, _) in path.match_indices('/') {
            self.folders.insert(path[..slash].to_owned());
        }
        self.files.insert(
            path.to_owned(),
            File {
                bytes,
                stamps,
                removable: true,
            },
        );
        self
    }

    /// An empty subdirectory.
    pub fn folder(&mut self, path: &str) -> &mut Self {
        self.folders.insert(path.to_owned());
        self
    }

    /// Lets nobody remove the file.
    ///
    /// # Panics
    /// There is no such file.
    pub fn pin(&mut self, path: &str) -> &mut Self {
        self.files
            .get_mut(path)
            .expect("the test made this file")
            .removable = false;
        self
    }

    /// Somebody has the file open for writing.
    pub fn written(&mut self, path: &str) -> &mut Self {
        self.written.insert(path.to_owned());
        self
    }

    /// Somebody has the file open: it can go, and its room stays taken.
    pub fn held(&mut self, path: &str) -> &mut Self {
        self.held.insert(path.to_owned());
        self
    }

    /// The files that are there, in order.
    pub fn names(&self) -> Vec<&str> {
        names(self.files.keys())
    }

    /// The subdirectories that are there, in order.
    pub fn folders(&self) -> Vec<&str> {
        names(self.folders.iter())
    }

    /// The stamp that decides: the newest that the filter names, of the whole subdirectory where that is a unit.
    fn stamp(&self, path: &str, filter: &FileFilter) -> Instant {
        let own = |file: &File| {
            ["mtime", "ctime", "btime"]
                .into_iter()
                .zip(file.stamps)
                .filter(|(name, _)| filter.age_by.is_empty() || filter.age_by.iter().any(|by| by == name))
                .map(|(_, stamp)| stamp)
                .max()
                .unwrap_or(Instant::from_micros(0))
        };
        match path.split_once('/') {
            Some((unit, _)) if filter.directory_as_unit => {
                let unit = format!("{unit}/");
                let inside = self.files.iter().filter(|(other, _)| other.starts_with(&unit));
                inside
                    .map(|(_, file)| own(file))
                    .max()
                    .unwrap_or(Instant::from_micros(0))
            }
            _ => own(&self.files[path]),
        }
    }

    fn matches(&self, path: &str, filter: &FileFilter) -> bool {
        let globbed = |globs: &[String]| {
            globs
                .iter()
                .any(|glob| glob_matches(glob.as_bytes(), path.as_bytes()))
        };
        (filter.recursive || filter.directory_as_unit || !path.contains('/'))
            && (filter.include.is_empty() || globbed(&filter.include))
            && !globbed(&filter.exclude)
            && filter
                .older_than
                .is_none_or(|cutoff| self.stamp(path, filter) < cutoff)
    }

    fn matching(&self, filter: &FileFilter) -> Vec<Entry> {
        self.files
            .iter()
            .filter(|(path, _)| self.matches(path, filter))
            .map(|(path, file)| Entry {
                path: path.clone().into_bytes(),
                bytes: file.bytes,
                stamp: self.stamp(path, filter),
            })
            .collect()
    }

    fn existing(&self, path: &str) -> Result<&File, Error> {
        self.files
            .get(path)
            .ok_or_else(|| Error::NotFound(format!("{path} does not exist")))
    }

    fn take(&mut self, path: &str, removal: &mut Removal) {
        match self.files.get(path) {
            Some(file) if file.removable => {
                removal.files += 1;
                removal.bytes += file.bytes;
                if !self.held.contains(path) {
                    self.usage.bytes_free = self.usage.bytes_free.map(|free| free + file.bytes);
                    self.usage.inodes_free = self.usage.inodes_free.map(|free| free + 1);
                }
                self.files.remove(path);
            }
            _ => removal.skipped += 1,
        }
    }

    /// Subdirectories with nothing below them go, inner ones first.
    fn remove_emptied(&mut self) -> u64 {
        let before = self.folders.len();
        for folder in self.folders.clone().iter().rev() {
            let inside = format!("{folder}/");
            let holds_files = self.files.keys().any(|path| path.starts_with(&inside));
            if !holds_files && !self.folders.iter().any(|other| other.starts_with(&inside)) {
                self.folders.remove(folder);
            }
        }
        (before - self.folders.len()) as u64
    }
}

/// `*` and `?` stay within a part, `**/` is any number of parts.
fn glob_matches(glob: &[u8], path: &[u8]) -> bool {
    match glob {
        [] => path.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            glob_matches(rest, path)
                || path
                    .iter()
                    .enumerate()
                    .any(|(at, c)| *c == b'/' && glob_matches(rest, &path[at + 1..]))
        }
        [b'*', b'*'] => true,
        [b'*', rest @ ..] => {
            let part = path.iter().position(|c| *c == b'/').unwrap_or(path.len());
            (0..=part).any(|at| glob_matches(rest, &path[at..]))
        }
        [b'?', rest @ ..] => path.first().is_some_and(|c| *c != b'/') && glob_matches(rest, &path[1..]),
        [c, rest @ ..] => path.first() == Some(c) && glob_matches(rest, &path[1..]),
    }
}

impl FakeHost {
    fn in_directory(&mut self, call: &'static str, name: &str) -> Result<&mut FakeDirectory, Error> {
        self.enter(call, name)?;
        self.directories
            .get_mut(name)
            .ok_or_else(|| Error::NotFound(format!("directory.{name} does not exist")))
    }
}

impl Files for FakeHost {
    fn usage(&mut self, directory: &str) -> Result<DiskUsage, Error> {
        Ok(self.in_directory("usage", directory)?.usage)
    }

    fn summarize(&mut self, directory: &str, filter: &FileFilter) -> Result<Summary, Error> {
        let found = self.in_directory("summarize", directory)?.matching(filter);
        Ok(Summary {
            files: found.len() as u64,
            bytes: found.iter().map(|entry| entry.bytes).sum(),
            directories: 0,
            oldest: found.iter().map(|entry| entry.stamp).min(),
            newest: found.iter().map(|entry| entry.stamp).max(),
        })
    }

    fn age_histogram(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        start: Instant,
        end: Instant,
        buckets: u32,
    ) -> Result<Vec<Bucket>, Error> {
        let found = self.in_directory("age_histogram", directory)?.matching(filter);
        if end <= start || !(1..=4_096).contains(&buckets) {
            return Err(Error::Invalid(format!("{buckets} buckets from {start} to {end}")));
        }
        let span = i128::from(end.micros()) - i128::from(start.micros());
        let edge = |place: u32| {
            let offset = span * i128::from(place) / i128::from(buckets);
            Instant::from_micros(
                i64::try_from(i128::from(start.micros()) + offset).expect("between start and end"),
            )
        };
        let mut sorted: Vec<_> = (0..buckets)
            .map(|place| Bucket {
                from: edge(place),
                files: 0,
                bytes: 0,
            })
            .collect();
        for entry in found {
            let place = sorted
                .partition_point(|bucket| bucket.from <= entry.stamp)
                .saturating_sub(1);
            sorted[place].files += 1;
            sorted[place].bytes += entry.bytes;
        }
        Ok(sorted)
    }

    fn entries(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, Error> {
        let max = self.max(max);
        let mut entries = self.in_directory("entries", directory)?.matching(filter);
        entries.retain(|entry| cursor.is_none_or(|cursor| entry.path.as_slice() > cursor.as_bytes()));
        let more = entries.len() > max;
        entries.truncate(max);
        let last = entries
            .last()
            .map(|entry| String::from_utf8_lossy(&entry.path).into_owned());
        Ok(Page {
            entries,
            cursor: last.filter(|_| more),
        })
    }

    fn remove_batch(
        &mut self,
        directory: &str,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Removal, Error> {
        let max = self.max(max);
        let directory = self.in_directory("remove_batch", directory)?;
        if filter.older_than.is_none() {
            return Err(Error::Invalid("a removal needs `older-than`".to_owned()));
        }
        let after = |path: &&String| cursor.is_none_or(|cursor| path.as_str() > cursor);
        let visited: Vec<String> = directory.files.keys().filter(after).take(max).cloned().collect();
        let matching: Vec<_> = visited
            .iter()
            .filter(|path| directory.matches(path, filter))
            .cloned()
            .collect();
        let mut removal = Removal::default();
        for path in &matching {
            directory.take(path, &mut removal);
        }
        let last = visited
            .last()
            .filter(|last| directory.files.keys().any(|path| path > last));
        removal.cursor = last.cloned();
        if removal.cursor.is_none() && filter.remove_emptied {
            removal.directories = directory.remove_emptied();
        }
        Ok(removal)
    }

    fn remove(&mut self, directory: &str, paths: &[Vec<u8>], filter: &FileFilter) -> Result<Removal, Error> {
        let directory = self.in_directory("remove", directory)?;
        let mut removal = Removal::default();
        for path in paths.iter().map(|path| String::from_utf8_lossy(path)) {
            if directory.files.contains_key(path.as_ref()) && directory.matches(&path, filter) {
                directory.take(&path, &mut removal);
            } else {
                removal.skipped += 1;
            }
        }
        Ok(removal)
    }

    /// Its contents are as many zeros as the file has bytes.
    fn read_content(
        &mut self,
        directory: &str,
        path: &[u8],
        offset: u64,
        max: u32,
    ) -> Result<Content, Error> {
        let path = String::from_utf8_lossy(path);
        let directory = self.in_directory("read_content", directory)?;
        let total = directory.existing(&path)?.bytes;
        let length = total.saturating_sub(offset).min(max.into());
        Ok(Content {
            bytes: directory.part(&path, offset, usize::try_from(length).unwrap_or_default()),
            total,
        })
    }

    fn rename(&mut self, directory: &str, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let (from, to) = (String::from_utf8_lossy(from), String::from_utf8_lossy(to));
        let directory = self.in_directory("rename", directory)?;
        let file = directory.existing(&from)?.clone();
        if directory.files.contains_key(to.as_ref()) {
            return Err(Error::Invalid(format!("{to} is there already")));
        }
        directory.files.remove(from.as_ref());
        directory.files.insert(to.into_owned(), file);
        Ok(())
    }

    /// A compressed file is a tenth as large.
    fn compress(
        &mut self,
        directory: &str,
        paths: &[Vec<u8>],
        filter: &FileFilter,
    ) -> Result<Compression, Error> {
        let directory = self.in_directory("compress", directory)?;
        let mut done = Compression::default();
        for path in paths {
            let name = String::from_utf8_lossy(path).into_owned();
            let target = format!("{name}.gz");
            let why = if !directory.files.contains_key(&name) {
                Some("gone")
            } else if !directory.matches(&name, filter) {
                Some("not-matching")
            } else if directory.written.contains(&name) {
                Some("being-written")
            } else {
                directory.files.contains_key(&target).then_some("name-taken")
            };
            if let Some(why) = why {
                done.left.push((path.clone(), why.to_owned()));
                continue;
            }
            if let Some(file) = directory.files.remove(&name) {
                let bytes = file.bytes / 10;
                done.files += 1;
                done.bytes += file.bytes;
                done.bytes_after += bytes;
                directory.usage.bytes_free = directory.usage.bytes_free.map(|free| free + file.bytes - bytes);
                directory.files.insert(target, File { bytes, ..file });
            }
        }
        Ok(done)
    }

    fn copy_truncate(&mut self, directory: &str, from: &[u8], to: &[u8]) -> Result<(), Error> {
        let (from, to) = (String::from_utf8_lossy(from), String::from_utf8_lossy(to));
        let directory = self.in_directory("copy_truncate", directory)?;
        let file = directory.existing(&from)?.clone();
        if directory.files.contains_key(to.as_ref()) {
            return Err(Error::Invalid(format!("{to} is there already")));
        }
        let emptied = File { bytes: 0, ..file };
        directory.files.insert(to.into_owned(), file);
        directory.files.insert(from.into_owned(), emptied);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn globs_stay_within_a_part_unless_they_say_otherwise() {
        for (glob, path, expected) in [
            ("*.log", "a.log", true),
            ("*.log", "sub/a.log", false),
            ("**/*.log", "a.log", true),
            ("**/*.log", "sub/deep/a.log", true),
            ("cache/**", "cache/x/y", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
        ] {
            assert_eq!(
                glob_matches(glob.as_bytes(), path.as_bytes()),
                expected,
                "{glob} {path}"
            );
        }
    }

    #[test]
    fn a_histogram_holds_every_file_once_with_the_outer_ones_at_the_ends() {
        let mut host = FakeHost::new();
        let stamps = [
            "2026-01-01 00:00",
            "2026-02-01 00:00",
            "2026-02-01 12:00",
            "2026-02-03 00:00",
            "2026-04-01 00:00",
        ];
        for (place, stamp) in stamps.into_iter().enumerate() {
            host.directory("temp")
                .file(&place.to_string(), 1 << place, at(stamp));
        }
        let (start, end) = (at("2026-02-01 00:00"), at("2026-02-04 00:00"));
        let buckets = host
            .age_histogram("temp", &FileFilter::default(), start, end, 3)
            .expect("a good span");
        let found: Vec<_> = buckets
            .iter()
            .map(|bucket| (bucket.from, bucket.files, bucket.bytes))
            .collect();
        assert_eq!(
            found,
            [
                (at("2026-02-01 00:00"), 3, 1 + 2 + 4),
                (at("2026-02-02 00:00"), 0, 0),
                (at("2026-02-03 00:00"), 2, 8 + 16)
            ]
        );
    }
}
