//! Records a request for a job that could not be examined: a wrong param, a plugin that is not there.
//!
//! Whoever asked by hand has the answer before the eyes; a schedule has nobody, so that its history must tell.

use tokio::sync::watch;

use super::admit::{accept, look, new_row, not_taken};
use super::begin::{Begin, begin, record_end};
use super::error::Unstarted;
use super::history::History;
use super::subject::Subject;
use super::{DispatchError, Services, Stop};
use crate::report::Report;
use crate::run::RunRequest;

/// The error as it was, with the run that tells of it where it is one to be recorded.
pub(super) async fn record(
    services: &Services,
    request: &mut RunRequest,
    error: DispatchError,
    stop: &watch::Receiver<Stop>,
) -> Unstarted {
    if !error.is_recorded(request) {
        return error.into();
    }
    match ended(services, request, &error, stop).await {
        Ok(report) => Unstarted {
            error,
            report: report.map(Box::new),
        },
        Err(unrecorded) => {
            tracing::warn!(%unrecorded, "a failure before the start could not be recorded");
            error.into()
        }
    }
}

/// None when the key is at work.
async fn ended(
    services: &Services,
    request: &mut RunRequest,
    error: &DispatchError,
    stop: &watch::Receiver<Stop>,
) -> Result<Option<Report>, DispatchError> {
    let Some(job) = request.work.job().and_then(|job| services.config.jobs.get(job)) else {
        return Ok(None);
    };
    let subject = Subject::unexamined(&services.config, job);
    let accepted = accept(services, &subject, request);
    loop {
        let past = look(services, &subject, &accepted).await?;
        if not_taken(request, &past.attempts).is_err() {
            return Ok(None);
        }
        let history = History::read(services, &past.attempts, request.mode).await?;
        let scheduled_at = history.scheduled_at.unwrap_or(accepted.scheduled_at);
        let row = new_row(services, &subject, &accepted, request, scheduled_at, &history);
        let key_scope = format!("key:{}", accepted.key);
        return match begin(services, &subject, request, row, &[key_scope], stop).await? {
            Begin::Begun(row, _) => {
                let report = record_end(services, &subject, &row, &history, error.outcome()).await?;
                Ok(Some(report))
            }
            Begin::Overtaken => continue,
            Begin::Not(_) => Ok(None),
        };
    }
}
