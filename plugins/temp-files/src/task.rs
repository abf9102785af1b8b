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
mod tests {
    use std::time::Duration;

    use sereno_plugin::testing::{FakeHost, at, context, days, hours};
    use sereno_plugin::{DiskUsage, Severity};

    use super::*;

    fn now() -> Instant {
        at("2026-11-24 02:30")
    }

    fn params() -> Params {
        Params {
            directory: "temp".to_owned(),
            older_than: hours(24),
            age_by: vec![AgeBy::Mtime],
            include: Vec::new(),
            exclude: Vec::new(),
            recursive: true,
            directory_as_unit: false,
            remove_emptied: true,
            max_total: None,
            max_total_keep: days(1),
        }
    }

    /// Files by name, bytes and age in hours.
    fn host(files: &[(&str, u64, u64)]) -> FakeHost {
        let mut host = FakeHost::new();
        for (name, bytes, age) in files {
            host.directory("temp").file(name, *bytes, now() - hours(*age));
        }
        host
    }

    /// Runs to the end, however many attempts it takes; answers their number and every finding.
    fn to_the_end(params: &Params, host: &mut FakeHost) -> (usize, Vec<Finding>) {
        let mut context = context(now());
        let mut findings = Vec::new();
        for attempt in 1..100 {
            match run(&context, params, host).expect("no failure") {
                Outcome::Done(report) => {
                    findings.extend(report.findings);
                    return (attempt, findings);
                }
                Outcome::More(report, cursor) => {
                    findings.extend(report.findings);
                    assert_ne!(context.cursor.as_ref(), Some(&cursor), "every attempt moves on");
                    context.cursor = Some(cursor);
                }
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn old_files_go_and_younger_ones_stay_and_one_exactly_at_the_cutoff_stays_too() {
        let mut host = host(&[
            ("old", 1, 25),
            ("sub/older", 1, 99),
            ("exact", 1, 24),
            ("new", 1, 1),
            (".hidden", 1, 48),
        ]);
        host.directory("temp").folder("sub/empty");
        assert_eq!(to_the_end(&params(), &mut host), (1, vec![]));
        assert_eq!(host.directory("temp").names(), ["exact", "new"]);
        assert_eq!(host.directory("temp").folders(), [""; 0]);
        assert_eq!(to_the_end(&params(), &mut host), (1, vec![]));
        assert_eq!(
            host.directory("temp").names(),
            ["exact", "new"],
            "the second run finds nothing"
        );
    }

    #[test]
    fn include_and_exclude_and_depth_say_which_files_are_meant() {
        let files = [
            ("a.tmp", 1, 99),
            ("a.log", 1, 99),
            ("keep.tmp", 1, 99),
            ("sub/b.tmp", 1, 99),
        ];
        let mut host = host(&files);
        let params = Params {
            include: vec!["**/*.tmp".to_owned()],
            exclude: vec!["keep.*".to_owned()],
            recursive: false,
            ..params()
        };
        to_the_end(&params, &mut host);
        assert_eq!(host.directory("temp").names(), ["a.log", "keep.tmp", "sub/b.tmp"]);
        to_the_end(
            &Params {
                recursive: true,
                ..params
            },
            &mut host,
        );
        assert_eq!(host.directory("temp").names(), ["a.log", "keep.tmp"]);
    }

    #[test]
    fn the_newest_of_the_named_stamps_decides() {
        let (old, new) = (now() - hours(99), now() - hours(1));
        let mut host = FakeHost::new();
        host.directory("temp")
            .stamped("moved-here", 1, [old, new, old])
            .stamped("old", 1, [old; 3]);
        to_the_end(
            &Params {
                age_by: vec![AgeBy::Mtime, AgeBy::Ctime, AgeBy::Btime],
                ..params()
            },
            &mut host,
        );
        assert_eq!(host.directory("temp").names(), ["moved-here"], "its ctime is new");
        to_the_end(
            &Params {
                age_by: vec![AgeBy::Mtime, AgeBy::Btime],
                ..params()
            },
            &mut host,
        );
        assert_eq!(host.directory("temp").names(), [""; 0]);
    }

    #[test]
    fn a_directory_as_a_unit_goes_whole_or_stays_whole() {
        let mut host = host(&[
            ("done/a", 1, 99),
            ("done/b", 1, 50),
            ("busy/a", 1, 99),
            ("busy/b", 1, 1),
            ("c", 1, 99),
        ]);
        to_the_end(
            &Params {
                directory_as_unit: true,
                ..params()
            },
            &mut host,
        );
        assert_eq!(host.directory("temp").names(), ["busy/a", "busy/b"]);
        assert_eq!(host.directory("temp").folders(), ["busy"]);
    }

    #[test]
    fn over_its_size_the_oldest_go_first_and_no_more_than_needed() {
        let mut host = host(&[
            ("a", 100, 60),
            ("b", 100, 50),
            ("c", 100, 40),
            ("d", 100, 30),
            ("e", 100, 2),
        ]);
        let params = Params {
            older_than: days(30),
            max_total: Some(300),
            ..params()
        };
        assert_eq!(to_the_end(&params, &mut host).1, []);
        assert_eq!(host.directory("temp").names(), ["c", "d", "e"]);
        assert_eq!(
            host.measured("files.bytes", "directory.temp"),
            Some(300.0),
            "at the limit is under it"
        );
        let calls = host
            .calls
            .iter()
            .filter(|call| call.starts_with("age_histogram"))
            .count();
        assert_eq!(calls, 2, "one coarse pass and one fine one");
    }

    #[test]
    fn the_size_is_reached_among_thousands_of_files_within_one_file() {
        let mut host = FakeHost::new();
        for number in 0..5_000_u64 {
            // A minute apart, the first the oldest.
            let stamp = now() - days(10) + Duration::from_secs(60 * number);
            host.directory("temp").file(&format!("{number:04}"), 1_000, stamp);
        }
        let params = Params {
            older_than: days(30),
            max_total: Some(1_234_567),
            ..params()
        };
        assert_eq!(to_the_end(&params, &mut host).1, []);
        let names = host.directory("temp").names();
        assert_eq!(names.len(), 1_234, "as many as fit");
        assert_eq!(names.first(), Some(&"3766"), "and the youngest of them");
    }

    #[test]
    fn what_is_too_young_never_goes_for_the_size_and_the_rest_is_a_finding() {
        let mut host = host(&[("old", 100, 30), ("young", 600 << 20, 20), ("new", 100, 1)]);
        let params = Params {
            older_than: days(30),
            max_total: Some(500 << 20),
            ..params()
        };
        let (_, findings) = to_the_end(&params, &mut host);
        assert_eq!(host.directory("temp").names(), ["new", "young"]);
        let [finding] = findings.as_slice() else {
            panic!("{findings:#?}")
        };
        assert_eq!(
            (finding.code.as_str(), finding.severity),
            ("over-budget", Severity::Warn)
        );
        assert_eq!(finding.target, "directory.temp");
        assert_eq!(
            finding.text,
            "600 MiB in 2 files are left, more than the 500 MiB of `max_total`: none of them that may go is older than \
             1 day"
        );
    }

    #[test]
    fn excluded_files_neither_go_for_the_size_nor_count_against_it() {
        let mut host = host(&[("a.tmp", 100, 60), ("b.tmp", 100, 50), ("big.log", 9_000, 99)]);
        let exclude = vec!["*.log".to_owned()];
        let params = Params {
            older_than: days(30),
            max_total: Some(200),
            exclude,
            ..params()
        };
        assert_eq!(to_the_end(&params, &mut host).1, []);
        assert_eq!(host.directory("temp").names(), ["a.tmp", "b.tmp", "big.log"]);
    }

    #[test]
    fn a_file_that_cannot_be_removed_stays_and_the_others_go() {
        let mut host = host(&[("a", 1, 99), ("b", 1, 99), ("c", 1, 99)]);
        host.directory("temp").pin("b");
        // That it stays is counted and told by the host.
        assert_eq!(to_the_end(&params(), &mut host).1, []);
        assert_eq!(host.directory("temp").names(), ["b"]);
    }

    #[test]
    fn a_deadline_in_any_step_ends_in_order_and_the_next_attempt_goes_on() {
        let files = [
            ("a", 100, 999),
            ("b", 100, 60),
            ("c", 100, 50),
            ("d", 100, 40),
            ("e", 100, 1),
        ];
        let params = Params {
            older_than: days(30),
            max_total: Some(200),
            ..params()
        };
        for (call, nth) in [
            ("remove_batch", 2),
            ("summarize", 1),
            ("age_histogram", 2),
            ("remove_batch", 4),
            ("summarize", 2),
            ("usage", 1),
        ] {
            let mut host = host(&files);
            host.batch_max = Some(2);
            host.fail(call, nth, Error::Deadline);
            let (attempts, findings) = to_the_end(&params, &mut host);
            assert_eq!((attempts, findings), (2, vec![]), "{call} {nth}");
            assert_eq!(host.directory("temp").names(), ["d", "e"], "{call} {nth}");
            host.measured("files.count", "directory.temp");
        }
    }

    #[test]
    fn every_cursor_is_read_back_and_a_foreign_one_is_refused() {
        let inner = || Some("a:b/ü".to_owned());
        for step in [
            Step::Age(None),
            Step::Age(inner()),
            Step::Search,
            Step::Budget(now(), None),
            Step::Budget(Instant::from_micros(-5), inner()),
            Step::Measure,
        ] {
            assert_eq!(Step::read(Some(&step.write())), Ok(step));
        }
        for foreign in ["", "budget:", "budget:x:y", "rows:7"] {
            assert!(
                matches!(Step::read(Some(foreign)), Err(Failure::Permanent(_))),
                "{foreign}"
            );
        }
    }

    #[test]
    fn what_the_host_refuses_is_passed_on() {
        let mut host = host(&[("a", 1, 99)]);
        host.fail("remove_batch", 1, Error::Guard("max_files".to_owned()));
        let refused = run(&context(now()), &params(), &mut host);
        assert_eq!(
            refused,
            Err(Failure::PassedOn(Error::Guard("max_files".to_owned())))
        );
        assert_eq!(host.directory("temp").names(), ["a"]);
    }

    #[test]
    fn the_measurements_are_of_what_is_left_and_the_unknown_is_not_0() {
        let mut host = host(&[("old", 7, 99), ("new", 5, 1)]);
        host.directory("temp").usage = DiskUsage {
            bytes_total: Some(1_000),
            bytes_free: Some(150),
            ..DiskUsage::default()
        };
        to_the_end(&params(), &mut host);
        assert_eq!(host.measured("files.count", "directory.temp"), Some(1.0));
        assert_eq!(host.measured("files.bytes", "directory.temp"), Some(5.0));
        assert_eq!(host.measured("disk.used_percent", "directory.temp"), Some(85.0));

        let mut host = self::host(&[]);
        host.directory("temp");
        to_the_end(&params(), &mut host);
        assert_eq!(host.measured("files.count", "directory.temp"), Some(0.0));
        assert_eq!(host.measured("disk.used_percent", "directory.temp"), None);
    }
}
