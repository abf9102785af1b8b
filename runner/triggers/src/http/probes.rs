//! Whether the process lives, whether it does its work, and its numbers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sereno_core::ports::ledger::Flag;

use crate::serve::Host;

/// An orchestrator asks every few seconds, and would rather hear no than nothing.
const LEDGER_WITHIN: Duration = Duration::from_secs(2);

/// The loop looks every second.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, description = "it lives")))]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// It keeps its schedules and reaches its ledger, and is not on its way out.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses((status = 200, description = "it works"), (status = 503, description = "why not, in a sentence")))]
pub(super) async fn ready(State(host): State<Arc<Host>>) -> Response {
    let not = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if host.is_draining() {
        return not("it was told to stop\n");
    }
    if host.since_looked().is_none_or(|since| since > LOOKED_WITHIN) {
        return not("its schedules are not kept\n");
    }
    let ledger = Arc::clone(&host.loaded().services.ledger);
    let asked = tokio::time::timeout(LEDGER_WITHIN, ledger.flag(&["*"], Flag::Pause)).await;
    match asked {
        Ok(Ok(_)) => "ok\n".into_response(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            not("the ledger cannot be asked\n")
        }
        Err(_) => not("the ledger does not answer\n"),
    }
}

/// Numbers for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "probes", responses((status = 200, description = "Prometheus' text format")))]
pub(super) async fn metrics(State(host): State<Arc<Host>>) -> Response {
    let text = host.metrics_text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
