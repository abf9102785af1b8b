//! What a file's name says: which log it belongs to, whether it is rotated, and when.
//!
//! It knows the names that log programs give (`app.log.1`, `app.log-20261124`, `app-2026-11-24.log`) and the plugins' own
//! (`app.log-2026-11-24T023000Z`). A date without a time may be today's, in which a program still writes.

use std::time::Duration;

use crate::Instant;

const DAY: Duration = Duration::from_secs(86_400);

/// What stands in a log's name in the place of a date.
const DATE: &str = "%DATE%";

/// What is compressed already, by the host or by another program.
const COMPRESSED: [&str; 6] = [".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip"];

/// When a file was rotated, as far as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// It is the log itself.
    Not,
    /// At this moment; only [`rotated`] gives such names.
    At(Instant),
    /// In it is what was written on the day that begins here.
    Day(Instant),
    /// Some time.
    Before,
}

/// A file's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The log that it belongs to, by its path: `app.log`, `app-%DATE%.log`.
    pub log: String,
    /// Whether it is rotated, and when.
    pub rotated: Rotated,
    /// By its ending.
    pub is_compressed: bool,
}

impl Name {
    /// Takes a path apart.
    pub fn read(path: &str) -> Self {
        let compression = COMPRESSED.iter().find(|ending| path.ends_with(**ending));
        let plain = compression.map_or(path, |ending| &path[..path.len() - ending.len()]);
        let folder = plain.rfind('/').map_or(0, |slash| slash + 1);
        let (folder, file) = plain.split_at(folder);
        let (log, rotated) = own(file)
            .or_else(|| dated(file))
            .or_else(|| numbered(file))
            .unwrap_or_else(|| (file.to_owned(), Rotated::Not));
        // Nobody writes into a compressed file.
        let rotated = match rotated {
            Rotated::Not if compression.is_some() => Rotated::Before,
            rotated => rotated,
        };
        Self {
            log: format!("{folder}{log}"),
            rotated,
            is_compressed: compression.is_some(),
        }
    }

    /// True when whoever gave the name writes into the next file at `now`.
    pub fn is_over(&self, now: Instant) -> bool {
        match self.rotated {
            Rotated::Not => false,
            Rotated::At(_) | Rotated::Before => true,
            Rotated::Day(day) => day + DAY <= now,
        }
    }

    /// When its last line is from, with `written` for names that do not say.
    pub fn ended(&self, written: Instant) -> Instant {
        match self.rotated {
            Rotated::At(at) => at,
            Rotated::Day(day) => day + DAY,
            Rotated::Not | Rotated::Before => written,
        }
    }
}

/// The name that `log` gets when it is rotated at `now`.
pub fn rotated(log: &str, now: Instant) -> String {
    // `2026-11-24 02:30 UTC`, or `2026-11-24 02:30:15.5 UTC`.
    let shown = now.to_string();
    let seconds = match shown.as_bytes().get(16) {
        Some(b':') => &shown[17..19],
        _ => "00",
    };
    format!(
        "{log}-{}T{}{}{seconds}Z",
        &shown[..10],
        &shown[11..13],
        &shown[14..16]
    )
}

/// `app.log-2026-11-24T023000Z`, and `-2` behind it where that was taken.
fn own(file: &str) -> Option<(String, Rotated)> {
    let before = match file.rsplit_once("Z-") {
        Some((before, number)) if is_number(number, 2) => before,
        _ => file.strip_suffix('Z')?,
    };
    let place = before.len().checked_sub("-2026-11-24T023000".len())?;
    if !before.is_char_boundary(place) || place == 0 {
        return None;
    }
    let (log, stamp) = before.split_at(place);
    let (day, time) = stamp.strip_prefix('-')?.split_once('T')?;
    if time.len() != 6 || !is_number(time, 6) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| time.get(range)?.parse::<u64>().ok();
    let (hour, minute, second) = (part(0..2)?, part(2..4)?, part(4..6)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let in_day = Duration::from_secs((hour * 60 + minute) * 60 + second);
    Some((log.to_owned(), Rotated::At(date(day)? + in_day)))
}

/// A date anywhere in the name, and perhaps a number at its end.
fn dated(file: &str) -> Option<(String, Rotated)> {
    let file = match file.rsplit_once('.') {
        Some((before, number)) if is_number(number, 3) => before,
        _ => file,
    };
    for (place, _) in file.char_indices() {
        let before = file[..place].bytes().next_back();
        if before.is_some_and(|byte| byte.is_ascii_digit()) {
            continue;
        }
        for length in ["2026-11-24".len(), "20261124".len()] {
            let Some(text) = file.get(place..place + length) else {
                continue;
            };
            let after = file[place + length..].bytes().next();
            let Some(day) = date(text).filter(|_| !after.is_some_and(|byte| byte.is_ascii_digit())) else {
                continue;
            };
            let rest = &file[place + length..];
            // At the end it was put behind a log's name.
            let log = match (rest, file[..place].strip_suffix(['-', '.', '_'])) {
                ("", Some(log)) if !log.is_empty() => log.to_owned(),
                (rest, _) => format!("{}{DATE}{rest}", &file[..place]),
            };
            return Some((log, Rotated::Day(day)));
        }
    }
    None
}

/// `app.log.1`.
fn numbered(file: &str) -> Option<(String, Rotated)> {
    let (log, number) = file.rsplit_once('.')?;
    (is_number(number, 3) && !log.is_empty()).then(|| (log.to_owned(), Rotated::Before))
}

fn is_number(text: &str, digits: usize) -> bool {
    (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The beginning of the day that `2026-11-24` or `20261124` names.
fn date(text: &str) -> Option<Instant> {
    let digits: String = match text.len() {
        10 if text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' => text.split('-').collect(),
        8 => text.to_owned(),
        _ => return None,
    };
    if digits.len() != 8 || !is_number(&digits, 8) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let is_date = (1970..2200).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    is_date.then(|| Instant::utc(year, month, day, 0, 0))
}

#[cfg(test)]
mod tests {
    use crate::testing::at;

    use super::*;

    #[test]
    fn every_programs_names_are_read() {
        let day = Rotated::Day(at("2026-11-24 00:00"));
        let moment = Rotated::At(at("2026-11-24 02:30"));
        for (path, log, rotated, is_compressed) in [
            ("app.log", "app.log", Rotated::Not, false),
            ("app.log.1", "app.log", Rotated::Before, false),
            ("app.log.12.gz", "app.log", Rotated::Before, true),
            ("app.log.gz", "app.log", Rotated::Before, true),
            ("app.log-20261124", "app.log", day, false),
            ("app.log-2026-11-24", "app.log", day, false),
            ("sub/app.log.2026-11-24.gz", "sub/app.log", day, true),
            ("app-2026-11-24.log", "app-%DATE%.log", day, false),
            ("app-2026-11-24.log.2", "app-%DATE%.log", day, false),
            ("2026-11-24.log", "%DATE%.log", day, false),
            ("20261124.log.gz", "%DATE%.log", day, true),
            ("app.log-2026-11-24T023000Z", "app.log", moment, false),
            ("app.log-2026-11-24T023000Z-2.gz", "app.log", moment, true),
            (
                "sub.2026-11-24/app.log",
                "sub.2026-11-24/app.log",
                Rotated::Not,
                false,
            ),
            // No dates, and no numbers of rotations.
            ("app-2026-13-24.log", "app-2026-13-24.log", Rotated::Not, false),
            ("app-120261124.log", "app-120261124.log", Rotated::Not, false),
            ("app.log-2026-11-24T9", "app.log-%DATE%T9", day, false),
            ("v1.2024", "v1.2024", Rotated::Not, false),
            ("ñ-Z", "ñ-Z", Rotated::Not, false),
            (".1", ".1", Rotated::Not, false),
        ] {
            let expected = Name {
                log: log.to_owned(),
                rotated,
                is_compressed,
            };
            assert_eq!(Name::read(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_rotated_now_is_read_as_that() {
        for now in [
            at("2026-11-24 02:30"),
            at("2026-01-02 23:59") + Duration::from_millis(7_500),
        ] {
            let name = Name::read(&rotated("sub/app.log", now));
            let whole =
                now - Duration::from_micros(u64::try_from(now.micros() % 1_000_000).expect("after 1970"));
            assert_eq!(
                (name.log.as_str(), name.rotated),
                ("sub/app.log", Rotated::At(whole))
            );
        }
        assert_eq!(
            rotated("app.log", at("2026-11-24 02:30")),
            "app.log-2026-11-24T023000Z"
        );
    }

    #[test]
    fn a_day_is_over_when_the_next_has_begun() {
        let name = Name::read("app-2026-11-24.log");
        assert!(!name.is_over(at("2026-11-24 23:59")));
        assert!(name.is_over(at("2026-11-25 00:00")));
        assert!(!Name::read("app.log").is_over(at("2030-01-01 00:00")));
    }
}
