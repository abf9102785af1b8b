//! A database behind its guards.

use std::time::Duration;

use crate::name::{TableName, TargetName};
use crate::ports::database::{DatabaseStatistics, DeleteBatch, IndexStatistics, Rows, TableStatistics, Upkeep, UpkeepTask};
use crate::ports::plugins::CallError;
use crate::value::{Filter, Value};

/// One database, for one run.
pub struct DatabaseCapability {}

impl DatabaseCapability {
    /// Sizes and connections.
    pub async fn statistics(&self) -> Result<DatabaseStatistics, CallError> {
        todo!()
    }

    /// Of one table.
    pub async fn table_statistics(&self, _table: &TableName) -> Result<TableStatistics, CallError> {
        todo!()
    }

    /// Of one table's indexes.
    pub async fn indexes(&self, _table: &TableName) -> Result<Vec<IndexStatistics>, CallError> {
        todo!()
    }

    /// Exact count, less what a plan has planned away.
    pub async fn count(&self, _table: &TableName, _filter: &Filter) -> Result<u64, CallError> {
        todo!()
    }

    /// The operator's query `name`.
    pub async fn query(&self, _name: &TargetName, _params: &[Value]) -> Result<Rows, CallError> {
        todo!()
    }

    /// One batch of a purge.
    pub async fn delete_batch(&self, _table: &TableName, _filter: Filter, _order_by: &str, _cursor: Option<&str>, _max: u32) -> Result<DeleteBatch, CallError> {
        todo!()
    }

    /// One upkeep task.
    pub async fn upkeep(&self, _task: UpkeepTask, _limit: Duration) -> Result<Upkeep, CallError> {
        todo!()
    }
}
