//! `missed`: which scheduled times went by without a success.

use sereno_core::ports::ledger::{Flag, RunQuery};
use sereno_core::run::{Mode, Outcome, Work};
use sereno_core::schedule::{Schedule, missed as missed_times};

use super::source;
use crate::args::{Global, Missed};
use crate::compose;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::missed::{Late, list, list_json};

/// Exit code of a success with something to look at.
const FOUND: u8 = 6;

pub(super) async fn missed(global: &Global, args: &Missed, output: &Output) -> Result<u8, Failure> {
    let config = source(global)?.parse(output)?;
    let ledger = compose::history(&config).await?;
    let now = compose::clock().now();
    let rounds = config.rounds.values().filter_map(|round| {
        let work = Work::Round(round.name.clone());
        Some((work, round.schedule.as_ref()?))
    });
    let jobs = config.jobs.values().filter_map(|job| {
        let work = Work::Job(job.name.clone());
        Some((work, job.schedule.as_ref()?))
    });
    let scheduled: Vec<(Work, &Schedule)> = rounds.chain(jobs).collect();
    let mut late = Vec::new();
    for (work, schedule) in &scheduled {
        let success = RunQuery {
            work: Some(work.clone()),
            mode: Some(Mode::Apply),
            outcome: Some(Outcome::Succeeded.label()),
            limit: 1,
            ..RunQuery::default()
        };
        let success = ledger.runs(&success).await?.pop();
        let last = success.as_ref().map(|row| row.scheduled_at);
        let Some(times) = missed_times(schedule, &config.timezone, last, now, args.grace) else {
            continue;
        };
        let tried = RunQuery {
            work: Some(work.clone()),
            mode: Some(Mode::Apply),
            limit: 1,
            ..RunQuery::default()
        };
        late.push(Late {
            work: work.clone(),
            times,
            success,
            tried: ledger.runs(&tried).await?.pop(),
            paused: ledger.flag(&[work.name(), "*"], Flag::Pause).await?,
        });
    }
    if output.is_text() {
        output.data(&list(&late, scheduled.len(), &config.timezone, output.paint))?;
    } else {
        output.documents("missed", late.iter().map(list_json).collect())?;
    }
    Ok(if late.is_empty() { 0 } else { FOUND })
}
