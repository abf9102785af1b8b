//! What can be looked at: jobs, rounds, runs, gauges. Documents are those of the command line (`docs/json.md`).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use sereno_core::dispatch::{self, Services};
use sereno_core::document;
use sereno_core::job::Job;
use sereno_core::name::{JobName, RoundName};
use sereno_core::ports::ledger::{RunQuery, RunRow};
use sereno_core::ports::orders::Raised;
use sereno_core::round::Round;
use sereno_core::run::{Mode, RunEvent, Work};
use sereno_core::schedule::Schedule;
use utoipa::IntoParams;

use super::problem::Problem;
use crate::serve::Host;

/// The version that documents carry; it only grows.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// Runs in one answer.
const RUNS_MAX: u32 = 1_000;
const RUNS_DEFAULT: u32 = 20;

type Answer = Result<Json<JsonValue>, Problem>;

/// Every job: its plugin, its schedule, when it is due, whether it is paused, how its last run ended.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", responses((status = 200, description = "`jobs`", body = JsonValue)))]
pub(super) async fn jobs(State(host): State<Arc<Host>>) -> Answer {
    let services = host.loaded().services.clone();
    let paused = dispatch::paused(&services).await?;
    let mut jobs = Vec::new();
    for job in services.config.jobs.values() {
        jobs.push(job_document(&services, job, &paused).await?);
    }
    Ok(Json(json!({ "schema_version": SCHEMA_VERSION, "jobs": jobs })))
}

/// One job.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", tag = "jobs", params(("job" = String, Path, description = "its name")),
    responses((status = 200, description = "as in the list", body = JsonValue), (status = 404, description = "there is none", body = Problem)))]
pub(super) async fn job(State(host): State<Arc<Host>>, Path(name): Path<String>) -> Answer {
    let services = host.loaded().services.clone();
    let paused = dispatch::paused(&services).await?;
    let job = services
        .config
        .job(&job_name(&name)?)
        .map_err(dispatch::DispatchError::from)?;
    Ok(Json(job_document(&services, job, &paused).await?))
}

/// Every round, with its steps.
#[utoipa::path(get, path = "/api/v1/rounds", tag = "rounds", responses((status = 200, description = "`rounds`", body = JsonValue)))]
pub(super) async fn rounds(State(host): State<Arc<Host>>) -> Answer {
    let services = host.loaded().services.clone();
    let paused = dispatch::paused(&services).await?;
    let mut rounds = Vec::new();
    for round in services.config.rounds.values() {
        rounds.push(round_document(&services, round, &paused).await?);
    }
    Ok(Json(
        json!({ "schema_version": SCHEMA_VERSION, "rounds": rounds }),
    ))
}

/// Which runs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Of this job only.
    job: Option<String>,
    /// Of this round only.
    round: Option<String>,
    /// Only those at work.
    #[serde(default)]
    running: bool,
    /// Only `plan` or `apply`.
    #[param(value_type = Option<String>)]
    mode: Option<Mode>,
    /// Only those that ended so, such as `succeeded` or `refused(guard)`.
    outcome: Option<String>,
    /// How many, at most 1,000; 20 by default.
    limit: Option<u32>,
}

/// The newest runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(Which), responses((status = 200, description = "`runs`", body = JsonValue)))]
pub(super) async fn runs(
    State(host): State<Arc<Host>>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(which) = which.map_err(|error| Problem::bad_request(error.body_text()))?;
    let work = match (which.job, which.round) {
        (Some(_), Some(_)) => return Err(Problem::bad_request("give `job` or `round`, not both")),
        (Some(job), None) => Some(Work::Job(job_name(&job)?)),
        (None, Some(round)) => Some(Work::Round(round_name(&round)?)),
        (None, None) => None,
    };
    let limit = which.limit.unwrap_or(RUNS_DEFAULT);
    if !(1..=RUNS_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is from 1 to {RUNS_MAX}")));
    }
    let query = RunQuery {
        work,
        running: which.running,
        mode: which.mode,
        outcome: which.outcome,
        limit,
        ..RunQuery::default()
    };
    let rows = host.loaded().services.ledger.runs(&query).await?;
    let rows: Vec<JsonValue> = rows.iter().map(document::row).collect();
    Ok(Json(json!({ "schema_version": SCHEMA_VERSION, "runs": rows })))
}

/// A run's report; of one at work, what it has done so far, under `run`.
#[utoipa::path(get, path = "/api/v1/runs/{run}", tag = "runs", params(("run" = String, Path, description = "its id, or enough of its beginning")),
    responses((status = 200, description = "the report", body = JsonValue), (status = 404, description = "there is none", body = Problem)))]
pub(super) async fn run(State(host): State<Arc<Host>>, Path(run): Path<String>) -> Answer {
    let services = host.loaded().services.clone();
    let row = services.ledger.run(&run).await?;
    Ok(Json(shown(&services, &row).await?))
}

/// See [`run`].
pub(super) async fn shown(services: &Services, row: &RunRow) -> Result<JsonValue, Problem> {
    if let Some(report) = services.ledger.report(&row.id).await? {
        return Ok(document::report(&report));
    }
    let mut effects = Vec::new();
    for stored in services.ledger.events(&row.id).await? {
        if let RunEvent::Effect { effect } = stored.event {
            sereno_core::effect::add(&mut effects, &effect);
        }
    }
    Ok(json!({ "schema_version": SCHEMA_VERSION, "row": document::row(row), "effects": effects }))
}

/// Everything that happened in a run, in order.
#[utoipa::path(get, path = "/api/v1/runs/{run}/events", tag = "runs", params(("run" = String, Path, description = "its id, or enough of its beginning")),
    responses((status = 200, description = "`events`", body = JsonValue), (status = 404, description = "there is none", body = Problem)))]
pub(super) async fn events(State(host): State<Arc<Host>>, Path(run): Path<String>) -> Answer {
    let ledger = Arc::clone(&host.loaded().services.ledger);
    let row = ledger.run(&run).await?;
    let events = ledger.events(&row.id).await?.into_iter();
    let events: Vec<JsonValue> = events
        .map(|stored| json!({ "seq": stored.seq, "at": stored.at, "event": stored.event }))
        .collect();
    Ok(Json(
        json!({ "schema_version": SCHEMA_VERSION, "run": row.id, "events": events }),
    ))
}

/// What a run's plugin logged.
#[utoipa::path(get, path = "/api/v1/runs/{run}/logs", tag = "runs", params(("run" = String, Path, description = "its id, or enough of its beginning")),
    responses((status = 200, description = "`lines`", body = JsonValue), (status = 404, description = "there is none", body = Problem)))]
pub(super) async fn logs(State(host): State<Arc<Host>>, Path(run): Path<String>) -> Answer {
    let ledger = Arc::clone(&host.loaded().services.ledger);
    let row = ledger.run(&run).await?;
    let lines: Vec<JsonValue> = ledger
        .events(&row.id)
        .await?
        .into_iter()
        .filter(|stored| matches!(stored.event, RunEvent::Log { .. }))
        .map(|stored| {
            let mut line = json!(stored.event);
            line["at"] = json!(stored.at);
            line
        })
        .collect();
    Ok(Json(
        json!({ "schema_version": SCHEMA_VERSION, "run": row.id, "lines": lines }),
    ))
}

/// How every gauge stands.
#[utoipa::path(get, path = "/api/v1/gauges", tag = "gauges", responses((status = 200, description = "`gauges`", body = JsonValue)))]
pub(super) async fn gauges(State(host): State<Arc<Host>>) -> Answer {
    let services = host.loaded().services.clone();
    let shown = dispatch::gauges(&services).await?;
    let gauges: Vec<JsonValue> = shown.iter().map(document::gauge).collect();
    Ok(Json(
        json!({ "schema_version": SCHEMA_VERSION, "gauges": gauges }),
    ))
}

pub(super) fn job_name(text: &str) -> Result<JobName, Problem> {
    text.parse()
        .map_err(|error: sereno_core::name::NameError| Problem::bad_request(error.to_string()))
}

pub(super) fn round_name(text: &str) -> Result<RoundName, Problem> {
    text.parse()
        .map_err(|error: sereno_core::name::NameError| Problem::bad_request(error.to_string()))
}

async fn job_document(services: &Services, job: &Job, paused: &[Raised]) -> Result<JsonValue, Problem> {
    let work = Work::Job(job.name.clone());
    let mut document = timing(services, &work, job.schedule.as_ref(), paused).await?;
    document["job"] = json!(job.name);
    document["plugin"] = json!(job.plugin);
    Ok(document)
}

async fn round_document(services: &Services, round: &Round, paused: &[Raised]) -> Result<JsonValue, Problem> {
    let work = Work::Round(round.name.clone());
    let mut document = timing(services, &work, round.schedule.as_ref(), paused).await?;
    let steps = round.steps.iter();
    document["round"] = json!(round.name);
    document["jobs"] = steps
        .map(|step| json!({ "job": step.job, "after": step.after }))
        .collect();
    Ok(document)
}

async fn timing(
    services: &Services,
    work: &Work,
    schedule: Option<&Schedule>,
    paused: &[Raised],
) -> Result<JsonValue, Problem> {
    let query = RunQuery {
        work: Some(work.clone()),
        limit: 1,
        ..RunQuery::default()
    };
    let last = services.ledger.runs(&query).await?;
    let next =
        schedule.and_then(|schedule| schedule.next_after(services.clock.now(), &services.config.timezone));
    Ok(json!({
        "schedule": schedule.map(Schedule::text),
        "next": next,
        "paused": paused.iter().any(|raised| raised.on == "*" || raised.on == work.name()),
        "last": last.first().map(document::row),
    }))
}
