//! What the ledger keeps for those who watch: measurements over time, how gauges and alerts stand, and the outbox.
//!
//! It judges nothing and sends nothing. What belongs together is written in one transaction, so that no crash lies
//! between a change of state and the message about it.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;

use super::ledger::LedgerError;
use crate::alert::Message;
use crate::name::{RunId, SinkName};
use crate::report::Measurement;
use crate::run::RunEvent;
use crate::value::Instant;

/// How long a message that was sent or given up stays in the outbox, for the person who asks what was told when.
pub const OUTBOX_KEPT: Duration = Duration::from_hours(30 * 24);

/// Which measurements to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasurementQuery {
    /// Of this name.
    pub name: String,
    /// Of this target.
    pub target: String,
    /// Not older than this.
    pub since: Instant,
    /// Of each such stretch of time, reckoned from 1970, only the last; none: all.
    pub every: Option<Duration>,
    /// The newest this many.
    pub limit: u32,
}

/// One stored measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When it was made.
    pub at: Instant,
    /// By which run.
    pub run: RunId,
    /// What.
    pub measurement: Measurement,
}

/// How a gauge, or the alerts of a job, stand. Only core knows what the body says.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// `gauge.disk`, `job.backup`.
    pub subject: String,
    /// Counts its changes; 0 when it has never been written.
    pub version: i64,
    /// Opaque.
    pub body: Json,
}

/// A message for one sink.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// The message's own id and the sink: a second letter of the same id is none.
    pub id: String,
    /// Where to.
    pub sink: SinkName,
    /// What.
    pub message: Message,
    /// When it was written.
    pub created_at: Instant,
    /// After this nobody tries any more.
    pub expires_at: Instant,
}

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LetterState {
    /// Not sent yet.
    Waiting,
    /// The sink took it.
    Sent,
    /// It grew too old.
    GivenUp,
}

/// A letter in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Itself.
    pub letter: Letter,
    /// As far as it is.
    pub state: LetterState,
    /// How often it was tried.
    pub attempts: u32,
    /// Not tried before.
    pub next_at: Instant,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was sent or given up.
    pub ended_at: Option<Instant>,
}

/// Which letters to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxQuery {
    /// Only those in this state.
    pub state: Option<LetterState>,
    /// Only those that expire at or before this.
    pub expired: Option<Instant>,
    /// The newest this many; 0: all.
    pub limit: u32,
}

/// What is written together with the end of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Aftermath {
    /// Kept with the run.
    pub measurements: Vec<Measurement>,
    /// Each with the version that was read: written only if it still stands so.
    pub standings: Vec<Standing>,
    /// Put into the outbox.
    pub letters: Vec<Letter>,
    /// Ids of waiting letters that nobody tries any more.
    pub given_up: Vec<String>,
}

/// What became of the wish to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// All of it is written.
    Done,
    /// Another runner has changed one of the standings since it was read; nothing was written.
    Overtaken,
}

/// Kept by every ledger. Implementations pass `ledger::watch` of the integration tests.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Appends `events` as [`super::ledger::Ledger::append`] does, and writes `after`, in one transaction.
    async fn settle(
        &self,
        run: &RunId,
        at: Instant,
        events: &[RunEvent],
        after: &Aftermath,
    ) -> Result<Settled, LedgerError>;

    /// Oldest first.
    async fn measurements(&self, query: &MeasurementQuery) -> Result<Vec<Sample>, LedgerError>;

    /// Those of these subjects that were ever written, by subject.
    async fn standings(&self, subjects: &[String]) -> Result<Vec<Standing>, LedgerError>;

    /// Takes waiting letters whose time has come by `due`, oldest first, and counts an attempt. Until `until` nobody
    /// else takes them. Of the letters to one sink about one subject only the oldest waiting one is taken, so that
    /// they arrive in order; what has expired by `now` is left.
    async fn claim(
        &self,
        now: Instant,
        due: Instant,
        until: Instant,
        limit: u32,
    ) -> Result<Vec<Outgoing>, LedgerError>;

    /// The sink took it. Letters that ended longer ago than [`OUTBOX_KEPT`] are forgotten with that.
    async fn sent(&self, letter: &str, at: Instant) -> Result<(), LedgerError>;

    /// It was not taken: why, and not to be tried before `next_at`.
    async fn put_off(&self, letter: &str, reason: &str, next_at: Instant) -> Result<(), LedgerError>;

    /// Puts letters into the outbox outside of any run.
    async fn post(&self, letters: &[Letter]) -> Result<(), LedgerError>;

    /// Newest first.
    async fn outbox(&self, query: &OutboxQuery) -> Result<Vec<Outgoing>, LedgerError>;
}
