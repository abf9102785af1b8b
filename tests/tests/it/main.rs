//! Every test that crosses crates, in one binary, one file for each port or subject.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod architecture;
mod attempts;
mod backup;
mod cli;
mod database;
mod documents;
mod files;
mod guests;
mod ledger;
mod ledger_faults;
mod runs;
mod scenarios;
mod targets;
