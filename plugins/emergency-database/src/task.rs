//! Climbs the ladder: says how the database stands, does each step while what it brings down is above its target, and says what is
//! left.
//!
//! After every end it looks again, so that no more goes than it takes. What was not granted is told and the next step taken.

use std::collections::BTreeSet;

use sereno_plugin::{
    Connection, Context, DatabaseRead, DatabaseUpkeep, End, Error, Failure, Finding, Level, Log, Measurement,
    Measurements, Outcome, Report, TableStatistics, Unit, Upkeep, target, text,
};

use crate::Params;
use crate::place::Place;
use crate::state::{self, State};

/// Connections asked for at once.
const PAGE: u32 = 500;

/// Names that one finding lists; the rest is a number.
const NAMES_MAX: usize = 20;

/// A slot that holds back more than this fills the disk before anybody looks.
const SLOT_BYTES_MAX: u64 = 1 << 30;

/// Looks, and climbs.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + DatabaseUpkeep + Measurements + Log),
) -> Result<Outcome, Failure> {
    let place = Place::read(context.cursor.as_deref())?;
    let mut task = Task {
        context,
        params,
        host,
        on: target::database(&params.database),
        stuck: place.stuck.clone(),
        place: Place { stuck: None, ..place },
        report: Report::new(),
    };
    match task.work() {
        Ok(()) => Ok(Outcome::Done(task.report)),
        Err(Error::Deadline) => Ok(Outcome::More(task.report, task.place.write())),
        Err(error) => Err(error.into()),
    }
}

/// A step that ends connections or statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rung {
    InTransaction,
    Statement,
    Idle,
}

impl Rung {
    const ALL: [Self; 3] = [Self::InTransaction, Self::Statement, Self::Idle];

    fn candidates<'a>(self, state: &'a State, params: &Params) -> Vec<&'a Connection> {
        match self {
            Self::InTransaction => state.idle_in_transaction(params),
            Self::Statement => state.blockers_at_work(params),
            Self::Idle => state.idle(params),
        }
    }

    fn is_needed(self, state: &State, params: &Params) -> bool {
        match self {
            Self::InTransaction => state.is_above(params),
            Self::Statement => !state.waiting(params).is_empty(),
            Self::Idle => state.is_full(params),
        }
    }

    const fn mode(self) -> End {
        match self {
            Self::Statement => End::Cancel,
            Self::InTransaction | Self::Idle => End::Terminate,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::InTransaction => "step-1-end",
            Self::Statement => "step-2-cancel",
            Self::Idle => "step-3-end-idle",
        }
    }
}

/// A step on tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Analyze,
    Vacuum,
}

impl Work {
    const fn verb(self) -> &'static str {
        match self {
            Self::Analyze => "analyze",
            Self::Vacuum => "vacuum",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Analyze => "step-4-analyze",
            Self::Vacuum => "step-5-vacuum",
        }
    }
}

struct Task<'a, H> {
    context: &'a Context,
    params: &'a Params,
    host: &'a mut H,
    on: String,
    /// What an earlier attempt had no time for.
    stuck: Option<String>,
    place: Place,
    report: Report,
}

impl<H: DatabaseRead + DatabaseUpkeep + Measurements + Log> Task<'_, H> {
    fn work(&mut self) -> Result<(), Error> {
        let state = self.look()?;
        if state.statistics.connections.is_none() {
            let text = "SQLite has no server, connections or dead rows: this ladder is for PostgreSQL";
            self.tell(
                Finding::info("no-server", &*self.on, text).next("`table-upkeep` vacuums a SQLite database"),
            );
            return Ok(());
        }
        if self.context.cursor.is_none() {
            self.measure(&state);
            self.diagnose(&state);
        }
        let state = self.end_what_is_in_the_way(state)?;
        self.tables(Work::Analyze, &state)?;
        match state.horizon(self.params) {
            Some(holder) => {
                let text = format!(
                    "step 5 is left out: VACUUM could remove no row that died since {} began, {} ago",
                    holder.what,
                    text::about(
                        holder
                            .since
                            .map_or_else(Default::default, |since| state.now.since(since))
                    )
                );
                self.tell(
                    Finding::warn("horizon-held", &*self.on, text)
                        .next("end or finish it first (a prepared transaction with ROLLBACK PREPARED), and run this again"),
                );
            }
            None => self.tables(Work::Vacuum, &state)?,
        }
        self.rewrite()?;
        self.tell_the_end(&state);
        Ok(())
    }

    fn look(&mut self) -> Result<State, Error> {
        let database = self.params.database.as_str();
        let mut state = State {
            now: self.context.scheduled_at,
            statistics: self.host.database_statistics(database)?,
            connections: Vec::new(),
            activities: Vec::new(),
        };
        if state.statistics.connections.is_none() {
            return Ok(state);
        }
        let mut cursor = None;
        loop {
            let part = self.host.connections(database, cursor.as_deref(), PAGE)?;
            state.connections.extend(part.items);
            cursor = part.cursor;
            if cursor.is_none() {
                break;
            }
        }
        state.activities = self.host.activities(database)?;
        Ok(state)
    }

    fn measure(&mut self, state: &State) {
        let is_seen = state.connections.iter().all(|one| one.state.is_some());
        let seen = |value: f64| is_seen.then_some(value);
        let unseen = "the host's role may not see what all connections do";
        let oldest = state.oldest().map_or(0, |(_, age)| age.as_secs());
        for (name, unit, value) in [
            ("connections.used_percent", Unit::Percent, state.used_percent()),
            ("transactions.oldest", Unit::Seconds, seen(oldest as f64)),
            (
                "connections.waiting_for_long",
                Unit::Count,
                seen(state.waiting(self.params).len() as f64),
            ),
        ] {
            self.host
                .measure(Measurement::new(name, &self.on, unit, value, unseen));
        }
        if !is_seen {
            self.tell(
                Finding::warn("states-unseen", &*self.on, unseen)
                    .next("GRANT pg_read_all_stats TO the role of the database's `url`"),
            );
        }
    }

    /// How it stands, before anything is done.
    fn diagnose(&mut self, state: &State) {
        if let Some(used) = state.used_percent().filter(|_| state.is_full(self.params)) {
            let text = format!("{used:.0} % of the server's connections are taken");
            self.tell(Finding::warn("connections-high", &*self.on, text).next(self.target_words()));
        }
        if let Some((one, _)) = state.oldest().filter(|_| state.has_old_transaction(self.params)) {
            let text = format!("the oldest transaction is of {}", state.words(one));
            self.tell(Finding::warn("transaction-old", &*self.on, text).next(self.target_words()));
        }
        let waiting = state.waiting(self.params);
        if !waiting.is_empty() {
            let roots = state
                .connections
                .iter()
                .filter(|one| one.blocked_by.is_empty() && state.blocks(one) > 0);
            let names: Vec<String> = roots
                .map(|one| format!("{} holds up {}", state.words(one), state.blocks(one)))
                .collect();
            let text = format!(
                "{} for too long; at the root: {}",
                match waiting.len() {
                    1 => "1 connection waits".to_owned(),
                    many => format!("{} connections wait", text::count(many as u64)),
                },
                listed(&names)
            );
            self.tell(Finding::warn("blocked", &*self.on, text).next(self.target_words()));
        }
        for activity in &state.activities {
            let amount = activity.amount.unwrap_or(0);
            if activity.kind == "slot" && amount > SLOT_BYTES_MAX {
                let text = format!("{} holds back {} of WAL", activity.what, text::bytes(amount));
                let next = "bring its consumer back, or drop it: SELECT pg_drop_replication_slot('NAME');";
                self.tell(Finding::critical("slot-holds", &*self.on, text).next(next));
            } else if ["vacuum", "index", "rewrite"].contains(&activity.kind.as_str()) {
                let text = format!("at work: {}", activity.what);
                self.tell(Finding::info("at-work", &*self.on, text));
            }
        }
    }

    fn target_words(&self) -> String {
        format!(
            "the targets are less than {} % of the connections, no transaction older than {}, nobody waiting for {}",
            self.params.connections_under,
            text::duration(self.params.oldest_transaction_under),
            text::duration(self.params.blocked_under)
        )
    }

    /// Steps 1 to 3. Answers how it stands afterwards.
    fn end_what_is_in_the_way(&mut self, mut state: State) -> Result<State, Error> {
        let most = u64::try_from(self.params.connections_at_most).unwrap_or(0);
        for rung in Rung::ALL {
            let mut tried = BTreeSet::new();
            while self.place.ended < most && rung.is_needed(&state, self.params) {
                let candidates = rung.candidates(&state, self.params);
                let Some(one) = candidates
                    .into_iter()
                    .find(|one| !tried.contains(&one.pid))
                    .cloned()
                else {
                    break;
                };
                tried.insert(one.pid);
                if !self.end(rung, &one, &state)? {
                    break;
                }
                state = self.look()?;
            }
        }
        Ok(state)
    }

    /// False: this step is not granted.
    fn end(&mut self, rung: Rung, one: &Connection, state: &State) -> Result<bool, Error> {
        let freed = match state.blocks(one) {
            0 => String::new(),
            1 => ", and lets 1 connection go on".to_owned(),
            many => format!(", and lets {} connections go on", text::count(many as u64)),
        };
        let what = match rung.mode() {
            End::Terminate => "ends",
            End::Cancel => "cancels the statement of",
        };
        let text = format!("{what} {}{freed}", state.words(one));
        match self.host.terminate(&self.params.database, one, rung.mode()) {
            Ok(did) if did.done => {
                self.place.ended += 1;
                self.host.log(Level::Info, rung.code(), &[("what", &text)]);
                self.tell(Finding::info(rung.code(), &*self.on, text));
            }
            Ok(did) => {
                let note = did.note.as_deref().unwrap_or("no reason given");
                self.tell(Finding::info(
                    "step-skipped",
                    &*self.on,
                    format!("{text}: left, {note}"),
                ));
            }
            Err(Error::Denied(line)) => {
                self.tell(not_granted(&self.on, rung.code(), &line));
                return Ok(false);
            }
            Err(Error::Fault(reason)) => {
                self.place.ended += 1;
                self.tell(
                    Finding::warn(
                        "step-failed",
                        &*self.on,
                        format!("{text}: could not be done, {reason}"),
                    )
                    .next(
                        "GRANT pg_signal_backend TO the role of the database's `upkeep_url`, or of its `url`",
                    ),
                );
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Steps 4 and 5: the worst tables, as many as one run may.
    fn tables(&mut self, work: Work, state: &State) -> Result<(), Error> {
        let database = self.params.database.as_str();
        let granted = match self.host.granted_tables(database, work.verb()) {
            Ok(tables) => tables,
            Err(Error::Denied(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        if granted.is_empty() {
            let line = format!(
                "database.{database}.tables.NAME = [\"read\", \"{}\"]",
                work.verb()
            );
            self.tell(not_granted(&self.on, work.code(), &line));
            return Ok(());
        }
        let mut found = Vec::new();
        for table in granted {
            match self.host.table_statistics(database, &table) {
                Ok(statistics) => found.extend(self.need(work, table, &statistics)),
                Err(error) if error.is_local() && !matches!(error, Error::Unreachable(_)) => {
                    let text = format!("it could not be looked at: {error}");
                    self.tell(Finding::warn(
                        "not-looked-at",
                        target::table(database, &table),
                        text,
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let most = usize::try_from(self.params.tables_at_most).unwrap_or(0);
        let before = self
            .place
            .done
            .iter()
            .filter(|done| done.starts_with(work.verb()))
            .count();
        let left: Vec<_> = found
            .iter()
            .skip(most.saturating_sub(before))
            .map(|(_, table, _)| table.clone())
            .collect();
        for (_, table, why) in found.into_iter().take(most.saturating_sub(before)) {
            self.on_table(work, &table, &why, state)?;
        }
        if !left.is_empty() {
            let text = format!("{} is also needed by {}", work.verb(), listed(&left));
            self.tell(
                Finding::warn("tables-left", &*self.on, text)
                    .next("run this again, or raise `tables_at_most`"),
            );
        }
        Ok(())
    }

    /// How badly a table needs it, and why; none: it does not, or it was done.
    fn need(&self, work: Work, table: String, statistics: &TableStatistics) -> Option<(f64, String, String)> {
        if self.place.done.contains(&format!("{} {table}", work.verb())) {
            return None;
        }
        match work {
            Work::Analyze => {
                let now = self.context.scheduled_at;
                let age = statistics.last_analyze.map(|last| now.since(last));
                match age {
                    None => Some((f64::MAX, table, "never analyzed".to_owned())),
                    Some(age) if age >= self.params.analyzed_within => Some((
                        age.as_secs_f64(),
                        table,
                        format!("analyzed {} ago", text::about(age)),
                    )),
                    Some(_) => None,
                }
            }
            Work::Vacuum => {
                let share = state::dead_percent(statistics)?;
                let dead = statistics.dead_rows_estimate.unwrap_or(0);
                (share >= self.params.dead_under).then(|| {
                    (
                        dead as f64,
                        table,
                        format!("{} rows dead ({share:.0} %)", text::count(dead)),
                    )
                })
            }
        }
    }

    fn on_table(&mut self, work: Work, table: &str, why: &str, state: &State) -> Result<(), Error> {
        let on = target::table(&self.params.database, table);
        let what = format!("{} {table}", work.verb());
        if state.is_under_way("vacuum", table) || state.is_under_way("rewrite", table) {
            self.tell(Finding::info(
                "step-skipped",
                on,
                format!("{what}: somebody is at it already"),
            ));
            return Ok(());
        }
        let text = format!("{} of a table with {why}", work.verb());
        let (database, max_ms) = (self.params.database.as_str(), millis(self.params.time_per_table));
        let did = match work {
            Work::Analyze => self.host.analyze(database, table, max_ms),
            Work::Vacuum => self.host.vacuum(database, table, true, max_ms),
        };
        self.did(did, work.code(), &on, &what, &text)
    }

    /// Step 6, of the one table that the operator named.
    fn rewrite(&mut self) -> Result<(), Error> {
        let Some(table) = self.params.full_table.as_deref() else {
            return Ok(());
        };
        let what = format!("vacuum-full {table}");
        if self.place.done.contains(&what) {
            return Ok(());
        }
        let on = target::table(&self.params.database, table);
        let max_ms = millis(self.params.time_per_table);
        let did = self.host.vacuum_full(&self.params.database, table, max_ms);
        let text =
            "rewrites the table, which nobody can use meanwhile, and gives its free space back to the disk";
        self.did(did, "step-6-vacuum-full", &on, &what, text)
    }

    /// Tells what became of a step on a table.
    fn did(
        &mut self,
        did: Result<Upkeep, Error>,
        code: &str,
        on: &str,
        what: &str,
        text: &str,
    ) -> Result<(), Error> {
        match did {
            Ok(did) if did.done => self.tell(Finding::info(code, on, text)),
            Ok(did) => {
                let note = did.note.as_deref().unwrap_or("no reason given");
                let finding = Finding::warn("step-skipped", on, format!("{text}: skipped, {note}"));
                self.tell(finding.next("run this again"));
            }
            // It did not fit the last time either: what comes after it must not wait for ever.
            Err(Error::Deadline) if self.stuck.as_deref() == Some(what) => {
                let finding = Finding::warn(
                    "step-no-time",
                    on,
                    format!("{text}: does not fit into an attempt"),
                );
                self.tell(finding.next("give the job more time: `limits = { wall = \"4h\" }`"));
            }
            Err(Error::Deadline) => {
                self.place.stuck = Some(what.to_owned());
                return Err(Error::Deadline);
            }
            Err(Error::Denied(line)) => self.tell(not_granted(on, code, &line)),
            Err(error) if error.is_local() && !matches!(error, Error::Unreachable(_)) => {
                self.tell(Finding::warn(
                    "step-failed",
                    on,
                    format!("{text}: could not be done, {error}"),
                ));
            }
            Err(error) => return Err(error),
        }
        self.place.done.push(what.to_owned());
        Ok(())
    }

    fn tell_the_end(&mut self, state: &State) {
        let above = [
            state.is_full(self.params).then_some("connections"),
            state
                .has_old_transaction(self.params)
                .then_some("the oldest transaction"),
            (!state.waiting(self.params).is_empty()).then_some("waiting"),
        ];
        let above: Vec<&str> = above.into_iter().flatten().collect();
        if above.is_empty() {
            let text =
                "connections, transactions and waiting are below their targets: steps 1 to 3 end nobody more";
            self.tell(Finding::info("below-target", &*self.on, text));
            return;
        }
        let why = if self.place.ended >= u64::try_from(self.params.connections_at_most).unwrap_or(0) {
            "`connections_at_most` is used up"
        } else {
            "whoever is in the way is kept, at work, or not meant by the params"
        };
        let text = format!("still above target: {}; {why}", above.join(", "));
        let next =
            "look at who is told above; `cancel_over`, `idle_users` and `idle_applications` allow more";
        self.tell(Finding::critical("above-target", &*self.on, text).next(next));
    }

    fn tell(&mut self, finding: Finding) {
        self.report.add(finding);
    }
}

fn not_granted(on: &str, step: &str, line: &str) -> Finding {
    Finding::info(
        "step-not-granted",
        on,
        format!("{step} is not granted, and left out"),
    )
    .next(format!("add `{line}` to the job's grants"))
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn listed(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(NAMES_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown}; and {} more", text::count(more as u64)),
    }
}

#[cfg(test)]
mod tests;
