//! Plugins: finding, checking and running them. The engine implements this; core never sees WebAssembly.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value as Json;

use crate::capability::{
    BackupCapability, DatabaseCapability, DirectoryCapability, OriginCapability, StorageCapability,
    WriterCapability,
};
use crate::effect::Book;
use crate::grant::Authority;
use crate::job::Limits;
use crate::manifest::Manifest;
use crate::name::{JobName, PluginName, RunId, TargetName};
use crate::ports::backup::Backups;
use crate::ports::database::Database;
use crate::ports::files::Directory;
use crate::ports::http::{HttpError, HttpOrigin};
use crate::ports::storage::Storage;
use crate::ports::writer::{Writer, WriterError};
use crate::report::LimitsUsed;
use crate::run::RunEvent;
use crate::value::Instant;

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No file of that name in any of the places.
    #[error("there is no plugin `{name}`; looked in {}", .places.join(", "))]
    NotFound {
        /// Which.
        name: PluginName,
        /// Where it was looked for.
        places: Vec<String>,
        /// Plugins that are there.
        known: Vec<String>,
    },
    /// It is none: no component, no manifest, an import that nobody offers, too large.
    #[error("plugin `{name}` cannot be loaded: {reason}")]
    Invalid {
        /// Which.
        name: PluginName,
        /// Why.
        reason: String,
    },
    /// It imports what its manifest does not ask for.
    #[error("plugin `{name}` imports {} without asking for it in its manifest", .imports.join(", "))]
    Undeclared {
        /// Which.
        name: PluginName,
        /// The interfaces.
        imports: Vec<String>,
    },
    /// The host could not compile or read it.
    #[error("plugin `{name}` could not be made ready: {reason}")]
    Host {
        /// Which.
        name: PluginName,
        /// Why.
        reason: String,
    },
}

/// What is known of a plugin without running it.
#[derive(Debug, Clone)]
pub struct PluginInfo {
    /// From its custom section.
    pub manifest: Manifest,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub digest: String,
    /// Where it is.
    pub path: String,
    /// The interfaces it imports.
    pub imports: Vec<String>,
}

/// The capabilities that one run holds: decorated ports, by the operator's names.
#[derive(Clone, Default)]
pub struct Capabilities {
    /// What may be called.
    pub authority: Arc<Authority>,
    /// Guarded, and planned or fenced.
    pub databases: BTreeMap<TargetName, Arc<DatabaseCapability>>,
    /// Guarded, and planned or fenced.
    pub directories: BTreeMap<TargetName, Arc<DirectoryCapability>>,
    /// Bounded, and planned.
    pub origins: BTreeMap<TargetName, Arc<OriginCapability>>,
    /// Guarded, and planned or not.
    pub storages: BTreeMap<TargetName, Arc<StorageCapability>>,
    /// Counted, and planned.
    pub writers: BTreeMap<TargetName, Arc<WriterCapability>>,
    /// Behind the floor, and planned or not; none: the job has nothing to do with backups.
    pub backups: Option<Arc<BackupCapability>>,
}

/// One call of a guest.
pub struct Activation {
    /// The attempt.
    pub run: RunId,
    /// Its job.
    pub job: JobName,
    /// What cutoffs are reckoned from.
    pub scheduled_at: Instant,
    /// Validated, normalised.
    pub params: Json,
    /// The tenant or part.
    pub shard: Option<String>,
    /// Where an earlier call stopped.
    pub cursor: Option<String>,
    /// Until the attempt must have ended.
    pub time_left: Duration,
    /// What the guest may consume.
    pub limits: Limits,
    /// What it may do.
    pub capabilities: Capabilities,
    /// Where findings and measurements go.
    pub book: Arc<Book>,
    /// Where log lines go.
    pub log: Arc<dyn LogSink>,
    /// Raised by a cancel or an interrupt; the next host call then answers `cancelled`.
    pub cancel: tokio::sync::watch::Receiver<bool>,
}

/// Keeps a guest's log lines. Never blocks.
pub trait LogSink: Send + Sync {
    /// A [`RunEvent::Log`].
    fn line(&self, event: RunEvent);
}

/// How a guest's call ended. Blame is explicit: only `Host` is ours.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestEnd {
    /// All done.
    Done,
    /// More to do from this cursor.
    More(String),
    /// It gave up, in its own words.
    Failed(GuestFailure),
    /// It passed on, or met and returned from, a host call's refusal.
    PassedOn(CallError),
    /// A limit ended it: the limit's name (`cpu`, `wall`, `memory`, `stack`, `handles`, `bytes`, `calls`, `output`) and a sentence.
    Limit(String, String),
    /// It trapped.
    Trap(String),
    /// It answered nonsense.
    Invalid(String),
    /// It was cancelled.
    Cancelled,
    /// The host failed it.
    Host(String),
}

/// A guest's own verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFailure {
    /// The params make no sense together.
    InvalidParams(String),
    /// May work later.
    Retryable(String),
    /// Will not.
    Permanent(String),
    /// It thinks it should not.
    Refused(String),
    /// Anything else.
    Other(String),
}

/// Why a host call was not done: `types.error` of the contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No grant; the line to add.
    #[error("denied: add `{0}`")]
    Denied(String),
    /// A guard, in the host's words.
    #[error("{0}")]
    Guard(String),
    /// A limit.
    #[error("{0}")]
    Limit(String),
    /// The operator.
    #[error("cancelled")]
    Cancelled,
    /// Time is nearly over.
    #[error("the attempt's time is nearly over")]
    Deadline,
    /// No such thing.
    #[error("{0}")]
    NotFound(String),
    /// Nonsense.
    #[error("{0}")]
    Invalid(String),
    /// A lock.
    #[error("{0}")]
    Busy(String),
    /// No connection.
    #[error("{0}")]
    Unreachable(String),
    /// Refused, and would be again.
    #[error("{0}")]
    Fault(String),
}

/// What one activation came to.
#[derive(Debug, Clone, PartialEq)]
pub struct GuestRun {
    /// How it ended.
    pub end: GuestEnd,
    /// What it consumed.
    pub used: LimitsUsed,
}

/// Finds, checks and runs plugins.
#[async_trait]
pub trait Plugins: Send + Sync {
    /// Reads a plugin's manifest, digest and imports without running or compiling it.
    async fn inspect(&self, name: &PluginName) -> Result<PluginInfo, PluginError>;

    /// Compiles or fetches it from the cache, so that a later [`Self::run`] starts at once.
    async fn prepare(&self, name: &PluginName) -> Result<(), PluginError>;

    /// Runs it once, in a fresh store, under its limits.
    async fn run(&self, name: &PluginName, activation: Activation) -> Result<GuestRun, PluginError>;
}

/// Opens configured targets for a run.
#[async_trait]
pub trait Targets: Send + Sync {
    /// The database called `name`.
    async fn database(
        &self,
        name: &TargetName,
    ) -> Result<Arc<dyn Database>, crate::ports::database::DatabaseError>;

    /// The directory called `name`.
    async fn directory(
        &self,
        name: &TargetName,
    ) -> Result<Arc<dyn Directory>, crate::ports::files::FilesError>;

    /// The origin called `name`. Nothing connects yet.
    async fn origin(&self, name: &TargetName) -> Result<Arc<dyn HttpOrigin>, HttpError>;
    /// The backups of all databases in all storages; none where nobody makes any. Nothing is opened yet.
    fn backups(&self) -> Option<Arc<dyn Backups>> {
        None
    }

    /// The storage called `name`.
    async fn storage(
        &self,
        name: &TargetName,
    ) -> Result<Arc<dyn Storage>, crate::ports::storage::StorageError>;

    /// The writer called `name`. Nothing is looked at yet.
    async fn writer(&self, name: &TargetName) -> Result<Arc<dyn Writer>, WriterError>;
}
