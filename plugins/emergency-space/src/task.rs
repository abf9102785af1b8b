//! Climbs the ladder: says how full each file system is, does each step while it is above the target, and says what is left.
//!
//! It looks again after every call, so that no more goes than it takes, and gives a step up whose files give nothing back. Nothing
//! here knows whether it is a plan.

use std::collections::BTreeSet;

use sereno_plugin::{
    Context, DatabaseRead, DiskUsage, Error, Failure, Files, Finding, Measurement, Measurements, Outcome,
    Report, Unit, target, text,
};

use crate::room::{self, Excess};
use crate::step::{self, Candidate, Queue};
use crate::{Params, Steps, StepsDo, StepsFirst, StepsWhat};

/// A slot that holds back more than this is worth a word when space is short.
const SLOT_BYTES: u64 = 64 << 20;

/// So much may be taken by others meanwhile without anybody wondering: the ledger's ballast alone is half of it.
const NOISE_BYTES: u64 = 16 << 20;

/// Where a run is; also its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The step, from 0.
    step: usize,
    /// Attempts that ended there or before.
    attempts: u64,
}

impl Place {
    fn read(cursor: Option<&str>) -> Result<Self, Failure> {
        let Some(cursor) = cursor else {
            return Ok(Self { step: 0, attempts: 0 });
        };
        let read = || {
            let (step, attempts) = cursor.split_once('.')?;
            Some(Self {
                step: step.parse().ok()?,
                attempts: attempts.parse().ok()?,
            })
        };
        read().ok_or_else(|| Failure::Permanent(format!("`{cursor}` is not a cursor of emergency-space")))
    }
}

/// Looks, and climbs.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl Files + DatabaseRead + Measurements),
) -> Result<Outcome, Failure> {
    if params.steps.is_empty() {
        let text = "`steps` is empty: name what may be done, in the order in which it is";
        return Err(Failure::InvalidParams(text.to_owned()));
    }
    let mut task = Task {
        context,
        params,
        host,
        place: Place::read(context.cursor.as_deref())?,
        report: Report::new(),
    };
    match task.work() {
        Ok(()) => Ok(Outcome::Done(task.report)),
        Err(Error::Deadline) => {
            let Place { step, attempts } = task.place;
            Ok(Outcome::More(
                task.report,
                format!("{step}.{}", attempts.saturating_add(1)),
            ))
        }
        Err(error) => Err(error.into()),
    }
}

struct Task<'a, H> {
    context: &'a Context,
    params: &'a Params,
    host: &'a mut H,
    place: Place,
    report: Report,
}

/// What a step has done so far.
#[derive(Debug, Default)]
struct Did {
    files: u64,
    bytes: u64,
    /// Of compressed copies.
    bytes_after: u64,
    no_room: u64,
    /// Left for another reason.
    left: u64,
}

impl Did {
    const fn freed(&self) -> u64 {
        self.bytes.saturating_sub(self.bytes_after)
    }
}

impl<H: Files + DatabaseRead + Measurements> Task<'_, H> {
    fn work(&mut self) -> Result<(), Error> {
        if self.context.cursor.is_none() {
            self.diagnose()?;
        }
        for number in self.place.step..self.params.steps.len() {
            self.place.step = number;
            let step = &self.params.steps[number];
            match self.climb(number, step) {
                Ok(()) => {}
                // In an emergency the next step counts.
                Err(error) if error.is_local() => {
                    let text = format!("step {}: could not be done, {error}", number + 1);
                    let finding = Finding::warn("step-failed", target::directory(&step.directory), text);
                    self.report.add(match error {
                        Error::Denied(line) => finding.next(format!("add `{line}` to the job's grants")),
                        _ => finding,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        self.tell_the_end()
    }

    /// The directories of the ladder, each once.
    fn directories(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let all = self.params.steps.iter().map(|step| &step.directory);
        all.filter(|name| seen.insert((*name).clone())).cloned().collect()
    }

    /// How full it is, before anything is done.
    fn diagnose(&mut self) -> Result<(), Error> {
        for name in self.directories() {
            let usage = match self.host.usage(&name) {
                Ok(usage) => usage,
                // Its steps tell.
                Err(error) if error.is_local() => continue,
                Err(error) => return Err(error),
            };
            let on = target::directory(&name);
            match Excess::of(&usage, self.params) {
                Some(excess) if excess.is_none() => {}
                Some(excess) => {
                    let text = format!("its file system is {}", room::words(&usage, excess));
                    let next = format!("the target is {}", room::target(self.params));
                    self.report.add(Finding::warn("full", on, text).next(next));
                }
                None => {
                    let text = "its file system does not tell how full it is: its steps are left out";
                    self.report.add(Finding::warn("usage-unknown", on, text));
                }
            }
        }
        self.look_at_slots()
    }

    /// What no step touches, and may hold back more than all of them free.
    fn look_at_slots(&mut self) -> Result<(), Error> {
        let Some(database) = &self.params.database else {
            return Ok(());
        };
        let on = target::database(database);
        match self.host.activities(database) {
            Ok(activities) => {
                for slot in activities.iter().filter(|one| one.kind == "slot") {
                    let bytes = slot.amount.unwrap_or(0);
                    if bytes >= SLOT_BYTES {
                        let note = slot
                            .note
                            .as_deref()
                            .map_or(String::new(), |note| format!(" ({note})"));
                        let text = format!("{} holds back {} of WAL{note}", slot.what, text::bytes(bytes));
                        let next = "bring its consumer back, or drop it: SELECT pg_drop_replication_slot('NAME'); the server \
                             then removes the WAL by itself, and nobody else may";
                        self.report
                            .add(Finding::critical("slot-holds", &*on, text).next(next));
                    }
                }
                Ok(())
            }
            Err(error) if error.is_local() => {
                let text = format!("its replication slots could not be looked at: {error}");
                self.report.add(Finding::warn("not-looked-at", on, text));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// By how much the step's file system is above the target, as far as the step can bring it down.
    fn excess(&self, step: &Steps, usage: &DiskUsage) -> Option<Excess> {
        let excess = Excess::of(usage, self.params)?;
        let excess = match step.r#do {
            StepsDo::Remove => excess,
            // It takes as many inodes as it gives.
            StepsDo::Compress => Excess { files: 0, ..excess },
        };
        (!excess.is_none()).then_some(excess)
    }

    fn climb(&mut self, number: usize, step: &Steps) -> Result<(), Error> {
        let mut usage = self.host.usage(&step.directory)?;
        if self.excess(step, &usage).is_none() {
            return Ok(());
        }
        let mut did = Did::default();
        let done = self.free(step, &mut usage, &mut did);
        let on = target::directory(&step.directory);
        let mark = format!("step {}", number + 1);
        if did.files > 0 {
            let excess = Excess::of(&usage, self.params).unwrap_or_default();
            let text = format!(
                "{mark}: {}; then {}",
                words(step, &did),
                room::words(&usage, excess)
            );
            self.report
                .add(Finding::info(&format!("step-{}", step.r#do.as_str()), &*on, text));
        }
        if did.no_room > 0 {
            let text = format!(
                "{mark}: {} not compressed, because there was no room for a copy",
                text::counted(did.no_room, "file was", "files were")
            );
            let next = "put a step that removes before it; the originals are as they were";
            self.report
                .add(Finding::warn("step-no-space", &*on, text).next(next));
        }
        if did.left > 0 {
            let text = format!(
                "{mark}: {} left as they were: still written, of a name that is taken, or not permitted",
                text::counted(did.left, "file was", "files were")
            );
            self.report.add(Finding::warn("step-left", &*on, text));
        }
        let gives_back = done?;
        if !gives_back {
            let text = format!(
                "{mark}: given up, because {} went and the file system did not become that much freer",
                text::bytes(did.freed())
            );
            let next = "somebody has these files open, or writes as fast: `lsof +L1` names them, and a restart of that program \
                        frees the space";
            self.report
                .add(Finding::warn("step-freed-nothing", &*on, text).next(next));
        } else if did.files == 0 && did.no_room == 0 && did.left == 0 {
            let text = format!(
                "{mark}: there is nothing to {} that is older than {}",
                step.r#do.as_str(),
                text::duration(step.older_than)
            );
            self.report.add(Finding::info("step-empty", on, text));
        }
        Ok(())
    }

    /// Does the step until the target is reached or nothing is left. False: what it takes gives no room.
    fn free(&mut self, step: &Steps, usage: &mut DiskUsage, did: &mut Did) -> Result<bool, Error> {
        loop {
            let mut queue = step::look(step, self.context, self.host)?;
            let before = did.files;
            while let Some(excess) = self.excess(step, usage) {
                let files = queue.take(excess, step.r#do);
                if files.is_empty() {
                    break;
                }
                let (freed, no_room) = (did.freed(), did.no_room);
                self.take(step, &files, did)?;
                let now = self.host.usage(&step.directory)?;
                let free = usage.bytes_free.zip(now.bytes_free);
                *usage = now;
                let went = did.freed() - freed;
                let freer = free.map_or(went, |(before, now)| now.saturating_sub(before));
                if went.saturating_sub(freer) > NOISE_BYTES.max(went / 2) {
                    return Ok(false);
                }
                // The others are larger.
                if did.no_room - no_room == files.len() as u64 {
                    return Ok(true);
                }
            }
            let is_over = self.excess(step, usage).is_none();
            let Queue { has_more, .. } = queue;
            // What could not be taken would be found again.
            if is_over || !has_more || did.files == before || step.r#do == StepsDo::Compress {
                return Ok(true);
            }
        }
    }

    /// Removes or compresses these files.
    fn take(&mut self, step: &Steps, files: &[Candidate], did: &mut Did) -> Result<(), Error> {
        let filter = step::filter(step, self.context);
        let paths: Vec<Vec<u8>> = files.iter().map(|file| file.path.clone()).collect();
        match step.r#do {
            StepsDo::Remove => {
                let removal = self.host.remove(&step.directory, &paths, &filter)?;
                did.files += removal.files;
                did.bytes += removal.bytes;
                did.left += removal.skipped;
            }
            StepsDo::Compress => {
                let done = self.host.compress(&step.directory, &paths, &filter)?;
                did.files += done.files;
                did.bytes += done.bytes;
                did.bytes_after += done.bytes_after;
                for (_, why) in &done.left {
                    match why.as_str() {
                        "no-space" => did.no_room += 1,
                        // Others may have removed it.
                        "gone" | "not-matching" => {}
                        _ => did.left += 1,
                    }
                }
            }
        }
        Ok(())
    }

    fn tell_the_end(&mut self) -> Result<(), Error> {
        for name in self.directories() {
            let usage = match self.host.usage(&name) {
                Ok(usage) => usage,
                Err(error) if error.is_local() => DiskUsage::default(),
                Err(error) => return Err(error),
            };
            let on = target::directory(&name);
            let unknown = "the file system does not tell";
            for (reading, unit, value) in [
                ("disk.used_percent", Unit::Percent, room::used_percent(&usage)),
                (
                    "disk.free_bytes",
                    Unit::Bytes,
                    usage.bytes_free.map(|free| free as f64),
                ),
            ] {
                self.host
                    .measure(Measurement::new(reading, &on, unit, value, unknown));
            }
            let Some(excess) = Excess::of(&usage, self.params) else {
                continue;
            };
            let words = room::words(&usage, excess);
            if excess.is_none() {
                let text = format!(
                    "its file system is {words}: {}, and no further step is needed",
                    room::target(self.params)
                );
                self.report.add(Finding::info("below-target", on, text));
            } else {
                let text = format!("its file system is still {words}, and the ladder has no further step");
                let next = format!(
                    "the target is {}: look at what else is large (`du -xh DIRECTORY | sort -h | tail`), add a step, lower \
                     `older_than` together with the guard `retention_floor`, or make the file system larger; never remove \
                     anything by hand from a database's directory, its `pg_wal` least of all",
                    room::target(self.params)
                );
                self.report
                    .add(Finding::critical("above-target", on, text).next(next));
            }
        }
        Ok(())
    }
}

/// `removes 12 files with 34 MiB, the oldest first`.
fn words(step: &Steps, did: &Did) -> String {
    let files = match step.what {
        StepsWhat::Files => text::counted(did.files, "file", "files"),
        StepsWhat::RotatedLogs => text::counted(did.files, "rotated log", "rotated logs"),
    };
    match (step.r#do, step.first) {
        (StepsDo::Compress, _) => format!(
            "compresses {files} with {} to {}",
            text::bytes(did.bytes),
            text::bytes(did.bytes_after)
        ),
        (StepsDo::Remove, StepsFirst::Oldest) => {
            format!(
                "removes {files} with {}, the oldest first",
                text::bytes(did.bytes)
            )
        }
        (StepsDo::Remove, StepsFirst::Largest) => {
            format!(
                "removes {files} with {}, the largest first",
                text::bytes(did.bytes)
            )
        }
    }
}

#[cfg(test)]
mod tests;
