//! What the process works with, and how a request becomes a run in it: behind the gate, counted, stoppable.
//!
//! When something is due is the keeper's to know.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::dispatch::{self, DispatchError, Services, Stop};
use sereno_core::report::Report;
use sereno_core::run::{Outcome, RunRequest, Work};
use sereno_core::value::Instant;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::gate::{Gate, Gated, Turn, with_turn};

/// Why a new configuration was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected(pub String);

/// Reads the configuration anew.
#[async_trait]
pub trait Reload: Send + Sync {
    /// The configuration as it is now, validated. The ledger stays the one that is open.
    async fn load(&self) -> Result<Services, Rejected>;
}

/// What stays for the life of the process.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where guests run.
    pub guests: Handle,
    /// Runs at once.
    pub max_runs: u32,
}

/// In place of a time: the keeper has not looked yet.
const NEVER: u64 = u64::MAX;

/// Ticks of the same work that may wait for their turn beside one that runs: what is more would be overtaken anyway.
const UNDER_WAY_MAX: usize = 4;

/// What tells two deliveries in this process to be the same one.
type Delivery = (Work, Option<Instant>, Option<u32>);

/// See the module.
pub struct Host {
    services: RwLock<Services>,
    gate: Arc<Gate>,
    setting: Setting,
    reload: Box<dyn Reload>,
    /// Told to every run.
    stop: watch::Sender<Stop>,
    draining: watch::Sender<bool>,
    /// Requests that were taken and have not ended.
    at_work: watch::Sender<usize>,
    under_way: Mutex<HashSet<Delivery>>,
    /// The configuration is a new one.
    renewed: Notify,
    /// Since then, until the keeper knows.
    renewed_at: Mutex<Option<Instant>>,
    /// When the keeper last looked, by the clock's milliseconds.
    looked: AtomicU64,
}

impl Host {
    /// A host that does nothing yet.
    pub fn new(services: Services, setting: Setting, reload: Box<dyn Reload>) -> Arc<Self> {
        let gate = Gate::new(setting.max_runs, services.config.serve.runs_per_database);
        let gate = Arc::new(gate);
        let services = behind(services, &gate, &setting);
        Arc::new(Self {
            services: RwLock::new(services),
            gate,
            setting,
            reload,
            stop: watch::Sender::new(Stop::None),
            draining: watch::Sender::new(false),
            at_work: watch::Sender::new(0),
            under_way: Mutex::default(),
            renewed: Notify::new(),
            renewed_at: Mutex::default(),
            looked: AtomicU64::new(NEVER),
        })
    }

    /// What dispatch works with, under the configuration as it is now.
    pub fn services(&self) -> Services {
        self.services
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn clock(&self) -> Arc<dyn sereno_core::ports::clock::Clock> {
        self.services().clock
    }

    /// True once the process was told to stop: nothing new is taken.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Takes nothing new from now on.
    pub(super) fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Returns when it is told to drain.
    pub async fn drained(&self) {
        let mut draining = self.draining.subscribe();
        let _ = draining.wait_for(|draining| *draining).await;
    }

    pub(super) fn interrupt(&self) {
        self.stop.send_replace(Stop::Interrupt);
    }

    /// Returns when nothing is at work.
    pub(super) async fn idle(&self) {
        let mut at_work = self.at_work.subscribe();
        let _ = at_work.wait_for(|count| *count == 0).await;
    }

    /// How many requests are at work or wait for their turn.
    pub fn at_work(&self) -> usize {
        *self.at_work.borrow()
    }

    pub(super) fn look(&self, monotonic_ms: u64) {
        self.looked.store(monotonic_ms, Ordering::Relaxed);
    }

    /// How long ago the keeper last looked; none before the first time.
    pub fn since_looked(&self) -> Option<Duration> {
        let looked = self.looked.load(Ordering::Relaxed);
        let now = self.clock().monotonic_ms();
        (looked != NEVER).then(|| Duration::from_millis(now.saturating_sub(looked)))
    }

    /// Returns when there is a new configuration.
    pub(super) async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// Since when there is a new configuration, if the keeper has not asked before.
    pub(super) fn take_renewed(&self) -> Option<Instant> {
        lock(&self.renewed_at).take()
    }

    /// Takes the configuration as it is now, or says why not and keeps the one there is.
    ///
    /// # Errors
    /// It has mistakes, or asks for what only a new process can do.
    pub async fn reload(&self) -> Result<(), Rejected> {
        match self.reload.load().await {
            Ok(services) => {
                let before = self.services();
                let (old, new) = (&before.config.serve, &services.config.serve);
                if (old.max_runs, old.runs_per_database) != (new.max_runs, new.runs_per_database) {
                    tracing::warn!(
                        "`max_runs` and `runs_per_database` under [serve] change with a new process"
                    );
                }
                let services = behind(services, &self.gate, &self.setting);
                *self.services.write().unwrap_or_else(PoisonError::into_inner) = services;
                lock(&self.renewed_at).get_or_insert_with(|| self.clock().now());
                self.renewed.notify_one();
                tracing::info!("took the new configuration");
                Ok(())
            }
            Err(rejected) => {
                tracing::error!(reason = %rejected.0, "kept the configuration as it was: the new one has mistakes");
                Err(rejected)
            }
        }
    }

    /// Carries a scheduled request to its end, in a task of its own. Nothing happens while it is on its way already.
    pub(super) fn carry(self: &Arc<Self>, request: RunRequest) {
        let delivery = (request.work.clone(), request.scheduled_at, request.attempt);
        if self.is_draining() || !self.take(&delivery) {
            return;
        }
        let host = Arc::clone(self);
        let counted = Counted::new(&self.at_work);
        tokio::spawn(async move {
            let _counted = counted;
            let work = request.work.clone();
            let submitted = host.submit(&host.services(), request).await;
            tell(&work, &submitted);
            lock(&host.under_way).remove(&delivery);
        });
    }

    /// False when it is on its way already, or too many of the same work are.
    fn take(&self, delivery: &Delivery) -> bool {
        let mut under_way = lock(&self.under_way);
        if under_way.contains(delivery) {
            return false;
        }
        let of_work = under_way.iter().filter(|(work, ..)| *work == delivery.0).count();
        if of_work >= UNDER_WAY_MAX {
            tracing::warn!(work = %delivery.0, waiting = of_work, "a tick is left out: earlier ones of the same work wait for their turn");
            return false;
        }
        under_way.insert(delivery.clone())
    }

    /// Runs a request to its end behind the gate. Whoever stops the host stops it.
    async fn submit(&self, services: &Services, request: RunRequest) -> Result<Report, DispatchError> {
        let stop = self.stop.subscribe();
        let Some(turn) = self.turn(services, &request.work).await else {
            return Err(going());
        };
        with_turn(turn, dispatch::submit(services, request, stop)).await
    }

    /// Counts a request as at work until what it answers is dropped.
    pub(crate) fn count(&self) -> impl Send + 'static + use<> {
        Counted::new(&self.at_work)
    }

    /// Waits for its turn; none when the process is told to stop first. What waits has not begun, and is delivered again.
    async fn turn(&self, services: &Services, work: &Work) -> Option<Option<Turn>> {
        tokio::select! {
            biased;
            () = self.drained() => None,
            turn = self.gate.enter(&services.config, work) => Some(turn),
        }
    }

    /// Makes every plugin ready that a job names, so that its first tick starts at once.
    pub async fn prepare(&self) {
        let services = self.services();
        let plugins: BTreeSet<_> = services
            .config
            .jobs
            .values()
            .map(|job| job.plugin.clone())
            .collect();
        for plugin in plugins {
            if let Err(error) = services.plugins.prepare(&plugin).await {
                tracing::warn!(%plugin, %error, "a plugin could not be made ready");
            }
        }
    }
}

/// The process is on its way out.
fn going() -> DispatchError {
    DispatchError::Refused {
        message: "this process was told to stop, and takes nothing new".to_owned(),
        hint: Some("ask again: another one takes its place".to_owned()),
    }
}

/// The same with guests behind the gate.
fn behind(services: Services, gate: &Arc<Gate>, setting: &Setting) -> Services {
    let inner = Arc::clone(&services.plugins);
    let gated = Gated::new(inner, Arc::clone(gate), setting.guests.clone());
    Services {
        plugins: Arc::new(gated),
        ..services
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of those at work, until it is dropped.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(at_work: &watch::Sender<usize>) -> Self {
        at_work.send_modify(|count| *count += 1);
        Self(at_work.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Tells the log what became of a scheduled request.
fn tell(work: &Work, submitted: &Result<Report, DispatchError>) {
    match submitted {
        // Another host was first, and it is that one's to tell.
        Err(error @ (DispatchError::Taken { .. } | DispatchError::AtWork { .. })) => {
            tracing::debug!(%work, %error, "another host has it");
        }
        Ok(report) if report.duplicate => {
            tracing::debug!(%work, run = %report.run, "it was done before");
        }
        Ok(report) => {
            let outcome = report.outcome.label();
            let message = report.outcome.message().unwrap_or_default();
            match &report.outcome {
                Outcome::Succeeded | Outcome::Continued => {
                    tracing::info!(%work, run = %report.run, outcome, "a tick has run");
                }
                _ => tracing::warn!(%work, run = %report.run, outcome, message, "a tick did not succeed"),
            }
        }
        Err(error) => {
            tracing::error!(%work, %error, "a tick could not be run");
        }
    }
}
