//! `schedule next`: when jobs are due.

use chrono::SubsecRound as _;
use sereno_core::name::JobName;
use sereno_core::value::Instant;

use super::source;
use crate::args::{Global, Schedule};
use crate::compose;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::jobs::{due, due_json, next_runs};

pub(super) fn schedule(global: &Global, args: &Schedule, output: &Output) -> Result<u8, Failure> {
    let Schedule::Next { job: only, count } = args;
    let config = source(global)?.parse(output)?;
    if let Some(name) = only
        && config.job(name)?.schedule.is_none()
    {
        output.talk(&format!(
            "job `{name}` has no schedule: it runs by hand, or as a round's step"
        ));
    }
    let now = compose::clock().now().trunc_subsecs(0);
    let count = usize::try_from(*count).unwrap_or(usize::MAX);
    let mut runs: Vec<(JobName, Instant)> = config
        .jobs
        .values()
        .filter(|job| only.as_ref().is_none_or(|name| *name == job.name))
        .filter_map(|job| job.schedule.as_ref().map(|schedule| (job, schedule)))
        .flat_map(|(job, schedule)| {
            next_runs(schedule, &config.timezone, now, count)
                .into_iter()
                .map(|at| (job.name.clone(), at))
        })
        .collect();
    runs.sort_by_key(|(_, at)| *at);
    if output.is_text() {
        output.data(&due(&runs, &config.timezone, now, output.paint))?;
    } else {
        output.documents("runs", due_json(&runs, &config.timezone))?;
    }
    Ok(0)
}
