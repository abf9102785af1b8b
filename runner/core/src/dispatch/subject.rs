//! What admission has to know of the work of a request, be it a job or a round.
//!
//! Nothing is opened or decided here.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;

use super::examine::Examined;
use crate::grant::Path;
use crate::job::{Config, DatabaseTarget, Job, Scope};
use crate::round::Round;
use crate::run::{Work, digest};
use crate::schedule::Schedule;

/// See the module.
pub(super) struct Subject {
    pub(super) work: Work,
    /// Sorted.
    pub(super) targets: Vec<String>,
    /// One of them is this machine's own.
    pub(super) is_host_scoped: bool,
    /// None while nobody knows them.
    pub(super) params: Json,
    pub(super) consent: String,
    pub(super) digest: String,
    /// How long it waits for what others have leased.
    pub(super) wait: Duration,
    pub(super) schedule: Option<Schedule>,
    pub(super) max_event_age: Option<Duration>,
}

impl Subject {
    /// A job that makes sense.
    pub(super) fn of(examined: &Examined) -> Self {
        Self {
            targets: examined.targets.clone(),
            is_host_scoped: !examined.host_scoped.is_empty(),
            params: examined.params.clone(),
            consent: examined.consent.clone(),
            digest: examined.plugin.digest.clone(),
            ..Self::of_job(&examined.job)
        }
    }

    /// A job of which nobody knows whether it makes sense: its targets are those that it was granted.
    pub(super) fn unexamined(config: &Config, job: &Job) -> Self {
        let targets = granted(job);
        Self {
            is_host_scoped: targets.iter().any(|target| is_of_host(config, target)),
            targets: targets
                .iter()
                .map(Path::target)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            ..Self::of_job(job)
        }
    }

    /// A round: its targets are those that its jobs were granted, and it is this machine's own when one of them is.
    pub(super) fn of_round(config: &Config, round: &Round) -> Self {
        let jobs = || round.steps.iter().filter_map(|step| config.jobs.get(&step.job));
        let targets: Vec<Path> = jobs().flat_map(granted).collect();
        let steps: Vec<_> = round.steps.iter().map(|step| (&step.job, &step.after)).collect();
        Self {
            work: round.name.clone().into(),
            is_host_scoped: targets.iter().any(|target| is_of_host(config, target)),
            targets: targets
                .iter()
                .map(Path::target)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            params: serde_json::json!({}),
            consent: digest(serde_json::json!(steps).to_string().as_bytes()),
            digest: String::new(),
            wait: jobs().map(|job| job.wait).max().unwrap_or_default(),
            schedule: round.schedule.clone(),
            max_event_age: None,
        }
    }

    fn of_job(job: &Job) -> Self {
        Self {
            work: job.name.clone().into(),
            targets: Vec::new(),
            is_host_scoped: false,
            params: Json::Null,
            consent: String::new(),
            digest: String::new(),
            wait: job.wait,
            schedule: job.schedule.clone(),
            max_event_age: job.max_event_age,
        }
    }
}

/// What a job was granted, whether its plugin needs it or not.
fn granted(job: &Job) -> Vec<Path> {
    job.grants.0.keys().cloned().collect()
}

/// True when what the path is in is this machine's own.
fn is_of_host(config: &Config, on: &Path) -> bool {
    match on {
        Path::Directory(name) => config
            .directories
            .get(name)
            .is_some_and(|directory| directory.scope == Scope::Host),
        Path::Table(name, _) | Path::AllTables(name) | Path::Whole(name) | Path::Query(name, _) => {
            config.databases.get(name).is_some_and(DatabaseTarget::is_of_host)
        }
        Path::Storage(name) => config
            .storages
            .get(name)
            .is_some_and(|storage| storage.scope == Scope::Host),
        Path::Origin(_) => false,
        Path::Writer(_) => true,
    }
}
