//! A directory that only pretends to change.
//!
//! A removal counts as done for later reads once its last batch was previewed. Single files removed by name are
//! remembered as filters too; a name that is no UTF-8 cannot be, and such a file is seen again.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::ports::files::{
    Allowance, Bucket, Directory, DiskUsage, FilesError, Page, Removal, Span, Summary,
};
use crate::value::FileFilter;

/// The plan-mode decorator of a [`Directory`].
pub struct PlannedDirectory {
    inner: Arc<dyn Directory>,
    planned: Mutex<Planned>,
}

#[derive(Default)]
struct Planned {
    filters: Vec<FileFilter>,
    bytes: u64,
    inodes: u64,
    /// A batch was planned by this very decorator.
    began: bool,
}

impl PlannedDirectory {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn Directory>) -> Self {
        Self {
            inner,
            planned: Mutex::default(),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Planned) -> T) -> T {
        f(&mut self.planned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn gone(&self, without: &[FileFilter]) -> Vec<FileFilter> {
        self.with(|planned| [planned.filters.as_slice(), without].concat())
    }

    fn plan(&self, removal: &Removal, filters: impl IntoIterator<Item = FileFilter>) {
        self.with(|planned| {
            planned.bytes += removal.bytes;
            planned.inodes += removal.files + removal.directories;
            planned.began = true;
            planned.filters.extend(filters);
        });
    }
}

#[async_trait]
impl Directory for PlannedDirectory {
    async fn usage(&self) -> Result<DiskUsage, FilesError> {
        let mut usage = self.inner.usage().await?;
        let (bytes, inodes) = self.with(|planned| (planned.bytes, planned.inodes));
        usage.bytes_free = usage.bytes_free.map(|free| free + bytes);
        usage.inodes_free = usage.inodes_free.map(|free| free + inodes);
        Ok(usage)
    }

    async fn files_up_to(&self, recursive: bool, limit: u64) -> Result<u64, FilesError> {
        self.inner.files_up_to(recursive, limit).await
    }

    async fn summarize(&self, filter: &FileFilter, without: &[FileFilter]) -> Result<Summary, FilesError> {
        self.inner.summarize(filter, &self.gone(without)).await
    }

    async fn age_histogram(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        span: Span,
    ) -> Result<Vec<Bucket>, FilesError> {
        self.inner.age_histogram(filter, &self.gone(without), span).await
    }

    async fn entries(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, FilesError> {
        self.inner.entries(filter, &self.gone(without), cursor, max).await
    }

    async fn remove_batch(
        &self,
        filter: &FileFilter,
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        // What is there when nothing was removed is counted once only while the same walk goes on.
        if cursor.is_some() && !self.with(|planned| planned.began) {
            return Err(FilesError::Invalid(
                "a plan of files goes on only in the process that began it; plan again".to_owned(),
            ));
        }
        let removal = self
            .preview_remove_batch(filter, &[], cursor, max, allowance)
            .await?;
        self.plan(&removal, removal.cursor.is_none().then(|| filter.clone()));
        Ok(removal)
    }

    async fn preview_remove_batch(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.inner
            .preview_remove_batch(filter, &self.gone(without), cursor, max, allowance)
            .await
    }

    async fn remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        let removal = self.preview_remove(paths, filter, &[], allowance).await?;
        let names: Vec<String> = paths
            .iter()
            .filter_map(|path| std::str::from_utf8(path).ok())
            .map(globset::escape)
            .collect();
        // No names at all would be a filter for every file.
        let gone = (removal.files > 0 && !names.is_empty()).then(|| FileFilter {
            include: names,
            recursive: true,
            ..filter.clone()
        });
        self.plan(&removal, gone);
        Ok(removal)
    }

    async fn preview_remove(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.inner
            .preview_remove(paths, filter, &self.gone(without), allowance)
            .await
    }
}
