//! What a plan would have freed, by file system: directories that share one share its room.
//!
//! It counts, and knows neither files nor directories.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::ports::files::DiskUsage;

/// Shared by the directories of one plan.
#[derive(Debug, Default)]
pub struct PlannedSpace(Mutex<BTreeMap<u64, Freed>>);

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Freed {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

impl Freed {
    pub(super) fn add(&mut self, more: Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.inodes = self.inodes.saturating_add(more.inodes);
    }

    /// What is free once it is.
    pub(super) fn beside(self, usage: DiskUsage) -> DiskUsage {
        let free = |free: Option<u64>, more: u64| free.map(|free| free.saturating_add(more));
        DiskUsage {
            bytes_free: free(usage.bytes_free, self.bytes),
            inodes_free: free(usage.inodes_free, self.inodes),
            ..usage
        }
    }
}

impl PlannedSpace {
    pub(super) fn add(&self, device: u64, more: Freed) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(device).or_default().add(more);
    }

    pub(super) fn of(&self, device: u64) -> Freed {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&device).copied().unwrap_or_default()
    }
}
