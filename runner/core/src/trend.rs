//! A line through readings over time, by least squares: how fast something grows and when it reaches a bound.
//!
//! It needs enough of a past to say anything, and says nothing otherwise. What the numbers mean is `gauge`'s business.

use std::time::Duration;

use crate::value::Instant;

/// Two readings make a line whatever they are.
pub const SAMPLES_MIN: usize = 3;

/// Less than a week of a week's rhythm (quiet Sundays) is a guess.
pub const SPAN_MIN: Duration = Duration::from_hours(7 * 24);

/// How far back a line looks: four whole weeks, so that each weekday weighs the same.
pub const WINDOW: Duration = Duration::from_hours(28 * 24);

/// Of each hour one reading is enough for a line over weeks.
pub const SAMPLE_EVERY: Duration = Duration::from_hours(1);

/// As many as the window has hours, and one for each end.
pub const SAMPLES_MAX: u32 = 28 * 24 + 2;

const DAY: f64 = 86_400.0;

/// A line through readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// The last reading's time, where the line's value is `now`.
    last: Instant,
    /// The line's value there.
    now: f64,
    /// How much it grows in a second.
    slope: f64,
}

impl Trend {
    /// The line through `readings`; none when they are too few or span too little time.
    pub fn of(readings: &[(Instant, f64)]) -> Option<Self> {
        let (first, last) = (
            readings.iter().map(|(at, _)| *at).min()?,
            readings.iter().map(|(at, _)| *at).max()?,
        );
        let span = (last - first).to_std().unwrap_or_default();
        if readings.len() < SAMPLES_MIN || span < SPAN_MIN {
            return None;
        }
        // Reckoned from the last reading, so that the numbers stay small.
        let points = || readings.iter().map(|(at, value)| (seconds(*at - last), *value));
        let count = readings.len() as f64;
        let (sum_x, sum_y) = points().fold((0.0, 0.0), |(x, y), (dx, dy)| (x + dx, y + dy));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (over, under) = points().fold((0.0, 0.0), |(over, under), (x, y)| {
            (over + (x - mean_x) * (y - mean_y), under + (x - mean_x).powi(2))
        });
        let slope = over / under;
        let now = mean_y - slope * mean_x;
        (slope.is_finite() && now.is_finite()).then_some(Self { last, now, slope })
    }

    /// How much it grows in such a stretch of time.
    pub fn growth(&self, per: Duration) -> f64 {
        self.slope * per.as_secs_f64()
    }

    /// The same in percent of what it was such a stretch ago; none where that was nothing.
    pub fn growth_percent(&self, per: Duration) -> Option<f64> {
        let growth = self.growth(per);
        let before = self.now - growth;
        (before > 0.0).then(|| growth * 100.0 / before)
    }

    /// Days from the last reading until the line meets `bound`; none when it moves away from it or stands still.
    pub fn days_until(&self, bound: f64) -> Option<f64> {
        let days = (bound - self.now) / self.slope / DAY;
        (days.is_finite() && days >= 0.0).then_some(days)
    }
}

fn seconds(time: chrono::Duration) -> f64 {
    time.num_milliseconds() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> Instant {
        let start: Instant = "2026-11-01T00:00:00Z".parse().expect("a time");
        start + day * Duration::from_hours(24)
    }

    #[test]
    fn a_line_needs_three_readings_and_a_week() {
        let grown = |days: &[u32]| {
            Trend::of(
                &days
                    .iter()
                    .map(|&at| (day(at), f64::from(at)))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(grown(&[]), None);
        assert_eq!(grown(&[0, 7]), None);
        assert_eq!(grown(&[0, 3, 6]), None);
        assert!(grown(&[0, 3, 7]).is_some());
        assert_eq!(
            Trend::of(&[(day(0), 1.0), (day(4), 1.0), (day(8), f64::INFINITY)]),
            None
        );
    }

    #[test]
    fn what_grows_by_ten_a_day_from_a_hundred_is_told_so() {
        let readings: Vec<_> = (0..=14)
            .map(|at| (day(at), 100.0 + 10.0 * f64::from(at)))
            .collect();
        let trend = Trend::of(&readings).expect("two weeks");
        let week = Duration::from_hours(7 * 24);
        let near =
            |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-6);
        assert!(near(Some(trend.growth(week)), 70.0));
        // 170 a week ago, 240 now.
        assert!(near(trend.growth_percent(week), 70.0 * 100.0 / 170.0));
        assert!(near(trend.days_until(300.0), 6.0));
        assert_eq!(trend.days_until(200.0), None, "it has passed that");
    }

    #[test]
    fn what_stands_still_or_shrinks_never_gets_there() {
        let flat: Vec<_> = (0..=14).map(|at| (day(at), 5.0)).collect();
        let flat = Trend::of(&flat).expect("two weeks");
        assert_eq!(flat.growth_percent(SPAN_MIN), Some(0.0));
        assert_eq!(flat.days_until(6.0), None);
        let gone: Vec<_> = (0..=14).map(|at| (day(at), 0.0)).collect();
        assert_eq!(
            Trend::of(&gone).expect("two weeks").growth_percent(SPAN_MIN),
            None
        );
    }
}
