//! `database-read`: typed reads and named queries.

use std::sync::atomic::Ordering;

use sereno_core::grant::{Interface, Path, Verb};
use sereno_core::ports::plugins::CallError;

use super::insight;
use crate::bindings::database_read::{
    Activity, ConnectionPage, DatabaseStatistics, ForeignKey, Host, IndexDetail, IndexStatistics,
    PartitionList, Queries, Rows, TablePage, TableStatistics,
};
use crate::bindings::types;
use crate::convert;
use crate::state::{Pace, Reach, State, denied, table, target};

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl Host for State {
    async fn granted_tables(&mut self, database: String, verb: String) -> Answer<Vec<String>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move { granted_tables(&reach, &database, &verb) })
            .await)
    }

    async fn describe_database(&mut self, database: String) -> Answer<DatabaseStatistics> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, Path::Whole)?;
                let found = database.statistics().await?;
                Ok(DatabaseStatistics {
                    bytes: found.bytes,
                    connections: found.connections,
                    connections_limit: found.connections_limit,
                    free_bytes: found.free_bytes,
                    attributes: Vec::new(),
                })
            })
            .await)
    }

    async fn tables(&mut self, database: String, cursor: Option<String>, max: u32) -> Answer<TablePage> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, Path::Whole)?;
                let found = database.sizes(cursor.as_deref(), max).await?;
                Ok(insight::tables(found))
            })
            .await)
    }

    async fn describe_table(&mut self, database: String, table_name: String) -> Answer<TableStatistics> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                let found = database.table_statistics(&table).await?;
                Ok(TableStatistics {
                    table: table.to_string(),
                    bytes: found.bytes,
                    index_bytes: found.index_bytes,
                    rows_estimate: found.rows_estimate,
                    dead_rows_estimate: found.dead_rows_estimate,
                    freeze_age: found.freeze_age,
                    last_vacuum: found.last_vacuum.map(|at| at.timestamp_micros()),
                    last_analyze: found.last_analyze.map(|at| at.timestamp_micros()),
                    partitioned: found.partitioned,
                    attributes: Vec::new(),
                })
            })
            .await)
    }

    async fn indexes(&mut self, database: String, table_name: String) -> Answer<Vec<IndexStatistics>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                let found = database.indexes(&table).await?;
                let found = found.into_iter().map(|index| IndexStatistics {
                    index: index.index,
                    bytes: index.bytes,
                    bloat_percent: index.bloat_percent,
                    valid: index.valid,
                    leftover: index.leftover,
                    attributes: Vec::new(),
                });
                Ok(found.collect())
            })
            .await)
    }

    async fn count(
        &mut self,
        database: String,
        table_name: String,
        filter: Vec<types::Condition>,
    ) -> Answer<u64> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let filter = convert::filter(filter)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                database.count(&table, &filter).await
            })
            .await)
    }

    async fn query(&mut self, database: String, name: String, params: Vec<types::Value>) -> Answer<Rows> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        let used = self.used.clone();
        let rows_max = self.limits.rows;
        Ok(call
            .answer(async move {
                let query = target(&name)?;
                let params: Vec<_> = params.into_iter().map(convert::value).collect::<Result<_, _>>()?;
                let on = |database| Path::Query(database, query.clone());
                let database = reach.database(Interface::DatabaseRead, Verb::Query, &database, on)?;
                let found = database.query(&query, &params).await?;
                let rows = found.rows.len() as u64;
                if used.rows.fetch_add(rows, Ordering::Relaxed) + rows > rows_max {
                    return Err(CallError::Limit(format!(
                        "named queries have returned more than {rows_max} rows to this plugin"
                    )));
                }
                let rows = found.rows.into_iter();
                Ok(Rows {
                    columns: found.columns,
                    rows: rows
                        .map(|row| row.into_iter().map(convert::value_out).collect())
                        .collect(),
                    capped: found.capped,
                })
            })
            .await)
    }

    async fn index_details(&mut self, database: String, table_name: String) -> Answer<Vec<IndexDetail>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                let found = database.index_details(&table).await?;
                Ok(found.into_iter().map(insight::index).collect())
            })
            .await)
    }

    async fn foreign_keys(&mut self, database: String, table_name: String) -> Answer<Vec<ForeignKey>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                let found = database.foreign_keys(&table).await?;
                Ok(found.into_iter().map(insight::foreign_key).collect())
            })
            .await)
    }

    async fn partitions(&mut self, database: String, table_name: String) -> Answer<PartitionList> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let table = table(&table_name)?;
                let on = |database| Path::Table(database, table.clone());
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, on)?;
                Ok(insight::partitions(database.partitions(&table).await?))
            })
            .await)
    }

    async fn slow_queries(&mut self, database: String, max: u32) -> Answer<Queries> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, Path::Whole)?;
                let found = database.statements(max).await?;
                Ok(insight::queries(found))
            })
            .await)
    }

    async fn query_texts(&mut self, database: String, ids: Vec<String>) -> Answer<Vec<(String, String)>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, Path::Whole)?;
                let found = database.statement_texts(&ids).await?;
                Ok(found)
            })
            .await)
    }

    async fn connections(
        &mut self,
        database: String,
        cursor: Option<String>,
        max: u32,
    ) -> Answer<ConnectionPage> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, Path::Whole)?;
                let found = database.connections(cursor.as_deref(), max).await?;
                Ok(insight::connections(found))
            })
            .await)
    }

    async fn activities(&mut self, database: String) -> Answer<Vec<Activity>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let database = reach.database(Interface::DatabaseRead, Verb::Read, &database, Path::Whole)?;
                let found = database.activity().await?;
                Ok(found.into_iter().map(insight::activity).collect())
            })
            .await)
    }
}

/// The tables that are both needed and granted by name. A database of which the plugin needs nothing is denied.
fn granted_tables(reach: &Reach, database: &str, verb: &str) -> Result<Vec<String>, CallError> {
    let database = target(database)?;
    let interface = Verb::parse(verb).and_then(|verb| {
        // Other interfaces have verbs of the same names, which are not done to tables.
        let interface = [
            Interface::DatabaseRead,
            Interface::DatabaseWrite,
            Interface::DatabaseUpkeep,
        ]
        .into_iter()
        .find(|interface| interface.verbs().contains(&verb))?;
        (verb != Verb::Query).then_some((interface, verb))
    });
    let Some((interface, verb)) = interface else {
        return Err(CallError::Invalid(format!(
            "`{verb}` is nothing that is done to a table"
        )));
    };
    let authority = &reach.capabilities().authority;
    let needs_it = authority.needs().iter().any(|need| {
        need.interface == interface
            && matches!(&need.on, Path::Table(on, _) | Path::AllTables(on) if *on == database)
    });
    if !needs_it {
        return Err(denied(&Path::AllTables(database), verb));
    }
    let tables = authority.grants().tables(&database, verb);
    Ok(tables
        .filter(|table| {
            let on = Path::Table(database.clone(), (*table).clone());
            authority.authorize(interface, verb, &on).is_ok()
        })
        .map(ToString::to_string)
        .collect())
}
