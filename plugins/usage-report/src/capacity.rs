//! When a limit is reached: a straight line through what was measured, over the whole window and over the last week.
//!
//! It says how much it knows: without enough reports over enough time there is no line, and no number.

use crate::report::{Capacity, CapacityState, Moment, Series, UsageReport};

/// Fewer points make no line.
const SAMPLES_MIN: usize = 3;

const DAY: f64 = 86_400.0;

/// A shorter time says nothing of weeks to come: days differ from nights, and Mondays from Sundays.
const SPAN_MIN_DAYS: f64 = 7.0;

/// Older points are of another season.
const WINDOW_DAYS: f64 = 90.0;

/// As far as it is looked ahead: what needs longer, or does not grow at all, has this many days.
pub(crate) const HORIZON_DAYS: f64 = 3_650.0;

/// Points of a series that are carried on: more than a year of daily reports, and 10 KB of the object.
const POINTS_MAX: usize = 400;

impl UsageReport {
    /// Carries the series of the last report on, and adds what is measured now.
    pub(crate) fn carry_on(&mut self, last: Option<&Self>) {
        let at = self.at;
        let databases = self.databases.iter().flat_map(|database| {
            let target = format!("database.{}", database.name);
            [
                (target.clone(), "size", database.bytes),
                (target, "connections", database.connections),
            ]
        });
        let disks = self
            .disks
            .iter()
            .map(|disk| (format!("directory.{}", disk.name), "used", disk.bytes_used));
        let now: Vec<_> = databases.chain(disks).collect();
        let mut series: Vec<Series> = last.map(|last| last.series.clone()).unwrap_or_default();
        for (target, what, value) in now {
            let Some(value) = value else { continue };
            let point = (at, value as f64);
            match series
                .iter_mut()
                .find(|series| series.target == target && series.what == what)
            {
                Some(known) => known.points.push(point),
                None => series.push(Series {
                    target,
                    what: what.to_owned(),
                    points: vec![point],
                }),
            }
        }
        for series in &mut series {
            series.points.retain(|(moment, _)| *moment <= at);
            let more = series.points.len().saturating_sub(POINTS_MAX);
            series.points.drain(..more);
        }
        self.series = series;
    }

    /// The points of a series, the oldest first.
    pub(crate) fn points(&self, target: &str, what: &str) -> &[(Moment, f64)] {
        self.series
            .iter()
            .find(|series| series.target == target && series.what == what)
            .map_or(&[], |series| &series.points)
    }

    /// Reckons when `limit` is reached.
    pub(crate) fn until(
        &self,
        target: &str,
        what: &str,
        unit: &str,
        limit: f64,
        limit_is: String,
    ) -> Option<Capacity> {
        let points = self.points(target, what);
        let now = points.last().filter(|(at, _)| *at == self.at)?.1;
        let (window, week) = (within(points, WINDOW_DAYS), within(points, SPAN_MIN_DAYS));
        let per_day = slope(window).filter(|_| span(window) >= SPAN_MIN_DAYS);
        let per_day_last_week = slope(week).filter(|_| per_day.is_some());
        let left = |pace: f64| (pace > 0.0).then(|| ((limit - now) / pace).min(HORIZON_DAYS));
        let soonest = [per_day, per_day_last_week]
            .into_iter()
            .flatten()
            .filter_map(left)
            .reduce(f64::min);
        let (state, days_left) = match (now >= limit, per_day, soonest) {
            (true, ..) => (CapacityState::Passed, Some(0.0)),
            (false, None, _) => (CapacityState::InsufficientData, None),
            (false, Some(_), None) => (CapacityState::NotGrowing, Some(HORIZON_DAYS)),
            (false, Some(_), Some(days)) => (CapacityState::Growing, Some(days)),
        };
        let reached_on = days_left
            .filter(|days| state == CapacityState::Growing && *days < HORIZON_DAYS)
            .map(|days| Moment(self.at.0.saturating_add(seconds(days))));
        Some(Capacity {
            target: target.to_owned(),
            what: what.to_owned(),
            unit: unit.to_owned(),
            now,
            limit,
            limit_is,
            state,
            near: false,
            days_left,
            reached_on,
            per_day,
            per_day_last_week,
            samples: window.len() as u64,
            window_from: window.first().map(|(at, _)| *at),
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "days up to the horizon are few seconds for 64 bits"
)]
fn seconds(days: f64) -> i64 {
    (days * DAY) as i64
}

/// The points of the last so many days.
fn within(points: &[(Moment, f64)], days: f64) -> &[(Moment, f64)] {
    let Some((last, _)) = points.last() else {
        return points;
    };
    let from = points.partition_point(|(at, _)| ((last.0 - at.0) as f64) > days * DAY);
    &points[from..]
}

fn span(points: &[(Moment, f64)]) -> f64 {
    match (points.first(), points.last()) {
        (Some((first, _)), Some((last, _))) => (last.0 - first.0) as f64 / DAY,
        _ => 0.0,
    }
}

/// What it grows by a day: the slope of the line with the least squares.
fn slope(points: &[(Moment, f64)]) -> Option<f64> {
    if points.len() < SAMPLES_MIN {
        return None;
    }
    let first = points.first()?.0.0;
    let days = |at: Moment| (at.0 - first) as f64 / DAY;
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(at, _)| days(*at)).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, value)| value).sum::<f64>() / count;
    let (over, under) = points.iter().fold((0.0, 0.0), |(over, under), (at, value)| {
        let x = days(*at) - mean_x;
        (over + x * (value - mean_y), under + x * x)
    });
    (under > 0.0).then(|| over / under)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_SECONDS: i64 = 86_400;

    fn report(points: &[(i64, f64)]) -> UsageReport {
        let points: Vec<_> = points
            .iter()
            .map(|(day, value)| (Moment(day * DAY_SECONDS), *value))
            .collect();
        UsageReport {
            at: points.last().expect("a point").0,
            series: vec![Series {
                target: "database.app".to_owned(),
                what: "size".to_owned(),
                points,
            }],
            ..UsageReport::default()
        }
    }

    fn until(points: &[(i64, f64)], limit: f64) -> Capacity {
        let report = report(points);
        let found = report.until("database.app", "size", "bytes", limit, String::new());
        found.expect("it is known now")
    }

    #[test]
    fn a_line_is_followed_to_the_limit() {
        let line: Vec<_> = (0..=10).map(|day| (day, 100.0 + 10.0 * day as f64)).collect();
        let found = until(&line, 300.0);
        assert_eq!(found.state, CapacityState::Growing);
        assert!((found.per_day.expect("a pace") - 10.0).abs() < 1e-9);
        assert!((found.days_left.expect("an end") - 10.0).abs() < 1e-9);
        assert_eq!(found.reached_on.map(Moment::day), Some("1970-01-21".to_owned()));
        assert_eq!((found.samples, found.window_from), (11, Some(Moment(0))));
    }

    #[test]
    fn the_sooner_of_the_two_paces_counts() {
        let mut points: Vec<_> = (0..=20).map(|day| (day, 100.0)).collect();
        points.extend((21..=27).map(|day| (day, 100.0 + 50.0 * (day - 20) as f64)));
        let found = until(&points, 1_000.0);
        let week = found.per_day_last_week.expect("a pace");
        assert!(week > found.per_day.expect("a pace"), "{found:?}");
        assert!((found.days_left.expect("an end") - (1_000.0 - 450.0) / week).abs() < 1e-9);
    }

    #[test]
    fn too_few_points_or_too_short_a_time_give_no_number() {
        for points in [
            &[(0, 1.0)][..],
            &[(0, 1.0), (10, 2.0)],
            &[(0, 1.0), (1, 2.0), (2, 3.0), (6, 4.0)],
        ] {
            let found = until(points, 100.0);
            assert_eq!(
                (found.state, found.days_left, found.reached_on),
                (CapacityState::InsufficientData, None, None),
                "{points:?}"
            );
        }
    }

    #[test]
    fn what_shrinks_or_stands_never_gets_there_and_what_is_beyond_is_there() {
        let still = until(&[(0, 9.0), (4, 9.0), (8, 9.0)], 10.0);
        assert_eq!(
            (still.state, still.days_left),
            (CapacityState::NotGrowing, Some(HORIZON_DAYS))
        );
        assert_eq!(still.reached_on, None);
        let passed = until(&[(0, 10.0)], 10.0);
        assert_eq!(
            (passed.state, passed.days_left),
            (CapacityState::Passed, Some(0.0))
        );
        let slow = until(&[(0, 9.0), (4, 9.0), (8, 9.000_001)], 1e9);
        assert_eq!(slow.days_left, Some(HORIZON_DAYS));
        assert_eq!(slow.reached_on, None);
    }

    #[test]
    fn what_was_not_measured_now_has_no_limit_to_reach() {
        let mut report = report(&[(0, 1.0)]);
        report.at = Moment(DAY_SECONDS);
        assert_eq!(
            report.until("database.app", "size", "bytes", 9.0, String::new()),
            None
        );
    }

    #[test]
    fn series_are_carried_on_up_to_their_length_and_never_from_the_future() {
        let points: Vec<_> = (0..500).map(|day| (day, 1.0)).collect();
        let last = report(&points);
        let mut now = UsageReport {
            at: Moment(450 * DAY_SECONDS + 1),
            databases: vec![crate::report::DatabaseUse {
                name: "app".to_owned(),
                bytes: Some(7),
                ..Default::default()
            }],
            ..UsageReport::default()
        };
        now.carry_on(Some(&last));
        let carried = now.points("database.app", "size");
        assert_eq!(carried.len(), POINTS_MAX);
        assert_eq!(carried.last(), Some(&(now.at, 7.0)));
        assert!(now.points("database.app", "connections").is_empty());
    }
}
