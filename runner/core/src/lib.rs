//! The pure domain of sereno: what a job is, what it may do, what a run went through.
//!
//! Nothing here reads a clock, a file, a socket or an environment variable. Core is handed values and ports, and
//! the crates around it (engine, adapters, cli) supply them. See ARCHITECTURE.md for the invariants it holds.

pub mod alert;
pub mod backup;
pub mod capability;
pub mod command;
pub mod config;
pub mod dispatch;
pub mod document;
pub mod effect;
pub mod event;
pub mod gauge;
pub mod grant;
pub mod guard;
pub mod job;
pub mod manifest;
pub mod name;
pub mod plan;
pub mod ports;
pub mod reference;
pub mod report;
pub mod round;
pub mod run;
pub mod schedule;
pub mod serve;
pub mod sink;
pub mod trend;
pub mod units;
pub mod value;
pub mod web;
