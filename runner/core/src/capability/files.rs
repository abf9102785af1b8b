//! A directory behind its guards: proves the count before the first file goes, bounds the bytes while they go.
//!
//! The port under it is the adapter in apply and `plan::PlannedDirectory` in plan; the path here is the same but
//! for the proof: an apply of a directory that holds fewer files than the guard allows need not stat them twice.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::Mutex;

use super::{Begun, Hold};
use crate::effect::{UnderWay, is_same};
use crate::grant::{Path, Verb};
use crate::guard::GuardState;
use crate::name::TargetName;
use crate::ports::clock::Clock;
use crate::ports::files::{
    Allowance, Bucket, Directory, DiskUsage, FilesError, Page, Removal, Span, Summary,
};
use crate::ports::plugins::CallError;
use crate::report::Effect;
use crate::run::{Mode, RunEvent};
use crate::value::FileFilter;

/// One directory, for one attempt.
pub struct DirectoryCapability {
    pub(super) on: String,
    pub(super) port: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    pub(super) hold: Arc<Hold>,
    /// The removals that passed their guards.
    open: Mutex<Vec<FileFilter>>,
    /// The filters of compressions that were begun.
    pub(super) compressing: Mutex<Vec<FileFilter>>,
    pub(super) begun: Begun,
    /// Files renamed or compressed by name.
    pub(super) moved: AtomicUsize,
}

impl From<FilesError> for CallError {
    fn from(error: FilesError) -> Self {
        let text = error.to_string();
        match error {
            FilesError::NotFound { .. } => Self::NotFound(text),
            FilesError::Invalid(_) | FilesError::Taken { .. } => Self::Invalid(text),
            FilesError::Unfit { .. } | FilesError::Io { .. } => Self::Fault(text),
        }
    }
}

impl DirectoryCapability {
    /// Puts `port` behind the guards of `hold`.
    pub fn new(name: TargetName, port: Arc<dyn Directory>, clock: Arc<dyn Clock>, hold: Arc<Hold>) -> Self {
        Self {
            on: Path::Directory(name).to_string(),
            port,
            clock,
            hold,
            open: Mutex::new(Vec::new()),
            compressing: Mutex::new(Vec::new()),
            begun: Begun::default(),
            moved: AtomicUsize::new(0),
        }
    }

    /// Free and total space; in a plan with what it would have freed.
    pub async fn usage(&self) -> Result<DiskUsage, CallError> {
        Ok(self.port.usage().await?)
    }

    /// Counts what matches, less what a plan has planned away.
    pub async fn summarize(&self, filter: FileFilter) -> Result<Summary, CallError> {
        Ok(self.port.summarize(&filter, &[]).await?)
    }

    /// By age.
    pub async fn age_histogram(&self, filter: FileFilter, span: Span) -> Result<Vec<Bucket>, CallError> {
        Ok(self.port.age_histogram(&filter, &[], span).await?)
    }

    /// One page.
    pub async fn entries(
        &self,
        filter: FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, CallError> {
        Ok(self.port.entries(&filter, &[], cursor, max).await?)
    }

    /// One batch of a removal. The first of each removal is held against the guards before any file goes.
    pub async fn remove_batch(
        &self,
        filter: FileFilter,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Removal, CallError> {
        let allowance = self.pass_guards(&filter).await?;
        self.intend(&filter).await?;
        let under_way = self.hold.book.under_way();
        let removal = self.port.remove_batch(&filter, cursor, max, allowance).await?;
        self.settle(&filter, removal, under_way).await
    }

    /// The named files, each only while it matches.
    pub async fn remove(&self, paths: &[Vec<u8>], filter: FileFilter) -> Result<Removal, CallError> {
        let allowance = self.pass_guards(&filter).await?;
        self.intend(&filter).await?;
        let under_way = self.hold.book.under_way();
        let removal = self.port.remove(paths, &filter, allowance).await?;
        self.settle(&filter, removal, under_way).await
    }

    /// A crash between a removal and its record leaves this line behind.
    async fn intend(&self, filter: &FileFilter) -> Result<(), CallError> {
        if self.hold.mode == Mode::Plan {
            return Ok(());
        }
        let effect = Box::new(self.effect(filter, "files"));
        self.hold.recorder.record(vec![RunEvent::Intent { effect }]).await
    }

    async fn settle(
        &self,
        filter: &FileFilter,
        removal: Removal,
        under_way: UnderWay<'_>,
    ) -> Result<Removal, CallError> {
        let apply = self.hold.mode == Mode::Apply;
        let mut files = Effect {
            planned: removal.files + removal.skipped,
            done: if apply { removal.files } else { 0 },
            bytes: Some(removal.bytes),
            skipped: removal.skipped,
            ..self.effect(filter, "files")
        };
        if removal.exhausted {
            files.guard = self.exhausted(filter, &removal);
        }
        let stopped = self.hold.stop_at(&files);
        self.hold.note(files).await?;
        if removal.directories > 0 {
            let directories = Effect {
                planned: removal.directories,
                done: if apply { removal.directories } else { 0 },
                ..self.effect(filter, "directories")
            };
            self.hold.note(directories).await?;
        }
        under_way.over();
        stopped.map(|()| removal)
    }

    /// Which guard it was that ended the allowance.
    fn exhausted(&self, filter: &FileFilter, removal: &Removal) -> Option<GuardState> {
        let effect = self.effect(filter, "files");
        let now = self.hold.book.effects();
        let of_plan: u64 = now
            .iter()
            .filter(|other| is_same(other, &effect))
            .map(|other| other.done)
            .sum();
        // The batch that was stopped is in no book yet.
        let (files, bytes) = self.taken(Verb::Remove);
        let (files, bytes) = (files + removal.files, bytes + removal.bytes);
        let plan = self
            .hold
            .judge_plan(&effect, of_plan + removal.files + 1)
            .filter(|guard| guard.exceeded);
        plan.or_else(|| {
            self.hold
                .guards
                .max_files
                .map(|limit| GuardState::new("max_files", limit as f64, (files + 1) as f64))
                .filter(|guard| guard.exceeded)
        })
        .or_else(|| {
            self.hold.guards.max_bytes.map(|limit| GuardState {
                exceeded: true,
                ..GuardState::new("max_bytes", limit as f64, bytes as f64)
            })
        })
    }

    /// Files and bytes removed (or what else the verb does), or planned, under this key so far.
    pub(super) fn taken(&self, verb: Verb) -> (u64, u64) {
        let plan = self.hold.mode == Mode::Plan;
        self.hold
            .before
            .iter()
            .map(|effect| (effect, effect.done))
            .chain(
                self.hold
                    .book
                    .effects()
                    .iter()
                    .map(|effect| (effect, if plan { effect.planned } else { effect.done })),
            )
            .filter(|(effect, _)| effect.verb == verb && effect.unit == "files")
            .fold((0, 0), |(files, bytes), (effect, count)| {
                (files + count, bytes + effect.bytes.unwrap_or_default())
            })
    }

    /// Everything that must hold before the first file goes, once a removal; then how much may still go.
    async fn pass_guards(&self, filter: &FileFilter) -> Result<Allowance, CallError> {
        let mut open = self.open.lock().await;
        if !open.contains(filter) {
            self.begun.another(&self.on)?;
            self.open_removal(filter).await?;
            open.push(filter.clone());
        }
        if self.hold.mode == Mode::Plan {
            return Ok(Allowance {
                files: u64::MAX,
                bytes: u64::MAX,
            });
        }
        let (files, bytes) = self.taken(Verb::Remove);
        let effect = self.effect(filter, "files");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of files"
        )]
        let planned = self
            .hold
            .judge_plan(&effect, self.done_now(&effect))
            .map(|guard| (guard.limit - guard.found).max(0.0) as u64);
        Ok(Allowance {
            files: self
                .hold
                .guards
                .max_files
                .map(|limit| limit.saturating_sub(files))
                .into_iter()
                .chain(planned)
                .min()
                .unwrap_or(u64::MAX),
            bytes: self
                .hold
                .guards
                .max_bytes
                .map_or(u64::MAX, |limit| limit.saturating_sub(bytes)),
        })
    }

    pub(super) fn done_now(&self, effect: &Effect) -> u64 {
        self.hold
            .book
            .effects()
            .iter()
            .filter(|other| crate::effect::is_same(other, effect))
            .map(|other| other.done)
            .sum()
    }

    async fn open_removal(&self, filter: &FileFilter) -> Result<(), CallError> {
        let Some(cutoff) = filter.older_than else {
            return Err(CallError::Invalid(format!(
                "a removal on {} needs `older-than`",
                self.on
            )));
        };
        let guards = &self.hold.guards;
        let (before, bytes_before) = self.taken(Verb::Remove);
        let mut effect = self.effect(filter, "files");
        let by_names = match guards.max_files {
            Some(limit) if self.hold.mode == Mode::Apply && guards.max_files_percent.is_none() => {
                let left = limit.saturating_sub(before);
                Some(self.port.files_up_to(filter.recursive, left).await?).filter(|files| *files <= left)
            }
            _ => None,
        };
        let counted = if let Some(total) = by_names {
            effect.total = Some(total);
            let by_names = |limit| GuardState::new("max_files", limit as f64, before as f64);
            guards.max_files.map(by_names).into_iter().collect()
        } else {
            let found = self.port.summarize(filter, &[]).await?;
            effect.total = Some(found.total);
            let states =
                guards.judge_files(found.files, Some(found.total), found.bytes, before, bytes_before);
            if states.iter().any(|state| state.exceeded) && self.hold.mode == Mode::Apply {
                effect.planned = found.files;
                effect.bytes = Some(found.bytes);
            }
            states
        };
        let too_young = self.hold.judge_cutoff(cutoff, self.clock.now());
        let effect = effect.judged(counted.into_iter().chain(too_young));
        self.hold.note(effect.clone()).await?;
        self.hold.stop_at(&effect)
    }

    fn effect(&self, filter: &FileFilter, unit: &str) -> Effect {
        Effect {
            cutoff: filter.older_than,
            ..Effect::of(Verb::Remove, self.on.clone(), unit, filter.to_string())
        }
    }
}
