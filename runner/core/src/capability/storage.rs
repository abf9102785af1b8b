//! A storage behind its guards: counts what a guest puts, and holds every removal against the guards before it goes.
//!
//! The port under it is the adapter in apply and `plan::PlannedStorage` in plan; the path here is the same. A guest
//! never replaces an object: it puts new ones, and removes old ones by a verb of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Hold;
use crate::grant::{Path, Verb};
use crate::guard::GuardState;
use crate::name::TargetName;
use crate::ports::clock::Clock;
use crate::ports::plugins::CallError;
use crate::ports::storage::{Listing, Object, ObjectKey, Part, Put, Storage, StorageError};
use crate::report::Effect;
use crate::run::{Mode, RunEvent};
use crate::units::show_bytes;

/// What a guest may put into one storage in an attempt: reports and snapshots are far smaller, backups and archives are
/// written by the host. A plan keeps as much in memory.
pub const WRITTEN_BYTES_MAX: u64 = 64 << 20;

/// Objects that a guest may put or remove in one storage in an attempt: each is an event of the run's history.
const CHANGES_MAX: usize = 10_000;

/// Objects of a page: what S3 answers at once.
const PAGE_MAX: u32 = 1_000;

/// One storage, for one attempt.
pub struct StorageCapability {
    name: TargetName,
    on: String,
    port: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    hold: Arc<Hold>,
    written: AtomicU64,
    changes: AtomicUsize,
}

impl From<StorageError> for CallError {
    fn from(error: StorageError) -> Self {
        let text = error.to_string();
        match error {
            StorageError::NotFound { .. } => Self::NotFound(text),
            StorageError::Exists { .. } | StorageError::Invalid(_) => Self::Invalid(text),
            StorageError::Unreachable { .. } => Self::Unreachable(text),
            StorageError::Refused { .. } => Self::Fault(text),
        }
    }
}

impl StorageCapability {
    /// Puts `port` behind the guards of `hold`.
    pub fn new(name: TargetName, port: Arc<dyn Storage>, clock: Arc<dyn Clock>, hold: Arc<Hold>) -> Self {
        Self {
            on: Path::Storage(name.clone()).to_string(),
            name,
            port,
            clock,
            hold,
            written: AtomicU64::new(0),
            changes: AtomicUsize::new(0),
        }
    }

    /// Its name.
    pub fn name(&self) -> &TargetName {
        &self.name
    }

    /// Its grant path.
    pub fn on(&self) -> &str {
        &self.on
    }

    /// The storage itself, for host-side verbs that stream, such as backups: what they change they count themselves.
    pub fn port(&self) -> &Arc<dyn Storage> {
        &self.port
    }

    /// One page, in a plan with what it would have put and without what it would have removed.
    pub async fn list(&self, prefix: &str, cursor: Option<&str>, max: u32) -> Result<Listing, CallError> {
        if max == 0 {
            return Err(CallError::Invalid("a page has at least one object".to_owned()));
        }
        Ok(self.port.list(prefix, cursor, max.min(PAGE_MAX)).await?)
    }

    /// Size and age of an object.
    pub async fn head(&self, key: &str) -> Result<Option<Object>, CallError> {
        Ok(self.port.head(&parse(key)?).await?)
    }

    /// A part of an object.
    pub async fn get(&self, key: &str, from: u64, max: u32) -> Result<Part, CallError> {
        Ok(self.port.get(&parse(key)?, from, max).await?)
    }

    /// Puts a new object. What is there stays, and is an error.
    pub async fn put(&self, key: &str, content: Vec<u8>) -> Result<Object, CallError> {
        let key = parse(key)?;
        self.another()?;
        let bytes = content.len() as u64;
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > WRITTEN_BYTES_MAX {
            return Err(CallError::Limit(format!(
                "a run may put at most {} into a storage, and this one has into {}",
                show_bytes(WRITTEN_BYTES_MAX),
                self.on
            )));
        }
        // What is refused here is not begun: nobody has to wonder whether it was done.
        self.port.preview_put(&key, bytes, Put::Create).await?;
        self.intend(Verb::Write).await?;
        let under_way = self.hold.book.under_way();
        let object = self.port.put(&key, content, Put::Create).await?;
        self.note(Verb::Write, bytes).await?;
        under_way.over();
        Ok(object)
    }

    /// Removes an object, if the guards let it; false when it is not there.
    pub async fn remove(&self, key: &str) -> Result<bool, CallError> {
        let key = parse(key)?;
        self.another()?;
        let Some(found) = self.port.head(&key).await? else {
            return Ok(false);
        };
        self.pass_guards(&found).await?;
        self.intend(Verb::Remove).await?;
        let under_way = self.hold.book.under_way();
        let removed = self.port.remove(&key).await?;
        if let Some(object) = &removed {
            self.note(Verb::Remove, object.bytes).await?;
        }
        under_way.over();
        Ok(removed.is_some())
    }

    fn another(&self) -> Result<(), CallError> {
        if self.changes.fetch_add(1, Ordering::Relaxed) < CHANGES_MAX {
            return Ok(());
        }
        Err(CallError::Limit(format!(
            "a run may change at most {CHANGES_MAX} objects of a storage, and this one has in {}",
            self.on
        )))
    }

    /// Holds the removal of one more object against every guard; in a plan what is exceeded is only recorded.
    async fn pass_guards(&self, found: &Object) -> Result<(), CallError> {
        let effect = self.effect(Verb::Remove);
        let (objects, bytes) = self.removed();
        let guards = &self.hold.guards;
        let done: u64 = self
            .hold
            .book
            .effects()
            .iter()
            .filter(|other| crate::effect::is_same(other, &effect))
            .map(|other| other.done)
            .sum();
        let states: Vec<GuardState> = guards
            .judge_files(1, None, found.bytes, objects, bytes)
            .into_iter()
            .chain(self.hold.judge_plan(&effect, done + 1))
            .collect();
        let too_young = self.hold.judge_cutoff(found.modified, self.clock.now());
        let refused = Effect {
            planned: 1,
            bytes: Some(found.bytes),
            cutoff: too_young.as_ref().map(|_| found.modified),
            ..effect.clone()
        }
        .judged(states.iter().cloned().chain(too_young));
        if self.hold.mode == Mode::Apply && refused.exceeded().next().is_some() {
            self.hold.note(refused.clone()).await?;
            return self.hold.stop_at(&refused);
        }
        // The guard that it came nearest to is told with the effect; the object itself is counted once it is gone.
        let told = Effect {
            guard: refused.guard,
            also_exceeded: refused.also_exceeded,
            ..effect
        };
        self.hold.book.effect(&told);
        if told.exceeded().next().is_some() {
            let effect = Box::new(told);
            self.hold
                .recorder
                .record(vec![RunEvent::Effect { effect }])
                .await?;
        }
        Ok(())
    }

    /// Objects and bytes removed, or planned, under this key so far.
    fn removed(&self) -> (u64, u64) {
        let plan = self.hold.mode == Mode::Plan;
        let now = self.hold.book.effects();
        let before = self.hold.before.iter().map(|effect| (effect, effect.done));
        let now = now
            .iter()
            .map(|effect| (effect, if plan { effect.planned } else { effect.done }));
        before
            .chain(now)
            .filter(|(effect, _)| effect.verb == Verb::Remove && effect.unit == "objects")
            .fold((0, 0), |(objects, bytes), (effect, count)| {
                (objects + count, bytes + effect.bytes.unwrap_or_default())
            })
    }

    /// A crash between a change and its record leaves this line behind.
    async fn intend(&self, verb: Verb) -> Result<(), CallError> {
        if self.hold.mode == Mode::Plan {
            return Ok(());
        }
        let effect = Box::new(self.effect(verb));
        self.hold.recorder.record(vec![RunEvent::Intent { effect }]).await
    }

    async fn note(&self, verb: Verb, bytes: u64) -> Result<(), CallError> {
        let part = Effect {
            planned: 1,
            done: u64::from(self.hold.mode == Mode::Apply),
            bytes: Some(bytes),
            ..self.effect(verb)
        };
        self.hold.note(part).await
    }

    fn effect(&self, verb: Verb) -> Effect {
        Effect::of(verb, self.on.clone(), "objects", "")
    }
}

fn parse(key: &str) -> Result<ObjectKey, CallError> {
    key.parse()
        .map_err(|error: crate::name::NameError| CallError::Invalid(error.to_string()))
}
