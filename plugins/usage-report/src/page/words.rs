//! Numbers and sentences as all pages word them.

use std::fmt::Write as _;

use sereno_plugin::text;

use crate::capacity::HORIZON_DAYS;
use crate::report::{Capacity, CapacityState, Moment, TableUse, UsageReport};

/// What nobody could tell.
pub(crate) const UNKNOWN: &str = "unknown";

pub(crate) fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| UNKNOWN.to_owned(), text::bytes)
}

pub(crate) fn count(count: Option<u64>) -> String {
    count.map_or_else(|| UNKNOWN.to_owned(), text::count)
}

fn signed(change: Option<i64>, show: fn(u64) -> String) -> String {
    match change {
        None => String::new(),
        Some(0) => "±0".to_owned(),
        Some(change) if change > 0 => format!("+{}", show(change.unsigned_abs())),
        Some(change) => format!("−{}", show(change.unsigned_abs())),
    }
}

/// `+1.4 MiB`, `−300 B`, `±0`; nothing where there is nothing to reckon from.
pub(crate) fn change(change: Option<i64>) -> String {
    signed(change, text::bytes)
}

/// The same of a count.
pub(crate) fn count_change(change: Option<i64>) -> String {
    signed(change, text::count)
}

/// A table's change, or that it was not there before.
pub(crate) fn table_change(table: &TableUse) -> String {
    if table.new {
        "new".to_owned()
    } else {
        change(table.change)
    }
}

/// A table's name with its partitions.
pub(crate) fn table_name(table: &TableUse) -> String {
    match table.partitions {
        0 => table.name(),
        partitions => format!(
            "{} ({})",
            table.name(),
            text::counted(partitions, "partition", "partitions")
        ),
    }
}

/// `83 %`, `0.4 %`.
pub(crate) fn percent(percent: Option<f64>) -> String {
    percent.map_or_else(
        || UNKNOWN.to_owned(),
        |percent| {
            if percent < 9.95 {
                format!("{percent:.1} %")
            } else {
                format!("{percent:.0} %")
            }
        },
    )
}

/// When the report is of, and what it is held against.
pub(crate) fn period(report: &UsageReport) -> String {
    match report.since {
        Some(since) => format!("changes since {}", since.shown()),
        None => "the first report: there is nothing to hold it against".to_owned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an amount that was a whole number before, or a pace shown in whole bytes"
)]
pub(crate) fn amount(unit: &str, amount: f64) -> String {
    let whole = amount.abs().round() as u64;
    match unit {
        "bytes" => text::bytes(whole),
        "connections" if amount.abs() < 10.0 && amount.fract() != 0.0 => format!("{:.1}", amount.abs()),
        _ => text::count(whole),
    }
}

/// `size of database.app`.
pub(crate) fn subject(capacity: &Capacity) -> String {
    match capacity.what.as_str() {
        "size" => format!("size of {}", capacity.target),
        "used" => format!("file system of {}", capacity.target),
        what => format!("{what} of {}", capacity.target),
    }
}

/// `12 days, on 2026-12-06`.
pub(crate) fn days_left(capacity: &Capacity) -> String {
    match (capacity.state, capacity.days_left) {
        (CapacityState::Passed, _) => "passed".to_owned(),
        (CapacityState::InsufficientData, _) => "insufficient data".to_owned(),
        (CapacityState::NotGrowing, _) => "does not grow".to_owned(),
        (CapacityState::Growing, Some(days)) if days < HORIZON_DAYS => {
            let on = capacity.reached_on.map(Moment::day).unwrap_or_default();
            format!("{}, on {on}", whole_days(days))
        }
        (CapacityState::Growing, _) => format!("more than {} years", (HORIZON_DAYS / 365.0).round()),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the horizon"
)]
fn whole_days(days: f64) -> String {
    text::counted(days.floor() as u64, "day", "days")
}

/// `+3.1 MiB a day over 34 reports since 2026-09-01; +5.0 MiB a day in the last week`.
pub(crate) fn pace(capacity: &Capacity) -> String {
    let reports = text::counted(capacity.samples, "report", "reports");
    let sign = |pace: f64| if pace < 0.0 { "−" } else { "+" };
    let Some(per_day) = capacity.per_day else {
        return format!("{reports}; at least 3 over 7 days are needed");
    };
    let unit = capacity.unit.as_str();
    let from = capacity.window_from.map(Moment::day).unwrap_or_default();
    let mut text = format!(
        "{}{} a day over {reports} since {from}",
        sign(per_day),
        amount(unit, per_day)
    );
    if let Some(week) = capacity.per_day_last_week {
        let _ = write!(
            text,
            "; {}{} a day in the last week",
            sign(week),
            amount(unit, week)
        );
    }
    text
}

/// One limit as a sentence.
pub(crate) fn capacity(capacity: &Capacity) -> String {
    let unit = capacity.unit.as_str();
    let has = format!(
        "{}: {} of {}, {}",
        subject(capacity),
        amount(unit, capacity.now),
        amount(unit, capacity.limit),
        capacity.limit_is
    );
    match capacity.state {
        CapacityState::Passed => format!("{has}; the limit is passed"),
        CapacityState::Growing => format!(
            "{has}; at this pace the limit is reached in {}",
            days_left(capacity)
        ),
        CapacityState::NotGrowing | CapacityState::InsufficientData => {
            format!("{has}; {}", days_left(capacity))
        }
    }
}

/// Names come from databases: characters that would move a terminal's cursor or break a line are shown, not sent.
pub(crate) fn plain(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_signs_and_the_unknown_has_none() {
        assert_eq!(change(Some(1 << 20)), "+1.0 MiB");
        assert_eq!(change(Some(-5)), "−5 B");
        assert_eq!(change(Some(0)), "±0");
        assert_eq!(change(None), "");
        assert_eq!(count_change(Some(12_345)), "+12,345");
        assert_eq!(bytes(None), UNKNOWN);
        assert_eq!(percent(Some(0.44)), "0.4 %");
        assert_eq!(percent(Some(83.4)), "83 %");
    }

    #[test]
    fn every_state_of_a_limit_has_its_words() {
        let limit = Capacity {
            target: "database.app".to_owned(),
            what: "size".to_owned(),
            unit: "bytes".to_owned(),
            now: 1_048_576.0,
            limit: 2_097_152.0,
            limit_is: "set by the job".to_owned(),
            samples: 2,
            ..Capacity::default()
        };
        assert_eq!(
            capacity(&limit),
            "size of database.app: 1.0 MiB of 2.0 MiB, set by the job; insufficient data"
        );
        assert_eq!(pace(&limit), "2 reports; at least 3 over 7 days are needed");
        let growing = Capacity {
            state: CapacityState::Growing,
            days_left: Some(12.9),
            reached_on: Some(Moment(1_796_000_000)),
            per_day: Some(81_285.0),
            per_day_last_week: Some(-4.0),
            samples: 34,
            window_from: Some(Moment(1_790_000_000)),
            ..limit
        };
        assert_eq!(days_left(&growing), "12 days, on 2026-11-30");
        assert_eq!(
            pace(&growing),
            "+79 KiB a day over 34 reports since 2026-09-21; −4 B a day in the last week"
        );
    }
}
