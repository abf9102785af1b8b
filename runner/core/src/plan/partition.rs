//! Partitions that only seem to leave their table.
//!
//! A plan remembers which it has detached, kept and dropped, and what was in them, so that later questions are answered as if
//! it had.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::database::PlannedDatabase;
use crate::name::TableName;
use crate::ports::database::{Database, DatabaseError, Fence};
use crate::ports::partition::{PartitionState, PartitionStep, Partitioned, Partitions, Shelf};
use crate::value::{Filter, Instant};

/// What a plan has done with partitions, by table and partition.
#[derive(Debug, Default)]
pub(super) struct PlannedPartitions(Mutex<BTreeMap<(TableName, TableName), Planned>>);

#[derive(Debug, Clone, Copy)]
struct Planned {
    state: PartitionState,
    /// Rows that its table has no more.
    rows: u64,
    at: Option<Instant>,
}

impl PlannedPartitions {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<(TableName, TableName), Planned>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of(&self, table: &TableName, partition: &TableName) -> Option<Planned> {
        self.with(|all| all.get(&(table.clone(), partition.clone())).copied())
    }

    /// Rows that left `table` by detaching, of those that match `filter`.
    pub(super) async fn gone(
        &self,
        inner: &Arc<dyn Database>,
        table: &TableName,
        filter: &Filter,
        without: &[Filter],
    ) -> Result<u64, DatabaseError> {
        let detached: Vec<(TableName, u64)> = self.with(|all| {
            let of_table = all
                .iter()
                .filter(|((of, _), planned)| of == table && planned.rows > 0);
            of_table
                .map(|((_, partition), planned)| (partition.clone(), planned.rows))
                .collect()
        });
        let mut gone = 0;
        for (partition, rows) in detached {
            gone += if *filter == Filter::default() && without.is_empty() {
                rows
            } else {
                inner.count(&partition, filter, without).await?
            };
        }
        Ok(gone)
    }
}

#[async_trait]
impl Partitioned for PlannedDatabase {
    async fn partitions(&self, table: &TableName) -> Result<Partitions, DatabaseError> {
        let mut found = self.inner.partitions(table).await?;
        for partition in &mut found.partitions {
            if let Some(planned) = self.partitions.of(table, &partition.name) {
                partition.state = planned.state;
                partition.archived_at = partition.archived_at.or(planned.at);
            }
        }
        found.partitions.retain(|partition| {
            partition.state != PartitionState::Gone || {
                self.partitions.of(table, &partition.name).is_none()
            }
        });
        Ok(found)
    }

    async fn detach_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        before: Instant,
        limit: Duration,
        fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        let step = self
            .preview_detach_partition(table, partition, before, limit, fence)
            .await?;
        if step.done {
            let planned = Planned {
                state: PartitionState::Detached,
                rows: step.rows,
                at: None,
            };
            self.partitions
                .with(|all| all.insert((table.clone(), partition.clone()), planned));
        }
        Ok(step)
    }

    async fn preview_detach_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        before: Instant,
        limit: Duration,
        fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        if self.partitions.of(table, partition).is_some() {
            return Ok(PartitionStep::not_done("it is detached already"));
        }
        self.inner
            .preview_detach_partition(table, partition, before, limit, fence)
            .await
    }

    async fn archive_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        _fence: &Fence,
        _shelf: &dyn Shelf,
    ) -> Result<PartitionStep, DatabaseError> {
        let step = self
            .preview_archive_partition(table, partition, limit, false)
            .await?;
        if step.done {
            let at = Some(self.inner.now().await?);
            self.partitions.with(|all| {
                let planned = all.entry((table.clone(), partition.clone())).or_insert(Planned {
                    state: PartitionState::Archived,
                    rows: 0,
                    at,
                });
                planned.state = PartitionState::Archived;
                planned.at = at;
            });
        }
        Ok(step)
    }

    async fn preview_archive_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        detached: bool,
    ) -> Result<PartitionStep, DatabaseError> {
        let planned = self.partitions.of(table, partition).map(|planned| planned.state);
        if matches!(planned, Some(PartitionState::Archived | PartitionState::Gone)) {
            return Ok(PartitionStep::not_done("it is in the archive already"));
        }
        let detached = detached || planned == Some(PartitionState::Detached);
        self.inner
            .preview_archive_partition(table, partition, limit, detached)
            .await
    }

    async fn drop_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        let step = self
            .preview_drop_partition(table, partition, limit, fence)
            .await?;
        if step.done {
            let planned = Planned {
                state: PartitionState::Gone,
                rows: 0,
                at: None,
            };
            self.partitions
                .with(|all| all.insert((table.clone(), partition.clone()), planned));
        }
        Ok(step)
    }

    async fn preview_drop_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        self.inner
            .preview_drop_partition(table, partition, limit, fence)
            .await
    }
}
