//! `run` and `plan`: a job, now.

use std::future::Future;

use anyhow::Context as _;
use chrono::SubsecRound as _;
use sereno_core::dispatch::{self, DispatchError, Services, Stop};
use sereno_core::name::{JobName, RoundName, RunId};
use sereno_core::report::Report;
use sereno_core::run::{Mode, Outcome, Reason, RunRequest, Work};
use sereno_core::value::Instant;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::check::{configuration, wrong_request};
use super::source;
use crate::args::{FailOn, Global, Plan, Run, RunHow};
use crate::compose::{self, Watching};
use crate::failure::Failure;
use crate::output::Output;
use crate::render;
use crate::render::next::Asked;

/// What a process that a signal ended answers to its shell.
const EXIT_CANCELLED: u8 = 130;

pub(crate) async fn run(global: &Global, args: Run, output: &Output) -> Result<u8, Failure> {
    let mode = if args.plan { Mode::Plan } else { Mode::Apply };
    let work = work(args.job, args.round)?;
    submit(global, work, mode, args.how, args.once, args.tick, output).await
}

pub(crate) async fn plan(global: &Global, args: Plan, output: &Output) -> Result<u8, Failure> {
    if args.all {
        return all(global, &args.how, output).await;
    }
    let work = work(args.job, args.round)?;
    submit(global, work, Mode::Plan, args.how, false, false, output).await
}

/// Plans all jobs, and approves what their schedules may do.
async fn all(global: &Global, how: &RunHow, output: &Output) -> Result<u8, Failure> {
    let config = configuration(&source(global)?, output).await?;
    let watching = Watching::new(output);
    let services = compose::services(config, &watching).await?;
    let planned = stoppable(output, &watching, |stop| dispatch::plan_all(&services, stop)).await?;
    watching.clear();
    let planned = planned?;
    if output.is_text() {
        output.data(&render::orders::planned_all(
            &planned,
            &output.program,
            output.paint,
        ))?;
    } else {
        output.document(&planned.document())?;
    }
    let reports = planned.jobs.iter().filter_map(|job| job.report.as_ref());
    let found = |report: &Report| report.exit_code(how.fail_on.severity());
    Ok(match planned.exit_code() {
        0 => reports.map(found).max().unwrap_or_default(),
        exit => exit,
    })
}

/// The one of the two that was given.
fn work(job: Option<JobName>, round: Option<RoundName>) -> Result<Work, Failure> {
    let round = round.map(Work::Round);
    round
        .or(job.map(Work::Job))
        .ok_or_else(|| Failure::usage("name a job, or a round with --round"))
}

async fn submit(
    global: &Global,
    work: Work,
    mode: Mode,
    how: RunHow,
    once: bool,
    is_tick: bool,
    output: &Output,
) -> Result<u8, Failure> {
    let source = source(global)?;
    let config = configuration(&source, output).await?;
    let watching = Watching::new(output);
    let services = compose::services(config, &watching).await?;
    let mut request = request(&services, work, mode, &how, once);
    if is_tick {
        request.scheduled_at = Some(latest_tick(&services, &request.work)?);
        request.key = None;
        request.reason = Reason::Tick;
    }
    let recorded = Asked::recorded(&output.program, &request);
    watching.start(&services.config, &request.work, mode);
    let submitted = stoppable(output, &watching, |stop| {
        dispatch::submit(&services, request, stop)
    })
    .await?;
    watching.clear();
    let given: Vec<&str> = how.params.iter().map(|(name, _)| name.as_str()).collect();
    let report = submitted.map_err(|error| wrong_request(&source, &given, error, output))?;
    // What is left is this very work; anything else is asked for as it was before, and so at its own time.
    let asked = if report.continued {
        recorded
    } else {
        Asked {
            at: how.at,
            key: how.key,
            ..recorded
        }
    };
    let exit = answer(&report, &asked, how.fail_on, output)?;
    let is_fine = is_tick && matches!(report.outcome, Outcome::Skipped(..));
    Ok(if is_fine { 0 } else { exit })
}

fn request(services: &Services, work: Work, mode: Mode, how: &RunHow, once: bool) -> RunRequest {
    // A whole second behind us is as good as now, and reads better wherever a cutoff is told.
    let now = || services.clock.now().trunc_subsecs(0);
    let random = || RunId::from_entropy(services.entropy.next()).to_string();
    RunRequest {
        params: how.params.iter().cloned().collect(),
        mode,
        // A key that was given may have been there before, and then its first time is what counts.
        scheduled_at: how.at.or_else(|| how.key.is_none().then(now)),
        key: Some(how.key.clone().unwrap_or_else(random)),
        once,
        ..RunRequest::manual(work)
    }
}

/// When its schedule was last due.
fn latest_tick(services: &Services, work: &Work) -> Result<Instant, Failure> {
    let config = &services.config;
    let schedule = match work {
        Work::Job(name) => config.job(name)?.schedule.as_ref(),
        Work::Round(name) => config.round(name).map_err(DispatchError::from)?.schedule.as_ref(),
    };
    let schedule = schedule
        .ok_or_else(|| Failure::usage(format!("{work} has no schedule")).hint("run it without --tick"))?;
    let now = services.clock.now();
    schedule
        .latest_at_or_before(now, &config.timezone)
        .ok_or_else(|| {
            Failure::usage(format!(
                "the schedule `{}` of {work} was never due",
                schedule.text()
            ))
            .hint("run it without --tick")
        })
}

/// Writes the report and answers its exit code.
pub(super) fn answer(
    report: &Report,
    asked: &Asked,
    fail_on: FailOn,
    output: &Output,
) -> Result<u8, Failure> {
    if output.is_text() {
        output.data(&render::report::report(
            report,
            asked,
            output.verbose,
            output.paint,
        ))?;
    } else {
        output.document(&render::json::report(report))?;
    }
    Ok(report.exit_code(fail_on.severity()))
}

/// Does `work` until it ends or the process is told to stop: Ctrl-C cancels, a second one stops at once, SIGTERM
/// interrupts.
pub(crate) async fn stoppable<W, T>(
    output: &Output,
    watching: &Watching,
    work: impl FnOnce(watch::Receiver<Stop>) -> W,
) -> Result<Result<T, DispatchError>, Failure>
where
    W: Future<Output = Result<T, DispatchError>>,
{
    let mut interrupts = signal(SignalKind::interrupt()).context("could not listen for Ctrl-C")?;
    let mut terminations = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let (tell, told) = watch::channel(Stop::None);
    let work = work(told);
    let show = watching.show();
    tokio::pin!(work, show);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            never = &mut show => match never {},
            _ = interrupts.recv() => {
                if *tell.borrow() == Stop::Cancel {
                    // Dropping the work stops it where it stands; the next run finds it and closes it.
                    return Err(Failure::new(EXIT_CANCELLED, "stopped", "stopped at once; what was done stays done")
                        .hint("the next run closes this one in the history, as lost"));
                }
                output.talk("cancelling: the batch at work is finished first; Ctrl-C again stops at once");
                tell.send_replace(Stop::Cancel);
            }
            _ = terminations.recv() => {
                output.talk("told to stop: the batch at work is finished first");
                tell.send_if_modified(|stop| {
                    let is_new = *stop == Stop::None;
                    if is_new {
                        *stop = Stop::Interrupt;
                    }
                    is_new
                });
            }
        }
    }
}
