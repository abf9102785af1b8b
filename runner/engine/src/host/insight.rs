//! What a database tells of itself, in the contract's records. It decides nothing.

use sereno_core::ports::insight as port;
use sereno_core::ports::partition;
use sereno_core::value::Instant;

use crate::bindings::database_read as wit;

fn micros(at: Option<Instant>) -> Option<i64> {
    at.map(|at| at.timestamp_micros())
}

pub(super) fn tables(found: port::Part<port::TableSize>) -> wit::TablePage {
    let table = |table: port::TableSize| wit::TableSize {
        schema: table.schema,
        table: table.table,
        bytes: table.bytes,
        index_bytes: table.index_bytes,
        toast_bytes: table.toast_bytes,
        rows_estimate: table.rows_estimate,
        partition_of: table.partition_of,
        partitioned: table.partitioned,
        attributes: Vec::new(),
    };
    wit::TablePage {
        tables: found.items.into_iter().map(table).collect(),
        cursor: found.cursor,
    }
}

pub(super) fn index(index: port::IndexDetail) -> wit::IndexDetail {
    wit::IndexDetail {
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
        attributes: Vec::new(),
    }
}

pub(super) fn foreign_key(key: port::ForeignKey) -> wit::ForeignKey {
    wit::ForeignKey {
        name: key.name,
        columns: key.columns,
        refers_to: key.refers_to,
        indexed: key.indexed,
        attributes: Vec::new(),
    }
}

pub(super) fn queries(found: port::Queries) -> wit::Queries {
    let query = |query: port::QueryStatistics| wit::QueryStatistics {
        id: query.id,
        user: query.user,
        calls: query.calls,
        total_ms: query.total_ms,
        rows: query.rows,
        blocks_hit: query.blocks_hit,
        blocks_read: query.blocks_read,
        blocks_temp: query.blocks_temp,
        since: micros(query.since),
        attributes: Vec::new(),
    };
    wit::Queries {
        queries: found.queries.into_iter().map(query).collect(),
        capped: found.capped,
        since: micros(found.since),
        deallocated: found.deallocated,
        attributes: Vec::new(),
    }
}

pub(super) fn connections(found: port::Part<port::Connection>) -> wit::ConnectionPage {
    let connection = |connection: port::Connection| wit::Connection {
        pid: connection.pid,
        started: connection.started.timestamp_micros(),
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
        attributes: Vec::new(),
    };
    wit::ConnectionPage {
        connections: found.items.into_iter().map(connection).collect(),
        cursor: found.cursor,
    }
}

pub(super) fn activity(activity: port::Activity) -> wit::Activity {
    wit::Activity {
        kind: activity.kind,
        what: activity.what,
        pid: activity.pid,
        since: micros(activity.since),
        amount: activity.amount,
        total: activity.of,
        unit: activity.unit,
        note: activity.note,
        attributes: Vec::new(),
    }
}

pub(super) fn partitions(found: partition::Partitions) -> wit::PartitionList {
    let one = |one: partition::Partition| wit::Partition {
        name: one.name.to_string(),
        state: one.state.as_str().to_owned(),
        upper: micros(one.upper),
        kept: one.kept,
        archived_at: micros(one.archived_at),
        attributes: Vec::new(),
    };
    wit::PartitionList {
        obstacle: found.obstacle,
        partitions: found.partitions.into_iter().map(one).collect(),
    }
}
