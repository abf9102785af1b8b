//! The ports: what core asks of the world, one trait and its error a file, and `unreached`, which answers for
//! targets that are not there.
//!
//! Adapters implement them; the conformance suites under `tests/tests/it` say what each must mean.

pub mod backup;
pub mod carrier;
pub mod clock;
pub mod database;
pub mod files;
pub mod http;
pub mod insight;
pub mod ledger;
pub mod orders;
pub mod partition;
pub mod plugins;
pub mod sinks;
pub mod storage;
pub mod unreached;
pub mod watch;
pub mod writer;
