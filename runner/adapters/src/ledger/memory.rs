//! A ledger that is forgotten with the process: the in-memory twin, for tests and demonstrations.
//!
//! It keeps the serialized events, so that what comes back has gone the same way as through a database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::approval::Approval;
use sereno_core::name::{JobName, RunId};
use sereno_core::ports::ledger::{
    Flag, Lease, Ledger, LedgerError, NewRun, Old, RunQuery, RunRow, Start, StoredEvent,
};
use sereno_core::ports::orders::{Orders, Raised};
use sereno_core::ports::watch::{
    Aftermath, Letter, MeasurementQuery, OutboxQuery, Outgoing, Sample, Settled, Standing, Watch,
};
use sereno_core::report::{Measurement, Report};
use sereno_core::run::{Mode, RunEvent, RunState, Work};
use sereno_core::value::Instant;

use super::leases::{Decision, ScopeRow, decide, in_order, take_over, until};
use super::watching::Watching;
use super::{flag_of, from_json, kept, projection, to_json};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryLedger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    /// In the order in which they started.
    runs: Vec<RunRow>,
    events: BTreeMap<RunId, Vec<(Instant, String)>>,
    scopes: BTreeMap<String, ScopeRow>,
    lost: BTreeSet<(RunId, String)>,
    flags: BTreeMap<(String, &'static str), Instant>,
    approvals: BTreeMap<JobName, Approval>,
    watching: Watching,
}

impl MemoryLedger {
    fn books<T>(&self, f: impl FnOnce(&mut Books) -> T) -> T {
        // Every change is complete before anything in it can panic.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All measurements, in the order in which they were kept.
    pub fn measurements(&self) -> Vec<(RunId, Instant, Measurement)> {
        self.books(|books| books.watching.measurements.clone())
    }
}

impl Books {
    fn forget(&mut self, old: &Old) -> u64 {
        let before = kept(old.before);
        let is_success =
            |row: &RunRow| row.mode == Mode::Apply && row.outcome.as_deref() == Some("succeeded");
        let forgotten: BTreeSet<RunId> = self
            .runs
            .iter()
            .enumerate()
            .filter(|(ordinal, row)| {
                let newer = || {
                    self.runs[ordinal + 1..]
                        .iter()
                        .filter(|other| other.work == row.work)
                };
                row.ended_at.is_some_and(|ended| ended < before)
                    && newer().count() >= old.but_newest as usize
                    && (!is_success(row) || newer().any(is_success))
            })
            .map(|(_, row)| row.id.clone())
            .take(old.limit as usize)
            .collect();
        self.runs.retain(|row| !forgotten.contains(&row.id));
        self.events.retain(|run, _| !forgotten.contains(run));
        self.watching
            .measurements
            .retain(|(run, ..)| !forgotten.contains(run));
        self.scopes
            .retain(|_, row| row.holder.is_some() || row.until >= before);
        forgotten.len() as u64
    }

    fn row(&mut self, run: &RunId) -> Result<&mut RunRow, LedgerError> {
        self.runs
            .iter_mut()
            .find(|row| row.id == *run)
            .ok_or_else(|| LedgerError::NoRun(run.to_string()))
    }

    fn own(&self, run: &RunId) -> Vec<ScopeRow> {
        let own = |row: &&ScopeRow| row.holder.as_ref() == Some(run);
        self.scopes.values().filter(own).cloned().collect()
    }

    fn hold(&mut self, leases: &[Lease], work: &Work) {
        for lease in leases {
            let row = ScopeRow {
                scope: lease.scope.clone(),
                holder: Some(lease.run.clone()),
                work: work.clone(),
                token: lease.token,
                until: lease.until,
            };
            self.scopes.insert(lease.scope.clone(), row);
        }
    }

    fn release(&mut self, run: &RunId) {
        for row in self.scopes.values_mut() {
            row.holder.take_if(|holder| holder == run);
        }
        self.lost.retain(|(loser, _)| loser != run);
        self.flags.retain(|(on, _), _| on != run.as_str());
    }

    fn end(
        &mut self,
        run: &RunId,
        at: Instant,
        events: &[RunEvent],
        change: projection::Change,
    ) -> Result<(), LedgerError> {
        let row = self.row(run)?;
        change.apply(row);
        if row.state == RunState::Ended {
            self.release(run);
        }
        let stored = self.events.entry(run.clone()).or_default();
        stored.extend(events.iter().map(|event| (kept(at), to_json(event))));
        Ok(())
    }

    fn stored(&self, run: &RunId) -> Result<Vec<StoredEvent>, LedgerError> {
        let events = self
            .events
            .get(run)
            .ok_or_else(|| LedgerError::NoRun(run.to_string()))?;
        (1..)
            .zip(events)
            .map(|(seq, (at, body))| {
                Ok(StoredEvent {
                    seq,
                    at: *at,
                    event: from_json(body)?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|error| LedgerError::Fault {
                operation: "read events",
                reason: error.to_string(),
            })
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn start(&self, run: NewRun, scopes: &[String], ttl: Duration) -> Result<Start, LedgerError> {
        let (row, event) = projection::started(&run);
        let scopes = in_order(scopes);
        self.books(|books| {
            if books.events.contains_key(&row.id) {
                return Err(LedgerError::Fault {
                    operation: "start a run",
                    reason: format!("there is a run {} already", row.id),
                });
            }
            let found: Vec<ScopeRow> = scopes
                .iter()
                .filter_map(|scope| books.scopes.get(scope))
                .cloned()
                .collect();
            let (leases, lost) = match decide(&found, &row.id, &scopes, row.started_at, ttl) {
                Decision::Held(held) => return Ok(Start::Held(held)),
                Decision::Take { leases, lost } => (leases, lost),
            };
            let attempts = books.runs.iter().filter(|other| other.key == row.key);
            if attempts.map(|other| other.attempt).max().unwrap_or(0) + 1 != row.attempt {
                return Ok(Start::Overtaken);
            }
            books.lost.extend(lost);
            books.hold(&leases, &row.work);
            books
                .events
                .insert(row.id.clone(), vec![(row.started_at, to_json(&event))]);
            books.runs.push(row.clone());
            Ok(Start::Begun(Box::new(row), leases))
        })
    }

    async fn append(&self, run: &RunId, at: Instant, events: &[RunEvent]) -> Result<(), LedgerError> {
        self.books(|books| {
            let row = books.row(run)?;
            let change = projection::change(run, row.state, events)?;
            books.end(run, at, events, change)
        })
    }

    async fn run(&self, id: &str) -> Result<RunRow, LedgerError> {
        self.books(|books| {
            let mut found = books
                .runs
                .iter()
                .filter(|row| !id.is_empty() && row.id.as_str().starts_with(id));
            match (found.next(), found.count()) {
                (None, _) => Err(LedgerError::NoRun(id.to_owned())),
                (Some(row), 0) => Ok(row.clone()),
                (Some(_), more) => Err(LedgerError::Ambiguous {
                    text: id.to_owned(),
                    count: more + 1,
                }),
            }
        })
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, LedgerError> {
        let wanted = |row: &&RunRow| {
            query.work.as_ref().is_none_or(|work| row.work == *work)
                && query.key.as_ref().is_none_or(|key| row.key == *key)
                && (!query.running || row.state == RunState::Running)
                && query.mode.is_none_or(|mode| row.mode == mode)
                && (query.outcome.is_none() || query.outcome == row.outcome)
        };
        let mut rows: Vec<RunRow> =
            self.books(|books| books.runs.iter().rev().filter(wanted).cloned().collect());
        if query.limit > 0 {
            rows.truncate(query.limit.try_into().unwrap_or(usize::MAX));
        }
        Ok(rows)
    }

    async fn events(&self, run: &RunId) -> Result<Vec<StoredEvent>, LedgerError> {
        self.books(|books| books.stored(run))
    }

    async fn report(&self, run: &RunId) -> Result<Option<Report>, LedgerError> {
        let last = self.books(|books| books.stored(run))?.pop();
        Ok(match last.map(|stored| stored.event) {
            Some(RunEvent::Ended { report } | RunEvent::Rescued { report }) => Some(*report),
            _ => None,
        })
    }

    async fn renew(&self, run: &RunId, now: Instant, ttl: Duration) -> Result<bool, LedgerError> {
        self.books(|books| {
            let mut own = 0;
            for row in books
                .scopes
                .values_mut()
                .filter(|row| row.holder.as_ref() == Some(run))
            {
                row.until = until(now, ttl);
                own += 1;
            }
            Ok(own > 0 && !books.lost.iter().any(|(loser, _)| loser == run))
        })
    }

    async fn orphans(&self, now: Instant) -> Result<Vec<RunRow>, LedgerError> {
        self.books(|books| {
            let alive = |run: &RunId| books.own(run).iter().any(|row| row.until > kept(now));
            let orphan = |row: &&RunRow| row.state == RunState::Running && !alive(&row.id);
            Ok(books.runs.iter().filter(orphan).cloned().collect())
        })
    }

    async fn take_over(
        &self,
        orphan: &RunId,
        now: Instant,
        ttl: Duration,
    ) -> Result<Option<Vec<Lease>>, LedgerError> {
        self.books(|books| {
            let row = books.row(orphan)?.clone();
            let own = books.own(orphan);
            let taken = take_over(&own, orphan, now, ttl).filter(|_| row.state == RunState::Running);
            if let Some(leases) = &taken {
                let lost = leases.iter().map(|lease| (orphan.clone(), lease.scope.clone()));
                books.lost.extend(lost);
                books.hold(leases, &row.work);
            }
            Ok(taken)
        })
    }

    async fn set_flag(&self, on: &str, flag: Flag, raised: bool, now: Instant) -> Result<(), LedgerError> {
        let entry = (on.to_owned(), super::flag_text(flag));
        self.books(|books| {
            if raised {
                books.flags.entry(entry).or_insert(kept(now));
            } else {
                books.flags.remove(&entry);
            }
        });
        Ok(())
    }

    async fn flag(&self, on: &[&str], flag: Flag) -> Result<bool, LedgerError> {
        let text = super::flag_text(flag);
        Ok(self.books(|books| {
            on.iter()
                .any(|&on| books.flags.contains_key(&(on.to_owned(), text)))
        }))
    }

    async fn forget(&self, old: &Old) -> Result<u64, LedgerError> {
        Ok(self.books(|books| books.forget(old)))
    }

    async fn measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError> {
        self.books(|books| {
            books.row(run)?;
            books.watching.measure(run, at, measurements);
            Ok(())
        })
    }
}

#[async_trait]
impl Orders for MemoryLedger {
    async fn raised(&self) -> Result<Vec<Raised>, LedgerError> {
        let flags = self.books(|books| books.flags.clone());
        let raised =
            |((on, text), at): ((String, &str), Instant)| flag_of(text).map(|flag| Raised { on, flag, at });
        flags
            .into_iter()
            .map(raised)
            .collect::<Result<_, _>>()
            .map_err(|error| LedgerError::Fault {
                operation: "read all flags",
                reason: error.to_string(),
            })
    }

    async fn approve(&self, approval: &Approval) -> Result<(), LedgerError> {
        let (job, approval) = (approval.job.clone(), approval.clone());
        self.books(|books| books.approvals.insert(job, approval));
        Ok(())
    }

    async fn approval(&self, job: &JobName) -> Result<Option<Approval>, LedgerError> {
        Ok(self.books(|books| books.approvals.get(job).cloned()))
    }
}

#[async_trait]
impl Watch for MemoryLedger {
    async fn settle(
        &self,
        run: &RunId,
        at: Instant,
        events: &[RunEvent],
        after: &Aftermath,
    ) -> Result<Settled, LedgerError> {
        self.books(|books| {
            let row = books.row(run)?;
            let change = projection::change(run, row.state, events)?;
            if !books.watching.stand(&after.standings) {
                return Ok(Settled::Overtaken);
            }
            books.end(run, at, events, change)?;
            books.watching.keep(run, at, after);
            Ok(Settled::Done)
        })
    }

    async fn measurements(&self, query: &MeasurementQuery) -> Result<Vec<Sample>, LedgerError> {
        Ok(self.books(|books| books.watching.samples(query)))
    }

    async fn standings(&self, subjects: &[String]) -> Result<Vec<Standing>, LedgerError> {
        Ok(self.books(|books| books.watching.standings(subjects)))
    }

    async fn claim(
        &self,
        now: Instant,
        due: Instant,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<Outgoing>, LedgerError> {
        Ok(self.books(|books| books.watching.claim(now, due, until, limit)))
    }

    async fn sent(&self, letter: &str, at: Instant) -> Result<(), LedgerError> {
        self.books(|books| books.watching.sent(letter, at));
        Ok(())
    }

    async fn put_off(&self, letter: &str, reason: &str, next_at: Instant) -> Result<(), LedgerError> {
        self.books(|books| books.watching.put_off(letter, reason, next_at));
        Ok(())
    }

    async fn post(&self, letters: &[Letter]) -> Result<(), LedgerError> {
        self.books(|books| books.watching.post(letters));
        Ok(())
    }

    async fn outbox(&self, query: &OutboxQuery) -> Result<Vec<Outgoing>, LedgerError> {
        Ok(self.books(|books| books.watching.outbox(query)))
    }
}
