//! Runs a round: its jobs one after the other, each a run of its own whose key derives from the round's.
//!
//! Which step comes next is `round`'s to say. The round's cursor is the step, and every step that ended is an event: a
//! delivery after a crash goes on where the round stood, one after a failure tries again what did not succeed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::admit::{accept, look, new_row, not_now, not_taken, paused, same_work};
use super::begin::{Begin, begin, of_host, record_end};
use super::close::close_own;
use super::execute::heartbeat;
use super::history::History;
use super::record::RunRecorder;
use super::report::empty_report;
use super::subject::Subject;
use super::{
    CONTINUATIONS_MAX, DispatchError, Problem, Services, Stop, asked_to_stop, is_nearly_over, run_to_end,
    sleep,
};
use crate::name::RoundName;
use crate::ports::ledger::{LedgerError, RunRow};
use crate::report::{Report, StepReport};
use crate::round::{Next, Round, Step, outcome};
use crate::run::{Mode, Outcome, Reason, RunEvent, RunRequest, Skip, Work};
use crate::value::Instant;

/// How often a step asks again whose own key is still leased by the attempt before.
const AT_WORK_STEP: Duration = Duration::from_millis(500);

/// Runs the round `name` to its end.
///
/// # Errors
/// There is none of that name, it was asked for with params, its key is at work, or the ledger's own.
pub(super) async fn run(
    services: &Services,
    mut request: RunRequest,
    name: &RoundName,
    stop: watch::Receiver<Stop>,
) -> Result<Report, DispatchError> {
    let round = services.config.round(name)?;
    if !request.params.is_empty() {
        let hint = "set them under [job.NAME.params], or run one job".to_owned();
        let problem = Problem::new(format!("round.{name}"), "a round takes no params", Some(hint));
        return Err(DispatchError::Usage(vec![problem]));
    }
    let subject = Subject::of_round(&services.config, round);
    let accepted = accept(services, &subject, &mut request);
    loop {
        let past = look(services, &subject, &accepted).await?;
        let history = History::read(services, &past.attempts, request.mode).await?;
        same_work(&subject, &request, &history)?;
        not_taken(&request, &past.attempts)?;
        if let Some(mut report) = history.settled.clone() {
            report.duplicate = true;
            return Ok(*report);
        }
        let scheduled_at = history.scheduled_at.unwrap_or(accepted.scheduled_at);
        let paused = paused(services, &subject, &past).await?;
        let mut refused = not_now(services, &subject, &request, scheduled_at, &past, paused);
        // At most twice: what is refused on the way needs no lease but the key's.
        loop {
            let mut scopes = vec![format!("key:{}", accepted.key)];
            if refused.is_none() && request.mode == Mode::Apply {
                let host = subject.is_host_scoped.then(|| of_host(services));
                scopes.push(format!("{}{}", subject.work.text(), host.unwrap_or_default()));
            }
            let row = new_row(services, &subject, &accepted, &request, scheduled_at, &history);
            match begin(services, &subject, &request, row, &scopes, &stop).await? {
                Begin::Begun(row, _) => {
                    if let Some(outcome) = refused {
                        return record_end(services, &subject, &row, &history, outcome).await;
                    }
                    let began = past
                        .attempts
                        .last()
                        .map_or(row.started_at, |first| first.started_at);
                    let done = standing(services, past.attempts.first()).await?;
                    let at_work = AtWork {
                        services,
                        round,
                        request: &request,
                        row: &row,
                        began,
                        hops: history.stops.len(),
                    };
                    return at_work.to_its_end(done, stop).await;
                }
                Begin::Not(outcome) => refused = Some(outcome),
                Begin::Overtaken => break,
            }
        }
    }
}

/// The steps of an attempt that was cut off or left more to do, which the next does not do again.
async fn standing(services: &Services, before: Option<&RunRow>) -> Result<Vec<StepReport>, LedgerError> {
    let cut_off = ["lost", "cancelled", "interrupted", "continued"];
    let Some(before) = before.filter(|row| {
        row.outcome
            .as_deref()
            .is_some_and(|label| cut_off.contains(&label))
    }) else {
        return Ok(Vec::new());
    };
    let events = services.ledger.events(&before.id).await?;
    let step = |event: RunEvent| match event {
        RunEvent::Step { step } => Some(*step),
        _ => None,
    };
    Ok(events
        .into_iter()
        .filter_map(|stored| step(stored.event))
        .collect())
}

/// How far an attempt of a round came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// To its last step, or to where it was stopped.
    ToTheEnd,
    /// To where its carrier's time was over.
    OutOfTime,
}

/// An attempt of a round that has begun.
struct AtWork<'a> {
    services: &'a Services,
    round: &'a Round,
    request: &'a RunRequest,
    row: &'a RunRow,
    /// When the first attempt did.
    began: Instant,
    /// How many attempts left more to do.
    hops: usize,
}

impl AtWork<'_> {
    async fn to_its_end(
        &self,
        mut done: Vec<StepReport>,
        stop: watch::Receiver<Stop>,
    ) -> Result<Report, DispatchError> {
        let Self { services, row, .. } = self;
        let recorder = RunRecorder::new(
            Arc::clone(&services.ledger),
            Arc::clone(&services.clock),
            row.id.clone(),
        );
        let (tell_steps, steps_stop) = watch::channel(Stop::None);
        let told = OnceLock::new();
        let tell = |stop| {
            let _ = told.set(stop);
            tell_steps.send_replace(stop);
        };
        let lease_lost = heartbeat(services, &row.id, &recorder, &told, &tell);
        let stopped = async {
            if let Some(stop) = asked_to_stop(stop).await {
                tell(stop);
            }
            std::future::pending::<()>().await;
        };
        let walked = tokio::select! {
            walked = self.steps(&mut done, &steps_stop) => Some(walked?),
            () = lease_lost => None,
            () = stopped => unreachable!("it only tells"),
        };
        let ending = match told.get() {
            _ if walked.is_none() => Outcome::Retryable("the lease was lost to another run".to_owned()),
            Some(stop) if done.len() < self.round.steps.len() || is_stopped(&done) => stop.outcome(),
            _ if walked == Some(Walk::OutOfTime) => self.more(),
            _ => self.ending(&done),
        };
        let mut report = empty_report(services, row, serde_json::json!({}), ending);
        report.steps = done;
        close_own(services, row, Vec::new(), report).await
    }

    /// When no step may start any more.
    fn window_end(&self) -> Option<Instant> {
        let from = if self.request.reason.is_scheduled() {
            self.row.scheduled_at
        } else {
            self.began
        };
        let window = chrono::TimeDelta::from_std(self.round.window?).ok()?;
        from.checked_add_signed(window)
    }

    /// There is more to do than its carrier gave it time for.
    fn more(&self) -> Outcome {
        if self.hops >= CONTINUATIONS_MAX {
            return Outcome::Failed(format!("still not done after {CONTINUATIONS_MAX} continuations"));
        }
        Outcome::Continued
    }

    /// When a step must have ended: its window's end, or its carrier's.
    fn until(&self) -> Option<Instant> {
        match (self.window_end(), self.request.until) {
            (Some(window), Some(carrier)) => Some(window.min(carrier)),
            (window, carrier) => window.or(carrier),
        }
    }

    /// One whose window was over before its first step has done nothing.
    fn ending(&self, done: &[StepReport]) -> Outcome {
        let nothing = done.iter().all(|step| step.outcome.is_none());
        match self.window_end().filter(|_| nothing) {
            Some(end) => {
                let text = format!(
                    "its window ended at {}, before its first step",
                    crate::value::show_instant(end)
                );
                Outcome::Skipped(Skip::Stale, text)
            }
            None => outcome(done),
        }
    }

    async fn steps(
        &self,
        done: &mut Vec<StepReport>,
        stop: &watch::Receiver<Stop>,
    ) -> Result<Walk, DispatchError> {
        let stood = done.len();
        for step in done.iter() {
            self.record(step, done.len()).await?;
        }
        loop {
            let is_over = self
                .window_end()
                .is_some_and(|end| self.services.clock.now() >= end);
            let next = self.round.next(done, is_over);
            // What is only left out takes no time, and one step at least is begun, however short the time.
            if matches!(next, Next::Run(_))
                && done.len() > stood
                && is_nearly_over(self.services, self.request.until)
            {
                return Ok(Walk::OutOfTime);
            }
            let ended = match next {
                Next::End => return Ok(Walk::ToTheEnd),
                Next::Leave(step, why) => StepReport {
                    job: step.job.clone(),
                    run: None,
                    outcome: None,
                    why: Some(why),
                },
                Next::Run(step) => self.step(step, stop).await?,
            };
            // What was stopped is not done: the next delivery does it.
            if *stop.borrow() != Stop::None && ended.outcome != Some(Outcome::Succeeded) {
                done.push(ended);
                return Ok(Walk::ToTheEnd);
            }
            if ended.outcome == Some(Outcome::Continued) && is_nearly_over(self.services, self.request.until)
            {
                done.push(ended);
                return Ok(Walk::OutOfTime);
            }
            self.record(&ended, done.len() + 1).await?;
            done.push(ended);
            if *stop.borrow() != Stop::None {
                return Ok(Walk::ToTheEnd);
            }
        }
    }

    async fn record(&self, step: &StepReport, next: usize) -> Result<(), DispatchError> {
        let mut events = vec![RunEvent::Step {
            step: Box::new(step.clone()),
        }];
        if let Some(next) = self.round.steps.get(next) {
            let cursor = next.job.to_string();
            events.push(RunEvent::Cursor { cursor });
        }
        let now = self.services.clock.now();
        Ok(self.services.ledger.append(&self.row.id, now, &events).await?)
    }

    async fn step(&self, step: &Step, stop: &watch::Receiver<Stop>) -> Result<StepReport, DispatchError> {
        let request = || RunRequest {
            mode: self.request.mode,
            scheduled_at: Some(self.row.scheduled_at),
            key: Some(format!("round:{}", self.row.key)),
            shard: self.request.shard.clone(),
            reason: Reason::Step {
                round: self.row.id.clone(),
                is_scheduled: self.request.reason.is_scheduled(),
            },
            until: self.until(),
            ..RunRequest::manual(Work::Job(step.job.clone()))
        };
        let patience = self.services.config.job(&step.job)?.wait;
        let mut waited = Duration::ZERO;
        let (run, outcome) = loop {
            match run_to_end(self.services, request(), None, stop.clone()).await {
                Ok(report) => break (Some(report.run), report.outcome),
                // The attempt before was cut off, and its lease lives on for a moment.
                Err(unstarted) if matches!(unstarted.error, DispatchError::AtWork { .. }) => {
                    if waited >= patience {
                        break (None, Outcome::Retryable(unstarted.error.to_string()));
                    }
                    if let Some(stopped) = sleep(self.services, AT_WORK_STEP, stop).await {
                        break (None, stopped);
                    }
                    waited += AT_WORK_STEP;
                }
                Err(unstarted) => match unstarted.error {
                    error @ DispatchError::Ledger(_) => return Err(error),
                    error => break (unstarted.report.map(|report| report.run), error.outcome()),
                },
            }
        };
        Ok(StepReport {
            job: step.job.clone(),
            run,
            outcome: Some(outcome),
            why: None,
        })
    }
}

/// True when the last step did not come to its end because somebody said stop.
fn is_stopped(done: &[StepReport]) -> bool {
    let last = done.last().and_then(|step| step.outcome.as_ref());
    matches!(last, Some(Outcome::Cancelled | Outcome::Interrupted))
}
