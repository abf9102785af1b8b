//! `schedule next`: when jobs and rounds are due.

use chrono::SubsecRound as _;
use sereno_core::run::Work;
use sereno_core::schedule::Schedule as Timetable;
use sereno_core::value::Instant;

use super::source;
use crate::args::{Global, Schedule};
use crate::compose;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::jobs::{due, due_json, next_runs};

pub(super) fn schedule(global: &Global, args: &Schedule, output: &Output) -> Result<u8, Failure> {
    let Schedule::Next { name: only, count } = args;
    let config = source(global)?.parse(output)?;
    // A step is due when its round is.
    let rounds = config.rounds.values().filter(|round| {
        only.as_ref()
            .is_none_or(|name| round.name.as_str() == name.as_str() || round.has(name))
    });
    let jobs = config
        .jobs
        .values()
        .filter(|job| only.as_ref().is_none_or(|name| job.name == *name));
    let all: Vec<(Work, &Option<Timetable>)> = rounds
        .map(|round| (Work::Round(round.name.clone()), &round.schedule))
        .chain(jobs.map(|job| (Work::Job(job.name.clone()), &job.schedule)))
        .collect();
    if let Some(name) = only {
        if all.is_empty() {
            config.job(name)?;
        }
        if all.iter().all(|(_, schedule)| schedule.is_none()) {
            output.talk(&format!("`{name}` has no schedule: it runs by hand"));
        }
    }
    let now = compose::clock().now().trunc_subsecs(0);
    let count = usize::try_from(*count).unwrap_or(usize::MAX);
    let mut runs: Vec<(Work, Instant)> = all
        .into_iter()
        .filter_map(|(work, schedule)| Some((work, schedule.as_ref()?)))
        .flat_map(|(work, schedule)| {
            let times = next_runs(schedule, &config.timezone, now, count);
            times.into_iter().map(move |at| (work.clone(), at))
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
