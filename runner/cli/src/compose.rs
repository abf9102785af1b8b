//! Puts the house together: the only file that names concrete adapters and the engine.
//!
//! Nothing is opened here before a command needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use sereno_adapters::clock::{SystemClock, SystemEntropy};
use sereno_adapters::ledger as ledgers;
use sereno_adapters::secrets::{Secret, SecretError, Secrets};
use sereno_adapters::sinks::ConfiguredSinks;
use sereno_adapters::targets::ConfiguredTargets;
#[cfg(feature = "lambda")]
use sereno_core::dispatch::Forgetting;
use sereno_core::dispatch::Services;
use sereno_core::grant;
use sereno_core::job::Config;
use sereno_core::manifest::Manifest;
use sereno_core::name::PluginName;
#[cfg(feature = "lambda")]
use sereno_core::ports::carrier::Continuations;
use sereno_core::ports::clock::Clock;
use sereno_core::ports::database::Progress;
use sereno_core::ports::ledger::Ledger;
use sereno_core::ports::plugins::{PluginInfo, Plugins};
use sereno_core::run::{Mode, Work};
use sereno_engine::{Allocation, CompileVia, Options, Places, PluginHost};

use crate::failure::{Failure, USAGE};
use crate::output::Output;
use crate::render::progress::{SHOWN_AFTER, Unwatched, Watched, beginning};

/// Where compiled plugins are kept, before the usual places for caches.
const CACHE_VARIABLE: &str = "SERENO_CACHE_DIR";

/// Who watches a run's progress.
pub(crate) struct Watching(Option<Arc<Watched>>);

impl Watching {
    /// A person, where one sits at a terminal.
    pub(crate) fn new(output: &Output) -> Self {
        Self(output.is_watched.then(|| Arc::new(Watched::default())))
    }

    fn progress(&self) -> Arc<dyn Progress> {
        match &self.0 {
            Some(watched) => Arc::clone(watched) as Arc<dyn Progress>,
            None => Arc::new(Unwatched),
        }
    }

    /// A run of this job begins.
    pub(crate) fn start(&self, config: &Config, work: &Work, mode: Mode) {
        let job = work.job().and_then(|job| config.jobs.get(job));
        if let (Some(watched), Some(job)) = (&self.0, job) {
            let targets: BTreeSet<String> = job.grants.0.keys().map(grant::Path::target).collect();
            let targets: Vec<String> = targets.into_iter().collect();
            watched.start(job.name.to_string(), beginning(mode, &targets));
        }
    }

    /// Shows what is being done, once it takes long enough to be worth a line.
    pub(crate) async fn show(&self) -> Infallible {
        tokio::time::sleep(SHOWN_AFTER).await;
        if let Some(watched) = &self.0 {
            watched.show();
        }
        std::future::pending().await
    }

    /// Takes the line of progress away, before anything else is written.
    pub(crate) fn clear(&self) {
        if let Some(watched) = &self.0 {
            watched.clear();
        }
    }
}

/// The machine's clock.
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// Everything that runs need.
pub(crate) async fn services(config: Arc<Config>, watching: &Watching) -> Result<Services, Failure> {
    let ledger = ledger(&config).await?;
    with_ledger(config, ledger, watching.progress(), Allocation::OnDemand)
}

/// Everything that a process needs that stays, over a ledger that is open, with memory for `max_runs` guests.
#[cfg(feature = "serve")]
pub(crate) fn serving(
    config: Arc<Config>,
    ledger: Arc<dyn Ledger>,
    max_runs: u32,
) -> Result<Services, Failure> {
    with_ledger(config, ledger, Arc::new(Unwatched), Allocation::Pool(max_runs))
}

/// What stays from one invocation of a function to the next: the configuration and compiled plugins, and no connection.
#[cfg(feature = "lambda")]
pub(crate) struct Warm {
    config: Arc<Config>,
    plugins: Arc<dyn Plugins>,
    forgetting: Arc<Forgetting>,
}

#[cfg(feature = "lambda")]
impl Warm {
    /// Opens nothing.
    pub(crate) fn new(config: Arc<Config>) -> Result<Self, Failure> {
        Ok(Self {
            plugins: engine(places(Some(&config)), Allocation::OnDemand)?,
            config,
            forgetting: Arc::default(),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Everything that runs need, opened anew.
    pub(crate) async fn services(&self) -> Result<Services, Failure> {
        let url = ledger_url(&self.config).await?;
        not_in_a_file(&url)?;
        let ledger = ledgers::open(url.expose(), &self.config.folder).await?;
        Ok(Services {
            forgetting: Arc::clone(&self.forgetting),
            ..with(
                Arc::clone(&self.config),
                ledger,
                Arc::new(Unwatched),
                Arc::clone(&self.plugins),
            )
        })
    }
}

/// Where the rest of a run is sent to, if the configuration says so.
#[cfg(feature = "lambda")]
#[cfg_attr(
    feature = "aws",
    expect(clippy::unnecessary_wraps, reason = "a build without queues refuses")
)]
pub(crate) fn continuations(config: &Config) -> Result<Option<Arc<dyn Continuations>>, Failure> {
    let Some(queue) = config.lambda.continue_queue.clone() else {
        return Ok(None);
    };
    #[cfg(feature = "aws")]
    {
        let queue = sereno_adapters::aws::Queue::new(queue, Secrets::new(&config.folder));
        Ok(Some(Arc::new(queue)))
    }
    #[cfg(not(feature = "aws"))]
    {
        drop(queue);
        Err(Failure::usage(
            "this build of sereno knows no queues: `continue_queue` of [lambda] cannot be used",
        ))
    }
}

/// A ledger in a file is gone with the sandbox, and no other sandbox sees it.
#[cfg(feature = "lambda")]
pub(crate) async fn insist_on_a_shared_ledger(config: &Config) -> Result<(), Failure> {
    let reference = config.ledger_url.reference();
    // Asking AWS for it is left to the first event that needs it.
    if ["${ssm:", "${secretsmanager:"]
        .iter()
        .any(|far| reference.contains(far))
    {
        return Ok(());
    }
    not_in_a_file(&ledger_url(config).await?)
}

#[cfg(feature = "lambda")]
fn not_in_a_file(url: &Secret) -> Result<(), Failure> {
    if url.expose().starts_with("sqlite:") {
        let message = "a ledger in a file is lost with the sandbox of a function: `url` of [ledger] must be `postgres://`";
        return Err(Failure::new(USAGE, "configuration", message)
            .hint("set SERENO_LEDGER, or `url` under [ledger], to a database that all sandboxes reach"));
    }
    Ok(())
}

/// The same over history that is only read: nothing is made, and what is not there yet is empty.
pub(crate) async fn reading(config: Arc<Config>) -> Result<Services, Failure> {
    let ledger = history(&config).await?;
    with_ledger(config, ledger, Arc::new(Unwatched), Allocation::OnDemand)
}

/// The same over history that is open.
pub(crate) fn over(config: Arc<Config>, ledger: Arc<dyn Ledger>) -> Result<Services, Failure> {
    with_ledger(config, ledger, Arc::new(Unwatched), Allocation::OnDemand)
}

/// What examining jobs needs: no ledger is opened.
pub(crate) fn offline(config: Arc<Config>) -> Result<Services, Failure> {
    with_ledger(
        config,
        Arc::new(ledgers::MemoryLedger::default()),
        Arc::new(Unwatched),
        Allocation::OnDemand,
    )
}

fn with_ledger(
    config: Arc<Config>,
    ledger: Arc<dyn Ledger>,
    progress: Arc<dyn Progress>,
    allocation: Allocation,
) -> Result<Services, Failure> {
    let plugins = engine(places(Some(&config)), allocation)?;
    Ok(with(config, ledger, progress, plugins))
}

fn with(
    config: Arc<Config>,
    ledger: Arc<dyn Ledger>,
    progress: Arc<dyn Progress>,
    plugins: Arc<dyn Plugins>,
) -> Services {
    let targets = ConfiguredTargets::new(&config, Secrets::new(&config.folder));
    let sinks = ConfiguredSinks::new(&config, Secrets::new(&config.folder));
    Services {
        config,
        ledger,
        clock: clock(),
        entropy: Arc::new(SystemEntropy),
        plugins,
        targets: Arc::new(targets),
        sinks: Arc::new(sinks),
        host: host(),
        progress,
        forgetting: Arc::default(),
    }
}

/// The run history that the configuration names; made where it is not there yet.
pub(crate) async fn ledger(config: &Config) -> Result<Arc<dyn Ledger>, Failure> {
    Ok(ledgers::open(ledger_url(config).await?.expose(), &config.folder).await?)
}

/// The same to be read: nothing is made, and what is not there yet is empty.
pub(crate) async fn history(config: &Config) -> Result<Arc<dyn Ledger>, Failure> {
    Ok(ledgers::open_to_read(ledger_url(config).await?.expose(), &config.folder).await?)
}

async fn ledger_url(config: &Config) -> Result<Secret, Failure> {
    Secrets::new(&config.folder)
        .resolve(config.ledger_url.reference())
        .await
        .map_err(|error| unresolved("ledger", "url", &error))
}

fn unresolved(section: &str, key: &str, error: &SecretError) -> Failure {
    Failure::new(USAGE, "configuration", format!("{key} of [{section}]: {error}"))
}

/// This machine's name; part of the key of work on its own directories.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Where plugins are: what the configuration says, beside it, beside the program, or one folder above the program.
fn places(config: Option<&Config>) -> Places {
    let beside_configuration = match config {
        Some(config) => Some(config.folder.clone()),
        None => std::env::current_dir().ok(),
    };
    let program = std::env::current_exe().ok();
    let beside_program = program.as_deref().and_then(Path::parent);
    let above_program = beside_program.and_then(Path::parent);
    let folders = [beside_configuration.as_deref(), beside_program, above_program];
    Places {
        paths: config.map(|config| config.plugins.clone()).unwrap_or_default(),
        folders: folders
            .into_iter()
            .flatten()
            .map(|folder| folder.join("plugins"))
            .collect(),
    }
}

fn engine(places: Places, allocation: Allocation) -> Result<Arc<dyn Plugins>, Failure> {
    Ok(Arc::new(PluginHost::new(Options {
        places,
        cache: cache_folder()?,
        compile: compile_via().context("could not find this program's own file")?,
        allocation,
        pins: BTreeMap::new(),
    })))
}

/// This very program compiles, as a child with little memory and time.
#[cfg(feature = "compiler")]
fn compile_via() -> std::io::Result<CompileVia> {
    let args = ["plugin", "compile"].map(std::ffi::OsString::from);
    std::env::current_exe().map(|program| CompileVia::Child {
        program,
        args: args.into(),
    })
}

#[cfg(not(feature = "compiler"))]
#[expect(clippy::unnecessary_wraps, reason = "its twin asks the system")]
fn compile_via() -> std::io::Result<CompileVia> {
    Ok(CompileVia::Nobody)
}

/// A function has neither, and one folder to write to.
fn of_a_function() -> Option<PathBuf> {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API")?;
    Some(std::env::temp_dir().join("sereno-cache"))
}

fn cache_folder() -> Result<PathBuf, Failure> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(folder) = folder(CACHE_VARIABLE) {
        return Ok(folder);
    }
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .map(|caches| caches.join("sereno"))
        .or_else(of_a_function)
        .ok_or_else(|| {
            Failure::usage("there is no folder for compiled plugins: neither XDG_CACHE_HOME nor HOME is set")
                .hint(format!("set {CACHE_VARIABLE} to a folder of this user's own"))
        })
}

/// What a plugin, by the name that a job would use, says of itself.
pub(crate) async fn inspect(config: Option<&Config>, name: &str) -> Result<PluginInfo, Failure> {
    let name = plugin_name(name)?;
    Ok(engine(places(config), Allocation::OnDemand)?
        .inspect(&name)
        .await?)
}

/// What the plugin in a file says of itself.
pub(crate) async fn inspect_file(file: &Path) -> Result<PluginInfo, Failure> {
    let (name, places) = place_of(file)?;
    Ok(engine(places, Allocation::OnDemand)?.inspect(&name).await?)
}

fn plugin_name(text: &str) -> Result<PluginName, Failure> {
    text.parse().map_err(|error: sereno_core::name::NameError| {
        Failure::usage(error.to_string()).hint("give a file's path, or a plugin's name as a job would use it")
    })
}

/// The name that the file's own manifest has, and where it is found under that name.
fn place_of(file: &Path) -> Result<(PluginName, Places), Failure> {
    let usage = |error: anyhow::Error| Failure {
        exit: USAGE,
        code: "plugin",
        ..Failure::from(error)
    };
    let bytes = fs::read(file)
        .with_context(|| format!("could not read {}", file.display()))
        .map_err(usage)?;
    let text = sereno_pack::read(&bytes)
        .with_context(|| format!("{} is no plugin", file.display()))
        .map_err(usage)?
        .ok_or_else(|| {
            Failure::new(USAGE, "plugin", format!("{} has no manifest", file.display()))
                .hint("`sereno plugin pack` appends one")
        })?;
    let manifest = Manifest::parse(text).map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        Failure {
            causes: mistakes,
            ..Failure::new(
                USAGE,
                "plugin",
                format!("the manifest in {} cannot be read", file.display()),
            )
        }
    })?;
    let paths = BTreeMap::from([(manifest.name.clone(), file.to_owned())]);
    Ok((
        manifest.name,
        Places {
            paths,
            folders: Vec::new(),
        },
    ))
}

/// Compiles a plugin into the cache, so that its first run starts at once.
pub(crate) async fn prepare(config: Option<&Config>, plugin: &str) -> Result<PluginInfo, Failure> {
    let (name, places) = if crate::commands::is_plugin_file(plugin) {
        place_of(Path::new(plugin))?
    } else {
        (plugin_name(plugin)?, places(config))
    };
    let engine = engine(places, Allocation::OnDemand)?;
    engine.prepare(&name).await?;
    Ok(engine.inspect(&name).await?)
}

/// Compiles a component into a file: what the cache's child process does.
#[cfg(feature = "compiler")]
pub(crate) fn compile_file(input: &Path, output: &Path) -> Result<(), Failure> {
    Ok(sereno_engine::compile_file(input, output)
        .with_context(|| format!("could not compile {}", input.display()))?)
}

#[cfg(not(feature = "compiler"))]
pub(crate) fn compile_file(_input: &Path, _output: &Path) -> Result<(), Failure> {
    Err(Failure::usage("this build of sereno does not compile").hint("use the default build"))
}
