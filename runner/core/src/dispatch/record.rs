//! Writes a run's effects and log lines to the ledger while it is at work.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::capability::Recorder;
use crate::name::RunId;
use crate::ports::clock::Clock;
use crate::ports::ledger::Ledger;
use crate::ports::plugins::{CallError, LogSink};
use crate::run::RunEvent;

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
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }
}
