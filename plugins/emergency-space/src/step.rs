//! Which files a step of the ladder takes, in which order, and how many at once.
//!
//! What a step does not name is never among them. The host looks at each again before it touches it.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use sereno_plugin::logs::{self, File, Logs, Name};
use sereno_plugin::{Context, Entry, Error, FileFilter, Files, Instant};

use crate::room::Excess;
use crate::{Steps, StepsAgeBy, StepsDo, StepsFirst, StepsWhat};

/// Entries of one listing: few enough for one answer of the host.
const PAGE: u32 = 1_000;

/// Files that a step keeps the names of: the first in its order. Once they are gone it looks again.
const KEPT_MAX: usize = 10_000;

/// Rotated files that a step looks at: each is kept by name, and no directory of logs has as many.
const LOGS_MAX: usize = 50_000;

/// Files named in one call.
const NAMED: usize = 200;

/// Bytes of the files that are compressed in one call: a call that has begun is not given up for the time.
const COMPRESSED_BYTES: u64 = 256 << 20;

/// One file that a step may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) path: Vec<u8>,
    pub(crate) bytes: u64,
    /// How old it is.
    stamp: Instant,
}

/// What a step may take, in its order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) files: VecDeque<Candidate>,
    /// There are more than were kept.
    pub(crate) has_more: bool,
}

impl Queue {
    /// The next files that are needed to bring down `excess`; none when nothing that is left does.
    pub(crate) fn take(&mut self, excess: Excess, how: StepsDo) -> Vec<Candidate> {
        let mut taken: Vec<Candidate> = Vec::new();
        let mut bytes = 0_u64;
        while taken.len() < NAMED && (bytes < excess.bytes || (taken.len() as u64) < excess.files) {
            let Some(file) = self.files.front() else { break };
            let is_too_much = bytes.saturating_add(file.bytes) > COMPRESSED_BYTES;
            if how == StepsDo::Compress && is_too_much && !taken.is_empty() {
                break;
            }
            let Some(file) = self.files.pop_front() else { break };
            // Nothing comes back of an empty file but its inode.
            if file.bytes > 0 || excess.files > 0 {
                bytes = bytes.saturating_add(file.bytes);
                taken.push(file);
            }
        }
        taken
    }
}

/// The globs that the step names.
pub(crate) fn include(step: &Steps) -> Vec<String> {
    if step.what == StepsWhat::RotatedLogs && step.include.is_empty() {
        vec!["**/*.log".to_owned()]
    } else {
        step.include.clone()
    }
}

/// The files that the step is about, as the host holds each against it.
pub(crate) fn filter(step: &Steps, context: &Context) -> FileFilter {
    let is_of_logs = step.what == StepsWhat::RotatedLogs;
    let mut exclude = step.exclude.clone();
    exclude.extend(logs::unfinished());
    let include = include(step);
    FileFilter {
        older_than: Some(context.cutoff(step.older_than)),
        age_by: if is_of_logs {
            vec!["mtime".to_owned()]
        } else {
            let stamps = step.age_by.iter().copied().map(StepsAgeBy::as_str);
            stamps.map(str::to_owned).collect()
        },
        include: if is_of_logs {
            logs::globs(&include)
        } else {
            include
        },
        exclude,
        recursive: true,
        directory_as_unit: false,
        remove_emptied: false,
    }
}

/// Lists what the step may take now.
pub(crate) fn look(step: &Steps, context: &Context, host: &mut impl Files) -> Result<Queue, Error> {
    let mut found = Vec::new();
    let mut has_more = false;
    match step.what {
        StepsWhat::Files => {
            let filter = filter(step, context);
            pages(&step.directory, &filter, host, |entry| {
                if is_meant(step, &entry.path) {
                    found.push(Candidate {
                        path: entry.path,
                        bytes: entry.bytes,
                        stamp: entry.stamp,
                    });
                }
                if found.len() >= 2 * KEPT_MAX {
                    sort(step, &mut found);
                    found.truncate(KEPT_MAX);
                    has_more = true;
                }
                true
            })?;
        }
        StepsWhat::RotatedLogs => {
            // Also the young ones: they are among those that stay.
            let filter = FileFilter {
                older_than: None,
                ..filter(step, context)
            };
            let mut logs = Logs::default();
            pages(&step.directory, &filter, host, |entry| {
                logs.add(entry);
                logs.paths.len() < LOGS_MAX
            })?;
            logs.sort();
            found = rotated(step, context, &logs);
        }
    }
    sort(step, &mut found);
    has_more |= found.len() > KEPT_MAX;
    found.truncate(KEPT_MAX);
    Ok(Queue {
        files: found.into(),
        has_more,
    })
}

/// Hands every entry to `each` until that says no.
fn pages(
    directory: &str,
    filter: &FileFilter,
    host: &mut impl Files,
    mut each: impl FnMut(Entry) -> bool,
) -> Result<(), Error> {
    let mut cursor: Option<String> = None;
    loop {
        let page = host.entries(directory, filter, cursor.as_deref(), PAGE)?;
        let mut goes_on = true;
        for entry in page.entries {
            goes_on &= each(entry);
        }
        cursor = page.cursor;
        if cursor.is_none() || !goes_on {
            return Ok(());
        }
    }
}

/// What is compressed already only grows by being compressed again.
fn is_meant(step: &Steps, path: &[u8]) -> bool {
    step.r#do == StepsDo::Remove || !Name::read(&String::from_utf8_lossy(path)).is_compressed
}

/// The rotated files that may go, or be compressed.
fn rotated(step: &Steps, context: &Context, logs: &Logs) -> Vec<Candidate> {
    let now = context.scheduled_at;
    let cutoff = context.cutoff(step.older_than);
    let at_least = usize::try_from(step.keep_at_least).unwrap_or_default();
    let mut files: Vec<&File> = Vec::new();
    for log in logs.by_path.values() {
        match step.r#do {
            StepsDo::Remove => {
                files.extend(log.expired(now, step.older_than, at_least, None, Duration::ZERO));
            }
            StepsDo::Compress => {
                files.extend(log.over(now).filter(|file| !file.name.is_compressed));
            }
        }
    }
    // A name can be older than its file.
    files
        .into_iter()
        .filter(|file| file.ended() < cutoff && file.written < cutoff)
        .map(|file| Candidate {
            path: file.path.clone().into_bytes(),
            bytes: file.bytes,
            stamp: file.ended(),
        })
        .collect()
}

fn sort(step: &Steps, files: &mut [Candidate]) {
    match (step.r#do, step.first) {
        (StepsDo::Compress, _) => files.sort_by(|a, b| (a.bytes, &a.path).cmp(&(b.bytes, &b.path))),
        (StepsDo::Remove, StepsFirst::Oldest) => {
            files.sort_by(|a, b| (a.stamp, &a.path).cmp(&(b.stamp, &b.path)));
        }
        (StepsDo::Remove, StepsFirst::Largest) => {
            files.sort_by(|a, b| (Reverse(a.bytes), &a.path).cmp(&(Reverse(b.bytes), &b.path)));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sereno_plugin::testing::{FakeHost, at, context, days, hours};

    use super::*;

    pub(crate) fn now() -> Instant {
        at("2026-11-24 02:30")
    }

    pub(crate) fn step(directory: &str, how: StepsDo, what: StepsWhat) -> Steps {
        Steps {
            directory: directory.to_owned(),
            r#do: how,
            what,
            include: Vec::new(),
            exclude: Vec::new(),
            age_by: Vec::new(),
            older_than: days(1),
            first: StepsFirst::Oldest,
            keep_at_least: 1,
        }
    }

    fn names(queue: &Queue) -> Vec<String> {
        let names = queue.files.iter();
        names
            .map(|file| String::from_utf8_lossy(&file.path).into_owned())
            .collect()
    }

    fn found(step: &Steps, files: &[(&str, u64, u64)]) -> Vec<String> {
        let mut host = FakeHost::new();
        host.batch_max = Some(2);
        let directory = host.directory("there");
        for (name, bytes, age) in files {
            directory.file(name, *bytes, now() - hours(*age));
        }
        names(&look(step, &context(now()), &mut host).expect("a listing"))
    }

    #[test]
    fn files_go_in_the_order_that_the_step_names_and_no_others_do() {
        let files = [
            ("small.tmp", 1, 60),
            ("large.tmp", 90, 30),
            ("sub/middle.tmp", 50, 40),
            ("young.tmp", 900, 23),
            ("packed.tmp.gz", 10, 50),
            ("notes.txt", 500, 90),
            ("kept.tmp", 500, 90),
        ];
        let mut step = Steps {
            include: vec!["**/*.tmp".to_owned(), "**/*.tmp.gz".to_owned()],
            exclude: vec!["kept.tmp".to_owned()],
            ..step("there", StepsDo::Remove, StepsWhat::Files)
        };
        assert_eq!(
            found(&step, &files),
            ["small.tmp", "packed.tmp.gz", "sub/middle.tmp", "large.tmp"]
        );
        step.first = StepsFirst::Largest;
        assert_eq!(
            found(&step, &files),
            ["large.tmp", "sub/middle.tmp", "packed.tmp.gz", "small.tmp"]
        );
        step.r#do = StepsDo::Compress;
        assert_eq!(found(&step, &files), ["small.tmp", "sub/middle.tmp", "large.tmp"]);
    }

    #[test]
    fn of_logs_only_rotated_files_go_and_the_newest_stay() {
        let files = [
            ("app.log", 900, 100),
            ("app.log.1", 10, 30),
            ("app.log.2.gz", 20, 60),
            ("app.log.3.gz", 5, 80),
            ("app.log.9.partial", 5, 80),
            ("api-2026-11-24.log", 7, 50),
            ("api-2026-11-22.log", 8, 26),
            ("api-2026-11-21.log", 9, 50),
            ("only.log-20261101", 9, 500),
            ("dump.sql", 900, 900),
        ];
        let remove = step("there", StepsDo::Remove, StepsWhat::RotatedLogs);
        assert_eq!(
            found(&remove, &files),
            ["app.log.3.gz", "app.log.2.gz", "api-2026-11-21.log"],
            "the last one of each log stays, and what has today's date"
        );
        let compress = step("there", StepsDo::Compress, StepsWhat::RotatedLogs);
        assert_eq!(
            found(&compress, &files),
            [
                "api-2026-11-22.log",
                "api-2026-11-21.log",
                "only.log-20261101",
                "app.log.1"
            ]
        );
    }

    #[test]
    fn no_more_is_taken_than_is_needed() {
        let file = |bytes| Candidate {
            path: format!("{bytes}").into_bytes(),
            bytes,
            stamp: now(),
        };
        let queue = |sizes: &[u64]| Queue {
            files: sizes.iter().copied().map(file).collect(),
            has_more: false,
        };
        let excess = |bytes, files| Excess { bytes, files };
        let take = |sizes: &[u64], excess, how| {
            let taken = queue(sizes).take(excess, how);
            taken.iter().map(|file| file.bytes).collect::<Vec<_>>()
        };
        assert_eq!(take(&[4, 0, 5, 9], excess(5, 0), StepsDo::Remove), [4, 5]);
        assert_eq!(take(&[4, 0, 5, 9], excess(1, 2), StepsDo::Remove), [4, 0]);
        assert_eq!(take(&[4, 5], excess(0, 0), StepsDo::Remove), [0; 0]);
        let half = COMPRESSED_BYTES / 2 + 1;
        assert_eq!(
            take(&[half, half], excess(u64::MAX, 0), StepsDo::Compress),
            [half]
        );
        assert_eq!(take(&[1; 300], excess(u64::MAX, 0), StepsDo::Remove).len(), NAMED);
    }
}
