//! Reading, renaming, compressing and emptying named files, behind the guards of their directory.
//!
//! A rename or a compression destroys nothing, so no retention floor holds it; `max_files` and `max_bytes` bound each
//! verb of a key by itself. Whether a file may be touched at all is the adapter's to see.

use std::sync::atomic::Ordering;

use super::{DirectoryCapability, explain_all};
use crate::effect::UnderWay;
use crate::grant::Verb;
use crate::guard::GuardState;
use crate::ports::files::{Allowance, Compression, Content, FilesError, Left, Moved};
use crate::ports::plugins::CallError;
use crate::report::Effect;
use crate::run::{Mode, RunEvent};
use crate::value::FileFilter;

/// Files that an attempt may rename and compress on one target: a plan keeps the names of all of them, and no
/// directory of logs has as many.
const MOVED_MAX: usize = 10_000;

/// A path as words of one line.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).escape_debug().to_string()
}

impl DirectoryCapability {
    /// A part of a file. In a plan it is what is there, whatever was planned.
    pub async fn read_content(&self, path: &[u8], offset: u64, max: u32) -> Result<Content, CallError> {
        Ok(self.port.read_content(path, offset, max).await?)
    }

    /// Gives one file another path.
    pub async fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), CallError> {
        let (effect, under_way) = self.begin_one(Verb::Rename, from, to).await?;
        let moved = self.port.rename(from, to).await;
        self.end_one(effect, moved, under_way).await
    }

    /// Copies one file to a free path and empties it.
    pub async fn copy_truncate(&self, from: &[u8], to: &[u8]) -> Result<(), CallError> {
        let (effect, under_way) = self.begin_one(Verb::Truncate, from, to).await?;
        let moved = self.port.copy_truncate(from, to).await;
        self.end_one(effect, moved, under_way).await
    }

    /// Compresses the named files, each only while it matches and nobody writes it.
    pub async fn compress(&self, paths: &[Vec<u8>], filter: FileFilter) -> Result<Compression, CallError> {
        if filter.older_than.is_none() {
            return Err(CallError::Invalid(format!(
                "a compression on {} needs `older-than`",
                self.on
            )));
        }
        let mut open = self.compressing.lock().await;
        if !open.contains(&filter) {
            self.begun.another(&self.on)?;
            open.push(filter.clone());
        }
        drop(open);
        self.count_moved(paths.len())?;
        let mut effect = Effect {
            verb: Verb::Compress,
            what: filter.to_string(),
            cutoff: filter.older_than,
            ..self.named_effect(Verb::Compress)
        };
        let allowance = self.allowance(&effect);
        self.intend_one(&effect).await?;
        let under_way = self.hold.book.under_way();
        let compression = match self.port.compress(paths, &filter, allowance).await {
            Ok(compression) => compression,
            Err(error) => return self.nothing_done(effect, error, under_way).await,
        };
        let files = compression.done.len() as u64;
        let is_apply = self.hold.mode == Mode::Apply;
        effect.planned = files;
        effect.done = if is_apply { files } else { 0 };
        effect.bytes = Some(compression.bytes());
        effect.freed = Some(compression.bytes().saturating_sub(compression.bytes_after()));
        effect.bytes_estimated = !is_apply;
        // What is not there or not meant was asked for in vain, not left over.
        let is_left = |(_, why): &&(Vec<u8>, Left)| !matches!(why, Left::Gone | Left::NotMatching);
        effect.skipped = compression.left.iter().filter(is_left).count() as u64;
        let more = u64::from(compression.exhausted);
        effect = effect.judged(self.states(Verb::Compress, files + more, compression.bytes()));
        let stopped = match explain_all(&effect) {
            Some(text) if is_apply => Err(CallError::Guard(text)),
            None if compression.exhausted => Err(CallError::Guard(format!(
                "the next file on {} is more than the guard `max_bytes` or the plan leaves",
                self.on
            ))),
            _ => Ok(()),
        };
        self.hold.note(effect).await?;
        under_way.over();
        stopped.map(|()| compression)
    }

    fn named_effect(&self, verb: Verb) -> Effect {
        Effect::of(verb, self.on.clone(), "files", "")
    }

    fn count_moved(&self, more: usize) -> Result<(), CallError> {
        if self.moved.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= MOVED_MAX {
            return Ok(());
        }
        Err(CallError::Limit(format!(
            "a run may rename and compress at most {MOVED_MAX} files on a target, and this one has on {}",
            self.on
        )))
    }

    /// The guards of `more` files and `bytes` after what the key has done with this verb.
    fn states(&self, verb: Verb, more: u64, bytes: u64) -> Vec<GuardState> {
        let (before, bytes_before) = self.taken(verb);
        let mut states = self
            .hold
            .guards
            .judge_files(more, None, bytes, before, bytes_before);
        // A share of the directory is a bound on what goes.
        states.retain(|state| state.name != "max_files_percent");
        states
    }

    fn allowance(&self, effect: &Effect) -> Allowance {
        if self.hold.mode == Mode::Plan {
            return Allowance {
                files: u64::MAX,
                bytes: u64::MAX,
            };
        }
        let (files, bytes) = self.taken(effect.verb);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of files"
        )]
        let planned = self
            .hold
            .judge_plan(effect, self.done_now(effect))
            .map(|guard| (guard.limit - guard.found).max(0.0) as u64);
        let guards = &self.hold.guards;
        let of_key = guards.max_files.map(|limit| limit.saturating_sub(files));
        Allowance {
            files: of_key.into_iter().chain(planned).min().unwrap_or(u64::MAX),
            bytes: guards
                .max_bytes
                .map_or(u64::MAX, |limit| limit.saturating_sub(bytes)),
        }
    }

    async fn begin_one(
        &self,
        verb: Verb,
        from: &[u8],
        to: &[u8],
    ) -> Result<(Effect, UnderWay<'_>), CallError> {
        self.begun.another(&self.on)?;
        self.count_moved(1)?;
        let mut effect = Effect {
            what: format!("{} to {}", shown(from), shown(to)),
            ..self.named_effect(verb)
        };
        let planned = self.hold.judge_plan(&effect, self.done_now(&effect) + 1);
        let states = self.states(verb, 1, 0).into_iter().chain(planned);
        effect = effect.judged(states);
        if let Some(text) = explain_all(&effect).filter(|_| self.hold.mode == Mode::Apply) {
            effect.planned = 1;
            self.hold.note(effect).await?;
            return Err(CallError::Guard(text));
        }
        self.intend_one(&effect).await?;
        Ok((effect, self.hold.book.under_way()))
    }

    async fn end_one(
        &self,
        mut effect: Effect,
        moved: Result<Moved, FilesError>,
        under_way: UnderWay<'_>,
    ) -> Result<(), CallError> {
        match moved {
            Ok(moved) => {
                effect.planned = 1;
                effect.done = u64::from(self.hold.mode == Mode::Apply);
                effect.bytes = Some(moved.bytes);
                self.hold.note(effect).await?;
                under_way.over();
                Ok(())
            }
            Err(error) => self.nothing_done(effect, error, under_way).await,
        }
    }

    /// The call failed, and nothing is different from before it.
    async fn nothing_done<T>(
        &self,
        mut effect: Effect,
        error: FilesError,
        under_way: UnderWay<'_>,
    ) -> Result<T, CallError> {
        effect.skipped = 1;
        self.hold.note(effect).await?;
        under_way.over();
        Err(error.into())
    }

    async fn intend_one(&self, effect: &Effect) -> Result<(), CallError> {
        if self.hold.mode == Mode::Plan {
            return Ok(());
        }
        let effect = Box::new(effect.clone());
        self.hold.recorder.record(vec![RunEvent::Intent { effect }]).await
    }
}
