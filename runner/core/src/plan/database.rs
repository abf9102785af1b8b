//! A database that only pretends to change.
//!
//! A purge counts as done for later reads once its last batch was previewed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::partition::PlannedPartitions;
use crate::grant::Verb;
use crate::job::NamedQuery;
use crate::name::{RunId, TableName};
use crate::ports::database::{
    Archive, Database, DatabaseError, DatabaseStatistics, DeleteBatch, Fence, Hazard, IndexStatistics,
    Missing, Purge, RecordedBatch, Rows, TableStatistics, Upkeep, UpkeepTask, Wanted,
};
use crate::ports::insight::{
    Activity, Backend, Connection, EndMode, ForeignKey, IndexDetail, Insight, Part, Queries, TableSize,
};
use crate::value::{Filter, Instant, Value};

/// The plan-mode decorator of a [`Database`].
pub struct PlannedDatabase {
    pub(super) inner: Arc<dyn Database>,
    pub(super) partitions: PlannedPartitions,
    planned: Mutex<BTreeMap<TableName, Vec<Filter>>>,
    /// Connections that would be gone.
    ended: Mutex<BTreeSet<(i64, Instant)>>,
}

impl PlannedDatabase {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn Database>) -> Self {
        Self {
            inner,
            partitions: PlannedPartitions::default(),
            planned: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    fn planned(&self, table: &TableName) -> Vec<Filter> {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.get(table).cloned().unwrap_or_default()
    }

    fn plan(&self, purge: &Purge) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned
            .entry(purge.table.clone())
            .or_default()
            .push(purge.filter.clone());
    }
}

#[async_trait]
impl Insight for PlannedDatabase {
    async fn sizes(&self, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, DatabaseError> {
        self.inner.sizes(cursor, max).await
    }

    async fn index_details(&self, table: &TableName) -> Result<Vec<IndexDetail>, DatabaseError> {
        self.inner.index_details(table).await
    }

    async fn foreign_keys(&self, table: &TableName) -> Result<Vec<ForeignKey>, DatabaseError> {
        self.inner.foreign_keys(table).await
    }

    async fn queries(&self, max: u32) -> Result<Queries, DatabaseError> {
        self.inner.queries(max).await
    }

    async fn query_texts(&self, ids: &[String]) -> Result<Vec<(String, String)>, DatabaseError> {
        self.inner.query_texts(ids).await
    }

    async fn connections(&self, cursor: Option<&str>, max: u32) -> Result<Part<Connection>, DatabaseError> {
        let mut part = self.inner.connections(cursor, max).await?;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        part.items
            .retain(|connection| !ended.contains(&(connection.pid, connection.started)));
        for connection in &mut part.items {
            // Whoever waits for one of those goes on.
            connection
                .blocked_by
                .retain(|blocker| !ended.iter().any(|(pid, _)| pid == blocker));
        }
        Ok(part)
    }

    async fn activity(&self) -> Result<Vec<Activity>, DatabaseError> {
        let mut activity = self.inner.activity().await?;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        activity.retain(|found| !ended.iter().any(|(pid, _)| found.pid == Some(*pid)));
        Ok(activity)
    }
}

#[async_trait]
impl Database for PlannedDatabase {
    async fn now(&self) -> Result<Instant, DatabaseError> {
        self.inner.now().await
    }

    async fn missing(&self, wanted: &[Wanted]) -> Result<Vec<Missing>, DatabaseError> {
        self.inner.missing(wanted).await
    }

    async fn rights_missing(&self, table: &TableName, verbs: &[Verb]) -> Result<Vec<Missing>, DatabaseError> {
        self.inner.rights_missing(table, verbs).await
    }

    async fn tables(&self) -> Result<Vec<TableName>, DatabaseError> {
        self.inner.tables().await
    }

    async fn hazards(&self, table: &TableName) -> Result<Vec<Hazard>, DatabaseError> {
        self.inner.hazards(table).await
    }

    async fn statistics(&self) -> Result<DatabaseStatistics, DatabaseError> {
        let mut statistics = self.inner.statistics().await?;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        statistics.connections = statistics
            .connections
            .map(|connections| connections.saturating_sub(ended.len() as u64));
        Ok(statistics)
    }

    async fn table_statistics(&self, table: &TableName) -> Result<TableStatistics, DatabaseError> {
        self.inner.table_statistics(table).await
    }

    async fn indexes(&self, table: &TableName) -> Result<Vec<IndexStatistics>, DatabaseError> {
        self.inner.indexes(table).await
    }

    async fn count(
        &self,
        table: &TableName,
        filter: &Filter,
        without: &[Filter],
    ) -> Result<u64, DatabaseError> {
        let gone = [self.planned(table).as_slice(), without].concat();
        let rows = self.inner.count(table, filter, &gone).await?;
        let left = self.partitions.gone(&self.inner, table, filter, &gone).await?;
        Ok(rows.saturating_sub(left))
    }

    async fn query(&self, query: &NamedQuery, params: &[Value]) -> Result<Rows, DatabaseError> {
        self.inner.query(query, params).await
    }

    async fn take_fence(&self, _fence: &Fence) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn recorded(&self, run: &RunId) -> Result<Vec<RecordedBatch>, DatabaseError> {
        self.inner.recorded(run).await
    }

    async fn delete_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        let batch = self.preview_delete_batch(purge, &[], cursor, max, fence).await?;
        if batch.cursor.is_none() {
            self.plan(purge);
        }
        Ok(batch)
    }

    async fn archive_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
        _archive: &dyn Archive,
    ) -> Result<DeleteBatch, DatabaseError> {
        self.delete_batch(purge, cursor, max, fence).await
    }

    async fn preview_delete_batch(
        &self,
        purge: &Purge,
        without: &[Filter],
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        let gone = [self.planned(&purge.table).as_slice(), without].concat();
        self.inner
            .preview_delete_batch(purge, &gone, cursor, max, fence)
            .await
    }

    async fn end_connection(
        &self,
        backend: &Backend,
        mode: EndMode,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        let ended = self.preview_end_connection(backend, mode, fence).await?;
        if ended.done && mode == EndMode::Terminate {
            let mut gone = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            gone.insert((backend.pid, backend.started));
        }
        Ok(ended)
    }

    async fn preview_end_connection(
        &self,
        backend: &Backend,
        mode: EndMode,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        self.inner.preview_end_connection(backend, mode, fence).await
    }

    async fn upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        self.inner.preview_upkeep(task, limit, fence).await
    }

    async fn preview_upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        self.inner.preview_upkeep(task, limit, fence).await
    }
}
