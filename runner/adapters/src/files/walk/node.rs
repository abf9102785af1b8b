//! One directory of a walk: its descriptor, and what is left of it.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::super::filter::Filters;
use super::super::system::{Rights, System};

/// Nobody has taken anything out of the directory.
const NOBODY: usize = 0;

/// A directory that is open, with its parent's.
pub(super) struct Node<S: System> {
    pub(super) dir: S::Dir,
    pub(super) parent: Option<Arc<Node<S>>>,
    /// Below the root, and a NUL; empty and a NUL for the root.
    path: Vec<u8>,
    name_at: usize,
    /// 0 for the root.
    pub(super) depth: usize,
    /// Which filters reach into it.
    active: Vec<bool>,
    rights: OnceLock<Rights>,
    /// Its own reading, and its subdirectories.
    pending: AtomicUsize,
    survivors: AtomicBool,
    /// One more than the place of the last filter that took something directly out of it.
    taken_by: AtomicUsize,
}

impl<S: System> Node<S> {
    pub(super) fn root(dir: S::Dir, filters: usize) -> Self {
        Self::new(dir, None, vec![0], 0, vec![true; filters])
    }

    fn new(dir: S::Dir, parent: Option<Arc<Self>>, path: Vec<u8>, name_at: usize, active: Vec<bool>) -> Self {
        Self {
            dir,
            depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
            parent,
            path,
            name_at,
            active,
            rights: OnceLock::new(),
            pending: AtomicUsize::new(1),
            survivors: AtomicBool::new(false),
            taken_by: AtomicUsize::new(NOBODY),
        }
    }

    /// A subdirectory whose path, with a NUL, is `line`.
    pub(super) fn below(parent: &Arc<Self>, dir: S::Dir, line: &[u8], filters: &Filters) -> Self {
        let path = &line[..line.len() - 1];
        let active = filters
            .all()
            .iter()
            .zip(&parent.active)
            .map(|(filter, active)| *active && filter.recursive && !filter.excludes(path))
            .collect();
        let name_at = parent.prefix_len();
        Self::new(dir, Some(Arc::clone(parent)), line.to_vec(), name_at, active)
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.path[..self.path.len() - 1]
    }

    /// In its parent.
    pub(super) fn name(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.path[self.name_at..]).expect("a path has one NUL, at its end")
    }

    /// How much of an entry's path is this directory and a slash.
    pub(super) fn prefix_len(&self) -> usize {
        match self.path().len() {
            0 => 0,
            length => length + 1,
        }
    }

    /// Starts `line` with this directory and a slash.
    pub(super) fn write_prefix(&self, line: &mut Vec<u8>) {
        line.clear();
        if !self.path().is_empty() {
            line.extend_from_slice(self.path());
            line.push(b'/');
        }
    }

    pub(super) fn is_active(&self, filter: usize) -> bool {
        self.active[filter]
    }

    pub(super) fn rights(&self, system: &S) -> Rights {
        *self.rights.get_or_init(|| system.rights(&self.dir))
    }

    /// One more directory has to end before this one does.
    pub(super) fn expect_one(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// True for the last to end, which then sees what all others did.
    pub(super) fn end_one(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Something stays in it.
    pub(super) fn keep(&self) {
        self.survivors.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_kept(&self) -> bool {
        self.survivors.load(Ordering::Relaxed)
    }

    /// A filter took an entry out of it.
    pub(super) fn take(&self, filter: usize) {
        self.taken_by.fetch_max(filter + 1, Ordering::Relaxed);
    }

    /// Who took its last entry; none when there was none.
    pub(super) fn taken_by(&self) -> Option<usize> {
        self.taken_by.load(Ordering::Relaxed).checked_sub(1)
    }
}
