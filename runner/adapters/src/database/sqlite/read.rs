//! Reads: the clock, sizes, counts and the operator's queries.
//!
//! What SQLite does not keep is none: it counts no connections and no dead rows.

use futures::TryStreamExt as _;
use sereno_core::job::{NamedQuery, TimeFormat};
use sereno_core::name::TableName;
use sereno_core::ports::database::{
    DatabaseError, DatabaseStatistics, IndexStatistics, Rows, TableStatistics,
};
use sereno_core::value::{Filter, Instant, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, Row, TypeInfo, ValueRef};

use super::super::sql::Sql;
use super::super::{QUERY_BYTES_MAX, hex, params, size};
use super::session::Session;
use super::{catalogue, filter};

/// The host's clock, as SQLite reads it.
pub(super) async fn now(session: &mut Session<'_>) -> Result<Instant, DatabaseError> {
    let doing = session.doing;
    let row = session
        .optional(Sql::new("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"))
        .await?;
    let text: String = row
        .ok_or(sqlx::Error::RowNotFound)
        .and_then(|row| row.try_get(0))
        .map_err(|error| doing.sqlite(&error))?;
    text.parse().map_err(|_| DatabaseError::Fault {
        operation: doing.operation,
        reason: format!("`{text}` is not a point in time"),
    })
}

async fn number(session: &mut Session<'_>, sql: Sql) -> Result<Option<u64>, DatabaseError> {
    let doing = session.doing;
    let Some(row) = session.optional(sql).await? else {
        return Ok(None);
    };
    let number: Option<i64> = row.try_get(0).map_err(|error| doing.sqlite(&error))?;
    Ok(number.and_then(|number| u64::try_from(number).ok()))
}

/// The size of the file and of its free list.
pub(super) async fn statistics(session: &mut Session<'_>) -> Result<DatabaseStatistics, DatabaseError> {
    let page = number(session, Sql::new("PRAGMA main.page_size")).await?;
    let pages = number(session, Sql::new("PRAGMA main.page_count")).await?;
    let free = number(session, Sql::new("PRAGMA main.freelist_count")).await?;
    Ok(DatabaseStatistics {
        bytes: pages.zip(page).map(|(pages, page)| pages * page),
        free_bytes: free.zip(page).map(|(free, page)| free * page),
        connections: None,
        connections_limit: None,
    })
}

/// Bytes of one table's or index's pages.
async fn bytes(session: &mut Session<'_>, name: &str) -> Result<Option<u64>, DatabaseError> {
    let mut sql = Sql::new("SELECT pgsize FROM dbstat WHERE aggregate = TRUE AND name = ");
    sql.bind(name);
    number(session, sql).await
}

/// Rows of a table as the last ANALYZE counted them.
pub(super) async fn rows_estimate(
    session: &mut Session<'_>,
    table: &str,
) -> Result<Option<u64>, DatabaseError> {
    let analyzed = "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = 'sqlite_stat1'";
    if session.optional(Sql::new(analyzed)).await?.is_none() {
        return Ok(None);
    }
    let mut sql = Sql::new("SELECT max(CAST(stat AS INTEGER)) FROM main.sqlite_stat1 WHERE tbl = ");
    sql.bind(table);
    number(session, sql).await
}

/// Sizes by `dbstat`, rows by the last ANALYZE.
///
/// SQLite keeps no time of an ANALYZE. Statistics that still tell the exact number of rows are as good as new, and
/// others are as if there were none.
pub(super) async fn table_statistics(
    session: &mut Session<'_>,
    wanted: &TableName,
) -> Result<TableStatistics, DatabaseError> {
    let table = catalogue::table(session, wanted).await?;
    let of_table = bytes(session, &wanted.table).await?;
    let mut of_indexes = 0;
    for index in catalogue::index_names(session, wanted).await? {
        of_indexes += bytes(session, &index).await?.unwrap_or_default();
    }
    let rows_estimate = rows_estimate(session, &wanted.table).await?;
    let mut sql = Sql::new("SELECT count(*) FROM main.");
    sql.name(&table.name);
    let last_analyze = match number(session, sql).await? {
        // An empty table has no statistics and needs none.
        rows if rows == rows_estimate || rows == Some(0) => Some(now(session).await?),
        _ => None,
    };
    Ok(TableStatistics {
        last_analyze,
        bytes: of_table.map(|bytes| bytes + of_indexes),
        index_bytes: of_table.map(|_| of_indexes),
        rows_estimate,
        ..TableStatistics::default()
    })
}

/// Every index; its bloat is the exact share of unused bytes in its pages, of which a tree filled at random always
/// has about a third.
pub(super) async fn indexes(
    session: &mut Session<'_>,
    wanted: &TableName,
) -> Result<Vec<IndexStatistics>, DatabaseError> {
    let doing = session.doing;
    catalogue::table(session, wanted).await?;
    let mut found = Vec::new();
    for index in catalogue::index_names(session, wanted).await? {
        let mut sql = Sql::new("SELECT pgsize, unused FROM dbstat WHERE aggregate = TRUE AND name = ");
        sql.bind(index.as_str());
        let sizes = match session.optional(sql).await? {
            Some(row) => {
                let size: i64 = row.try_get(0).map_err(|error| doing.sqlite(&error))?;
                let unused: i64 = row.try_get(1).map_err(|error| doing.sqlite(&error))?;
                Some((size, unused))
            }
            None => None,
        };
        found.push(IndexStatistics {
            index,
            bytes: sizes.and_then(|(size, _)| u64::try_from(size).ok()),
            bloat_percent: sizes
                .filter(|(size, _)| *size > 0)
                .map(|(size, unused)| 100.0 * unused as f64 / size as f64),
            valid: true,
            leftover: false,
        });
    }
    Ok(found)
}

/// Rows that match `filter` and none of `without`.
pub(super) async fn count(
    session: &mut Session<'_>,
    wanted: &TableName,
    filter: &Filter,
    without: &[Filter],
    format: TimeFormat,
) -> Result<u64, DatabaseError> {
    let table = catalogue::table(session, wanted).await?;
    let mut sql = Sql::new("SELECT count(*) FROM main.");
    sql.name(&table.name).push(" WHERE ");
    filter::write_less(&mut sql, &table, filter, without, format)?;
    Ok(number(session, sql).await?.unwrap_or_default())
}

/// The operator's query. The connection refuses to write while it runs.
pub(super) async fn query(
    session: &mut Session<'_>,
    query: &NamedQuery,
    given: &[Value],
    format: TimeFormat,
) -> Result<Rows, DatabaseError> {
    let doing = session.doing;
    let args = params::args(query, given, |at| filter::instant(at, format))?;
    let mut sql = Sql::named(query);
    for arg in args {
        sql.bind_unwritten(arg);
    }
    let mut answer = Rows::default();
    let mut bytes = 0;
    let mut stream = sql.sqlite().fetch(session.connection());
    while let Some(row) = stream.try_next().await.map_err(|error| doing.sqlite(&error))? {
        if answer.columns.is_empty() {
            answer.columns = row
                .columns()
                .iter()
                .map(|column| column.name().to_owned())
                .collect();
        }
        let values = values(&row).map_err(|error| doing.sqlite(&error))?;
        bytes += size(&values);
        if answer.rows.len() >= usize::try_from(query.max_rows).unwrap_or(usize::MAX)
            || bytes > QUERY_BYTES_MAX
        {
            answer.capped = true;
            break;
        }
        answer.rows.push(values);
    }
    Ok(answer)
}

fn values(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    (0..row.len())
        .map(|at| {
            let raw = row.try_get_raw(at)?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            Ok(match raw.type_info().name() {
                "INTEGER" => Value::Integer(row.try_get_unchecked(at)?),
                "REAL" => Value::Real(row.try_get_unchecked(at)?),
                "BLOB" => {
                    let blob: Vec<u8> = row.try_get_unchecked(at)?;
                    Value::Text(hex(&blob))
                }
                _ => Value::Text(row.try_get_unchecked(at)?),
            })
        })
        .collect()
}
