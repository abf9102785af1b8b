//! Ends what has been idle for too long, the worst first, up to the run's share, and tells what was left.
//!
//! Each end is compared by the host with what was looked at, in the statement that ends it: who goes on working stays.

use sereno_plugin::{
    Connection, Context, DatabaseRead, DatabaseStatistics, DatabaseUpkeep, End, Error, Failure, Finding,
    Level, Log, Measurement, Measurements, Outcome, Report, Unit, target, text,
};

use crate::judge::{self, Idle, Verdict};
use crate::{Params, States};

/// Connections asked for at once.
const PAGE: u32 = 500;

/// Names that one finding lists; the rest is a number.
const NAMES_MAX: usize = 20;

const UNSEEN: &str = "the host's role may not see what all connections do";

/// Looks at every connection, and ends those that the params mean.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + DatabaseUpkeep + Measurements + Log),
) -> Result<Outcome, Failure> {
    if params.states.contains(&States::Idle) && params.users.is_empty() && params.applications.is_empty() {
        let text = "connections that are plainly idle are ended only by name: list `users` or `applications`, \
                    or take `idle` out of `states`";
        return Err(Failure::InvalidParams(text.to_owned()));
    }
    let ended = match context.cursor.as_deref() {
        None | Some("") => 0,
        Some(cursor) => cursor
            .parse()
            .map_err(|_| Failure::Permanent(format!("`{cursor}` is not a cursor of idle-connections")))?,
    };
    let mut task = Task {
        context,
        params,
        host,
        on: target::database(&params.database),
        ended,
        report: Report::new(),
    };
    match task.work() {
        Ok(()) => Ok(Outcome::Done(task.report)),
        Err(Error::Deadline) => Ok(Outcome::More(task.report, task.ended.to_string())),
        Err(error) => Err(error.into()),
    }
}

struct Task<'a, H> {
    context: &'a Context,
    params: &'a Params,
    host: &'a mut H,
    on: String,
    /// Connections that this run has ended or failed to end.
    ended: u64,
    report: Report,
}

impl<H: DatabaseRead + DatabaseUpkeep + Measurements + Log> Task<'_, H> {
    fn work(&mut self) -> Result<(), Error> {
        let statistics = self.host.database_statistics(&self.params.database)?;
        if statistics.connections.is_none() {
            let text = "this database is a file and has no connections that could be ended";
            self.tell(Finding::info("no-connections", &*self.on, text));
            return Ok(());
        }
        let all = self.connections()?;
        if self.context.cursor.is_none() {
            self.measure(&all);
        }
        let unseen = all.iter().filter(|connection| connection.state.is_none()).count();
        if unseen > 0 {
            let text = format!(
                "{} cannot be judged: {UNSEEN}",
                text::counted(unseen as u64, "connection", "connections")
            );
            self.tell(
                Finding::warn("states-unseen", &*self.on, text)
                    .next("GRANT pg_read_all_stats TO the role of the database's `url`"),
            );
        }
        if !self.is_full(&statistics) {
            return Ok(());
        }
        let (mut idle, mut kept) = (Vec::new(), Vec::new());
        for connection in &all {
            match judge::judge(connection, &all, self.params, self.context) {
                Verdict::End(how) => idle.push((how, connection)),
                Verdict::Keep(how, why) => kept.push((how, connection, why)),
                Verdict::Leave => {}
            }
        }
        idle.sort_by(|(a, one), (b, other)| (a, one.pid).cmp(&(b, other.pid)));
        self.tell_kept(kept);
        let mut idle = idle.into_iter();
        let most = u64::try_from(self.params.at_most).unwrap_or(0);
        while self.ended < most
            && let Some((how, connection)) = idle.next()
        {
            self.end(connection, &how)?;
        }
        let left: Vec<String> = idle.map(|(_, connection)| judge::who(connection)).collect();
        if !left.is_empty() {
            let text = format!(
                "{} idle for too long {} left, since one run ends {}: {}",
                text::counted(left.len() as u64, "connection", "connections"),
                if left.len() == 1 { "was" } else { "were" },
                text::count(most),
                listed(&left)
            );
            self.tell(
                Finding::warn("connections-left", &*self.on, text)
                    .next("the next run goes on; look at why there are so many, or raise `at_most` (and the guard `max_connections`)"),
            );
        }
        Ok(())
    }

    fn connections(&mut self) -> Result<Vec<Connection>, Error> {
        let mut all = Vec::new();
        let mut cursor = None;
        loop {
            let part = self
                .host
                .connections(&self.params.database, cursor.as_deref(), PAGE)?;
            all.extend(part.items);
            cursor = part.cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Whether enough of the server's connections are taken for any to be ended.
    fn is_full(&mut self, statistics: &DatabaseStatistics) -> bool {
        if self.params.used_over <= 0.0 {
            return true;
        }
        let known = statistics.connections.zip(statistics.connections_limit);
        let used = known.map(|(used, limit)| used as f64 * 100.0 / limit.max(1) as f64);
        match used {
            Some(used) if used > self.params.used_over => return true,
            Some(used) => {
                let text = format!(
                    "{used:.0} % of the server's connections are taken, which is no more than {} %: none is ended",
                    self.params.used_over
                );
                self.tell(Finding::info("connections-enough", &*self.on, text));
            }
            None => {
                let text = "the server does not tell how many connections it allows: none is ended";
                self.tell(
                    Finding::warn("connections-unknown", &*self.on, text)
                        .next("set `used_over = 0` to do without"),
                );
            }
        }
        false
    }

    fn end(&mut self, connection: &Connection, how: &Idle) -> Result<(), Error> {
        let who = judge::who(connection);
        let words = how.words(self.context.scheduled_at);
        match self
            .host
            .terminate(&self.params.database, connection, End::Terminate)
        {
            Ok(did) if did.done => {
                self.ended += 1;
                self.host
                    .log(Level::Info, "connection ended", &[("who", &who), ("why", &words)]);
                self.tell(Finding::info(
                    "connection-idle",
                    &*self.on,
                    format!("{who} was {words}"),
                ));
            }
            Ok(did) => {
                let note = did.note.as_deref().unwrap_or("no reason given");
                let text = format!("{who} was {words}, and was left: {note}");
                self.tell(Finding::info("connection-spared", &*self.on, text));
            }
            Err(Error::Fault(reason)) => {
                self.ended += 1;
                let text = format!("{who} was {words}, and could not be ended: {reason}");
                self.tell(Finding::warn("connection-not-ended", &*self.on, text).next(
                    "GRANT pg_signal_backend TO the role of the database's `upkeep_url`, or of its `url`",
                ));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn tell_kept(&mut self, mut kept: Vec<(Idle, &Connection, String)>) {
        kept.sort_by(|(a, one, _), (b, other, _)| (a, one.pid).cmp(&(b, other.pid)));
        let now = self.context.scheduled_at;
        let names: Vec<String> = kept
            .into_iter()
            .map(|(how, connection, why)| format!("{} {} [{why}]", judge::who(connection), how.words(now)))
            .collect();
        if !names.is_empty() {
            let text = format!("kept, though idle for too long: {}", listed(&names));
            self.tell(Finding::info("connections-kept", &*self.on, text));
        }
    }

    /// Readings for gauges, of before anything was ended. Where some states are not seen the whole is unknown.
    fn measure(&mut self, all: &[Connection]) {
        let is_seen = all.iter().all(|connection| connection.state.is_some());
        let idle = |connection: &&Connection| {
            connection
                .state
                .as_deref()
                .is_some_and(|state| state.starts_with("idle in transaction"))
        };
        let count = all.iter().filter(idle).count() as u64;
        let longest = all
            .iter()
            .filter(idle)
            .filter_map(|connection| connection.state_changed)
            .map(|since| self.context.scheduled_at.since(since).as_secs())
            .max();
        let blocked = all
            .iter()
            .filter(|connection| !connection.blocked_by.is_empty())
            .count() as u64;
        for (name, unit, value) in [
            ("connections.idle_in_transaction", Unit::Count, count),
            (
                "connections.longest_idle_in_transaction",
                Unit::Seconds,
                longest.unwrap_or(0),
            ),
            ("connections.blocked", Unit::Count, blocked),
        ] {
            let value = is_seen.then_some(value);
            self.host
                .measure(Measurement::count(name, &self.on, unit, value, UNSEEN));
        }
    }

    fn tell(&mut self, finding: Finding) {
        self.report.add(finding);
    }
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
