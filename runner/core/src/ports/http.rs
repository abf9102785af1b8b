//! One origin of the web, and requests to it.
//!
//! An adapter resolves a name once, holds every address it found against [`crate::web::refuse`], and connects to one of
//! those. It follows no redirect, unpacks nothing, uses no proxy, and ends a request at its time or its bytes.
//! **Dropping a future closes the connection.**

use std::time::Duration;

use async_trait::async_trait;

use crate::web::{Answer, Question};

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The configuration cannot be used: a secret that is not set, an origin that is none.
    #[error("{0}")]
    Invalid(String),
    /// The name resolved to an address that nobody may be sent to, or the answer was a redirect.
    #[error("{0}")]
    Refused(String),
    /// No name, no connection, no handshake, an answer that broke off.
    #[error("could not {operation}: {reason}")]
    Unreachable {
        /// What was attempted.
        operation: &'static str,
        /// In the system's words.
        reason: String,
    },
    /// The answer did not come to its end in time.
    #[error("it did not answer within {}", crate::units::show_duration(*.within))]
    Timeout {
        /// The time that it had.
        within: Duration,
    },
    /// The answer is longer than may be read.
    #[error("its answer has more than {}", crate::units::show_bytes(*.limit))]
    TooLong {
        /// Bytes.
        limit: u64,
    },
}

/// What one request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// From the first look at its name to the last byte of its answer.
    pub time: Duration,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// One configured origin. Implementations pass `http::` of the integration tests.
#[async_trait]
pub trait HttpOrigin: Send + Sync {
    /// Sends a request and reads its whole answer.
    async fn send(&self, question: &Question, bounds: Bounds) -> Result<Answer, HttpError>;

    /// What [`Self::send`] would send, without sending it: an answer of no content.
    async fn preview_send(&self, question: &Question, bounds: Bounds) -> Result<Answer, HttpError>;
}
