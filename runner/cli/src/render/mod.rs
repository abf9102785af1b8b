//! Turns what happened into text: for a tired operator, the same words in plan and apply, meaningful without colour.
//!
//! Nothing here decides, counts or writes anywhere.

pub(crate) mod alerts;
pub(crate) mod diagnostics;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod gauges;
pub(crate) mod jobs;
pub(crate) mod json;
pub(crate) mod missed;
pub(crate) mod next;
pub(crate) mod orders;
pub(crate) mod paint;
pub(crate) mod plugin;
pub(crate) mod progress;
pub(crate) mod report;
pub(crate) mod runs;
pub(crate) mod table;
pub(crate) mod words;
