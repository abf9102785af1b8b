//! What operators do: cancel a run, pause and resume work, have the configuration read anew.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value as JsonValue, json};
use sereno_core::command::Extent;
use sereno_core::dispatch::{self, Standstill};
use sereno_core::document;
use sereno_core::run::Work;

use super::look::{SCHEMA_VERSION, job_name, round_name};
use super::problem::Problem;
use crate::serve::Host;

type Answer = Result<Json<JsonValue>, Problem>;

/// Ask a run at work to stop: its next call to the host answers `cancelled`.
#[utoipa::path(post, path = "/api/v1/runs/{run}/cancel", tag = "runs", params(("run" = String, Path, description = "its id, or enough of its beginning")),
    responses((status = 202, description = "it is asked", body = JsonValue), (status = 404, body = Problem, description = "there is none"),
        (status = 409, body = Problem, description = "it has ended")))]
pub(super) async fn cancel(
    State(host): State<Arc<Host>>,
    Path(run): Path<String>,
) -> Result<(StatusCode, Json<JsonValue>), Problem> {
    let row = dispatch::cancel(&host.loaded().services, &run).await?;
    let document = json!({ "schema_version": SCHEMA_VERSION, "run": row.id, "cancel": true });
    Ok((StatusCode::ACCEPTED, Json(document)))
}

/// From now on no run of this job begins; what is at work goes on.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/pause", tag = "jobs", params(("job" = String, Path, description = "its name")),
    responses((status = 200, description = "what is paused", body = JsonValue), (status = 404, body = Problem, description = "there is none")))]
pub(super) async fn pause_job(State(host): State<Arc<Host>>, Path(job): Path<String>) -> Answer {
    set(&host, Extent::Of(Work::Job(job_name(&job)?)), true).await
}

/// Take a job's pause back.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/resume", tag = "jobs", params(("job" = String, Path, description = "its name")),
    responses((status = 200, description = "what is still paused", body = JsonValue), (status = 404, body = Problem, description = "there is none")))]
pub(super) async fn resume_job(State(host): State<Arc<Host>>, Path(job): Path<String>) -> Answer {
    set(&host, Extent::Of(Work::Job(job_name(&job)?)), false).await
}

/// From now on no run of this round begins; what is at work goes on.
#[utoipa::path(post, path = "/api/v1/rounds/{round}/pause", tag = "rounds", params(("round" = String, Path, description = "its name")),
    responses((status = 200, description = "what is paused", body = JsonValue), (status = 404, body = Problem, description = "there is none")))]
pub(super) async fn pause_round(State(host): State<Arc<Host>>, Path(round): Path<String>) -> Answer {
    set(&host, Extent::Of(Work::Round(round_name(&round)?)), true).await
}

/// Take a round's pause back.
#[utoipa::path(post, path = "/api/v1/rounds/{round}/resume", tag = "rounds", params(("round" = String, Path, description = "its name")),
    responses((status = 200, description = "what is still paused", body = JsonValue), (status = 404, body = Problem, description = "there is none")))]
pub(super) async fn resume_round(State(host): State<Arc<Host>>, Path(round): Path<String>) -> Answer {
    set(&host, Extent::Of(Work::Round(round_name(&round)?)), false).await
}

/// The kill switch: nothing begins, and what is at work stops before its next batch.
#[utoipa::path(post, path = "/api/v1/pause", tag = "everything", responses((status = 200, description = "what is paused", body = JsonValue)))]
pub(super) async fn pause_all(State(host): State<Arc<Host>>) -> Answer {
    set(&host, Extent::All, true).await
}

/// Take the kill switch back.
#[utoipa::path(post, path = "/api/v1/resume", tag = "everything", responses((status = 200, description = "what is still paused", body = JsonValue)))]
pub(super) async fn resume_all(State(host): State<Arc<Host>>) -> Answer {
    set(&host, Extent::All, false).await
}

/// Read the configuration anew. One with mistakes is told, and the old one stays.
#[utoipa::path(post, path = "/api/v1/reload", tag = "everything",
    responses((status = 200, description = "it was taken", body = JsonValue), (status = 422, body = Problem, description = "it has mistakes")))]
pub(super) async fn reload(State(host): State<Arc<Host>>) -> Answer {
    match host.reload().await {
        Ok(()) => Ok(Json(
            json!({ "schema_version": SCHEMA_VERSION, "reloaded": true }),
        )),
        Err(rejected) => Err(
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", rejected.0).hint(
                "`sereno validate` shows every mistake where it stands; the configuration stays as it was",
            ),
        ),
    }
}

async fn set(host: &Host, extent: Extent, is_paused: bool) -> Answer {
    let services = host.loaded().services.clone();
    let stands: Standstill = if is_paused {
        dispatch::pause(&services, extent).await?
    } else {
        dispatch::resume(&services, extent).await?
    };
    let paused: Vec<JsonValue> = stands
        .paused
        .iter()
        .map(|raised| json!({ "on": raised.on, "since": raised.at }))
        .collect();
    let at_work: Vec<JsonValue> = stands.at_work.iter().map(document::row).collect();
    Ok(Json(
        json!({ "schema_version": SCHEMA_VERSION, "paused": paused, "at_work": at_work }),
    ))
}
