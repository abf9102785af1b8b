//! Looks at the counters, holds them against the last look, and tells the statements that took the most.
//!
//! Texts are asked for the told ones alone, and come without literals. The last look is an object in a storage: measurements go
//! to the ledger but cannot be read back by a plugin, and thousands of counters are nothing that anybody wants a history of.

use sereno_plugin::{
    Context, DatabaseRead, Error, Failure, Finding, Instant, Log, Measurement, Measurements, Outcome,
    QueryStatistics, Report, Storage, Unit, target, text,
};

use crate::Params;
use crate::snapshot::{Between, Snapshot, since_the_beginning};

/// What the server keeps by default, and as many as the host tells.
const STATEMENTS_MAX: u32 = 5_000;

/// Objects asked for at once.
const PAGE: u32 = 1_000;

/// Bytes of an object asked for at once.
const PART: u32 = 1 << 20;

/// A kept look is never larger: the statements of [`STATEMENTS_MAX`] are not.
const SNAPSHOT_MAX: u64 = 4 << 20;

/// Letters of a statement that are told.
const TEXT_MAX: usize = 300;

/// Tells what took the most time.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + Storage + Measurements + Log),
) -> Result<Outcome, Failure> {
    let mut task = Task {
        context,
        params,
        host,
        on: target::database(&params.database),
        report: Report::new(),
    };
    match task.work() {
        Ok(()) => Ok(Outcome::Done(task.report)),
        // Nothing was told yet: the next attempt looks again.
        Err(Error::Deadline) => Ok(Outcome::More(Report::new(), "again".to_owned())),
        Err(error) => Err(error.into()),
    }
}

struct Task<'a, H> {
    context: &'a Context,
    params: &'a Params,
    host: &'a mut H,
    on: String,
    report: Report,
}

impl<H: DatabaseRead + Storage + Measurements + Log> Task<'_, H> {
    fn work(&mut self) -> Result<(), Error> {
        let database = self.params.database.as_str();
        // Only a file has no connections.
        if self.host.database_statistics(database)?.connections.is_none() {
            let text = "SQLite counts no statements: there is nothing to tell";
            self.report.add(Finding::info("no-statements", &*self.on, text));
            return Ok(());
        }
        let now = match self.host.slow_queries(database, STATEMENTS_MAX) {
            Ok(queries) => queries,
            Err(Error::NotFound(_)) => {
                let text = "nothing counts this database's statements: the extension pg_stat_statements is not there";
                self.report
                    .add(Finding::warn("statements-not-counted", &*self.on, text).next(
                        "set `shared_preload_libraries = 'pg_stat_statements'`, restart the server, and run \
                     `CREATE EXTENSION pg_stat_statements;` in this database",
                    ));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let between = match self.params.storage.as_deref() {
            None => since_the_beginning(&now),
            Some(storage) => {
                let last = self.last(storage)?;
                let between = last
                    .as_ref()
                    .map_or_else(|| since_the_beginning(&now), |last| last.until(&now));
                if last.is_none() {
                    let text =
                        "this is the first look: what is told is all since the server's counters began";
                    self.report.add(Finding::info("first-look", &*self.on, text));
                }
                let snapshot = Snapshot {
                    at: self.context.scheduled_at,
                    queries: now.clone(),
                };
                self.keep(storage, &snapshot)?;
                between
            }
        };
        if now.capped || between.forgotten > 0 {
            let text = "the server counts more statements than it has room for, and forgot some of them";
            self.report.add(
                Finding::info("statements-forgotten", &*self.on, text)
                    .next("raise `pg_stat_statements.max` and restart the server"),
            );
        }
        self.tell(between)
    }

    /// The newest look before this one.
    fn last(&mut self, storage: &str) -> Result<Option<Snapshot>, Error> {
        let mut newest = None;
        let mut cursor = None;
        let remove_before = self.context.cutoff(self.params.keep);
        let mut old = Vec::new();
        loop {
            let page = self
                .host
                .list_objects(storage, &self.folder(), cursor.as_deref(), PAGE)?;
            for object in page.objects {
                match self.time_of(&object.key) {
                    Some(at) if at < remove_before => old.push(object.key),
                    Some(at) if at < self.context.scheduled_at => newest = newest.max(Some((at, object.key))),
                    _ => {}
                }
            }
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        for key in old {
            match self.host.remove_object(storage, &key) {
                // Whoever did not grant it removes them in another way.
                Ok(_) | Err(Error::Denied(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let Some((_, key)) = newest else {
            return Ok(None);
        };
        let snapshot = self.read(storage, &key)?;
        if snapshot.is_none() {
            let text = format!("{key} is not what this version of the plugin writes, and was not used");
            self.report
                .add(Finding::warn("look-unreadable", &*self.on, text).next("remove it"));
        }
        Ok(snapshot)
    }

    fn read(&mut self, storage: &str, key: &str) -> Result<Option<Snapshot>, Error> {
        let mut content = Vec::new();
        loop {
            let part = self.host.read_object(storage, key, content.len() as u64, PART)?;
            if part.total > SNAPSHOT_MAX {
                return Ok(None);
            }
            let is_end = part.bytes.is_empty();
            content.extend(part.bytes);
            if is_end || content.len() as u64 >= part.total {
                break;
            }
        }
        Ok(std::str::from_utf8(&content).ok().and_then(Snapshot::read))
    }

    /// A second attempt at the same time finds the first one's, which is as good.
    fn keep(&mut self, storage: &str, snapshot: &Snapshot) -> Result<(), Error> {
        let key = format!("{}{:020}.json", self.folder(), snapshot.at.micros());
        if self.host.object(storage, &key)?.is_none() {
            self.host.put_object(storage, &key, snapshot.write().as_bytes())?;
        }
        Ok(())
    }

    fn folder(&self) -> String {
        format!("slow-queries/{}/", self.params.database)
    }

    fn time_of(&self, key: &str) -> Option<Instant> {
        let name = key.strip_prefix(&self.folder())?.strip_suffix(".json")?;
        name.parse().ok().map(Instant::from_micros)
    }

    fn tell(&mut self, between: Between) -> Result<(), Error> {
        let ignored = |query: &QueryStatistics| {
            query
                .user
                .as_ref()
                .is_some_and(|user| self.params.ignore_users.contains(user))
        };
        let mut queries = between.queries;
        queries.retain(|query| !ignored(query));
        queries.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms).then_with(|| a.id.cmp(&b.id)));
        let total: f64 = queries.iter().map(|query| query.total_ms).sum();
        self.measure(&queries, total);
        let top = usize::try_from(self.params.top).unwrap_or(usize::MAX);
        let told: Vec<_> = queries
            .iter()
            .filter(|query| self.is_slow(query) || share(query.total_ms, total) > self.params.share_over)
            .take(top)
            .collect();
        let ids: Vec<String> = told.iter().map(|query| query.id.clone()).collect();
        let texts = if ids.is_empty() {
            Vec::new()
        } else {
            self.host.query_texts(&self.params.database, &ids)?
        };
        let since = match between.since {
            Some(since) if between.was_reset => format!("since the counters were reset at {since}"),
            Some(since) => format!("since {since}"),
            None => "since the counters began".to_owned(),
        };
        for query in told {
            let statement = texts.iter().find(|(id, _)| *id == query.id).map_or(
                "a statement that the server has forgotten meanwhile",
                |(_, text)| text.as_str(),
            );
            let text = format!(
                "{:.0} % of the time of all statements {since}: {} in {}, {} each, {:.1} rows a call, by {}: {}",
                share(query.total_ms, total),
                millis(query.total_ms),
                text::counted(query.calls, "call", "calls"),
                millis(mean(query)),
                query.rows as f64 / query.calls.max(1) as f64,
                query.user.as_deref().unwrap_or("nobody known"),
                shortened(statement)
            );
            let finding = if self.is_slow(query) {
                Finding::warn("slow-query", &*self.on, text)
            } else {
                Finding::info("busy-query", &*self.on, text)
            };
            self.report.add(finding.next(advice(query)));
        }
        if self
            .report
            .findings
            .iter()
            .all(|finding| !finding.code.ends_with("-query"))
        {
            let text = format!(
                "no statement is slow {since}: {} took {}",
                text::counted(queries.len() as u64, "statement", "statements"),
                millis(total)
            );
            self.report.add(Finding::info("no-slow-queries", &*self.on, text));
        }
        Ok(())
    }

    fn is_slow(&self, query: &QueryStatistics) -> bool {
        query.calls >= u64::try_from(self.params.calls_from).unwrap_or(0)
            && mean(query) > self.params.mean_over.as_secs_f64() * 1_000.0
    }

    fn measure(&mut self, queries: &[QueryStatistics], total_ms: f64) {
        let slow = queries.iter().filter(|query| self.is_slow(query)).count();
        let hit: u64 = queries.iter().map(|query| query.blocks_hit).sum();
        let read: u64 = queries.iter().map(|query| query.blocks_read).sum();
        let slowest = queries
            .iter()
            .filter(|query| self.is_slow(query))
            .map(mean)
            .fold(0.0, f64::max);
        for (name, unit, value) in [
            ("queries.seconds", Unit::Seconds, total_ms / 1_000.0),
            ("queries.slow", Unit::Count, slow as f64),
            ("queries.slowest_mean", Unit::Seconds, slowest / 1_000.0),
            (
                "queries.blocks_from_disk_percent",
                Unit::Percent,
                share(read as f64, (hit + read) as f64),
            ),
        ] {
            self.host
                .measure(Measurement::new(name, &self.on, unit, Some(value), ""));
        }
    }
}

fn mean(query: &QueryStatistics) -> f64 {
    query.total_ms / query.calls.max(1) as f64
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part * 100.0 / whole } else { 0.0 }
}

/// `0.4 ms`, `184 ms`, `12.3 s`, `4.5 min`.
fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 120_000.0 => format!("{:.1} s", ms / 1_000.0),
        ms if ms < 7_200_000.0 => format!("{:.1} min", ms / 60_000.0),
        ms => format!("{:.1} h", ms / 3_600_000.0),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What to look at first, by what it did with blocks.
fn advice(query: &QueryStatistics) -> String {
    let blocks = query.blocks_hit + query.blocks_read;
    let calls = query.calls.max(1);
    let first = if query.blocks_temp > 0 {
        format!(
            "it wrote {} to disk for sorts and hashes: an index in its order, or more `work_mem`; ",
            text::bytes(query.blocks_temp * 8_192)
        )
    } else if blocks / calls > 1_000 && blocks > query.rows.max(1) * 100 {
        format!(
            "it went through {} blocks a call for {:.1} rows: an index is probably missing; ",
            text::count(blocks / calls),
            query.rows as f64 / calls as f64
        )
    } else if query.blocks_read > query.blocks_hit {
        "most of what it reads is not in memory; ".to_owned()
    } else {
        String::new()
    };
    format!("{first}`EXPLAIN (ANALYZE, BUFFERS)` it with values of the kind it gets")
}

#[cfg(test)]
mod tests;
