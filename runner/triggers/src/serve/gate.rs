//! How much runs at once: so many guests in all, so many on each database. Guests run on threads of their own.
//!
//! A job waits for its turn before it is admitted, so that it holds no lease meanwhile. The steps of a round are admitted by
//! the round, and wait where their guest would start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sereno_core::grant::Path;
use sereno_core::job::Config;
use sereno_core::name::{PluginName, TargetName};
use sereno_core::ports::plugins::{Activation, GuestEnd, GuestRun, PluginError, PluginInfo, Plugins};
use sereno_core::report::LimitsUsed;
use sereno_core::run::Work;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

tokio::task_local! {
    /// The task has had its turn.
    static HAS_TURN: ();
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    runs: Arc<Semaphore>,
    per_database: usize,
    databases: Mutex<BTreeMap<TargetName, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Gate {
    pub(super) fn new(runs: u32, per_database: u32) -> Self {
        let size = |count: u32| usize::try_from(count.max(1)).unwrap_or(1);
        Self {
            runs: Arc::new(Semaphore::new(size(runs))),
            per_database: size(per_database),
            databases: Mutex::default(),
        }
    }

    /// Waits until `work` may run. A round has no guest of its own, and no turn.
    pub(super) async fn enter(&self, config: &Config, work: &Work) -> Option<Turn> {
        let job = config.jobs.get(work.job()?)?;
        let databases: BTreeSet<&TargetName> = job.grants.0.keys().filter_map(Path::database).collect();
        Some(self.take(databases).await)
    }

    /// Databases before the run, and those in the order of their names: nobody who waits for a database keeps others from
    /// running, and no two wait for each other.
    async fn take(&self, databases: impl IntoIterator<Item = &TargetName>) -> Turn {
        let mut permits = Vec::new();
        for name in databases {
            permits.push(acquire(self.database(name)).await);
        }
        permits.push(acquire(Arc::clone(&self.runs)).await);
        Turn { _permits: permits }
    }

    fn database(&self, name: &TargetName) -> Arc<Semaphore> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        let semaphore = databases
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.per_database)));
        Arc::clone(semaphore)
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.acquire_owned().await.expect("nobody closes it")
}

/// Does `work`, whose guests need not wait for a turn again.
pub(super) async fn with_turn<T>(turn: Option<Turn>, work: impl Future<Output = T>) -> T {
    match turn {
        Some(_turn) => HAS_TURN.scope((), work).await,
        None => work.await,
    }
}

/// Plugins behind the gate, on the guests' own threads.
pub(super) struct Gated {
    inner: Arc<dyn Plugins>,
    gate: Arc<Gate>,
    guests: Handle,
}

impl Gated {
    pub(super) fn new(inner: Arc<dyn Plugins>, gate: Arc<Gate>, guests: Handle) -> Self {
        Self { inner, gate, guests }
    }
}

#[async_trait]
impl Plugins for Gated {
    async fn inspect(&self, name: &PluginName) -> Result<PluginInfo, PluginError> {
        self.inner.inspect(name).await
    }

    async fn prepare(&self, name: &PluginName) -> Result<(), PluginError> {
        self.inner.prepare(name).await
    }

    async fn run(&self, name: &PluginName, activation: Activation) -> Result<GuestRun, PluginError> {
        let _turn = if HAS_TURN.try_with(|()| ()).is_ok() {
            None
        } else {
            let databases: Vec<TargetName> = activation.capabilities.databases.keys().cloned().collect();
            let mut cancel = activation.cancel.clone();
            tokio::select! {
                turn = self.gate.take(&databases) => Some(turn),
                Ok(_) = cancel.wait_for(|cancelled| *cancelled) => {
                    return Ok(GuestRun { end: GuestEnd::Cancelled, used: LimitsUsed::default() });
                }
            }
        };
        let (inner, plugin) = (Arc::clone(&self.inner), name.clone());
        // In a set, so that whoever drops the run stops the guest.
        let mut guest = JoinSet::new();
        guest.spawn_on(async move { inner.run(&plugin, activation).await }, &self.guests);
        match guest.join_next().await {
            Some(Ok(ended)) => ended,
            ended => Err(PluginError::Host {
                name: name.clone(),
                reason: match ended {
                    Some(Err(error)) => format!("its task ended: {error}"),
                    _ => "its task is gone".to_owned(),
                },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;
    use std::task::Poll;

    use futures::poll;

    use super::*;

    /// Jobs `a` and `b` on database `one`, `c` on `two`, `d` on none.
    fn config() -> Config {
        let mut text = "version = 1\n[database.one]\nurl = \"sqlite://one.db\"\n[database.two]\nurl = \"sqlite://two.db\"\n\
             [directory.d]\npath = \"d\"\n"
            .to_owned();
        for (job, grant) in [
            ("a", "database.one.tables.t"),
            ("b", "database.one.tables.u"),
            ("c", "database.two.tables.t"),
            ("d", "directory.d"),
        ] {
            let block = format!("[job.{job}]\nplugin = \"p\"\ngrant = {{ {grant} = [\"read\"] }}\n");
            text.push_str(&block);
        }
        sereno_core::config::parse(&text, FilePath::new("/srv")).expect("a configuration")
    }

    fn work(job: &str) -> Work {
        job.parse().expect("a name")
    }

    #[tokio::test]
    async fn one_run_on_each_database_and_no_more_than_there_may_be_in_all() {
        let (config, gate) = (config(), Gate::new(2, 1));
        let works = ["a", "b", "c", "d"].map(work);
        let [a, b, c, d] = works.each_ref().map(|work| gate.enter(&config, work));
        tokio::pin!(a, b, c, d);
        let Poll::Ready(a) = poll!(&mut a) else {
            panic!("it waits")
        };
        assert!(a.is_some());
        assert!(poll!(&mut b).is_pending(), "its database is taken");
        let Poll::Ready(c) = poll!(&mut c) else {
            panic!("it waits")
        };
        assert!(poll!(&mut d).is_pending(), "two are at work");
        drop(c);
        let Poll::Ready(d) = poll!(&mut d) else {
            panic!("it waits")
        };
        assert!(poll!(&mut b).is_pending());
        drop((a, d));
        assert!(poll!(&mut b).is_ready());
        let round: Work = "round:r".parse().expect("a name");
        assert!(
            gate.enter(&config, &round).await.is_none(),
            "its steps have turns"
        );
    }
}
