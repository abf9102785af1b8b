//! A directory that only pretends to change.
//!
//! A removal counts as done for later reads once its last batch was previewed. Single files removed by name are
//! remembered as filters too; a name that is no UTF-8 cannot be, and such a file is seen again. Files that were moved
//! are in the overlay.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::ports::files::{
    Allowance, Bucket, Compression, Content, Directory, DiskUsage, Entry, FilesError, Left, Moved, Page,
    Removal, Span, Summary,
};
use crate::value::FileFilter;

use super::overlay::Overlay;
use super::space::{Freed, PlannedSpace};

/// A cursor over the moved files, which come after those on the disk.
const MOVED: &str = "moved.";

/// The plan-mode decorator of a [`Directory`].
pub struct PlannedDirectory {
    inner: Arc<dyn Directory>,
    planned: Mutex<Planned>,
    /// What every directory of the plan would have freed.
    space: Arc<PlannedSpace>,
}

#[derive(Default)]
struct Planned {
    filters: Vec<FileFilter>,
    overlay: Overlay,
    /// Where the system does not tell which file system it is.
    freed: Freed,
    /// A batch was planned by this very decorator.
    began: bool,
}

impl PlannedDirectory {
    /// Decorates `inner`; directories of one plan share `space`.
    pub fn new(inner: Arc<dyn Directory>, space: Arc<PlannedSpace>) -> Self {
        Self {
            inner,
            planned: Mutex::default(),
            space,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Planned) -> T) -> T {
        f(&mut self.planned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn gone(&self, without: &[FileFilter]) -> Vec<FileFilter> {
        self.with(|planned| {
            let moved: Vec<FileFilter> = planned.overlay.gone().into_iter().collect();
            [planned.filters.as_slice(), &moved, without].concat()
        })
    }

    /// Takes the moved files that match away; what that frees.
    fn take_moved(&self, matching: &[Entry]) -> Removal {
        let mut removal = Removal::default();
        self.with(|planned| {
            for entry in matching {
                if planned.overlay.holds(&entry.path) {
                    planned.overlay.leave(&entry.path);
                    removal.files += 1;
                    removal.bytes += entry.bytes;
                }
            }
        });
        removal
    }

    /// Leaves those whose copies would find no room beside their originals.
    async fn fit(&self, compression: &mut Compression) -> Result<(), FilesError> {
        let Some(mut free) = self.usage().await?.bytes_free else {
            return Ok(());
        };
        for file in std::mem::take(&mut compression.done) {
            if file.to.bytes > free {
                compression.left.push((file.from, Left::NoSpace));
            } else {
                free = (free - file.to.bytes).saturating_add(file.bytes);
                compression.done.push(file);
            }
        }
        Ok(())
    }

    /// The page of moved files from `from` on.
    fn moved_page(&self, filter: &FileFilter, from: usize, max: u32) -> Page {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut entries = self.with(|planned| planned.overlay.entries(filter));
        let rest = entries.split_off(from.min(entries.len()));
        let more = rest.len() > max;
        Page {
            entries: rest.into_iter().take(max).collect(),
            cursor: more.then(|| format!("{MOVED}{}", from.saturating_add(max))),
        }
    }

    /// The moved file at `from`, if `to` is free for it; none when `from` is on the disk.
    async fn moved_again(&self, from: &[u8], to: &[u8]) -> Result<Option<Moved>, FilesError> {
        let shown = String::from_utf8_lossy(to).into_owned();
        if self.with(|planned| planned.overlay.holds(to)) {
            return Err(FilesError::Taken { path: shown });
        }
        let Some(moved) = self.with(|planned| planned.overlay.get(from).cloned()) else {
            return Ok(None);
        };
        match self.inner.preview_rename(to, to, &self.gone(&[])).await {
            Err(FilesError::NotFound { .. }) => Ok(Some(Moved {
                to: to.to_vec(),
                ..moved
            })),
            Err(error @ FilesError::Invalid(_)) => Err(error),
            Ok(_) | Err(_) => Err(FilesError::Taken { path: shown }),
        }
    }

    async fn free(&self, freed: Freed) -> Result<(), FilesError> {
        match self.inner.usage().await?.device {
            Some(device) => self.space.add(device, freed),
            None => self.with(|planned| planned.freed.add(freed)),
        }
        Ok(())
    }

    async fn plan(
        &self,
        removal: &Removal,
        filters: impl IntoIterator<Item = FileFilter>,
    ) -> Result<(), FilesError> {
        self.with(|planned| {
            planned.began = true;
            planned.filters.extend(filters);
        });
        self.free(Freed {
            bytes: removal.bytes,
            inodes: removal.files.saturating_add(removal.directories),
        })
        .await
    }
}

#[async_trait]
impl Directory for PlannedDirectory {
    async fn usage(&self) -> Result<DiskUsage, FilesError> {
        let usage = self.inner.usage().await?;
        let freed = match usage.device {
            Some(device) => self.space.of(device),
            None => self.with(|planned| planned.freed),
        };
        Ok(freed.beside(usage))
    }

    async fn files_up_to(&self, recursive: bool, limit: u64) -> Result<u64, FilesError> {
        self.inner.files_up_to(recursive, limit).await
    }

    async fn summarize(&self, filter: &FileFilter, without: &[FileFilter]) -> Result<Summary, FilesError> {
        let mut summary = self.inner.summarize(filter, &self.gone(without)).await?;
        self.with(|planned| planned.overlay.count(filter, &mut summary));
        Ok(summary)
    }

    async fn age_histogram(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        span: Span,
    ) -> Result<Vec<Bucket>, FilesError> {
        let mut buckets = self
            .inner
            .age_histogram(filter, &self.gone(without), span)
            .await?;
        self.with(|planned| planned.overlay.sort(filter, &mut buckets));
        Ok(buckets)
    }

    async fn entries(
        &self,
        filter: &FileFilter,
        without: &[FileFilter],
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Page, FilesError> {
        if let Some(from) = cursor.and_then(|cursor| cursor.strip_prefix(MOVED)) {
            let from = from
                .parse()
                .map_err(|_| FilesError::Invalid(format!("`{MOVED}{from}` is no cursor")))?;
            return Ok(self.moved_page(filter, from, max));
        }
        let mut page = self
            .inner
            .entries(filter, &self.gone(without), cursor, max)
            .await?;
        if page.cursor.is_none() && !self.moved_page(filter, 0, 1).entries.is_empty() {
            page.cursor = Some(format!("{MOVED}0"));
        }
        Ok(page)
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
        let mut removal = self
            .preview_remove_batch(filter, &[], cursor, max, allowance)
            .await?;
        if removal.cursor.is_none() {
            let moved = self.with(|planned| planned.overlay.entries(filter));
            let moved = self.take_moved(&moved);
            removal.files += moved.files;
            removal.bytes += moved.bytes;
        }
        self.plan(&removal, removal.cursor.is_none().then(|| filter.clone()))
            .await?;
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
        let moved = self.with(|planned| planned.overlay.entries(filter));
        let (on_overlay, on_disk): (Vec<Vec<u8>>, Vec<Vec<u8>>) = paths
            .iter()
            .cloned()
            .partition(|path| self.with(|planned| planned.overlay.holds(path)));
        let mut removal = self.preview_remove(&on_disk, filter, &[], allowance).await?;
        let named: Vec<Entry> = moved
            .into_iter()
            .filter(|entry| on_overlay.contains(&entry.path))
            .collect();
        let moved = self.take_moved(&named);
        removal.files += moved.files;
        removal.bytes += moved.bytes;
        removal.skipped += on_overlay.len() as u64 - moved.files;
        let names: Vec<String> = on_disk
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
        self.plan(&removal, gone).await?;
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

    async fn read_content(&self, path: &[u8], offset: u64, max: u32) -> Result<Content, FilesError> {
        self.inner.read_content(path, offset, max).await
    }

    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<Moved, FilesError> {
        let moved = self.preview_rename(from, to, &[]).await?;
        self.with(|planned| {
            planned.overlay.leave(from);
            planned.overlay.arrive(moved.clone());
        });
        Ok(moved)
    }

    async fn preview_rename(
        &self,
        from: &[u8],
        to: &[u8],
        without: &[FileFilter],
    ) -> Result<Moved, FilesError> {
        match self.moved_again(from, to).await? {
            Some(moved) => Ok(moved),
            None => self.inner.preview_rename(from, to, &self.gone(without)).await,
        }
    }

    async fn compress(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        let compression = self.preview_compress(paths, filter, &[], allowance).await?;
        self.with(|planned| {
            for file in &compression.done {
                planned.overlay.leave(&file.from);
                planned.overlay.arrive(file.to.clone());
            }
        });
        self.free(Freed {
            bytes: compression.bytes().saturating_sub(compression.bytes_after()),
            inodes: 0,
        })
        .await?;
        Ok(compression)
    }

    async fn preview_compress(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        // What only a plan has moved has no contents to take samples of.
        let (moved, on_disk): (Vec<Vec<u8>>, Vec<Vec<u8>>) = paths
            .iter()
            .cloned()
            .partition(|path| self.with(|planned| planned.overlay.holds(path)));
        let mut compression = self
            .inner
            .preview_compress(&on_disk, filter, &self.gone(without), allowance)
            .await?;
        let left = moved.into_iter().map(|path| (path, Left::Changed));
        compression.left.extend(left);
        self.fit(&mut compression).await?;
        Ok(compression)
    }

    async fn copy_truncate(&self, from: &[u8], to: &[u8]) -> Result<Moved, FilesError> {
        let moved = self.preview_rename(from, to, &[]).await?;
        self.with(|planned| {
            planned.overlay.leave(from);
            planned.overlay.arrive(moved.clone());
            planned.overlay.arrive(Moved {
                to: from.to_vec(),
                bytes: 0,
                ..moved.clone()
            });
        });
        Ok(moved)
    }
}
