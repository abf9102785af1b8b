//! Forgets what is old of sereno's own history, beside the work: a piece at a time, and never in the way of a run.
//!
//! What is never old is the ledger's to know. What was recorded beside rows goes only for runs that have ended: a run that was
//! lost is closed by it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Services;
use crate::name::TargetName;
use crate::ports::database::{Database, DatabaseError};
use crate::ports::ledger::{LedgerError, Old};
use crate::run::RunState;
use crate::value::Instant;

/// Of each job or round: enough to see how it has been doing, however rarely it runs.
const BUT_NEWEST: u32 = 10;

/// Runs at a time: some milliseconds of a ledger.
const AT_A_TIME: u32 = 200;

/// A process that lives on looks again after so many seconds; one that is new looks once.
const EVERY: i64 = 3_600;

/// When this process last forgot.
#[derive(Debug, Default)]
pub struct Forgetting {
    /// Seconds since 1970; 0: never.
    last: AtomicI64,
    /// The same for what was recorded in each database.
    databases: Mutex<BTreeMap<TargetName, i64>>,
}

impl Forgetting {
    fn is_due(&self, now: Instant) -> bool {
        let now = now.timestamp();
        let before = self.last.load(Ordering::Relaxed);
        now - before >= EVERY
            && self
                .last
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Forgetting {
    fn is_due_in(&self, database: &TargetName, now: Instant) -> bool {
        let now = now.timestamp();
        let mut all = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.entry(database.clone()).or_insert(i64::MIN);
        let is_due = now.saturating_sub(*last) >= EVERY;
        if is_due {
            *last = now;
        }
        is_due
    }
}

/// Forgets what a database has recorded of runs that ended long ago, after a run that changed something there.
pub(super) async fn forget_records(services: &Services, name: &TargetName, database: &dyn Database) {
    let now = services.clock.now();
    if !services.forgetting.is_due_in(name, now) {
        return;
    }
    match records_of_ended(services, database, now - services.config.ledger_keep).await {
        Ok(0) => {}
        Ok(batches) => tracing::debug!(database = %name, batches, "forgot old records"),
        Err(error) => tracing::warn!(database = %name, %error, "old records could not be forgotten"),
    }
}

async fn records_of_ended(
    services: &Services,
    database: &dyn Database,
    before: Instant,
) -> Result<u64, DatabaseError> {
    let mut ended = Vec::new();
    for run in database.old_records(before, AT_A_TIME).await? {
        match services.ledger.run(run.as_str()).await {
            Ok(row) if row.state == RunState::Ended => ended.push(run),
            Ok(_) => {}
            // Forgotten, which only an ended run is; or of another ledger, whose runs of that age are over too.
            Err(LedgerError::NoRun(_)) => ended.push(run),
            Err(error) => {
                tracing::warn!(%run, %error, "nobody knows whether it has ended; its record stays");
            }
        }
    }
    if ended.is_empty() {
        return Ok(0);
    }
    database.forget_records(&ended).await
}

pub(super) async fn forget(services: &Services) {
    let now = services.clock.now();
    if !services.forgetting.is_due(now) {
        return;
    }
    let old = Old {
        before: now - services.config.ledger_keep,
        but_newest: BUT_NEWEST,
        limit: AT_A_TIME,
    };
    match services.ledger.forget(&old).await {
        Ok(0) => {}
        Ok(runs) => tracing::debug!(runs, "forgot old runs"),
        Err(error) => tracing::warn!(%error, "old runs could not be forgotten"),
    }
}
