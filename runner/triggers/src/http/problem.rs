//! Errors as RFC 9457 has them (`application/problem+json`), with the code and the next step that the command line gives.
//!
//! It says nothing that a caller without a right to it might learn from.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sereno_core::dispatch::DispatchError;
use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::ledger::LedgerError;
use utoipa::ToSchema;

/// What an answer is called that is a problem.
const CONTENT_TYPE: &str = "application/problem+json";

/// One mistake among several.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Detail {
    /// What it is about, such as `job.temp-files.params.older_than`.
    at: String,
    /// A sentence.
    message: String,
    /// What to do next.
    hint: Option<String>,
}

/// Why a request was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// `urn:sereno:problem:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// What the status means.
    title: String,
    /// The status of the answer.
    status: u16,
    /// A sentence.
    detail: String,
    /// Stable and short, such as `no-job`.
    code: &'static str,
    /// What to do next.
    hint: Option<String>,
    /// The single mistakes, where there are several.
    problems: Vec<Detail>,
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:sereno:problem:{code}"),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            hint: None,
            problems: Vec::new(),
            retry_after: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Worth another try after so many seconds.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<DispatchError> for Problem {
    fn from(error: DispatchError) -> Self {
        let text = error.to_string();
        let of = |status, code| Self::new(status, code, text.clone());
        match error {
            DispatchError::Usage(problems) => Self {
                problems: problems
                    .into_iter()
                    .map(|one| Detail {
                        at: one.at,
                        message: one.message,
                        hint: one.hint,
                    })
                    .collect(),
                ..of(StatusCode::BAD_REQUEST, "usage")
            },
            DispatchError::NoJob(missing) => of(StatusCode::NOT_FOUND, "no-job").hint(missing.hint),
            DispatchError::NoRound(missing) => of(StatusCode::NOT_FOUND, "no-round").hint(missing.hint),
            DispatchError::Refused { hint, .. } => Self {
                hint,
                ..of(StatusCode::CONFLICT, "refused")
            },
            DispatchError::AtWork { .. } => of(StatusCode::CONFLICT, "at-work"),
            DispatchError::Taken { .. } => of(StatusCode::CONFLICT, "taken"),
            DispatchError::HasEnded(_) => of(StatusCode::CONFLICT, "ended"),
            DispatchError::Ledger(LedgerError::NoRun(_)) => of(StatusCode::NOT_FOUND, "no-run"),
            DispatchError::Ledger(LedgerError::Ambiguous { .. }) => {
                of(StatusCode::BAD_REQUEST, "ambiguous-run")
            }
            DispatchError::Ledger(LedgerError::Unreachable { .. }) => {
                of(StatusCode::SERVICE_UNAVAILABLE, "ledger").retry_after(RETRY_AFTER)
            }
            DispatchError::Database {
                source: DatabaseError::Unreachable { .. },
                ..
            } => of(StatusCode::SERVICE_UNAVAILABLE, "database").retry_after(RETRY_AFTER),
            _ => of(StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        DispatchError::Ledger(error).into()
    }
}

/// Seconds after which what is out of reach may be back.
pub(super) const RETRY_AFTER: u64 = 10;
