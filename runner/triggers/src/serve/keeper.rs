//! The loop: hands out what is due, closes runs whose host died and delivers them again, keeps the watchdog calm.
//!
//! It waits for nothing but time: runs and looks at the ledger are tasks of their own, so that neither a long run nor a ledger
//! out of reach makes a tick late.

use std::sync::Arc;
use std::time::Duration;

use sereno_core::dispatch::{self, DispatchError, Services};
use sereno_core::ports::ledger::RunQuery;
use sereno_core::run::{Mode, Reason, RunRequest, Work};
use sereno_core::value::{Instant, show_instant};
use tokio::task::JoinHandle;

use super::host::Host;
use super::notify;
use super::timetable::{Due, Timetable};

/// The wall clock is looked at so often, whatever is due: it may be put forward while everybody sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it looks for runs whose host died and for what is to be delivered again.
const RESCUE_EVERY_MS: u64 = 30_000;

/// Runs of a job that are looked at for the last tick that was run: retries of older ones may be newer.
const LAST_RUNS: u32 = 20;

/// Keeps the schedules of `host` until it drains.
pub async fn keep(host: &Arc<Host>) {
    let clock = host.clock();
    let mut table = {
        let services = host.services();
        Timetable::new(&services.config, clock.now())
    };
    tracing::info!(schedules = table.len(), "keeping the schedules");
    let started = clock.now();
    let mut caught_up = Some(aside(host, catch_up(Arc::clone(host), table.latest(started))));
    let mut rescue: Option<JoinHandle<()>> = None;
    let mut rescued_at: Option<u64> = None;
    let watchdog = notify::Watchdog::new();
    while !host.is_draining() {
        let monotonic = clock.monotonic_ms();
        watchdog.calm();
        if let Some(since) = host.take_renewed() {
            table.read(&host.services().config, since);
        }
        for due in table.due(clock.now()) {
            hand_out(host, due);
        }
        let is_over = rescue.as_ref().is_none_or(JoinHandle::is_finished);
        let is_time = rescued_at.is_none_or(|at| monotonic.saturating_sub(at) >= RESCUE_EVERY_MS);
        if is_over && is_time {
            rescued_at = Some(monotonic);
            rescue = Some(aside(host, look_after(Arc::clone(host))));
        }
        let rest = table
            .next()
            .and_then(|next| (next - clock.now()).to_std().ok())
            .unwrap_or(LOOK_EVERY)
            .min(LOOK_EVERY)
            .max(Duration::from_millis(1));
        // Told only once it is asleep, and not when the time to look again came while it looked.
        let looked = async {
            let took = Duration::from_millis(clock.monotonic_ms().saturating_sub(monotonic));
            if took < rest {
                host.look(monotonic);
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = clock.sleep(rest) => {}
            () = looked => {}
            () = host.drained() => {}
            () = host.renewed() => {}
        }
    }
    for task in [caught_up.take(), rescue].into_iter().flatten() {
        task.abort();
    }
}

/// Does `work` beside the loop, counted as at work.
fn aside(host: &Host, work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let counted = host.count();
    tokio::spawn(async move {
        work.await;
        drop(counted);
    })
}

fn tick(work: Work, at: Instant) -> RunRequest {
    RunRequest {
        scheduled_at: Some(at),
        reason: Reason::Tick,
        attempt: Some(1),
        ..RunRequest::manual(work)
    }
}

fn hand_out(host: &Arc<Host>, due: Due) {
    if due.is_late {
        tracing::warn!(work = %due.work, at = %show_instant(due.at), "several times of a schedule went by at once; the latest of them is run");
    }
    host.carry(tick(due.work, due.at));
}

/// Runs the latest time of each schedule that went by while nobody was there: one each, and only where work has run before,
/// since a job that is new has missed nothing. What is too old by then is not begun, and nobody records it at each start.
async fn catch_up(host: Arc<Host>, latest: Vec<(Work, Instant)>) {
    let services = host.services();
    for (work, at) in latest {
        match is_missed(&services, &work, at).await {
            Ok(true) => {
                tracing::info!(%work, at = %show_instant(at), "catching up with a time that went by");
                host.carry(tick(work, at));
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%work, %error, "the ledger could not say whether a time went by");
            }
        }
    }
}

async fn is_missed(services: &Services, work: &Work, at: Instant) -> Result<bool, DispatchError> {
    if services.clock.now() - at > max_age(services, work, at) {
        return Ok(false);
    }
    let query = RunQuery {
        work: Some(work.clone()),
        mode: Some(Mode::Apply),
        limit: LAST_RUNS,
        ..RunQuery::default()
    };
    let rows = services.ledger.runs(&query).await?;
    // The ledger keeps microseconds.
    let last = rows.iter().map(|row| row.scheduled_at.timestamp_micros()).max();
    Ok(last.is_some_and(|last| last < at.timestamp_micros()))
}

/// As old as admission takes it.
fn max_age(services: &Services, work: &Work, at: Instant) -> chrono::TimeDelta {
    dispatch::event_age_max(&services.config, work, at)
}

/// Closes runs whose host died, and delivers what is to be delivered again. Letters that wait are sent beside it.
async fn look_after(host: Arc<Host>) {
    let services = host.services();
    match dispatch::rescue(&services).await {
        Ok(orphans) => {
            let count = orphans.len();
            if count > 0 {
                tracing::warn!(runs = count, "closed runs whose host had died");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "runs whose host died could not be looked for");
            return;
        }
    }
    match dispatch::to_deliver_again(&services).await {
        Ok(requests) => {
            for request in requests {
                tracing::info!(work = %request.work, attempt = request.attempt, "delivering again");
                host.carry(request);
            }
        }
        Err(error) => tracing::warn!(%error, "what is to be delivered again could not be looked for"),
    }
    dispatch::deliver(&services, false).await;
}
