//! Forgets what is old of sereno's own history, beside the work: a piece at a time, and never in the way of a run.
//!
//! What is never old is the ledger's to know.

use std::sync::atomic::{AtomicI64, Ordering};

use super::Services;
use crate::ports::ledger::Old;
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
