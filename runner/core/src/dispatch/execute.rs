//! Runs one admitted attempt: fences, capabilities, the guest, and beside it the heartbeat that renews its leases
//! and carries a cancel to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::admit::{Accepted, Admitted, LEASE_TTL, applies_plan, tokens};
use super::examine::Examined;
use super::record::RunRecorder;
use super::settle::{Ending, settle};
use super::{DispatchError, Services, Stop};
use crate::capability::{DatabaseCapability, DirectoryCapability, Hold};
use crate::effect::Book;
use crate::grant::Authority;
use crate::job::FenceKind;
use crate::plan::{PlannedDatabase, PlannedDirectory};
use crate::ports::database::{Database, Fence};
use crate::ports::files::Directory;
use crate::ports::ledger::Flag;
use crate::ports::plugins::{Activation, Capabilities, GuestEnd, GuestRun, LogSink};
use crate::report::{Effect, LimitsUsed, Report};
use crate::run::Mode;

/// How often the heartbeat looks for a cancel in the ledger.
const FLAG_EVERY: Duration = Duration::from_secs(1);
/// How often it renews the leases, counted in looks.
const RENEW_EVERY_LOOKS: u32 = 15;

pub(super) async fn execute(
    services: &Services,
    examined: &Examined,
    accepted: &Accepted,
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
    let plan = plan.filter(|_| applies_plan(&admitted.request.reason));
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
        before: admitted.before.clone(),
        book: Arc::clone(&book),
        recorder: Arc::clone(&recorder) as Arc<dyn crate::capability::Recorder>,
        progress: Arc::clone(&services.progress),
        tokens: tokens(&admitted.leases),
        fence_in_database: examined.job.fence == FenceKind::Database,
    });
    let authority = examined.authority.as_ref().map(Arc::clone).unwrap_or_default();
    let ending = match take_fences(&hold, &admitted, &authority).await {
        Ok(()) => {
            let capabilities = capabilities(services, &admitted, authority, &hold);
            let activation = Activation {
                run: row.id.clone(),
                job: row.job.clone(),
                scheduled_at: accepted.scheduled_at,
                params: examined.params.clone(),
                shard: row.shard.clone(),
                cursor: admitted.cursor.clone(),
                time_left: examined.job.limits.wall,
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
    settle(services, examined, &admitted, &recorder, &book, ending).await
}

/// Raises the fence of every leased table, so that a run which lost its lease can change nothing more.
async fn take_fences(
    hold: &Hold,
    admitted: &Admitted,
    authority: &Authority,
) -> Result<(), crate::ports::database::DatabaseError> {
    if hold.mode == Mode::Plan || !hold.fence_in_database {
        return Ok(());
    }
    for path in authority.changes() {
        let crate::grant::Path::Table(name, _) = &path else {
            continue;
        };
        let scope = path.to_string();
        if let (Some(database), Some(token)) = (admitted.opened.databases.get(name), hold.tokens.get(&scope))
        {
            let fence = Fence {
                run: hold.run.clone(),
                attempt: hold.attempt,
                scope,
                token: *token,
                in_database: true,
            };
            database.take_fence(&fence).await?;
        }
    }
    Ok(())
}

/// The ports behind their decorators: guard, then plan or fence.
fn capabilities(
    services: &Services,
    admitted: &Admitted,
    authority: Arc<Authority>,
    hold: &Arc<Hold>,
) -> Capabilities {
    let planned = hold.mode == Mode::Plan;
    let databases = admitted.opened.databases.iter().map(|(name, port)| {
        let port: Arc<dyn Database> = if planned {
            Arc::new(PlannedDatabase::new(Arc::clone(port)))
        } else {
            Arc::clone(port)
        };
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
                port,
                queries,
                Arc::clone(hold),
            )),
        )
    });
    let directories = admitted.opened.directories.iter().map(|(name, port)| {
        let port: Arc<dyn Directory> = if planned {
            Arc::new(PlannedDirectory::new(Arc::clone(port)))
        } else {
            Arc::clone(port)
        };
        let clock = Arc::clone(&services.clock);
        (
            name.clone(),
            Arc::new(DirectoryCapability::new(
                name.clone(),
                port,
                clock,
                Arc::clone(hold),
            )),
        )
    });
    Capabilities {
        authority,
        databases: databases.collect(),
        directories: directories.collect(),
    }
}

/// The guest beside its heartbeat: whichever ends first decides.
async fn run_guest(
    services: &Services,
    examined: &Examined,
    recorder: &RunRecorder,
    mut activation: Activation,
    mut stop: watch::Receiver<Stop>,
) -> Ending {
    let (cancel, cancelled) = watch::channel(false);
    activation.cancel = cancelled;
    let run = activation.run.clone();
    let guest = services.plugins.run(&examined.job.plugin, activation);
    tokio::pin!(guest);
    let mut looks = 0_u32;
    let mut told = Stop::None;
    let mut watched = true;
    loop {
        tokio::select! {
            ended = &mut guest => {
                return match ended {
                    Ok(ended) if told != Stop::None => Ending::Stopped(told, ended.used),
                    Ok(ended) => Ending::Guest(ended),
                    Err(error) => Ending::Plugin(error),
                };
            }
            changed = stop.changed(), if told == Stop::None && watched => {
                // Where nobody is left who could stop it, nobody is asked again.
                watched = changed.is_ok();
                if watched && *stop.borrow() != Stop::None {
                    told = *stop.borrow();
                    let _ = cancel.send(true);
                }
            }
            () = services.clock.sleep(FLAG_EVERY) => {
                looks += 1;
                let lines = recorder.take_lines();
                if !lines.is_empty() && services.ledger.append(&run, services.clock.now(), &lines).await.is_err() {
                    tracing::warn!(%run, "log lines could not be recorded");
                }
                if told == Stop::None && services.ledger.flag(&[run.as_str(), "*"], Flag::Cancel).await.unwrap_or(false) {
                    told = Stop::Cancel;
                    let _ = cancel.send(true);
                }
                if looks.is_multiple_of(RENEW_EVERY_LOOKS) {
                    match services.ledger.renew(&run, services.clock.now(), LEASE_TTL).await {
                        Ok(true) => {}
                        Ok(false) => return Ending::LeaseLost,
                        // The lease lives on for several beats; the fence holds if it does not.
                        Err(error) => tracing::warn!(%run, %error, "the lease could not be renewed"),
                    }
                }
            }
        }
    }
}
