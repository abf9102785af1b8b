//! A program that keeps files open, and how it is told to open them anew.
//!
//! An adapter looks before it tells: what it cannot be sure of it refuses, because the wrong process would be told.

use std::time::Duration;

use async_trait::async_trait;

/// Why a writer was not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriterError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// It does not run: nobody has anything open.
    #[error("{0}")]
    NotRunning(String),
    /// It may be another process, or one that the notice would end.
    #[error("{0}")]
    Refused(String),
    /// It was tried, and did not work. What has become of it nobody knows.
    #[error("{0}")]
    Failed(String),
    /// The hook did not end in time and was ended.
    #[error("the hook did not end within {}", crate::units::show_duration(*.within))]
    Timeout {
        /// The time that it had.
        within: Duration,
    },
}

/// How a writer is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `SIGHUP to process 4711 (app)`, `/usr/sbin/nginx -s reopen`.
    pub how: String,
}

/// One configured writer. Implementations pass `writers::` of the integration tests.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Tells the writer, in at most `time`.
    async fn notify(&self, time: Duration) -> Result<Notice, WriterError>;

    /// Looks at everything that [`Self::notify`] looks at, and tells nobody.
    async fn preview_notify(&self, time: Duration) -> Result<Notice, WriterError>;
}
