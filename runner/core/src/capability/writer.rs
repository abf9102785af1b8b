//! A writer behind its bound: told so many times, each time counted.
//!
//! Whether a process may be told at all is the adapter's to see. No guard is about a notice: it destroys nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Hold;
use crate::grant::{Path, Verb};
use crate::name::TargetName;
use crate::ports::plugins::CallError;
use crate::ports::writer::{Writer, WriterError};
use crate::report::Effect;
use crate::run::Mode;

/// Notices that an attempt may send to one writer: a rotation sends one, and a storm of signals is an attack.
const NOTICES_MAX: u64 = 16;

/// One writer, for one attempt.
pub struct WriterCapability {
    on: String,
    port: Arc<dyn Writer>,
    hold: Arc<Hold>,
    told: AtomicU64,
}

impl WriterCapability {
    /// Puts `port` behind its bound.
    pub fn new(name: TargetName, port: Arc<dyn Writer>, hold: Arc<Hold>) -> Self {
        Self {
            on: Path::Writer(name).to_string(),
            port,
            hold,
            told: AtomicU64::new(0),
        }
    }

    /// How the writer would be told now; an error where it would not.
    pub async fn look(&self, time_left: Duration) -> Result<String, CallError> {
        let notice = self.port.preview_notify(time_left).await;
        Ok(notice.map_err(|error| self.words(&error, time_left))?.how)
    }

    /// Tells the writer. `time_left` is until the guest is told that its time is over.
    pub async fn notify(&self, time_left: Duration) -> Result<String, CallError> {
        if self.told.fetch_add(1, Ordering::Relaxed) >= NOTICES_MAX {
            return Err(CallError::Limit(format!(
                "a run may send at most {NOTICES_MAX} notices to a writer, and this one has to {}",
                self.on
            )));
        }
        let under_way = self.hold.book.under_way();
        let answer = match self.port.notify(time_left).await {
            Ok(notice) => {
                self.hold.note(self.effect(&notice.how, true)).await?;
                Ok(notice.how)
            }
            Err(error) => {
                if matches!(error, WriterError::Failed(_) | WriterError::Timeout { .. }) {
                    self.hold.note(self.effect("", false)).await?;
                }
                Err(self.words(&error, time_left))
            }
        };
        under_way.over();
        answer
    }

    fn words(&self, error: &WriterError, time_left: Duration) -> CallError {
        let text = format!("{}: {error}", self.on);
        match error {
            WriterError::Timeout { within } if *within >= time_left => CallError::Deadline,
            WriterError::NotRunning(_) => CallError::NotFound(text),
            WriterError::Invalid(_)
            | WriterError::Refused(_)
            | WriterError::Failed(_)
            | WriterError::Timeout { .. } => CallError::Fault(text),
        }
    }

    fn effect(&self, how: &str, is_told: bool) -> Effect {
        let apply = self.hold.mode == Mode::Apply;
        Effect {
            planned: 1,
            done: u64::from(apply && is_told),
            ..Effect::of(Verb::Notify, self.on.clone(), "notices", how)
        }
    }
}
