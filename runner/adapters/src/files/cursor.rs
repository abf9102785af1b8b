//! Cursors, and the walks that are open under them.
//!
//! A cursor says which operation, which filter, which walk and which step; it holds no position, because a directory has none
//! that outlives its descriptor.

use std::sync::{Mutex, PoisonError};

use sereno_core::ports::files::FilesError;

use super::system::System;
use super::walk::Walk;

/// More than one run's jobs have open at once; each holds a descriptor for every level it is deep.
pub const OPEN_WALKS_MAX: usize = 16;

/// What a cursor goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Remove,
    Preview,
    Entries,
}

impl Operation {
    fn letter(self) -> char {
        match self {
            Self::Remove => 'r',
            Self::Preview => 'p',
            Self::Entries => 'e',
        }
    }
}

/// Where one walk stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Chosen at random, so that a walk of an earlier process is never taken for one of this.
    pub(super) walk: u64,
    /// Counts batches: a cursor that moves, and one that is used again is known for an old one.
    pub(super) step: u64,
}

impl Cursor {
    /// As its holder keeps it.
    pub(super) fn write(self, operation: Operation, digest: u64) -> String {
        format!(
            "{}.{digest:016x}.{:016x}.{}",
            operation.letter(),
            self.walk,
            self.step
        )
    }

    /// # Errors
    /// A text that [`Self::write`] has not written for this operation and this filter.
    pub(super) fn read(text: &str, operation: Operation, digest: u64) -> Result<Self, FilesError> {
        let foreign =
            || FilesError::Invalid("the cursor is not one of this operation with this filter".to_owned());
        let mut parts = text.splitn(4, '.');
        let mut part = || parts.next().ok_or_else(foreign);
        let (_, of) = (part()?, part()?);
        let walk = u64::from_str_radix(part()?, 16).map_err(|_| foreign())?;
        let step = part()?.parse().map_err(|_| foreign())?;
        let cursor = Self { walk, step };
        // What reads back differently was never written.
        if u64::from_str_radix(of, 16) == Ok(digest) && cursor.write(operation, digest) == text {
            Ok(cursor)
        } else {
            Err(foreign())
        }
    }
}

/// Open walks, the oldest first.
pub(super) struct OpenWalks<S: System>(Mutex<Vec<(Cursor, Walk<S>)>>);

impl<S: System> OpenWalks<S> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Takes the walk out; whoever asks with an old step gets none, and the walk is closed.
    pub(super) fn take(&self, cursor: Cursor) -> Option<Walk<S>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = open.iter().position(|(other, _)| other.walk == cursor.walk)?;
        let (found, walk) = open.remove(place);
        (found.step == cursor.step).then_some(walk)
    }

    pub(super) fn put(&self, cursor: Cursor, walk: Walk<S>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_WALKS_MAX {
            open.remove(0);
        }
        open.push((cursor, walk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_only_by_its_own_operation_and_filter() {
        let cursor = Cursor { walk: 7, step: 3 };
        let text = cursor.write(Operation::Remove, 9);
        assert_eq!(Cursor::read(&text, Operation::Remove, 9).ok(), Some(cursor));
        assert!(Cursor::read(&text, Operation::Entries, 9).is_err());
        assert!(Cursor::read(&text, Operation::Remove, 8).is_err());
        for foreign in [
            "",
            "r",
            "r...",
            &text[1..],
            &format!("{text}0x"),
            &format!("{text}.1"),
            &text.replace('3', "+3"),
        ] {
            assert!(Cursor::read(foreign, Operation::Remove, 9).is_err(), "{foreign}");
        }
    }
}
