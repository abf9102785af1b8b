//! The port of a directory, on any file system that can be walked.
//!
//! Every call is one hop to the blocking pool, and stops at the next entry once nobody waits for it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sereno_core::ports::files::{
    Allowance, Bucket, Compression, Content, Directory, DiskUsage, FilesError, Moved, Page, Removal, Span,
    Summary,
};
use sereno_core::value::FileFilter;

use super::cursor::{Cursor, OpenWalks, Operation};
use super::error::refused;
use super::filter::{Filters, digest};
use super::system::{Entered, Kind, Names, System};
use super::walk::{Batch, Buckets, DEPTH_MAX, LOST_AND_FOUND, Purpose, Tally, WORKERS_MAX, Walk};

/// More buckets than a chart is wide; the port's own bound.
const BUCKETS_MAX: u32 = 4_096;

/// A directory that jobs may sweep.
pub(super) struct Swept<S: System>(Arc<Inner<S>>);

pub(super) struct Inner<S: System> {
    pub(super) system: S,
    walks: OpenWalks<S>,
    workers: usize,
}

/// Tells the walk on the blocking pool that its caller has gone.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

const WITHOUT_END: Allowance = Allowance {
    files: u64::MAX,
    bytes: u64::MAX,
};

impl<S: System> Swept<S> {
    pub(super) fn new(system: S) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Inner {
            system,
            walks: OpenWalks::new(),
            workers: cores.min(WORKERS_MAX),
        }))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner<S>, &AtomicBool) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, FilesError> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(Arc::clone(&cancelled));
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner, &cancelled)).await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(self.0.failed(io::ErrorKind::Interrupted.into())),
            },
        }
    }

    /// One batch of the walk behind `cursor`, or of a new one.
    async fn batch(
        &self,
        operation: Operation,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<(Tally, Option<String>), FilesError> {
        if max == 0 {
            return Err(FilesError::Invalid("`max` must be at least 1".to_owned()));
        }
        let digest = digest(filter);
        let cursor = cursor
            .map(|text| Cursor::read(text, operation, digest))
            .transpose()?;
        let filters = Arc::new(Filters::new(filter, without)?);
        self.blocking(move |inner, cancelled| {
            let purpose = match operation {
                Operation::Remove => Purpose::Remove,
                Operation::Preview => Purpose::Preview,
                Operation::Entries => Purpose::Page,
            };
            let mut walk = match cursor.and_then(|cursor| inner.walks.take(cursor)) {
                Some(walk) => walk,
                None => Walk::start(&inner.system, filters).map_err(|error| inner.failed(error))?,
            };
            let batch = Batch {
                purpose,
                max: max.into(),
                allowance,
                cancelled,
                workers: inner.workers,
            };
            let tally = walk
                .go_on(&inner.system, &batch)
                .map_err(|error| inner.failed(error))?;
            if tally.exhausted || walk.is_over() || cancelled.load(Ordering::Relaxed) {
                return Ok((tally, None));
            }
            let next = match cursor {
                Some(Cursor { walk, step }) => Cursor {
                    walk,
                    step: step.saturating_add(1),
                },
                None => Cursor {
                    walk: getrandom::u64()
                        .map_err(|error| inner.failed(io::Error::other(error.to_string())))?,
                    step: 1,
                },
            };
            inner.walks.put(next, walk);
            Ok((tally, Some(next.write(operation, digest))))
        })
        .await
    }

    /// One walk from beginning to end that changes nothing.
    async fn whole(
        &self,
        purpose: Purpose,
        filter: &FileFilter,
        without: &[FileFilter],
    ) -> Result<Tally, FilesError> {
        let filters = Arc::new(Filters::new(filter, without)?);
        self.blocking(move |inner, cancelled| inner.whole(purpose, filters, WITHOUT_END, cancelled))
            .await
    }
}

impl<S: System> Inner<S> {
    pub(super) fn failed(&self, error: io::Error) -> FilesError {
        refused("read", self.system.shown(), error)
    }

    pub(super) fn whole(
        &self,
        purpose: Purpose,
        filters: Arc<Filters>,
        allowance: Allowance,
        cancelled: &AtomicBool,
    ) -> Result<Tally, FilesError> {
        let mut walk = Walk::start(&self.system, filters).map_err(|error| self.failed(error))?;
        let batch = Batch {
            purpose,
            max: u64::MAX,
            allowance,
            cancelled,
            workers: self.workers,
        };
        walk.go_on(&self.system, &batch)
            .map_err(|error| self.failed(error))
    }

    /// Counts names, and stops when there are more than `limit`.
    fn files_up_to(&self, recursive: bool, limit: u64, cancelled: &AtomicBool) -> io::Result<u64> {
        let mut files = 0;
        let mut scratch = Vec::new();
        let mut open = vec![(self.system.root()?, Names::default())];
        while let Some((dir, names)) = open.last_mut() {
            if cancelled.load(Ordering::Relaxed) || files > limit {
                break;
            }
            let Some((kind, name)) = names.next() else {
                let goes_on = self.system.list(dir, &mut scratch, names);
                match goes_on {
                    Ok(_) if !names.is_empty() => {}
                    Err(error) if open.len() == 1 => return Err(error),
                    Ok(_) | Err(_) => drop(open.pop()),
                }
                continue;
            };
            files += u64::from(matches!(kind, Kind::File | Kind::Unknown));
            let may_be_directory = matches!(kind, Kind::Directory | Kind::Unknown);
            let name = std::ffi::CStr::from_bytes_with_nul(name).expect("names are kept with their NUL");
            if recursive
                && may_be_directory
                && name.to_bytes() != LOST_AND_FOUND
                && let Entered::Inside(below) = self.system.enter(dir, name)
                && open.len() <= DEPTH_MAX
            {
                open.push((below, Names::default()));
            }
        }
        Ok(files)
    }
}

fn removal((tally, cursor): (Tally, Option<String>)) -> Removal {
    Removal {
        files: tally.files,
        directories: tally.directories,
        bytes: tally.bytes,
        skipped: tally.skipped,
        cursor,
        exhausted: tally.exhausted,
    }
}

#[async_trait]
impl<S: System> Directory for Swept<S> {
    async fn usage(&self) -> Result<DiskUsage, FilesError> {
        self.blocking(|inner, _| inner.system.usage().map_err(|error| inner.failed(error)))
            .await
    }

    async fn files_up_to(&self, recursive: bool, limit: u64) -> Result<u64, FilesError> {
        self.blocking(move |inner, cancelled| {
            inner
                .files_up_to(recursive, limit, cancelled)
                .map_err(|error| inner.failed(error))
        })
        .await
    }

    async fn summarize(&self, filter: &FileFilter, without: &[FileFilter]) -> Result<Summary, FilesError> {
        Ok(self.whole(Purpose::Summarize, filter, without).await?.summary())
    }

    async fn age_histogram(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        span: Span,
    ) -> Result<Vec<Bucket>, FilesError> {
        if span.buckets == 0 || span.buckets > BUCKETS_MAX || span.end <= span.start {
            return Err(FilesError::Invalid(format!(
                "a histogram has 1 to {BUCKETS_MAX} buckets and ends after it starts"
            )));
        }
        let buckets = Arc::new(Buckets::new(span));
        let tally = self
            .whole(Purpose::Histogram(Arc::clone(&buckets)), filter, without)
            .await?;
        Ok(buckets.fill(&tally))
    }

    async fn entries(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, FilesError> {
        let (tally, cursor) = self
            .batch(Operation::Entries, filter, without, cursor, max, WITHOUT_END)
            .await?;
        Ok(Page {
            entries: tally.entries,
            cursor,
        })
    }

    async fn remove_batch(
        &self,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.batch(Operation::Remove, filter, &[], cursor, max, allowance)
            .await
            .map(removal)
    }

    async fn preview_remove_batch(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.batch(Operation::Preview, filter, without, cursor, max, allowance)
            .await
            .map(removal)
    }

    async fn remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        let (paths, filter) = (paths.to_vec(), filter.clone());
        self.blocking(move |inner, cancelled| inner.remove_named(&paths, &filter, allowance, cancelled))
            .await
    }

    async fn preview_remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        let (paths, filter, without) = (paths.to_vec(), filter.clone(), without.to_vec());
        self.blocking(move |inner, cancelled| {
            inner.preview_named(&paths, &filter, &without, allowance, cancelled)
        })
        .await
    }

    async fn read_content(&self, path: &[u8], offset: u64, max: u32) -> Result<Content, FilesError> {
        let path = path.to_vec();
        self.blocking(move |inner, _| inner.content(&path, offset, max))
            .await
    }

    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<Moved, FilesError> {
        let (from, to) = (from.to_vec(), to.to_vec());
        self.blocking(move |inner, _| inner.rename(&from, &to)).await
    }

    async fn preview_rename(
        &self,
        from: &[u8],
        to: &[u8],
        without: &[FileFilter],
    ) -> Result<Moved, FilesError> {
        let (from, to, without) = (from.to_vec(), to.to_vec(), without.to_vec());
        self.blocking(move |inner, _| inner.preview_rename(&from, &to, &without))
            .await
    }

    async fn compress(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        let (paths, filter) = (paths.to_vec(), filter.clone());
        self.blocking(move |inner, cancelled| inner.compress(&paths, &filter, allowance, cancelled))
            .await
    }

    async fn preview_compress(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        let (paths, filter, without) = (paths.to_vec(), filter.clone(), without.to_vec());
        self.blocking(move |inner, cancelled| {
            inner.preview_compress(&paths, &filter, &without, allowance, cancelled)
        })
        .await
    }

    async fn copy_truncate(&self, from: &[u8], to: &[u8]) -> Result<Moved, FilesError> {
        let (from, to) = (from.to_vec(), to.to_vec());
        self.blocking(move |inner, cancelled| inner.copy_truncate(&from, &to, cancelled))
            .await
    }
}
