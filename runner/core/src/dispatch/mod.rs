//! The one path of every run: admit, execute, settle, rescue.
//!
//! Every trigger calls [`submit`]; two runs differ only in recorded values. Nothing here knows where a request came
//! from, what a database is or what WebAssembly is: it holds ports.

mod admit;
mod apply;
mod approve;
mod begin;
mod carry;
mod close;
mod consent;
mod deliver;
mod error;
mod examine;
mod execute;
mod forget;
mod history;
mod judge;
mod operate;
mod reconcile;
mod record;
mod redeliver;
mod report;
mod rescue;
mod retries;
mod round;
mod settle;
mod subject;
mod unexamined;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::job::Config;
use crate::ports::clock::{Clock, Entropy};
use crate::ports::database::Progress;
use crate::ports::ledger::Ledger;
use crate::ports::plugins::{Plugins, Targets};
use crate::ports::sinks::Sinks;
use crate::report::Report;
use crate::run::{Mode, Outcome, Reason, RunRequest, Work};
use crate::value::Instant;
use error::Unstarted;
use subject::Subject;

pub use admit::event_age_max;
pub use apply::{PLAN_VALID, apply};
pub use approve::{PlannedAll, PlannedJob, plan_all, standing};
pub use carry::{Carried, carry, go_on};
pub use close::post;
pub use deliver::{DELIVERY_TIME, Delivery, deliver};
pub use error::{DispatchError, Problem};
pub use examine::{Examined, examine, preflight};
pub use forget::Forgetting;
pub use judge::trend;
pub use operate::{Answer, Standstill, cancel, named, operate, pause, paused, resume};
pub use record::PLUGIN_LOG;
pub use redeliver::to_deliver_again;
pub use rescue::rescue;

/// Attempts of one key that may end `continued`: more is a loop.
const CONTINUATIONS_MAX: usize = 14;

/// The engine keeps as much back at the end of an attempt: one with less before it could not begin its work.
const ATTEMPT_MIN: chrono::TimeDelta = chrono::TimeDelta::seconds(10);

/// What dispatch works with, for the life of the process.
#[derive(Clone)]
pub struct Services {
    /// The configuration.
    pub config: Arc<Config>,
    /// Run history.
    pub ledger: Arc<dyn Ledger>,
    /// The host's clock.
    pub clock: Arc<dyn Clock>,
    /// Where ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// The engine.
    pub plugins: Arc<dyn Plugins>,
    /// Opens databases and directories.
    pub targets: Arc<dyn Targets>,
    /// Where messages are handed over.
    pub sinks: Arc<dyn Sinks>,
    /// This machine's name, part of the key of host-scoped work.
    pub host: String,
    /// Who watches.
    pub progress: Arc<dyn Progress>,
    /// When this process last forgot old history.
    pub forgetting: Arc<Forgetting>,
}

/// What the host was told while a run is at work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stop {
    /// Nothing.
    #[default]
    None,
    /// The operator cancelled (Ctrl-C).
    Cancel,
    /// The host must go (SIGTERM).
    Interrupt,
}

impl Stop {
    /// How a run ends that was told so.
    fn outcome(self) -> Outcome {
        match self {
            Self::Interrupt => Outcome::Interrupted,
            Self::None | Self::Cancel => Outcome::Cancelled,
        }
    }
}

/// Runs a request to its end: a job in one attempt, or several while its plugin answers `more`; a round step by step.
///
/// # Errors
/// Whatever keeps a run from being admitted and is not an outcome: a wrong request, a ledger out of reach. A
/// refusal, a skip or a failure is a [`Report`].
pub async fn submit(
    services: &Services,
    request: RunRequest,
    stop: watch::Receiver<Stop>,
) -> Result<Report, DispatchError> {
    let report = Box::pin(whole(services, request, None, stop)).await;
    afterwards(services).await;
    Ok(report?)
}

/// What is done once runs have ended, and may be left to the next: messages are sent, old history is forgotten.
pub async fn afterwards(services: &Services) {
    deliver(services, false).await;
    forget::forget(services).await;
}

/// A job or a round, and no more than its carrier lets it do. `plan` is what an apply is held to.
async fn whole(
    services: &Services,
    request: RunRequest,
    plan: Option<Vec<crate::report::Effect>>,
    stop: watch::Receiver<Stop>,
) -> Result<Report, Unstarted> {
    match request.work.clone() {
        Work::Round(name) => Ok(round::run(services, request, &name, stop).await?),
        Work::Job(_) => run_to_end(services, request, plan, stop).await,
    }
}

/// True when a request is out of time, or so nearly that another attempt would do nothing but end.
fn is_nearly_over(services: &Services, until: Option<Instant>) -> bool {
    until.is_some_and(|until| until - services.clock.now() <= ATTEMPT_MIN)
}

/// Tells the job's dead man's switch that a run begins: once, since a late word of it would be worth nothing.
async fn ping_start(services: &Services, examined: &Examined, row: &crate::ports::ledger::RunRow) {
    let Some(sink) = examined
        .job
        .heartbeat
        .as_ref()
        .filter(|_| row.mode == Mode::Apply && row.attempt == 1)
    else {
        return;
    };
    let begun = report::empty_report(services, row, examined.params.clone(), Outcome::Continued);
    let message = judge::heartbeat(services, &begun, crate::alert::MessageKind::Start);
    if let Err(error) = services.sinks.send(sink, &message).await {
        tracing::warn!(%sink, reason = %error, "a heartbeat was not taken");
    }
}

/// One job, in as many attempts as it takes.
async fn run_to_end(
    services: &Services,
    mut request: RunRequest,
    plan: Option<Vec<crate::report::Effect>>,
    stop: watch::Receiver<Stop>,
) -> Result<Report, Unstarted> {
    let examined = match examine(services, &request).await {
        Ok(examined) => examined,
        Err(error) => return Err(unexamined::record(services, &mut request, error, &stop).await),
    };
    approve::or_plan(services, &examined, &mut request).await?;
    let accepted = admit::accept(services, &Subject::of(&examined), &mut request);
    // Opened once: what one attempt has planned, the next knows to be gone, and a walk goes on where it stopped.
    let mut opened = None;
    loop {
        let admission = admit::admit(services, &examined, &accepted, &request, opened, &stop).await?;
        let admitted = match admission {
            admit::Admission::Run(admitted) => admitted,
            admit::Admission::Answer(report) => return Ok(*report),
        };
        opened = Some(admitted.opened.clone());
        request.attempt = request.attempt.map(|_| admitted.row.attempt + 1);
        let row = admitted.row.clone();
        let ping = ping_start(services, &examined, &row);
        let work = execute::execute(services, &examined, *admitted, plan.clone(), stop.clone());
        let ((), report) = tokio::join!(ping, Box::pin(work));
        let report = report?;
        let is_over = is_nearly_over(services, request.until);
        if report.outcome != Outcome::Continued || request.once || is_over || *stop.borrow() != Stop::None {
            return Ok(report);
        }
        // The key and the scheduled time stay; only the reason says that this is the same work going on.
        if request.mode == Mode::Apply && !matches!(request.reason, Reason::Apply(_) | Reason::Step { .. }) {
            request.reason = Reason::Continuation;
        }
    }
}

/// Waits; when somebody says stop, no longer, and answers how the run ends.
async fn sleep(services: &Services, time: Duration, stop: &watch::Receiver<Stop>) -> Option<Outcome> {
    tokio::select! {
        () = services.clock.sleep(time) => None,
        Some(stop) = asked_to_stop(stop.clone()) => Some(stop.outcome()),
    }
}

/// What the caller asks for, once it asks; none where nobody is left who could.
async fn asked_to_stop(mut stop: watch::Receiver<Stop>) -> Option<Stop> {
    stop.wait_for(|stop| *stop != Stop::None)
        .await
        .ok()
        .map(|stop| *stop)
}
