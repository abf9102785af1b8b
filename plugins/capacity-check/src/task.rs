//! Takes the readings, one target after the other.
//!
//! It judges nothing: gauges do. What could not be found out is unknown with the reason, never 0, and keeps no other
//! target from being measured.

use sereno_plugin::{
    Context, DatabaseRead, Error, Failure, FileFilter, Files, Filter, Finding, Measurement, Measurements,
    Outcome, Report, Unit, target,
};

use crate::{Counts, Params};

/// Why a reading is missing that the system could give and does not.
const NOT_TOLD: &str = "the system does not tell";

/// One target.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Disk(&'a str),
    Directory(&'a str),
    Database(&'a str),
    /// All tables of a database that may be read.
    Tables(&'a str),
    Count(&'a Counts),
}

/// Where a run is: so many steps are done, and of the next the tables up to this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    steps: usize,
    table: Option<String>,
}

impl Place {
    fn write(&self) -> String {
        format!("{}:{}", self.steps, self.table.as_deref().unwrap_or_default())
    }

    fn read(cursor: Option<&str>) -> Result<Self, Failure> {
        let Some(cursor) = cursor else {
            return Ok(Self::default());
        };
        cursor
            .split_once(':')
            .and_then(|(steps, table)| {
                let table = Some(table.to_owned()).filter(|table| !table.is_empty());
                Some(Self {
                    steps: steps.parse().ok()?,
                    table,
                })
            })
            .ok_or_else(|| Failure::Permanent(format!("`{cursor}` is not a cursor of capacity-check")))
    }
}

/// Measures everything that the params name.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl Files + DatabaseRead + Measurements),
) -> Result<Outcome, Failure> {
    let steps = steps(params);
    if steps.is_empty() {
        let text = "there is nothing to measure: name `directories`, `databases` or `counts`";
        return Err(Failure::InvalidParams(text.to_owned()));
    }
    let mut place = Place::read(context.cursor.as_deref())?;
    let mut task = Task {
        context,
        host,
        report: Report::new(),
    };
    for step in steps.iter().skip(place.steps) {
        match task.take(*step, &mut place.table) {
            Ok(()) => {
                place = Place {
                    steps: place.steps + 1,
                    table: None,
                }
            }
            Err(Error::Deadline) => return Ok(Outcome::More(task.report, place.write())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome::Done(task.report))
}

fn steps(params: &Params) -> Vec<Step<'_>> {
    let directories = params
        .directories
        .iter()
        .flat_map(|name| [Step::Disk(name), Step::Directory(name)]);
    let databases = params
        .databases
        .iter()
        .flat_map(|name| [Step::Database(name), Step::Tables(name)]);
    directories
        .chain(databases)
        .chain(params.counts.iter().map(Step::Count))
        .collect()
}

/// A reading that one call gives: its name, its unit, and where to find it in the answer.
type Reading<'a, T> = (&'a str, Unit, fn(&T) -> Option<f64>);

fn part_used_percent(total: Option<u64>, free: Option<u64>) -> Option<f64> {
    let (total, free) = total.zip(free).filter(|(total, _)| *total > 0)?;
    Some(total.saturating_sub(free) as f64 * 100.0 / total as f64)
}

struct Task<'a, H> {
    context: &'a Context,
    host: &'a mut H,
    report: Report,
}

impl<H: Files + DatabaseRead + Measurements> Task<'_, H> {
    fn take(&mut self, step: Step<'_>, done_up_to: &mut Option<String>) -> Result<(), Error> {
        match step {
            Step::Disk(name) => {
                let found = self.host.usage(name);
                self.keep(
                    &target::directory(name),
                    found,
                    &[
                        ("disk.used_percent", Unit::Percent, |disk| {
                            part_used_percent(disk.bytes_total, disk.bytes_free)
                        }),
                        ("disk.free_bytes", Unit::Bytes, |disk| {
                            disk.bytes_free.map(|bytes| bytes as f64)
                        }),
                        ("disk.inodes_used_percent", Unit::Percent, |disk| {
                            part_used_percent(disk.inodes_total, disk.inodes_free)
                        }),
                    ],
                )
            }
            Step::Directory(name) => {
                let every_file = FileFilter {
                    recursive: true,
                    ..FileFilter::default()
                };
                let found = self.host.summarize(name, &every_file);
                self.keep(
                    &target::directory(name),
                    found,
                    &[
                        ("files.count", Unit::Files, |found| Some(found.files as f64)),
                        ("files.bytes", Unit::Bytes, |found| Some(found.bytes as f64)),
                    ],
                )
            }
            Step::Database(name) => {
                let found = self.host.database_statistics(name);
                self.keep(
                    &target::database(name),
                    found,
                    &[
                        ("database.bytes", Unit::Bytes, |found| {
                            found.bytes.map(|bytes| bytes as f64)
                        }),
                        ("database.connections", Unit::Count, |found| {
                            found.connections.map(|count| count as f64)
                        }),
                    ],
                )
            }
            Step::Tables(name) => self.tables(name, done_up_to),
            Step::Count(counts) => {
                let since = self.context.cutoff(counts.active_within);
                let filter = Filter::all().since(&counts.column, since);
                let found = self.host.count(&counts.database, &counts.table, &filter);
                let on = target::table(&counts.database, &counts.table);
                self.keep(
                    &on,
                    found,
                    &[(&*counts.name, Unit::Rows, |rows| Some(*rows as f64))],
                )
            }
        }
    }

    fn tables(&mut self, database: &str, done_up_to: &mut Option<String>) -> Result<(), Error> {
        let tables = match self.host.granted_tables(database, "read") {
            Ok(tables) => tables,
            Err(error) if error.is_local() => {
                self.not_measured(&target::database(database), &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for table in tables {
            if done_up_to.as_ref().is_some_and(|done| &table <= done) {
                continue;
            }
            let found = self.host.table_statistics(database, &table);
            self.keep(
                &target::table(database, &table),
                found,
                &[
                    ("table.bytes", Unit::Bytes, |found| {
                        found.bytes.map(|bytes| bytes as f64)
                    }),
                    ("table.dead_rows", Unit::Rows, |found| {
                        found.dead_rows_estimate.map(|rows| rows as f64)
                    }),
                ],
            )?;
            *done_up_to = Some(table);
        }
        Ok(())
    }

    /// Keeps what was found. A target that did not answer has unknown readings and a finding, and the next target
    /// its turn; what ends the whole attempt is passed on.
    fn keep<T>(
        &mut self,
        on: &str,
        found: Result<T, Error>,
        readings: &[Reading<'_, T>],
    ) -> Result<(), Error> {
        match found {
            Ok(found) => {
                for (name, unit, reading) in readings {
                    self.host
                        .measure(Measurement::new(name, on, *unit, reading(&found), NOT_TOLD));
                }
            }
            Err(error) if error.is_local() => {
                for (name, unit, _) in readings {
                    self.host
                        .measure(Measurement::new(name, on, *unit, None, &error.to_string()));
                }
                self.not_measured(on, &error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn not_measured(&mut self, on: &str, error: &Error) {
        let finding = Finding::warn("not-measured", on, format!("it could not be measured: {error}"));
        self.report.add(match error {
            Error::Denied(line) => finding.next(format!("add `{line}` to the job's grants")),
            _ => finding,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sereno_plugin::testing::{FakeHost, at, context, hours};
    use sereno_plugin::{DatabaseStatistics, DiskUsage, Instant, TableStatistics, Value};

    use super::*;

    fn now() -> Instant {
        at("2026-11-24 02:30")
    }

    fn params() -> Params {
        Params {
            directories: vec!["temp".to_owned(), "logs".to_owned()],
            databases: vec!["app".to_owned()],
            counts: vec![Counts {
                name: "sessions.active".to_owned(),
                database: "app".to_owned(),
                table: "user_sessions".to_owned(),
                column: "updated_at".to_owned(),
                active_within: Duration::from_secs(900),
            }],
        }
    }

    fn host() -> FakeHost {
        let mut host = FakeHost::new();
        let temp = host.directory("temp");
        temp.file("a", 100, now()).file("sub/b", 50, now());
        temp.usage = DiskUsage {
            bytes_total: Some(1_000),
            bytes_free: Some(250),
            inodes_total: Some(200),
            inodes_free: Some(150),
        };
        host.directory("logs");
        let app = host.database("app");
        app.grant("user_sessions", &["read"])
            .grant("audit.logs", &["read"])
            .grant("secret", &["vacuum"]);
        app.statistics = DatabaseStatistics {
            bytes: Some(9_000),
            connections: Some(7),
            ..Default::default()
        };
        app.table("audit.logs").statistics = TableStatistics {
            bytes: Some(4_000),
            ..Default::default()
        };
        app.table("secret");
        let sessions = app.table("user_sessions");
        sessions.statistics = TableStatistics {
            bytes: Some(5_000),
            dead_rows_estimate: Some(3),
            ..Default::default()
        };
        for (id, minutes) in [(1, 0), (2, 15), (3, 16), (4, 600)] {
            let updated = now() - Duration::from_secs(60 * minutes);
            sessions.row(id, &[("updated_at", Value::Instant(updated))]);
        }
        sessions.row(5, &[]);
        host
    }

    /// Every reading as `name target value`, in order of the first two.
    fn readings(host: &FakeHost) -> Vec<String> {
        let mut readings: Vec<_> = host
            .measurements
            .iter()
            .map(|reading| {
                let value = reading
                    .value
                    .map_or("unknown".to_owned(), |value| value.to_string());
                format!("{} {} {value}", reading.name, reading.target)
            })
            .collect();
        readings.sort();
        readings
    }

    const ALL: [&str; 17] = [
        "database.bytes database.app 9000",
        "database.connections database.app 7",
        "disk.free_bytes directory.logs unknown",
        "disk.free_bytes directory.temp 250",
        "disk.inodes_used_percent directory.logs unknown",
        "disk.inodes_used_percent directory.temp 25",
        "disk.used_percent directory.logs unknown",
        "disk.used_percent directory.temp 75",
        "files.bytes directory.logs 0",
        "files.bytes directory.temp 150",
        "files.count directory.logs 0",
        "files.count directory.temp 2",
        "sessions.active database.app.tables.user_sessions 2",
        "table.bytes database.app.tables.\"audit.logs\" 4000",
        "table.bytes database.app.tables.user_sessions 5000",
        "table.dead_rows database.app.tables.\"audit.logs\" unknown",
        "table.dead_rows database.app.tables.user_sessions 3",
    ];

    #[test]
    fn everything_named_is_measured_and_the_unknown_is_not_0() {
        let mut host = host();
        assert_eq!(
            run(&context(now()), &params(), &mut host),
            Ok(Outcome::Done(Report::new()))
        );
        assert_eq!(readings(&host), ALL);
        let unknown = host
            .measurements
            .iter()
            .find(|reading| reading.value.is_none())
            .expect("the disk of logs");
        assert_eq!(unknown.note.as_deref(), Some(NOT_TOLD));
    }

    #[test]
    fn a_target_that_fails_is_told_and_hides_no_other() {
        let mut host = host();
        host.fail_on("usage", "temp", Error::Fault("could not stat temp".to_owned()));
        host.fail_on(
            "database_statistics",
            "app",
            Error::Unreachable("connection refused".to_owned()),
        );
        host.fail_on(
            "table_statistics",
            "audit.logs",
            Error::Denied("database.app.tables.x = [\"read\"]".to_owned()),
        );
        host.fail_on(
            "count",
            "user_sessions",
            Error::Busy("count took longer than 30 s".to_owned()),
        );
        let Ok(Outcome::Done(report)) = run(&context(now()), &params(), &mut host) else {
            panic!("it goes on")
        };
        let failed = [
            "database.bytes database.app",
            "database.connections database.app",
            "disk.free_bytes directory.temp",
            "disk.inodes_used_percent directory.temp",
            "disk.used_percent directory.temp",
            "sessions.active database.app.tables.user_sessions",
            "table.bytes database.app.tables.\"audit.logs\"",
        ];
        for (reading, before) in readings(&host).iter().zip(ALL) {
            let (name, _) = before.rsplit_once(' ').expect("a value");
            let expected = if failed.contains(&name) {
                format!("{name} unknown")
            } else {
                before.to_owned()
            };
            assert_eq!(*reading, expected);
        }
        let told: Vec<_> = report
            .findings
            .iter()
            .map(|finding| (&*finding.target, &*finding.text))
            .collect();
        assert_eq!(
            told,
            [
                ("directory.temp", "it could not be measured: could not stat temp"),
                ("database.app", "it could not be measured: connection refused"),
                (
                    "database.app.tables.\"audit.logs\"",
                    "it could not be measured: denied: add `database.app.tables.x = [\"read\"]`"
                ),
                (
                    "database.app.tables.user_sessions",
                    "it could not be measured: count took longer than 30 s"
                ),
            ]
        );
        let notes: Vec<_> = host
            .measurements
            .iter()
            .filter_map(|reading| reading.note.as_deref())
            .collect();
        assert!(notes.contains(&"connection refused"), "{notes:?}");
    }

    #[test]
    fn a_deadline_anywhere_ends_in_order_and_every_reading_is_taken_once() {
        let calls = [
            "usage",
            "summarize",
            "database_statistics",
            "granted_tables",
            "table_statistics",
            "count",
        ];
        for call in calls {
            for nth in [1, 2] {
                let mut host = host();
                host.fail(call, nth, Error::Deadline);
                let mut context = context(now());
                let mut attempts = 1;
                while let Ok(Outcome::More(_, cursor)) = run(&context, &params(), &mut host) {
                    assert!(attempts < 3, "{call} {nth}");
                    attempts += 1;
                    context.cursor = Some(cursor);
                }
                assert_eq!(readings(&host), ALL, "{call} {nth}");
            }
        }
    }

    #[test]
    fn a_cancel_is_passed_on() {
        let mut host = host();
        host.fail("summarize", 1, Error::Cancelled);
        assert_eq!(
            run(&context(now()), &params(), &mut host),
            Err(Failure::PassedOn(Error::Cancelled))
        );
    }

    #[test]
    fn nothing_to_measure_is_refused() {
        let nothing = Params {
            directories: vec![],
            databases: vec![],
            counts: vec![],
        };
        let refused = run(&context(now()), &nothing, &mut FakeHost::new());
        assert!(matches!(refused, Err(Failure::InvalidParams(_))), "{refused:?}");
    }

    #[test]
    fn rows_are_active_up_to_exactly_the_time_given() {
        let mut host = host();
        let count = |hours: Duration| Params {
            counts: vec![Counts {
                active_within: hours,
                ..params().counts.remove(0)
            }],
            directories: vec![],
            databases: vec![],
        };
        run(&context(now()), &count(hours(10)), &mut host).expect("counted");
        assert_eq!(
            host.measured("sessions.active", "database.app.tables.user_sessions"),
            Some(4.0)
        );
    }

    #[test]
    fn every_cursor_is_read_back_and_a_foreign_one_is_refused() {
        for place in [
            Place::default(),
            Place {
                steps: 3,
                table: None,
            },
            Place {
                steps: 7,
                table: Some("a:b".to_owned()),
            },
        ] {
            assert_eq!(Place::read(Some(&place.write())), Ok(place));
        }
        for foreign in ["", "x:", "age:1"] {
            assert!(
                matches!(Place::read(Some(foreign)), Err(Failure::Permanent(_))),
                "{foreign}"
            );
        }
    }
}
