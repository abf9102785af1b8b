//! Which scheduled work a carrier that stays delivers again: attempts that were lost, interrupted or may succeed later,
//! within the job's retries.
//!
//! Everything is read from the ledger, so that any host that shares it can go on where another died. It runs nothing,
//! and closes no orphans: that is `rescue`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::admit::accept;
use super::examine::examine;
use super::retries::{allowed, counted, has_ended, tries};
use super::subject::Subject;
use super::{DispatchError, Services};
use crate::ports::ledger::{RunQuery, RunRow};
use crate::run::{Mode, Reason, RunEvent, RunRequest, Work};
use crate::value::Instant;

/// More is left, and whoever began it goes on by itself, unless it stopped just then.
const CONTINUED: &str = "continued";

/// After which it is not going on by itself any more.
const GOES_ON_WITHIN: Duration = Duration::from_mins(1);

/// What may succeed at another try. Without what an operator cancelled: whoever keeps the schedules does not begin it again.
const WORTH_ANOTHER: [&str; 4] = ["lost", "interrupted", "failed(retryable)", "unreachable"];

/// Of those, the ones that say nothing against trying at once.
const AT_ONCE: [&str; 2] = ["lost", "interrupted"];

/// Of each outcome the newest this many are looked at: many more than end so within [`AGE_MAX`] on a good day.
const LOOKED_AT: u32 = 100;

/// What is older has been overtaken by the next tick.
const AGE_MAX: chrono::Duration = chrono::Duration::hours(12);

/// After the first failure; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(30);

/// Longer than this nobody waits for a database to come back.
const BACKOFF_MAX: Duration = Duration::from_mins(15);

/// The requests whose next attempt is due, each saying which attempt it is.
///
/// # Errors
/// The ledger's own.
pub async fn to_deliver_again(services: &Services) -> Result<Vec<RunRequest>, DispatchError> {
    let now = services.clock.now();
    let mut keys = BTreeSet::new();
    for outcome in WORTH_ANOTHER.into_iter().chain([CONTINUED]) {
        let query = RunQuery {
            outcome: Some(outcome.to_owned()),
            mode: Some(Mode::Apply),
            limit: LOOKED_AT,
            ..RunQuery::default()
        };
        let rows = services.ledger.runs(&query).await?.into_iter();
        let is_young = |row: &RunRow| row.ended_at.is_some_and(|ended| now - ended < AGE_MAX);
        keys.extend(
            rows.filter(|row| is_young(row) && !row.reason.is_step())
                .map(|row| row.key),
        );
    }
    let mut due = Vec::new();
    for key in keys {
        let of_key = RunQuery {
            key: Some(key),
            ..RunQuery::default()
        };
        let attempts = services.ledger.runs(&of_key).await?;
        if let Some(request) = next_attempt(services, &attempts, now).await? {
            due.push(request);
        }
    }
    Ok(due)
}

/// The request of the attempt that comes after `attempts`, newest first; none when there is none, or not yet.
async fn next_attempt(
    services: &Services,
    attempts: &[RunRow],
    now: Instant,
) -> Result<Option<RunRequest>, DispatchError> {
    let (Some(newest), Some(first)) = (attempts.first(), attempts.last()) else {
        return Ok(None);
    };
    // What a person or an event asked for is delivered again by whoever asked.
    let retries = allowed(&services.config, &first.work);
    let (Some(retries), Reason::Tick) = (retries, &first.reason) else {
        return Ok(None);
    };
    if !is_due(attempts, retries, now) {
        return Ok(None);
    }
    let events = services.ledger.events(&first.id).await?;
    let stored = events.into_iter().find_map(|stored| match stored.event {
        RunEvent::Started { request, .. } => Some(*request),
        _ => None,
    });
    let Some(stored) = stored else {
        return Ok(None);
    };
    let request = RunRequest {
        scheduled_at: Some(first.scheduled_at),
        attempt: Some(newest.attempt + 1),
        until: None,
        ..stored
    };
    // Another machine's own directory is cleaned by that machine.
    let is_ours = key_of(services, &request).await == Some(first.key.clone());
    Ok(is_ours.then_some(request))
}

/// The key that `request` has on this host.
async fn key_of(services: &Services, request: &RunRequest) -> Option<String> {
    let mut request = request.clone();
    let subject = match &request.work {
        Work::Round(name) => Subject::of_round(&services.config, services.config.round(name).ok()?),
        Work::Job(name) => match examine(services, &request).await {
            Ok(examined) => Subject::of(&examined),
            Err(_) => Subject::unexamined(&services.config, services.config.jobs.get(name)?),
        },
    };
    Some(accept(services, &subject, &mut request).key)
}

/// Whether the attempts, newest first, ask for another one by now.
fn is_due(attempts: &[RunRow], retries: u32, now: Instant) -> bool {
    let Some(newest) = counted(attempts).next() else {
        return false;
    };
    let waited = |wait: Duration| newest.ended_at.is_some_and(|ended| now >= ended + wait);
    if has_ended(newest, &[CONTINUED]) {
        return waited(GOES_ON_WITHIN);
    }
    let tries = tries(attempts);
    if !has_ended(newest, &WORTH_ANOTHER) || tries > retries {
        return false;
    }
    let wait = if has_ended(newest, &AT_ONCE) {
        Duration::ZERO
    } else {
        BACKOFF_MIN
            .saturating_mul(1 << (tries - 1).min(16))
            .min(BACKOFF_MAX)
    };
    waited(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunState;

    fn at(seconds: i64) -> Instant {
        Instant::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
    }

    /// Newest first: how each ended, and its cursor.
    fn attempts(ended: &[(&str, Option<&str>)]) -> Vec<RunRow> {
        let count = u32::try_from(ended.len()).expect("few");
        let row = |(place, (outcome, cursor)): (u32, &(&str, Option<&str>))| RunRow {
            id: "k3v9x2m4qd".parse().expect("an id"),
            key: "key".to_owned(),
            attempt: count - place,
            work: Work::Job("purge".parse().expect("a name")),
            targets: Vec::new(),
            shard: None,
            mode: Mode::Apply,
            reason: Reason::Tick,
            scheduled_at: at(0),
            consent: String::new(),
            digest: String::new(),
            state: RunState::Ended,
            cursor: cursor.map(str::to_owned),
            started_at: at(0),
            ended_at: Some(at(100)),
            outcome: Some((*outcome).to_owned()),
        };
        (0..).zip(ended).map(row).collect()
    }

    #[test]
    fn retries_are_counted_since_the_cursor_last_moved() {
        const RETRYABLE: &str = "failed(retryable)";
        let late = at(100_000);
        let is_due = |ended: &[(&str, Option<&str>)], retries| is_due(&attempts(ended), retries, late);
        assert!(is_due(&[(RETRYABLE, None)], 1));
        assert!(!is_due(&[(RETRYABLE, None)], 0));
        assert!(!is_due(&[(RETRYABLE, None), ("lost", None)], 1));
        assert!(is_due(&[(RETRYABLE, Some("b")), ("lost", Some("a"))], 1));
        assert!(is_due(&[("lost", None), ("continued", None), ("lost", None)], 1));
        for settled in [
            "succeeded",
            "failed(permanent)",
            "cancelled",
            "refused(guard)",
            "skipped(stale)",
        ] {
            assert!(!is_due(&[(settled, None), ("lost", None)], 5), "{settled}");
        }
    }

    #[test]
    fn a_try_that_met_its_own_job_at_work_does_not_count_and_one_that_only_did_is_over() {
        let late = at(100_000);
        let overlapped = [("skipped(overlap)", None), ("lost", None)];
        assert!(is_due(&attempts(&overlapped), 1, late));
        assert!(!is_due(&attempts(&overlapped), 0, late));
        assert!(!is_due(&attempts(&[("skipped(overlap)", None)]), 5, late));
    }

    #[test]
    fn what_failed_waits_longer_each_time_and_what_was_lost_not_at_all() {
        let due_after = |ended: &[(&str, Option<&str>)]| {
            let attempts = attempts(ended);
            (0..2_000).find(|seconds| is_due(&attempts, 20, at(100 + seconds)))
        };
        assert_eq!(due_after(&[("lost", None)]), Some(0));
        assert_eq!(due_after(&[("continued", Some("a"))]), Some(60));
        assert_eq!(due_after(&[("unreachable", None)]), Some(30));
        assert_eq!(
            due_after(&[("unreachable", None), ("unreachable", None)]),
            Some(60)
        );
        assert_eq!(due_after(&[("unreachable", None); 9]), Some(900));
    }
}
