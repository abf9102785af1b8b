//! The walk: every entry of a directory once, in batches, and what one purpose makes of it.
//!
//! It decides by the filters alone. What may be asked for is core's, and how a file system is touched is `system`'s.

mod node;
mod tally;
mod tidy;
mod unit;
mod worker;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sereno_core::ports::files::Allowance;

use super::filter::Filters;
use super::system::System;

use node::Node;
pub(super) use tally::{Buckets, Tally};
pub(super) use worker::Stack;
use worker::Worker;

/// Deeper than any tree that people make on purpose, and shallow enough for the descriptors one walk may hold.
pub const DEPTH_MAX: usize = 64;

/// Threads that one batch may use: more gain little, because removals meet in the file system's own locks.
pub const WORKERS_MAX: usize = 4;

/// A batch of fewer entries is over before a thread has started.
const PARALLEL_FROM_ENTRIES: u64 = 512;

/// Directories that wait for a thread: enough that none is idle, few enough that a wide tree is not opened all at once.
const WAITING_MAX: usize = 16;

/// The directory that `fsck` keeps for itself.
pub(super) const LOST_AND_FOUND: &[u8] = b"lost+found";

/// What a walk is for.
#[derive(Debug, Clone)]
pub(super) enum Purpose {
    Remove,
    Preview,
    Summarize,
    Histogram(Arc<Buckets>),
    Page,
}

impl Purpose {
    /// Directories count.
    fn tidies(&self) -> bool {
        matches!(self, Self::Remove | Self::Preview | Self::Summarize)
    }

    fn spends(&self) -> bool {
        matches!(self, Self::Remove | Self::Preview)
    }
}

/// A walk between two batches.
pub(super) struct Walk<S: System> {
    filters: Arc<Filters>,
    stacks: Vec<Stack<S>>,
    /// What broke off the walk after it had already done something: the next batch says so.
    failed: Option<io::Error>,
}

/// What one batch may use.
pub(super) struct Batch<'a> {
    pub(super) purpose: Purpose,
    /// Entries to visit.
    pub(super) max: u64,
    pub(super) allowance: Allowance,
    /// Set when nobody waits for the answer any more.
    pub(super) cancelled: &'a AtomicBool,
    pub(super) workers: usize,
}

impl<S: System> Walk<S> {
    /// Holds the root, and has visited nothing.
    pub(super) fn start(system: &S, filters: Arc<Filters>) -> io::Result<Self> {
        let root = Node::root(system.root()?, filters.all().len());
        Ok(Self {
            filters,
            stacks: vec![Stack::new(Arc::new(root))],
            failed: None,
        })
    }

    /// Nothing is left to visit.
    pub(super) fn is_over(&self) -> bool {
        self.stacks.is_empty() && self.failed.is_none()
    }

    /// Visits on. An error is answered only by a batch that did nothing before it; what is done is always told.
    pub(super) fn go_on(&mut self, system: &S, batch: &Batch<'_>) -> io::Result<Tally> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let parallel = batch.workers > 1
            && batch.max >= PARALLEL_FROM_ENTRIES
            && !matches!(batch.purpose, Purpose::Page);
        let shared = Shared {
            system,
            filters: &self.filters,
            purpose: &batch.purpose,
            cancelled: batch.cancelled,
            budget: AtomicU64::new(batch.max),
            claim: if parallel { worker::CLAIM } else { 1 },
            stop: AtomicU8::new(GO),
            purse: Mutex::new(batch.allowance),
            pool: Mutex::new(Pool {
                waiting: std::mem::take(&mut self.stacks),
                paused: Vec::new(),
                busy: 0,
                idle: 0,
                threads: 1,
                threads_max: if parallel { batch.workers } else { 1 },
                tally: Tally::default(),
                error: None,
            }),
            wake: Condvar::new(),
        };
        let is_covered = shared
            .pool()
            .waiting
            .iter()
            .map(Stack::claimed)
            .all(|(files, bytes)| shared.spend(files, bytes));
        if is_covered {
            std::thread::scope(|scope| Worker::new(&shared, scope).work());
        } else {
            // A unit is half gone, and the allowance for the rest of it was taken back.
            shared.stop.store(EXHAUSTED, Ordering::Relaxed);
        }
        if is_covered && shared.is_exhausted() {
            // One that an earlier batch left half gone may still have waited for its turn in this one.
            let stacks = {
                let mut pool = shared.pool();
                let mut stacks = std::mem::take(&mut pool.paused);
                stacks.append(&mut pool.waiting);
                stacks
            };
            std::thread::scope(|scope| Worker::new(&shared, scope).finish_units(stacks));
        }
        let exhausted = shared.is_exhausted();
        let pool = shared.pool.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut tally = pool.tally;
        tally.exhausted = exhausted;
        if let Some(error) = pool.error {
            if tally.did_nothing() || !matches!(batch.purpose, Purpose::Remove) {
                return Err(error);
            }
            self.failed = Some(error);
            return Ok(tally);
        }
        if !tally.exhausted {
            self.stacks = pool.paused;
            self.stacks.extend(pool.waiting);
        }
        Ok(tally)
    }
}

/// Everybody goes on.
const GO: u8 = 0;
/// The next match is more than the allowance.
const EXHAUSTED: u8 = 1;
/// The root could not be read on.
const FAILED: u8 = 2;

/// What the threads of one batch share.
struct Shared<'a, S: System> {
    system: &'a S,
    filters: &'a Filters,
    purpose: &'a Purpose,
    cancelled: &'a AtomicBool,
    budget: AtomicU64,
    /// Entries that a thread takes out of the budget at a time.
    claim: u64,
    stop: AtomicU8,
    purse: Mutex<Allowance>,
    pool: Mutex<Pool<S>>,
    wake: Condvar,
}

struct Pool<S: System> {
    waiting: Vec<Stack<S>>,
    paused: Vec<Stack<S>>,
    busy: usize,
    idle: usize,
    threads: usize,
    threads_max: usize,
    tally: Tally,
    error: Option<io::Error>,
}

impl<S: System> Shared<'_, S> {
    fn pool(&self) -> MutexGuard<'_, Pool<S>> {
        // A thread that panics takes the batch down with it; until then the others only count.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn is_exhausted(&self) -> bool {
        self.stop.load(Ordering::Relaxed) == EXHAUSTED
    }

    fn stopped(&self) -> bool {
        self.is_cancelled() || self.stop.load(Ordering::Relaxed) != GO
    }

    /// Up to `wanted` entries of the budget.
    fn claim(&self, wanted: u64) -> u64 {
        let taken = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (left > 0).then(|| left - left.min(wanted))
            });
        taken.map_or(0, |left| left.min(wanted))
    }

    /// Takes what is to go out of the allowance, all or nothing.
    fn spend(&self, files: u64, bytes: u64) -> bool {
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = purse.files >= files && purse.bytes >= bytes;
        if fits {
            purse.files -= files;
            purse.bytes -= bytes;
        }
        fits
    }

    /// Gives back what did not go after all.
    fn refund(&self, files: u64, bytes: u64) {
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        purse.files = purse.files.saturating_add(files);
        purse.bytes = purse.bytes.saturating_add(bytes);
    }

    /// The next stack to work on; none when all work is done or stopped.
    fn next(&self, was_busy: bool) -> Option<Stack<S>> {
        let mut pool = self.pool();
        if was_busy {
            pool.busy -= 1;
        }
        loop {
            let is_over = self.stopped() || self.budget.load(Ordering::Relaxed) == 0;
            if !is_over && let Some(stack) = pool.waiting.pop() {
                pool.busy += 1;
                return Some(stack);
            }
            if is_over || pool.busy == 0 {
                self.wake.notify_all();
                return None;
            }
            pool.idle += 1;
            pool = self.wake.wait(pool).unwrap_or_else(PoisonError::into_inner);
            pool.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use sereno_core::ports::files::Allowance;
    use sereno_core::value::{FileFilter, Instant};

    use crate::files::memory::{MemoryDirectory, MemoryFile};

    /// One thread takes the last file of a directory while another finds the allowance used up.
    #[tokio::test]
    async fn a_directory_that_was_emptied_goes_also_when_the_allowance_ends_there() {
        const DIRECTORIES: u64 = 40;
        let at = |text: &str| -> Instant { text.parse().expect("a time") };
        let filter = FileFilter {
            older_than: Some(at("2026-11-23T00:00:00Z")),
            recursive: true,
            remove_emptied: true,
            ..FileFilter::default()
        };
        for files in 1..DIRECTORIES {
            let world = MemoryDirectory::new(at("2026-11-24T00:00:00Z"));
            for number in 0..DIRECTORIES {
                let old = at("2026-11-01T00:00:00Z");
                world.put(format!("d{number:02}/f"), MemoryFile::of(b"old", old));
            }
            world.set_pause(200);
            let allowance = Allowance {
                files,
                bytes: u64::MAX,
            };
            let removal = world
                .open()
                .remove_batch(&filter, None, 10_000, allowance)
                .await
                .expect("a batch");
            // One that stayed empty would be young, and stay on.
            assert_eq!(
                (removal.files, removal.directories, removal.exhausted),
                (files, files, true)
            );
            let holding = world.files().into_keys().map(|path| path[..3].to_vec());
            assert!(
                world.directories().into_keys().eq(holding),
                "{:?}",
                world.directories()
            );
        }
    }
}
