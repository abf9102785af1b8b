//! Writes a run's effects and log lines to the ledger while it is at work.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::capability::Recorder;
use crate::name::RunId;
use crate::ports::clock::Clock;
use crate::ports::ledger::Ledger;
use crate::ports::plugins::{CallError, LogSink};
use crate::run::RunEvent;

/// The target, in the words of `tracing`, of what plugins log.
pub const PLUGIN_LOG: &str = "sereno::plugin";

/// The ledger as one run's capabilities and guest see it.
pub(super) struct RunRecorder {
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) run: RunId,
    lines: Mutex<Vec<RunEvent>>,
}

impl RunRecorder {
    pub(super) fn new(ledger: Arc<dyn Ledger>, clock: Arc<dyn Clock>, run: RunId) -> Self {
        Self {
            ledger,
            clock,
            run,
            lines: Mutex::default(),
        }
    }

    /// The log lines that no event has carried yet.
    pub(super) fn take_lines(&self) -> Vec<RunEvent> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Recorder for RunRecorder {
    async fn record(&self, events: Vec<RunEvent>) -> Result<(), CallError> {
        let mut all = self.take_lines();
        all.extend(events);
        self.ledger
            .append(&self.run, self.clock.now(), &all)
            .await
            .map_err(|error| CallError::Unreachable(format!("the effect could not be recorded: {error}")))
    }
}

impl LogSink for RunRecorder {
    fn line(&self, event: RunEvent) {
        tell(&event);
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }
}

/// Into the process's own log too, for those who collect that of all their programs.
fn tell(event: &RunEvent) {
    let RunEvent::Log {
        level,
        message,
        fields,
    } = event
    else {
        return;
    };
    let fields = fields.iter().map(|(key, value)| format!("{key}={value}"));
    let fields = fields.collect::<Vec<_>>().join(" ");
    match level.as_str() {
        "error" => tracing::error!(target: PLUGIN_LOG, fields, "{message}"),
        "warn" => tracing::warn!(target: PLUGIN_LOG, fields, "{message}"),
        "debug" => tracing::debug!(target: PLUGIN_LOG, fields, "{message}"),
        _ => tracing::info!(target: PLUGIN_LOG, fields, "{message}"),
    }
}
