//! What can be asked for: runs and plans of jobs and rounds, and a plan's apply.
//!
//! A run that has begun is answered with 202 and its id, unless the caller waits for its end. What could not begin in time is
//! not begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;
use sereno_core::dispatch::{DispatchError, Services};
use sereno_core::document;
use sereno_core::guard::Allowances;
use sereno_core::name::RunId;
use sereno_core::ports::database::Progress;
use sereno_core::report::{Effect, Report};
use sereno_core::run::{Mode, RunRequest, Work};
use sereno_core::units::parse_duration;
use sereno_core::value::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use utoipa::{IntoParams, ToSchema};

use super::body;
use super::look::{SCHEMA_VERSION, job_name, round_name};
use super::problem::{Problem, RETRY_AFTER};
use crate::serve::Host;

/// How long a run may wait for its turn before its caller is told to come again.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// As long as a connection may be kept for one answer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a run is asked with. A round takes neither params nor a shard.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    /// Params that are set over the configured ones.
    #[schema(value_type = BTreeMap<String, JsonValue>)]
    params: BTreeMap<String, JsonValue>,
    /// Makes requests with the same key one: once it has succeeded, the stored report is the answer.
    key: Option<String>,
    /// What every cutoff is reckoned from, in RFC 3339; now by default.
    #[schema(value_type = Option<String>)]
    at: Option<Instant>,
    /// A tenant, where the job has such.
    shard: Option<String>,
}

/// What a plan is applied with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Lifting {
    /// Guards that are lifted, once, each up to a value: `{"max_rows_percent": 92}`.
    allow: BTreeMap<String, f64>,
}

/// How long the caller waits.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Waiting {
    /// Answer with the report if the run ends within this, such as `30s`; at most a minute.
    wait: Option<String>,
}

type Given = Result<Query<Waiting>, axum::extract::rejection::QueryRejection>;

/// A run that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// 1.
    schema_version: u32,
    /// Its id.
    #[schema(value_type = String)]
    run: RunId,
    /// Where it can be looked at.
    location: String,
}

/// Run a job.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/run", tag = "jobs", params(("job" = String, Path, description = "its name"), Waiting), request_body = Option<Asked>,
    responses((status = 202, description = "it has begun", body = Accepted), (status = 200, description = "the report of one that has ended", body = JsonValue),
        (status = 400, body = Problem, description = "wrong params"), (status = 404, body = Problem, description = "there is no such job"),
        (status = 409, body = Problem, description = "refused, or the same key is at work"), (status = 503, body = Problem, description = "no turn for it in time")))]
pub(super) async fn run_job(
    State(host): State<Arc<Host>>,
    Path(job): Path<String>,
    waiting: Given,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let work = Work::Job(job_name(&job)?);
    begin(&host, work, Mode::Apply, waiting, &headers, &body).await
}

/// Plan a job: count and word every effect, change nothing.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/plan", tag = "jobs", params(("job" = String, Path, description = "its name"), Waiting), request_body = Option<Asked>,
    responses((status = 202, description = "it has begun", body = Accepted), (status = 200, description = "the report of one that has ended", body = JsonValue)))]
pub(super) async fn plan_job(
    State(host): State<Arc<Host>>,
    Path(job): Path<String>,
    waiting: Given,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let work = Work::Job(job_name(&job)?);
    begin(&host, work, Mode::Plan, waiting, &headers, &body).await
}

/// Run a round.
#[utoipa::path(post, path = "/api/v1/rounds/{round}/run", tag = "rounds", params(("round" = String, Path, description = "its name"), Waiting), request_body = Option<Asked>,
    responses((status = 202, description = "it has begun", body = Accepted), (status = 200, description = "the report of one that has ended", body = JsonValue)))]
pub(super) async fn run_round(
    State(host): State<Arc<Host>>,
    Path(round): Path<String>,
    waiting: Given,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let work = Work::Round(round_name(&round)?);
    begin(&host, work, Mode::Apply, waiting, &headers, &body).await
}

/// Plan a round.
#[utoipa::path(post, path = "/api/v1/rounds/{round}/plan", tag = "rounds", params(("round" = String, Path, description = "its name"), Waiting), request_body = Option<Asked>,
    responses((status = 202, description = "it has begun", body = Accepted), (status = 200, description = "the report of one that has ended", body = JsonValue)))]
pub(super) async fn plan_round(
    State(host): State<Arc<Host>>,
    Path(round): Path<String>,
    waiting: Given,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let work = Work::Round(round_name(&round)?);
    begin(&host, work, Mode::Plan, waiting, &headers, &body).await
}

/// Apply a plan: the same cutoffs, at most its counts and a tenth, once, within 24 h.
#[utoipa::path(post, path = "/api/v1/runs/{run}/apply", tag = "runs", params(("run" = String, Path, description = "the plan's id"), Waiting), request_body = Option<Lifting>,
    responses((status = 202, description = "it has begun", body = Accepted), (status = 200, description = "the report of one that has ended", body = JsonValue),
        (status = 409, body = Problem, description = "it is no plan, too old, applied before, or exceeds a guard")))]
pub(super) async fn apply(
    State(host): State<Arc<Host>>,
    Path(run): Path<String>,
    waiting: Given,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let lifting: Lifting = body::read(&headers, &body)?;
    is_open(&host)?;
    let wait = wait(waiting)?;
    let row = host.loaded().services.ledger.run(&run).await?;
    let (services, begun) = announced(&host);
    let counted = host.count();
    let of_task = Arc::clone(&host);
    let task = tokio::spawn(async move {
        let _counted = counted;
        let allow = Allowances(lifting.allow);
        of_task.apply(&services, row.id.as_str(), &row.work, allow).await
    });
    answer(&host, task, begun, wait).await
}

async fn begin(
    host: &Arc<Host>,
    work: Work,
    mode: Mode,
    waiting: Given,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Problem> {
    let asked: Asked = body::read(headers, body)?;
    is_open(host)?;
    let wait = wait(waiting)?;
    // What is not there has no turn to wait for.
    let config = Arc::clone(&host.loaded().services.config);
    match &work {
        Work::Job(name) => config.job(name).map(|_| ()).map_err(DispatchError::from)?,
        Work::Round(name) => config.round(name).map(|_| ()).map_err(DispatchError::from)?,
    }
    let request = RunRequest {
        params: asked.params,
        mode,
        scheduled_at: asked.at,
        key: asked.key,
        shard: asked.shard,
        ..RunRequest::manual(work)
    };
    let (services, begun) = announced(host);
    let counted = host.count();
    let of_task = Arc::clone(host);
    let task = tokio::spawn(async move {
        let _counted = counted;
        of_task.submit(&services, request).await
    });
    answer(host, task, begun, wait).await
}

/// Nothing begins in a process that is on its way out.
fn is_open(host: &Host) -> Result<(), Problem> {
    if host.is_draining() {
        let detail = "this process was told to stop, and takes nothing new";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail)
            .hint("ask again: another one takes its place")
            .retry_after(RETRY_AFTER));
    }
    Ok(())
}

fn wait(waiting: Given) -> Result<Duration, Problem> {
    let Query(waiting) = waiting.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Some(text) = waiting.wait else {
        return Ok(Duration::ZERO);
    };
    match parse_duration(&text) {
        Ok(wait) if wait <= WAIT_MAX => Ok(wait),
        Ok(_) => Err(Problem::bad_request(format!(
            "`wait` is at most {} s; ask for the run later",
            WAIT_MAX.as_secs()
        ))),
        Err(error) => Err(Problem::bad_request(format!("`wait`: {}", error.problem)).hint(error.hint)),
    }
}

/// Services that tell when the first run of theirs has begun.
fn announced(host: &Host) -> (Services, watch::Receiver<Option<RunId>>) {
    let mut services = host.loaded().services.clone();
    let (tell, begun) = watch::channel(None);
    services.progress = Arc::new(Announcer(tell));
    (services, begun)
}

struct Announcer(watch::Sender<Option<RunId>>);

impl Progress for Announcer {
    fn effect(&self, _effect: &Effect) {}

    fn waiting(&self, _what: &str) {}

    fn begun(&self, run: &RunId) {
        // A round begins before its steps, an attempt before the one that goes on from it.
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(run.clone());
            }
            is_first
        });
    }
}

type Task = JoinHandle<Result<Report, DispatchError>>;

async fn answer(
    host: &Host,
    mut task: Task,
    mut begun: watch::Receiver<Option<RunId>>,
    wait: Duration,
) -> Result<Response, Problem> {
    let run = tokio::select! {
        biased;
        ended = &mut task => return ended_as(ended),
        run = begun.wait_for(Option::is_some) => run.ok().and_then(|run| run.clone()),
        () = tokio::time::sleep(BEGINS_WITHIN) => None,
    };
    let Some(run) = run else {
        if host.is_draining() || begun.borrow().is_none() {
            // It waits for its turn, and holds nothing.
            task.abort();
        }
        let detail = "everything that may run at once is at work; nothing was begun";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
            .hint("try again; `max_runs` and `runs_per_database` under [serve] say how much that is")
            .retry_after(RETRY_AFTER));
    };
    if !wait.is_zero() {
        // It goes on, whether somebody waits for it or not.
        if let Ok(ended) = tokio::time::timeout(wait, task).await {
            return ended_as(ended);
        }
    }
    let location = format!("/api/v1/runs/{run}");
    let value = HeaderValue::from_str(&location).ok();
    let accepted = Accepted {
        schema_version: SCHEMA_VERSION,
        run,
        location,
    };
    let mut response = (StatusCode::ACCEPTED, Json(accepted)).into_response();
    response
        .headers_mut()
        .extend(value.map(|value| (header::LOCATION, value)));
    Ok(response)
}

fn ended_as(
    ended: Result<Result<Report, DispatchError>, tokio::task::JoinError>,
) -> Result<Response, Problem> {
    match ended {
        Ok(Ok(report)) => Ok(Json(document::report(&report)).into_response()),
        Ok(Err(error)) => Err(error.into()),
        Err(error) => {
            tracing::error!(%error, "a request's task ended");
            Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "failed",
                "the run could not be carried out",
            ))
        }
    }
}
