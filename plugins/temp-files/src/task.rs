//! Decides which files go: first the old ones, then the oldest until the directory is under its size.
//!
//! The host does the walking, the looking and the removing. Nothing here knows whether it is a plan.

use sereno_plugin::{
    Batches, Context, Error, Failure, FileFilter, Files, Finding, Instant, Measurement, Measurements,
    Outcome, Report, Summary, Unit, in_batches, target, text,
};

use crate::{AgeBy, Params};

/// Entries that one host call visits at most: few enough to notice a cancel within a second, so many that the
/// calls cost nothing beside the work.
const BATCH_ENTRIES: u32 = 50_000;

/// Buckets of one histogram, the most the host offers: two passes then tell files apart that are a
/// sixteen-millionth of the whole span of time apart, which is a second in half a year.
const BUCKETS: u32 = 4_096;

/// Where a run is; also its cursor, so that an attempt goes on where the one before stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Removing what is older than `older_than`.
    Age(Option<String>),
    /// Looking for the cutoff that brings the directory under its size.
    Search,
    /// Removing what is older than that cutoff.
    Budget(Instant, Option<String>),
    /// Saying how it is now.
    Measure,
}

impl Step {
    fn write(&self) -> String {
        match self {
            Self::Age(cursor) => format!("age:{}", cursor.as_deref().unwrap_or_default()),
            Self::Search => "search".to_owned(),
            Self::Budget(cutoff, cursor) => {
                format!(
                    "budget:{}:{}",
                    cutoff.micros(),
                    cursor.as_deref().unwrap_or_default()
                )
            }
            Self::Measure => "measure".to_owned(),
        }
    }

    fn read(cursor: Option<&str>) -> Result<Self, Failure> {
        let Some(cursor) = cursor else {
            return Ok(Self::Age(None));
        };
        let inner = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (kind, rest) = cursor.split_once(':').unwrap_or((cursor, ""));
        match kind {
            "age" => Some(Self::Age(inner(rest))),
            "search" => Some(Self::Search),
            "budget" => rest.split_once(':').and_then(|(cutoff, rest)| {
                Some(Self::Budget(
                    Instant::from_micros(cutoff.parse().ok()?),
                    inner(rest),
                ))
            }),
            "measure" => Some(Self::Measure),
            _ => None,
        }
        .ok_or_else(|| Failure::Permanent(format!("`{cursor}` is not a cursor of temp-files")))
    }
}

/// Removes by age, then by size, then measures.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl Files + Measurements),
) -> Result<Outcome, Failure> {
    let mut task = Task {
        context,
        params,
        host,
    };
    let mut step = Step::read(context.cursor.as_deref())?;
    let mut report = Report::new();
    loop {
        let next = match task.take(&step, &mut report) {
            Ok(next) => next,
            Err(Error::Deadline) => Next::Later(step),
            Err(error) => return Err(error.into()),
        };
        match next {
            Next::Step(next) => step = next,
            Next::Later(step) => {
                return Ok(Outcome::More(report, step.write()));
            }
            Next::Done => {
                return Ok(Outcome::Done(report));
            }
        }
    }
}

enum Next {
    Step(Step),
    /// Time is nearly over.
    Later(Step),
    Done,
}

struct Task<'a, H> {
    context: &'a Context,
    params: &'a Params,
    host: &'a mut H,
}

impl<H: Files + Measurements> Task<'_, H> {
    fn take(&mut self, step: &Step, report: &mut Report) -> Result<Next, Error> {
        match step {
            Step::Age(cursor) => {
                let cutoff = self.context.cutoff(self.params.older_than);
                Ok(match self.remove(cutoff, cursor.clone())? {
                    Batches::OutOfTime(cursor) => Next::Later(Step::Age(cursor)),
                    Batches::Finished if self.params.max_total.is_some() => Next::Step(Step::Search),
                    Batches::Finished => Next::Step(Step::Measure),
                })
            }
            Step::Search => {
                let cutoff = self.budget_cutoff()?;
                Ok(Next::Step(
                    cutoff.map_or(Step::Measure, |cutoff| Step::Budget(cutoff, None)),
                ))
            }
            Step::Budget(cutoff, cursor) => Ok(match self.remove(*cutoff, cursor.clone())? {
                Batches::OutOfTime(cursor) => Next::Later(Step::Budget(*cutoff, cursor)),
                Batches::Finished => Next::Step(Step::Measure),
            }),
            Step::Measure => {
                self.measure(report)?;
                Ok(Next::Done)
            }
        }
    }

    /// The files that this job is about, of any age.
    fn files(&self) -> FileFilter {
        FileFilter {
            older_than: None,
            age_by: self
                .params
                .age_by
                .iter()
                .copied()
                .map(AgeBy::as_str)
                .map(str::to_owned)
                .collect(),
            include: self.params.include.clone(),
            exclude: self.params.exclude.clone(),
            recursive: self.params.recursive,
            directory_as_unit: self.params.directory_as_unit,
            remove_emptied: self.params.remove_emptied,
        }
    }

    fn remove(&mut self, cutoff: Instant, from: Option<String>) -> Result<Batches, Error> {
        let filter = self.files().older_than(cutoff);
        in_batches(from, |cursor| {
            let removal = self
                .host
                .remove_batch(&self.params.directory, &filter, cursor, BATCH_ENTRIES)?;
            Ok(removal.cursor)
        })
    }

    /// The earliest cutoff that brings the directory under `max_total`, as near as two histograms can tell; none
    /// when it is under it already, or nothing may go.
    fn budget_cutoff(&mut self) -> Result<Option<Instant>, Error> {
        let Some(limit) = self.params.max_total else {
            return Ok(None);
        };
        let all = self.host.summarize(&self.params.directory, &self.files())?;
        let excess = all.bytes.saturating_sub(limit);
        let newest_cutoff = self.context.cutoff(self.params.max_total_keep);
        let Some(oldest) = all.oldest.filter(|oldest| excess > 0 && *oldest < newest_cutoff) else {
            return Ok(None);
        };
        let coarse = self.deciding_bucket(excess, oldest, newest_cutoff)?;
        let fine = match coarse {
            // Buckets of a microsecond cannot be told apart any further.
            Some((from, until)) if until.micros() - from.micros() > 1 => {
                self.deciding_bucket(excess, from, until)?
            }
            other => other,
        };
        // When all that may go is not enough, all of it goes, and the measuring tells what is still over.
        Ok(Some(fine.map_or(newest_cutoff, |(_, until)| until)))
    }

    /// The bucket between `start` and `end` in which the bytes from the oldest on reach `excess`. The first bucket
    /// counts what is older, so that the sum is over all of the older files in every pass.
    fn deciding_bucket(
        &mut self,
        excess: u64,
        start: Instant,
        end: Instant,
    ) -> Result<Option<(Instant, Instant)>, Error> {
        let filter = self.files().older_than(end);
        let buckets = self
            .host
            .age_histogram(&self.params.directory, &filter, start, end, BUCKETS)?;
        let mut bytes = 0_u64;
        let deciding = buckets.iter().position(|bucket| {
            bytes = bytes.saturating_add(bucket.bytes);
            bytes >= excess
        });
        Ok(deciding.map(|place| {
            let until = buckets.get(place + 1).map_or(end, |next| next.from);
            (buckets[place].from, until)
        }))
    }

    fn measure(&mut self, report: &mut Report) -> Result<(), Error> {
        let name = &self.params.directory;
        let on = target::directory(name);
        let left = self.host.summarize(name, &self.files())?;
        let usage = self.host.usage(name)?;
        let used_percent = usage
            .bytes_total
            .zip(usage.bytes_free)
            .filter(|(total, _)| *total > 0)
            .map(|(total, free)| total.saturating_sub(free) as f64 * 100.0 / total as f64);
        let unknown = "the file system does not tell";
        self.host.measure(Measurement::count(
            "files.count",
            &on,
            Unit::Files,
            Some(left.files),
            unknown,
        ));
        self.host.measure(Measurement::count(
            "files.bytes",
            &on,
            Unit::Bytes,
            Some(left.bytes),
            unknown,
        ));
        self.host.measure(Measurement::new(
            "disk.used_percent",
            &on,
            Unit::Percent,
            used_percent,
            unknown,
        ));
        if let Some(limit) = self.params.max_total.filter(|limit| left.bytes > *limit) {
            report.add(self.over_budget(on, left, limit));
        }
        Ok(())
    }

    fn over_budget(&self, on: String, left: Summary, limit: u64) -> Finding {
        let text = format!(
            "{} in {} are left, more than the {} of `max_total`: none of them that may go is older than {}",
            text::bytes(left.bytes),
            text::counted(left.files, "file", "files"),
            text::bytes(limit),
            text::duration(self.params.max_total_keep),
        );
        Finding::warn("over-budget", on, text).next(
            "raise `max_total`, or lower `max_total_keep` together with the guard `retention_floor`, or find out what \
             writes so much",
        )
    }
}

#[cfg(test)]
mod tests;
