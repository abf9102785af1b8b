//! Rotates, tells the writer, removes what is old, compresses what nobody writes, and says how it is.
//!
//! Everything is read off the names that are there, so it does not matter how often it runs, or where an earlier attempt
//! died: a log without its file whose last rotation is young has a writer that may not have heard of it. Nothing here knows
//! whether it is a plan.

use std::time::Duration;

use sereno_plugin::logs::{self, File, Log, Logs, Name, Rotated};
use sereno_plugin::{
    Context, Error, Failure, FileFilter, Files, Finding, Instant, Measurement, Measurements, NotifyWriter,
    Outcome, Report, Unit, target, text,
};

use crate::{Do, Params, Rotate};

/// Entries of one listing: few enough for one answer of the host.
const PAGE: u32 = 1_000;

/// Files that are looked at: each is kept by name, and no directory of logs has as many.
const FILES_MAX: usize = 50_000;

/// Logs that one run rotates; the host lets a run begin 256 renames. The next run takes the others.
const ROTATED_MAX: usize = 200;

/// Files named in one call.
const NAMED: usize = 200;

/// Bytes of the files that are compressed in one call: a call that has begun is not given up for the time.
const COMPRESSED_BYTES: u64 = 256 << 20;

/// A log that was written this much later than it was rotated is written on. A run may be half a day late.
const WRITTEN_ON: Duration = Duration::from_secs(13 * 3_600);

/// What was written today is nobody's to remove, however many there are. It is also the host's own retention floor.
const NEVER_YOUNGER: Duration = Duration::from_secs(86_400);

/// After this a writer that has not opened its log anew is not one that missed a notice.
const OWED: Duration = Duration::from_secs(3 * 86_400);

/// A cursor: logs were renamed, and their writer was not told yet.
const TELL: &str = "tell";

/// A cursor: all is rotated and told. Behind it is the number of attempts that went on from there.
const TIDY: &str = "tidy.";

/// Does all of it, as far as the time allows.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl Files + NotifyWriter + Measurements),
) -> Result<Outcome, Failure> {
    let cursor = context.cursor.as_deref();
    let tidied: Option<u64> = cursor.and_then(|cursor| cursor.strip_prefix(TIDY)?.parse().ok());
    if let Some(cursor) = cursor.filter(|cursor| *cursor != TELL && tidied.is_none()) {
        return Err(Failure::Permanent(format!(
            "`{cursor}` is not a cursor of log-rotation"
        )));
    }
    let mut task = Task {
        now: context.scheduled_at,
        params,
        on: target::directory(&params.directory),
        host,
        report: Report::new(),
        owes_notice: cursor == Some(TELL),
        is_rotated: tidied.is_some(),
    };
    match task.go() {
        Ok(()) => Ok(Outcome::Done(task.report)),
        Err(Error::Deadline) if task.owes_notice => Ok(Outcome::More(task.report, TELL.to_owned())),
        Err(Error::Deadline) => {
            let next = tidied.map_or(1, |attempts| attempts.saturating_add(1));
            Ok(Outcome::More(task.report, format!("{TIDY}{next}")))
        }
        Err(error) => Err(error.into()),
    }
}

struct Task<'a, H> {
    now: Instant,
    params: &'a Params,
    on: String,
    host: &'a mut H,
    report: Report,
    /// A log has another name, and its writer does not know.
    owes_notice: bool,
    is_rotated: bool,
}

impl<H: Files + NotifyWriter + Measurements> Task<'_, H> {
    fn go(&mut self) -> Result<(), Error> {
        let mut logs = self.list()?;
        if !self.is_rotated {
            self.rotate(&mut logs)?;
        }
        let expired = self.expired(&logs);
        self.remove(&expired)?;
        if self.params.r#do.contains(&Do::Compress) {
            self.compress(&logs, &expired)?;
        }
        self.judge(&logs);
        self.measure(&logs)
    }

    /// The logs and everything that was rotated from them, of any age.
    fn files(&self) -> FileFilter {
        let mut exclude = self.params.exclude.clone();
        exclude.extend(logs::unfinished());
        FileFilter {
            older_than: None,
            // A rename changes the ctime, a compression the btime; neither makes a log's lines younger.
            age_by: vec!["mtime".to_owned()],
            include: logs::globs(&self.params.include),
            exclude,
            recursive: true,
            directory_as_unit: false,
            remove_emptied: false,
        }
    }

    fn list(&mut self) -> Result<Logs, Error> {
        let filter = self.files();
        let mut logs = Logs::default();
        let mut cursor: Option<String> = None;
        loop {
            let page = self
                .host
                .entries(&self.params.directory, &filter, cursor.as_deref(), PAGE)?;
            page.entries.into_iter().for_each(|entry| logs.add(entry));
            cursor = page.cursor;
            if cursor.is_none() || logs.paths.len() >= FILES_MAX {
                break;
            }
        }
        logs.sort();
        if cursor.is_some() {
            let text = format!(
                "more than {} files are logs here, and only those were looked at",
                text::count(FILES_MAX as u64)
            );
            let finding = Finding::warn("too-many-files", &self.on, text);
            self.report
                .add(finding.next("give each program's logs a directory and a job of their own"));
        }
        if logs.paths.is_empty() {
            let text = format!("no file matches {}", self.params.include.join(", "));
            let finding = Finding::warn("nothing-found", &self.on, text);
            self.report
                .add(finding.next("look at `directory` and `include`, or at what should write there"));
        }
        Ok(logs)
    }

    /// Gives every log that is due a dated name, and tells the writer.
    fn rotate(&mut self, logs: &mut Logs) -> Result<(), Error> {
        let Some(how) = self.params.rotate else {
            return Ok(());
        };
        let (after, max_size) = (self.params.rotate_after, self.params.max_size);
        let mut due: Vec<String> = logs
            .by_path
            .iter()
            .filter(|(_, log)| log.is_due(self.now, after, max_size))
            .map(|(path, _)| path.clone())
            .collect();
        if due.len() > ROTATED_MAX {
            let text = format!(
                "{} logs are to be rotated, and one run rotates {ROTATED_MAX}; the next run goes on",
                text::count(due.len() as u64)
            );
            self.report.add(Finding::info("rotation-goes-on", &self.on, text));
            due.truncate(ROTATED_MAX);
        }
        if how == Rotate::Rename {
            self.owes_notice |= logs.by_path.values().any(|log| self.is_owed(log));
            if (!due.is_empty() || self.owes_notice) && !self.can_tell()? {
                return Ok(());
            }
        }
        let mut lost = 0;
        for path in due {
            let Some(to) = logs.free_name(&path, self.now) else {
                self.failed(&path, "every name that it could get is taken");
                continue;
            };
            let directory = &self.params.directory;
            let done = match how {
                Rotate::Rename => self.host.rename(directory, path.as_bytes(), to.as_bytes()),
                Rotate::Truncate => self.host.copy_truncate(directory, path.as_bytes(), to.as_bytes()),
            };
            match done {
                Ok(()) if how == Rotate::Rename => self.owes_notice = true,
                Ok(()) => lost += 1,
                Err(error) if error.is_local() => {
                    self.failed(&path, &error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            }
            rotated(logs, &path, to, self.now);
        }
        if lost > 0 {
            let text = format!(
                "{} copied and emptied where they are: what was written between the last look and the emptying is lost",
                text::counted(lost, "log was", "logs were")
            );
            let next =
                "use `rotate = \"rename\"` and a `writer`, if the program can be told to open its log anew";
            self.report
                .add(Finding::warn("lines-may-be-lost", &self.on, text).next(next));
        }
        self.tell()?;
        self.is_rotated = true;
        Ok(())
    }

    /// True when an earlier attempt may have died between a rename and the notice: the log is not there, though it was
    /// rotated not long ago.
    fn is_owed(&self, log: &Log) -> bool {
        let last = log.files.iter().rev().find_map(|file| match file.name.rotated {
            Rotated::At(at) if !file.name.is_compressed => Some(at),
            _ => None,
        });
        log.live.is_none() && last.is_some_and(|at| self.now.since(at) < OWED)
    }

    /// False when a renamed log would be written on for ever, because its writer would not hear of it.
    fn can_tell(&mut self) -> Result<bool, Error> {
        let Some(writer) = &self.params.writer else {
            return Ok(true);
        };
        match self.host.look(writer) {
            // Nobody has the log open, then.
            Ok(_) | Err(Error::NotFound(_)) => Ok(true),
            Err(error @ (Error::Fault(_) | Error::Denied(_) | Error::Invalid(_))) => {
                let text = format!("{error}; so no log was rotated");
                let finding = Finding::critical("writer-not-told", target::writer(writer), text);
                self.report
                    .add(finding.next(format!("look at [writer.{writer}]; the next run rotates")));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn tell(&mut self) -> Result<(), Error> {
        let Some(writer) = self.params.writer.as_ref().filter(|_| self.owes_notice) else {
            self.owes_notice = false;
            return Ok(());
        };
        match self.host.notify(writer) {
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(error) if error.is_local() => {
                let text = format!(
                    "{error}; its log has another name and it goes on in that file: nothing is lost, but the file grows"
                );
                let finding = Finding::critical("writer-not-told", target::writer(writer), text);
                self.report
                    .add(finding.next("tell it by hand to open its log anew, or run this job again"));
            }
            Err(error) => return Err(error),
        }
        self.owes_notice = false;
        Ok(())
    }

    fn failed(&mut self, path: &str, why: &str) {
        let text = format!("{path} was not rotated: {why}");
        self.report
            .add(Finding::warn("rotation-failed", &self.on, text).next("the next run tries again"));
    }

    /// The rotated files that go.
    fn expired<'l>(&self, logs: &'l Logs) -> Vec<&'l File> {
        if !self.params.r#do.contains(&Do::Remove) {
            return Vec::new();
        }
        let number = |number: i64| usize::try_from(number).unwrap_or_default();
        let at_least = number(self.params.keep_at_least);
        let at_most = self.params.keep_at_most.map(number);
        logs.by_path
            .values()
            .flat_map(|log| log.expired(self.now, self.params.keep, at_least, at_most, NEVER_YOUNGER))
            .collect()
    }

    /// The host removes what was last written before a cutoff; names may know more than that.
    fn remove(&mut self, expired: &[&File]) -> Result<(), Error> {
        let keep = self.params.keep.max(NEVER_YOUNGER);
        let cutoff = self.now - keep;
        let (old, others): (Vec<&File>, Vec<&File>) = expired
            .iter()
            .copied()
            .partition(|file| file.ended() < cutoff && file.written < cutoff);
        for (files, age) in [(old, keep), (others, NEVER_YOUNGER)] {
            let filter = self.files().older_than(self.now - age);
            for files in files.chunks(NAMED) {
                self.host.remove(&self.params.directory, &paths(files), &filter)?;
            }
        }
        Ok(())
    }

    fn compress(&mut self, logs: &Logs, expired: &[&File]) -> Result<(), Error> {
        let cutoff = self.now - self.params.compress_after;
        let mut plain: Vec<&File> = logs
            .by_path
            .values()
            .flat_map(|log| log.over(self.now))
            .filter(|file| !file.name.is_compressed && file.written < cutoff && !expired.contains(file))
            .collect();
        // What finds no room beside itself may find some once smaller files have given theirs back.
        plain.sort_by_key(|file| file.bytes);
        let filter = self.files().older_than(cutoff);
        let mut left: Vec<(Vec<u8>, String)> = Vec::new();
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().take(NAMED).take_while(|file| {
                let is_first = bytes == 0;
                bytes += file.bytes.max(1);
                is_first || bytes <= COMPRESSED_BYTES
            });
            let (files, later) = rest.split_at(fit.count());
            let done = self
                .host
                .compress(&self.params.directory, &paths(files), &filter)?;
            left.extend(done.left);
            rest = later;
        }
        for (why, code, says, next) in [
            (
                "being-written",
                "still-written",
                "rotated, and still open for writing",
                "the program that writes did not open its log anew; look at `writer`",
            ),
            (
                "no-space",
                "no-space",
                "not compressed, because the file system has no room for the copy",
                "remove something, or run `emergency-space`; the originals are as they were",
            ),
            (
                "name-taken",
                "name-taken",
                "not compressed, because a file of that name with `.gz` is there",
                "look which of the two is right, and remove the other",
            ),
        ] {
            let named: Vec<String> = left
                .iter()
                .filter(|(_, reason)| reason == why)
                .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
                .collect();
            if let Some(names) = few(&named) {
                self.report
                    .add(Finding::warn(code, &self.on, format!("{says}: {names}")).next(next));
            }
        }
        Ok(())
    }

    /// What a person should know of logs that nobody rotates, or that are written on after they were.
    fn judge(&mut self, logs: &Logs) {
        let expect = self.params.expect_within;
        let written_on: Vec<String> = logs
            .by_path
            .values()
            .flat_map(|log| &log.files)
            .filter(|file| {
                matches!(file.name.rotated, Rotated::At(at)
                    if !file.name.is_compressed && at < self.now && file.written > at + WRITTEN_ON)
            })
            .map(|file| file.path.clone())
            .collect();
        if let Some(names) = few(&written_on) {
            let text = format!("rotated, and still written: {names}");
            let next = "the program that writes did not open its log anew; look at `writer`";
            self.report
                .add(Finding::warn("still-written", &self.on, text).next(next));
        }
        for (path, log) in &logs.by_path {
            let Some(last) = log.rotated_last() else {
                // One that is young or small may just have begun.
                if log.live.is_some_and(|bytes| bytes >= self.params.max_size) {
                    let text = format!(
                        "{path} has {} and was never rotated",
                        text::bytes(log.live.unwrap_or_default())
                    );
                    self.report.add(not_rotated(&self.on, text));
                }
                continue;
            };
            let age = log.rotation_age(self.now, self.params.keep);
            if age.is_some_and(|age| age > expect) {
                let text = format!("{path} has no new rotated file since {last}");
                self.report.add(not_rotated(&self.on, text));
            }
        }
        if logs.unreadable > 0 {
            let text = format!(
                "{} that is no text, and were left alone",
                text::counted(logs.unreadable, "file has a name", "files have names")
            );
            self.report.add(Finding::info("unreadable-name", &self.on, text));
        }
    }

    fn measure(&mut self, logs: &Logs) -> Result<(), Error> {
        let filter = self.files();
        let now = self.host.summarize(&self.params.directory, &filter)?;
        let behind = logs
            .by_path
            .values()
            .filter_map(|log| log.rotation_age(self.now, self.params.keep))
            .max();
        let unknown = "nothing was rotated yet";
        for (name, unit, value) in [
            ("logs.count", Unit::Files, Some(now.files)),
            ("logs.bytes", Unit::Bytes, Some(now.bytes)),
            (
                "logs.rotation_age",
                Unit::Seconds,
                behind.map(|age| age.as_secs()),
            ),
        ] {
            self.host
                .measure(Measurement::count(name, &self.on, unit, value, unknown));
        }
        Ok(())
    }
}

fn not_rotated(on: &str, text: String) -> Finding {
    Finding::warn("not-rotated", on, text)
        .next("look whether the program writes there at all, and who rotates: it, or this job by `rotate`")
}

/// Notes that `path` is under the path `to`.
fn rotated(logs: &mut Logs, path: &str, to: String, now: Instant) {
    logs.paths.insert(to.clone());
    if let Some(log) = logs.by_path.get_mut(path) {
        let bytes = log.live.take().unwrap_or_default();
        log.files.push(File {
            name: Name::read(&to),
            path: to,
            written: now,
            bytes,
        });
    }
}

fn paths(files: &[&File]) -> Vec<Vec<u8>> {
    files.iter().map(|file| file.path.clone().into_bytes()).collect()
}

/// At most three of them; none of none.
fn few(names: &[String]) -> Option<String> {
    let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        1..=3 => Some(shown),
        more => Some(format!("{shown} and {} more", more - 3)),
    }
}

#[cfg(test)]
mod tests;
