//! The ledger: append-only run history, and the leases, flags and measurements beside it. What gauges and alerts need
//! of it besides is `watch`, what operators do is `orders`.
//!
//! `event` is the truth. `run` is a projection that an adapter keeps in the same transaction.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::orders::Orders;
use super::watch::Watch;
use crate::name::RunId;
use crate::report::{Measurement, Report};
use crate::run::{Mode, Reason, RunEvent, RunRequest, RunState, Work};
use crate::value::Instant;

/// Why the ledger did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be opened or reached.
    #[error("could not reach the ledger to {operation}: {reason}")]
    Unreachable {
        /// What was attempted.
        operation: &'static str,
        /// Without the URL.
        reason: String,
    },
    /// The run cannot meet this event in its state.
    #[error("run {run} is {state:?} and cannot record `{event}`")]
    Illegal {
        /// Which run.
        run: RunId,
        /// As it is.
        state: RunState,
        /// The event's kind.
        event: String,
    },
    /// No such run.
    #[error("there is no run {0}")]
    NoRun(String),
    /// Several runs start with this text.
    #[error("`{text}` is the start of {count} run ids; give more of it")]
    Ambiguous {
        /// As given.
        text: String,
        /// How many.
        count: usize,
    },
    /// It was written by a newer sereno.
    #[error("the ledger has schema version {found}, and this program knows up to {known}; update sereno")]
    TooNew {
        /// In the ledger.
        found: i64,
        /// Here.
        known: i64,
    },
    /// The disk is full, even after the ballast was released.
    #[error("the ledger's disk is full: {0}")]
    Full(String),
    /// Anything else.
    #[error("the ledger could not {operation}: {reason}")]
    Fault {
        /// What was attempted.
        operation: &'static str,
        /// In the store's words.
        reason: String,
    },
}

/// The projection of a run's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// The attempt's id.
    pub id: RunId,
    /// The key that it shares with other attempts.
    pub key: String,
    /// From 1.
    pub attempt: u32,
    /// The job or round.
    #[serde(flatten)]
    pub work: Work,
    /// All its targets, sorted.
    pub targets: Vec<String>,
    /// The tenant or part.
    pub shard: Option<String>,
    /// Plan or apply.
    pub mode: Mode,
    /// Where it came from.
    pub reason: Reason,
    /// What its cutoffs are reckoned from.
    pub scheduled_at: Instant,
    /// Hash of what must be the same for an apply or a duplicate: targets, params, grants, guards and needs.
    pub consent: String,
    /// SHA-256 of the plugin's bytes.
    pub digest: String,
    /// As far as it is.
    pub state: RunState,
    /// Where the guest last stopped.
    pub cursor: Option<String>,
    /// When it was admitted.
    pub started_at: Instant,
    /// None while it runs.
    pub ended_at: Option<Instant>,
    /// The outcome's label; none while it runs.
    pub outcome: Option<String>,
}

impl RunRow {
    /// As programs read it: its outcome is a label already; null while it is at work.
    pub fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!(self);
        document["reason"] = self.reason.label().into();
        document
    }
}

/// What a new attempt is recorded as.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Everything but `state`, `ended_at` and `outcome`. Its attempt is one more than the caller knows of the key.
    pub row: RunRow,
    /// For the `started` event.
    pub request: RunRequest,
    /// Params with defaults filled in.
    pub params: serde_json::Value,
}

/// One stored event.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// From 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: Instant,
    /// What.
    pub event: RunEvent,
}

/// A lease that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased.
    pub scope: String,
    /// Who holds it.
    pub run: RunId,
    /// Grows with every lease on the scope: the fence.
    pub token: i64,
    /// Until when, unless it is renewed.
    pub until: Instant,
}

/// A scope that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which scope.
    pub scope: String,
    /// By which run.
    pub run: RunId,
    /// Of which job or round.
    pub work: Work,
    /// Until when.
    pub until: Instant,
}

/// What an operator asked of running jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flag {
    /// Stop the run.
    Cancel,
    /// Start no run of the job.
    Pause,
}

/// What became of the wish to begin an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// It is recorded, and it holds every scope it asked for, in the order of their names.
    Begun(Box<RunRow>, Vec<Lease>),
    /// Others hold these of its scopes; nothing was changed.
    Held(Vec<Held>),
    /// The key has had another attempt since the caller looked; nothing was changed.
    Overtaken,
}

/// What there is to know of a key before a new attempt of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// See [`Ledger::orphans`]: of any key.
    pub orphans: Vec<RunRow>,
    /// All attempts of the key, newest first.
    pub attempts: Vec<RunRow>,
    /// The job or round, or everything, is paused.
    pub paused: bool,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunQuery {
    /// Of this job or round only.
    pub work: Option<Work>,
    /// With this key only.
    pub key: Option<String>,
    /// Only those that have not ended.
    pub running: bool,
    /// Only those of this mode.
    pub mode: Option<Mode>,
    /// Only those that ended so; an outcome's label.
    pub outcome: Option<String>,
    /// The newest this many; 0: all.
    pub limit: u32,
}

/// Which runs are forgotten, with their events and measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Old {
    /// Those that ended before this.
    pub before: Instant,
    /// But not the newest this many of each job or round, nor its last success, however old.
    pub but_newest: u32,
    /// As many at a time, the oldest first.
    pub limit: u32,
}

/// Run history. Implementations pass `ledger::` of the integration tests.
#[async_trait]
pub trait Ledger: Watch + Orders {
    /// Begins an attempt at its `started_at`, in one transaction: takes every scope for `ttl` or none (a lease that ran
    /// out counts as free), and records the run with its `started` event.
    async fn start(&self, run: NewRun, scopes: &[String], ttl: Duration) -> Result<Start, LedgerError>;

    /// Appends events in one transaction and updates the projection; refuses what the run's state does not allow,
    /// and then appends none. A terminal event gives the run's leases back and lowers the flags on it.
    async fn append(&self, run: &RunId, at: Instant, events: &[RunEvent]) -> Result<(), LedgerError>;

    /// One run, by id or by an unambiguous start of it.
    async fn run(&self, id: &str) -> Result<RunRow, LedgerError>;

    /// Newest first: the last to be recorded, whatever the clocks of several runners say.
    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, LedgerError>;

    /// All events of a run, in order.
    async fn events(&self, run: &RunId) -> Result<Vec<StoredEvent>, LedgerError>;

    /// The report of an ended run.
    async fn report(&self, run: &RunId) -> Result<Option<Report>, LedgerError>;

    /// Renews all of a run's leases; false when one of them is no longer its own.
    async fn renew(&self, run: &RunId, now: Instant, ttl: Duration) -> Result<bool, LedgerError>;

    /// Runs that have not ended and hold no live lease: their host died, or cannot be told from one that did.
    async fn orphans(&self, now: Instant) -> Result<Vec<RunRow>, LedgerError>;

    /// Takes an orphan's remaining leases for whoever will close it, for `ttl`, with tokens that the orphan does not
    /// know: raised as fences, they stop a host that was only asleep. None when it is no orphan (any more).
    async fn take_over(
        &self,
        orphan: &RunId,
        now: Instant,
        ttl: Duration,
    ) -> Result<Option<Vec<Lease>>, LedgerError>;

    /// All that [`Past`] holds; one round trip where that is possible.
    async fn past(&self, work: &Work, key: &str, now: Instant) -> Result<Past, LedgerError> {
        let of_key = RunQuery {
            key: Some(key.to_owned()),
            ..RunQuery::default()
        };
        Ok(Past {
            orphans: self.orphans(now).await?,
            attempts: self.runs(&of_key).await?,
            paused: self.flag(&[work.name(), "*"], Flag::Pause).await?,
        })
    }

    /// Raises or lowers a flag on a run id, a job's or round's name, or `*`.
    async fn set_flag(&self, on: &str, flag: Flag, raised: bool, now: Instant) -> Result<(), LedgerError>;

    /// True when the flag is raised on any of these.
    async fn flag(&self, on: &[&str], flag: Flag) -> Result<bool, LedgerError>;

    /// Forgets old runs, in one transaction, and answers how many. A run that has not ended is never old. With them go the scopes
    /// that nobody has held since: the next token of one is not below the clock, and so above its last.
    async fn forget(&self, old: &Old) -> Result<u64, LedgerError>;

    /// Keeps measurements of a run.
    async fn measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError>;
}
