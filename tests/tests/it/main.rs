//! Every test that crosses crates, in one binary, one file for each port or subject.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod alerts;
mod approvals;
mod architecture;
mod archive;
mod attempts;
mod backup;
mod cli;
mod database;
mod dependency_audit;
mod documents;
mod emergency;
mod files;
mod guests;
mod http;
mod infra;
mod ledger;
mod logs;
mod operate;
mod partitions;
mod roles;
mod rotation;
mod rounds;
mod runs;
mod scenarios;
mod secrets;
mod serve;
mod sinks;
mod statements;
mod storage;
mod targets;
mod usage_report;
mod writers;
