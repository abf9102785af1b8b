//! An origin behind its bounds: so many requests, so many bytes, so much time.
//!
//! A POST to an origin that the operator did not mark as `query` is an effect: it is counted, and in a plan not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Hold;
use crate::grant::{Path, Verb};
use crate::job::OriginTarget;
use crate::name::TargetName;
use crate::ports::http::{Bounds, HttpError, HttpOrigin};
use crate::ports::plugins::CallError;
use crate::report::Effect;
use crate::run::Mode;
use crate::web::{Answer, Method, Question};

/// Requests that an attempt may send to one origin: enough for the advisories of a large lock file, too few for a flood.
const REQUESTS_MAX: u64 = 1_000;

/// Bytes that an attempt may be answered by one origin.
const ANSWERED_BYTES_MAX: u64 = 256 << 20;

/// One origin, for one attempt.
pub struct OriginCapability {
    on: String,
    port: Arc<dyn HttpOrigin>,
    time: Duration,
    bytes: u64,
    query: bool,
    hold: Arc<Hold>,
    sent: AtomicU64,
    answered: AtomicU64,
}

impl OriginCapability {
    /// Puts `port` behind the bounds of `target`.
    pub fn new(name: TargetName, port: Arc<dyn HttpOrigin>, target: &OriginTarget, hold: Arc<Hold>) -> Self {
        Self {
            on: Path::Origin(name).to_string(),
            port,
            time: target.timeout,
            bytes: target.max_response,
            query: target.query,
            hold,
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        }
    }

    /// Sends one request. `time_left` is until the guest is told that its time is over.
    pub async fn send(&self, question: Question, time_left: Duration) -> Result<Answer, CallError> {
        if self.sent.fetch_add(1, Ordering::Relaxed) >= REQUESTS_MAX {
            return Err(CallError::Limit(format!(
                "a run may send at most {REQUESTS_MAX} requests to an origin, and this one has to {}",
                self.on
            )));
        }
        let left = ANSWERED_BYTES_MAX.saturating_sub(self.answered.load(Ordering::Relaxed));
        if left == 0 {
            return Err(CallError::Limit(format!(
                "{} has answered this run {} already, which is all that it may",
                self.on,
                crate::units::show_bytes(ANSWERED_BYTES_MAX)
            )));
        }
        let bounds = Bounds {
            time: self.time.min(time_left),
            bytes: self.bytes.min(left),
        };
        let changes = question.method == Method::Post && !self.query;
        let under_way = changes.then(|| self.hold.book.under_way());
        let answer = match self.port.send(&question, bounds).await {
            Ok(answer) => {
                self.answered
                    .fetch_add(answer.body.len() as u64, Ordering::Relaxed);
                if changes {
                    self.hold.note(self.effect(&question, true)).await?;
                }
                Ok(answer)
            }
            Err(error) => {
                // Nobody knows whether it arrived.
                if changes {
                    self.hold.note(self.effect(&question, false)).await?;
                }
                Err(self.words(&error, bounds))
            }
        };
        if let Some(under_way) = under_way {
            under_way.over();
        }
        answer
    }

    fn words(&self, error: &HttpError, bounds: Bounds) -> CallError {
        let text = format!("{}: {error}", self.on);
        match error {
            HttpError::Timeout { .. } if bounds.time < self.time => CallError::Deadline,
            HttpError::Timeout { .. } | HttpError::Unreachable { .. } => CallError::Unreachable(text),
            HttpError::TooLong { .. } => CallError::Limit(text),
            HttpError::Refused(_) | HttpError::Invalid(_) => CallError::Fault(text),
        }
    }

    fn effect(&self, question: &Question, arrived: bool) -> Effect {
        let apply = self.hold.mode == Mode::Apply;
        let path = question.path();
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        Effect {
            planned: 1,
            done: u64::from(apply && arrived),
            bytes: Some(question.body.len() as u64),
            ..Effect::of(
                Verb::Post,
                self.on.clone(),
                "requests",
                path.chars().take(200).collect::<String>(),
            )
        }
    }
}
