//! Advisories that are known and borne for a while.

use sereno_plugin::{Failure, Instant};

use crate::Ignore;

/// The operator's list, held against the run's own time.
pub(crate) struct Ignores<'a> {
    entries: Vec<(&'a Ignore, bool, bool)>,
}

impl<'a> Ignores<'a> {
    /// Reads the days.
    pub(crate) fn new(ignores: &'a [Ignore], now: Instant) -> Result<Self, Failure> {
        let entries = ignores.iter().map(|ignore| {
            let end = end_of(&ignore.until).ok_or_else(|| {
                Failure::InvalidParams(format!(
                    "`{}` is no day to ignore {} until; write one like 2027-01-31",
                    ignore.until, ignore.id
                ))
            })?;
            Ok((ignore, now < end, false))
        });
        Ok(Self {
            entries: entries.collect::<Result<_, Failure>>()?,
        })
    }

    /// True when one of `ids` is ignored now. The entry counts as used, also when its time is over.
    pub(crate) fn covers<'i>(&mut self, ids: impl IntoIterator<Item = &'i str, IntoIter: Clone>) -> bool {
        let ids = ids.into_iter();
        let mut covered = false;
        for (ignore, lives, used) in &mut self.entries {
            if ids.clone().any(|id| id.eq_ignore_ascii_case(&ignore.id)) {
                *used = true;
                covered |= *lives;
            }
        }
        covered
    }

    /// Entries whose time is over, and that something still needed.
    pub(crate) fn expired(&self) -> impl Iterator<Item = &'a Ignore> {
        self.entries
            .iter()
            .filter(|(_, lives, used)| !lives && *used)
            .map(|(ignore, ..)| *ignore)
    }

    /// Entries that nothing needed.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &'a Ignore> {
        self.entries
            .iter()
            .filter(|(.., used)| !used)
            .map(|(ignore, ..)| *ignore)
    }
}

/// The first moment after the day that `text` names, UTC.
fn end_of(text: &str) -> Option<Instant> {
    Some(day(text)? + std::time::Duration::from_secs(86_400))
}

/// The first moment of the day that `text` names, UTC; what does not exist (`2027-02-30`) is no day.
pub(crate) fn day(text: &str) -> Option<Instant> {
    let parts: Vec<&str> = text.split('-').collect();
    let &[year, month, day] = parts.as_slice() else {
        return None;
    };
    let number = |text: &str, digits: usize| {
        let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|_| plain)
    };
    let at = Instant::utc(number(year, 4)?, number(month, 2)?, number(day, 2)?, 0, 0);
    at.to_string().starts_with(text).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sereno_plugin::testing::at;

    #[test]
    fn a_day_is_one_of_the_calendar() {
        assert_eq!(day("2027-01-31"), Some(at("2027-01-31 00:00")));
        for bad in [
            "2027-02-30",
            "2027-13-01",
            "2027-1-31",
            "31.1.2027",
            "",
            "2027-01-31T00:00",
            "20270131",
        ] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_day_still_counts() {
        let list = [Ignore {
            id: "GHSA-a".to_owned(),
            until: "2027-01-31".to_owned(),
            reason: "not reachable".to_owned(),
        }];
        let mut last = Ignores::new(&list, at("2027-01-31 23:59")).expect("a list");
        assert!(last.covers(["ghsa-A"]));
        assert_eq!((last.expired().count(), last.unused().count()), (0, 0));
        let mut over = Ignores::new(&list, at("2027-02-01 00:00")).expect("a list");
        assert!(!over.covers(["CVE-1", "GHSA-a"]));
        assert_eq!((over.expired().count(), over.unused().count()), (1, 0));
        let unused = Ignores::new(&list, at("2027-01-01 00:00")).expect("a list");
        assert_eq!((unused.expired().count(), unused.unused().count()), (0, 1));
    }
}
