//! One invocation: its records one after the other, each by itself, within the time that Lambda gives.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta};
use futures::FutureExt as _;
use lambda_runtime::Context;
use serde_json::Value as Json;
use sereno_core::dispatch::{self, Carried, Services};
use sereno_core::event::{self, EventError, Meaning, Record};
use sereno_core::report::Report;
use sereno_core::run::RunRequest;
use sereno_core::value::Instant;

use super::answer::{self, Failed, Told};
use super::shutdown::Shutdown;
use super::{Settings, scratch};

/// Kept back after a run's time for what comes then: its report, its continuation, the answer.
const SETTLE_MAX: TimeDelta = TimeDelta::seconds(3);

/// Of a short time, no more than one in so many parts.
const SETTLE_PART: i32 = 8;

/// With less before it a record is not begun: it would only be cut off.
const RECORD_MIN: TimeDelta = TimeDelta::seconds(1);

/// What Lambda says of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invocation {
    /// The same when the same event is delivered again by an asynchronous invocation.
    pub(super) id: String,
    /// When the sandbox is stopped.
    pub(super) deadline: Option<Instant>,
}

impl Invocation {
    pub(super) fn of(context: &Context) -> Self {
        Self {
            id: context.request_id.clone(),
            deadline: deadline(context.deadline, SystemTime::now().into()),
        }
    }
}

/// Lambda says until when; cargo-lambda's emulator says for how long, which would be a time in 1970.
fn deadline(millis: u64, now: Instant) -> Option<Instant> {
    const LONG_AGO: u64 = 100_000_000_000;
    let millis = i64::try_from(millis).ok()?;
    if millis.unsigned_abs() < LONG_AGO {
        return now.checked_add_signed(TimeDelta::milliseconds(millis));
    }
    DateTime::from_timestamp_millis(millis)
}

/// See the module.
pub(super) struct Function {
    settings: Settings,
    shutdown: std::sync::Arc<Shutdown>,
}

/// What an invocation has opened, once one of its records needs it.
struct Opened {
    services: Option<Services>,
    deadline: Option<Instant>,
}

impl Function {
    pub(super) fn new(settings: Settings, shutdown: std::sync::Arc<Shutdown>) -> Self {
        Self { settings, shutdown }
    }

    /// Does what an event asks for, and answers it.
    pub(super) async fn invoked(&self, payload: &Json, invocation: &Invocation) -> Result<Json, Failed> {
        let _working = self.shutdown.working();
        if let Some(folder) = &self.settings.scratch
            && let Err(error) = scratch::empty(folder)
        {
            let message = format!("{} could not be emptied: {error}", folder.display());
            return Err(Failed::new("scratch", message));
        }
        let arrival = event::read(payload, self.settings.house.config(), &invocation.id);
        let mut opened = Opened {
            services: None,
            deadline: invocation.deadline,
        };
        let mut told = Vec::with_capacity(arrival.records.len());
        // After a failure in an ordered group, what follows in it must wait for it.
        let mut stopped_groups = BTreeSet::new();
        for Record { id, group, meaning } in arrival.records {
            let answer = match &group {
                Some(group) if stopped_groups.contains(group) => {
                    Told::Failed(Failed::new("order", "a message before it in its group failed"))
                }
                _ => self.record(meaning, &mut opened).await,
            };
            if let (Told::Failed(failed), Some(group)) = (&answer, group) {
                tracing::debug!(kind = failed.kind, "the rest of the group waits");
                stopped_groups.insert(group);
            }
            if let Told::Failed(failed) = &answer {
                let record = id.as_deref().unwrap_or_default();
                tracing::error!(record, kind = failed.kind, "{}", failed.message);
            }
            told.push((id, answer));
        }
        if let Some(services) = &opened.services {
            let rest = time_left(services, invocation.deadline).unwrap_or(dispatch::DELIVERY_TIME);
            // What is not sent by then waits in the outbox for the next.
            let _ = tokio::time::timeout(rest / 2, dispatch::afterwards(services)).await;
        }
        answer::all(arrival.carrier, told)
    }

    /// One record. A panic in it is its own failure, and what it had opened is opened anew for the next.
    async fn record(&self, meaning: Result<Meaning, EventError>, opened: &mut Opened) -> Told {
        let meaning = match meaning {
            Ok(meaning) => meaning,
            Err(error) => {
                let hint = error.hint.as_deref().map(|hint| format!(" ({hint})"));
                let message = format!("{error}{}", hint.unwrap_or_default());
                return Told::Failed(Failed::new("event", message));
            }
        };
        let services = match &opened.services {
            Some(services) => services.clone(),
            None => match self.settings.house.services().await {
                Ok(services) => opened.services.insert(services).clone(),
                Err(message) => return Told::Failed(Failed::new("ledger", message)),
            },
        };
        let work = self.meant(&services, meaning, opened.deadline);
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(told) => told,
            Err(panic) => {
                opened.services = None;
                let message = format!("the runner panicked: {}", said(&*panic));
                Told::Failed(Failed::new("panic", message))
            }
        }
    }

    async fn meant(&self, services: &Services, meaning: Meaning, deadline: Option<Instant>) -> Told {
        let until = until(services, deadline);
        let now = services.clock.now();
        if until.is_some_and(|until| until - now < RECORD_MIN) {
            return Told::Failed(Failed::new(
                "time",
                "the time of the invocation was over before it",
            ));
        }
        match meaning {
            Meaning::Run(requests) => self.runs(services, requests, until).await,
            Meaning::Continue(more) => {
                let carried = dispatch::go_on(services, &more, until, self.shutdown.told()).await;
                self.answer(carried).await
            }
            Meaning::Command(command) => {
                match dispatch::operate(services, command, self.shutdown.told()).await {
                    Ok(answer) => {
                        let mut document = answer.document();
                        document["exit"] = answer.exit_code().into();
                        Told::Done(document)
                    }
                    Err(error) => self.answer(Carried::Refused(error)).await,
                }
            }
        }
    }

    /// Mostly one; of several, the last to fail is told.
    async fn runs(&self, services: &Services, requests: Vec<RunRequest>, until: Option<Instant>) -> Told {
        let mut told = Told::Done(Json::Null);
        for request in requests {
            let request = RunRequest {
                until,
                // What is left is another invocation's.
                once: true,
                ..request
            };
            let carried = dispatch::carry(services, request, self.shutdown.told()).await;
            let answer = self.answer(carried).await;
            if !matches!(told, Told::Failed(_)) || matches!(answer, Told::Failed(_)) {
                told = answer;
            }
        }
        told
    }

    async fn answer(&self, carried: Carried) -> Told {
        match carried {
            Carried::Done(report) => self.done(&report).await,
            Carried::Refused(error) => {
                let answer = answer::refused(&error);
                tracing::error!(problems = %answer["problems"], "{error}");
                Told::Done(answer)
            }
            Carried::Again { kind, message } => Told::Failed(Failed { kind, message }),
        }
    }

    /// The rest of a run is on its way before its report is answered: what is not sent is delivered again from here.
    async fn done(&self, report: &Report) -> Told {
        let next = report.continuation();
        match (&next, &self.settings.continuations) {
            (Some(more), Some(queue)) => match queue.send(more).await {
                Ok(()) => Told::Done(answer::report(report, None)),
                Err(error) => {
                    let message = format!(
                        "run {} has more to do, which could not be sent on: {error}",
                        report.run
                    );
                    Told::Failed(Failed::new("continue", message))
                }
            },
            _ => Told::Done(answer::report(report, next.as_ref())),
        }
    }
}

/// When runs must have ended.
fn until(services: &Services, deadline: Option<Instant>) -> Option<Instant> {
    let deadline = deadline?;
    let given = deadline - services.clock.now();
    Some(deadline - SETTLE_MAX.min(given / SETTLE_PART))
}

fn time_left(services: &Services, deadline: Option<Instant>) -> Option<Duration> {
    Some((deadline? - services.clock.now()).to_std().unwrap_or_default())
}

/// What a panic says, where it says anything.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_time_or_from_an_emulator_how_long() {
        let now = DateTime::from_timestamp_millis(1_795_487_400_000).expect("a time");
        let at = |seconds: i64| Some(now + TimeDelta::seconds(seconds));
        assert_eq!(deadline(1_795_487_420_000, now), at(20));
        assert_eq!(deadline(600_000, now), at(600));
        assert_eq!(deadline(u64::MAX, now), None);
    }
}
