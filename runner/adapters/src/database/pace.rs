//! How many rows a batch should have, so that it takes a quarter of a second on this machine at this hour, and how long a
//! walk may go on without one.
//!
//! It measures no batch itself and never goes over what the caller asked for.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sereno_core::name::{RunId, TableName};
use tokio::time::Instant;

/// Short enough that row locks and replicas do not notice, long enough that commits do not cost more than rows.
const BATCH_TARGET: Duration = Duration::from_millis(250);

/// A first batch that is quick on any machine.
const ROWS_FIRST: u32 = 5_000;

/// Below this the commit costs more than the rows.
const ROWS_MIN: u32 = 100;

/// A walk over rows of which none matches comes back after this, with none and where it is: only between two calls a
/// cancellation, the deadline and whoever watches get their turn.
const WALK_LIMIT: Duration = Duration::from_secs(5);

/// Forgetting a pace only means to learn it again; a server that lives for months must not remember every run.
const PACES_MAX: usize = 1_024;

/// How long a call walks on without a match.
#[derive(Debug)]
pub(super) struct Patience(Instant);

impl Patience {
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    /// True when the call should come back, even with nothing.
    pub(super) fn is_over(&self) -> bool {
        self.0.elapsed() >= WALK_LIMIT
    }
}

/// The pace of every run on every table.
#[derive(Debug, Default)]
pub(super) struct Paces(Mutex<HashMap<(RunId, TableName), u32>>);

impl Paces {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<(RunId, TableName), u32>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rows for the next batch.
    pub(super) fn rows(&self, run: &RunId, table: &TableName, max: u32) -> u32 {
        let rows = self.with(|paces| paces.get(&(run.clone(), table.clone())).copied());
        rows.unwrap_or(ROWS_FIRST).min(max).max(1)
    }

    /// Learns from a batch of `rows` that took `took`.
    pub(super) fn learn(&self, run: &RunId, table: &TableName, rows: u32, took: Duration) {
        let next = next_rows(rows, took);
        self.with(|paces| {
            if paces.len() >= PACES_MAX {
                paces.clear();
            }
            paces.insert((run.clone(), table.clone()), next);
        });
    }
}

/// Doubles at most and halves at most: one slow commit must not throw the pace away.
fn next_rows(rows: u32, took: Duration) -> u32 {
    let factor = (BATCH_TARGET.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates"
    )]
    let next = (f64::from(rows) * factor) as u32;
    next.max(ROWS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_grows_while_it_is_quick_and_shrinks_when_it_is_slow() {
        assert_eq!(next_rows(5_000, Duration::from_millis(1)), 10_000);
        assert_eq!(next_rows(5_000, BATCH_TARGET), 5_000);
        assert_eq!(next_rows(5_000, Duration::from_secs(9)), 2_500);
        assert_eq!(next_rows(10, Duration::from_secs(9)), ROWS_MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_walk_is_over_at_its_limit() {
        let patience = Patience::begin();
        tokio::time::advance(WALK_LIMIT.saturating_sub(Duration::from_millis(1))).await;
        assert!(!patience.is_over());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(patience.is_over());
    }

    #[test]
    fn the_caller_has_the_last_word() {
        let (paces, run) = (Paces::default(), RunId::from_entropy(1));
        let table: TableName = "t".parse().expect("a table");
        assert_eq!(paces.rows(&run, &table, 10), 10);
        paces.learn(&run, &table, 5_000, Duration::from_millis(1));
        assert_eq!(paces.rows(&run, &table, 50_000), 10_000);
        assert_eq!(paces.rows(&run, &table, 0), 1);
    }
}
