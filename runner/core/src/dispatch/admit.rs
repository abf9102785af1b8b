//! Decides whether a request becomes an attempt: known? settled? granted? in the future? paused? stale? leased?
//!
//! Whatever is refused or skipped here is recorded as a run of its own, so that `runs list` tells it; a duplicate
//! of a settled key is not, it is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::examine::{Examined, Opened, preflight};
use super::{DispatchError, Problem, Services};
use crate::grant::Denied;
use crate::name::RunId;
use crate::ports::ledger::{Flag, Held, Lease, NewRun, RunQuery, RunRow};
use crate::report::{REPORT_SCHEMA_VERSION, Report};
use crate::run::{
    Mode, Outcome, Reason, Refusal, RunEvent, RunRequest, RunState, Skip, run_key, scheduled_key,
};
use crate::value::{Instant, show_instant};

/// A scheduled time further ahead of a target's own clock than this is refused; up to it, the run waits.
const FUTURE_MAX: chrono::Duration = chrono::Duration::seconds(60);

/// A lease that nobody renews is over after this: four missed renewals.
pub(super) const LEASE_TTL: Duration = Duration::from_mins(1);

/// How often a run that waits for another job's lease asks again.
const WAIT_STEP: Duration = Duration::from_millis(500);

/// What is fixed once, for all attempts of a submission.
pub(super) struct Accepted {
    pub(super) key: String,
    pub(super) scheduled_at: Instant,
}

/// An attempt that may begin.
pub(super) struct Admitted {
    pub(super) row: RunRow,
    pub(super) opened: Opened,
    pub(super) leases: Vec<Lease>,
    pub(super) request: RunRequest,
    /// What earlier attempts of the key did.
    pub(super) before: Vec<crate::report::Effect>,
    /// Where the newest of them stopped.
    pub(super) cursor: Option<String>,
}

pub(super) enum Admission {
    Run(Box<Admitted>),
    Answer(Box<Report>),
}

/// Fixes the scheduled time and the key.
pub(super) fn accept(services: &Services, examined: &Examined, request: &mut RunRequest) -> Accepted {
    let scheduled_at = *request.scheduled_at.get_or_insert_with(|| services.clock.now());
    let given = request.key.get_or_insert_with(|| {
        if request.reason.is_scheduled() {
            scheduled_key(scheduled_at)
        } else {
            RunId::from_entropy(services.entropy.next()).to_string()
        }
    });
    let host = examined.host_scoped.then_some(services.host.as_str());
    let key = run_key(
        &examined.job.name,
        &examined.targets,
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
) -> Result<Admission, DispatchError> {
    let job = &examined.job;
    let earlier = services
        .ledger
        .runs(&RunQuery {
            key: Some(accepted.key.clone()),
            limit: u32::MAX,
            ..RunQuery::default()
        })
        .await?;
    if let Some(settled) = earlier
        .iter()
        .find(|row| row.outcome.as_deref() == Some("succeeded"))
    {
        return answer_duplicate(services, examined, settled).await;
    }
    let refuse = |outcome| record_only(services, examined, accepted, request, outcome);
    if let Err(denied) = &examined.authority {
        let lines: Vec<String> = denied.iter().map(Denied::line_to_add).collect();
        let text = format!(
            "the plugin `{}` needs more than job `{}` was granted; add under [job.{}.grant]:\n{}",
            job.plugin,
            job.name,
            job.name,
            lines.join("\n")
        );
        return refuse(Outcome::Refused(Refusal::Grant, text)).await;
    }
    let now = services.clock.now();
    if let Some(text) = too_early(accepted.scheduled_at, now, "this host's clock") {
        return refuse(Outcome::Refused(Refusal::Future, text)).await;
    }
    let name = job.name.as_str();
    if services.ledger.flag(&[name, "*"], Flag::Pause).await? {
        let text = format!("job `{name}` is paused; `sereno jobs resume {name}` lifts it");
        return refuse(Outcome::Skipped(Skip::Paused, text)).await;
    }
    if let Some(text) = stale(services, examined, accepted, request, now) {
        return refuse(Outcome::Skipped(Skip::Stale, text)).await;
    }
    let opened = preflight(services, examined, request.mode).await?;
    let mut latest = now;
    for (name, database) in &opened.databases {
        let theirs = database.now().await.map_err(|source| DispatchError::Database {
            name: name.to_string(),
            source,
        })?;
        if let Some(text) = too_early(
            accepted.scheduled_at,
            theirs,
            &format!("the clock of database.{name}"),
        ) {
            return refuse(Outcome::Refused(Refusal::Future, text)).await;
        }
        latest = latest.min(theirs);
    }
    // Within the tolerance the run waits, so that no cutoff is ever later than a target's own now less `keep`.
    if let Ok(ahead) = (accepted.scheduled_at - latest).to_std() {
        services.clock.sleep(ahead).await;
    }
    let run = RunId::from_entropy(services.entropy.next());
    let leases = match lease(services, examined, accepted, request.mode, &run).await? {
        Ok(leases) => leases,
        Err(Busy::SameKey(run)) => return Err(DispatchError::AtWork { run }),
        Err(Busy::SameJob(held)) => {
            let text = format!(
                "run {} of the same job holds {} until {}",
                held.run,
                held.scope,
                show_instant(held.until)
            );
            return refuse(Outcome::Skipped(Skip::Overlap, text)).await;
        }
        Err(Busy::OtherJob(held)) => {
            let text = format!(
                "job `{}` (run {}) still held {} after {}",
                held.job,
                held.run,
                held.scope,
                crate::units::show_duration(job.wait)
            );
            return refuse(Outcome::Retryable(text)).await;
        }
    };
    let (before, cursor) = history(services, &earlier).await?;
    let row = start(services, examined, accepted, request, run, cursor.clone()).await?;
    Ok(Admission::Run(Box::new(Admitted {
        row,
        opened,
        leases,
        request: request.clone(),
        before,
        cursor,
    })))
}

/// The sum of what earlier attempts did, and the newest cursor.
async fn history(
    services: &Services,
    earlier: &[RunRow],
) -> Result<(Vec<crate::report::Effect>, Option<String>), DispatchError> {
    let mut before = Vec::new();
    for row in earlier {
        if let Some(report) = services.ledger.report(&row.id).await? {
            for effect in report.effects() {
                crate::effect::add(&mut before, effect);
            }
        }
    }
    // Newest first; an attempt that never moved its cursor says nothing about an older one's.
    let cursor = earlier.iter().find_map(|row| row.cursor.clone());
    Ok((before, cursor))
}

async fn answer_duplicate(
    services: &Services,
    examined: &Examined,
    settled: &RunRow,
) -> Result<Admission, DispatchError> {
    if settled.consent != examined.consent {
        return Err(DispatchError::Usage(vec![Problem::new(
            format!("job.{}", examined.job.name),
            format!(
                "run {} settled this key with other params, grants or guards",
                settled.id
            ),
            Some("give another `--key`".to_owned()),
        )]));
    }
    let mut report = services
        .ledger
        .report(&settled.id)
        .await?
        .ok_or_else(|| crate::ports::ledger::LedgerError::NoRun(settled.id.to_string()))?;
    report.duplicate = true;
    Ok(Admission::Answer(Box::new(report)))
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

fn stale(
    services: &Services,
    examined: &Examined,
    accepted: &Accepted,
    request: &RunRequest,
    now: Instant,
) -> Option<String> {
    /// A scheduled event older than this has been overtaken by the next one, whatever the period.
    const EVENT_AGE_MAX: Duration = Duration::from_hours(12);
    if !request.reason.is_scheduled() || request.mode == Mode::Plan {
        return None;
    }
    let job = &examined.job;
    let half_period = job.schedule.as_ref().and_then(|schedule| {
        let after = schedule.next_after(accepted.scheduled_at, &services.config.timezone)?;
        ((after - accepted.scheduled_at) / 2).to_std().ok()
    });
    let limit = job
        .max_event_age
        .unwrap_or_else(|| half_period.map_or(EVENT_AGE_MAX, |half| half.min(EVENT_AGE_MAX)));
    let age = (now - accepted.scheduled_at).to_std().unwrap_or_default();
    (age > limit).then(|| {
        format!(
            "the event is {} old, and job `{}` takes none older than {}",
            crate::units::show_duration(age),
            job.name,
            crate::units::show_duration(limit)
        )
    })
}

enum Busy {
    SameKey(RunId),
    SameJob(Held),
    OtherJob(Held),
}

/// The lease on the key, and for an apply those on every table and directory it changes.
async fn lease(
    services: &Services,
    examined: &Examined,
    accepted: &Accepted,
    mode: Mode,
    run: &RunId,
) -> Result<Result<Vec<Lease>, Busy>, DispatchError> {
    let key_scope = format!("key:{}", accepted.key);
    let mut scopes = vec![key_scope.clone()];
    if let (Mode::Apply, Ok(authority)) = (mode, &examined.authority) {
        let host = &services.host;
        scopes.extend(authority.changes().into_iter().map(|path| match path {
            crate::grant::Path::Directory(_) if examined.host_scoped => format!("{path}@{host}"),
            _ => path.to_string(),
        }));
    }
    let mut waited = Duration::ZERO;
    loop {
        let now = services.clock.now();
        let held = match services
            .ledger
            .lease(run, &examined.job.name, &scopes, now, LEASE_TTL)
            .await?
        {
            Ok(leases) => return Ok(Ok(leases)),
            Err(held) => held,
        };
        let same_key = held.iter().find(|held| held.scope == key_scope);
        if let Some(held) = same_key {
            return Ok(Err(Busy::SameKey(held.run.clone())));
        }
        if let Some(held) = held.iter().find(|held| held.job == examined.job.name) {
            return Ok(Err(Busy::SameJob(held.clone())));
        }
        let Some(other) = held.into_iter().next() else {
            continue;
        };
        if waited >= examined.job.wait {
            return Ok(Err(Busy::OtherJob(other)));
        }
        services.clock.sleep(WAIT_STEP).await;
        waited += WAIT_STEP;
    }
}

async fn start(
    services: &Services,
    examined: &Examined,
    accepted: &Accepted,
    request: &RunRequest,
    run: RunId,
    cursor: Option<String>,
) -> Result<RunRow, DispatchError> {
    let row = RunRow {
        id: run,
        key: accepted.key.clone(),
        attempt: 0,
        job: examined.job.name.clone(),
        targets: examined.targets.clone(),
        shard: request.shard.clone(),
        mode: request.mode,
        reason: request.reason.clone(),
        scheduled_at: accepted.scheduled_at,
        consent: examined.consent.clone(),
        digest: examined.plugin.digest.clone(),
        state: RunState::Running,
        cursor,
        started_at: services.clock.now(),
        ended_at: None,
        outcome: None,
    };
    let new = NewRun {
        row,
        request: request.clone(),
        params: examined.params.clone(),
    };
    Ok(services.ledger.start(new).await?)
}

/// Records a run that ends where it began.
async fn record_only(
    services: &Services,
    examined: &Examined,
    accepted: &Accepted,
    request: &RunRequest,
    outcome: Outcome,
) -> Result<Admission, DispatchError> {
    let run = RunId::from_entropy(services.entropy.next());
    // Held for a moment, so that no rescue takes the run for an orphan between its two events.
    let scope = [format!("refusal:{run}")];
    let now = services.clock.now();
    // A scope that carries the run's own id is free by construction.
    let _ = services
        .ledger
        .lease(&run, &examined.job.name, &scope, now, LEASE_TTL)
        .await?;
    let row = start(services, examined, accepted, request, run, None).await?;
    let report = empty_report(services, &row, examined.params.clone(), outcome);
    let event = RunEvent::Ended {
        report: Box::new(report.clone()),
    };
    services.ledger.append(&row.id, report.ended_at, &[event]).await?;
    services.ledger.release(&row.id).await?;
    Ok(Admission::Answer(Box::new(report)))
}

/// A report with nothing in it but how it ended.
pub(super) fn empty_report(
    services: &Services,
    row: &RunRow,
    params: serde_json::Value,
    outcome: Outcome,
) -> Report {
    Report {
        schema_version: REPORT_SCHEMA_VERSION,
        run: row.id.clone(),
        key: row.key.clone(),
        attempt: row.attempt,
        job: row.job.clone(),
        mode: row.mode,
        reason: row.reason.clone(),
        scheduled_at: row.scheduled_at,
        started_at: row.started_at,
        ended_at: services.clock.now(),
        continued: outcome == Outcome::Continued,
        outcome,
        duplicate: false,
        targets: Vec::new(),
        measurements: Vec::new(),
        limits_used: crate::report::LimitsUsed::default(),
        params,
        notes: Vec::new(),
    }
}

/// The fence token of each leased scope, by its grant path.
pub(super) fn tokens(leases: &[Lease]) -> BTreeMap<String, i64> {
    leases
        .iter()
        .map(|lease| (lease.scope.clone(), lease.token))
        .collect()
}

/// True when this reason applies a plan.
pub(super) fn applies_plan(reason: &Reason) -> bool {
    matches!(reason, Reason::Apply(_))
}
