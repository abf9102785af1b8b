//! Time and chance, the two things that core may not find out for itself.

use std::time::Duration;

use async_trait::async_trait;

use crate::value::Instant;

/// The host's clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, by the wall.
    fn now(&self) -> Instant;

    /// Milliseconds that only ever grow, from an arbitrary start.
    fn monotonic_ms(&self) -> u64;

    /// Returns after `duration`; dropping the future cancels it.
    async fn sleep(&self, duration: Duration);
}

/// Where ids come from.
pub trait Entropy: Send + Sync {
    /// 64 random bits.
    fn next(&self) -> u64;
}
