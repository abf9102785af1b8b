//! What the server tells of a database as a whole: the sizes of its tables.
//!
//! It only reads. A table that somebody has locked against everybody is not asked for its size, which would wait for it.

use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::insight::{Part, TableSize};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::sql::Sql;
use super::session::Session;

/// Tables in the order of their numbers, which stays the same while others come and go.
const SIZES: &str = "SELECT c.oid::int8, n.nspname::text, c.relname::text, \
    CASE WHEN l.free THEN pg_catalog.pg_table_size(c.oid) - coalesce(pg_catalog.pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) END, \
    CASE WHEN l.free THEN pg_catalog.pg_indexes_size(c.oid) END, \
    CASE WHEN l.free THEN coalesce(pg_catalog.pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0) END, \
    CASE WHEN c.relkind = 'p' THEN NULL WHEN s.n_live_tup > 0 THEN s.n_live_tup WHEN c.reltuples >= 0 THEN c.reltuples::int8 END, \
    (SELECT pn.nspname || '.' || pc.relname FROM pg_catalog.pg_inherits AS i \
        JOIN pg_catalog.pg_class AS pc ON pc.oid = i.inhparent JOIN pg_catalog.pg_namespace AS pn ON pn.oid = pc.relnamespace \
        WHERE c.relispartition AND i.inhrelid = c.oid LIMIT 1), \
    c.relkind = 'p' \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_stat_all_tables AS s ON s.relid = c.oid \
    CROSS JOIN LATERAL (SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS k WHERE k.granted AND k.locktype = 'relation' \
        AND k.mode = 'AccessExclusiveLock' AND k.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() \
        AND k.relation = c.oid AND k.database = (SELECT d.oid FROM pg_catalog.pg_database AS d \
            WHERE d.datname = current_database()))) AS l (free) \
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_%' \
    AND n.nspname NOT IN ('information_schema', 'sereno') AND c.oid::int8 > ";

fn unsigned(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok())
}

fn read_size(row: &PgRow) -> Result<TableSize, sqlx::Error> {
    Ok(TableSize {
        schema: row.try_get(1)?,
        table: row.try_get(2)?,
        bytes: unsigned(row.try_get(3)?),
        index_bytes: unsigned(row.try_get(4)?),
        toast_bytes: unsigned(row.try_get(5)?),
        rows_estimate: unsigned(row.try_get(6)?),
        partition_of: row.try_get(7)?,
        partitioned: row.try_get(8)?,
    })
}

/// A page of tables with their sizes.
pub(super) async fn sizes(
    session: &mut Session,
    cursor: Option<&str>,
    max: u32,
) -> Result<Part<TableSize>, DatabaseError> {
    let doing = session.doing;
    let after: i64 = match cursor {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| DatabaseError::Invalid(format!("`{text}` is not a cursor of a list of tables")))?,
    };
    let mut sql = Sql::new(SIZES);
    sql.bind(after).push(" ORDER BY c.oid LIMIT ");
    sql.number(u64::from(max) + 1);
    let mut rows = session.all(sql).await?;
    let most = usize::try_from(max).unwrap_or(usize::MAX);
    let more = rows.len() > most;
    rows.truncate(most);
    let last: Option<i64> = rows
        .last()
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(|error| doing.postgres(&error))?;
    Ok(Part {
        items: rows
            .iter()
            .map(read_size)
            .collect::<Result<_, _>>()
            .map_err(|error| doing.postgres(&error))?,
        cursor: last.filter(|_| more).map(|oid| oid.to_string()),
    })
}
