//! Decides which partitions take their next step: drop what has had its grace, detach what is too old, archive what is detached.
//!
//! The host holds that a partition is as old as it has to be, and detached by it, and kept; what does not go is told, not forced.

use sereno_plugin::{
    Archive, Context, DatabaseRead, DatabaseWrite, Error, Failure, Finding, Outcome, Partition,
    PartitionStep, Report, target, text,
};

use crate::Params;

/// Steps of one attempt: the host allows some more. What is left is done by the next attempt, which looks anew.
const STEPS_MAX: usize = 200;

/// What comes of a look at everything.
enum End {
    Finished,
    /// There is more to do than this attempt may.
    More,
}

/// Takes every partition as far as it may go.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + DatabaseWrite),
) -> Result<Outcome, Failure> {
    let mut report = Report::new();
    // The cursor only says that something has moved: where everything is, the database knows.
    let round: u64 = context
        .cursor
        .as_deref()
        .map_or(Ok(0), str::parse)
        .map_err(|_| Failure::Permanent("that is not a cursor of partition-retention".to_owned()))?;
    match all(context, params, host, &mut report) {
        Ok(End::Finished) => Ok(Outcome::Done(report)),
        Ok(End::More) | Err(Error::Deadline) => Ok(Outcome::More(report, (round + 1).to_string())),
        Err(error) => Err(error.into()),
    }
}

fn all(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + DatabaseWrite),
    report: &mut Report,
) -> Result<End, Error> {
    let (database, table) = (&params.database, &params.table);
    let before = context.cutoff(params.keep);
    let archived_before = context.cutoff(params.grace);
    let archive = Archive {
        storage: params.archive.clone(),
        prefix: params.archive_prefix.clone(),
    };
    let found = host.partitions(database, table)?;
    let is_old = |known: &&Partition| known.upper.is_some_and(|upper| upper <= before);
    let mut steps = 0;
    for known in &found.partitions {
        if steps >= STEPS_MAX {
            return Ok(End::More);
        }
        let name = &known.name;
        let (doing, step) = match known.state.as_str() {
            "gone" => (
                "dropped",
                host.drop_partition(database, table, name, archived_before, &params.archive)?,
            ),
            "archived" if known.archived_at.is_some_and(|at| at < archived_before) => (
                "dropped",
                host.drop_partition(database, table, name, archived_before, &params.archive)?,
            ),
            "detached" => (
                "archived",
                host.archive_partition(database, table, name, &archive)?,
            ),
            "attached" | "detaching"
                if is_old(&known) && found.obstacle.is_none() && known.kept.is_none() =>
            {
                let step = host.detach_partition(database, table, name, before)?;
                if step.done {
                    steps += 1;
                    (
                        "archived",
                        host.archive_partition(database, table, name, &archive)?,
                    )
                } else {
                    ("detached", step)
                }
            }
            _ => {
                if found.obstacle.is_none() {
                    tell_kept(params, known, is_old(&known), report);
                }
                continue;
            }
        };
        steps += 1;
        tell(params, known, doing, &step, report);
    }
    let old: Vec<_> = found
        .partitions
        .iter()
        .filter(|known| known.state == "attached" && known.kept.is_none())
        .filter(is_old)
        .collect();
    if let Some(obstacle) = &found.obstacle {
        let text = format!(
            "{} of {table} {} old enough to go ({} before the run), and cannot be detached: {obstacle}",
            text::counted(old.len() as u64, "partition", "partitions"),
            if old.len() == 1 { "is" } else { "are" },
            text::duration(params.keep),
        );
        let on = target::table(database, table);
        report.add(match old.len() {
            0 => Finding::info("partitions-stay", on, text),
            _ => Finding::warn("partitions-stay", on, text),
        });
    }
    Ok(End::Finished)
}

/// A step that was not done.
fn tell(params: &Params, known: &Partition, doing: &str, step: &PartitionStep, report: &mut Report) {
    if step.done {
        return;
    }
    let why = step.note.as_deref().unwrap_or("nobody said why");
    let text = format!("partition {} was not {doing}: {why}", known.name);
    let on = target::table(&params.database, &params.table);
    report.add(
        Finding::warn("partition-not-moved", on, text).next("the next run tries again from where it is now"),
    );
}

/// A partition that would go, and never does.
fn tell_kept(params: &Params, known: &Partition, is_old: bool, report: &mut Report) {
    let Some(why) = known.kept.as_deref() else {
        return;
    };
    // Those that have no age are many tables' normal state, and so is a newest partition that is still written to.
    if known.state == "attached" && !is_old {
        return;
    }
    let on = target::table(&params.database, &params.table);
    let text = format!("partition {} stays: {why}", known.name);
    report.add(match known.state.as_str() {
        "attached" => Finding::info("partition-kept", on, text),
        _ => Finding::warn("partition-kept", on, text),
    });
}

#[cfg(test)]
mod tests {
    use sereno_plugin::testing::{FakeHost, at, context, days};
    use sereno_plugin::{Instant, Upkeep};

    use super::*;

    fn now() -> Instant {
        at("2026-11-24 02:30")
    }

    fn params() -> Params {
        Params {
            database: "app".to_owned(),
            table: "events".to_owned(),
            keep: days(90),
            grace: days(7),
            archive: "old".to_owned(),
            archive_prefix: "archive".to_owned(),
        }
    }

    fn partition(name: &str, state: &str, ended: Option<u64>) -> Partition {
        Partition {
            name: name.to_owned(),
            state: state.to_owned(),
            upper: ended.map(|ago| now() - days(ago)),
            ..Partition::default()
        }
    }

    fn host(partitions: Vec<Partition>) -> FakeHost {
        let mut host = FakeHost::new();
        host.database("app").table("events").partitions.partitions = partitions;
        host
    }

    fn states(host: &mut FakeHost) -> Vec<String> {
        let partitions = &host.database("app").table("events").partitions.partitions;
        let word = |known: &Partition| format!("{} {}", known.name, known.state);
        partitions.iter().map(word).collect()
    }

    fn run_once(host: &mut FakeHost) -> Report {
        match run(&context(now()), &params(), host).unwrap() {
            Outcome::Done(report) => report,
            Outcome::More(..) => panic!("there was more"),
        }
    }

    fn codes(report: &Report) -> Vec<&str> {
        report
            .findings
            .iter()
            .map(|finding| finding.code.as_str())
            .collect()
    }

    #[test]
    fn each_partition_takes_the_step_that_is_its_own() {
        let archived = |name: &str, ago: u64| Partition {
            archived_at: Some(now() - days(ago)),
            ..partition(name, "archived", Some(200))
        };
        let mut host = host(vec![
            archived("long-archived", 8),
            archived("just-archived", 6),
            partition("detached", "detached", Some(150)),
            partition("old", "attached", Some(91)),
            partition("on-the-day", "attached", Some(90)),
            partition("young", "attached", Some(89)),
            partition("boundless", "attached", None),
        ]);
        let report = run_once(&mut host);
        assert_eq!(
            states(&mut host),
            [
                "just-archived archived",
                "detached archived",
                "old archived",
                "on-the-day archived",
                "young attached",
                "boundless attached",
            ]
        );
        assert_eq!(codes(&report), [""; 0]);
    }

    #[test]
    fn what_stays_is_told_with_its_reason() {
        let kept = Partition {
            kept: Some("it is the newest".to_owned()),
            ..partition("newest", "attached", Some(100))
        };
        let mut host = host(vec![partition("old", "attached", Some(120)), kept]);
        let why = Upkeep {
            done: false,
            bytes: None,
            note: Some("process 7 is using the table".to_owned()),
        };
        host.database("app").table("events").answers("old", why);
        let report = run_once(&mut host);
        assert_eq!(codes(&report), ["partition-not-moved", "partition-kept"]);
        assert!(report.findings[0].text.contains("process 7"));
        assert_eq!(states(&mut host), ["old attached", "newest attached"]);
    }

    #[test]
    fn an_obstacle_is_told_once_and_nothing_is_tried() {
        let mut host = host(vec![
            partition("a", "attached", Some(120)),
            partition("b", "attached", Some(110)),
        ]);
        host.database("app").table("events").partitions.obstacle =
            Some("it has a DEFAULT partition".to_owned());
        let report = run_once(&mut host);
        assert_eq!(codes(&report), ["partitions-stay"]);
        assert_eq!(states(&mut host), ["a attached", "b attached"]);
    }

    #[test]
    fn more_than_an_attempt_may_do_goes_on_in_the_next() {
        let many = |count: usize| {
            (0..count)
                .map(|at| partition(&format!("p{at}"), "attached", Some(120)))
                .collect()
        };
        let mut host = host(many(130));
        let mut context = context(now());
        let Outcome::More(_, cursor) = run(&context, &params(), &mut host).unwrap() else {
            panic!("130 partitions are 260 steps");
        };
        context.cursor = Some(cursor);
        let Outcome::Done(_) = run(&context, &params(), &mut host).unwrap() else {
            panic!("60 steps were left");
        };
        assert!(states(&mut host).iter().all(|state| state.ends_with("archived")));
    }
}
