//! The logs of a directory: every file with the log that it belongs to, as they were listed once.
//!
//! Pure: names, sizes and times in, an order out. Which of them are rotated, compressed or removed is the plugin's to
//! decide, and what happens to them the host's.

mod name;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use name::{Name, Rotated, rotated};

use crate::{Entry, Instant};

/// One rotated file, or one that a program writes today under a dated name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Below the directory.
    pub path: String,
    /// The path taken apart.
    pub name: Name,
    /// Its last write.
    pub written: Instant,
    /// Its size.
    pub bytes: u64,
}

impl File {
    /// When its last line is from.
    pub fn ended(&self) -> Instant {
        self.name.ended(self.written)
    }
}

/// One log and what was rotated from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The file that is written, if it is there; its size.
    pub live: Option<u64>,
    /// The oldest first.
    pub files: Vec<File>,
}

impl Log {
    /// When it was rotated last, as far as that is known.
    pub fn rotated_last(&self) -> Option<Instant> {
        self.files
            .iter()
            .map(|file| match file.name.rotated {
                // Today's file began with this day.
                Rotated::Day(day) => day,
                _ => file.ended(),
            })
            .max()
    }

    /// True when it is to be rotated at `now`.
    pub fn is_due(&self, now: Instant, after: Duration, max_size: u64) -> bool {
        let Some(bytes) = self.live.filter(|bytes| *bytes > 0) else {
            return false;
        };
        // A schedule of local time has days of 23 hours.
        let after = after.saturating_sub(after / 10);
        bytes >= max_size
            || self
                .rotated_last()
                .is_none_or(|last| last <= now && now.since(last) >= after)
    }

    /// How long ago it was rotated last at `now`; none when it never was, or when there is nothing to rotate.
    pub fn rotation_age(&self, now: Instant, keep: Duration) -> Option<Duration> {
        let age = now.since(self.rotated_last()?);
        let is_alive = match self.live {
            Some(bytes) => bytes > 0,
            // What nobody has written for as long as files are kept has ended.
            None => age < keep,
        };
        is_alive.then_some(age)
    }

    /// Rotated files that are over, the oldest first.
    pub fn over(&self, now: Instant) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.name.is_over(now))
    }

    /// Which rotated files go at `now`.
    pub fn expired(
        &self,
        now: Instant,
        keep: Duration,
        at_least: usize,
        at_most: Option<usize>,
        never_younger: Duration,
    ) -> Vec<&File> {
        let over: Vec<&File> = self.over(now).collect();
        let may_go = over.len().saturating_sub(at_least);
        let too_many = at_most.map_or(0, |most| over.len().saturating_sub(most));
        over.into_iter()
            .take(may_go)
            .enumerate()
            .filter(|(place, file)| {
                let ended = file.ended();
                ended < now - never_younger && (*place < too_many || ended < now - keep)
            })
            .map(|(_, file)| file)
            .collect()
    }
}

/// Globs of the logs that `include` names and of everything that was rotated from them.
pub fn globs(include: &[String]) -> Vec<String> {
    let more = |glob: &String| [glob.clone(), format!("{glob}-*"), format!("{glob}.*")];
    include.iter().flat_map(more).collect()
}

/// Globs of copies that the host is still making beside their originals.
pub fn unfinished() -> [String; 2] {
    ["*.partial".to_owned(), "**/*.partial".to_owned()]
}

/// The logs of a directory, by their paths.
#[derive(Debug, Default)]
pub struct Logs {
    /// The path of a log that is not there any more, or that never was, is what its rotated files say.
    pub by_path: BTreeMap<String, Log>,
    /// Every path that was listed.
    pub paths: BTreeSet<String>,
    /// Files whose names are no text: nobody can tell what they are.
    pub unreadable: u64,
}

impl Logs {
    /// Notes one file, by what its name says.
    pub fn add(&mut self, entry: Entry) {
        let Ok(path) = String::from_utf8(entry.path) else {
            self.unreadable += 1;
            return;
        };
        let name = Name::read(&path);
        let log = self.by_path.entry(name.log.clone()).or_default();
        if name.rotated == Rotated::Not {
            log.live = Some(entry.bytes);
        } else {
            log.files.push(File {
                path: path.clone(),
                name,
                written: entry.stamp,
                bytes: entry.bytes,
            });
        }
        self.paths.insert(path);
    }

    /// To be called once everything was added.
    pub fn sort(&mut self) {
        for log in self.by_path.values_mut() {
            log.files
                .sort_by(|a, b| (a.ended(), &a.path).cmp(&(b.ended(), &b.path)));
        }
    }

    /// The path that `log` gets at `now`: one that nobody has. None when all are taken.
    pub fn free_name(&self, log: &str, now: Instant) -> Option<String> {
        let name = name::rotated(log, now);
        let is_free = |name: &String| {
            // With its copy there it would never be compressed.
            !self.paths.contains(name) && !self.paths.contains(&format!("{name}.gz"))
        };
        std::iter::once(name.clone())
            .chain((2..100).map(|number| format!("{name}-{number}")))
            .find(is_free)
    }
}
