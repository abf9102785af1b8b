//! Decides whether a request becomes an attempt: known? settled? granted? in the future? paused? stale? leased?
//!
//! Whatever is refused or skipped here is recorded as a run of its own, so that `runs list` tells it; a duplicate
//! of a settled key is not, it is answered. What was true when it looked is true when the attempt begins: the ledger
//! begins none of which the caller has not seen all that came before.

use std::time::Duration;

use tokio::sync::watch;

use super::begin::{Begin, begin, record_end, scopes};
use super::error::Unstarted;
use super::examine::{Examined, Opened, preflight};
use super::history::History;
use super::operate::standing_still;
use super::rescue::close_all;
use super::subject::Subject;
use super::{DispatchError, Problem, Services, Stop, sleep};
use crate::grant::Denied;
use crate::job::Config;
use crate::name::RunId;
use crate::ports::ledger::{Lease, Past, RunRow};
use crate::report::Report;
use crate::run::{Mode, Outcome, Refusal, RunRequest, Skip, Work, run_key, scheduled_key};
use crate::schedule::{Schedule, Zone};
use crate::value::{Instant, show_instant};

/// A scheduled time further ahead of a target's own clock than this is refused; up to it, the run waits.
const FUTURE_MAX: chrono::Duration = chrono::Duration::seconds(60);

/// A scheduled event older than this has been overtaken by the next one, whatever the period.
const EVENT_AGE_MAX: Duration = Duration::from_hours(12);

/// What is fixed once, for all attempts of a submission.
pub(super) struct Accepted {
    pub(super) key: String,
    /// Unless the key has had an attempt: then that one's time stands.
    pub(super) scheduled_at: Instant,
}

/// An attempt that may begin.
pub(super) struct Admitted {
    pub(super) row: RunRow,
    pub(super) opened: Opened,
    pub(super) leases: Vec<Lease>,
    pub(super) request: RunRequest,
    pub(super) history: History,
}

pub(super) enum Admission {
    Run(Box<Admitted>),
    Answer(Box<Report>),
}

/// Why an attempt is none: how it ends where it begins, and the error if it was one.
struct Verdict {
    outcome: Outcome,
    error: Option<DispatchError>,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, error: None }
    }
}

/// Fixes the scheduled time and the key.
pub(super) fn accept(services: &Services, subject: &Subject, request: &mut RunRequest) -> Accepted {
    let scheduled_at = request.scheduled_at.unwrap_or_else(|| services.clock.now());
    let given = request.key.get_or_insert_with(|| {
        if request.reason.is_scheduled() {
            scheduled_key(scheduled_at)
        } else {
            RunId::from_entropy(services.entropy.next()).to_string()
        }
    });
    let host = subject.is_host_scoped.then_some(services.host.as_str());
    let key = run_key(
        &subject.work,
        &subject.targets,
        request.shard.as_deref(),
        request.mode,
        host,
        given,
    );
    Accepted { key, scheduled_at }
}

pub(super) async fn admit(
    services: &Services,
    examined: &Examined,
    accepted: &Accepted,
    request: &RunRequest,
    opened: Option<Opened>,
    stop: &watch::Receiver<Stop>,
) -> Result<Admission, Unstarted> {
    let subject = Subject::of(examined);
    loop {
        let past = look(services, &subject, accepted).await?;
        let history = History::read(services, &past.attempts, request.mode).await?;
        same_work(&subject, request, &history)?;
        not_taken(request, &past.attempts)?;
        if let Some(mut report) = history.settled.clone() {
            report.duplicate = true;
            return Ok(Admission::Answer(report));
        }
        let scheduled_at = history.scheduled_at.unwrap_or(accepted.scheduled_at);
        let paused = paused(services, &subject, &past).await?;
        let refused = lacks_a_grant(examined)
            .or_else(|| not_now(services, &subject, request, scheduled_at, &past, paused));
        let mut verdict = if let Some(outcome) = refused {
            Err(outcome.into())
        } else {
            match open(services, examined, request, opened.as_ref(), scheduled_at, stop).await {
                Ok(verdict) => verdict.map_err(Verdict::from),
                Err(error) if error.is_recorded(request) => Err(Verdict {
                    outcome: error.outcome(),
                    error: Some(error),
                }),
                Err(error) => return Err(error.into()),
            }
        };
        // At most twice: what is refused on the way needs no lease but the key's.
        loop {
            let key_scope = format!("key:{}", accepted.key);
            let scopes = match &verdict {
                Ok(opened) => scopes(services, examined, &opened.authority, request.mode, key_scope),
                Err(_) => vec![key_scope],
            };
            let row = new_row(services, &subject, accepted, request, scheduled_at, &history);
            match (
                begin(services, &subject, request, row, &scopes, stop).await?,
                verdict,
            ) {
                (Begin::Begun(row, leases), Ok(opened)) => {
                    return Ok(Admission::Run(Box::new(Admitted {
                        row: *row,
                        opened,
                        leases,
                        request: request.clone(),
                        history,
                    })));
                }
                (Begin::Begun(row, _), Err(Verdict { outcome, error })) => {
                    let report = record_end(services, &subject, &row, &history, outcome).await?;
                    let report = Box::new(report);
                    return match error {
                        None => Ok(Admission::Answer(report)),
                        Some(error) => Err(Unstarted {
                            error,
                            report: Some(report),
                        }),
                    };
                }
                (Begin::Not(outcome), _) => verdict = Err(outcome.into()),
                (Begin::Overtaken, _) => break,
            }
        }
    }
}

/// All that was before, with every run closed whose host died.
pub(super) async fn look(
    services: &Services,
    subject: &Subject,
    accepted: &Accepted,
) -> Result<Past, DispatchError> {
    let past = async || {
        let now = services.clock.now();
        services.ledger.past(&subject.work, &accepted.key, now).await
    };
    let found = past().await?;
    if found.orphans.is_empty() {
        return Ok(found);
    }
    close_all(services, &found.orphans).await?;
    Ok(past().await?)
}

/// A key stands for one piece of work: other params or another time under it are a mistake.
pub(super) fn same_work(
    subject: &Subject,
    request: &RunRequest,
    history: &History,
) -> Result<(), DispatchError> {
    let Some(first) = &history.first else {
        return Ok(());
    };
    let mut problems = Vec::new();
    let mut other = |what: String| {
        problems.push(Problem::new(
            match &subject.work {
                Work::Job(name) => format!("job.{name}"),
                Work::Round(name) => format!("round.{name}"),
            },
            format!("run {} had this key with {what}", first.run),
            Some("give another `--key`".to_owned()),
        ));
    };
    if first.params != subject.params {
        other("other params".to_owned());
    }
    // The ledger keeps microseconds.
    let micros = |at: Instant| at.timestamp_micros();
    if request
        .scheduled_at
        .is_some_and(|at| micros(at) != micros(first.scheduled_at))
    {
        other(format!("the scheduled time {}", show_instant(first.scheduled_at)));
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(DispatchError::Usage(problems))
    }
}

/// A delivery that was to be one attempt is no other: hosts that share a schedule each deliver its ticks, and a tick that
/// failed for one of them is not tried at once by the next.
pub(super) fn not_taken(request: &RunRequest, attempts: &[RunRow]) -> Result<(), DispatchError> {
    match (request.attempt, attempts.first()) {
        (Some(wanted), Some(newest)) if wanted <= newest.attempt => Err(DispatchError::Taken {
            run: newest.id.clone(),
        }),
        _ => Ok(()),
    }
}

/// True unless it was skipped where it began.
fn has_worked(row: &RunRow) -> bool {
    let skipped = |label: &str| label.starts_with("skipped(");
    !row.outcome.as_deref().is_some_and(skipped)
}

/// How a request ends whose job needs more than it was granted.
fn lacks_a_grant(examined: &Examined) -> Option<Outcome> {
    let denied = examined.authority.as_ref().err()?;
    let job = &examined.job;
    let lines: Vec<String> = denied.iter().map(Denied::line_to_add).collect();
    let text = format!(
        "the plugin `{}` needs more than job `{}` was granted; add under [job.{}.grant]:\n{}",
        job.plugin,
        job.name,
        job.name,
        lines.join("\n")
    );
    Some(Outcome::Refused(Refusal::Grant, text))
}

/// How a request ends whose work is paused; what paused it is asked only when something did.
pub(super) async fn paused(
    services: &Services,
    subject: &Subject,
    past: &Past,
) -> Result<Option<Outcome>, DispatchError> {
    if past.paused {
        Ok(standing_still(services, &subject.work).await?)
    } else {
        Ok(None)
    }
}

/// How a request ends that is not to run now, as far as that can be told without its targets.
pub(super) fn not_now(
    services: &Services,
    subject: &Subject,
    request: &RunRequest,
    scheduled_at: Instant,
    past: &Past,
    paused: Option<Outcome>,
) -> Option<Outcome> {
    let now = services.clock.now();
    if let Some(text) = too_early(scheduled_at, now, "this host's clock") {
        return Some(Outcome::Refused(Refusal::Future, text));
    }
    if paused.is_some() {
        return paused;
    }
    let text = stale(services, subject, scheduled_at, request, past, now)?;
    Some(Outcome::Skipped(Skip::Stale, text))
}

/// Opens the targets, or takes those that are open, and waits for their clocks.
async fn open(
    services: &Services,
    examined: &Examined,
    request: &RunRequest,
    opened: Option<&Opened>,
    scheduled_at: Instant,
    stop: &watch::Receiver<Stop>,
) -> Result<Result<Opened, Outcome>, DispatchError> {
    let opened = match opened {
        Some(opened) => opened.clone(),
        None => preflight(services, examined, request.mode).await?,
    };
    in_time(services, opened, scheduled_at, stop).await
}

/// Holds the scheduled time against every target's own clock, and waits while it lies a little ahead: no cutoff is
/// ever later than a target's own now less `keep`.
async fn in_time(
    services: &Services,
    opened: Opened,
    scheduled_at: Instant,
    stop: &watch::Receiver<Stop>,
) -> Result<Result<Opened, Outcome>, DispatchError> {
    let mut latest = services.clock.now();
    for (name, database) in &opened.databases {
        let theirs = database.now().await.map_err(|source| DispatchError::Database {
            name: name.to_string(),
            source,
        })?;
        if let Some(text) = too_early(scheduled_at, theirs, &format!("the clock of database.{name}")) {
            return Ok(Err(Outcome::Refused(Refusal::Future, text)));
        }
        latest = latest.min(theirs);
    }
    if let Ok(ahead) = (scheduled_at - latest).to_std()
        && let Some(stopped) = sleep(services, ahead, stop).await
    {
        return Ok(Err(stopped));
    }
    Ok(Ok(opened))
}

fn too_early(scheduled_at: Instant, now: Instant, whose: &str) -> Option<String> {
    (scheduled_at - now > FUTURE_MAX).then(|| {
        format!(
            "scheduled at {}, which is ahead of {whose} ({}): every cutoff would be too late; nothing was touched",
            show_instant(scheduled_at),
            show_instant(now)
        )
    })
}

/// True unless it was to be applied.
fn is_asked_to_plan(request: &RunRequest) -> bool {
    request.mode == Mode::Plan && request.unapproved.is_none()
}

fn stale(
    services: &Services,
    subject: &Subject,
    scheduled_at: Instant,
    request: &RunRequest,
    past: &Past,
    now: Instant,
) -> Option<String> {
    // A step is as old as its round, which was held against this before.
    if !request.reason.is_scheduled() || request.reason.is_step() || is_asked_to_plan(request) {
        return None;
    }
    let limit = age_max(subject, scheduled_at, &services.config.timezone);
    // What began in time may be brought to its end: how often it is tried is the carrier's to say.
    let limit = if past.attempts.iter().any(has_worked) {
        limit.max(EVENT_AGE_MAX)
    } else {
        limit
    };
    let age = (now - scheduled_at).to_std().unwrap_or_default();
    (age > limit).then(|| {
        format!(
            "the event is {} old, and {} takes none older than {}",
            crate::units::show_duration(age),
            subject.work,
            crate::units::show_duration(limit)
        )
    })
}

/// How old a scheduled event of `work` may be.
pub fn event_age_max(config: &Config, work: &Work, scheduled_at: Instant) -> chrono::TimeDelta {
    let (schedule, given) = match work {
        Work::Job(name) => {
            let job = config.jobs.get(name);
            (
                job.and_then(|job| job.schedule.as_ref()),
                job.and_then(|job| job.max_event_age),
            )
        }
        Work::Round(name) => {
            let round = config.rounds.get(name);
            (round.and_then(|round| round.schedule.as_ref()), None)
        }
    };
    let max = given.unwrap_or_else(|| half_period(schedule, scheduled_at, &config.timezone));
    chrono::TimeDelta::from_std(max).unwrap_or(chrono::TimeDelta::MAX)
}

fn age_max(subject: &Subject, scheduled_at: Instant, zone: &Zone) -> Duration {
    subject
        .max_event_age
        .unwrap_or_else(|| half_period(subject.schedule.as_ref(), scheduled_at, zone))
}

/// Half of the time until the next one, and no more than [`EVENT_AGE_MAX`].
fn half_period(schedule: Option<&Schedule>, scheduled_at: Instant, zone: &Zone) -> Duration {
    let half = schedule.and_then(|schedule| {
        let after = schedule.next_after(scheduled_at, zone)?;
        ((after - scheduled_at) / 2).to_std().ok()
    });
    half.map_or(EVENT_AGE_MAX, |half| half.min(EVENT_AGE_MAX))
}

pub(super) fn new_row(
    services: &Services,
    subject: &Subject,
    accepted: &Accepted,
    request: &RunRequest,
    scheduled_at: Instant,
    history: &History,
) -> RunRow {
    RunRow {
        id: RunId::from_entropy(services.entropy.next()),
        key: accepted.key.clone(),
        attempt: history.attempts + 1,
        work: subject.work.clone(),
        targets: subject.targets.clone(),
        shard: request.shard.clone(),
        mode: request.mode,
        reason: request.reason.clone(),
        scheduled_at,
        consent: subject.consent.clone(),
        digest: subject.digest.clone(),
        state: crate::run::RunState::New,
        cursor: history.cursor.clone(),
        started_at: services.clock.now(),
        ended_at: None,
        outcome: None,
    }
}
