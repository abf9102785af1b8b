//! Runs one admitted attempt: fences, capabilities, the guest, and beside it the heartbeat that renews its leases
//! and carries a cancel to it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;

use super::admit::Admitted;
use super::begin::{LEASE_TTL, tokens};
use super::examine::{Examined, Opened};
use super::operate::stops;
use super::record::RunRecorder;
use super::settle::{Ending, settle};
use super::{DispatchError, Services, Stop, asked_to_stop, forget};
use crate::capability::{
    BackupCapability, DatabaseCapability, DirectoryCapability, Hold, OriginCapability, StorageCapability,
    WriterCapability,
};
use crate::effect::Book;
use crate::grant::Authority;
use crate::job::FenceKind;
use crate::name::{RunId, TargetName};
use crate::ports::database::Fence;
use crate::ports::plugins::{Activation, Capabilities, GuestEnd, GuestRun, LogSink};
use crate::report::{Effect, LimitsUsed, Report};
use crate::run::{Mode, RunRequest};

/// How often the heartbeat looks for a cancel or the kill switch in the ledger.
const FLAG_EVERY: Duration = Duration::from_secs(1);
/// How often it renews the leases.
const RENEW_EVERY: chrono::Duration = chrono::Duration::seconds(15);

/// Every line that is logged meanwhile carries the run's id, job and targets.
pub(super) async fn execute(
    services: &Services,
    examined: &Examined,
    admitted: Admitted,
    plan: Option<Vec<Effect>>,
    stop: watch::Receiver<Stop>,
) -> Result<Report, DispatchError> {
    let row = &admitted.row;
    let targets = row.targets.join(" ");
    // Of the gravest level, so that it is there for whichever lines are wanted.
    let span = tracing::error_span!("run", run = %row.id, job = %examined.job.name, targets, mode = %row.mode, attempt = row.attempt);
    let work = async {
        tracing::info!("the run begins");
        let report = execute_within(services, examined, admitted, plan, stop).await;
        match &report {
            Ok(report) => tracing::info!(outcome = report.outcome.label(), "the run has ended"),
            Err(error) => tracing::error!(%error, "the run's end could not be recorded"),
        }
        report
    };
    work.instrument(span).await
}

async fn execute_within(
    services: &Services,
    examined: &Examined,
    admitted: Admitted,
    plan: Option<Vec<Effect>>,
    stop: watch::Receiver<Stop>,
) -> Result<Report, DispatchError> {
    let row = &admitted.row;
    let book = Arc::new(Book::default());
    let recorder = Arc::new(RunRecorder::new(
        Arc::clone(&services.ledger),
        Arc::clone(&services.clock),
        row.id.clone(),
    ));
    let guards = examined
        .job
        .guards
        .lifted(&admitted.request.allow)
        .unwrap_or_else(|_| examined.job.guards.clone());
    let hold = Arc::new(Hold {
        run: row.id.clone(),
        attempt: row.attempt,
        mode: row.mode,
        guards,
        plan,
        before: admitted.history.before.clone(),
        book: Arc::clone(&book),
        recorder: Arc::clone(&recorder) as Arc<dyn crate::capability::Recorder>,
        progress: Arc::clone(&services.progress),
        tokens: tokens(services, &admitted.leases),
        fence_in_database: examined.job.fence == FenceKind::Database,
    });
    let authority = Arc::clone(&admitted.opened.authority);
    let fences = fences(&hold, &authority);
    let ending = match take_fences(&fences, &admitted.opened).await {
        Ok(()) => {
            let capabilities = capabilities(services, &admitted, &authority, &hold);
            let activation = Activation {
                run: row.id.clone(),
                job: examined.job.name.clone(),
                scheduled_at: row.scheduled_at,
                params: examined.params.clone(),
                shard: row.shard.clone(),
                cursor: row.cursor.clone(),
                time_left: time_left(services, examined, &admitted.request),
                limits: examined.job.limits,
                capabilities,
                book: Arc::clone(&book),
                log: Arc::clone(&recorder) as Arc<dyn LogSink>,
                cancel: watch::channel(false).1,
            };
            run_guest(services, examined, &recorder, activation, stop).await
        }
        Err(error) => Ending::Guest(GuestRun {
            end: GuestEnd::PassedOn(error.into()),
            used: LimitsUsed::default(),
        }),
    };
    let report = settle(services, examined, &admitted, &recorder, &book, &fences, ending).await?;
    for (name, database) in &admitted.opened.databases {
        if fences.iter().any(|(of, _)| of == name) {
            forget::forget_records(services, name, &**database).await;
        }
    }
    Ok(report)
}

/// What its limits allow, and no more than is left of its round's window.
fn time_left(services: &Services, examined: &Examined, request: &RunRequest) -> Duration {
    let wall = examined.job.limits.wall;
    request.until.map_or(wall, |until| {
        wall.min((until - services.clock.now()).to_std().unwrap_or_default())
    })
}

/// The fence of every leased table and database, so that a run which lost its lease can change nothing more.
fn fences(hold: &Hold, authority: &Authority) -> Vec<(TargetName, Fence)> {
    if hold.mode == Mode::Plan || !hold.fence_in_database {
        return Vec::new();
    }
    let changes = authority.changes().into_iter();
    changes
        .filter_map(|path| {
            let scope = path.to_string();
            let fenced = authority.grants().on(&path).iter().any(|verb| verb.is_fenced());
            let (crate::grant::Path::Table(name, _) | crate::grant::Path::Whole(name)) = path else {
                return None;
            };
            fenced.then_some(())?;
            let fence = Fence {
                run: hold.run.clone(),
                attempt: hold.attempt,
                token: *hold.tokens.get(&scope)?,
                scope,
                in_database: true,
            };
            Some((name, fence))
        })
        .collect()
}

async fn take_fences(
    fences: &[(TargetName, Fence)],
    opened: &Opened,
) -> Result<(), crate::ports::database::DatabaseError> {
    for (name, fence) in fences {
        if let Some(database) = opened.databases.get(name) {
            database.take_fence(fence).await?;
        }
    }
    Ok(())
}

/// The opened ports behind grants and guards.
fn capabilities(
    services: &Services,
    admitted: &Admitted,
    authority: &Arc<Authority>,
    hold: &Arc<Hold>,
) -> Capabilities {
    let databases = admitted.opened.databases.iter().map(|(name, port)| {
        let queries = services
            .config
            .databases
            .get(name)
            .map(|database| database.queries.clone())
            .unwrap_or_default();
        (
            name.clone(),
            Arc::new(DatabaseCapability::new(
                name.clone(),
                Arc::clone(port),
                queries,
                admitted.opened.disks.get(name).cloned(),
                Arc::clone(authority),
                Arc::clone(hold),
            )),
        )
    });
    let directories = admitted.opened.directories.iter().map(|(name, port)| {
        let clock = Arc::clone(&services.clock);
        (
            name.clone(),
            Arc::new(DirectoryCapability::new(
                name.clone(),
                Arc::clone(port),
                clock,
                Arc::clone(hold),
            )),
        )
    });
    let origins = admitted.opened.origins.iter().filter_map(|(name, port)| {
        let target = services.config.origins.get(name)?;
        let origin = OriginCapability::new(name.clone(), Arc::clone(port), target, Arc::clone(hold));
        Some((name.clone(), Arc::new(origin)))
    });
    let storages = admitted.opened.storages.iter().map(|(name, port)| {
        let clock = Arc::clone(&services.clock);
        let capability = StorageCapability::new(name.clone(), Arc::clone(port), clock, Arc::clone(hold));
        (name.clone(), Arc::new(capability))
    });
    let writers = admitted.opened.writers.iter().map(|(name, port)| {
        let writer = WriterCapability::new(name.clone(), Arc::clone(port), Arc::clone(hold));
        (name.clone(), Arc::new(writer))
    });
    Capabilities {
        authority: Arc::clone(authority),
        databases: databases.collect(),
        directories: directories.collect(),
        origins: origins.collect(),
        storages: storages.collect(),
        writers: writers.collect(),
        backups: admitted.opened.backups.as_ref().map(|port| {
            let clock = Arc::clone(&services.clock);
            Arc::new(BackupCapability::new(Arc::clone(port), clock, Arc::clone(hold)))
        }),
    }
}

/// The guest beside its heartbeat: whichever ends first decides. The two are polled together, because each may wait
/// for the ledger that the other has its turn at.
async fn run_guest(
    services: &Services,
    examined: &Examined,
    recorder: &RunRecorder,
    mut activation: Activation,
    stop: watch::Receiver<Stop>,
) -> Ending {
    let (cancel, cancelled) = watch::channel(false);
    activation.cancel = cancelled;
    let told = OnceLock::new();
    let tell = |stop| {
        let _ = told.set(stop);
        let _ = cancel.send(true);
    };
    let run = activation.run.clone();
    let guest = services.plugins.run(&examined.job.plugin, activation);
    let lease_lost = heartbeat(services, &run, recorder, &told, &tell);
    let stopped = async {
        if let Some(stop) = asked_to_stop(stop).await {
            tell(stop);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = guest => match ended {
            // Whoever came to the end of the work before the word reached it has done the work.
            Ok(ended) => match told.get() {
                Some(stop) if !matches!(ended.end, GuestEnd::Done | GuestEnd::More(_)) => {
                    Ending::Stopped(*stop, ended.used)
                }
                _ => Ending::Guest(ended),
            },
            Err(error) => Ending::Plugin(error),
        },
        () = lease_lost => Ending::LeaseLost,
        () = stopped => unreachable!("it only tells"),
    }
}

/// Writes log lines, looks for a cancel or the kill switch in the ledger and renews the leases, until a lease is lost.
pub(super) async fn heartbeat(
    services: &Services,
    run: &RunId,
    recorder: &RunRecorder,
    told: &OnceLock<Stop>,
    tell: &(dyn Fn(Stop) + Sync),
) {
    let ledger = &services.ledger;
    let mut renewed = services.clock.now();
    loop {
        services.clock.sleep(FLAG_EVERY).await;
        let lines = recorder.take_lines();
        if !lines.is_empty() && ledger.append(run, services.clock.now(), &lines).await.is_err() {
            tracing::warn!(%run, "log lines could not be recorded");
        }
        // A ledger that cannot be read says nothing: the leases decide whether the run may go on without it.
        if told.get().is_none() && ledger.raised().await.is_ok_and(|raised| stops(&raised, run)) {
            tell(Stop::Cancel);
        }
        let now = services.clock.now();
        if now - renewed < RENEW_EVERY {
            continue;
        }
        match ledger.renew(run, now, LEASE_TTL).await {
            Ok(true) => renewed = now,
            Ok(false) => return,
            // The lease lives on for several beats; the fence holds if it does not.
            Err(error) => tracing::warn!(%run, %error, "the lease could not be renewed"),
        }
    }
}
