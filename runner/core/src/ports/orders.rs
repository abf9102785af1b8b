//! The operator's word: raised flags, and approvals. Raising and reading one flag is `ledger`'s.
//!
//! What they mean is `dispatch`'s to say.

use async_trait::async_trait;

use super::ledger::{Flag, LedgerError};
use crate::approval::Approval;
use crate::name::JobName;
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

    /// Keeps an approval in the place of the job's last one.
    async fn approve(&self, approval: &Approval) -> Result<(), LedgerError>;

    /// The job's last approval, whatever has become of the job since.
    async fn approval(&self, job: &JobName) -> Result<Option<Approval>, LedgerError>;
}
