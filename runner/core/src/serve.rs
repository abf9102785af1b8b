//! What a process that stays is told: how much it does at once, and how it ends.
//!
//! Reading it from `sereno.toml` is `config::serve`; doing it is the triggers'.

use std::time::Duration;

/// `[serve]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSettings {
    /// No tick starts later than this after its time; how much later is the same each time for the same work.
    pub jitter: Duration,
    /// Runs at once; none: as many as the machine has cores.
    pub max_runs: Option<u32>,
    /// Of those on the same database.
    pub runs_per_database: u32,
    /// How long runs at work may take to end once the process is told to stop.
    pub drain: Duration,
}
