//! The routes, and the document that describes them. Routes and document are one table: neither has what the other has not.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::authorize;
use super::body::whole;
use super::problem::Problem;
use super::{look, operate, probes, work};
use crate::serve::Host;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "sereno",
        description = "What runs here: look at it, run, plan, apply, cancel, pause, resume. Documents are those of the command line (docs/json.md); \
                       errors are problems of RFC 9457.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem))
)]
struct Document;

/// What needs a token, where there are any.
fn guarded() -> OpenApiRouter<Arc<Host>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(look::jobs))
        .routes(routes!(look::job))
        .routes(routes!(work::run_job))
        .routes(routes!(work::plan_job))
        .routes(routes!(operate::pause_job))
        .routes(routes!(operate::resume_job))
        .routes(routes!(look::rounds))
        .routes(routes!(work::run_round))
        .routes(routes!(work::plan_round))
        .routes(routes!(operate::pause_round))
        .routes(routes!(operate::resume_round))
        .routes(routes!(look::runs))
        .routes(routes!(look::run))
        .routes(routes!(look::events))
        .routes(routes!(look::logs))
        .routes(routes!(work::apply))
        .routes(routes!(operate::cancel))
        .routes(routes!(look::gauges))
        .routes(routes!(operate::pause_all))
        .routes(routes!(operate::resume_all))
        .routes(routes!(operate::reload))
        .routes(routes!(probes::metrics))
}

/// What an orchestrator asks, without one.
fn open() -> OpenApiRouter<Arc<Host>> {
    OpenApiRouter::new()
        .routes(routes!(probes::health))
        .routes(routes!(probes::ready))
        .routes(routes!(document))
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "probes", responses((status = 200, description = "OpenAPI 3.1")))]
async fn document() -> Response {
    let json = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (json, openapi()).into_response()
}

/// The document, as JSON.
pub fn openapi() -> String {
    let (_, mut document) = guarded().merge(open()).split_for_parts();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let needed: [&str; 0] = [];
    document.security = Some(vec![SecurityRequirement::new("token", needed)]);
    document.to_pretty_json().unwrap_or_default()
}

pub(super) fn router(host: &Arc<Host>) -> Router {
    let (guarded, _) = guarded().split_for_parts();
    let (open, _) = open().split_for_parts();
    guarded
        .method_not_allowed_fallback(no_method)
        .route_layer(from_fn(whole))
        .route_layer(from_fn_with_state(Arc::clone(host), authorize))
        .merge(open)
        .fallback(not_found)
        .with_state(Arc::clone(host))
}

async fn not_found(State(_): State<Arc<Host>>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here")
        .hint("`/api/v1/openapi.json` says what there is")
}

async fn no_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "this is asked for in another way",
    )
    .hint("`/api/v1/openapi.json` says how")
}
