//! A target that could not be opened, as a port: whatever is asked of it, it answers why.
//!
//! It stands only where a run would do no more than read.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::database::{
    Archive, Database, DatabaseError, DatabaseStatistics, DeleteBatch, Fence, Hazard, IndexStatistics,
    Missing, Purge, RecordedBatch, Rows, TableStatistics, Upkeep, UpkeepTask, Wanted,
};
use super::files::{
    Allowance, Bucket, Compression, Content, Directory, DiskUsage, FilesError, Moved, Page, Removal, Span,
    Summary,
};
use super::insight::{
    Activity, Backend, Connection, EndMode, ForeignKey, IndexDetail, Insight, Part, Queries, TableSize,
};
use super::partition::{Partitioned, Partitions};
use super::storage::{Download, Listing, Object, ObjectKey, Put, Storage, StorageError, Upload};
use crate::grant::Verb;
use crate::job::NamedQuery;
use crate::name::{RunId, TableName};
use crate::value::{FileFilter, Filter, Instant, Value};

/// A database out of reach.
pub struct UnreachedDatabase {
    operation: &'static str,
    reason: String,
    now: Instant,
}

impl UnreachedDatabase {
    /// For what is out of reach, with the host's own time, since nobody can ask for the database's; none for a mistake
    /// in the configuration or the database, which stays one.
    pub fn of(error: &DatabaseError, now: Instant) -> Option<Self> {
        let (operation, reason) = match error {
            DatabaseError::Unreachable { operation, reason } => (*operation, reason.clone()),
            DatabaseError::Timeout { operation, .. } => (*operation, error.to_string()),
            DatabaseError::NotFound { .. } => ("open it", error.to_string()),
            _ => return None,
        };
        Some(Self {
            operation,
            reason,
            now,
        })
    }

    fn why<T>(&self) -> Result<T, DatabaseError> {
        Err(DatabaseError::Unreachable {
            operation: self.operation,
            reason: self.reason.clone(),
        })
    }
}

#[async_trait]
impl Insight for UnreachedDatabase {
    async fn sizes(&self, _cursor: Option<&str>, _max: u32) -> Result<Part<TableSize>, DatabaseError> {
        self.why()
    }

    async fn index_details(&self, _table: &TableName) -> Result<Vec<IndexDetail>, DatabaseError> {
        self.why()
    }

    async fn foreign_keys(&self, _table: &TableName) -> Result<Vec<ForeignKey>, DatabaseError> {
        self.why()
    }

    async fn queries(&self, _max: u32) -> Result<Queries, DatabaseError> {
        self.why()
    }

    async fn query_texts(&self, _ids: &[String]) -> Result<Vec<(String, String)>, DatabaseError> {
        self.why()
    }

    async fn connections(&self, _cursor: Option<&str>, _max: u32) -> Result<Part<Connection>, DatabaseError> {
        self.why()
    }

    async fn activity(&self) -> Result<Vec<Activity>, DatabaseError> {
        self.why()
    }
}

#[async_trait]
impl Partitioned for UnreachedDatabase {
    async fn partitions(&self, _table: &TableName) -> Result<Partitions, DatabaseError> {
        self.why()
    }
}

#[async_trait]
impl Database for UnreachedDatabase {
    async fn now(&self) -> Result<Instant, DatabaseError> {
        Ok(self.now)
    }

    async fn missing(&self, _wanted: &[Wanted]) -> Result<Vec<Missing>, DatabaseError> {
        self.why()
    }

    async fn rights_missing(
        &self,
        _table: &TableName,
        _verbs: &[Verb],
    ) -> Result<Vec<Missing>, DatabaseError> {
        self.why()
    }

    async fn tables(&self) -> Result<Vec<TableName>, DatabaseError> {
        self.why()
    }

    async fn hazards(&self, _table: &TableName) -> Result<Vec<Hazard>, DatabaseError> {
        self.why()
    }

    async fn statistics(&self) -> Result<DatabaseStatistics, DatabaseError> {
        self.why()
    }

    async fn table_statistics(&self, _table: &TableName) -> Result<TableStatistics, DatabaseError> {
        self.why()
    }

    async fn indexes(&self, _table: &TableName) -> Result<Vec<IndexStatistics>, DatabaseError> {
        self.why()
    }

    async fn count(
        &self,
        _table: &TableName,
        _filter: &Filter,
        _without: &[Filter],
    ) -> Result<u64, DatabaseError> {
        self.why()
    }

    async fn query(&self, _query: &NamedQuery, _params: &[Value]) -> Result<Rows, DatabaseError> {
        self.why()
    }

    async fn take_fence(&self, _fence: &Fence) -> Result<(), DatabaseError> {
        self.why()
    }

    async fn recorded(&self, _run: &RunId) -> Result<Vec<RecordedBatch>, DatabaseError> {
        self.why()
    }

    async fn delete_batch(
        &self,
        _purge: &Purge,
        _cursor: Option<&str>,
        _max: u32,
        _fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        self.why()
    }

    async fn archive_batch(
        &self,
        _purge: &Purge,
        _cursor: Option<&str>,
        _max: u32,
        _fence: &Fence,
        _archive: &dyn Archive,
    ) -> Result<DeleteBatch, DatabaseError> {
        self.why()
    }

    async fn preview_delete_batch(
        &self,
        _purge: &Purge,
        _without: &[Filter],
        _cursor: Option<&str>,
        _max: u32,
        _fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        self.why()
    }

    async fn end_connection(
        &self,
        _backend: &Backend,
        _mode: EndMode,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        self.why()
    }

    async fn preview_end_connection(
        &self,
        _backend: &Backend,
        _mode: EndMode,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        self.why()
    }

    async fn upkeep(
        &self,
        _task: &UpkeepTask,
        _limit: Duration,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        self.why()
    }

    async fn preview_upkeep(
        &self,
        _task: &UpkeepTask,
        _limit: Duration,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        self.why()
    }
}

/// A directory out of reach.
pub struct UnreachedDirectory {
    path: String,
    /// None: it is not there.
    refused: Option<(&'static str, io::ErrorKind)>,
}

impl UnreachedDirectory {
    /// For what is out of reach; none for one that may not be used.
    pub fn of(error: &FilesError) -> Option<Self> {
        match error {
            FilesError::NotFound { path } => Some(Self {
                path: path.clone(),
                refused: None,
            }),
            FilesError::Io {
                operation,
                path,
                source,
            } => Some(Self {
                path: path.clone(),
                refused: Some((operation, source.kind())),
            }),
            FilesError::Unfit { .. } | FilesError::Invalid(_) | FilesError::Taken { .. } => None,
        }
    }

    fn why<T>(&self) -> Result<T, FilesError> {
        let path = self.path.clone();
        Err(match self.refused {
            None => FilesError::NotFound { path },
            Some((operation, kind)) => FilesError::Io {
                operation,
                path,
                source: kind.into(),
            },
        })
    }
}

#[async_trait]
impl Directory for UnreachedDirectory {
    async fn usage(&self) -> Result<DiskUsage, FilesError> {
        self.why()
    }

    async fn files_up_to(&self, _recursive: bool, _limit: u64) -> Result<u64, FilesError> {
        self.why()
    }

    async fn summarize(&self, _filter: &FileFilter, _without: &[FileFilter]) -> Result<Summary, FilesError> {
        self.why()
    }

    async fn age_histogram(
        &self,
        _filter: &FileFilter,
        _without: &[FileFilter],
        _span: Span,
    ) -> Result<Vec<Bucket>, FilesError> {
        self.why()
    }

    async fn entries(
        &self,
        _filter: &FileFilter,
        _without: &[FileFilter],
        _cursor: Option<&str>,
        _max: u32,
    ) -> Result<Page, FilesError> {
        self.why()
    }

    async fn remove_batch(
        &self,
        _filter: &FileFilter,
        _cursor: Option<&str>,
        _max: u32,
        _allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.why()
    }

    async fn preview_remove_batch(
        &self,
        _filter: &FileFilter,
        _without: &[FileFilter],
        _cursor: Option<&str>,
        _max: u32,
        _allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.why()
    }

    async fn remove(
        &self,
        _paths: &[Vec<u8>],
        _filter: &FileFilter,
        _allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.why()
    }

    async fn preview_remove(
        &self,
        _paths: &[Vec<u8>],
        _filter: &FileFilter,
        _without: &[FileFilter],
        _allowance: Allowance,
    ) -> Result<Removal, FilesError> {
        self.why()
    }

    async fn read_content(&self, _path: &[u8], _offset: u64, _max: u32) -> Result<Content, FilesError> {
        self.why()
    }

    async fn rename(&self, _from: &[u8], _to: &[u8]) -> Result<Moved, FilesError> {
        self.why()
    }

    async fn preview_rename(
        &self,
        _from: &[u8],
        _to: &[u8],
        _without: &[FileFilter],
    ) -> Result<Moved, FilesError> {
        self.why()
    }

    async fn compress(
        &self,
        _paths: &[Vec<u8>],
        _filter: &FileFilter,
        _allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        self.why()
    }

    async fn preview_compress(
        &self,
        _paths: &[Vec<u8>],
        _filter: &FileFilter,
        _without: &[FileFilter],
        _allowance: Allowance,
    ) -> Result<Compression, FilesError> {
        self.why()
    }

    async fn copy_truncate(&self, _from: &[u8], _to: &[u8]) -> Result<Moved, FilesError> {
        self.why()
    }
}

/// A storage out of reach.
pub struct UnreachedStorage {
    operation: &'static str,
    reason: String,
}

impl UnreachedStorage {
    /// For what is out of reach; none for a mistake in the configuration, which stays one.
    pub fn of(error: &StorageError) -> Option<Self> {
        let (operation, reason) = match error {
            StorageError::Unreachable { operation, reason } => (*operation, reason.clone()),
            StorageError::Refused { operation, .. } => (*operation, error.to_string()),
            StorageError::NotFound { .. } => ("open it", error.to_string()),
            StorageError::Exists { .. } | StorageError::Invalid(_) => return None,
        };
        Some(Self { operation, reason })
    }

    fn why<T>(&self) -> Result<T, StorageError> {
        Err(StorageError::Unreachable {
            operation: self.operation,
            reason: self.reason.clone(),
        })
    }
}

#[async_trait]
impl Storage for UnreachedStorage {
    async fn list(&self, _prefix: &str, _cursor: Option<&str>, _max: u32) -> Result<Listing, StorageError> {
        self.why()
    }

    async fn head(&self, _key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        self.why()
    }

    async fn get(
        &self,
        _key: &ObjectKey,
        _from: u64,
        _max: u32,
    ) -> Result<super::storage::Part, StorageError> {
        self.why()
    }

    async fn put(&self, _key: &ObjectKey, _content: Vec<u8>, _put: Put) -> Result<Object, StorageError> {
        self.why()
    }

    async fn preview_put(&self, _key: &ObjectKey, _bytes: u64, _put: Put) -> Result<Object, StorageError> {
        self.why()
    }

    async fn remove(&self, _key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        self.why()
    }

    async fn preview_remove(&self, _key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        self.why()
    }

    async fn put_stream(&self, _key: &ObjectKey, _put: Put) -> Result<Box<dyn Upload>, StorageError> {
        self.why()
    }

    async fn get_stream(&self, _key: &ObjectKey) -> Result<Box<dyn Download>, StorageError> {
        self.why()
    }
}
