//! The whole house around one configuration: real engine, real plugins, real targets, a clock that the test holds.
//!
//! What the command line puts together in `compose.rs`, without a command line. It asserts nothing.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use chrono::Utc;
use sereno_adapters::clock::{FakeClock, SeededEntropy};
use sereno_adapters::ledger::MemoryLedger;
use sereno_adapters::secrets::Secrets;
use sereno_adapters::sinks::ConfiguredSinks;
use sereno_adapters::targets::ConfiguredTargets;
use sereno_core::dispatch::{DispatchError, Services, Stop, apply, submit};
use sereno_core::guard::Allowances;
use sereno_core::name::JobName;
use sereno_core::ports::database::Progress;
use sereno_core::report::{Effect, Report};
use sereno_core::run::{Mode, RunRequest};
use sereno_engine::{Allocation, CompileVia, Options, Places, PluginHost};
use tokio::sync::watch;

/// A configuration with everything it names, ready to run jobs.
pub struct House {
    /// What dispatch works with.
    pub services: Services,
    /// The host's clock; starts at the real now.
    pub clock: Arc<FakeClock>,
}

/// Nobody watches a test.
struct Unwatched;

impl Progress for Unwatched {
    fn effect(&self, _effect: &Effect) {}

    fn waiting(&self, _what: &str) {}
}

impl House {
    /// The house of `configuration`, whose relative paths start at `folder`.
    ///
    /// # Errors
    /// The configuration has mistakes, or the plugins are not built.
    pub fn new(configuration: &str, folder: &Path) -> Result<Self> {
        Self::with_environment(configuration, folder, BTreeMap::new())
    }

    /// The same, with `environment` for the `${env:NAME}` of the configuration.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_environment(
        configuration: &str,
        folder: &Path,
        environment: BTreeMap<String, String>,
    ) -> Result<Self> {
        let config = sereno_core::config::parse(configuration, folder)
            .map_err(|mistakes| anyhow::anyhow!("the configuration has mistakes: {mistakes:#?}"))?;
        let clock = Arc::new(FakeClock::at(Utc::now()));
        let targets = ConfiguredTargets::new(
            &config,
            Secrets::new(folder).with_environment(environment.clone()),
        );
        let sinks = ConfiguredSinks::new(&config, Secrets::new(folder).with_environment(environment));
        let plugins = PluginHost::new(Options {
            places: Places {
                paths: config.plugins.clone(),
                folders: vec![plugins_folder()?, crate::guests::guests().folder.clone()],
            },
            cache: crate::guests::guests().cache.clone(),
            compile: CompileVia::InProcess,
            allocation: Allocation::OnDemand,
            packaged: None,
            pins: BTreeMap::new(),
        });
        let services = Services {
            config: Arc::new(config),
            ledger: Arc::new(MemoryLedger::default()),
            clock: Arc::clone(&clock) as Arc<dyn sereno_core::ports::clock::Clock>,
            entropy: Arc::new(SeededEntropy::new(1)),
            plugins: Arc::new(plugins),
            targets: Arc::new(targets),
            sinks: Arc::new(sinks),
            host: "test-host".to_owned(),
            progress: Arc::new(Unwatched),
            forgetting: Arc::default(),
        };
        Ok(Self { services, clock })
    }

    /// A request for `job` as a person would make it.
    ///
    /// # Panics
    /// `job` is no job name.
    pub fn request(job: &str, mode: Mode) -> RunRequest {
        RunRequest {
            mode,
            ..RunRequest::manual(job.parse::<JobName>().expect("a job name"))
        }
    }

    /// Submits `request`; nobody stops it.
    ///
    /// # Errors
    /// As [`submit`].
    pub async fn submit(&self, request: RunRequest) -> Result<Report, DispatchError> {
        submit(&self.services, request, never()).await
    }

    /// Plans `job`.
    ///
    /// # Errors
    /// As [`submit`].
    pub async fn plan(&self, job: &str) -> Result<Report, DispatchError> {
        self.submit(Self::request(job, Mode::Plan)).await
    }

    /// Runs `job` at once.
    ///
    /// # Errors
    /// As [`submit`].
    pub async fn run(&self, job: &str) -> Result<Report, DispatchError> {
        self.submit(Self::request(job, Mode::Apply)).await
    }

    /// Applies the plan of `report`, with the guards in `allow` lifted.
    ///
    /// # Errors
    /// As [`apply`].
    pub async fn apply(&self, plan: &Report, allow: &[(&str, f64)]) -> Result<Report, DispatchError> {
        let allow = Allowances(
            allow
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
        );
        apply(&self.services, plan.run.as_str(), allow, never()).await
    }
}

fn never() -> watch::Receiver<Stop> {
    watch::channel(Stop::None).1
}

/// Where `./just test` leaves the packed plugins: beside the folder of this test's own program.
///
/// # Errors
/// They are not built.
pub fn plugins_folder() -> Result<PathBuf> {
    let program = env::current_exe().context("could not find the test's own program")?;
    let folder = program
        .ancestors()
        .map(|folder| folder.join("plugins"))
        .find(|folder| folder.join("temp-files.wasm").is_file());
    ensure!(
        folder.is_some(),
        "the plugins are not built: run `./just test`, which does it"
    );
    folder.context("checked above")
}

/// The program that `./just test` built, for what only a process of its own can show.
///
/// # Errors
/// It is not there.
pub fn program() -> Result<PathBuf> {
    let test = env::current_exe().context("could not find the test's own program")?;
    let program = test
        .ancestors()
        .map(|folder| folder.join("sereno"))
        .find(|path| path.is_file());
    program.context("the program is not built: run `./just test`, which does it")
}

/// What of a plan and its apply must be the same: verbs, targets, units, words, and how many.
pub fn amounts(report: &Report) -> Vec<(String, String, String, String, u64, u64)> {
    report
        .effects()
        .map(|effect| {
            (
                effect.verb.to_string(),
                effect.on.clone(),
                effect.unit.clone(),
                effect.what.clone(),
                effect.planned,
                effect.skipped,
            )
        })
        .collect()
}
