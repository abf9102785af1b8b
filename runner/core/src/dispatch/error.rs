//! What keeps a request from becoming a run, with what to do next.

use chrono::SubsecRound as _;

use crate::job::{NoJob, NoRound};
use crate::name::{RoundName, RunId};
use crate::ports::database::DatabaseError;
use crate::ports::files::FilesError;
use crate::ports::http::HttpError;
use crate::ports::ledger::{LedgerError, RunRow};
use crate::ports::plugins::PluginError;
use crate::ports::storage::StorageError;
use crate::ports::writer::WriterError;
use crate::report::Report;
use crate::run::{Outcome, RunRequest};
use crate::value::show_instant;

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

/// Why a request was not run.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The request or the configuration is wrong: every mistake at once. Exit 2.
    #[error("{} problem(s) with the request; nothing was started", .0.len())]
    Usage(Vec<Problem>),
    /// The configuration has no such job. Exit 2.
    #[error(transparent)]
    NoJob(#[from] NoJob),
    /// The configuration has no such round. Exit 2.
    #[error(transparent)]
    NoRound(#[from] NoRound),
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
    /// Only a run at work can be cancelled. Exit 2.
    #[error(
        "run {} has ended{}: {}",
        .0.id,
        .0.ended_at.map(|at| format!(" at {}", show_instant(at.trunc_subsecs(0)))).unwrap_or_default(),
        .0.outcome.as_deref().unwrap_or("succeeded")
    )]
    HasEnded(Box<RunRow>),
    /// Another delivery has made the attempt that this one was to be. Exit 5.
    #[error("run {run} was that attempt already")]
    Taken {
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
    /// An origin cannot be used. Exit 2: it is a matter of configuration.
    #[error("origin.{name}: {source}")]
    Origin {
        /// Which.
        name: String,
        /// Why.
        source: HttpError,
    },
    /// A storage cannot be opened. Exit 2: it is a matter of configuration.
    #[error("storage.{name}: {source}")]
    Storage {
        /// Which.
        name: String,
        /// Why.
        source: StorageError,
    },
    /// A writer cannot be used. Exit 2: it is a matter of configuration.
    #[error("writer.{name}: {source}")]
    Writer {
        /// Which.
        name: String,
        /// Why.
        source: WriterError,
    },
    /// The ledger failed. Exit 7 when out of reach, else 1.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl DispatchError {
    /// A round was asked for where only a job will do.
    pub(super) fn is_round(name: &RoundName) -> Self {
        Self::Refused {
            message: format!("`{name}` is a round, and only a job will do here"),
            hint: Some(format!("`sereno run --round {name}` runs its jobs")),
        }
    }

    /// True when it is to be seen in the history: whatever a schedule asked for, and what a person's request met that is
    /// more than a mistake in it. A mistake is told to whoever has just typed it.
    pub(super) fn is_recorded(&self, request: &RunRequest) -> bool {
        match self {
            Self::Ledger(_)
            | Self::AtWork { .. }
            | Self::HasEnded(_)
            | Self::Taken { .. }
            | Self::Refused { .. }
            | Self::NoJob(_)
            | Self::NoRound(_) => false,
            error => request.reason.is_scheduled() || request.reason.is_step() || error.exit_code() != 2,
        }
    }

    /// How a run ends that it kept from being started.
    pub fn outcome(&self) -> Outcome {
        let text = match self {
            Self::Usage(problems) => {
                let problem = |problem: &Problem| format!("{}: {}", problem.at, problem.message);
                problems.iter().map(problem).collect::<Vec<_>>().join("\n")
            }
            error => error.to_string(),
        };
        match self {
            Self::Database {
                source: DatabaseError::Busy { .. } | DatabaseError::Timeout { .. },
                ..
            } => Outcome::Retryable(text),
            error => match error.exit_code() {
                2 => Outcome::Usage(text),
                7 => Outcome::Unreachable(text),
                _ if matches!(error, Self::Plugin(_)) => Outcome::Invalid(text),
                _ => Outcome::Failed(text),
            },
        }
    }

    /// The exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::NoJob(_)
            | Self::NoRound(_)
            | Self::HasEnded(_)
            | Self::Directory { .. }
            | Self::Origin { .. }
            | Self::Writer { .. }
            | Self::Storage { .. }
            | Self::Plugin(PluginError::NotFound { .. })
            | Self::Ledger(LedgerError::NoRun(_) | LedgerError::Ambiguous { .. })
            | Self::Database {
                source: DatabaseError::NotFound { .. } | DatabaseError::Invalid(_),
                ..
            } => 2,
            Self::Refused { .. } => 3,
            Self::AtWork { .. } | Self::Taken { .. } => 5,
            Self::Ledger(LedgerError::Unreachable { .. })
            | Self::Database {
                source: DatabaseError::Unreachable { .. },
                ..
            } => 7,
            Self::Plugin(_) | Self::Ledger(_) | Self::Database { .. } => 1,
        }
    }
}

/// A request that was not run: why, and the run that tells so in the history, where there is one.
#[derive(Debug)]
pub(super) struct Unstarted {
    pub(super) error: DispatchError,
    pub(super) report: Option<Box<Report>>,
}

impl From<DispatchError> for Unstarted {
    fn from(error: DispatchError) -> Self {
        Self { error, report: None }
    }
}

impl From<Unstarted> for DispatchError {
    fn from(unstarted: Unstarted) -> Self {
        unstarted.error
    }
}
