//! `files`: what is below one granted directory.

use sereno_core::grant::Verb;

use crate::bindings::files::{
    Bucket, Compression, Content, DiskUsage, Entry, FileFilter, Host, Page, Removal, Summary,
};
use crate::bindings::types;
use crate::convert;
use crate::state::{Pace, State};

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl Host for State {
    async fn usage(&mut self, directory: String) -> Answer<DiskUsage> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let found = reach.directory(Verb::Read, &directory)?.usage().await?;
                Ok(DiskUsage {
                    bytes_total: found.bytes_total,
                    bytes_free: found.bytes_free,
                    inodes_total: found.inodes_total,
                    inodes_free: found.inodes_free,
                })
            })
            .await)
    }

    async fn summarize(&mut self, directory: String, filter: FileFilter) -> Answer<Summary> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let filter = convert::file_filter(filter)?;
                let found = reach.directory(Verb::Read, &directory)?.summarize(filter).await?;
                Ok(Summary {
                    files: found.files,
                    bytes: found.bytes,
                    directories: found.directories,
                    oldest: found.oldest.map(|at| at.timestamp_micros()),
                    newest: found.newest.map(|at| at.timestamp_micros()),
                })
            })
            .await)
    }

    async fn age_histogram(
        &mut self,
        directory: String,
        filter: FileFilter,
        start: i64,
        end: i64,
        buckets: u32,
    ) -> Answer<Vec<Bucket>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let filter = convert::file_filter(filter)?;
                let span = convert::span(start, end, buckets)?;
                let directory = reach.directory(Verb::Read, &directory)?;
                let found = directory.age_histogram(filter, span).await?;
                let found = found.into_iter().map(|bucket| Bucket {
                    from: bucket.from.timestamp_micros(),
                    files: bucket.files,
                    bytes: bucket.bytes,
                });
                Ok(found.collect())
            })
            .await)
    }

    async fn entries(
        &mut self,
        directory: String,
        filter: FileFilter,
        cursor: Option<String>,
        max: u32,
    ) -> Answer<Page> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let filter = convert::file_filter(filter)?;
                let max = convert::page(max)?;
                let directory = reach.directory(Verb::Read, &directory)?;
                let page = directory.entries(filter, cursor.as_deref(), max).await?;
                let entries = page.entries.into_iter().map(|entry| Entry {
                    path: entry.path,
                    bytes: entry.bytes,
                    stamp: entry.stamp.timestamp_micros(),
                });
                Ok(Page {
                    entries: entries.collect(),
                    cursor: page.cursor,
                })
            })
            .await)
    }

    async fn remove_batch(
        &mut self,
        directory: String,
        filter: FileFilter,
        cursor: Option<String>,
        max: u32,
    ) -> Answer<Removal> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let filter = convert::file_filter(filter)?;
                let max = convert::step(max)?;
                let directory = reach.directory(Verb::Remove, &directory)?;
                let removal = directory.remove_batch(filter, cursor.as_deref(), max).await?;
                Ok(convert::removal(removal))
            })
            .await)
    }

    async fn remove(
        &mut self,
        directory: String,
        paths: Vec<Vec<u8>>,
        filter: FileFilter,
    ) -> Answer<Removal> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let filter = convert::file_filter(filter)?;
                let directory = reach.directory(Verb::Remove, &directory)?;
                Ok(convert::removal(directory.remove(&paths, filter).await?))
            })
            .await)
    }

    async fn read_content(
        &mut self,
        directory: String,
        path: Vec<u8>,
        offset: u64,
        max: u32,
    ) -> Answer<Content> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                convert::path(&path)?;
                let max = convert::content(max)?;
                let directory = reach.directory(Verb::ReadContent, &directory)?;
                let content = directory.read_content(&path, offset, max).await?;
                Ok(Content {
                    bytes: content.bytes,
                    total: content.total,
                })
            })
            .await)
    }

    async fn rename(&mut self, directory: String, from: Vec<u8>, to: Vec<u8>) -> Answer<()> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                convert::path(&from)?;
                convert::path(&to)?;
                reach
                    .directory(Verb::Rename, &directory)?
                    .rename(&from, &to)
                    .await
            })
            .await)
    }

    async fn compress(
        &mut self,
        directory: String,
        paths: Vec<Vec<u8>>,
        filter: FileFilter,
    ) -> Answer<Compression> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let filter = convert::file_filter(filter)?;
                paths.iter().try_for_each(|path| convert::path(path))?;
                let directory = reach.directory(Verb::Compress, &directory)?;
                let done = directory.compress(&paths, filter).await?;
                Ok(Compression {
                    files: done.done.len() as u64,
                    bytes: done.bytes(),
                    bytes_after: done.bytes_after(),
                    left: convert::left(done.left),
                })
            })
            .await)
    }

    async fn copy_truncate(&mut self, directory: String, from: Vec<u8>, to: Vec<u8>) -> Answer<()> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                convert::path(&from)?;
                convert::path(&to)?;
                let directory = reach.directory(Verb::Truncate, &directory)?;
                directory.copy_truncate(&from, &to).await
            })
            .await)
    }
}
