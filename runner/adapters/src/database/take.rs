//! Rows that a delete answers, for an archive: up to a size, and how long keeping them took.
//!
//! It neither writes nor reads anything itself.

use std::time::{Duration, Instant};

use sereno_core::ports::database::{Archive, DatabaseError};

/// Rows of one archived batch: the next one has fewer when keeping them takes long.
pub(super) const ROWS_MAX: u32 = 10_000;

/// Of all rows of a batch as text. They are in memory once as they are and once compressed.
pub(super) const BYTES_MAX: usize = 32 << 20;

/// How long a transaction may be open while its rows are kept: a slow bucket takes some of it, and row locks last as long.
pub(super) const KEEP_LIMIT: Duration = Duration::from_secs(60);

/// What one batch answers.
pub(super) struct Take<'a> {
    archive: &'a dyn Archive,
    rows: Vec<String>,
    bytes: usize,
    kept_for: Duration,
}

impl<'a> Take<'a> {
    pub(super) fn new(archive: &'a dyn Archive) -> Self {
        Self {
            archive,
            rows: Vec::new(),
            bytes: 0,
            kept_for: Duration::ZERO,
        }
    }

    /// Before each try of a batch.
    pub(super) fn begin(&mut self) {
        self.rows.clear();
        self.bytes = 0;
        self.kept_for = Duration::ZERO;
    }

    /// One more row; false when the batch is too large already.
    pub(super) fn add(&mut self, row: String) -> bool {
        self.bytes += row.len() + 1;
        self.rows.push(row);
        !self.is_too_large()
    }

    /// True when a smaller batch is to be tried. One row alone is always taken.
    pub(super) fn is_too_large(&self) -> bool {
        self.bytes > BYTES_MAX && self.rows.len() > 1
    }

    /// Rows so far.
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The time that a pace should not learn from.
    pub(super) fn kept_for(&self) -> Duration {
        self.kept_for
    }

    /// Keeps the rows; after an error the transaction must not be committed.
    pub(super) async fn keep(&mut self, batch: u32) -> Result<(), DatabaseError> {
        let began = Instant::now();
        let kept = tokio::time::timeout(KEEP_LIMIT, self.archive.keep(batch, &self.rows));
        let answer = kept.await.unwrap_or_else(|_| {
            Err(DatabaseError::Fault {
                operation: "archive rows",
                reason: format!("it took longer than {KEEP_LIMIT:?}; no row was deleted"),
            })
        });
        self.kept_for = began.elapsed();
        answer
    }
}
