//! Looks at each table and passes the advice on.
//!
//! One table's trouble is a finding and the next table's turn.

use std::collections::BTreeSet;

use sereno_plugin::{
    Context, DatabaseRead, Error, Failure, Finding, Instant, Measurement, Measurements, Outcome, Report,
    Unit, target, text,
};

use crate::Params;
use crate::advice::{Table, advise};
use crate::statement::Dialect;

/// Looks at every table.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + Measurements),
) -> Result<Outcome, Failure> {
    let mut task = Task {
        context,
        params,
        host,
        report: Report::new(),
        done: context.cursor.clone().unwrap_or_default(),
        counted_since: None,
    };
    match task.work() {
        Ok(()) => Ok(Outcome::Done(task.report)),
        Err(Error::Deadline) => Ok(Outcome::More(task.report, task.done)),
        Err(error) => Err(error.into()),
    }
}

struct Task<'a, H> {
    context: &'a Context,
    params: &'a Params,
    host: &'a mut H,
    report: Report,
    /// The last table that was looked at.
    done: String,
    counted_since: Option<Instant>,
}

impl<H: DatabaseRead + Measurements> Task<'_, H> {
    fn work(&mut self) -> Result<(), Error> {
        let database = self.params.database.as_str();
        // Only a file has no connections.
        let is_file = self.host.database_statistics(database)?.connections.is_none();
        let builds = if is_file {
            Vec::new()
        } else {
            let mut activities = self.host.activities(database)?;
            activities.retain(|activity| activity.kind == "index");
            activities.into_iter().map(|activity| activity.what).collect()
        };
        let tables = self.tables()?;
        if tables.is_empty() {
            let text = "none of its tables may be looked at";
            self.report.add(
                Finding::warn("no-tables", target::database(database), text)
                    .next("grant `read` on tables, or list them in `tables`"),
            );
        }
        for table in tables {
            if table <= self.done {
                continue;
            }
            match self.look_at(&table, is_file, &builds) {
                Err(error) if error.is_local() && !matches!(error, Error::Unreachable(_)) => {
                    let text = format!("its indexes could not be looked at: {error}");
                    let on = target::table(database, &table);
                    self.report.add(Finding::warn("not-looked-at", on, text));
                }
                other => other?,
            }
            self.done = table;
        }
        self.tell_what_is_not_counted(is_file);
        Ok(())
    }

    fn tables(&mut self) -> Result<BTreeSet<String>, Error> {
        let listed = self.params.tables.as_deref().filter(|tables| tables != &["*"]);
        let tables = match listed {
            Some(tables) => tables.to_vec(),
            None => self.host.granted_tables(&self.params.database, "read")?,
        };
        let purged = self.params.purges.iter().map(|purge| purge.table.clone());
        Ok(tables.into_iter().chain(purged).collect())
    }

    fn look_at(&mut self, name: &str, is_file: bool, builds: &[String]) -> Result<(), Error> {
        let database = self.params.database.as_str();
        let statistics = self.host.table_statistics(database, name)?;
        let table = Table {
            name,
            on: target::table(database, name),
            dialect: match (is_file, statistics.partitioned) {
                (true, _) => Dialect::File,
                (false, true) => Dialect::Partitioned,
                (false, false) => Dialect::Concurrent,
            },
            rows: statistics.rows_estimate,
            indexes: self.host.index_details(database, name)?,
            keys: self.host.foreign_keys(database, name)?,
            is_building: builds.iter().any(|what| is_of(what, name)),
        };
        let advice = advise(&table, self.params, self.context.cutoff(self.params.unused_after));
        self.host.measure(Measurement::count(
            "indexes.unneeded_bytes",
            &table.on,
            Unit::Bytes,
            (!is_file).then_some(advice.unneeded),
            "SQLite does not count the use of indexes",
        ));
        self.counted_since = self.counted_since.max(advice.counted_since);
        for finding in advice.findings {
            self.report.add(finding);
        }
        Ok(())
    }

    fn tell_what_is_not_counted(&mut self, is_file: bool) {
        let text = match self.counted_since {
            _ if is_file => "SQLite does not count the use of indexes: none is called unused".to_owned(),
            Some(since) => format!(
                "some indexes have not been used since the server began to count at {since}: that is less than {} ago, and \
                 they are not called unused yet",
                text::duration(self.params.unused_after)
            ),
            None => return,
        };
        let on = target::database(&self.params.database);
        self.report.add(Finding::info("use-not-counted", on, text));
    }
}

/// `create index concurrently of public.orders, building index` is work on `orders`.
fn is_of(what: &str, table: &str) -> bool {
    let Some(of) = what.split(" of ").nth(1).and_then(|rest| rest.split(',').next()) else {
        return false;
    };
    let of = of.replace('"', "");
    of == table || of.strip_prefix("public.") == Some(table) || table.strip_prefix("public.") == Some(&*of)
}

#[cfg(test)]
mod tests {
    use sereno_plugin::testing::{FakeHost, context};
    use sereno_plugin::{Activity, DatabaseStatistics, IndexDetail, TableStatistics};

    use super::*;
    use crate::advice::tests::{index, now, params};

    fn host() -> FakeHost {
        let mut host = FakeHost::new();
        let database = host.database("app");
        database.statistics = DatabaseStatistics {
            connections: Some(3),
            ..DatabaseStatistics::default()
        };
        for name in ["a", "b", "c"] {
            database.grant(name, &["read"]);
            let table = database.table(name);
            table.statistics = TableStatistics {
                rows_estimate: Some(5_000),
                partitioned: name == "c",
                ..TableStatistics::default()
            };
            table.index_details = vec![IndexDetail {
                scans: Some(0),
                ..index("lazy", &["x"])
            }];
        }
        host
    }

    fn told(findings: &[Finding]) -> Vec<String> {
        let next = |finding: &Finding| finding.next.clone().unwrap_or_default();
        findings
            .iter()
            .map(|finding| format!("{} {} {}", finding.code, finding.target, next(finding)))
            .collect()
    }

    fn done(host: &mut FakeHost, params: &Params) -> Vec<String> {
        match run(&context(now()), params, host) {
            Ok(Outcome::Done(report)) => told(&report.findings),
            other => panic!("{other:?}"),
        }
    }

    fn only(table: &str) -> Params {
        Params {
            tables: Some(vec![table.to_owned()]),
            ..params()
        }
    }

    const ALL: [&str; 3] = [
        "index-unused database.app.tables.a DROP INDEX CONCURRENTLY \"lazy\";",
        "index-unused database.app.tables.b DROP INDEX CONCURRENTLY \"lazy\";",
        "index-unused database.app.tables.c DROP INDEX \"lazy\";",
    ];

    #[test]
    fn every_table_is_looked_at_once_also_when_time_runs_out() {
        let mut host = host();
        assert_eq!(done(&mut host, &params()), ALL);
        let measured = host.measured("indexes.unneeded_bytes", "database.app.tables.b");
        assert_eq!(measured, Some(5_242_880.0));
        for call in ["table_statistics", "index_details", "foreign_keys"] {
            let mut host = self::host();
            host.fail(call, 2, Error::Deadline);
            let Ok(Outcome::More(first, cursor)) = run(&context(now()), &params(), &mut host) else {
                panic!("time is over")
            };
            let mut context = context(now());
            context.cursor = Some(cursor);
            let Ok(Outcome::Done(rest)) = run(&context, &params(), &mut host) else {
                panic!("the rest")
            };
            assert_eq!(
                [told(&first.findings), told(&rest.findings)].concat(),
                ALL,
                "{call}"
            );
            assert_eq!(host.measurements.len(), 3);
        }
    }

    #[test]
    fn a_table_that_fails_hides_no_other_and_a_file_is_not_asked_what_it_does_not_count() {
        let mut host = host();
        host.fail_on("index_details", "b", Error::Busy("locked".to_owned()));
        assert_eq!(
            done(&mut host, &params()),
            [ALL[0], "not-looked-at database.app.tables.b ", ALL[2]]
        );
        let mut host = self::host();
        host.database("app").statistics.connections = None;
        host.database("app").table("b").index_details[0].scans = None;
        assert_eq!(done(&mut host, &only("b")), ["use-not-counted database.app "]);
        assert_eq!(
            host.measured("indexes.unneeded_bytes", "database.app.tables.b"),
            None
        );
        assert!(!host.calls.iter().any(|call| call.starts_with("activities")));
    }

    #[test]
    fn an_index_that_is_being_built_is_not_called_invalid() {
        let mut host = host();
        host.database("app").table("a").index_details[0].valid = false;
        assert_eq!(done(&mut host, &only("a")).len(), 1);
        host.database("app").activities.push(Activity {
            kind: "index".to_owned(),
            what: "create index concurrently of public.a, building index".to_owned(),
            ..Activity::default()
        });
        assert!(done(&mut host, &only("a")).is_empty());
        assert!(!is_of("create index of public.ab, building", "a"));
    }
}
