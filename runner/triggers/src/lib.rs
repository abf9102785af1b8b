//! Carries what happens outside to `sereno_core::dispatch`: invocations, ticks of a clock.
//!
//! Nothing here decides what may be done or how a run goes; a trigger makes a `RunRequest`, and words the answer as its
//! carrier wants it.

#[cfg(feature = "lambda")]
pub mod lambda;
#[cfg(feature = "serve")]
pub mod serve;
