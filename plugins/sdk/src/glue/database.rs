//! The databases' interfaces of the contract: reading, deleting, archiving and upkeep.
//!
//! What they share with the others is `glue`'s.

use super::bindings::sereno::plugin as wit;
use super::{Imports, filter_out, upkeep_in, value_in, value_out};
use crate::data::{
    Archive, DatabaseStatistics, DeleteBatch, Filter, IndexStatistics, Rows, TableStatistics, Upkeep, Value,
};
use crate::insight::{
    Activity, Connection, ForeignKey, IndexDetail, Part, Partition, PartitionStep, Partitions, Queries,
    QueryStatistics, TableSize,
};
use crate::{DatabaseRead, DatabaseUpkeep, DatabaseWrite, End, Error, Instant};

impl DatabaseRead for Imports {
    fn granted_tables(&mut self, database: &str, verb: &str) -> Result<Vec<String>, Error> {
        Ok(wit::database_read::granted_tables(database, verb)?)
    }

    fn database_statistics(&mut self, database: &str) -> Result<DatabaseStatistics, Error> {
        let statistics = wit::database_read::describe_database(database)?;
        Ok(DatabaseStatistics {
            bytes: statistics.bytes,
            connections: statistics.connections,
            connections_limit: statistics.connections_limit,
            free_bytes: statistics.free_bytes,
        })
    }

    fn tables(&mut self, database: &str, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, Error> {
        let page = wit::database_read::tables(database, cursor, max)?;
        let table = |table: wit::database_read::TableSize| TableSize {
            schema: table.schema,
            table: table.table,
            bytes: table.bytes,
            index_bytes: table.index_bytes,
            toast_bytes: table.toast_bytes,
            rows_estimate: table.rows_estimate,
            partition_of: table.partition_of,
            partitioned: table.partitioned,
        };
        Ok(Part {
            items: page.tables.into_iter().map(table).collect(),
            cursor: page.cursor,
        })
    }

    fn table_statistics(&mut self, database: &str, table: &str) -> Result<TableStatistics, Error> {
        let statistics = wit::database_read::describe_table(database, table)?;
        Ok(TableStatistics {
            bytes: statistics.bytes,
            index_bytes: statistics.index_bytes,
            rows_estimate: statistics.rows_estimate,
            dead_rows_estimate: statistics.dead_rows_estimate,
            freeze_age: statistics.freeze_age,
            last_vacuum: statistics.last_vacuum.map(Instant::from_micros),
            last_analyze: statistics.last_analyze.map(Instant::from_micros),
            partitioned: statistics.partitioned,
        })
    }

    fn indexes(&mut self, database: &str, table: &str) -> Result<Vec<IndexStatistics>, Error> {
        let index = |index: wit::database_read::IndexStatistics| IndexStatistics {
            index: index.index,
            bytes: index.bytes,
            bloat_percent: index.bloat_percent,
            valid: index.valid,
            leftover: index.leftover,
        };
        Ok(wit::database_read::indexes(database, table)?
            .into_iter()
            .map(index)
            .collect())
    }

    fn count(&mut self, database: &str, table: &str, filter: &Filter) -> Result<u64, Error> {
        Ok(wit::database_read::count(database, table, &filter_out(filter))?)
    }

    fn query(&mut self, database: &str, name: &str, params: &[Value]) -> Result<Rows, Error> {
        let params: Vec<_> = params.iter().map(value_out).collect();
        let rows = wit::database_read::query(database, name, &params)?;
        Ok(Rows {
            columns: rows.columns,
            rows: rows
                .rows
                .into_iter()
                .map(|row| row.into_iter().map(value_in).collect())
                .collect(),
            capped: rows.capped,
        })
    }

    fn index_details(&mut self, database: &str, table: &str) -> Result<Vec<IndexDetail>, Error> {
        let found = wit::database_read::index_details(database, table)?;
        Ok(found.into_iter().map(index_in).collect())
    }

    fn foreign_keys(&mut self, database: &str, table: &str) -> Result<Vec<ForeignKey>, Error> {
        let key = |key: wit::database_read::ForeignKey| ForeignKey {
            name: key.name,
            columns: key.columns,
            refers_to: key.refers_to,
            indexed: key.indexed,
        };
        let found = wit::database_read::foreign_keys(database, table)?;
        Ok(found.into_iter().map(key).collect())
    }

    fn slow_queries(&mut self, database: &str, max: u32) -> Result<Queries, Error> {
        let found = wit::database_read::slow_queries(database, max)?;
        Ok(Queries {
            queries: found.queries.into_iter().map(query_in).collect(),
            capped: found.capped,
            since: micros(found.since),
            deallocated: found.deallocated,
        })
    }

    fn query_texts(&mut self, database: &str, ids: &[String]) -> Result<Vec<(String, String)>, Error> {
        Ok(wit::database_read::query_texts(database, ids)?)
    }

    fn connections(
        &mut self,
        database: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Part<Connection>, Error> {
        let page = wit::database_read::connections(database, cursor, max)?;
        Ok(Part {
            items: page.connections.into_iter().map(connection_in).collect(),
            cursor: page.cursor,
        })
    }

    fn partitions(&mut self, database: &str, table: &str) -> Result<Partitions, Error> {
        let found = wit::database_read::partitions(database, table)?;
        let one = |one: wit::database_read::Partition| Partition {
            name: one.name,
            state: one.state,
            upper: micros(one.upper),
            kept: one.kept,
            archived_at: micros(one.archived_at),
        };
        Ok(Partitions {
            obstacle: found.obstacle,
            partitions: found.partitions.into_iter().map(one).collect(),
        })
    }

    fn activities(&mut self, database: &str) -> Result<Vec<Activity>, Error> {
        let activity = |activity: wit::database_read::Activity| Activity {
            kind: activity.kind,
            what: activity.what,
            pid: activity.pid,
            since: micros(activity.since),
            amount: activity.amount,
            total: activity.total,
            unit: activity.unit,
            note: activity.note,
        };
        let found = wit::database_read::activities(database)?;
        Ok(found.into_iter().map(activity).collect())
    }
}

fn micros(at: Option<i64>) -> Option<Instant> {
    at.map(Instant::from_micros)
}

fn index_in(index: wit::database_read::IndexDetail) -> IndexDetail {
    IndexDetail {
        index: index.index,
        columns: index.columns,
        ordering: index.ordering,
        included: index.included,
        predicate: index.predicate,
        method: index.method,
        unique: index.unique,
        primary: index.primary,
        constraint: index.constraint,
        valid: index.valid,
        bytes: index.bytes,
        scans: index.scans,
        last_scan: micros(index.last_scan),
        counted_since: micros(index.counted_since),
        definition: index.definition,
    }
}

fn query_in(query: wit::database_read::QueryStatistics) -> QueryStatistics {
    QueryStatistics {
        id: query.id,
        user: query.user,
        calls: query.calls,
        total_ms: query.total_ms,
        rows: query.rows,
        blocks_hit: query.blocks_hit,
        blocks_read: query.blocks_read,
        blocks_temp: query.blocks_temp,
        since: micros(query.since),
    }
}

fn connection_in(connection: wit::database_read::Connection) -> Connection {
    Connection {
        pid: connection.pid,
        started: Instant::from_micros(connection.started),
        user: connection.user,
        application: connection.application,
        client: connection.client,
        state: connection.state,
        state_changed: micros(connection.state_changed),
        transaction_started: micros(connection.transaction_started),
        query_started: micros(connection.query_started),
        query_kind: connection.query_kind,
        waits_for: connection.waits_for,
        blocked_by: connection.blocked_by,
        kept: connection.kept,
    }
}

impl DatabaseWrite for Imports {
    fn delete_batch(
        &mut self,
        database: &str,
        table: &str,
        filter: &Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<DeleteBatch, Error> {
        let filter = filter_out(filter);
        let batch = wit::database_write::delete_batch(database, table, &filter, order_by, cursor, max)?;
        Ok(DeleteBatch {
            rows: batch.rows,
            cursor: batch.cursor,
            locked: batch.locked,
        })
    }

    fn archive_batch(
        &mut self,
        database: &str,
        table: &str,
        filter: &Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
        archive: &Archive,
    ) -> Result<DeleteBatch, Error> {
        let filter = filter_out(filter);
        let archive = wit::database_write::Archive {
            storage: archive.storage.clone(),
            prefix: archive.prefix.clone(),
        };
        let batch =
            wit::database_write::archive_batch(database, table, &filter, order_by, cursor, max, &archive)?;
        Ok(DeleteBatch {
            rows: batch.rows,
            cursor: batch.cursor,
            locked: batch.locked,
        })
    }

    fn detach_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        before: Instant,
    ) -> Result<PartitionStep, Error> {
        Ok(step_in(wit::database_write::detach_partition(
            database,
            table,
            partition,
            before.micros(),
        )?))
    }

    fn archive_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        archive: &Archive,
    ) -> Result<PartitionStep, Error> {
        let archive = wit::database_write::Archive {
            storage: archive.storage.clone(),
            prefix: archive.prefix.clone(),
        };
        Ok(step_in(wit::database_write::archive_partition(
            database, table, partition, &archive,
        )?))
    }

    fn drop_partition(
        &mut self,
        database: &str,
        table: &str,
        partition: &str,
        archived_before: Instant,
        storage: &str,
    ) -> Result<PartitionStep, Error> {
        Ok(step_in(wit::database_write::drop_partition(
            database,
            table,
            partition,
            archived_before.micros(),
            storage,
        )?))
    }
}

fn step_in(step: wit::database_write::PartitionStep) -> PartitionStep {
    PartitionStep {
        done: step.done,
        rows: step.rows,
        bytes: step.bytes,
        note: step.note,
    }
}

impl DatabaseUpkeep for Imports {
    fn vacuum(&mut self, database: &str, table: &str, analyze: bool, max_ms: u64) -> Result<Upkeep, Error> {
        Ok(upkeep_in(wit::database_upkeep::vacuum(
            database, table, analyze, max_ms,
        )?))
    }

    fn analyze(&mut self, database: &str, table: &str, max_ms: u64) -> Result<Upkeep, Error> {
        Ok(upkeep_in(wit::database_upkeep::analyze(database, table, max_ms)?))
    }

    fn reindex(&mut self, database: &str, table: &str, index: &str, max_ms: u64) -> Result<Upkeep, Error> {
        Ok(upkeep_in(wit::database_upkeep::reindex(
            database, table, index, max_ms,
        )?))
    }

    fn vacuum_full(&mut self, database: &str, table: &str, max_ms: u64) -> Result<Upkeep, Error> {
        Ok(upkeep_in(wit::database_upkeep::vacuum_full(
            database, table, max_ms,
        )?))
    }

    fn terminate(&mut self, database: &str, connection: &Connection, mode: End) -> Result<Upkeep, Error> {
        Ok(upkeep_in(wit::database_upkeep::terminate(
            database,
            connection.pid,
            connection.started.micros(),
            connection.state_changed.map(Instant::micros),
            mode.as_str(),
        )?))
    }
}
