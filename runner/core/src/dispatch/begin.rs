//! Begins an attempt in the ledger: waits for other jobs, takes the leases, writes `started`.
//!
//! Whether there is to be an attempt at all is `admit`'s to say.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::close::{Closing, close};
use super::examine::Examined;
use super::history::History;
use super::operate::standing_still;
use super::report::empty_report;
use super::subject::Subject;
use super::{DispatchError, Services, Stop, sleep};
use crate::grant::{Authority, Path};
use crate::ports::ledger::{Held, Lease, NewRun, RunRow, Start};
use crate::report::Report;
use crate::run::{Mode, Outcome, RunRequest, Skip, Work};
use crate::units::show_duration;
use crate::value::show_instant;

/// A lease that nobody renews is over after this: four missed renewals.
pub(super) const LEASE_TTL: Duration = Duration::from_mins(1);

/// What is left of a lease after two renewals that did not come: who holds it is dead, or soon proves that it lives.
const NOT_RENEWED: chrono::Duration = chrono::Duration::seconds(28);

/// How often a run that waits for another job's lease asks again.
const WAIT_STEP: Duration = Duration::from_millis(500);

/// What became of an attempt that was to begin.
pub(super) enum Begin {
    /// It is recorded and holds its leases.
    Begun(Box<RunRow>, Vec<Lease>),
    /// It cannot have its leases, and is to be recorded with this outcome instead.
    Not(Outcome),
    /// The key has had another attempt meanwhile: everything must be looked at again.
    Overtaken,
}

/// What an attempt leases: its key, and for an apply every table and directory that it changes. This machine's own
/// targets carry its name.
pub(super) fn scopes(
    services: &Services,
    examined: &Examined,
    authority: &Authority,
    mode: Mode,
    key_scope: String,
) -> Vec<String> {
    let mut scopes = vec![key_scope];
    if mode == Mode::Apply {
        let scope = |path: Path| {
            if examined.host_scoped.contains(&path.target()) {
                format!("{path}{}", of_host(services))
            } else {
                path.to_string()
            }
        };
        scopes.extend(authority.changes().into_iter().map(scope));
    }
    scopes
}

/// What a scope of this machine's own ends with.
pub(super) fn of_host(services: &Services) -> String {
    format!("@{}", services.host)
}

/// The fence token of each leased grant path.
pub(super) fn tokens(services: &Services, leases: &[Lease]) -> BTreeMap<String, i64> {
    let host = of_host(services);
    let path = |scope: &str| scope.strip_suffix(&host).unwrap_or(scope).to_owned();
    leases
        .iter()
        .map(|lease| (path(&lease.scope), lease.token))
        .collect()
}

/// Tries until the scopes are free, the job's patience is over, or somebody says stop.
///
/// # Errors
/// The same key is at work, or the ledger's own.
pub(super) async fn begin(
    services: &Services,
    subject: &Subject,
    request: &RunRequest,
    row: RunRow,
    scopes: &[String],
    stop: &watch::Receiver<Stop>,
) -> Result<Begin, DispatchError> {
    let work = &subject.work;
    let key_scope = format!("key:{}", row.key);
    let mut new = NewRun {
        row,
        request: request.clone(),
        params: subject.params.clone(),
    };
    let mut waited = Duration::ZERO;
    loop {
        let held = match services.ledger.start(new.clone(), scopes, LEASE_TTL).await? {
            Start::Begun(row, leases) => {
                services.progress.begun(&row.id);
                return Ok(Begin::Begun(row, leases));
            }
            Start::Overtaken => return Ok(Begin::Overtaken),
            Start::Held(held) => held,
        };
        let by = |wanted: &dyn Fn(&Held) -> bool| held.iter().find(|held| wanted(held));
        if let Some(held) = by(&|held| held.scope == key_scope) {
            let run = held.run.clone();
            return Err(DispatchError::AtWork { run });
        }
        // One that is not renewed any more is waited for: its host died, and it ends within half a minute.
        let now = services.clock.now();
        if let Some(held) = by(&|held| held.work == *work && held.until - now > NOT_RENEWED) {
            let until = show_instant(held.until);
            let text = format!(
                "run {} of the same {} holds {} until {until}",
                held.run,
                kind(work),
                held.scope
            );
            return Ok(Begin::Not(Outcome::Skipped(Skip::Overlap, text)));
        }
        let other = by(&|_| true).map_or_else(String::new, |held| {
            format!("{} (run {}) holds {}", held.work, held.run, held.scope)
        });
        let is_over = request.until.is_some_and(|until| services.clock.now() >= until);
        if waited >= subject.wait || is_over {
            let text = format!("{other}, and still did after {}", show_duration(waited));
            return Ok(Begin::Not(Outcome::Retryable(text)));
        }
        if waited.is_zero() {
            services
                .progress
                .waiting(&format!("{other}; waiting up to {}", show_duration(subject.wait)));
        }
        if let Some(stopped) = sleep(services, WAIT_STEP, stop).await {
            return Ok(Begin::Not(stopped));
        }
        if let Some(paused) = standing_still(services, work).await? {
            return Ok(Begin::Not(paused));
        }
        waited += WAIT_STEP;
        new.row.started_at = services.clock.now();
    }
}

/// `job` or `round`.
fn kind(work: &Work) -> &'static str {
    match work {
        Work::Job(_) => "job",
        Work::Round(_) => "round",
    }
}

/// Ends a run where it began.
pub(super) async fn record_end(
    services: &Services,
    subject: &Subject,
    row: &RunRow,
    history: &History,
    outcome: Outcome,
) -> Result<Report, DispatchError> {
    let mut report = empty_report(services, row, subject.params.clone(), outcome);
    report.earlier.clone_from(&history.before);
    close(services, row, Vec::new(), &mut report, Closing::Ended).await?;
    Ok(report)
}
