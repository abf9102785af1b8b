//! How often work is tried, whoever delivers it again: what counts as a try, and how many a job or round has.
//!
//! When the next try is due, and whether it is one's own to make, is the carrier's: `carry` for those that deliver,
//! `redeliver` for a host that stays. See architecture.md §3.

use crate::job::Config;
use crate::ports::ledger::RunRow;
use crate::run::{Outcome, Work};

/// The labels of outcomes after which the same work may succeed.
const WORTH_ANOTHER: [&str; 5] = [
    "failed(retryable)",
    "unreachable",
    "lost",
    "cancelled",
    "interrupted",
];

/// A try that met its own job at work: it neither counts nor ends anything.
const OVERLAPPED: &str = "skipped(overlap)";

/// True when the same work may succeed after it ended so.
pub(super) fn is_worth_another(outcome: &Outcome) -> bool {
    WORTH_ANOTHER.contains(&outcome.label().as_str())
}

/// The same, of an attempt that has ended.
pub(super) fn may_succeed(row: &RunRow) -> bool {
    has_ended(row, &WORTH_ANOTHER)
}

/// True when it ended with one of these labels.
pub(super) fn has_ended(row: &RunRow, labels: &[&str]) -> bool {
    let label = row.outcome.as_deref();
    label.is_some_and(|label| labels.contains(&label))
}

/// Without those that met their own job at work.
pub(super) fn counted(attempts: &[RunRow]) -> impl Iterator<Item = &RunRow> {
    attempts.iter().filter(|row| !has_ended(row, &[OVERLAPPED]))
}

/// Attempts of a key, newest first, that may be tried again since the cursor last moved.
pub(super) fn tries(attempts: &[RunRow]) -> u32 {
    let mut counted = counted(attempts).peekable();
    let cursor = counted.peek().and_then(|newest| newest.cursor.clone());
    let tries = counted.take_while(|row| may_succeed(row) && row.cursor == cursor);
    u32::try_from(tries.count()).unwrap_or(u32::MAX)
}

/// How many tries come after the first: a round has as many as the most patient of its jobs. None: it is configured no more.
pub(super) fn allowed(config: &Config, work: &Work) -> Option<u32> {
    match work {
        Work::Job(name) => config.jobs.get(name).map(|job| job.retries),
        Work::Round(name) => config.rounds.get(name).map(|round| {
            let jobs = round.steps.iter().filter_map(|step| config.jobs.get(&step.job));
            jobs.map(|job| job.retries).max().unwrap_or_default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Mode, Reason, RunState};
    use crate::value::Instant;

    fn row(outcome: &str, cursor: Option<&str>) -> RunRow {
        let at = Instant::UNIX_EPOCH;
        RunRow {
            id: crate::name::RunId::from_entropy(1),
            key: "k".to_owned(),
            attempt: 1,
            work: "purge".parse().expect("a name"),
            targets: Vec::new(),
            shard: None,
            mode: Mode::Apply,
            reason: Reason::Invoke,
            scheduled_at: at,
            consent: String::new(),
            digest: String::new(),
            state: RunState::Ended,
            cursor: cursor.map(str::to_owned),
            started_at: at,
            ended_at: Some(at),
            outcome: Some(outcome.to_owned()),
        }
    }

    #[test]
    fn only_what_failed_since_the_cursor_moved_counts_as_a_try() {
        let (lost, failed, more) = ("lost", "failed(retryable)", "continued");
        for (attempts, expected) in [
            (vec![row(failed, None)], 1),
            (vec![row(failed, None), row(lost, None)], 2),
            (
                vec![row(failed, None), row("skipped(paused)", None), row(lost, None)],
                1,
            ),
            (
                vec![row(failed, Some("b")), row(more, Some("b")), row(failed, None)],
                1,
            ),
            // It went on from `a` and came to `b` before it failed.
            (
                vec![
                    row(failed, Some("b")),
                    row(failed, Some("b")),
                    row(lost, Some("a")),
                    row(lost, Some("a")),
                ],
                2,
            ),
            // One that met its own job at work is none.
            (
                vec![
                    row(OVERLAPPED, None),
                    row(failed, None),
                    row(OVERLAPPED, None),
                    row(lost, None),
                ],
                2,
            ),
            (vec![row("succeeded", None)], 0),
        ] {
            assert_eq!(tries(&attempts), expected, "{attempts:#?}");
        }
    }
}
