//! A host for native tests: files and tables in memory that mean what the real ones mean, in small batches.
//!
//! It keeps rows and files by identity, so that a test names its victims and its survivors. It knows no guards, no
//! plans and no SQL; those are the host's own and have their own tests.
//!
//! ```
//! use sereno_plugin::testing::{FakeHost, at};
//! use sereno_plugin::{FileFilter, Files};
//!
//! let mut host = FakeHost::new();
//! host.directory("temp").file("old.tmp", 10, at("2026-11-01 00:00")).file("new.tmp", 10, at("2026-11-24 00:00"));
//! let filter = FileFilter::default().older_than(at("2026-11-10 00:00"));
//! host.remove_batch("temp", &filter, None, 100).expect("the directory is there");
//! assert_eq!(host.directory("temp").names(), ["new.tmp"]);
//! ```

mod backup;
mod database;
mod files;
mod http;
mod storage;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use backup::FakeBackups;
pub use database::{FakeDatabase, FakeTable};
pub use files::FakeDirectory;
pub use http::FakeOrigin;
pub use storage::FakeStorage;
pub use writer::FakeWriter;

use crate::{Context, Error, Instant, Level, Log, Measurement, Measurements};

/// The point in time that `text` names: `2026-11-17 02:30`, UTC.
///
/// # Panics
/// The text is no such time; tests write it out.
pub fn at(text: &str) -> Instant {
    let numbers: Vec<i64> = text
        .split(['-', ' ', ':'])
        .map(|number| {
            number
                .parse()
                .unwrap_or_else(|_| panic!("`{text}` is not like 2026-11-17 02:30"))
        })
        .collect();
    match numbers.as_slice() {
        [year, month, day, hour, minute] => Instant::utc(*year, *month, *day, *hour, *minute),
        _ => panic!("`{text}` is not like 2026-11-17 02:30"),
    }
}

/// So many days.
pub const fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// So many hours.
pub const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

/// The context of a first attempt that was scheduled at `scheduled_at`.
pub fn context(scheduled_at: Instant) -> Context {
    Context {
        run_id: "0123456789".to_owned(),
        job: "test".to_owned(),
        scheduled_at,
        shard: None,
        cursor: None,
        time_left: Duration::from_secs(900),
    }
}

/// Files, tables, what was measured and logged, and what goes wrong when.
#[derive(Debug, Default)]
pub struct FakeHost {
    directories: BTreeMap<String, FakeDirectory>,
    databases: BTreeMap<String, FakeDatabase>,
    origins: BTreeMap<String, FakeOrigin>,
    storages: BTreeMap<String, FakeStorage>,
    writers: BTreeMap<String, FakeWriter>,
    scripted: Vec<Scripted>,
    counts: BTreeMap<&'static str, usize>,
    /// Backups.
    pub backups: FakeBackups,
    /// Readings, in order.
    pub measurements: Vec<Measurement>,
    /// The rows that were kept before they went, by storage and prefix.
    pub archived: BTreeMap<String, Vec<u64>>,
    /// Log lines, in order.
    pub lines: Vec<String>,
    /// Every call that reached a target, in order: `vacuum user_sessions`, `reindex sessions_pkey`.
    pub calls: Vec<String>,
    /// Entries or rows of one batch at most, whatever the plugin asks for: the host's own choice.
    pub batch_max: Option<u32>,
}

#[derive(Debug)]
struct Scripted {
    call: &'static str,
    on: Option<String>,
    from: usize,
    times: usize,
    error: Error,
}

impl FakeHost {
    /// One with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The directory `name`, made when it is not there yet.
    pub fn directory(&mut self, name: &str) -> &mut FakeDirectory {
        self.directories.entry(name.to_owned()).or_default()
    }

    /// The database `name`, made when it is not there yet.
    pub fn database(&mut self, name: &str) -> &mut FakeDatabase {
        self.databases.entry(name.to_owned()).or_default()
    }

    /// The storage `name`, made when it is not there yet.
    pub fn storage(&mut self, name: &str) -> &mut FakeStorage {
        self.storages.entry(name.to_owned()).or_default()
    }

    /// The origin `name`, made when it is not there yet.
    pub fn origin(&mut self, name: &str) -> &mut FakeOrigin {
        self.origins.entry(name.to_owned()).or_default()
    }

    /// The writer `name`, made when it is not there yet.
    pub fn writer(&mut self, name: &str) -> &mut FakeWriter {
        self.writers.entry(name.to_owned()).or_default()
    }

    /// The `nth` call (from 1) of the function `call` answers `error`, once. Calls are counted from now.
    pub fn fail(&mut self, call: &'static str, nth: usize, error: Error) -> &mut Self {
        let from = self.counts.get(call).copied().unwrap_or(0) + nth;
        self.scripted.push(Scripted {
            call,
            on: None,
            from,
            times: 1,
            error,
        });
        self
    }

    /// Every call of `call` on `what` (a table, an index, a directory, a database) answers `error`.
    pub fn fail_on(&mut self, call: &'static str, what: &str, error: Error) -> &mut Self {
        self.scripted.push(Scripted {
            call,
            on: Some(what.to_owned()),
            from: 0,
            times: usize::MAX,
            error,
        });
        self
    }

    /// The value of the reading `name` on `target`; panics when there is none or more than one.
    pub fn measured(&self, name: &str, target: &str) -> Option<f64> {
        let found: Vec<_> = self
            .measurements
            .iter()
            .filter(|reading| reading.name == name && reading.target == target)
            .collect();
        match found.as_slice() {
            [reading] => reading.value,
            found => panic!(
                "{} readings of {name} on {target}: {:#?}",
                found.len(),
                self.measurements
            ),
        }
    }

    /// Counts a call, and answers what was scripted for it.
    fn enter(&mut self, call: &'static str, what: &str) -> Result<(), Error> {
        let count = self.counts.entry(call).or_default();
        *count += 1;
        let count = *count;
        self.calls.push(format!("{call} {what}"));
        let hit = self.scripted.iter_mut().find(|scripted| {
            scripted.call == call
                && scripted.times > 0
                && match &scripted.on {
                    Some(on) => on == what,
                    None => scripted.from == count,
                }
        });
        match hit {
            Some(scripted) => {
                scripted.times -= 1;
                Err(scripted.error.clone())
            }
            None => Ok(()),
        }
    }

    fn max(&self, asked: u32) -> usize {
        usize::try_from(asked.min(self.batch_max.unwrap_or(u32::MAX))).unwrap_or(usize::MAX)
    }
}

impl Log for FakeHost {
    fn log(&mut self, level: Level, message: &str, fields: &[(&str, &str)]) {
        let mut line = format!("{} {message}", level.as_str());
        for (key, value) in fields {
            line.extend([" ", *key, "=", *value]);
        }
        self.lines.push(line);
    }
}

impl Measurements for FakeHost {
    fn measure(&mut self, measurement: Measurement) {
        self.measurements.push(measurement);
    }
}

/// Names that a test wrote down, to compare with what is left.
fn names<'a>(of: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    of.map(String::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}
