//! Decides which rows go: those older than they are kept for, and only those the conditions name.
//!
//! The host batches, locks, counts and guards. What the conditions never let go is told, not touched.

use sereno_plugin::{
    Archive, Batches, Condition, Context, DatabaseRead, DatabaseWrite, Error, Failure, Filter, Finding,
    Operator, Outcome, Report, Value, in_batches, target, text,
};

use crate::{Params, Where, WhereOp};

/// Rows of one host call at most; the host makes smaller transactions of it, by time.
const BATCH_ROWS: u32 = 100_000;

/// Where a run is; also its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Deleting.
    Delete(Option<String>),
    /// Counting what was not reached; so many rows were locked to the end.
    Check { locked: u64 },
}

impl Step {
    fn write(&self) -> String {
        match self {
            Self::Delete(cursor) => format!("rows:{}", cursor.as_deref().unwrap_or_default()),
            Self::Check { locked } => format!("check:{locked}"),
        }
    }

    fn read(cursor: Option<&str>) -> Result<Self, Failure> {
        let Some(cursor) = cursor else {
            return Ok(Self::Delete(None));
        };
        match cursor.split_once(':') {
            Some(("rows", inner)) => Some(Self::Delete(
                Some(inner.to_owned()).filter(|inner| !inner.is_empty()),
            )),
            Some(("check", locked)) => locked.parse().ok().map(|locked| Self::Check { locked }),
            _ => None,
        }
        .ok_or_else(|| Failure::Permanent(format!("`{cursor}` is not a cursor of row-retention")))
    }
}

/// Purges, then tells what was not reached.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + DatabaseWrite),
) -> Result<Outcome, Failure> {
    let old = Filter::all().before(&params.column, context.cutoff(params.keep));
    let mut filter = old.clone();
    filter.0.extend(conditions(&params.r#where)?);
    let locked = match Step::read(context.cursor.as_deref())? {
        Step::Check { locked } => locked,
        Step::Delete(from) => {
            let mut locked = 0;
            let archive = params.archive.as_ref().map(|storage| Archive {
                storage: storage.clone(),
                prefix: params.archive_prefix.clone(),
            });
            let batches = in_batches(from, |cursor| {
                let (database, table, column) = (&params.database, &params.table, &params.column);
                let batch = match &archive {
                    None => host.delete_batch(database, table, &filter, column, cursor, BATCH_ROWS)?,
                    Some(to) => {
                        host.archive_batch(database, table, &filter, column, cursor, BATCH_ROWS, to)?
                    }
                };
                locked = batch.locked;
                Ok(batch.cursor)
            })?;
            match batches {
                Batches::Finished => locked,
                Batches::OutOfTime(cursor) => {
                    return Ok(Outcome::More(Report::new(), Step::Delete(cursor).write()));
                }
            }
        }
    };
    match check(context, params, &old, locked, host) {
        Ok(report) => Ok(Outcome::Done(report)),
        Err(Error::Deadline) => Ok(Outcome::More(Report::new(), Step::Check { locked }.write())),
        Err(error) => Err(error.into()),
    }
}

/// The operator's conditions; each comparison needs something to compare with.
fn conditions(given: &[Where]) -> Result<Vec<Condition>, Failure> {
    given
        .iter()
        .enumerate()
        .map(|(place, condition)| {
            let op = match condition.op {
                WhereOp::Equal => Operator::Equal,
                WhereOp::NotEqual => Operator::NotEqual,
                WhereOp::Less => Operator::Less,
                WhereOp::LessOrEqual => Operator::LessOrEqual,
                WhereOp::Greater => Operator::Greater,
                WhereOp::GreaterOrEqual => Operator::GreaterOrEqual,
                WhereOp::IsNull => Operator::IsNull,
                WhereOp::IsNotNull => Operator::IsNotNull,
            };
            let value = match (&condition.value, op) {
                (_, Operator::IsNull | Operator::IsNotNull) => Value::Null,
                (Some(value), _) => value.clone().into(),
                (None, _) => {
                    return Err(Failure::InvalidParams(format!(
                        "`where[{place}]` compares {} with nothing: give it a `value`, or say `op = \"is-null\"`",
                        condition.column
                    )));
                }
            };
            Ok(Condition { column: condition.column.clone(), op, value })
        })
        .collect()
}

/// Rows that are old and stay: kept by the conditions, or without an age. Those that others held the host tells.
fn check(
    context: &Context,
    params: &Params,
    old: &Filter,
    locked: u64,
    host: &mut impl DatabaseRead,
) -> Result<Report, Error> {
    let mut report = Report::new();
    let on = || target::table(&params.database, &params.table);
    if !params.r#where.is_empty() {
        // Counted after the purge (in a plan: less what it would have deleted), so all that is left was not meant.
        match count(params, old, host)? {
            Ok(left) if left > locked => {
                let rows = left - locked;
                let text = format!(
                    "{} in {} older than {} ({} before {}) {} not matched by `where`: nothing ever deletes them",
                    text::counted(rows, "row", "rows"),
                    params.table,
                    text::duration(params.keep),
                    params.column,
                    context.cutoff(params.keep),
                    if rows == 1 { "is" } else { "are" },
                );
                let next = "widen `where`, or add a job with a longer `keep` for them";
                report.add(Finding::warn("rows-never-reached", on(), text).next(next));
            }
            Ok(_) => {}
            Err(finding) => report.add(finding),
        }
    }
    match count(params, &Filter::all().null(&params.column), host)? {
        Ok(0) => {}
        Ok(ageless) => {
            let text = format!(
                "{} in {} {} no {}: without an age they are never deleted",
                text::counted(ageless, "row", "rows"),
                params.table,
                if ageless == 1 { "has" } else { "have" },
                params.column,
            );
            let next = format!(
                "find out what writes rows without {}, and fill it in",
                params.column
            );
            report.add(Finding::warn("rows-never-reached", on(), text).next(next));
        }
        Err(finding) => report.add(finding),
    }
    Ok(report)
}

/// Counts rows, or says why they could not be counted: a count that takes too long is no reason to call a purge
/// failed that is done.
fn count(
    params: &Params,
    filter: &Filter,
    host: &mut impl DatabaseRead,
) -> Result<Result<u64, Finding>, Error> {
    match host.count(&params.database, &params.table, filter) {
        Ok(rows) => Ok(Ok(rows)),
        Err(error @ (Error::Busy(_) | Error::Fault(_) | Error::Other(_))) => {
            let on = target::table(&params.database, &params.table);
            let text = format!("rows that are never reached could not be counted: {error}");
            Ok(Err(Finding::info("rows-not-counted", on, text)))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use sereno_plugin::params::Scalar;
    use sereno_plugin::testing::{FakeHost, at, context, days};
    use sereno_plugin::{Instant, Severity};

    use super::*;

    fn now() -> Instant {
        at("2026-11-24 02:30")
    }

    fn params() -> Params {
        Params {
            database: "app".to_owned(),
            table: "notifications".to_owned(),
            column: "created_at".to_owned(),
            keep: days(30),
            r#where: Vec::new(),
            archive: None,
            archive_prefix: "archive".to_owned(),
        }
    }

    fn sent() -> Where {
        Where {
            column: "status".to_owned(),
            op: WhereOp::Equal,
            value: Some(Scalar::Text("sent".to_owned())),
        }
    }

    /// Rows by id, age in days (none: no `created_at`) and status.
    fn host(rows: &[(u64, Option<u64>, &str)]) -> FakeHost {
        let mut host = FakeHost::new();
        let table = host.database("app").table("notifications");
        for (id, age, status) in rows {
            let created = age.map_or(Value::Null, |age| Value::Instant(now() - days(age)));
            table.row(
                *id,
                &[
                    ("created_at", created),
                    ("status", Value::Text((*status).to_owned())),
                ],
            );
        }
        host
    }

    fn left(host: &mut FakeHost) -> Vec<u64> {
        host.database("app").table("notifications").ids()
    }

    fn to_the_end(params: &Params, host: &mut FakeHost) -> (usize, Vec<Finding>) {
        let mut context = context(now());
        let mut findings = Vec::new();
        for attempt in 1..100 {
            match run(&context, params, host).expect("no failure") {
                Outcome::Done(report) => {
                    findings.extend(report.findings);
                    return (attempt, findings);
                }
                Outcome::More(report, cursor) => {
                    findings.extend(report.findings);
                    context.cursor = Some(cursor);
                }
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn rows_older_than_they_are_kept_go_and_one_exactly_at_the_cutoff_stays() {
        let mut host = host(&[
            (1, Some(31), "sent"),
            (2, Some(30), "sent"),
            (3, Some(29), "sent"),
            (4, Some(99), ""),
        ]);
        assert_eq!(to_the_end(&params(), &mut host), (1, vec![]));
        assert_eq!(left(&mut host), [2, 3]);
        assert_eq!(to_the_end(&params(), &mut host), (1, vec![]));
        assert_eq!(left(&mut host), [2, 3], "the second run finds nothing");
    }

    #[test]
    fn only_rows_that_meet_every_condition_go_and_the_old_ones_that_never_do_are_told() {
        let rows = [
            (1, Some(40), "sent"),
            (2, Some(40), "failed"),
            (3, Some(50), "pending"),
            (4, Some(1), "sent"),
        ];
        let mut host = host(&rows);
        let params = Params {
            r#where: vec![sent()],
            ..params()
        };
        let (_, findings) = to_the_end(&params, &mut host);
        assert_eq!(left(&mut host), [2, 3, 4]);
        let [finding] = findings.as_slice() else {
            panic!("{findings:#?}")
        };
        assert_eq!(
            (finding.code.as_str(), finding.severity),
            ("rows-never-reached", Severity::Warn)
        );
        assert_eq!(finding.target, "database.app.tables.notifications");
        assert_eq!(
            finding.text,
            "2 rows in notifications older than 30 days (created_at before 2026-10-25 02:30 UTC) are not matched \
             by `where`: nothing ever deletes them"
        );
    }

    #[test]
    fn every_kind_of_comparison_reaches_the_host_as_it_was_written() {
        let condition = |op, value| Where {
            column: "n".to_owned(),
            op,
            value,
        };
        let made = conditions(&[
            condition(WhereOp::NotEqual, Some(Scalar::Boolean(true))),
            condition(WhereOp::Less, Some(Scalar::Real(0.5))),
            condition(WhereOp::LessOrEqual, Some(Scalar::Integer(1))),
            condition(WhereOp::Greater, Some(Scalar::Integer(2))),
            condition(WhereOp::GreaterOrEqual, Some(Scalar::Integer(3))),
            condition(WhereOp::IsNull, Some(Scalar::Integer(4))),
            condition(WhereOp::IsNotNull, None),
        ]);
        let expected = Filter::all()
            .and("n", Operator::NotEqual, Value::Boolean(true))
            .and("n", Operator::Less, Value::Real(0.5))
            .and("n", Operator::LessOrEqual, Value::Integer(1))
            .and("n", Operator::Greater, Value::Integer(2))
            .and("n", Operator::GreaterOrEqual, Value::Integer(3))
            .and("n", Operator::IsNull, Value::Null)
            .and("n", Operator::IsNotNull, Value::Null);
        assert_eq!(made, Ok(expected.0));
    }

    #[test]
    fn a_comparison_without_a_value_is_refused_before_anything_goes() {
        let mut host = host(&[(1, Some(40), "sent")]);
        let params = Params {
            r#where: vec![Where {
                value: None,
                ..sent()
            }],
            ..params()
        };
        let refused = run(&context(now()), &params, &mut host);
        let text = "`where[0]` compares status with nothing: give it a `value`, or say `op = \"is-null\"`";
        assert_eq!(refused, Err(Failure::InvalidParams(text.to_owned())));
        assert_eq!(left(&mut host), [1]);
    }

    #[test]
    fn rows_are_archived_before_they_go_and_what_cannot_be_stays() {
        let rows = [(1, Some(40), "sent"), (2, Some(50), "sent"), (3, Some(1), "sent")];
        let params = Params {
            archive: Some("archive".to_owned()),
            archive_prefix: "old".to_owned(),
            ..params()
        };
        let mut host = host(&rows);
        host.batch_max = Some(1);
        assert_eq!(to_the_end(&params, &mut host), (1, vec![]));
        assert_eq!(left(&mut host), [3]);
        assert_eq!(
            host.archived["archive/old"],
            [2, 1],
            "each once, the oldest first"
        );

        let mut host = self::host(&rows);
        let full = Error::Fault("no space left".to_owned());
        host.fail("archive_batch", 1, full.clone());
        assert_eq!(
            run(&context(now()), &params, &mut host),
            Err(Failure::PassedOn(full))
        );
        assert_eq!(left(&mut host), [1, 2, 3]);
    }

    #[test]
    fn rows_without_an_age_are_told() {
        let mut host = host(&[(1, Some(40), "sent"), (2, None, "sent")]);
        let (_, findings) = to_the_end(&params(), &mut host);
        assert_eq!(left(&mut host), [2]);
        let [finding] = findings.as_slice() else {
            panic!("{findings:#?}")
        };
        assert_eq!(finding.code, "rows-never-reached");
        assert_eq!(
            finding.text,
            "1 row in notifications has no created_at: without an age they are never deleted"
        );
    }

    #[test]
    fn locked_rows_are_not_counted_as_never_reached() {
        let mut host = host(&[
            (1, Some(40), "sent"),
            (2, Some(41), "sent"),
            (3, Some(42), "sent"),
        ]);
        host.database("app").table("notifications").lock(2);
        let params = Params {
            r#where: vec![sent()],
            ..params()
        };
        let (_, findings) = to_the_end(&params, &mut host);
        assert_eq!(left(&mut host), [2]);
        // That it stays is counted and told by the host.
        assert_eq!(findings, []);
    }

    #[test]
    fn a_deadline_ends_in_order_and_the_next_attempt_goes_on_without_forgetting_locked_rows() {
        let rows = [
            (1, Some(45), "sent"),
            (2, Some(44), "sent"),
            (3, Some(43), "sent"),
            (4, Some(42), "sent"),
        ];
        let params = Params {
            r#where: vec![sent()],
            ..params()
        };
        for (call, nth, left_then) in [
            ("delete_batch", 1, vec![1, 2, 3, 4]),
            ("delete_batch", 3, vec![2, 3, 4]),
            ("count", 1, vec![2]),
            ("count", 2, vec![2]),
        ] {
            let mut host = host(&rows);
            host.batch_max = Some(1);
            host.database("app").table("notifications").lock(2);
            host.fail(call, nth, Error::Deadline);
            let first = run(&context(now()), &params, &mut host);
            assert!(matches!(first, Ok(Outcome::More(..))), "{call} {nth}: {first:?}");
            assert_eq!(left(&mut host), left_then, "{call} {nth}");
            let Ok(Outcome::More(_, cursor)) = first else {
                unreachable!()
            };
            let next = Context {
                cursor: Some(cursor),
                ..context(now())
            };
            let last = run(&next, &params, &mut host);
            let Ok(Outcome::Done(report)) = last else {
                panic!("{call} {nth}: {last:?}")
            };
            assert_eq!(left(&mut host), [2], "{call} {nth}");
            assert_eq!(report.findings, [], "{call} {nth}");
        }
    }

    #[test]
    fn a_count_that_takes_too_long_is_a_finding_and_the_purge_is_done() {
        let mut host = host(&[(1, Some(40), "sent"), (2, Some(40), "failed")]);
        host.fail("count", 1, Error::Busy("count took longer than 30 s".to_owned()));
        let params = Params {
            r#where: vec![sent()],
            ..params()
        };
        let (_, findings) = to_the_end(&params, &mut host);
        assert_eq!(left(&mut host), [2]);
        let [finding] = findings.as_slice() else {
            panic!("{findings:#?}")
        };
        assert_eq!(
            (finding.code.as_str(), finding.severity),
            ("rows-not-counted", Severity::Info)
        );
    }

    #[test]
    fn what_the_host_refuses_is_passed_on() {
        for error in [
            Error::Guard("max_rows_percent".to_owned()),
            Error::Cancelled,
            Error::Busy("a lock".to_owned()),
        ] {
            let mut host = host(&[(1, Some(40), "sent")]);
            host.fail("delete_batch", 1, error.clone());
            assert_eq!(
                run(&context(now()), &params(), &mut host),
                Err(Failure::PassedOn(error))
            );
            assert_eq!(left(&mut host), [1]);
        }
    }

    #[test]
    fn every_cursor_is_read_back_and_a_foreign_one_is_refused() {
        for step in [
            Step::Delete(None),
            Step::Delete(Some("a:b".to_owned())),
            Step::Check { locked: 7 },
        ] {
            assert_eq!(Step::read(Some(&step.write())), Ok(step));
        }
        for foreign in ["", "check:", "age:1"] {
            assert!(
                matches!(Step::read(Some(foreign)), Err(Failure::Permanent(_))),
                "{foreign}"
            );
        }
    }
}
