//! What the server tells of its tables and indexes: sizes, definitions, use.
//!
//! It only reads. A table that somebody has locked against everybody is not asked for its size, which would wait for it.

use sereno_core::name::TableName;
use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::insight::{ForeignKey, IndexDetail, Part, TableSize};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::sql::Sql;
use super::catalogue;
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

pub(super) fn unsigned(number: Option<i64>) -> Option<u64> {
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

/// PostgreSQL 16 keeps the time of an index's last use.
const VERSION_LAST_SCAN: u32 = 160_000;

/// Counters are lost in a crash without the database's own being told, but not without the server's.
const COUNTED_SINCE: &str = "(SELECT greatest(d.stats_reset, b.stats_reset) FROM pg_catalog.pg_stat_database AS d, \
    pg_catalog.pg_stat_bgwriter AS b WHERE d.datname = current_database())";

const INDEX_DETAILS: &str = "SELECT c.relname::text, \
    ARRAY(SELECT coalesce(a.attname::text, '(' || pg_catalog.pg_get_indexdef(i.indexrelid, k.place::integer, false) || ')') \
        FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place) LEFT JOIN pg_catalog.pg_attribute AS a \
        ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0 WHERE k.place <= i.indnkeyatts ORDER BY k.place), \
    ARRAY(SELECT pg_catalog.concat_ws(' ', o.opcname, l.collname, CASE WHEN t.flags & 1 = 1 THEN 'desc' END, \
            CASE WHEN t.flags & 2 = 2 THEN 'nulls-first' END) \
        FROM ROWS FROM (pg_catalog.unnest(i.indclass), pg_catalog.unnest(i.indcollation), pg_catalog.unnest(i.indoption)) \
            WITH ORDINALITY AS t (class, locale, flags, place) \
        LEFT JOIN pg_catalog.pg_opclass AS o ON o.oid = t.class LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = t.locale \
        WHERE t.place <= i.indnkeyatts ORDER BY t.place), \
    ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number \
        WHERE k.place > i.indnkeyatts ORDER BY k.place), \
    pg_catalog.pg_get_expr(i.indpred, i.indrelid), m.amname::text, i.indisunique, i.indisprimary, \
    i.indisreplident OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS n WHERE n.conindid = i.indexrelid), \
    i.indisvalid AND i.indisready, \
    CASE c.relkind WHEN 'I' THEN (SELECT pg_catalog.sum(pg_catalog.pg_relation_size(p.relid))::int8 \
        FROM pg_catalog.pg_partition_tree(c.oid) AS p) ELSE pg_catalog.pg_relation_size(c.oid) END, \
    CASE c.relkind WHEN 'I' THEN (SELECT pg_catalog.sum(s.idx_scan)::int8 FROM pg_catalog.pg_partition_tree(c.oid) AS p \
        JOIN pg_catalog.pg_stat_all_indexes AS s ON s.indexrelid = p.relid) \
        ELSE (SELECT s.idx_scan FROM pg_catalog.pg_stat_all_indexes AS s WHERE s.indexrelid = c.oid) END, \
    pg_catalog.pg_get_indexdef(i.indexrelid), ";

/// Every index of a table, by name.
pub(super) async fn index_details(
    session: &mut Session,
    wanted: &TableName,
) -> Result<Vec<IndexDetail>, DatabaseError> {
    let doing = session.doing;
    let found = catalogue::table(session, wanted).await?;
    let mut sql = Sql::new(INDEX_DETAILS);
    sql.push(COUNTED_SINCE);
    sql.push(if session.version() >= VERSION_LAST_SCAN {
        ", (SELECT s.last_idx_scan FROM pg_catalog.pg_stat_all_indexes AS s WHERE s.indexrelid = c.oid)"
    } else {
        ", NULL::timestamptz"
    });
    sql.push(
        " FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid \
         JOIN pg_catalog.pg_am AS m ON m.oid = c.relam WHERE i.indislive AND i.indrelid = ",
    );
    sql.bind(found.oid).push(" ORDER BY 1 LIMIT ").number(LIST_MAX);
    let rows = session.all(sql).await?;
    rows.iter()
        .map(read_index)
        .collect::<Result<_, _>>()
        .map_err(|error| doing.postgres(&error))
}

/// Indexes or foreign keys of one table: more than any table has that is still written to.
const LIST_MAX: u64 = 1_000;

fn read_index(row: &PgRow) -> Result<IndexDetail, sqlx::Error> {
    Ok(IndexDetail {
        index: row.try_get(0)?,
        columns: row.try_get(1)?,
        ordering: row.try_get(2)?,
        included: row.try_get(3)?,
        predicate: row.try_get(4)?,
        method: row.try_get(5)?,
        unique: row.try_get(6)?,
        primary: row.try_get(7)?,
        constraint: row.try_get(8)?,
        valid: row.try_get(9)?,
        bytes: unsigned(row.try_get(10)?),
        scans: unsigned(row.try_get(11)?),
        definition: row.try_get(12)?,
        counted_since: row.try_get(13)?,
        last_scan: row.try_get(14)?,
    })
}

/// An index serves a foreign key when it begins with its columns, in any order.
const FOREIGN_KEYS: &str = "SELECT n.conname::text, \
    ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(n.conkey) WITH ORDINALITY AS k (number, place) \
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = n.conrelid AND a.attnum = k.number ORDER BY k.place), \
    (SELECT s.nspname || '.' || c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS s \
        ON s.oid = c.relnamespace WHERE c.oid = n.confrelid), \
    EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = n.conrelid AND i.indisvalid AND i.indpred IS NULL \
        AND i.indnkeyatts >= pg_catalog.cardinality(n.conkey) \
        AND (SELECT pg_catalog.array_agg(k.number ORDER BY k.number) FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
                WHERE k.place <= pg_catalog.cardinality(n.conkey)) \
            = (SELECT pg_catalog.array_agg(k.number ORDER BY k.number) FROM pg_catalog.unnest(n.conkey) AS k (number))) \
    FROM pg_catalog.pg_constraint AS n WHERE n.contype = 'f' AND n.conrelid = ";

/// Every foreign key of a table, by name.
pub(super) async fn foreign_keys(
    session: &mut Session,
    wanted: &TableName,
) -> Result<Vec<ForeignKey>, DatabaseError> {
    let doing = session.doing;
    let found = catalogue::table(session, wanted).await?;
    let mut sql = Sql::new(FOREIGN_KEYS);
    sql.bind(found.oid).push(" ORDER BY 1 LIMIT ").number(LIST_MAX);
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        Ok(ForeignKey {
            name: row.try_get(0)?,
            columns: row.try_get(1)?,
            refers_to: row.try_get(2)?,
            indexed: row.try_get(3)?,
        })
    };
    let rows = session.all(sql).await?;
    rows.iter()
        .map(|row| read(row).map_err(|error| doing.postgres(&error)))
        .collect()
}
