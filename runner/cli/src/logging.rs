//! Log lines on standard error: warnings, and more with `-v` or by a command that stays, which nobody watches.
//!
//! What plugins log is in the ledger (`sereno runs logs`); here too with `-v`, and always in JSON, which somebody collects.
//! Each line of a run in JSON has a `span` with the run's id, job and targets.

use std::io;

use sereno_core::dispatch::PLUGIN_LOG;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Global, LogFormat};

/// Libraries say little unless everything is asked for.
const EVERYTHING: u8 = 3;

/// Starts writing log lines; `stays`: of a command that works until it is stopped. Levels are compared, no pattern is compiled: this is on the path of every start.
pub(crate) fn start(global: &Global, stays: bool) {
    let is_json = matches!(global.log_format, LogFormat::Json);
    let verbose = global.verbose.max(u8::from(stays));
    let level = match (global.quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) if is_json => LevelFilter::INFO,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let others = if global.verbose >= EVERYTHING {
        LevelFilter::DEBUG
    } else {
        LevelFilter::ERROR
    };
    let plugins = if is_json || verbose > 0 {
        level
    } else {
        LevelFilter::OFF
    };
    let filter = Targets::new()
        .with_target("sereno", level)
        .with_target(PLUGIN_LOG, plugins)
        .with_default(others);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_target(global.verbose > 1);
    let layer = match global.log_format {
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => layer.with_ansi(false).without_time().boxed(),
    };
    // Only a second start fails, and there is none.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter.and(filter_fn(move |metadata| is_json || metadata.is_event()))))
        .try_init();
}
