//! `database-write`: changes to rows.

use sereno_core::grant::{Interface, Path, Verb};

use crate::bindings::database_write::{Archive, DeleteBatchResult, Host};
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
}
