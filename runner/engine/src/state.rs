//! What the store of one run holds, and the gate that every host call of the contract goes through.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sereno_core::capability::{
    DatabaseCapability, DirectoryCapability, OriginCapability, StorageCapability, WriterCapability,
};
use sereno_core::effect::Book;
use sereno_core::grant::{Denied, Interface, Path, Verb};
use sereno_core::job::Limits;
use sereno_core::name::{TableName, TargetName};
use sereno_core::ports::plugins::{CallError, Capabilities};
use tokio::sync::watch;
use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::bindings::types;
use crate::limits::{LimitHit, LimitName, Limiter};
use crate::log::{Log, Print};
use crate::meter::{Meter, Unmetered};
use crate::text::line;

/// How long a host call that is under way may go on after a cancel: a batch is done by then and counted, and
/// anything longer is dropped, which cancels it where it runs.
const CALL_GRACE: Duration = Duration::from_secs(1);

/// The most time that is kept back for a run to end in order.
const RESERVE_MAX: Duration = Duration::from_secs(10);

/// Of the time given, the part that is kept back when that is less.
const RESERVE_PART: u32 = 4;

/// What a run used, readable while the guest is at work and after it was dropped.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) host_calls: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) output_bytes: AtomicU64,
    pub(crate) memory_bytes: AtomicU64,
}

/// What the host calls of one run reach, and what stops them.
pub(crate) struct Reach {
    capabilities: Capabilities,
    cancel: watch::Receiver<bool>,
    deadline: Instant,
    reserve: Duration,
    meter: Arc<Meter>,
    /// The last error of each kind that was answered, so that a guest which passes one on can be believed, in the
    /// host's own words.
    answered: Mutex<Vec<CallError>>,
}

/// What a host call does with the time that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It looks; it is let in as long as it could answer.
    Look,
    /// It changes or pages, and will be called again: it is refused when the time is nearly over. Once begun it is not
    /// given up for that: a guest that ends in order is believed in what was counted.
    Step,
}

/// Resolves once `cancel` is raised; never, when nobody is left to raise it.
pub(crate) async fn raised(mut cancel: watch::Receiver<bool>) {
    if cancel.wait_for(|raised| *raised).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Reach {
    pub(crate) fn new(
        capabilities: Capabilities,
        cancel: watch::Receiver<bool>,
        began: Instant,
        time: Duration,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            capabilities,
            cancel,
            deadline: began + time,
            reserve: RESERVE_MAX.min(time / RESERVE_PART),
            meter,
            answered: Mutex::default(),
        }
    }

    /// The time until host calls answer `deadline`.
    pub(crate) fn time_left(&self) -> Duration {
        self.deadline
            .saturating_duration_since(Instant::now())
            .saturating_sub(self.reserve)
    }

    /// When a look under way is given up: the guest has half of what is kept back to end in order.
    fn given_up_at(&self) -> Instant {
        self.deadline
            .checked_sub(self.reserve / 2)
            .unwrap_or(self.deadline)
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The database called `name`, if this call may be made on what `on` says.
    pub(crate) fn database(
        &self,
        interface: Interface,
        verb: Verb,
        name: &str,
        on: impl FnOnce(TargetName) -> Path,
    ) -> Result<Arc<DatabaseCapability>, CallError> {
        let name = target(name)?;
        let path = on(name.clone());
        self.authorize(interface, verb, &path)?;
        self.capabilities
            .databases
            .get(&name)
            .cloned()
            .ok_or_else(|| denied(&path, verb))
    }

    /// The directory called `name`, if this call may be made on it.
    pub(crate) fn directory(&self, verb: Verb, name: &str) -> Result<Arc<DirectoryCapability>, CallError> {
        let name = target(name)?;
        let path = Path::Directory(name.clone());
        self.authorize(Interface::Files, verb, &path)?;
        self.capabilities
            .directories
            .get(&name)
            .cloned()
            .ok_or_else(|| denied(&path, verb))
    }

    /// The origin called `name`, if this call may be made on it.
    pub(crate) fn origin(&self, verb: Verb, name: &str) -> Result<Arc<OriginCapability>, CallError> {
        let name = target(name)?;
        let path = Path::Origin(name.clone());
        self.authorize(Interface::Http, verb, &path)?;
        self.capabilities
            .origins
            .get(&name)
            .cloned()
            .ok_or_else(|| denied(&path, verb))
    }

    /// The storage called `name`, if this call may be made on it.
    pub(crate) fn storage(&self, verb: Verb, name: &str) -> Result<Arc<StorageCapability>, CallError> {
        let name = target(name)?;
        let path = Path::Storage(name.clone());
        self.authorize(Interface::Storage, verb, &path)?;
        self.capabilities
            .storages
            .get(&name)
            .cloned()
            .ok_or_else(|| denied(&path, verb))
    }

    /// The writer called `name`, if it may be told.
    pub(crate) fn writer(&self, name: &str) -> Result<Arc<WriterCapability>, CallError> {
        let name = target(name)?;
        let path = Path::Writer(name.clone());
        self.authorize(Interface::NotifyWriter, Verb::Notify, &path)?;
        self.capabilities
            .writers
            .get(&name)
            .cloned()
            .ok_or_else(|| denied(&path, Verb::Notify))
    }

    pub(crate) fn authorize(&self, interface: Interface, verb: Verb, on: &Path) -> Result<(), CallError> {
        self.capabilities
            .authority
            .authorize(interface, verb, on)
            .map_err(|denied| CallError::Denied(denied.line_to_add()))
    }

    /// The answered error of the same kind as `passed_on`; none when there was none.
    pub(crate) fn answered_like(&self, passed_on: &types::Error) -> Option<CallError> {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered
            .iter()
            .find(|error| std::mem::discriminant(&to_guest(error)) == std::mem::discriminant(passed_on))
            .cloned()
    }

    fn remember(&self, error: &CallError) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|known| std::mem::discriminant(known) != std::mem::discriminant(error));
        answered.push(error.clone());
    }
}

/// One host call that was let in.
pub(crate) struct Call {
    pub(crate) reach: Arc<Reach>,
    pace: Pace,
}

impl Call {
    /// Does the call's work, unless the run is cancelled or its time nearly over, before it or during it; puts errors
    /// into the contract's words.
    pub(crate) async fn answer<T>(
        self,
        work: impl Future<Output = Result<T, CallError>> + Send,
    ) -> Result<T, types::Error> {
        let reach = &self.reach;
        let answer = if *reach.cancel.borrow() {
            Err(CallError::Cancelled)
        } else if self.pace == Pace::Step && reach.time_left().is_zero() {
            Err(CallError::Deadline)
        } else {
            let given_up = async {
                raised(reach.cancel.clone()).await;
                tokio::time::sleep(CALL_GRACE).await;
            };
            tokio::select! {
                biased;
                answer = Unmetered::new(Arc::clone(&reach.meter), work) => answer,
                () = given_up => Err(CallError::Cancelled),
                () = tokio::time::sleep_until(reach.given_up_at()), if self.pace == Pace::Look => {
                    Err(CallError::Deadline)
                }
            }
        };
        answer.map_err(|error| {
            reach.remember(&error);
            to_guest(&error)
        })
    }
}

/// What a store holds.
pub(crate) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) limits: Limits,
    pub(crate) log: Arc<Log>,
    pub(crate) book: Arc<Book>,
    pub(crate) used: Arc<Used>,
    pub(crate) reach: Arc<Reach>,
}

impl State {
    pub(crate) fn new(
        limits: Limits,
        log: Arc<Log>,
        printed: &[Print; 2],
        book: Arc<Book>,
        used: Arc<Used>,
        reach: Arc<Reach>,
    ) -> Self {
        let [out, err] = printed.clone();
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.handles).unwrap_or(usize::MAX));
        Self {
            // Nothing but the two streams: no arguments, no environment, no input.
            wasi: WasiCtxBuilder::new().stdout(out).stderr(err).build(),
            table,
            limiter: Limiter::new(&limits, Arc::clone(&used)),
            limits,
            log,
            book,
            used,
            reach,
        }
    }

    /// Lets one host call in, and counts it.
    pub(crate) fn call(&mut self, pace: Pace) -> wasmtime::Result<Call> {
        self.count_call()?;
        Ok(Call {
            reach: Arc::clone(&self.reach),
            pace,
        })
    }

    /// Counts a call that needs no gate.
    pub(crate) fn count_call(&mut self) -> wasmtime::Result<()> {
        let before = self.used.host_calls.fetch_add(1, Ordering::Relaxed);
        if before < self.limits.host_calls {
            return Ok(());
        }
        let most = self.limits.host_calls;
        Err(LimitHit::new(
            LimitName::Calls,
            format!("the plugin made more than {most} host calls"),
        )
        .into())
    }

    /// Counts bytes of findings and measurements.
    pub(crate) fn count_output(&mut self, bytes: usize) -> Result<(), LimitHit> {
        let bytes = bytes as u64;
        let before = self.used.output_bytes.fetch_add(bytes, Ordering::Relaxed);
        let most = self.limits.output_bytes;
        if before.saturating_add(bytes) <= most {
            return Ok(());
        }
        Err(LimitHit::new(
            LimitName::Output,
            format!("the plugin's findings and measurements have more than {most} bytes"),
        ))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A configured target's name. What is no name is not denied but nonsense: it says nothing of what there is.
pub(crate) fn target(name: &str) -> Result<TargetName, CallError> {
    name.parse()
        .map_err(|error: sereno_core::name::NameError| CallError::Invalid(error.to_string()))
}

/// A table's name.
pub(crate) fn table(name: &str) -> Result<TableName, CallError> {
    name.parse()
        .map_err(|error: sereno_core::name::NameError| CallError::Invalid(error.to_string()))
}

/// The denial of a call on something that this run does not hold, in the words of one that no grant covers.
pub(crate) fn denied(on: &Path, verb: Verb) -> CallError {
    let verbs = std::collections::BTreeSet::from([verb]);
    CallError::Denied(
        Denied {
            all: verbs.clone(),
            verbs,
            on: on.clone(),
        }
        .line_to_add(),
    )
}

fn to_guest(error: &CallError) -> types::Error {
    match error {
        CallError::Denied(text) => types::Error::Denied(line(text)),
        CallError::Guard(text) => types::Error::Guard(line(text)),
        CallError::Limit(text) => types::Error::Limit(line(text)),
        CallError::Cancelled => types::Error::Cancelled,
        CallError::Deadline => types::Error::Deadline,
        CallError::NotFound(text) => types::Error::NotFound(line(text)),
        CallError::Invalid(text) => types::Error::Invalid(line(text)),
        CallError::Busy(text) => types::Error::Busy(line(text)),
        CallError::Unreachable(text) => types::Error::Unreachable(line(text)),
        CallError::Fault(text) => types::Error::Fault(line(text)),
    }
}
