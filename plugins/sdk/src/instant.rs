//! A point in time, as the contract counts it.
//!
//! No calendars and no zones: a plugin adds and subtracts durations, and shows a time to people in UTC.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// Microseconds in a day.
const DAY: i64 = 86_400 * SECOND;

/// A point in time, with microseconds. Arithmetic stops at the ends of the range and never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

impl Instant {
    /// From microseconds since 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The point in time at this minute, UTC.
    pub const fn utc(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> Self {
        // Days since 1970 of a Gregorian date, by years that start in March (Hinnant, days_from_civil).
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        Self(days * DAY + (hour * 60 + minute) * 60 * SECOND)
    }

    /// How long after `earlier` it is; nothing when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(duration)))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(duration)))
    }
}

/// `2026-11-17 02:30 UTC`, with seconds only where there are some.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, in_day) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        // The inverse of `utc` (Hinnant, civil_from_days).
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let (hour, minute) = (in_day / (3_600 * SECOND), in_day / (60 * SECOND) % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")?;
        let rest = in_day % (60 * SECOND);
        if rest != 0 {
            write!(f, ":{:02}", rest / SECOND)?;
            if rest % SECOND != 0 {
                write!(f, ".{:06}", rest % SECOND)?;
            }
        }
        f.write_str(" UTC")
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_it_was_written() {
        for (at, text) in [
            (Instant::from_micros(0), "1970-01-01 00:00 UTC"),
            (Instant::utc(2026, 11, 17, 2, 30), "2026-11-17 02:30 UTC"),
            (Instant::utc(2024, 2, 29, 23, 59), "2024-02-29 23:59 UTC"),
            (Instant::utc(2100, 3, 1, 0, 0), "2100-03-01 00:00 UTC"),
            (Instant::utc(1969, 12, 31, 23, 59), "1969-12-31 23:59 UTC"),
            (
                Instant::utc(2026, 1, 1, 0, 0) + Duration::from_millis(1_250),
                "2026-01-01 00:00:01.250000 UTC",
            ),
        ] {
            assert_eq!(at.to_string(), text);
        }
        assert_eq!(Instant::utc(2026, 11, 17, 2, 30).micros(), 1_794_882_600_000_000);
    }

    #[test]
    fn arithmetic_stops_at_the_ends_and_never_wraps() {
        let day = Duration::from_secs(86_400);
        assert_eq!(
            Instant::utc(2026, 3, 1, 0, 0) - day,
            Instant::utc(2026, 2, 28, 0, 0)
        );
        assert_eq!(
            Instant::from_micros(i64::MIN) - day,
            Instant::from_micros(i64::MIN)
        );
        assert_eq!(
            Instant::from_micros(0) + Duration::MAX,
            Instant::from_micros(i64::MAX)
        );
        assert_eq!(
            Instant::from_micros(5).since(Instant::from_micros(7)),
            Duration::ZERO
        );
    }
}
