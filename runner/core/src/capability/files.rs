//! A directory behind its guards.

use crate::ports::files::{Bucket, DiskUsage, Page, Removal, Span, Summary};
use crate::ports::plugins::CallError;
use crate::value::FileFilter;

/// One directory, for one run.
pub struct DirectoryCapability {}

impl DirectoryCapability {
    /// Free and total space; in a plan with what it would have freed.
    pub async fn usage(&self) -> Result<DiskUsage, CallError> {
        todo!()
    }

    /// Counts what matches, less what a plan has planned away.
    pub async fn summarize(&self, _filter: FileFilter) -> Result<Summary, CallError> {
        todo!()
    }

    /// By age.
    pub async fn age_histogram(&self, _filter: FileFilter, _span: Span) -> Result<Vec<Bucket>, CallError> {
        todo!()
    }

    /// One page.
    pub async fn entries(&self, _filter: FileFilter, _cursor: Option<&str>, _max: u32) -> Result<Page, CallError> {
        todo!()
    }

    /// One batch of a removal.
    pub async fn remove_batch(&self, _filter: FileFilter, _cursor: Option<&str>, _max: u32) -> Result<Removal, CallError> {
        todo!()
    }

    /// The named files, while they match.
    pub async fn remove(&self, _paths: &[Vec<u8>], _filter: FileFilter) -> Result<Removal, CallError> {
        todo!()
    }
}
