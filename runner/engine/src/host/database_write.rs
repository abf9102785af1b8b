//! `database-write`: changes to rows and to partitions.

use sereno_core::grant::{Interface, Path, Verb};
use sereno_core::ports::partition;

use crate::bindings::database_write::{Archive, DeleteBatchResult, Host, PartitionStep};
use crate::bindings::types;
use crate::convert;
use crate::state::{Pace, State, table};

impl Host for State {
    async fn delete_batch(
        &mut self,
        database: String,
        table_name: String,
        filter: Vec<types::Condition>,
        order_by: String,
        cursor: Option<String>,
        max: u32,
    ) -> wasmtime::Result<Result<DeleteBatchResult, types::Error>> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let filter = convert::filter(filter)?;
                let max = convert::step(max)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseWrite, Verb::Delete, &database, on)?;
                let batch = database
                    .delete_batch(&table, filter, &order_by, cursor.as_deref(), max)
                    .await?;
                Ok(DeleteBatchResult {
                    rows: batch.rows,
                    cursor: batch.cursor,
                    locked: batch.locked,
                })
            })
            .await)
    }

    async fn archive_batch(
        &mut self,
        database: String,
        table_name: String,
        filter: Vec<types::Condition>,
        order_by: String,
        cursor: Option<String>,
        max: u32,
        archive: Archive,
    ) -> wasmtime::Result<Result<DeleteBatchResult, types::Error>> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let filter = convert::filter(filter)?;
                let max = convert::step(max)?;
                let on = |database| Path::Table(database, table.clone());
                reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                let database = reach.database(Interface::DatabaseWrite, Verb::Delete, &database, on)?;
                let storage = reach.storage(Verb::Write, &archive.storage)?;
                let (cursor, prefix) = (cursor.as_deref(), &*archive.prefix);
                let batch = database
                    .archive_batch(&table, filter, &order_by, cursor, max, &storage, prefix)
                    .await?;
                Ok(DeleteBatchResult {
                    rows: batch.rows,
                    cursor: batch.cursor,
                    locked: batch.locked,
                })
            })
            .await)
    }

    async fn detach_partition(
        &mut self,
        database: String,
        table_name: String,
        partition: String,
        before: i64,
    ) -> wasmtime::Result<Result<PartitionStep, types::Error>> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let (table, partition) = (table(&table_name)?, table(&partition)?);
                let before = convert::instant(before)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseWrite, Verb::Detach, &database, on)?;
                let limit = reach.time_left();
                Ok(step(
                    database
                        .detach_partition(&table, &partition, before, limit)
                        .await?,
                ))
            })
            .await)
    }

    async fn archive_partition(
        &mut self,
        database: String,
        table_name: String,
        partition: String,
        archive: Archive,
    ) -> wasmtime::Result<Result<PartitionStep, types::Error>> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let (table, partition) = (table(&table_name)?, table(&partition)?);
                let on = |database| Path::Table(database, table.clone());
                reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                let database = reach.database(Interface::DatabaseWrite, Verb::Detach, &database, on)?;
                let storage = reach.storage(Verb::Write, &archive.storage)?;
                let limit = reach.time_left();
                let done = database
                    .archive_partition(&table, &partition, &storage, &archive.prefix, limit)
                    .await?;
                Ok(step(done))
            })
            .await)
    }

    async fn drop_partition(
        &mut self,
        database: String,
        table_name: String,
        partition: String,
        archived_before: i64,
        storage: String,
    ) -> wasmtime::Result<Result<PartitionStep, types::Error>> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let (table, partition) = (table(&table_name)?, table(&partition)?);
                let before = convert::instant(archived_before)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseWrite, Verb::Drop, &database, on)?;
                let storage = reach.storage(Verb::Write, &storage)?;
                let limit = reach.time_left();
                let done = database
                    .drop_partition(&table, &partition, before, &storage, limit)
                    .await?;
                Ok(step(done))
            })
            .await)
    }
}

fn step(done: partition::PartitionStep) -> PartitionStep {
    PartitionStep {
        done: done.done,
        rows: done.rows,
        bytes: done.bytes,
        note: done.note,
    }
}
