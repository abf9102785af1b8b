//! The logs of a directory: every file with the log that it belongs to, as they were listed once.
//!
//! Pure: what is done with them is decided in `task`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sereno_plugin::{Entry, Instant};

use crate::name::{Name, Rotated};

/// One rotated file, or one that a program writes today under a dated name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) name: Name,
    /// Its last write.
    pub(crate) written: Instant,
    pub(crate) bytes: u64,
}

impl File {
    pub(crate) fn ended(&self) -> Instant {
        self.name.ended(self.written)
    }
}

/// One log and what was rotated from it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The file that is written, if it is there; its size.
    pub(crate) live: Option<u64>,
    /// The oldest first.
    pub(crate) files: Vec<File>,
}

impl Log {
    /// When it was rotated last, as far as that is known.
    pub(crate) fn rotated_last(&self) -> Option<Instant> {
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
    pub(crate) fn is_due(&self, now: Instant, after: Duration, max_size: u64) -> bool {
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
    pub(crate) fn rotation_age(&self, now: Instant, keep: Duration) -> Option<Duration> {
        let age = now.since(self.rotated_last()?);
        let is_alive = match self.live {
            Some(bytes) => bytes > 0,
            // What nobody has written for as long as files are kept has ended.
            None => age < keep,
        };
        is_alive.then_some(age)
    }

    /// Rotated files that are over, the oldest first.
    pub(crate) fn over(&self, now: Instant) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.name.is_over(now))
    }

    /// Which rotated files go at `now`.
    pub(crate) fn expired(
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

/// The logs of a directory, by their paths.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) by_path: BTreeMap<String, Log>,
    /// Every path that was listed.
    pub(crate) paths: BTreeSet<String>,
    /// Files whose names are no text: nobody can tell what they are.
    pub(crate) unreadable: u64,
}

impl Logs {
    pub(crate) fn add(&mut self, entry: Entry) {
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
    pub(crate) fn sort(&mut self) {
        for log in self.by_path.values_mut() {
            log.files
                .sort_by(|a, b| (a.ended(), &a.path).cmp(&(b.ended(), &b.path)));
        }
    }

    /// The path that `log` gets at `now`: one that nobody has. None when all are taken.
    pub(crate) fn free_name(&self, log: &str, now: Instant) -> Option<String> {
        let name = crate::name::rotated(log, now);
        let is_free = |name: &String| {
            // With its copy there it would never be compressed.
            !self.paths.contains(name) && !self.paths.contains(&format!("{name}.gz"))
        };
        std::iter::once(name.clone())
            .chain((2..100).map(|number| format!("{name}-{number}")))
            .find(is_free)
    }
}
