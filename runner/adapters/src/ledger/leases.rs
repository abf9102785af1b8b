//! Who may take which scopes, the same for every home of the ledger.
//!
//! A scope's row is removed only when nobody has held it for as long as runs are remembered: its token only ever grows, whoever held it
//! before, since a new one is never below the clock.

use std::time::Duration;

use sereno_core::name::RunId;
use sereno_core::ports::ledger::{Held, Lease};
use sereno_core::run::Work;
use sereno_core::value::Instant;

use super::{kept, micros};

/// A scope as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScopeRow {
    pub scope: String,
    /// None: it was given back.
    pub holder: Option<RunId>,
    /// Of the holder, or of the last one.
    pub work: Work,
    pub token: i64,
    pub until: Instant,
}

/// What becomes of a wish for scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// All are to be written.
    Take {
        leases: Vec<Lease>,
        /// Runs whose lease ran out and goes to another now, so that they learn of it at their next renewal.
        lost: Vec<(RunId, String)>,
    },
    /// None is.
    Held(Vec<Held>),
}

/// Each scope once, in the order in which every runner takes them, so that no two wait for each other.
pub(super) fn in_order(scopes: &[String]) -> Vec<String> {
    let mut scopes = scopes.to_vec();
    scopes.sort();
    scopes.dedup();
    scopes
}

/// Until when a lease holds that is taken or renewed now.
pub(super) fn until(now: Instant, ttl: Duration) -> Instant {
    let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    Instant::from_timestamp_micros(micros(now).saturating_add(ttl)).unwrap_or(Instant::MAX_UTC)
}

/// The token after `last`. It is no less than the clock, so that a new ledger is not shut out by the fences that an
/// older one raised in the targets.
fn next_token(last: Option<i64>, now: Instant) -> i64 {
    let after = last.map_or(1, |last| last.saturating_add(1));
    after.max(micros(now))
}

fn lease(run: &RunId, scope: &str, last: Option<i64>, now: Instant, ttl: Duration) -> Lease {
    Lease {
        scope: scope.to_owned(),
        run: run.clone(),
        token: next_token(last, now),
        until: until(now, ttl),
    }
}

/// Decides over `scopes`, for a new run, by the rows that were `found` for them.
pub(super) fn decide(
    found: &[ScopeRow],
    run: &RunId,
    scopes: &[String],
    now: Instant,
    ttl: Duration,
) -> Decision {
    let holders = || found.iter().filter_map(|row| Some((row.holder.as_ref()?, row)));
    let held: Vec<Held> = holders()
        .filter(|(_, row)| row.until > kept(now))
        .map(|(holder, row)| Held {
            scope: row.scope.clone(),
            run: holder.clone(),
            work: row.work.clone(),
            until: row.until,
        })
        .collect();
    if !held.is_empty() {
        return Decision::Held(held);
    }
    let lost = holders()
        .map(|(holder, row)| (holder.clone(), row.scope.clone()))
        .collect();
    let leases = scopes
        .iter()
        .map(|scope| {
            let last = found.iter().find(|row| row.scope == *scope).map(|row| row.token);
            lease(run, scope, last, now, ttl)
        })
        .collect();
    Decision::Take { leases, lost }
}

/// The leases that whoever closes `orphan` takes in its name, by the rows that are still its own; none while one of
/// them lives.
pub(super) fn take_over(own: &[ScopeRow], orphan: &RunId, now: Instant, ttl: Duration) -> Option<Vec<Lease>> {
    let dead = own.iter().all(|row| row.until <= kept(now));
    dead.then(|| {
        own.iter()
            .map(|row| lease(orphan, &row.scope, Some(row.token), now, ttl))
            .collect()
    })
}
