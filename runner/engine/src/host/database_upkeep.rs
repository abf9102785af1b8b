//! `database-upkeep`: VACUUM, ANALYZE, REINDEX, and ends of connections.

use std::time::Duration;

use sereno_core::grant::{Interface, Path, Verb};
use sereno_core::name::TableName;
use sereno_core::ports::database::UpkeepTask;
use sereno_core::ports::insight::{Backend, EndMode};
use sereno_core::ports::plugins::CallError;

use crate::bindings::database_upkeep::{Host, UpkeepResult};
use crate::bindings::types;
use crate::convert;
use crate::state::{Pace, State, table};

type Answer = wasmtime::Result<Result<UpkeepResult, types::Error>>;

impl Host for State {
    async fn vacuum(&mut self, database: String, table: String, analyze: bool, max_ms: u64) -> Answer {
        let task = move |table| UpkeepTask::Vacuum { table, analyze };
        self.upkeep(Verb::Vacuum, database, table, task, max_ms).await
    }

    async fn analyze(&mut self, database: String, table: String, max_ms: u64) -> Answer {
        let task = |table| UpkeepTask::Analyze { table };
        self.upkeep(Verb::Analyze, database, table, task, max_ms).await
    }

    async fn reindex(&mut self, database: String, table: String, index: String, max_ms: u64) -> Answer {
        let task = |table| UpkeepTask::Reindex { table, index };
        self.upkeep(Verb::Reindex, database, table, task, max_ms).await
    }

    async fn vacuum_full(&mut self, database: String, table: String, max_ms: u64) -> Answer {
        let task = |table| UpkeepTask::VacuumFull { table };
        self.upkeep(Verb::VacuumFull, database, table, task, max_ms).await
    }

    async fn terminate(
        &mut self,
        database: String,
        pid: i64,
        started: i64,
        state_changed: Option<i64>,
        mode: String,
    ) -> Answer {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let backend = Backend {
                    pid,
                    started: convert::instant(started)?,
                    state_changed: state_changed.map(convert::instant).transpose()?,
                };
                let mode = match mode.as_str() {
                    "cancel" => EndMode::Cancel,
                    "terminate" => EndMode::Terminate,
                    _ => {
                        let text =
                            format!("`{mode}` is no way to end a connection; `cancel` and `terminate` are");
                        return Err(CallError::Invalid(text));
                    }
                };
                let database =
                    reach.database(Interface::DatabaseUpkeep, Verb::Terminate, &database, Path::Whole)?;
                let done = database.end_connection(&backend, mode).await?;
                Ok(UpkeepResult {
                    done: done.done,
                    bytes: done.bytes,
                    note: done.note,
                })
            })
            .await)
    }
}

impl State {
    async fn upkeep(
        &mut self,
        verb: Verb,
        database: String,
        table_name: String,
        task: impl FnOnce(TableName) -> UpkeepTask + Send,
        max_ms: u64,
    ) -> Answer {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseUpkeep, verb, &database, on)?;
                // It cannot stop half-way, so it must be over while the run can still end in order.
                let limit = Duration::from_millis(max_ms).min(reach.time_left());
                let done = database.upkeep(task(table), limit).await?;
                Ok(UpkeepResult {
                    done: done.done,
                    bytes: done.bytes,
                    note: done.note,
                })
            })
            .await)
    }
}
