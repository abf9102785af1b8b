//! Sinks: where messages are handed over. One try; trying again is dispatch's business.

use async_trait::async_trait;

use crate::alert::Message;
use crate::name::SinkName;

/// Why a sink did not take a message. It never holds a URL, a token or any other secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SinkError {
    /// As a fragment: `the server answered 503`.
    pub reason: String,
}

impl SinkError {
    /// For this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
        }
    }
}

/// All configured sinks.
#[async_trait]
pub trait Sinks: Send + Sync {
    /// Hands a message over, in bounded time.
    async fn send(&self, sink: &SinkName, message: &Message) -> Result<(), SinkError>;
}

/// Where there are none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSinks;

#[async_trait]
impl Sinks for NoSinks {
    async fn send(&self, sink: &SinkName, _: &Message) -> Result<(), SinkError> {
        Err(SinkError::new(format!("there is no sink `{sink}`")))
    }
}
