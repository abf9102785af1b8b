//! Looks at the newest backups, as far as it was told to.
//!
//! One bad backup fails the run: whatever waits for a good one must not go on. That it is bad is told by the host.

use sereno_plugin::{
    Backup, Backups, Context, Error, Failure, Finding, Measurement, Measurements, Outcome, Report, Unit,
    target,
};

use crate::{Level, Params};

pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl Backups + Measurements),
) -> Result<Outcome, Failure> {
    let into = match (params.level, &params.into) {
        (Level::Restored, None) => {
            let text = "`level = \"restored\"` needs `into`, the scratch database to restore into";
            return Err(Failure::InvalidParams(text.to_owned()));
        }
        (Level::Restored, into) => into.as_deref(),
        _ => None,
    };
    let (database, storage) = (&params.database, &params.storage);
    let on = target::database(database);
    let backups = host.backups(database, storage)?;
    let newest = usize::try_from(params.newest).unwrap_or(usize::MAX);
    let mut bad = Vec::new();
    for backup in backups.iter().rev().take(newest) {
        // Done in an earlier attempt of this run.
        if context.cursor.as_ref().is_some_and(|cursor| backup.id >= *cursor) {
            continue;
        }
        let found = match into {
            Some(into) => host.restore_backup(database, storage, &backup.id, into, params.keep_restored),
            None => host.verify_backup(database, storage, &backup.id, level(params.level)),
        };
        match found {
            Ok(found) if found.problems.is_empty() => {}
            Ok(found) => bad.push(format!("{}: {}", backup.id, found.problems.join("; "))),
            Err(Error::Deadline) if bad.is_empty() => {
                if let Some(cursor) = before(&backups, &backup.id) {
                    return Ok(Outcome::More(Report::new(), cursor));
                }
                return Err(Error::Deadline.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let backups = host.backups(database, storage)?;
    let report = judge(context, params, host, &on, &backups);
    let age = age(context, &backups);
    match age {
        None if backups.is_empty() => bad.push("there is no backup".to_owned()),
        // Whatever this look was content with, an earlier one that looked further was not.
        None => bad.push("there is no backup that is not bad".to_owned()),
        Some(age) if age > params.max_age => {
            let (age, most) = (age.as_secs(), params.max_age.as_secs());
            bad.push(format!(
                "the newest backup is {age} s old, and `max_age` allows {most} s"
            ));
        }
        Some(_) => {}
    }
    if bad.is_empty() {
        return Ok(Outcome::Done(report));
    }
    Err(Failure::Permanent(bad.join("; ")))
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Present => "present",
        Level::Checksums => "checksums",
        Level::Readable => "readable",
        Level::Restored => "restored",
    }
}

/// The backup that was looked at before `id`: the next newer one.
fn before(backups: &[Backup], id: &str) -> Option<String> {
    let newer = backups.iter().find(|backup| backup.id.as_str() > id);
    newer.map(|backup| backup.id.clone())
}

fn age(context: &Context, backups: &[Backup]) -> Option<std::time::Duration> {
    let good = backups.iter().rev().find(|backup| backup.bad.is_none())?;
    Some(context.scheduled_at.since(good.started?))
}

fn judge(
    context: &Context,
    params: &Params,
    host: &mut impl Measurements,
    on: &str,
    backups: &[Backup],
) -> Report {
    let seconds = |age: std::time::Duration| age.as_secs_f64();
    let newest = age(context, backups).map(seconds);
    host.measure(Measurement::new(
        "backup.age_seconds",
        on,
        Unit::Seconds,
        newest,
        "there is no good backup",
    ));
    let count = Some(backups.len() as u64);
    host.measure(Measurement::count("backup.count", on, Unit::Count, count, ""));
    let restored = backups.iter().filter_map(|backup| backup.restored).max();
    let since = restored.map(|restored| context.scheduled_at.since(restored));
    let never = "no backup was ever restored";
    host.measure(Measurement::new(
        "backup.restored_age_seconds",
        on,
        Unit::Seconds,
        since.map(seconds),
        never,
    ));
    let next = "run backup-check with `level = \"restored\"` and a scratch database";
    match since {
        None => Report::new().finding(Finding::warn("never-restored", on, never).next(next)),
        Some(since) if since > params.max_restored_age => {
            let text = format!(
                "the last restore that was counted is {} days ago",
                since.as_secs() / 86_400
            );
            Report::new().finding(Finding::warn("restored-long-ago", on, text).next(next))
        }
        Some(_) => Report::new(),
    }
}

#[cfg(test)]
mod tests {
    use sereno_plugin::testing::{FakeHost, at, context, days, hours};

    use super::*;

    fn params(level: Level) -> Params {
        Params {
            database: "app".to_owned(),
            storage: "backups".to_owned(),
            level,
            into: (level == Level::Restored).then(|| "scratch".to_owned()),
            keep_restored: false,
            newest: 2,
            max_age: hours(26),
            max_restored_age: days(35),
        }
    }

    fn host() -> FakeHost {
        let mut host = FakeHost::new();
        for day in 1..=3 {
            host.backups.made(
                at(&format!("2026-11-{day:02} 03:00")),
                (day == 1).then_some("restored"),
            );
        }
        host
    }

    fn id(day: u32) -> String {
        at(&format!("2026-11-{day:02} 03:00")).to_string()
    }

    #[test]
    fn the_newest_are_looked_at_as_far_as_was_said() {
        let mut host = host();
        let done = run(
            &context(at("2026-11-03 05:00")),
            &params(Level::Checksums),
            &mut host,
        );
        assert_eq!(done, Ok(Outcome::Done(Report::new())));
        assert_eq!(
            host.calls[1..3],
            [
                format!("verify-backup {} checksums", id(3)),
                format!("verify-backup {} checksums", id(2))
            ]
        );
        assert_eq!(host.measured("backup.age_seconds", "database.app"), Some(7_200.0));
        assert_eq!(
            host.measured("backup.restored_age_seconds", "database.app"),
            Some(180_000.0)
        );
    }

    #[test]
    fn a_restore_goes_into_the_scratch_database() {
        let mut host = host();
        run(
            &context(at("2026-11-03 05:00")),
            &params(Level::Restored),
            &mut host,
        )
        .expect("it works");
        assert_eq!(host.calls[1], format!("restore-backup {} into scratch", id(3)));
        let nowhere = Params {
            into: None,
            ..params(Level::Restored)
        };
        let refused = run(&context(at("2026-11-03 05:00")), &nowhere, &mut host);
        assert!(matches!(refused, Err(Failure::InvalidParams(_))));
    }

    #[test]
    fn a_bad_one_an_old_one_and_none_each_fail_the_run() {
        let mut host = host();
        host.backups
            .problems
            .push((id(2), "dump.pgc.zst is missing".to_owned()));
        let bad = run(
            &context(at("2026-11-03 05:00")),
            &params(Level::Present),
            &mut host,
        );
        assert_eq!(
            bad,
            Err(Failure::Permanent(format!("{}: dump.pgc.zst is missing", id(2))))
        );
        host.backups.problems.clear();
        let old = run(
            &context(at("2026-11-04 06:00")),
            &params(Level::Present),
            &mut host,
        );
        assert!(matches!(old, Err(Failure::Permanent(text)) if text.contains("max_age")));
        let none = run(
            &context(at("2026-11-04 06:00")),
            &params(Level::Present),
            &mut FakeHost::new(),
        );
        assert!(matches!(none, Err(Failure::Permanent(text)) if text.contains("no backup")));
    }

    #[test]
    fn a_restore_long_ago_is_told() {
        let mut host = host();
        host.backups.published[2].started = Some(at("2027-01-03 03:00"));
        let done = run(
            &context(at("2027-01-03 05:00")),
            &params(Level::Present),
            &mut host,
        )
        .expect("young");
        let Outcome::Done(report) = done else {
            panic!("{done:?}")
        };
        assert_eq!(report.findings[0].code, "restored-long-ago");
    }

    #[test]
    fn out_of_time_it_goes_on_with_the_next() {
        let mut host = host();
        host.fail("verify-backup", 2, Error::Deadline);
        let first = context(at("2026-11-03 05:00"));
        let more = run(&first, &params(Level::Readable), &mut host).expect("in order");
        assert_eq!(more, Outcome::More(Report::new(), id(3)));
        let second = Context {
            cursor: Some(id(3)),
            ..first
        };
        host.calls.clear();
        run(&second, &params(Level::Readable), &mut host).expect("it works");
        assert_eq!(host.calls[1], format!("verify-backup {} readable", id(2)));
    }
}
