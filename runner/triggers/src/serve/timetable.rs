//! Which ticks are due: for each job and round, the latest time of its schedule that has not been handed out.
//!
//! It reads no clock and runs nothing. What went by unseen (the process stood still, the clock was put forward) becomes one
//! tick, the latest; what comes again (the clock was put back) becomes none.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use sereno_core::job::Config;
use sereno_core::place::Place;
use sereno_core::run::{Work, digest};
use sereno_core::schedule::{Schedule, Zone};
use sereno_core::value::Instant;

/// Work starts at most this part of its period later than its time.
const JITTER_OF_PERIOD: u32 = 10;

/// A tick that was handed out and now lies this far ahead was one of a clock that was wrong.
const CLOCK_WAS_WRONG: TimeDelta = TimeDelta::seconds(60);

/// A time of a schedule that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) work: Work,
    /// What its cutoffs are reckoned from.
    pub(super) at: Instant,
    /// Earlier times went by as well, of which nobody hears.
    pub(super) is_late: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Timetable {
    zone: Zone,
    entries: BTreeMap<Work, Entry>,
}

#[derive(Debug)]
struct Entry {
    schedule: Schedule,
    jitter: TimeDelta,
    /// Every time up to this one was handed out, or is nobody's business.
    upto: Instant,
    /// The next one.
    next: Option<Instant>,
}

impl Entry {
    fn new(schedule: Schedule, jitter: TimeDelta, zone: &Zone, upto: Instant) -> Self {
        let next = schedule.next_after(upto, zone);
        Self {
            schedule,
            jitter,
            upto,
            next,
        }
    }

    /// When the next one is handed out.
    fn due_at(&self) -> Option<Instant> {
        self.next?.checked_add_signed(self.jitter)
    }
}

impl Timetable {
    /// Everything in `config` that has a schedule, from `now` on.
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let mut table = Self {
            zone: config.timezone.clone(),
            entries: BTreeMap::new(),
        };
        table.read(config, now);
        table
    }

    /// Takes a new configuration: what keeps its schedule goes on where it was.
    pub(super) fn read(&mut self, config: &Config, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        let same_zone = self.zone == config.timezone;
        self.zone = config.timezone.clone();
        for (work, schedule) in scheduled(config) {
            let known = before
                .remove(&work)
                .filter(|entry| same_zone && entry.schedule == *schedule);
            let upto = known.map_or(now, |entry| entry.upto);
            let jitter = jitter(&work, schedule, config);
            let entry = Entry::new(schedule.clone(), jitter, &self.zone, upto);
            self.entries.insert(work, entry);
        }
    }

    /// The latest time of each at or before `now`, none of which is handed out by [`Self::due`].
    pub(super) fn latest(&self, now: Instant) -> Vec<(Work, Instant)> {
        let latest = |(work, entry): (&Work, &Entry)| {
            let at = entry.schedule.latest_at_or_before(now, &self.zone)?;
            Some((work.clone(), at))
        };
        self.entries.iter().filter_map(latest).collect()
    }

    /// What is due by `now` and was not before. Each time is handed out once.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        for (work, entry) in &mut self.entries {
            if entry.upto > now + CLOCK_WAS_WRONG {
                *entry = Entry::new(entry.schedule.clone(), entry.jitter, &self.zone, now);
            }
            if entry.due_at().is_none_or(|at| at > now) {
                continue;
            }
            let latest = entry.schedule.latest_at_or_before(now - entry.jitter, &self.zone);
            let Some(at) = latest.filter(|at| *at > entry.upto) else {
                continue;
            };
            due.push(Due {
                work: work.clone(),
                at,
                is_late: entry.next != Some(at),
            });
            *entry = Entry::new(entry.schedule.clone(), entry.jitter, &self.zone, at);
        }
        due
    }

    /// When the next one is handed out.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.values().filter_map(Entry::due_at).min()
    }

    /// How many schedules there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Everything that runs by itself, but what runs on Lambda only.
pub(super) fn scheduled(config: &Config) -> impl Iterator<Item = (Work, &Schedule)> {
    let jobs = config
        .jobs
        .values()
        .map(|job| (Work::Job(job.name.clone()), job.schedule.as_ref()));
    let rounds = config
        .rounds
        .values()
        .map(|round| (Work::Round(round.name.clone()), round.schedule.as_ref()));
    jobs.chain(rounds)
        .filter_map(|(work, schedule)| Some((work, schedule?)))
        .filter(|(work, _)| config.place(work).takes(Place::Container))
}

/// How much later than its time it starts: the same each time, on every host.
fn jitter(work: &Work, schedule: &Schedule, config: &Config) -> TimeDelta {
    let most = schedule.period_estimate().map_or(config.serve.jitter, |period| {
        config.serve.jitter.min(period / JITTER_OF_PERIOD)
    });
    let hash = digest(work.text().as_bytes());
    let share = u32::from_str_radix(&hash[..8], 16).unwrap_or_default();
    let part = most.mul_f64(f64::from(share) / f64::from(u32::MAX));
    TimeDelta::milliseconds(i64::try_from(part.as_millis()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("a time")
    }

    /// A job for each schedule, called by its place.
    fn config(top: &str, schedules: &[&str]) -> Config {
        let mut text = format!("version = 1\n{top}\n[directory.d]\npath = \"d\"\n");
        for (place, schedule) in schedules.iter().enumerate() {
            write!(
                text,
                "[job.j{place}]\nplugin = \"temp-files\"\nschedule = \"{schedule}\"\nparams = {{ directory = \"d\" }}\n"
            )
            .expect("a String takes everything");
        }
        sereno_core::config::parse(&text, Path::new("/srv")).expect("a configuration")
    }

    fn punctual(schedules: &[&str]) -> Config {
        config("[serve]\njitter = \"1ms\"", schedules)
    }

    fn times(due: &[Due]) -> Vec<(String, bool)> {
        due.iter()
            .map(|due| (due.at.format("%d %H:%M").to_string(), due.is_late))
            .collect()
    }

    #[test]
    fn each_time_is_handed_out_once_and_at_its_time() {
        let mut table = Timetable::new(&punctual(&["0 4 * * *"]), at("2026-11-24T03:00:00Z"));
        assert_eq!(table.next(), Some(at("2026-11-24T04:00:00Z")));
        assert_eq!(table.due(at("2026-11-24T03:59:59Z")), []);
        let due = table.due(at("2026-11-24T04:00:00Z"));
        assert_eq!(times(&due), [("24 04:00".to_owned(), false)]);
        assert_eq!(table.due(at("2026-11-24T04:00:00Z")), []);
        assert_eq!(table.due(at("2026-11-25T03:59:59Z")), []);
    }

    #[test]
    fn a_clock_put_forward_makes_one_tick_of_all_that_went_by() {
        let mut table = Timetable::new(&punctual(&["*/5 * * * *"]), at("2026-11-24T03:01:00Z"));
        let due = table.due(at("2026-11-24T09:47:30Z"));
        assert_eq!(times(&due), [("24 09:45".to_owned(), true)]);
        assert_eq!(table.next(), Some(at("2026-11-24T09:50:00Z")));
    }

    #[test]
    fn a_clock_put_back_makes_no_tick_twice_and_one_that_was_wrong_is_forgotten() {
        let mut table = Timetable::new(&punctual(&["*/5 * * * *"]), at("2026-11-24T03:01:00Z"));
        assert_eq!(table.due(at("2026-11-24T03:05:00Z")).len(), 1);
        assert_eq!(table.due(at("2026-11-24T03:04:30Z")), []);
        assert_eq!(table.due(at("2026-11-24T03:05:10Z")), []);
        // A year ahead, and back again: the schedule does not stand still for a year.
        assert_eq!(table.due(at("2027-11-24T03:05:00Z")).len(), 1);
        assert_eq!(table.due(at("2026-11-24T03:06:00Z")), []);
        let due = table.due(at("2026-11-24T03:10:00Z"));
        assert_eq!(times(&due), [("24 03:10".to_owned(), false)]);
    }

    #[test]
    fn a_time_that_comes_twice_ticks_once_and_one_that_is_skipped_does_not() {
        let madrid = config(
            "timezone = \"Europe/Madrid\"\n[serve]\njitter = \"1ms\"",
            &["30 2 * * *"],
        );
        // Minute by minute through both changes of the clock.
        for (from, expected) in [
            ("2026-10-24T12:00:00Z", vec!["2026-10-25T00:30:00Z"]),
            ("2026-03-28T12:00:00Z", vec![]),
        ] {
            let start = at(from);
            let mut table = Timetable::new(&madrid, start);
            let minutes = (0..24 * 60 - 1).map(|minute| start + TimeDelta::minutes(minute));
            let ticks: Vec<Instant> = minutes.flat_map(|now| table.due(now)).map(|due| due.at).collect();
            assert_eq!(ticks, expected.into_iter().map(at).collect::<Vec<_>>(), "{from}");
        }
    }

    #[test]
    fn jitter_is_the_same_each_time_differs_between_jobs_and_stays_within_a_tenth() {
        let schedules = ["* * * * *"; 20];
        let config = config("[serve]\njitter = \"1h\"", &schedules);
        let start = at("2026-11-24T03:00:00Z");
        let table = Timetable::new(&config, start);
        let offsets: Vec<TimeDelta> = table.entries.values().map(|entry| entry.jitter).collect();
        let most = TimeDelta::seconds(6);
        assert!(
            offsets
                .iter()
                .all(|offset| *offset >= TimeDelta::zero() && *offset <= most),
            "{offsets:?}"
        );
        let mut different = offsets.clone();
        different.sort();
        different.dedup();
        assert!(different.len() > 10, "{offsets:?}");
        let again: Vec<TimeDelta> = Timetable::new(&config, start)
            .entries
            .values()
            .map(|entry| entry.jitter)
            .collect();
        assert_eq!(again, offsets);
    }

    #[test]
    fn a_tick_is_the_time_itself_however_much_later_it_starts() {
        let mut table = Timetable::new(
            &config("[serve]\njitter = \"1h\"", &["0 4 * * *"]),
            at("2026-11-24T03:00:00Z"),
        );
        let next = table.next().expect("it comes");
        assert!(
            next > at("2026-11-24T04:00:00Z") && next <= at("2026-11-24T05:00:00Z"),
            "{next}"
        );
        assert_eq!(table.due(next - TimeDelta::milliseconds(1)), []);
        assert_eq!(times(&table.due(next)), [("24 04:00".to_owned(), false)]);
    }

    #[test]
    fn a_new_configuration_neither_repeats_nor_forgets_a_tick() {
        let before = punctual(&["*/5 * * * *", "0 * * * *"]);
        let mut table = Timetable::new(&before, at("2026-11-24T03:01:00Z"));
        table.due(at("2026-11-24T03:05:00Z"));
        // The first keeps its schedule; the second has a new one; a third is new.
        let after = punctual(&["*/5 * * * *", "*/10 * * * *", "*/2 * * * *"]);
        table.read(&after, at("2026-11-24T03:11:00Z"));
        let due = table.due(at("2026-11-24T03:11:00Z"));
        assert_eq!(times(&due), [("24 03:10".to_owned(), false)]);
        assert_eq!(due[0].work.name(), "j0");
        assert_eq!(table.due(at("2026-11-24T03:12:00Z")).len(), 1);
    }
}
