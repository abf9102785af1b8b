//! `serve`: hosts that share a ledger, driven by a clock that the test holds, and the real program with its signals.
//!
//! What a tick is worth in time zones is `core/schedule`'s; what a gate lets through is tested beside it.

mod ticks;
mod trouble;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::dispatch::Services;
use sereno_core::name::PluginName;
use sereno_core::ports::ledger::{RunQuery, RunRow};
use sereno_core::ports::plugins::{
    Activation, GuestEnd, GuestFailure, GuestRun, PluginError, PluginInfo, Plugins,
};
use sereno_core::report::LimitsUsed;
use sereno_core::value::Instant;
use sereno_tests::house::House;
use sereno_tests::wait::wait_for;
use sereno_triggers::serve::{Host, Order, Rejected, Reload, Setting, keep, obey};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Everything here takes milliseconds; this is for a machine with a bad day.
const LIMIT: Duration = Duration::from_secs(60);

/// A configuration of `jobs` that each clean a directory of their own, with `more` in each job's section.
fn configuration(top: &str, scope: &str, jobs: usize, more: &str) -> String {
    let mut text = format!("version = 1\n[serve]\njitter = \"1ms\"\n{top}\n[policy]\nplan_first = false\n");
    for job in 0..jobs {
        write!(
            text,
            "[directory.d{job}]\npath = \"d{job}\"\nscope = \"{scope}\"\n[job.j{job}]\nplugin = \"temp-files\"\n\
             params = {{ directory = \"d{job}\", older_than = \"24h\" }}\n\
             grant = {{ directory.d{job} = [\"read\", \"remove\"] }}\n{more}\n"
        )
        .unwrap();
    }
    text
}

/// What the guests of a test do, one after the other; the real thing when nothing is left.
enum Script {
    Fail,
    /// Stays until it is cancelled.
    Stay,
}

#[derive(Default)]
struct Scripts(Mutex<Vec<Script>>);

impl Scripts {
    fn push(&self, script: Script) {
        self.0.lock().unwrap().push(script);
    }
}

struct Scripted {
    inner: Arc<dyn Plugins>,
    scripts: Arc<Scripts>,
}

#[async_trait]
impl Plugins for Scripted {
    async fn inspect(&self, name: &PluginName) -> Result<PluginInfo, PluginError> {
        self.inner.inspect(name).await
    }

    async fn prepare(&self, name: &PluginName) -> Result<(), PluginError> {
        self.inner.prepare(name).await
    }

    async fn run(&self, name: &PluginName, mut activation: Activation) -> Result<GuestRun, PluginError> {
        let script = self.scripts.0.lock().unwrap().pop();
        let end = match script {
            None => return self.inner.run(name, activation).await,
            Some(Script::Fail) => GuestEnd::Failed(GuestFailure::Retryable("not today".to_owned())),
            Some(Script::Stay) => {
                activation.cancel.wait_for(|cancelled| *cancelled).await.unwrap();
                GuestEnd::Cancelled
            }
        };
        Ok(GuestRun {
            end,
            used: LimitsUsed::default(),
        })
    }
}

/// What the next reload answers.
#[derive(Clone, Default)]
struct Offered(Arc<Mutex<Option<Result<Services, Rejected>>>>);

#[async_trait]
impl Reload for Offered {
    async fn load(&self) -> Result<Services, Rejected> {
        self.0.lock().unwrap().take().unwrap()
    }
}

/// A host at work.
struct Running {
    host: Arc<Host>,
    offered: Offered,
    orders: mpsc::Sender<Order>,
    ended: JoinHandle<sereno_triggers::serve::Ended>,
    keeping: JoinHandle<()>,
    /// The host's own threads: dropped, everything on them is gone as if the machine were.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Running {
    fn is_quiet(&self) -> bool {
        self.host.since_looked() == Some(Duration::ZERO) && self.host.at_work() == 0
    }

    /// As `kill -9`: nothing is finished, nothing is written.
    fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Hosts over one ledger and one clock.
struct World {
    folder: TempDir,
    house: House,
    scripts: Arc<Scripts>,
}

impl World {
    /// At 03:00:10 of a day that has gone by, so that no target's clock is behind it.
    fn new(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in 0..100 {
            fs::create_dir(folder.path().join(format!("d{name}"))).unwrap();
        }
        let mut house = House::new(configuration, folder.path()).unwrap();
        house.clock.set("2026-11-20T03:00:10Z".parse().unwrap());
        let scripts = Arc::new(Scripts::default());
        house.services.plugins = Arc::new(Scripted {
            inner: Arc::clone(&house.services.plugins),
            scripts: Arc::clone(&scripts),
        });
        Self {
            folder,
            house,
            scripts,
        }
    }

    /// The services of the machine called `name`.
    fn services(&self, name: &str) -> Services {
        Services {
            host: name.to_owned(),
            ..self.house.services.clone()
        }
    }

    /// The same under another configuration.
    fn with(&self, configuration: &str) -> Services {
        let other = House::new(configuration, self.folder.path()).unwrap();
        Services {
            config: other.services.config,
            targets: other.services.targets,
            ..self.house.services.clone()
        }
    }

    fn start(&self, name: &str) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let setting = Setting {
            guests: runtime.handle().clone(),
            max_runs: 4,
        };
        let offered = Offered::default();
        let host = Host::new(self.services(name), setting, Box::new(offered.clone()));
        let (orders, received) = mpsc::channel(4);
        let (kept, obeyed) = (Arc::clone(&host), Arc::clone(&host));
        Running {
            keeping: runtime.spawn(async move { keep(&kept).await }),
            ended: runtime.spawn(async move { obey(&obeyed, received).await }),
            host,
            offered,
            orders,
            runtime: Some(runtime),
        }
    }

    /// Lets time pass, and waits until every host has seen it and has done what there was to do.
    fn pass(&self, hosts: &[&Running], time: Duration) {
        self.house.clock.advance(time);
        Self::rest(hosts);
    }

    fn rest(hosts: &[&Running]) {
        let quiet = || hosts.iter().all(|running| running.is_quiet());
        assert!(wait_for(quiet, LIMIT), "a host is still at work");
    }

    fn now(&self) -> Instant {
        self.house.services.clock.now()
    }

    async fn runs(&self) -> Vec<RunRow> {
        let mut runs = self
            .house
            .services
            .ledger
            .runs(&RunQuery::default())
            .await
            .unwrap();
        runs.reverse();
        runs
    }

    /// Job, time, attempt and outcome of every run, in their order.
    async fn told(&self) -> Vec<String> {
        let told = |row: &RunRow| {
            format!(
                "{} {} #{} {}",
                row.work.name(),
                row.scheduled_at.format("%H:%M"),
                row.attempt,
                row.outcome.as_deref().unwrap_or("at work")
            )
        };
        self.runs().await.iter().map(told).collect()
    }

    /// How many runs succeeded for each job and time.
    async fn successes(&self) -> BTreeMap<(String, Instant), usize> {
        let mut successes = BTreeMap::new();
        for row in self.runs().await {
            if row.outcome.as_deref() == Some("succeeded") {
                *successes
                    .entry((row.work.name().to_owned(), row.scheduled_at))
                    .or_default() += 1;
            }
        }
        successes
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
