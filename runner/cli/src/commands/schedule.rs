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
    let jobs = config
        .jobs
        .values()
        .map(|job| (Work::Job(job.name.clone()), &job.schedule));
    let rounds = config
        .rounds
        .values()
        .map(|round| (Work::Round(round.name.clone()), &round.schedule));
    let all: Vec<(Work, &Option<Timetable>)> = rounds
        .chain(jobs)
        .filter(|(work, _)| only.as_ref().is_none_or(|name| name.as_str() == work.name()))
        .collect();
    if let Some(name) = only {
        match all.first() {
            // There is no round of that name either, and jobs are what is meant more often.
            None => drop(config.job(name)?),
            Some((work, None)) => {
                let of = config
                    .rounds
                    .values()
                    .find(|round| round.steps.iter().any(|step| step.job == *name));
                let next = of.map_or("it runs by hand".to_owned(), |round| {
                    format!(
                        "it is a step of round `{}`: `{} schedule next {}`",
                        round.name, output.program, round.name
                    )
                });
                output.talk(&format!("{work} has no schedule of its own: {next}"));
            }
            Some(_) => {}
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
