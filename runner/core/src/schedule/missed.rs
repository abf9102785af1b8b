//! Which times of a schedule went by without a success: a dead man's switch that is asked, not one that rings.
//!
//! The caller knows what a success is and when the last one was due.

use std::time::Duration;

use super::{Schedule, Zone};
use crate::value::Instant;

/// Times that went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The first after the last success; without one, the latest.
    pub first: Instant,
    /// The latest.
    pub latest: Instant,
}

/// What was due after `last`, the time of the last success, and is later than `grace` by now. None: all is well.
///
/// A run by hand counts for every time before it.
pub fn missed(
    schedule: &Schedule,
    zone: &Zone,
    last: Option<Instant>,
    now: Instant,
    grace: Duration,
) -> Option<Missed> {
    let latest = schedule.latest_at_or_before(now - grace, zone)?;
    let first = match last {
        Some(last) => schedule.next_after(last, zone)?,
        None => latest,
    };
    (first <= latest).then_some(Missed { first, latest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("a time")
    }

    fn of(last: Option<&str>, now: &str) -> Option<(String, String)> {
        let schedule = Schedule::parse("0 2 * * *").expect("a schedule");
        let found = missed(
            &schedule,
            &Zone::utc(),
            last.map(at),
            at(now),
            Duration::from_hours(1),
        );
        let show = |at: Instant| at.format("%d %H:%M").to_string();
        found.map(|missed| (show(missed.first), show(missed.latest)))
    }

    #[test]
    fn a_time_is_missed_when_its_grace_is_over_and_no_sooner() {
        let last = Some("2026-11-23T02:00:00Z");
        assert_eq!(of(last, "2026-11-24T02:59:59Z"), None);
        let one = Some(("24 02:00".to_owned(), "24 02:00".to_owned()));
        assert_eq!(of(last, "2026-11-24T03:00:00Z"), one);
        let two = Some(("24 02:00".to_owned(), "25 02:00".to_owned()));
        assert_eq!(of(last, "2026-11-25T12:00:00Z"), two);
    }

    #[test]
    fn a_run_by_hand_counts_for_what_was_due_before_it() {
        assert_eq!(of(Some("2026-11-24T09:30:00Z"), "2026-11-24T23:00:00Z"), None);
        assert!(of(Some("2026-11-24T01:30:00Z"), "2026-11-24T23:00:00Z").is_some());
    }

    #[test]
    fn what_never_succeeded_is_missed_since_the_latest_time() {
        let found = Some(("24 02:00".to_owned(), "24 02:00".to_owned()));
        assert_eq!(of(None, "2026-11-24T12:00:00Z"), found);
    }
}
