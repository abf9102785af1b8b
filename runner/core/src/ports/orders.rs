//! What the operator has said to running work: raised flags. Raising and reading one of them is `ledger`'s.
//!
//! What a flag means is `dispatch`'s to say.

use async_trait::async_trait;

use super::ledger::{Flag, LedgerError};
use crate::value::Instant;

/// A flag that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// A run's id, a job's or round's name, or `*`.
    pub on: String,
    /// Which.
    pub flag: Flag,
    /// Since when.
    pub at: Instant,
}

/// Kept by every ledger. Implementations pass `ledger::orders` of the integration tests.
#[async_trait]
pub trait Orders: Send + Sync {
    /// All flags that stand, by what they are raised on.
    async fn raised(&self) -> Result<Vec<Raised>, LedgerError>;
}
