//! All that a configuration runs by itself, and what is doubtful about when.
//!
//! It refuses nothing and reads no clock: what it finds is told, each with the path of the configuration that it is about.

use std::collections::BTreeSet;

use chrono::{SubsecRound as _, TimeDelta};

use crate::grant::{Grants, Path, Verb};
use crate::job::Config;
use crate::report::Severity;
use crate::run::Work;
use crate::schedule::{Dialect, Schedule, Zone};
use crate::value::Instant;

/// A year and a bit: every change of the clock, and every first Sunday.
const LOOKED_AHEAD: TimeDelta = TimeDelta::days(400);

/// Runs of one schedule that are looked at: hourly ones for the whole time, more frequent ones for less.
const RUNS_MAX: usize = 10_000;

/// A skipped time that leaves less than this between two runs is a matter of counting.
const NOTICEABLE: TimeDelta = TimeDelta::hours(3);

/// A purge and a backup that are so near each other belong to one night.
const ONE_NIGHT: TimeDelta = TimeDelta::hours(12);

/// Something doubtful about a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Stable and short.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The path of the configuration that it is about: `round.daily.schedule`.
    pub at: String,
    /// What is doubtful, as a sentence without a full stop.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Config {
    /// Jobs and rounds with a schedule of their own.
    pub fn scheduled(&self) -> Vec<(Work, &Schedule)> {
        let rounds = self.rounds.values().filter_map(|round| {
            let schedule = round.schedule.as_ref()?;
            Some((Work::Round(round.name.clone()), schedule))
        });
        let jobs = self.jobs.values().filter_map(|job| {
            let schedule = job.schedule.as_ref()?;
            Some((Work::Job(job.name.clone()), schedule))
        });
        rounds.chain(jobs).collect()
    }

    /// The grants of the jobs that `work` runs, in their order.
    fn grants_of(&self, work: &Work) -> Vec<&Grants> {
        match work {
            Work::Job(name) => self.jobs.get(name).map(|job| &job.grants).into_iter().collect(),
            Work::Round(name) => self.rounds.get(name).map_or_else(Vec::new, |round| {
                let jobs = round.steps.iter().filter_map(|step| self.jobs.get(&step.job));
                jobs.map(|job| &job.grants).collect()
            }),
        }
    }
}

/// What is doubtful about the schedules in the year after `from`.
pub fn doubts(config: &Config, from: Instant) -> Vec<Doubt> {
    let from = from.trunc_subsecs(0);
    let scheduled = config.scheduled();
    let mut doubts = Vec::new();
    for (work, schedule) in &scheduled {
        doubts.extend(clock_changes(work, schedule, &config.timezone, from));
        doubts.extend(elsewhere(work, schedule, &config.timezone));
        doubts.extend(steps_before_backup(config, work));
        doubts.extend(before_backup(config, work, schedule, &scheduled, from));
    }
    for (place, one) in scheduled.iter().enumerate() {
        for another in &scheduled[place + 1..] {
            doubts.extend(collision(config, one, another, from));
        }
    }
    doubts
}

fn local(at: Instant, zone: &Zone) -> impl std::fmt::Display {
    zone.local(at).format("%Y-%m-%d %H:%M")
}

fn path(work: &Work) -> String {
    match work {
        Work::Job(name) => format!("job.{name}.schedule"),
        Work::Round(name) => format!("round.{name}.schedule"),
    }
}

fn doubt(code: &'static str, severity: Severity, work: &Work, message: String, hint: &str) -> Doubt {
    Doubt {
        code,
        severity,
        at: path(work),
        message,
        hint: hint.to_owned(),
    }
}

fn runs<'a>(schedule: &'a Schedule, zone: &'a Zone, from: Instant) -> impl Iterator<Item = Instant> + 'a {
    std::iter::successors(schedule.next_after(from, zone), |run| {
        schedule.next_after(*run, zone)
    })
    .take_while(move |run| *run <= from + LOOKED_AHEAD)
    .take(RUNS_MAX)
}

/// Times that a change of the clock skips or shows twice.
fn clock_changes(work: &Work, schedule: &Schedule, zone: &Zone, from: Instant) -> Vec<Doubt> {
    const HINT: &str = "take a time that no clock change touches, such as 04:00, or the zone UTC";
    let mut doubts = Vec::new();
    for (start, end) in zone.gaps(from, from + LOOKED_AHEAD) {
        let Some(skipped) = schedule.first_local_within(start, end) else {
            continue;
        };
        // The instant at which the clock jumps: what it showed a second before is a time there is.
        let before = zone.instants(start - TimeDelta::seconds(1)).first();
        let around = before.and_then(|before| {
            let next = schedule.next_after(before, zone)?;
            Some(next - schedule.latest_at_or_before(before, zone)?)
        });
        if around.is_none_or(|between| between > NOTICEABLE) {
            let message = format!(
                "{work} does not run on {}: there is no {} that day in {zone}",
                skipped.format("%Y-%m-%d"),
                skipped.format("%H:%M"),
            );
            doubts.push(doubt("clock-skips", Severity::Warn, work, message, HINT));
            // One is enough to know.
            break;
        }
    }
    for (start, end) in zone.folds(from, from + LOOKED_AHEAD) {
        if let Some(twice) = schedule.first_local_within(start, end) {
            let message = format!(
                "on {} {} comes twice in {zone}: {work} runs the first time only",
                twice.format("%Y-%m-%d"),
                twice.format("%H:%M"),
            );
            doubts.push(doubt("clock-repeats", Severity::Info, work, message, HINT));
            break;
        }
    }
    doubts
}

/// What another scheduler would make of it.
fn elsewhere(work: &Work, schedule: &Schedule, zone: &Zone) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    let text = schedule.text();
    if schedule.for_eventbridge().iter().any(|one| !one.is_exact) {
        let message = format!(
            "EventBridge counts `{text}` from when its schedule was made; here it counts from 1970 in UTC, so that {work} \
             comes at other times there"
        );
        let hint = "write the times: `cron(...)`, or a rate that a day is a multiple of";
        doubts.push(doubt("rate-differs", Severity::Warn, work, message, hint));
    }
    let is_daily = schedule
        .period_estimate()
        .is_some_and(|period| period.as_secs().is_multiple_of(86_400));
    if schedule.dialect() == Dialect::Rate && is_daily && *zone != Zone::utc() {
        let message = format!("`{text}` comes at 00:00 UTC, whatever the clocks in {zone} show");
        let hint = "write the local time: `0 3 * * *`";
        doubts.push(doubt("rate-is-utc", Severity::Info, work, message, hint));
    }
    if schedule
        .for_eventbridge()
        .iter()
        .any(|one| one.text.contains(" LW "))
    {
        let message = format!("EventBridge documents no `LW`: it may refuse the schedule of {work}");
        let hint = "write `L` for the last day of the month, or list weekdays: `FRI#L`";
        doubts.push(doubt("eventbridge-unsure", Severity::Info, work, message, hint));
    }
    doubts
}

/// The databases that backups are made of.
fn backed_up(grants: &Grants) -> impl Iterator<Item = &crate::name::TargetName> {
    let backups = grants.0.iter().filter(|(_, verbs)| verbs.contains(&Verb::Backup));
    backups.filter_map(|(path, _)| path.database())
}

/// The databases in which rows are deleted.
fn purged(grants: &Grants) -> impl Iterator<Item = &crate::name::TargetName> {
    let deletes = grants.0.iter().filter(|(_, verbs)| verbs.contains(&Verb::Delete));
    deletes.filter_map(|(path, _)| path.database())
}

/// A round that deletes first and makes the backup afterwards.
fn steps_before_backup(config: &Config, work: &Work) -> Option<Doubt> {
    let Work::Round(name) = work else { return None };
    let round = config.rounds.get(name)?;
    let jobs: Vec<_> = round
        .steps
        .iter()
        .filter_map(|step| config.jobs.get(&step.job))
        .collect();
    let (purge, backup) = jobs.iter().enumerate().find_map(|(place, purge)| {
        let databases: BTreeSet<_> = purged(&purge.grants).collect();
        let is_backed_up_before = jobs[..place]
            .iter()
            .any(|job| backed_up(&job.grants).any(|name| databases.contains(name)));
        let after = jobs[place + 1..]
            .iter()
            .find(|job| backed_up(&job.grants).any(|name| databases.contains(name)))?;
        (!is_backed_up_before).then_some((purge, after))
    })?;
    let message = format!(
        "step `{}` deletes rows before step `{}` makes the backup",
        purge.name, backup.name
    );
    Some(Doubt {
        at: format!("round.{name}.jobs"),
        ..doubt(
            "purge-before-backup",
            Severity::Warn,
            work,
            message,
            &format!("put `{}` before `{}`", backup.name, purge.name),
        )
    })
}

/// A schedule that deletes shortly before the one that makes the backup.
fn before_backup(
    config: &Config,
    work: &Work,
    schedule: &Schedule,
    scheduled: &[(Work, &Schedule)],
    from: Instant,
) -> Option<Doubt> {
    let zone = &config.timezone;
    let grants = config.grants_of(work);
    let databases: BTreeSet<_> = grants.iter().flat_map(|grants| purged(grants)).collect();
    // A round with its own backup is looked at by its steps.
    let own = grants.iter().flat_map(|grants| backed_up(grants));
    let databases: BTreeSet<_> = databases.difference(&own.collect()).copied().collect();
    if databases.is_empty() {
        return None;
    }
    let backups: Vec<_> = scheduled
        .iter()
        .filter(|(other, _)| {
            let grants = config.grants_of(other);
            let mut all = grants.iter().flat_map(|grants| backed_up(grants));
            all.any(|name| databases.contains(name))
        })
        .collect();
    runs(schedule, zone, from)
        .take(LOOKED_AT_PURGES)
        .find_map(|purge| {
            let last = backups
                .iter()
                .filter_map(|(_, backup)| backup.latest_at_or_before(purge, zone))
                .max();
            let (next, backup) = backups
                .iter()
                .filter_map(|(work, backup)| Some((backup.next_after(purge, zone)?, work)))
                .min_by_key(|(at, _)| *at)?;
            let is_nearer = last.is_none_or(|last| next - purge < purge - last);
            (is_nearer && next - purge <= ONE_NIGHT).then(|| {
                let message = format!(
                    "{work} deletes rows on {}, and {backup} makes the backup only at {}",
                    local(purge, zone),
                    zone.local(next).format("%H:%M")
                );
                let hint = "make one round of both, the backup first, or move the backup before it";
                doubt("purge-before-backup", Severity::Warn, work, message, hint)
            })
        })
}

/// Enough for every weekday and the end of every month.
const LOOKED_AT_PURGES: usize = 400;

/// What is changed, by target.
fn changed(config: &Config, work: &Work) -> BTreeSet<String> {
    let grants = config.grants_of(work);
    let all = grants.iter().flat_map(|grants| &grants.0);
    all.filter(|(_, verbs)| verbs.iter().any(|verb| verb.is_changing()))
        .map(|(path, _)| Path::target(path))
        .filter(|target| !target.starts_with("storage."))
        .collect()
}

/// Two schedules that are due at the same time and change the same target.
fn collision(
    config: &Config,
    one: &(Work, &Schedule),
    another: &(Work, &Schedule),
    from: Instant,
) -> Option<Doubt> {
    let mine = changed(config, &one.0);
    let theirs = changed(config, &another.0);
    let target = mine.intersection(&theirs).next()?;
    let zone = &config.timezone;
    let mut others = runs(another.1, zone, from).peekable();
    let mut first = None;
    let mut count = 0_usize;
    for at in runs(one.1, zone, from) {
        while others.next_if(|other| *other < at).is_some() {}
        if others.next_if_eq(&at).is_some() {
            first = first.or(Some(at));
            count += 1;
        }
    }
    let first = first?;
    let again = match count {
        1 => String::new(),
        2 => ", and once more in the year after".to_owned(),
        count => format!(", and {} more times in the year after", count - 1),
    };
    let message = format!(
        "{} and {} are due at the same time, on {}{again}; both change {target}",
        one.0,
        another.0,
        local(first, zone)
    );
    let hint =
        "make one round of both, or move one of them: otherwise one waits for the other, or is skipped";
    Some(doubt("collision", Severity::Warn, &another.0, message, hint))
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use super::*;

    fn found(jobs: &str) -> Vec<(&'static str, String, String)> {
        let text = format!(
            r#"
version = 1
timezone = "Europe/Madrid"
[database.app]
url = "${{env:DATABASE_URL}}"
[storage.backups]
url = "s3://backups"
{jobs}
"#
        );
        let config = crate::config::parse(&text, FilePath::new("/srv")).expect("no mistakes");
        let from = "2026-11-24T12:00:00Z".parse().expect("a time");
        doubts(&config, from)
            .into_iter()
            .map(|doubt| (doubt.code, doubt.at, doubt.message))
            .collect()
    }

    fn purge(name: &str, schedule: &str) -> String {
        format!(
            "[job.{name}]\nplugin = \"row-retention\"\n{schedule}\ngrant = {{ database.app.tables.rows = [\"read\", \
             \"delete\"] }}\n"
        )
    }

    fn backup(schedule: &str) -> String {
        format!(
            "[job.backup]\nplugin = \"backup\"\n{schedule}\n[job.backup.grant]\ndatabase.app.whole = [\"backup\"]\n"
        )
    }

    fn at(schedule: &str) -> String {
        format!("schedule = \"{schedule}\"")
    }

    #[test]
    fn what_the_clock_skips_and_shows_twice_is_told_with_the_day() {
        assert_eq!(
            found(&purge("rows", &at("30 2 * * *"))),
            [
                (
                    "clock-skips",
                    "job.rows.schedule".to_owned(),
                    "job `rows` does not run on 2027-03-28: there is no 02:30 that day in Europe/Madrid"
                        .to_owned()
                ),
                (
                    "clock-repeats",
                    "job.rows.schedule".to_owned(),
                    "on 2027-10-31 02:30 comes twice in Europe/Madrid: job `rows` runs the first time only"
                        .to_owned()
                ),
            ]
        );
        assert_eq!(found(&purge("rows", &at("30 4 * * *"))), []);
        // Nobody misses one of 24.
        let codes: Vec<&str> = found(&purge("rows", &at("0 * * * *")))
            .iter()
            .map(|found| found.0)
            .collect();
        assert_eq!(codes, ["clock-repeats"]);
    }

    #[test]
    fn a_purge_before_the_backup_is_told_and_one_after_it_is_not() {
        let codes = |purge_at: &str, backup_at: &str| -> Vec<&'static str> {
            found(&(purge("rows", &at(purge_at)) + &backup(&at(backup_at))))
                .iter()
                .map(|found| found.0)
                .collect()
        };
        assert_eq!(codes("0 4 * * *", "30 4 * * *"), ["purge-before-backup"]);
        assert_eq!(codes("30 4 * * *", "0 4 * * *"), [""; 0]);
        let round = |jobs: &str| {
            let round = format!("[round.night]\nschedule = \"0 4 * * *\"\njobs = [{jobs}]\n");
            found(&(purge("rows", "") + &backup("") + &round))
        };
        assert_eq!(
            round("\"rows\", \"backup\""),
            [(
                "purge-before-backup",
                "round.night.jobs".to_owned(),
                "step `rows` deletes rows before step `backup` makes the backup".to_owned()
            )]
        );
        assert_eq!(round("\"backup\", \"rows\""), []);
    }

    #[test]
    fn schedules_that_meet_on_the_same_target_are_told_once() {
        let both = purge("daily", &at("0 4 * * *")) + &purge("weekly", &at("0 4 * * SUN"));
        assert_eq!(
            found(&both),
            [(
                "collision",
                "job.weekly.schedule".to_owned(),
                "job `daily` and job `weekly` are due at the same time, on 2026-11-29 04:00, and 56 more times in the year \
                 after; both change database.app"
                    .to_owned()
            )]
        );
        let apart = purge("daily", &at("0 4 * * *")) + &purge("weekly", &at("10 4 * * SUN"));
        assert_eq!(found(&apart), []);
    }

    #[test]
    fn rates_that_mean_other_times_elsewhere_are_told() {
        let codes = |rate: &str| -> Vec<&'static str> {
            found(&purge("rows", &at(rate)))
                .iter()
                .map(|found| found.0)
                .collect()
        };
        assert_eq!(codes("rate(7 minutes)"), ["rate-differs"]);
        assert_eq!(codes("rate(2 days)"), ["rate-differs", "rate-is-utc"]);
        assert_eq!(codes("rate(1 day)"), ["rate-is-utc"]);
        assert_eq!(codes("rate(15 minutes)"), [""; 0]);
    }
}
