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
use sereno_core::dispatch::Services;
use sereno_core::grant;
use sereno_core::job::Config;
use sereno_core::manifest::Manifest;
use sereno_core::name::PluginName;
use sereno_core::ports::clock::Clock;
use sereno_core::ports::database::Progress;
use sereno_core::ports::ledger::Ledger;
use sereno_core::ports::plugins::{PluginInfo, Plugins};
use sereno_core::run::{Mode, Work};
use sereno_engine::{Allocation, CompileVia, Options, Packaged, Places, PluginHost, Precompiled};

use crate::args::Target;
use crate::failure::{Failure, USAGE};
use crate::output::Output;
use crate::render::progress::{SHOWN_AFTER, Unwatched, Watched, beginning};

/// Where compiled plugins are kept, before the usual places for caches.
const CACHE_VARIABLE: &str = "SERENO_CACHE_DIR";

/// The folder of compiled plugins beside the program, in a package.
pub(crate) const PACKAGED: &str = "compiled";

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

/// Everything that a process needs that stays, over a ledger that is open: memory for `max_runs` guests, and who may ask.
#[cfg(feature = "serve")]
pub(crate) async fn serving(
    config: Arc<Config>,
    ledger: Arc<dyn Ledger>,
    max_runs: u32,
) -> Result<sereno_triggers::serve::Loaded, Failure> {
    let secrets = Secrets::new(&config.folder);
    let mut tokens = Vec::new();
    for (name, token) in &config.serve.tokens {
        let section = format!("serve.token.{name}");
        let secret = secrets
            .resolve(token.secret.reference())
            .await
            .map_err(|error| unresolved(&section, "secret", &error))?;
        let hash = sereno_core::serve::hash_of_token(secret.expose().trim()).ok_or_else(|| {
            let message = format!("secret of [{section}] is neither a token nor the hash of one");
            Failure::new(USAGE, "configuration", message).hint(format!(
                "a token has {} characters or more, none of them blank: `openssl rand -hex 32` makes one",
                sereno_core::serve::TOKEN_CHARS_MIN
            ))
        })?;
        tokens.push(sereno_triggers::serve::KnownToken {
            name: name.to_string(),
            hash,
            role: token.role,
        });
    }
    let services = with_ledger(config, ledger, Arc::new(Unwatched), Allocation::Pool(max_runs))?;
    Ok(sereno_triggers::serve::Loaded { services, tokens })
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
    let targets = ConfiguredTargets::new(&config, Secrets::new(&config.folder));
    let sinks = ConfiguredSinks::new(&config, Secrets::new(&config.folder));
    Ok(Services {
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
    })
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

fn engine(places: Places, allocation: Allocation) -> Result<Arc<PluginHost>, Failure> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    Ok(Arc::new(PluginHost::new(Options {
        places,
        packaged: Packaged::find(&program.with_file_name(PACKAGED), &program)
            .context("the compiled plugins beside this program cannot be used")?,
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

#[cfg(feature = "compiler")]
/// A plugin's component, and its native code for another machine.
pub(crate) async fn precompile(
    config: &Config,
    plugin: &PluginName,
    target: Target,
) -> Result<Precompiled, Failure> {
    Ok(engine(places(Some(config)), Allocation::OnDemand)?
        .precompile(plugin, triple(target))
        .await?)
}

#[cfg(feature = "compiler")]
fn triple(target: Target) -> &'static str {
    let [x86_64, arm64] = sereno_engine::TARGETS;
    match target {
        Target::X86_64 => x86_64,
        Target::Arm64 => arm64,
    }
}

/// Compiles a component into a file: what the cache's child process does.
#[cfg(feature = "compiler")]
pub(crate) fn compile_file(input: &Path, output: &Path, target: Option<Target>) -> Result<(), Failure> {
    let target = target.map_or(sereno_engine::TARGET, |target| Some(triple(target)));
    Ok(sereno_engine::compile_file(input, output, target)
        .with_context(|| format!("could not compile {}", input.display()))?)
}

#[cfg(not(feature = "compiler"))]
pub(crate) fn compile_file(_input: &Path, _output: &Path, _target: Option<Target>) -> Result<(), Failure> {
    Err(Failure::usage("this build of sereno does not compile").hint("use the default build"))
}
