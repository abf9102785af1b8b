//! Bodies: small, whole and in time before anything else looks at them, and strict JSON.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Bytes of a body: params are small.
const BYTES_MAX: usize = 64 << 10;

/// Whoever sends so little takes no longer.
const WITHIN: Duration = Duration::from_secs(5);

/// Lets a request through once its body is here.
pub(super) async fn whole(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = match tokio::time::timeout(WITHIN, to_bytes(body, BYTES_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let detail = format!("the body could not be read, or is larger than {BYTES_MAX} bytes");
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail).into_response();
        }
        Err(_) => {
            let detail = format!("the body did not come within {} s", WITHIN.as_secs());
            return Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail).into_response();
        }
    };
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

/// What a body says; nothing is what the default says. Only JSON that says so: a form of a web page is none.
pub(super) fn read<T: DeserializeOwned + Default>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let is_json = kind.is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    });
    if !is_json {
        let problem = Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "no-json",
            "the body is no JSON",
        );
        return Err(problem.hint("send `Content-Type: application/json`"));
    }
    serde_json::from_slice(body).map_err(|error| Problem::bad_request(format!("the body: {error}")))
}
