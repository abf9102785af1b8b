//! Does the upkeep that each table needs, table by table, and tells what was not done and why.
//!
//! One table's trouble is a finding and the next table's turn. What the database skipped is never called done.

use std::collections::{BTreeMap, BTreeSet};

use sereno_plugin::{
    Context, DatabaseRead, DatabaseStatistics, DatabaseUpkeep, Error, Failure, Finding, IndexStatistics,
    Level, Log, Outcome, Report, TableStatistics, Upkeep, target, text,
};

use crate::need::{self, Verdict};
use crate::place::{Action, Place};
use crate::{Do, Params};

/// Names that one finding lists; the rest is a number.
const NAMES_MAX: usize = 20;

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
mod tests;
