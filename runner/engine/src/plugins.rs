//! The `Plugins` port: finds, checks, makes ready and runs plugins.
//!
//! Nothing is opened, compiled or started before it is needed: a one-shot command pays for one plugin only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use sereno_core::name::PluginName;
use sereno_core::ports::plugins::{Activation, GuestRun, PluginError, PluginInfo, Plugins};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::bindings::PluginPre;
use crate::cache::{Cache, artefact_name};
use crate::compile::{CompileError, CompileVia, compile_via};
use crate::engine::{Allocation, Role, TARGET, config};
use crate::host::link;
use crate::loader::{Places, Stamp, examine};
use crate::packaged::Packaged;
use crate::run::run;
use crate::state::State;
use crate::ticker::Ticker;

/// How wasmtime words it when a component could never run in a slot of the pool.
const TOO_LARGE_FOR_A_SLOT: &str = "does not fit in pooling allocator requirements";

/// How a [`PluginHost`] is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where plugins are.
    pub places: Places,
    /// Compiled plugins that came with the program, which come first.
    pub packaged: Option<Packaged>,
    /// Where compiled plugins are kept; made when it is needed, for this user alone.
    pub cache: PathBuf,
    /// Who compiles.
    pub compile: CompileVia,
    /// Where a run's memory comes from.
    pub allocation: Allocation,
    /// Digests that plugins must have, by name. One that is not here may have any.
    pub pins: BTreeMap<PluginName, String>,
}

/// A plugin as a package holds it.
#[derive(Debug)]
pub struct Precompiled {
    /// The component, manifest and all.
    pub component: Vec<u8>,
    /// What its native code is called among packaged plugins, without `.cwasm`.
    pub artefact_name: String,
    /// Its native code.
    pub artefact: Vec<u8>,
}

/// Runs plugins with wasmtime.
pub struct PluginHost {
    options: Options,
    cache: Cache,
    engine: OnceLock<Engine>,
    ticker: Ticker,
    /// What was read of each plugin, while its file stays as it was.
    known: Mutex<HashMap<PluginName, (Stamp, PluginInfo)>>,
    /// Plugins that can be instantiated at once, by digest.
    ready: Mutex<HashMap<String, PluginPre<State>>>,
    /// One plugin is made ready at a time: a second run of the same one finds it done.
    making: tokio::sync::Mutex<()>,
    /// With a pool, one permit a slot; runs beyond it wait.
    slots: Option<Semaphore>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both maps are only caches, and whole whatever panicked beside them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn host(name: &PluginName, reason: impl Into<String>) -> PluginError {
    PluginError::Host {
        name: name.clone(),
        reason: reason.into(),
    }
}

/// An error with its sources, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl PluginHost {
    /// A host for the plugins in `options.places`. Touches nothing.
    pub fn new(options: Options) -> Self {
        let slots = match options.allocation {
            Allocation::OnDemand => None,
            Allocation::Pool(runs) => Some(Semaphore::new(usize::try_from(runs).unwrap_or(usize::MAX))),
        };
        Self {
            cache: Cache::new(&options.cache),
            options,
            engine: OnceLock::new(),
            ticker: Ticker::default(),
            known: Mutex::default(),
            ready: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            slots,
        }
    }

    fn engine(&self, name: &PluginName) -> Result<&Engine, PluginError> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = config(Role::Run(self.options.allocation), TARGET)
            .and_then(|config| Engine::new(&config))
            .map_err(|error| host(name, format!("{error:#}")))?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// What is known of `name`; with its bytes, when they had to be read.
    fn look(&self, name: &PluginName) -> Result<(PluginInfo, Option<Vec<u8>>), PluginError> {
        let found = self.options.places.find(name)?;
        if let Some((stamp, info)) = lock(&self.known).get(name)
            && *stamp == found.stamp
        {
            return Ok((info.clone(), None));
        }
        let (stamp, path) = (found.stamp.clone(), found.path());
        let wasm = found.read(name)?;
        let named_by_file = !self.options.places.paths.contains_key(name);
        let info = examine(name, path, named_by_file, &wasm)?;
        if let Some(pinned) = self
            .options
            .pins
            .get(name)
            .filter(|pinned| **pinned != info.digest)
        {
            return Err(PluginError::Invalid {
                name: name.clone(),
                reason: format!("its digest is {}, and {pinned} is pinned", info.digest),
            });
        }
        lock(&self.known).insert(name.clone(), (stamp, info.clone()));
        Ok((info, Some(wasm)))
    }

    /// The plugin, compiled, linked and ready to be instantiated.
    async fn make_ready(&self, name: &PluginName) -> Result<PluginPre<State>, PluginError> {
        let (info, wasm) = self.look(name)?;
        if let Some(ready) = lock(&self.ready).get(&info.digest) {
            return Ok(ready.clone());
        }
        let _making = self.making.lock().await;
        if let Some(ready) = lock(&self.ready).get(&info.digest) {
            return Ok(ready.clone());
        }
        let engine = self.engine(name)?;
        let component = match self.cached(engine, name, &info.digest)? {
            Some(component) => component,
            None => self.compiled(engine, name, &info.digest, wasm).await?,
        };
        let imports: BTreeSet<String> = info.imports.into_iter().collect();
        let ready = link(engine, &imports)
            .and_then(|linker| linker.instantiate_pre(&component))
            .and_then(PluginPre::new)
            // Names were checked; what is left are types that are not the contract's.
            .map_err(|error| PluginError::Invalid {
                name: name.clone(),
                reason: crate::text::line(&format!("{error:#}")),
            })?;
        let known: BTreeSet<String> = lock(&self.known)
            .values()
            .map(|(_, info)| info.digest.clone())
            .collect();
        let mut all = lock(&self.ready);
        // What has been replaced is let go.
        all.retain(|digest, _| known.contains(digest));
        all.insert(info.digest, ready.clone());
        Ok(ready)
    }

    /// The component of `name` and its native code for `target`, one of [`crate::TARGETS`]: for a package. Nothing is
    /// kept here.
    ///
    /// # Errors
    /// As for a plugin that is to run, and where nobody compiles.
    pub async fn precompile(
        &self,
        name: &PluginName,
        target: &'static str,
    ) -> Result<Precompiled, PluginError> {
        let info = self.look(name)?.0;
        let component = self.options.places.find(name)?.read(name)?;
        if sereno_core::run::digest(&component) != info.digest {
            return Err(host(name, "its file changed while it was read; try again"));
        }
        let (via, wasm) = (&self.options.compile, component.clone());
        let artefact = compile_via(via, &self.cache, wasm, Some(target)).await;
        Ok(Precompiled {
            artefact_name: artefact_name(&info.digest, Some(target)),
            artefact: artefact.map_err(|error| not_compiled(name, error))?,
            component,
        })
    }

    fn cached(
        &self,
        engine: &Engine,
        name: &PluginName,
        digest: &str,
    ) -> Result<Option<Component>, PluginError> {
        let packaged = self.options.packaged.as_ref();
        let artefact = match packaged.map(|packaged| packaged.load(digest)).transpose() {
            Ok(Some(Some(artefact))) => Ok(Some(artefact)),
            Ok(_) => self.cache.load(digest),
            Err(error) => Err(error),
        };
        let artefact = artefact.map_err(|error| host(name, chain(&error)))?;
        // One that is ours and does not fit was made by another build of this release; it is replaced.
        Ok(artefact.and_then(|artefact| deserialize(engine, &artefact).ok()))
    }

    async fn compiled(
        &self,
        engine: &Engine,
        name: &PluginName,
        digest: &str,
        wasm: Option<Vec<u8>>,
    ) -> Result<Component, PluginError> {
        let wasm = match wasm {
            Some(wasm) => wasm,
            None => self.options.places.find(name)?.read(name)?,
        };
        if sereno_core::run::digest(&wasm) != digest {
            return Err(host(name, "its file changed while it was read; try again"));
        }
        let artefact = compile_via(&self.options.compile, &self.cache, wasm, TARGET).await;
        let artefact = artefact.map_err(|error| not_compiled(name, error))?;
        let component = deserialize(engine, &artefact).map_err(|error| {
            let reason = format!("{error:#}");
            if reason.contains(TOO_LARGE_FOR_A_SLOT) {
                PluginError::Invalid {
                    name: name.clone(),
                    reason,
                }
            } else {
                host(name, reason)
            }
        })?;
        // Kept only now that it is known to be of use.
        let kept = self.cache.store(digest, &artefact);
        kept.map_err(|error| host(name, chain(&error)))?;
        Ok(component)
    }
}

fn not_compiled(name: &PluginName, error: CompileError) -> PluginError {
    match error {
        CompileError::Refused(reason) => PluginError::Invalid {
            name: name.clone(),
            reason: crate::text::line(&reason),
        },
        error => host(name, chain(&error)),
    }
}

/// Native code, ready to run.
fn deserialize(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    #[expect(
        unsafe_code,
        reason = "the only way to load native code; the two callers hand in what the cache has authenticated or the \
                  program brought along, or what our own compiler has just made"
    )]
    // SAFETY: `artefact` was made by `compile` with this release of wasmtime, and nobody has changed it since: it
    // comes from the compiler's output, from under a seal made with this user's own key, or from beside the program,
    // where only those can write who can write the program.
    unsafe {
        Component::deserialize(engine, artefact)
    }
}

#[async_trait]
impl Plugins for PluginHost {
    async fn inspect(&self, name: &PluginName) -> Result<PluginInfo, PluginError> {
        Ok(self.look(name)?.0)
    }

    async fn prepare(&self, name: &PluginName) -> Result<(), PluginError> {
        self.make_ready(name).await.map(drop)
    }

    async fn run(&self, name: &PluginName, activation: Activation) -> Result<GuestRun, PluginError> {
        let ready = self.make_ready(name).await?;
        let engine = self.engine(name)?;
        let _slot = match &self.slots {
            Some(slots) => Some(slots.acquire().await.expect("nobody closes it")),
            None => None,
        };
        let _ticking = self
            .ticker
            .activate(engine)
            .map_err(|error| host(name, format!("no thread for its clock: {error}")))?;
        Ok(run(engine, &ready, activation).await)
    }
}
