//! What `pg_stat_statements` counted for the statements of this database, whichever version of it is there.
//!
//! Texts are asked for by themselves and for few: the server keeps them in a file that it reads as a whole. None leaves here
//! with a literal in it.

use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::insight::{Queries, QueryStatistics};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::redact::redact;
use super::super::sql::{Identifier, Sql};
use super::catalogue::texts;
use super::insight::unsigned;
use super::session::Session;

const HOW_TO_HAVE_IT: &str = "extension pg_stat_statements (to have it, set `shared_preload_libraries = 'pg_stat_statements'`, \
    restart the server, and run `CREATE EXTENSION pg_stat_statements;` in this database)";

fn not_there() -> DatabaseError {
    DatabaseError::NotFound {
        what: HOW_TO_HAVE_IT.to_owned(),
    }
}

/// The extension is made but its library is not loaded.
fn explained(error: DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Fault { reason, .. } if reason.contains("shared_preload_libraries") => not_there(),
        other => other,
    }
}

/// Where the extension is, and the names of its columns.
struct View {
    schema: Identifier,
    columns: Vec<String>,
    has_info: bool,
}

impl View {
    async fn find(session: &mut Session) -> Result<Self, DatabaseError> {
        let sql = Sql::new(
            "SELECT n.nspname::text FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n \
             ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'",
        );
        let schema = texts(session, sql)
            .await?
            .into_iter()
            .next()
            .ok_or_else(not_there)?;
        let mut sql = Sql::new(
            "SELECT c.relname || '.' || a.attname FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             WHERE c.relname IN ('pg_stat_statements', 'pg_stat_statements_info') AND a.attnum > 0 AND n.nspname = ",
        );
        sql.bind(schema.as_str());
        let columns = texts(session, sql).await?;
        Ok(Self {
            schema: Identifier::from_catalogue(schema),
            has_info: columns
                .iter()
                .any(|name| name == "pg_stat_statements_info.dealloc"),
            columns,
        })
    }

    fn has(&self, column: &str) -> bool {
        self.columns
            .iter()
            .any(|name| name.strip_prefix("pg_stat_statements.") == Some(column))
    }

    /// What tells a statement from others: since 1.9 also whether it was called by a client.
    fn id(&self) -> &'static str {
        if self.has("toplevel") {
            "q.queryid || '/' || q.userid || '/' || q.toplevel"
        } else {
            "q.queryid || '/' || q.userid || '/true'"
        }
    }

    /// Continues with the statements of this database.
    fn from(&self, sql: &mut Sql, with_texts: bool) {
        sql.push(" FROM ").name(&self.schema);
        sql.push(if with_texts {
            ".pg_stat_statements(true)"
        } else {
            ".pg_stat_statements(false)"
        });
        sql.push(
            " AS q WHERE q.queryid IS NOT NULL AND q.dbid = (SELECT d.oid FROM pg_catalog.pg_database AS d \
             WHERE d.datname = current_database())",
        );
    }
}

/// The statements that took the most time.
pub(super) async fn queries(session: &mut Session, max: u32) -> Result<Queries, DatabaseError> {
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.postgres(&error);
    let view = View::find(session).await?;
    // Its name until PostgreSQL 12.
    let total = if view.has("total_exec_time") {
        "q.total_exec_time"
    } else {
        "q.total_time"
    };
    let mut sql = Sql::new("SELECT ");
    sql.push(view.id())
        .push(", pg_catalog.pg_get_userbyid(q.userid)::text, q.calls, ")
        .push(total)
        .push(", q.rows, q.shared_blks_hit, q.shared_blks_read, q.temp_blks_written, ")
        .push(if view.has("stats_since") {
            "q.stats_since"
        } else {
            "NULL::timestamptz"
        });
    view.from(&mut sql, false);
    sql.push(" ORDER BY 4 DESC LIMIT ").number(u64::from(max) + 1);
    let rows = session.all(sql).await.map_err(explained)?;
    let most = usize::try_from(max).unwrap_or(usize::MAX);
    let mut answer = Queries {
        capped: rows.len() > most,
        queries: rows
            .iter()
            .take(most)
            .map(|row| read(row).map_err(fault))
            .collect::<Result<_, _>>()?,
        ..Queries::default()
    };
    if view.has_info {
        let mut sql = Sql::new("SELECT i.stats_reset, i.dealloc FROM ");
        sql.name(&view.schema).push(".pg_stat_statements_info AS i");
        let row = session.one(sql).await.map_err(explained)?;
        answer.since = row.try_get(0).map_err(fault)?;
        answer.deallocated = unsigned(row.try_get(1).map_err(fault)?);
    }
    Ok(answer)
}

fn read(row: &PgRow) -> Result<QueryStatistics, sqlx::Error> {
    let count =
        |at: usize| -> Result<u64, sqlx::Error> { Ok(unsigned(row.try_get(at)?).unwrap_or_default()) };
    Ok(QueryStatistics {
        id: row.try_get(0)?,
        user: row.try_get(1)?,
        calls: count(2)?,
        total_ms: row.try_get(3)?,
        rows: count(4)?,
        blocks_hit: count(5)?,
        blocks_read: count(6)?,
        blocks_temp: count(7)?,
        since: row.try_get(8)?,
    })
}

/// The texts of some statements.
pub(super) async fn query_texts(
    session: &mut Session,
    ids: &[String],
) -> Result<Vec<(String, String)>, DatabaseError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let doing = session.doing;
    let view = View::find(session).await?;
    let mut sql = Sql::new("SELECT ");
    sql.push(view.id()).push(", pg_catalog.left(q.query, 10000)");
    view.from(&mut sql, true);
    sql.push(" AND ").push(view.id()).push(" IN (");
    for (place, id) in ids.iter().enumerate() {
        if place > 0 {
            sql.push(", ");
        }
        sql.bind(id.as_str());
    }
    sql.push(")");
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let text: Option<String> = row.try_get(1)?;
        Ok((row.try_get(0)?, redact(&text.unwrap_or_default())))
    };
    let rows = session.all(sql).await.map_err(explained)?;
    rows.iter()
        .map(|row| read(row).map_err(|error| doing.postgres(&error)))
        .collect()
}
