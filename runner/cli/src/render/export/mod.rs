//! Schedules as files of other schedulers, the same bytes for the same configuration.
//!
//! When things run is said in core; here it is only written down. Nothing is written to a disk.

pub(crate) mod crontab;
pub(crate) mod eventbridge;
pub(crate) mod kubernetes;

use std::path::Path;
use std::time::Duration;

use sereno_core::job::{Config, Job};
use sereno_core::run::Work;
use sereno_core::schedule::Schedule;

/// What is exported, and where it will find its configuration.
pub(crate) struct Installed<'a> {
    pub(crate) config: &'a Config,
    /// At the place that it runs.
    pub(crate) file: &'a Path,
}

/// A file.
pub(crate) struct Exported {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// What has a schedule, and the schedule.
pub(crate) type Scheduled<'a> = (Work, &'a Schedule);

/// A scheduled time is overtaken by the next one after this.
const AGE_MAX: Duration = Duration::from_hours(12);

impl Installed<'_> {
    /// The jobs that `work` runs.
    fn jobs(&self, work: &Work) -> Vec<&Job> {
        match work {
            Work::Job(name) => self.config.jobs.get(name).into_iter().collect(),
            Work::Round(name) => self.config.rounds.get(name).map_or_else(Vec::new, |round| {
                let steps = round.steps.iter();
                steps.filter_map(|step| self.config.jobs.get(&step.job)).collect()
            }),
        }
    }

    /// How late a scheduled time still counts: as dispatch reckons it.
    fn age_max(&self, work: &Work, schedule: &Schedule) -> Duration {
        let of_job = work
            .job()
            .and_then(|name| self.config.jobs.get(name)?.max_event_age);
        let half = schedule.period_estimate().map(|period| period / 2);
        of_job.unwrap_or_else(|| half.map_or(AGE_MAX, |half| half.min(AGE_MAX)))
    }

    /// Tries after the first.
    fn retries(&self, work: &Work) -> u32 {
        let jobs = self.jobs(work);
        jobs.iter().map(|job| job.retries).max().unwrap_or_default()
    }

    /// What is run, as the program is told it.
    fn words(&self, work: &Work) -> Vec<String> {
        let config = self.file.display().to_string();
        let mut words = vec!["--config".to_owned(), config, "run".to_owned()];
        match work {
            Work::Job(name) => words.push(name.to_string()),
            Work::Round(name) => words.extend(["--round".to_owned(), name.to_string()]),
        }
        words.extend(["--tick", "--fail-on", "none"].map(str::to_owned));
        words
    }
}

/// A text as YAML's double-quoted scalar, which JSON's strings are.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
