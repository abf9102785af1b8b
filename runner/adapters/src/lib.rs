//! The only crate that touches databases, files, storages, processes, clocks and secrets: it implements the ports of `sereno-core`.
//!
//! Nothing here decides what may be done; that is core's, before a port is called.

#[cfg(feature = "aws")]
pub mod aws;
pub mod backup;
pub mod clock;
pub mod database;
pub mod files;
pub mod http;
pub mod ledger;
mod post;
pub mod secrets;
pub mod sinks;
pub mod storage;
pub mod targets;
pub mod writers;
