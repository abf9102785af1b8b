//! When a job runs by itself: cron, EventBridge's `cron(...)`, `rate(...)` and `at(...)`, with one meaning everywhere.
//!
//! The meaning is EventBridge's: a local time that a change of the clock skips is skipped, and one that comes twice
//! runs once, the first time. Nothing here waits or reads a clock.

mod cron;
mod missed;
#[cfg(test)]
mod tests;
mod translate;
#[cfg(test)]
mod walk;
mod zone;

use std::fmt;
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};

use crate::config::diagnostic::did_you_mean;
use crate::value::Instant;

pub use missed::{Missed, missed};
pub use translate::Expression;
pub use zone::{LocalTime, Zone, database_version};

/// Why a text is no schedule or no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl ScheduleError {
    fn new(message: String, hint: String) -> Self {
        Self {
            message,
            hint: Some(hint),
        }
    }
}

/// When a job runs by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    rule: Rule,
}

#[derive(Clone, PartialEq, Eq)]
enum Rule {
    Cron {
        dialect: Dialect,
        cron: Box<croner::Cron>,
    },
    /// Milliseconds between two runs, counted from 1970.
    Rate(i64),
    At(NaiveDateTime),
}

/// How a schedule is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Five fields or `@daily`.
    Cron,
    /// `cron(...)`.
    EventBridgeCron,
    /// `rate(...)`.
    Rate,
    /// `at(...)`.
    At,
}

const NICKNAMES: [(&str, &str); 4] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * SUN"),
    ("@monthly", "0 0 1 * *"),
];

/// Local times that one search looks at before it gives up: more than any pattern has inside one change of the clock
/// (a minutely one through a day that was skipped has 1,440).
const LOCAL_TIMES_MAX: usize = 10_000;

/// Enough runs to see every distance in a pattern of weekdays and hours.
const PERIOD_RUNS: usize = 64;

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// A text that is none, or one that means different things to different schedulers.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let inside = |name: &str| {
            text.strip_prefix(name)?
                .strip_prefix('(')?
                .strip_suffix(')')
                .map(str::trim)
        };
        let of_cron = |dialect, cron| Rule::Cron {
            dialect,
            cron: Box::new(cron),
        };
        let rule = if text.starts_with('@') {
            let Some((_, fields)) = NICKNAMES.iter().find(|(name, _)| *name == text) else {
                return Err(ScheduleError {
                    message: format!("there is no schedule `{text}`"),
                    hint: did_you_mean(text, NICKNAMES.map(|(name, _)| name)),
                });
            };
            of_cron(Dialect::Cron, cron::five_fields(fields)?)
        } else if let Some(fields) = inside("cron") {
            of_cron(Dialect::EventBridgeCron, cron::aws(fields)?)
        } else if let Some(rate) = inside("rate") {
            Rule::Rate(parse_rate(rate)?)
        } else if let Some(at) = inside("at") {
            Rule::At(
                NaiveDateTime::parse_from_str(at, "%Y-%m-%dT%H:%M:%S").map_err(|_| {
                    let hint = "write a local time: `at(2026-12-31T04:00:00)`".to_owned();
                    ScheduleError::new(format!("`{at}` is not a time"), hint)
                })?,
            )
        } else {
            of_cron(Dialect::Cron, cron::five_fields(text)?)
        };
        Ok(Self {
            text: text.to_owned(),
            rule,
        })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How it is written.
    pub fn dialect(&self) -> Dialect {
        match self.rule {
            Rule::Cron { dialect, .. } => dialect,
            Rule::Rate(_) => Dialect::Rate,
            Rule::At(_) => Dialect::At,
        }
    }

    /// The first run after `at`.
    pub fn next_after(&self, at: Instant, zone: &Zone) -> Option<Instant> {
        match &self.rule {
            Rule::Cron { cron, .. } => {
                let mut local = zone.local(at);
                for _ in 0..LOCAL_TIMES_MAX {
                    local = cron::next(cron, local)?;
                    // Of a time that comes twice only the first is one, and that may be behind us already.
                    if let Some(run) = zone.instants(local).first().filter(|run| *run > at) {
                        return Some(run);
                    }
                }
                None
            }
            Rule::Rate(period) => Instant::from_timestamp_millis(
                (at.timestamp_millis().div_euclid(*period) + 1).checked_mul(*period)?,
            ),
            Rule::At(local) => zone.instants(*local).first().filter(|run| *run > at),
        }
    }

    /// The last run at or before `at`.
    pub fn latest_at_or_before(&self, at: Instant, zone: &Zone) -> Option<Instant> {
        match &self.rule {
            Rule::Cron { cron, .. } => {
                // In the second pass of an hour that comes twice, the first pass went further than the clock shows.
                let shown = zone.local(at);
                let mut local = match zone.instants(shown) {
                    LocalTime::Twice(first, second) if second <= at => shown + (second - first),
                    _ => shown,
                };
                let mut inclusive = local;
                for _ in 0..LOCAL_TIMES_MAX {
                    local = cron::latest(cron, inclusive)?;
                    if let Some(run) = zone.instants(local).first().filter(|run| *run <= at) {
                        return Some(run);
                    }
                    inclusive = local - TimeDelta::seconds(1);
                }
                None
            }
            Rule::Rate(period) => Instant::from_timestamp_millis(
                at.timestamp_millis().div_euclid(*period).checked_mul(*period)?,
            ),
            Rule::At(local) => zone.instants(*local).first().filter(|run| *run <= at),
        }
    }

    /// The local times of this schedule that a change of the clock skips, after `from` and up to `to`.
    pub fn skipped_between(&self, from: Instant, to: Instant, zone: &Zone) -> Vec<NaiveDateTime> {
        let mut skipped = Vec::new();
        for (start, end) in zone.gaps(from, to) {
            match &self.rule {
                Rule::Cron { cron, .. } => {
                    let mut local = start - TimeDelta::seconds(1);
                    while let Some(next) = cron::next(cron, local).filter(|next| *next < end) {
                        skipped.push(next);
                        local = next;
                    }
                }
                Rule::At(local) if (start..end).contains(local) => skipped.push(*local),
                Rule::At(_) | Rule::Rate(_) => {}
            }
        }
        skipped
    }

    /// Its first local time from `start` on and before `end`, whatever the zone makes of it. A rate has none.
    pub(crate) fn first_local_within(
        &self,
        start: NaiveDateTime,
        end: NaiveDateTime,
    ) -> Option<NaiveDateTime> {
        let local = match &self.rule {
            Rule::Cron { cron, .. } => cron::next(cron, start - TimeDelta::seconds(1))?,
            Rule::At(local) => *local,
            Rule::Rate(_) => return None,
        };
        (start..end).contains(&local).then_some(local)
    }

    /// The shortest time between two of its runs, changes of the clock aside. None for a schedule that runs once.
    pub fn period_estimate(&self) -> Option<Duration> {
        match &self.rule {
            Rule::Cron { cron, .. } => {
                // The first day of a year that has every kind of month before the year's end.
                let start = chrono::NaiveDate::from_ymd_opt(2026, 1, 1)?.and_hms_opt(0, 0, 0)?;
                let runs = std::iter::successors(cron::next(cron, start), |local| cron::next(cron, *local));
                let runs: Vec<NaiveDateTime> = runs.take(PERIOD_RUNS).collect();
                runs.windows(2)
                    .filter_map(|pair| (pair[1] - pair[0]).to_std().ok())
                    .min()
            }
            Rule::Rate(period) => u64::try_from(*period).ok().map(Duration::from_millis),
            Rule::At(_) => None,
        }
    }
}

/// A century, so that the arithmetic of rates holds for every instant there is.
const RATE_SECONDS_MAX: i64 = 100 * 365 * 86_400;

fn parse_rate(text: &str) -> Result<i64, ScheduleError> {
    let refuse = |message: String| {
        ScheduleError::new(
            message,
            "write `rate(5 minutes)`, `rate(1 hour)` or `rate(7 days)`".to_owned(),
        )
    };
    let (number, unit) = text
        .split_once(' ')
        .ok_or_else(|| refuse(format!("`{text}` is not a rate")))?;
    let count: i64 = number
        .parse()
        .map_err(|_| refuse(format!("`{number}` is not a whole number")))?;
    let unit = unit.trim();
    let seconds = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        _ => return Err(refuse(format!("`{unit}` is not a unit of a rate"))),
    };
    if count < 1 {
        return Err(refuse(format!("a rate of {count} {unit} never comes")));
    }
    if (count == 1) == unit.ends_with('s') {
        return Err(refuse(format!("EventBridge refuses `{count} {unit}`")));
    }
    match count.checked_mul(seconds) {
        Some(period) if period <= RATE_SECONDS_MAX => Ok(period * 1_000),
        _ => Err(refuse(format!("a rate of {count} {unit} is too long"))),
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({})", self.text)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
