//! What a run is told about itself.

use std::time::Duration;

use crate::Instant;

/// What a run is told about itself. There is no clock: reckon from `scheduled_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The attempt's id.
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// What every cutoff is reckoned from; the same through retries and continuations.
    pub scheduled_at: Instant,
    /// The tenant or part that this run is for.
    pub shard: Option<String>,
    /// What an earlier attempt returned in [`crate::Outcome::More`]; none at the start.
    pub cursor: Option<String>,
    /// What this attempt may take. Host calls answer [`crate::Error::Deadline`] in time to stop in order.
    pub time_left: Duration,
}

impl Context {
    /// The point in time `age` before the run's: what is older than `age` lies before it.
    pub fn cutoff(&self, age: Duration) -> Instant {
        self.scheduled_at - age
    }
}
