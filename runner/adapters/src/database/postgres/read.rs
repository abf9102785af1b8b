//! Reads: the clock, sizes, counts and the operator's queries.
//!
//! Numbers come from the server's own statistics; what it has not gathered is none.

use futures::TryStreamExt as _;
use sereno_core::job::NamedQuery;
use sereno_core::name::TableName;
use sereno_core::ports::database::{
    DatabaseError, DatabaseStatistics, IndexStatistics, Rows, TableStatistics,
};
use sereno_core::value::{Filter, Instant, Value};
use sqlx::postgres::{PgRow, PgTypeInfo, Postgres};
use sqlx::{Column as _, Executor as _, Row, Statement as _, Type, TypeInfo as _};

use super::super::sql::{Arg, Identifier, Sql};
use super::super::{QUERY_BYTES_MAX, params, size};
use super::session::{Access, LOCK_LIMIT, Session, answer, one};
use super::{catalogue, filter};

fn positive(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok())
}

/// The server's clock.
pub(super) async fn now(session: &mut Session) -> Result<Instant, DatabaseError> {
    let doing = session.doing;
    session
        .one(Sql::new("SELECT pg_catalog.clock_timestamp()"))
        .await?
        .try_get(0)
        .map_err(|error| doing.postgres(&error))
}

/// The size of the database, and how many connections the whole server has of those it allows.
pub(super) async fn statistics(session: &mut Session) -> Result<DatabaseStatistics, DatabaseError> {
    let doing = session.doing;
    let row = session
        .one(Sql::new(
            "SELECT CASE WHEN pg_catalog.has_database_privilege(current_database(), 'CONNECT') \
             THEN pg_catalog.pg_database_size(current_database()) END, \
             (SELECT pg_catalog.sum(numbackends)::int8 FROM pg_catalog.pg_stat_database), \
             pg_catalog.current_setting('max_connections')::int8",
        ))
        .await?;
    let read = |at: usize| {
        row.try_get::<Option<i64>, _>(at)
            .map(positive)
            .map_err(|error| doing.postgres(&error))
    };
    Ok(DatabaseStatistics {
        bytes: read(0)?,
        connections: read(1)?,
        connections_limit: read(2)?,
        free_bytes: None,
    })
}

/// A table with all of its partitions.
pub(super) async fn table_statistics(
    session: &mut Session,
    wanted: &TableName,
) -> Result<TableStatistics, DatabaseError> {
    let doing = session.doing;
    let found = catalogue::table(session, wanted).await?;
    let mut sql = catalogue::with_tree(&found);
    // A parent has statistics of its own only for ANALYZE; rows and ages are those of its leaves. A foreign one has no age
    // and is vacuumed elsewhere.
    sql.push(
        "SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid))::int8, \
         pg_catalog.sum(pg_catalog.pg_indexes_size(c.oid))::int8, \
         pg_catalog.sum(CASE WHEN s.n_live_tup > 0 THEN s.n_live_tup WHEN c.reltuples >= 0 THEN c.reltuples::int8 END) \
            FILTER (WHERE c.relkind <> 'p')::int8, \
         pg_catalog.sum(s.n_dead_tup) FILTER (WHERE c.relkind <> 'p')::int8, \
         pg_catalog.max(pg_catalog.age(c.relfrozenxid)) FILTER (WHERE c.relkind = 'r')::int8, \
         pg_catalog.min(coalesce(greatest(s.last_vacuum, s.last_autovacuum), '-infinity')) FILTER (WHERE c.relkind = 'r'), \
         pg_catalog.min(coalesce(greatest(s.last_analyze, s.last_autoanalyze), '-infinity')) FILTER (WHERE c.oid = ",
    );
    sql.bind(found.oid).push(
        "::oid) FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid \
         LEFT JOIN pg_catalog.pg_stat_all_tables AS s ON s.relid = c.oid",
    );
    // A leaf that was never vacuumed makes the whole never vacuumed.
    let mut outer = Sql::new("SELECT a, b, c, d, e, nullif(f, '-infinity'), nullif(g, '-infinity') FROM (");
    outer.append(sql).push(") AS answer (a, b, c, d, e, f, g)");
    let row = session.one(outer).await?;
    let number = |at: usize| {
        row.try_get::<Option<i64>, _>(at)
            .map(positive)
            .map_err(|error| doing.postgres(&error))
    };
    let instant = |at: usize| {
        row.try_get::<Option<Instant>, _>(at)
            .map_err(|error| doing.postgres(&error))
    };
    Ok(TableStatistics {
        bytes: number(0)?,
        index_bytes: number(1)?,
        rows_estimate: number(2)?,
        dead_rows_estimate: number(3)?,
        freeze_age: number(4)?,
        last_vacuum: instant(5)?,
        last_analyze: instant(6)?,
        partitioned: found.partitioned,
    })
}

/// Bytes of a B-tree page that never hold entries: its header and its own bookkeeping.
const PAGE_OVERHEAD: f64 = 24.0 + 16.0;

/// Bytes of an entry besides its data: its header, and the pointer to it in the page.
const ENTRY_OVERHEAD: f64 = 8.0 + 4.0;

/// Entries begin at multiples of this.
const ALIGNMENT: f64 = 8.0;

/// The share of a B-tree that is not needed, in percent, by the method of `pgsql-bloat-estimation`
/// (<https://github.com/ioguix/pgsql-bloat-estimation>): the pages that its entries would fill, by the widths that
/// ANALYZE found, against those it has. Deduplication (PostgreSQL 13) makes it smaller than that: then it is 0.
fn bloat_percent(pages: f64, entries: f64, width: f64, fill_factor: f64, page_bytes: f64) -> f64 {
    let entry = ENTRY_OVERHEAD + (width / ALIGNMENT).ceil() * ALIGNMENT;
    let per_page = ((page_bytes - PAGE_OVERHEAD) * fill_factor / 100.0 / entry)
        .floor()
        .max(1.0);
    // One more for the page that describes the tree.
    let needed = (entries / per_page).ceil() + 1.0;
    (100.0 * (pages - needed) / pages).max(0.0)
}

const INDEXES: &str = "SELECT c.relname::text, i.indisvalid, \
    c.relname ~ '_cc(new|old)[0-9]*$' AND NOT i.indisvalid, \
    CASE c.relkind WHEN 'I' THEN (SELECT pg_catalog.sum(pg_catalog.pg_relation_size(p.relid))::int8 \
        FROM pg_catalog.pg_partition_tree(c.oid) AS p) ELSE pg_catalog.pg_relation_size(c.oid) END, \
    CASE WHEN m.amname = 'btree' AND c.relkind = 'i' AND i.indexprs IS NULL AND i.indpred IS NULL AND c.relpages > 0 \
        AND c.reltuples >= 0 THEN c.reltuples::float8 END, \
    c.relpages::float8, \
    coalesce((SELECT o.option_value::float8 FROM pg_catalog.pg_options_to_table(c.reloptions) AS o \
        WHERE o.option_name = 'fillfactor'), 90), \
    pg_catalog.current_setting('block_size')::float8, \
    (SELECT CASE WHEN pg_catalog.count(s.avg_width) = pg_catalog.count(*) \
            THEN pg_catalog.sum((1 - s.null_frac) * s.avg_width)::float8 END \
        FROM pg_catalog.unnest(i.indkey) AS k (number) \
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number \
        LEFT JOIN pg_catalog.pg_stats AS s ON s.schemaname = n.nspname AND s.tablename = t.relname \
            AND s.attname = a.attname AND NOT s.inherited) \
    FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid \
    JOIN pg_catalog.pg_class AS t ON t.oid = i.indrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace \
    JOIN pg_catalog.pg_am AS m ON m.oid = c.relam WHERE i.indrelid = ";

/// Every index of a table.
pub(super) async fn indexes(
    session: &mut Session,
    wanted: &TableName,
) -> Result<Vec<IndexStatistics>, DatabaseError> {
    let doing = session.doing;
    let found = catalogue::table(session, wanted).await?;
    let mut sql = Sql::new(INDEXES);
    sql.bind(found.oid).push(" ORDER BY 1");
    session
        .all(sql)
        .await?
        .iter()
        .map(read_index)
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| doing.postgres(&error))
}

fn read_index(row: &PgRow) -> Result<IndexStatistics, sqlx::Error> {
    let entries: Option<f64> = row.try_get(4)?;
    let (pages, fill_factor, page_bytes): (f64, f64, f64) =
        (row.try_get(5)?, row.try_get(6)?, row.try_get(7)?);
    let width: Option<f64> = row.try_get(8)?;
    Ok(IndexStatistics {
        index: row.try_get(0)?,
        valid: row.try_get(1)?,
        leftover: row.try_get(2)?,
        bytes: positive(row.try_get(3)?),
        bloat_percent: entries
            .zip(width)
            .map(|(entries, width)| bloat_percent(pages, entries, width, fill_factor, page_bytes)),
    })
}

/// Rows that match `filter` and none of `without`.
pub(super) async fn count(
    session: &mut Session,
    timezone: &str,
    wanted: &TableName,
    filter: &Filter,
    without: &[Filter],
) -> Result<u64, DatabaseError> {
    let doing = session.doing;
    let table = catalogue::table(session, wanted).await?;
    let mut sql = Sql::new("SELECT pg_catalog.count(*) FROM ");
    table.write(&mut sql);
    sql.push(" AS t WHERE ");
    filter::write_less(&mut sql, &table, filter, without, timezone)?;
    let mut transaction = session.begin(Access::Read, LOCK_LIMIT).await?;
    let row = one(&mut transaction, sql, doing).await?;
    answer(doing, transaction.rollback()).await?;
    Ok(positive(row.try_get(0).map_err(|error| doing.postgres(&error))?).unwrap_or_default())
}

/// The operator's query, in a read-only transaction. Numbers and times come as such (a `numeric` as a double, a
/// `timestamp` in the database's zone, an infinite time as NULL), every other type as its text.
pub(super) async fn query(
    session: &mut Session,
    timezone: &str,
    query: &NamedQuery,
    given: &[Value],
) -> Result<Rows, DatabaseError> {
    let doing = session.doing;
    let args = params::args(query, given, Arg::Instant)?;
    let mut transaction = session.begin(Access::Read, LOCK_LIMIT).await?;
    let types: Vec<PgTypeInfo> = args.iter().map(type_of).collect();
    let prepared = answer(
        doing,
        transaction.prepare_with(Sql::named(query).into_safe_text(), &types),
    )
    .await?;
    let columns: Vec<(String, String)> = prepared
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), column.type_info().name().to_owned()))
        .collect();
    if columns.is_empty() {
        return Err(DatabaseError::Invalid("the query answers no columns".to_owned()));
    }
    let mut sql = Sql::default();
    for arg in args {
        sql.bind_unwritten(arg);
    }
    let names: Vec<_> = (0..columns.len())
        .map(|at| Identifier::from_catalogue(format!("c{at}")))
        .collect();
    sql.push("SELECT ");
    for (place, (name, (_, kind))) in names.iter().zip(&columns).enumerate() {
        if place > 0 {
            sql.push(", ");
        }
        write_column(&mut sql, name, kind, timezone);
    }
    sql.push(" FROM (")
        .operators_own(query)
        .push(") AS q (")
        .names(&names)
        .push(") LIMIT ");
    sql.number(u64::from(query.max_rows) + 1);
    let mut rows = Rows {
        columns: columns.iter().map(|(name, _)| name.clone()).collect(),
        ..Rows::default()
    };
    let most = usize::try_from(query.max_rows).unwrap_or(usize::MAX);
    answer(doing, async {
        let mut bytes = 0;
        let mut stream = sql.postgres().fetch(&mut *transaction);
        while let Some(row) = stream.try_next().await? {
            let values = columns
                .iter()
                .enumerate()
                .map(|(at, (_, kind))| value(&row, at, kind))
                .collect::<Result<Vec<_>, _>>()?;
            bytes += size(&values);
            if rows.rows.len() >= most || bytes > QUERY_BYTES_MAX {
                rows.capped = true;
                break;
            }
            rows.rows.push(values);
        }
        Ok(())
    })
    .await?;
    answer(doing, transaction.rollback()).await?;
    Ok(rows)
}

fn type_of(arg: &Arg) -> PgTypeInfo {
    match arg {
        Arg::Boolean(_) => <bool as Type<Postgres>>::type_info(),
        Arg::Integer(_) => <i64 as Type<Postgres>>::type_info(),
        Arg::Real(_) => <f64 as Type<Postgres>>::type_info(),
        Arg::Text(_) => <String as Type<Postgres>>::type_info(),
        Arg::Instant(_) => <Instant as Type<Postgres>>::type_info(),
        Arg::Blob(_) => <Vec<u8> as Type<Postgres>>::type_info(),
    }
}

/// Times outside of these years are answered as NULL: no calendar of ours has them.
const YEARS: &str = " BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59+00' THEN ";

fn write_column(sql: &mut Sql, name: &Identifier, kind: &str, timezone: &str) {
    match kind {
        "BOOL" => {
            sql.push("q.").name(name);
        }
        "INT2" | "INT4" | "INT8" => {
            sql.push("q.").name(name).push("::int8");
        }
        "FLOAT4" | "FLOAT8" | "NUMERIC" => {
            sql.push("q.").name(name).push("::float8");
        }
        "TIMESTAMPTZ" => {
            sql.push("CASE WHEN q.")
                .name(name)
                .push(YEARS)
                .push("q.")
                .name(name)
                .push(" END");
        }
        "TIMESTAMP" => {
            for part in ["CASE WHEN pg_catalog.timezone(", "pg_catalog.timezone("] {
                sql.push(part).bind(timezone).push(", q.").name(name).push(")");
                sql.push(if part.starts_with("CASE") { YEARS } else { " END" });
            }
        }
        _ => {
            sql.push("q.").name(name).push("::text");
        }
    }
}

fn value(row: &PgRow, at: usize, kind: &str) -> Result<Value, sqlx::Error> {
    let value = match kind {
        "BOOL" => row.try_get::<Option<bool>, _>(at)?.map(Value::Boolean),
        "INT2" | "INT4" | "INT8" => row.try_get::<Option<i64>, _>(at)?.map(Value::Integer),
        "FLOAT4" | "FLOAT8" | "NUMERIC" => row.try_get::<Option<f64>, _>(at)?.map(Value::Real),
        "TIMESTAMPTZ" | "TIMESTAMP" => row.try_get::<Option<Instant>, _>(at)?.map(Value::Instant),
        _ => row.try_get::<Option<String>, _>(at)?.map(Value::Text),
    };
    Ok(value.unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tree_has_no_bloat_and_a_half_empty_one_has_half() {
        // 16-byte data: 28 bytes an entry, 262 on a page of 8 KiB filled to 90 %.
        let full = bloat_percent(1_001.0, 262_000.0, 16.0, 90.0, 8_192.0);
        assert!(full < 1.0, "{full}");
        let half = bloat_percent(2_002.0, 262_000.0, 16.0, 90.0, 8_192.0);
        assert!((49.0..51.0).contains(&half), "{half}");
        assert!(
            bloat_percent(10.0, 262_000.0, 16.0, 90.0, 8_192.0) < f64::EPSILON,
            "deduplicated"
        );
    }
}
