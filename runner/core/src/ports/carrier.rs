//! What delivers the rest of a run to a deployed runner: a queue that invokes it again.

use async_trait::async_trait;

use crate::event::Continuation;

/// Why a continuation was not taken. It never holds a URL, a token or any other secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CarrierError {
    /// As a fragment: `the server answered 503`.
    pub reason: String,
}

/// Takes continuations, and delivers each at least once.
#[async_trait]
pub trait Continuations: Send + Sync {
    /// Hands one over, in bounded time.
    async fn send(&self, more: &Continuation) -> Result<(), CarrierError>;
}
