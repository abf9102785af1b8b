//! Makes one backup, and then decides which old ones may go.
//!
//! What may never go is not decided here: the host keeps the best one whatever this says.

use sereno_plugin::{
    Backup, Backups, Context, Error, Failure, Finding, Measurement, Measurements, Outcome, Report, Unit,
    target,
};

use crate::{Kind, Params};

/// The cursor of a run whose backup is made: another attempt only goes on with the old ones.
const MADE: &str = "made";

/// A backup that has shrunk to less than this part of the last one is worth a look.
const SHRUNK_TO_PERCENT: u64 = 50;

pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl Backups + Measurements),
) -> Result<Outcome, Failure> {
    let (database, storage) = (&params.database, &params.storage);
    let mut report = Report::new();
    match context.cursor.as_deref() {
        None => {
            let leftovers = host.sweep_backups(database, storage)?;
            if leftovers > 0 {
                report.add(Finding::info(
                    "leftovers-removed",
                    target::database(database),
                    format!("{leftovers} unpublished backup(s) of runs that died were in the way"),
                ));
            }
            let before = host.backups(database, storage)?;
            let made = host.create_backup(database, storage, kind(context, params, &before))?;
            measure(host, database, &made);
            // What changed has no size that it should have.
            let mut alike = before.iter().rev().filter(|_| made.parent.is_none());
            if let Some(last) = alike.find(|backup| backup.kind == made.kind)
                && made.bytes < last.bytes / 100 * SHRUNK_TO_PERCENT
            {
                let text = format!(
                    "the backup has {} bytes, and the one before it had {}",
                    made.bytes, last.bytes
                );
                report.add(
                    Finding::warn("backup-shrank", target::database(database), text)
                        .next("look whether the rows that are gone were meant to go"),
                );
            }
        }
        Some(MADE) => {}
        Some(other) => return Err(Failure::Permanent(format!("`{other}` is not a cursor of backup"))),
    }
    for id in expired(context, params, &host.backups(database, storage)?) {
        match host.expire_backup(database, storage, &id) {
            Ok(_) => {}
            Err(Error::Deadline) => return Ok(Outcome::More(report, MADE.to_owned())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome::Done(report))
}

fn measure(host: &mut impl Measurements, database: &str, made: &Backup) {
    let on = target::database(database);
    host.measure(Measurement::count(
        "backup.bytes",
        &on,
        Unit::Bytes,
        Some(made.bytes),
        "",
    ));
    let took = made
        .ended
        .zip(made.started)
        .map(|(ended, started)| ended.since(started).as_secs_f64());
    host.measure(Measurement::new(
        "backup.seconds",
        &on,
        Unit::Seconds,
        took,
        "nobody knows when it began",
    ));
}

/// What is made now: a chain of changes begins anew where the whole that it builds on is old, bad or not there.
fn kind(context: &Context, params: &Params, before: &[Backup]) -> &'static str {
    let oldest = context.scheduled_at - params.full_every;
    let is_whole = |backup: &&Backup| backup.kind == "physical";
    match params.kind {
        Kind::Logical => "logical",
        Kind::Physical => "physical",
        Kind::Incremental => {
            let last = before.iter().rev().find(is_whole);
            let is_young = |whole: &Backup| whole.started.is_some_and(|started| started > oldest);
            // One bad link breaks all that come after it.
            let is_good = |whole: &Backup| {
                let chain = before
                    .iter()
                    .filter(|backup| backup.id >= whole.id && backup.kind != "logical");
                chain.into_iter().all(|backup| backup.bad.is_none())
            };
            match last {
                Some(whole) if is_young(whole) && is_good(whole) => "incremental",
                _ => "physical",
            }
        }
    }
}

/// How good a backup is to have: bad ones, those that nobody read to their end, and those that somebody did.
fn standing(backup: &Backup) -> u8 {
    match (&backup.bad, backup.level.as_deref()) {
        (Some(_), _) => 0,
        (None, None | Some("present")) => 1,
        (None, Some("checksums")) => 2,
        (None, Some("readable")) => 3,
        (None, Some(_)) => 4,
    }
}

/// The ids that may go, the oldest first: neither among the newest, nor young, nor the best, nor what another builds on.
fn expired(context: &Context, params: &Params, backups: &[Backup]) -> Vec<String> {
    let keep_last = usize::try_from(params.keep_last).unwrap_or(usize::MAX);
    let cutoff = context.scheduled_at - params.keep_for;
    let best = backups.iter().max_by_key(|backup| (standing(backup), &backup.id));
    // A bad one stands for none of those that are to stay.
    let mut good = backups.iter().rev().filter(|backup| backup.bad.is_none());
    let oldest_kept = good
        .nth(keep_last.saturating_sub(1))
        .map(|backup| backup.id.clone());
    let stays = |backup: &Backup| {
        let is_new = oldest_kept.as_ref().is_none_or(|oldest| backup.id >= *oldest);
        let is_young = backup.started.is_none_or(|started| started >= cutoff);
        is_new || is_young || best.is_some_and(|best| best.id == backup.id)
    };
    let mut kept: Vec<&str> = backups
        .iter()
        .filter(|backup| stays(backup))
        .map(|backup| backup.id.as_str())
        .collect();
    // A chain is held by its newest: parents stand before their children.
    for backup in backups.iter().rev() {
        if kept.contains(&backup.id.as_str())
            && let Some(parent) = &backup.parent
        {
            kept.push(parent);
        }
    }
    let gone = backups
        .iter()
        .filter(|backup| !kept.contains(&backup.id.as_str()));
    // Children first: the host keeps a parent as long as a child.
    gone.rev().map(|backup| backup.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use sereno_plugin::testing::{FakeHost, at, context, days};

    use super::*;

    fn params(keep_last: i64, keep_for: u64) -> Params {
        Params {
            database: "app".to_owned(),
            storage: "backups".to_owned(),
            kind: Kind::Logical,
            full_every: days(7),
            keep_last,
            keep_for: days(keep_for),
        }
    }

    fn host() -> FakeHost {
        let mut host = FakeHost::new();
        for day in 1..=6 {
            let level = (day == 2).then_some("restored");
            host.backups.made(at(&format!("2026-11-{day:02} 03:00")), level);
        }
        host.backups.now = Some(at("2026-11-07 03:00"));
        host
    }

    fn ids(days: &[u32]) -> Vec<String> {
        days.iter()
            .map(|day| at(&format!("2026-11-{day:02} 03:00")).to_string())
            .collect()
    }

    #[test]
    fn the_newest_stay_and_the_last_verified_one() {
        let mut host = host();
        let done = run(&context(at("2026-11-07 03:00")), &params(3, 1), &mut host).expect("it works");
        assert_eq!(done, Outcome::Done(Report::new()));
        assert_eq!(host.backups.ids(), ids(&[2, 5, 6, 7]));
        assert_eq!(host.measured("backup.bytes", "database.app"), Some(1_000.0));
    }

    #[test]
    fn the_young_stay_however_many() {
        let mut host = host();
        run(&context(at("2026-11-07 03:00")), &params(1, 4), &mut host).expect("it works");
        assert_eq!(host.backups.ids(), ids(&[2, 3, 4, 5, 6, 7]));
    }

    #[test]
    fn a_bad_one_is_none_of_the_newest() {
        let mut host = host();
        host.backups.published[5].bad = Some("a byte was flipped".to_owned());
        run(&context(at("2026-11-09 03:00")), &params(2, 1), &mut host).expect("it works");
        assert_eq!(
            host.backups.ids(),
            ids(&[2, 5, 6, 7]),
            "5 stands in for 6, which is newer and stays"
        );
    }

    #[test]
    fn a_chain_begins_anew_when_its_whole_is_old_or_a_link_is_bad() {
        let mut host = FakeHost::new();
        let incremental = Params {
            kind: Kind::Incremental,
            ..params(9, 9)
        };
        let next =
            |now: &str, host: &FakeHost| kind(&context(at(now)), &incremental, &host.backups.published);
        assert_eq!(next("2026-11-01 03:00", &host), "physical", "there is none");
        for day in 1..=3 {
            let one = host.backups.made(at(&format!("2026-11-{day:02} 03:00")), None);
            let last = one.published.len() - 1;
            one.published[last].kind = if day == 1 { "physical" } else { "incremental" }.to_owned();
        }
        assert_eq!(next("2026-11-07 03:00", &host), "incremental");
        assert_eq!(
            next("2026-11-08 03:00", &host),
            "physical",
            "it is seven days old"
        );
        host.backups.published[1].bad = Some("a byte was flipped".to_owned());
        assert_eq!(next("2026-11-04 03:00", &host), "physical", "a link is bad");
    }

    #[test]
    fn nothing_goes_before_the_new_one_is_there() {
        let mut host = host();
        host.fail("create-backup", 1, Error::Fault("no space".to_owned()));
        assert!(run(&context(at("2026-11-07 03:00")), &params(1, 1), &mut host).is_err());
        assert_eq!(host.backups.ids(), ids(&[1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn out_of_time_it_goes_on_without_another_backup() {
        let mut host = host();
        host.fail("expire-backup", 2, Error::Deadline);
        let first = context(at("2026-11-07 04:00"));
        let more = run(&first, &params(1, 1), &mut host).expect("in order");
        assert_eq!(more, Outcome::More(Report::new(), MADE.to_owned()));
        let second = Context {
            cursor: Some(MADE.to_owned()),
            ..first
        };
        run(&second, &params(1, 1), &mut host).expect("it works");
        assert_eq!(host.backups.ids(), ids(&[2, 7]));
    }

    #[test]
    fn leftovers_and_a_shrunk_backup_are_told() {
        let mut host = host();
        host.backups.leftovers = 1;
        host.backups.published[5].bytes = 4_000;
        let done = run(&context(at("2026-11-07 03:00")), &params(9, 9), &mut host).expect("it works");
        let Outcome::Done(report) = done else {
            panic!("{done:?}")
        };
        let codes: Vec<&str> = report
            .findings
            .iter()
            .map(|finding| finding.code.as_str())
            .collect();
        assert_eq!(codes, ["leftovers-removed", "backup-shrank"]);
    }
}
