//! Does the upkeep that each table needs, table by table, and tells what was not done and why.
//!
//! One table's trouble is a finding and the next table's turn. What the database skipped is never called done.

use std::collections::{BTreeMap, BTreeSet};

use sereno_plugin::params::Json;
use sereno_plugin::{
    Context, DatabaseRead, DatabaseStatistics, DatabaseUpkeep, Error, Failure, Finding, IndexStatistics,
    Level, Log, Outcome, Report, TableStatistics, Upkeep, target, text,
};

use crate::need::{self, Verdict};
use crate::{Do, Params};

/// Names that one finding lists; the rest is a number.
const NAMES_MAX: usize = 20;

/// One piece of upkeep of a table, in the order in which they are done: an index is rebuilt after the dead rows it
/// points to are gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Vacuum { analyze: bool },
    Analyze,
    Reindex(String),
}

impl Action {
    /// As a person calls it: `vacuum`, `reindex of sessions_pkey`.
    fn words(&self) -> String {
        match self {
            Self::Vacuum { .. } => "vacuum".to_owned(),
            Self::Analyze => "analyze".to_owned(),
            Self::Reindex(index) => format!("reindex of {index}"),
        }
    }
}

/// Where a run is: the table, and what of it comes next; none: everything, its statistics first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    table: String,
    next: Option<Action>,
    /// A vacuum of the whole database was done already.
    whole: bool,
}

impl Place {
    fn write(&self) -> String {
        let (kind, index) = match &self.next {
            None => ("look", ""),
            Some(Action::Vacuum { analyze: false }) => ("vacuum", ""),
            Some(Action::Vacuum { analyze: true }) => ("vacuum-analyze", ""),
            Some(Action::Analyze) => ("analyze", ""),
            Some(Action::Reindex(index)) => ("reindex", index.as_str()),
        };
        let texts = [self.table.as_str(), kind, index].map(Json::from);
        Json::Array(texts.into_iter().chain([Json::Bool(self.whole)]).collect()).to_string()
    }

    fn read(cursor: &str) -> Result<Self, Failure> {
        let read = || {
            let parts = cursor.parse::<Json>().ok()?;
            let text = |place: usize| parts.get(place)?.as_str().map(str::to_owned);
            let next = match text(1)?.as_str() {
                "look" => None,
                "vacuum" => Some(Action::Vacuum { analyze: false }),
                "vacuum-analyze" => Some(Action::Vacuum { analyze: true }),
                "analyze" => Some(Action::Analyze),
                "reindex" => Some(Action::Reindex(text(2)?)),
                _ => return None,
            };
            Some(Self {
                table: text(0)?,
                next,
                whole: parts.get(3)?.as_bool()?,
            })
        };
        read().ok_or_else(|| Failure::Permanent(format!("`{cursor}` is not a cursor of table-upkeep")))
    }
}

/// Looks at each table and does what it needs.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + DatabaseUpkeep + Log),
) -> Result<Outcome, Failure> {
    // An empty cursor: time ran out before the first table was known.
    let from = context
        .cursor
        .as_deref()
        .filter(|cursor| !cursor.is_empty())
        .map(Place::read)
        .transpose()?;
    let mut task = Task {
        context,
        params,
        host,
        whole: from.as_ref().is_some_and(|from| from.whole),
        next_is_whole: false,
        report: Report::new(),
        left: BTreeMap::new(),
        unknown: Vec::new(),
    };
    let tables = match task.tables() {
        Ok(tables) => tables,
        Err(Error::Deadline) => {
            return Ok(Outcome::More(
                Report::new(),
                context.cursor.clone().unwrap_or_default(),
            ));
        }
        Err(error) => return Err(error.into()),
    };
    if from.is_none() {
        task.tell_uncovered_indexes(&tables);
    }
    for (table, verbs) in &tables {
        let start = match &from {
            Some(from) if table < &from.table => continue,
            Some(from) if table == &from.table => from.next.clone(),
            _ => None,
        };
        if let Some(next) = task.look_after(table, verbs, start, from.as_ref())? {
            return Ok(Outcome::More(task.finish(), next.write()));
        }
    }
    if tables.is_empty() {
        let on = target::database(&params.database);
        let text = "none of its tables is granted anything of what `do` names";
        task.report
            .add(Finding::warn("no-tables", on, text).next("grant tables, or list them in `tables`"));
    }
    Ok(Outcome::Done(task.finish()))
}

struct Task<'a, H> {
    context: &'a Context,
    params: &'a Params,
    host: &'a mut H,
    /// A vacuum of the whole database was done in this run.
    whole: bool,
    /// The vacuum that comes next would be one.
    next_is_whole: bool,
    report: Report,
    /// What was not needed, by what: names with their reasons.
    left: BTreeMap<&'static str, Vec<String>>,
    /// Indexes whose bloat nobody knows.
    unknown: Vec<String>,
}

impl<H: DatabaseRead + DatabaseUpkeep + Log> Task<'_, H> {
    /// The tables to look at, in order of name, each with what may be done to it.
    fn tables(&mut self) -> Result<BTreeMap<String, BTreeSet<Do>>, Error> {
        let listed = self.params.tables.as_deref().filter(|tables| tables != &["*"]);
        let mut tables = BTreeMap::<String, BTreeSet<Do>>::new();
        for verb in &self.params.r#do {
            let may = match listed {
                Some(tables) => tables.to_vec(),
                None => self.host.granted_tables(&self.params.database, verb.as_str())?,
            };
            for table in may {
                tables.entry(table).or_default().insert(*verb);
            }
        }
        Ok(tables)
    }

    fn on(&self, table: &str) -> String {
        target::table(&self.params.database, table)
    }

    /// Does what one table needs, from `start` on. Answers where to go on when time runs out.
    fn look_after(
        &mut self,
        table: &str,
        verbs: &BTreeSet<Do>,
        start: Option<Action>,
        resumed: Option<&Place>,
    ) -> Result<Option<Place>, Failure> {
        let place = |next, whole| Place {
            table: table.to_owned(),
            next,
            whole,
        };
        let actions = match self.actions(table, verbs) {
            Ok(actions) => actions,
            Err(Error::Deadline) => {
                let here = place(start, self.whole);
                return Ok(self.out_of_time(here, "looking at it", resumed));
            }
            Err(error) if tells_of_one_table(&error) => {
                let text = format!("upkeep of {table} was skipped: {error}");
                self.skip(table, &text, &error);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let (actions, sizes): (Vec<_>, Vec<_>) = actions
            .into_iter()
            .filter(|(action, _)| start.as_ref().is_none_or(|start| action >= start))
            .unzip();
        for (action, max_ms) in actions
            .into_iter()
            .zip(need::shares(self.params.time_per_table, &sizes))
        {
            match self.take(table, &action, max_ms) {
                Ok(done) => self.tell(table, &action, &done),
                Err(Error::Deadline) => {
                    let words = action.words();
                    let later = self.out_of_time(place(Some(action), self.whole), &words, resumed);
                    if later.is_some() {
                        return Ok(later);
                    }
                }
                Err(error) if tells_of_one_table(&error) => {
                    let text = format!("{} on {table} was skipped: {error}", action.words());
                    self.skip(table, &text, &error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Time is nearly over before `here`: go on there next time, unless that was tried already. Then it never fits
    /// into one attempt, and everything after it would wait for ever.
    fn out_of_time(&mut self, here: Place, what: &str, resumed: Option<&Place>) -> Option<Place> {
        if resumed != Some(&here) {
            return Some(here);
        }
        let text = format!(
            "{what} does not fit into the time of an attempt on {}, and was skipped",
            here.table
        );
        let finding = Finding::warn("upkeep-no-time", self.on(&here.table), text);
        self.report.add(
            finding.next("give the job more time: `limits = { wall = \"4h\" }`, or run it where there is"),
        );
        None
    }

    /// What the table needs, with the size of the work; everything else is kept for the findings.
    fn actions(&mut self, table: &str, verbs: &BTreeSet<Do>) -> Result<Vec<(Action, Option<u64>)>, Error> {
        let statistics = self.host.table_statistics(&self.params.database, table)?;
        let mut actions = Vec::new();
        let analyze = verbs
            .contains(&Do::Analyze)
            .then(|| need::analyze(&statistics, self.params, self.context.scheduled_at));
        let vacuum = if verbs.contains(&Do::Vacuum) {
            Some(self.vacuum_verdict(&statistics)?)
        } else {
            None
        };
        let with_analyze = matches!(analyze, Some(Verdict::Do(_)));
        let vacuums = matches!(vacuum, Some(Verdict::Do(_)));
        match vacuum {
            Some(Verdict::Do(_)) => {
                actions.push((
                    Action::Vacuum {
                        analyze: with_analyze,
                    },
                    statistics.bytes,
                ));
            }
            Some(Verdict::Leave(why)) => self.leave("vacuum", table, &why),
            Some(Verdict::Unknown) | None => {}
        }
        match analyze {
            // VACUUM (ANALYZE) reads the table once for both.
            Some(Verdict::Do(_)) if vacuums => {}
            // ANALYZE reads a sample: a small part of the work of reading it all.
            Some(Verdict::Do(_)) => actions.push((Action::Analyze, statistics.bytes.map(|bytes| bytes / 10))),
            Some(Verdict::Leave(why)) => self.leave("analyze", table, &why),
            Some(Verdict::Unknown) | None => {}
        }
        if verbs.contains(&Do::Reindex) {
            let indexes = self.host.indexes(&self.params.database, table)?;
            self.index_actions(table, &indexes, &mut actions);
        }
        actions.sort();
        Ok(actions)
    }

    fn vacuum_verdict(&mut self, statistics: &TableStatistics) -> Result<Verdict, Error> {
        self.next_is_whole = false;
        match need::vacuum(statistics, self.params) {
            Verdict::Unknown if self.whole => Ok(Verdict::Leave(
                "the vacuum of an earlier table was of the whole database".to_owned(),
            )),
            Verdict::Unknown => {
                let database = self.whole_database()?;
                let verdict = need::vacuum_whole(database.as_ref(), self.params);
                self.next_is_whole = matches!(verdict, Verdict::Do(_));
                Ok(verdict)
            }
            known => Ok(known),
        }
    }

    /// None where that is not granted.
    fn whole_database(&mut self) -> Result<Option<DatabaseStatistics>, Error> {
        match self.host.database_statistics(&self.params.database) {
            Ok(statistics) => Ok(Some(statistics)),
            Err(Error::Denied(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn index_actions(
        &mut self,
        table: &str,
        indexes: &[IndexStatistics],
        actions: &mut Vec<(Action, Option<u64>)>,
    ) {
        let mut blocked = BTreeSet::new();
        for leftover in indexes.iter().filter(|index| index.leftover) {
            let of = need::leftover_of(&leftover.index);
            blocked.insert(of);
            let text = format!(
                "an interrupted rebuild of {of} left {} behind; {of} is not rebuilt before that is gone",
                leftover.index
            );
            let next = format!("DROP INDEX CONCURRENTLY {};", qualified(table, &leftover.index));
            self.report
                .add(Finding::warn("reindex-leftover", self.on(table), text).next(next));
        }
        for index in indexes
            .iter()
            .filter(|index| !index.leftover && !blocked.contains(index.index.as_str()))
        {
            let named = self
                .params
                .indexes
                .iter()
                .any(|named| named.table == table && named.index == index.index);
            if !named && !self.params.indexes.is_empty() {
                continue;
            }
            if !index.valid {
                let text = format!(
                    "{} is invalid: no query uses it, and every write pays for it",
                    index.index
                );
                let next = format!("REINDEX INDEX CONCURRENTLY {};", qualified(table, &index.index));
                self.report
                    .add(Finding::warn("index-invalid", self.on(table), text).next(next));
                continue;
            }
            match need::reindex(index, named, self.params) {
                Verdict::Do(_) => actions.push((Action::Reindex(index.index.clone()), index.bytes)),
                Verdict::Leave(why) => self.leave("reindex", &index.index, &why),
                Verdict::Unknown => self.unknown.push(index.index.clone()),
            }
        }
    }

    fn take(&mut self, table: &str, action: &Action, max_ms: u64) -> Result<Upkeep, Error> {
        let database = &self.params.database;
        match action {
            Action::Vacuum { analyze } => self.host.vacuum(database, table, *analyze, max_ms),
            Action::Analyze => self.host.analyze(database, table, max_ms),
            Action::Reindex(index) => self.host.reindex(database, table, index, max_ms),
        }
    }

    fn tell(&mut self, table: &str, action: &Action, result: &Upkeep) {
        let note = result.note.as_deref().unwrap_or("no reason given");
        if result.done {
            self.whole |= self.next_is_whole && matches!(action, Action::Vacuum { .. });
            let words = action.words();
            self.host
                .log(Level::Info, "upkeep done", &[("table", table), ("what", &words)]);
        } else {
            let text = format!(
                "{} on {table} was skipped by the database: {note}",
                action.words()
            );
            self.report.add(
                Finding::warn("upkeep-skipped", self.on(table), text).next("the next run tries it again"),
            );
        }
    }

    fn skip(&mut self, table: &str, text: &str, error: &Error) {
        let finding = Finding::warn("upkeep-skipped", self.on(table), text);
        self.report.add(match error {
            Error::Denied(line) => finding.next(format!("add `{line}` to the job's grants")),
            Error::Busy(_) => finding.next("the next run tries it again"),
            _ => finding,
        });
    }

    fn leave(&mut self, what: &'static str, name: &str, why: &str) {
        self.left.entry(what).or_default().push(format!("{name} ({why})"));
    }

    /// Indexes that the operator named, of tables that this run does not look at.
    fn tell_uncovered_indexes(&mut self, tables: &BTreeMap<String, BTreeSet<Do>>) {
        if !self.params.r#do.contains(&Do::Reindex) {
            return;
        }
        for named in &self.params.indexes {
            if !tables
                .get(&named.table)
                .is_some_and(|verbs| verbs.contains(&Do::Reindex))
            {
                let text = format!(
                    "{} is named in `indexes`, but its table is not looked at",
                    named.index
                );
                let next = format!(
                    "grant `reindex` on {}, and list it in `tables`",
                    self.on(&named.table)
                );
                self.report
                    .add(Finding::warn("index-not-covered", self.on(&named.table), text).next(next));
            }
        }
    }

    /// The report, with one finding for each kind of work that was not needed.
    fn finish(&mut self) -> Report {
        let on = target::database(&self.params.database);
        for (what, names) in std::mem::take(&mut self.left) {
            let text = format!("{what} not needed by {}", listed(&names));
            self.report.add(Finding::info("upkeep-not-needed", &*on, text));
        }
        let unknown = std::mem::take(&mut self.unknown);
        if !unknown.is_empty() {
            let text = format!("not rebuilt, as nobody knows their bloat: {}", listed(&unknown));
            let next = "name those to rebuild in `indexes`";
            self.report
                .add(Finding::info("bloat-unknown", &*on, text).next(next));
        }
        std::mem::take(&mut self.report)
    }
}

/// True where the other tables may fare better.
fn tells_of_one_table(error: &Error) -> bool {
    error.is_local() && !matches!(error, Error::Unreachable(_))
}

/// An index in its table's schema, quoted as SQL has it, for a person to run.
fn qualified(table: &str, index: &str) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    match table.split_once('.') {
        Some((schema, _)) => format!("{}.{}", quoted(schema), quoted(index)),
        None => quoted(index),
    }
}

fn listed(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(NAMES_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {} more", text::count(more as u64)),
    }
}

#[cfg(test)]
mod tests {
    use sereno_plugin::testing::{FakeHost, at, context, days};
    use sereno_plugin::{Instant, Severity};

    use super::*;
    use crate::Indexes;
    use crate::need::tests::params;

    fn now() -> Instant {
        at("2026-11-22 02:00")
    }

    /// A PostgreSQL table with this share of dead rows, vacuumed and analyzed yesterday.
    fn table(host: &mut FakeHost, name: &str, dead: u64) {
        let database = host.database("app");
        database.grant(name, &["read", "vacuum", "analyze", "reindex"]);
        database.table(name).statistics = TableStatistics {
            bytes: Some(10 << 20),
            rows_estimate: Some(1_000 - dead),
            dead_rows_estimate: Some(dead),
            freeze_age: Some(1_000),
            last_vacuum: Some(now() - days(1)),
            last_analyze: Some(now() - days(1)),
            ..TableStatistics::default()
        };
    }

    fn index(host: &mut FakeHost, table: &str, name: &str, bloat_percent: Option<f64>) {
        host.database("app").table(table).indexes.push(IndexStatistics {
            index: name.to_owned(),
            bytes: Some(1 << 20),
            bloat_percent,
            valid: true,
            leftover: name.ends_with("_ccnew"),
        });
    }

    /// The changing calls, in order.
    fn done(host: &FakeHost) -> Vec<&str> {
        let changing = |call: &&str| {
            ["vacuum", "analyze", "reindex", "with"].contains(&call.split(' ').next().unwrap_or(""))
        };
        host.calls.iter().map(String::as_str).filter(changing).collect()
    }

    fn codes(findings: &[Finding]) -> Vec<(&str, &str)> {
        findings
            .iter()
            .map(|finding| (finding.code.as_str(), finding.target.as_str()))
            .collect()
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
    fn only_tables_that_need_it_are_worked_on_and_the_others_are_told_with_their_reason() {
        let mut host = FakeHost::new();
        table(&mut host, "calm", 10);
        table(&mut host, "dirty", 200);
        table(&mut host, "stale", 10);
        host.database("app").table("stale").statistics.last_analyze = Some(now() - days(30));
        host.database("app").table("parent").statistics = TableStatistics {
            partitioned: true,
            ..TableStatistics::default()
        };
        host.database("app")
            .grant("parent", &["read", "vacuum", "analyze"]);
        let (_, findings) = to_the_end(&params(), &mut host);
        assert_eq!(done(&host), ["vacuum dirty", "analyze parent", "analyze stale"]);
        let texts: Vec<_> = findings
            .iter()
            .map(|finding| (finding.severity, finding.text.as_str()))
            .collect();
        assert_eq!(
            texts,
            [
                (
                    Severity::Info,
                    "analyze not needed by calm (analyzed 24 hours ago), dirty (analyzed 24 hours ago)"
                ),
                (
                    Severity::Info,
                    "vacuum not needed by calm (10 of 1,000 rows dead (1.0 %)), parent (its partitions hold the rows, \
                     and are vacuumed by themselves), stale (10 of 1,000 rows dead (1.0 %))"
                ),
            ]
        );
    }

    #[test]
    fn a_vacuum_takes_the_analyze_with_it_when_both_are_needed() {
        let mut host = FakeHost::new();
        table(&mut host, "t", 200);
        host.database("app").table("t").statistics.last_analyze = None;
        to_the_end(&params(), &mut host);
        assert_eq!(done(&host), ["vacuum t", "with analyze t"]);

        let mut host = FakeHost::new();
        table(&mut host, "t", 200);
        host.database("app").table("t").statistics.last_analyze = None;
        to_the_end(
            &Params {
                r#do: vec![Do::Vacuum],
                ..params()
            },
            &mut host,
        );
        assert_eq!(done(&host), ["vacuum t"], "what `do` does not name is not done");
    }

    #[test]
    fn listed_tables_alone_are_looked_at() {
        let mut host = FakeHost::new();
        table(&mut host, "a", 200);
        table(&mut host, "b", 200);
        to_the_end(
            &Params {
                tables: Some(vec!["b".to_owned()]),
                ..params()
            },
            &mut host,
        );
        assert_eq!(done(&host), ["vacuum b"]);
        host.calls.clear();
        to_the_end(
            &Params {
                tables: Some(vec!["*".to_owned()]),
                ..params()
            },
            &mut host,
        );
        assert_eq!(done(&host), ["vacuum a", "vacuum b"]);
    }

    #[test]
    fn indexes_are_rebuilt_by_bloat_and_the_unknown_ones_are_told() {
        let mut host = FakeHost::new();
        table(&mut host, "t", 0);
        for (name, bloat) in [
            ("t_a", Some(31.0)),
            ("t_b", Some(30.0)),
            ("t_c", None),
            ("t_d", Some(80.0)),
        ] {
            index(&mut host, "t", name, bloat);
        }
        let params = Params {
            r#do: vec![Do::Reindex],
            ..params()
        };
        let (_, findings) = to_the_end(&params, &mut host);
        assert_eq!(done(&host), ["reindex t_a", "reindex t_d"]);
        assert_eq!(
            codes(&findings),
            [
                ("upkeep-not-needed", "database.app"),
                ("bloat-unknown", "database.app")
            ]
        );
        assert_eq!(findings[1].text, "not rebuilt, as nobody knows their bloat: t_c");

        host.calls.clear();
        let named = |index: &str| Indexes {
            table: "t".to_owned(),
            index: index.to_owned(),
        };
        to_the_end(
            &Params {
                indexes: vec![named("t_c"), named("t_b")],
                ..params
            },
            &mut host,
        );
        assert_eq!(
            done(&host),
            ["reindex t_c"],
            "t_a and t_d are not named, and t_b does not need it"
        );
    }

    #[test]
    fn a_leftover_and_an_invalid_index_are_told_with_the_statement_to_run_and_not_rebuilt() {
        let mut host = FakeHost::new();
        table(&mut host, "s.t", 0);
        for (name, bloat) in [
            ("a", Some(50.0)),
            ("a_ccnew", None),
            ("b", Some(50.0)),
            ("c", Some(50.0)),
        ] {
            index(&mut host, "s.t", name, bloat);
        }
        host.database("app").table("s.t").indexes[2].valid = false;
        let (_, findings) = to_the_end(
            &Params {
                r#do: vec![Do::Reindex],
                ..params()
            },
            &mut host,
        );
        assert_eq!(done(&host), ["reindex c"]);
        let on = r#"database.app.tables."s.t""#;
        assert_eq!(
            codes(&findings),
            [("reindex-leftover", on), ("index-invalid", on)]
        );
        let next: Vec<_> = findings
            .iter()
            .filter_map(|finding| finding.next.as_deref())
            .collect();
        assert_eq!(
            next,
            [
                r#"DROP INDEX CONCURRENTLY "s"."a_ccnew";"#,
                r#"REINDEX INDEX CONCURRENTLY "s"."b";"#
            ]
        );
    }

    #[test]
    fn an_index_of_a_table_that_is_not_looked_at_is_told() {
        let mut host = FakeHost::new();
        table(&mut host, "t", 0);
        let indexes = vec![Indexes {
            table: "other".to_owned(),
            index: "o".to_owned(),
        }];
        let (_, findings) = to_the_end(
            &Params {
                r#do: vec![Do::Reindex],
                indexes,
                ..params()
            },
            &mut host,
        );
        assert_eq!(
            codes(&findings),
            [("index-not-covered", "database.app.tables.other")]
        );
    }

    #[test]
    fn what_the_database_skipped_is_never_called_done() {
        let mut host = FakeHost::new();
        for name in ["a", "b", "c"] {
            table(&mut host, name, 200);
        }
        let skipped = Upkeep {
            done: false,
            bytes: None,
            note: Some("lock not available".to_owned()),
        };
        host.database("app").table("a").answers("vacuum", skipped);
        host.fail_on(
            "vacuum",
            "b",
            Error::Busy("vacuum took longer than 10 min".to_owned()),
        );
        let (_, findings) = to_the_end(
            &Params {
                r#do: vec![Do::Vacuum],
                ..params()
            },
            &mut host,
        );
        assert_eq!(done(&host), ["vacuum a", "vacuum b", "vacuum c"]);
        assert_eq!(
            codes(&findings),
            [
                ("upkeep-skipped", "database.app.tables.a"),
                ("upkeep-skipped", "database.app.tables.b")
            ]
        );
        assert_eq!(
            findings[0].text,
            "vacuum on a was skipped by the database: lock not available"
        );
        assert_eq!(
            findings[1].text,
            "vacuum on b was skipped: vacuum took longer than 10 min"
        );
        assert_eq!(host.lines, ["info upkeep done table=c what=vacuum"]);
    }

    #[test]
    fn a_table_that_may_not_be_looked_at_is_told_with_the_line_to_add() {
        let mut host = FakeHost::new();
        table(&mut host, "a", 200);
        table(&mut host, "b", 200);
        let line = "database.app.tables.a = [\"read\", \"vacuum\"]";
        host.fail_on("table_statistics", "a", Error::Denied(line.to_owned()));
        let (_, findings) = to_the_end(
            &Params {
                r#do: vec![Do::Vacuum],
                ..params()
            },
            &mut host,
        );
        assert_eq!(done(&host), ["vacuum b"]);
        assert_eq!(codes(&findings), [("upkeep-skipped", "database.app.tables.a")]);
        assert_eq!(
            findings[0].next.as_deref(),
            Some(&*format!("add `{line}` to the job's grants"))
        );
    }

    #[test]
    fn a_database_that_is_gone_or_a_cancel_ends_the_run() {
        for error in [
            Error::Unreachable("connection refused".to_owned()),
            Error::Cancelled,
        ] {
            let mut host = FakeHost::new();
            table(&mut host, "a", 200);
            host.fail("vacuum", 1, error.clone());
            assert_eq!(
                run(&context(now()), &params(), &mut host),
                Err(Failure::PassedOn(error))
            );
        }
    }

    #[test]
    fn without_statistics_one_vacuum_serves_all_tables_and_free_bytes_decide() {
        let sqlite = |free| {
            let mut host = FakeHost::new();
            for name in ["a", "b"] {
                host.database("app").grant(name, &["read", "vacuum"]).table(name);
            }
            host.database("app").statistics = DatabaseStatistics {
                bytes: Some(1_000),
                free_bytes: free,
                ..DatabaseStatistics::default()
            };
            host
        };
        let params = Params {
            r#do: vec![Do::Vacuum],
            ..params()
        };
        let mut host = sqlite(Some(100));
        to_the_end(&params, &mut host);
        assert_eq!(done(&host), ["vacuum a"]);
        let mut host = sqlite(Some(10));
        to_the_end(&params, &mut host);
        assert_eq!(done(&host), [""; 0]);
        let mut host = sqlite(Some(10));
        host.fail_on(
            "database_statistics",
            "app",
            Error::Denied("database.app.whole = [\"read\"]".to_owned()),
        );
        to_the_end(&params, &mut host);
        assert_eq!(done(&host), ["vacuum a"], "nobody may know, so it is done");
        let mut host = sqlite(Some(100));
        host.fail("vacuum", 1, Error::Deadline);
        to_the_end(&params, &mut host);
        assert_eq!(
            done(&host),
            ["vacuum a", "vacuum a"],
            "what met the deadline is not done"
        );
    }

    #[test]
    fn a_deadline_ends_in_order_and_nothing_is_done_twice() {
        let all = ["vacuum a", "reindex a_x", "reindex a_y", "vacuum b"];
        for (call, nth) in [
            ("granted_tables", 2),
            ("table_statistics", 1),
            ("indexes", 1),
            ("vacuum", 1),
            ("reindex", 1),
            ("reindex", 2),
            ("table_statistics", 2),
            ("vacuum", 2),
        ] {
            let mut host = FakeHost::new();
            table(&mut host, "a", 200);
            table(&mut host, "b", 200);
            index(&mut host, "a", "a_x", Some(50.0));
            index(&mut host, "a", "a_y", Some(60.0));
            host.fail(call, nth, Error::Deadline);
            let (attempts, findings) = to_the_end(&params(), &mut host);
            assert_eq!(attempts, 2, "{call} {nth}");
            assert!(
                findings.iter().all(|finding| finding.severity == Severity::Info),
                "{findings:#?}"
            );
            let mut done = done(&host);
            // The call that met the deadline is the only one made twice.
            let place = done.windows(2).position(|pair| pair[0] == pair[1]);
            place.map(|place| done.remove(place));
            assert_eq!(done, all, "{call} {nth}");
        }
    }

    #[test]
    fn what_never_fits_into_an_attempt_is_told_and_does_not_hold_up_the_rest() {
        let mut host = FakeHost::new();
        table(&mut host, "a", 200);
        table(&mut host, "b", 200);
        host.fail_on("vacuum", "a", Error::Deadline);
        let (attempts, findings) = to_the_end(
            &Params {
                r#do: vec![Do::Vacuum],
                ..params()
            },
            &mut host,
        );
        assert_eq!(attempts, 2);
        assert_eq!(done(&host), ["vacuum a", "vacuum a", "vacuum b"]);
        assert_eq!(codes(&findings), [("upkeep-no-time", "database.app.tables.a")]);
    }

    #[test]
    fn without_any_table_the_run_says_so() {
        let mut host = FakeHost::new();
        host.database("app");
        let (_, findings) = to_the_end(&params(), &mut host);
        assert_eq!(codes(&findings), [("no-tables", "database.app")]);
    }

    #[test]
    fn every_cursor_is_read_back_and_a_foreign_one_is_refused() {
        for next in [
            None,
            Some(Action::Vacuum { analyze: false }),
            Some(Action::Vacuum { analyze: true }),
            Some(Action::Analyze),
            Some(Action::Reindex("odd \"name\"\n".to_owned())),
        ] {
            let place = Place {
                table: "año, \"x\"".to_owned(),
                next,
                whole: true,
            };
            assert_eq!(Place::read(&place.write()), Ok(place));
        }
        for foreign in ["age:", "[]", "[\"t\",\"nap\",\"\",true]", "[\"t\",\"look\",\"\"]"] {
            assert!(
                matches!(Place::read(foreign), Err(Failure::Permanent(_))),
                "{foreign}"
            );
        }
    }
}
