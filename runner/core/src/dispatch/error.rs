//! What keeps a request from becoming a run, with what to do next.

use crate::job::NoJob;
use crate::name::RunId;
use crate::ports::database::DatabaseError;
use crate::ports::files::FilesError;
use crate::ports::ledger::LedgerError;
use crate::ports::plugins::PluginError;
use crate::ports::storage::StorageError;

/// One mistake in a request or a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about: `job.temp-files.params.older_than`, `database.app`.
    pub at: String,
    /// A sentence without a full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn new(at: impl Into<String>, message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            at: at.into(),
            message: message.into(),
            hint,
        }
    }
}

/// Why a request was not run and left no run behind.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The request or the configuration is wrong: every mistake at once. Exit 2.
    #[error("{} problem(s) with the request; nothing was started", .0.len())]
    Usage(Vec<Problem>),
    /// The configuration has no such job. Exit 2.
    #[error(transparent)]
    NoJob(#[from] NoJob),
    /// It may not be done, whatever the configuration says. Exit 3.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// The same key is at work now. Exit 5.
    #[error("run {run} is at work under the same key")]
    AtWork {
        /// Which.
        run: RunId,
    },
    /// The plugin cannot be used. Exit 1.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A database cannot be opened or asked. Exit 7 when out of reach, 2 when that is a matter of configuration (a
    /// secret that is not set, a table that is not there), else 1.
    #[error("database.{name}: {source}")]
    Database {
        /// Which.
        name: String,
        /// Why.
        source: DatabaseError,
    },
    /// A directory cannot be opened. Exit 2: it is a matter of configuration.
    #[error("directory.{name}: {source}")]
    Directory {
        /// Which.
        name: String,
        /// Why.
        source: FilesError,
    },
    /// A storage cannot be opened. Exit 2: it is a matter of configuration.
    #[error("storage.{name}: {source}")]
    Storage {
        /// Which.
        name: String,
        /// Why.
        source: StorageError,
    },
    /// The ledger failed. Exit 7 when out of reach, else 1.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl DispatchError {
    /// The exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::NoJob(_)
            | Self::Directory { .. }
            | Self::Storage { .. }
            | Self::Plugin(PluginError::NotFound { .. })
            | Self::Ledger(LedgerError::NoRun(_) | LedgerError::Ambiguous { .. })
            | Self::Database {
                source: DatabaseError::NotFound { .. } | DatabaseError::Invalid(_),
                ..
            } => 2,
            Self::Refused { .. } => 3,
            Self::AtWork { .. } => 5,
            Self::Ledger(LedgerError::Unreachable { .. })
            | Self::Database {
                source: DatabaseError::Unreachable { .. },
                ..
            } => 7,
            Self::Plugin(_) | Self::Ledger(_) | Self::Database { .. } => 1,
        }
    }
}
