//! The record of partitions that sereno detached, in the schema `sereno` of the operator's database.
//!
//! What is not in it is never archived or dropped. A table is known by its number and its name: a new one under an old name, or a
//! number that was given again, is another table. Its layout is a promise to other versions of sereno.

use chrono::{DateTime, Utc};
use sereno_core::ports::database::{DatabaseError, Fence};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::super::fault::Doing;
use super::super::sql::{Arg, Sql};
use super::fence::{self, CREATE_LOCK};
use super::session::{Access, LOCK_LIMIT, Session, answer, execute};

pub(crate) const CREATE: &str = "CREATE TABLE IF NOT EXISTS sereno.detached (oid bigint PRIMARY KEY, parent bigint NOT NULL, \
    schema text NOT NULL, name text NOT NULL, upper timestamptz, rows bigint NOT NULL, run text NOT NULL, \
    begun_at timestamptz NOT NULL, detached_at timestamptz, archived_at timestamptz, digest text, manifest text, \
    dropping_at timestamptz)";

/// One record, with what the catalogue says of its table.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what the database says, each by itself"
)]
pub(super) struct Record {
    pub(super) oid: i64,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) upper: Option<DateTime<Utc>>,
    pub(super) rows: u64,
    /// It is known to be done.
    pub(super) is_detached: bool,
    pub(super) archived_at: Option<DateTime<Utc>>,
    pub(super) digest: Option<String>,
    pub(super) manifest: Option<String>,
    /// A drop was begun.
    pub(super) dropping: bool,
    /// There is a table of this number.
    pub(super) is_there: bool,
    /// It still has its name.
    pub(super) has_name: bool,
    /// It is a partition (again).
    pub(super) is_partition: bool,
    /// Some table has its name.
    pub(super) name_is_taken: bool,
}

/// What is written down before a detach.
pub(super) struct Intent<'a> {
    pub(super) oid: i64,
    pub(super) parent: i64,
    pub(super) schema: &'a str,
    pub(super) name: &'a str,
    pub(super) upper: Option<DateTime<Utc>>,
    pub(super) rows: u64,
}

async fn is_there(session: &mut Session) -> Result<bool, DatabaseError> {
    let doing = session.doing;
    let sql = Sql::new("SELECT pg_catalog.to_regclass('sereno.detached') IS NOT NULL");
    let row = session.one(sql).await?;
    row.try_get(0).map_err(|error| doing.postgres(&error))
}

const RECORDS: &str = "SELECT d.oid, d.schema, d.name, d.upper, d.rows, d.archived_at, d.digest, d.manifest, \
    d.dropping_at IS NOT NULL, c.oid IS NOT NULL, coalesce(c.relname = d.name AND n.nspname = d.schema, false), \
    coalesce(c.relispartition, false), EXISTS (SELECT FROM pg_catalog.pg_class AS o \
        JOIN pg_catalog.pg_namespace AS m ON m.oid = o.relnamespace WHERE o.relname = d.name AND m.nspname = d.schema), \
    d.detached_at IS NOT NULL \
    FROM sereno.detached AS d LEFT JOIN pg_catalog.pg_class AS c ON c.oid = d.oid::oid \
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE d.parent = ";

fn read(row: &PgRow) -> Result<Record, sqlx::Error> {
    Ok(Record {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        upper: row.try_get(3)?,
        rows: u64::try_from(row.try_get::<i64, _>(4)?).unwrap_or_default(),
        archived_at: row.try_get(5)?,
        digest: row.try_get(6)?,
        manifest: row.try_get(7)?,
        dropping: row.try_get(8)?,
        is_there: row.try_get(9)?,
        has_name: row.try_get(10)?,
        is_partition: row.try_get(11)?,
        name_is_taken: row.try_get(12)?,
        is_detached: row.try_get(13)?,
    })
}

/// Everything that was detached from a table, and not yet dropped.
pub(super) async fn of(session: &mut Session, parent: i64) -> Result<Vec<Record>, DatabaseError> {
    let doing = session.doing;
    if !is_there(session).await? {
        return Ok(Vec::new());
    }
    let mut sql = Sql::new(RECORDS);
    sql.bind(parent);
    session
        .all(sql)
        .await?
        .iter()
        .map(read)
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| doing.postgres(&error))
}

/// Writes down what is about to be detached.
pub(super) async fn intend(
    session: &mut Session,
    fence: &Fence,
    intent: &Intent<'_>,
) -> Result<(), DatabaseError> {
    let doing = session.doing;
    let create = !is_there(session).await?;
    let mut transaction = session.begin(Access::Write, LOCK_LIMIT).await?;
    fence::check(&mut transaction, fence, doing).await?;
    if create {
        let mut lock = Sql::new("SELECT pg_catalog.pg_advisory_xact_lock(");
        lock.bind(CREATE_LOCK).push(")");
        execute(&mut transaction, lock, doing).await?;
        execute(&mut transaction, Sql::new(CREATE), doing).await?;
    }
    let mut sql = Sql::new(
        "INSERT INTO sereno.detached (oid, parent, schema, name, upper, rows, run, begun_at) VALUES (",
    );
    sql.bind(intent.oid).push(", ").bind(intent.parent).push(", ");
    sql.bind(intent.schema).push(", ").bind(intent.name).push(", ");
    sql.bind(Arg::Instant(intent.upper)).push(", ");
    sql.bind(i64::try_from(intent.rows).unwrap_or(i64::MAX))
        .push(", ");
    sql.bind(fence.run.as_str()).push(
        ", pg_catalog.clock_timestamp()) ON CONFLICT (oid) DO UPDATE SET parent = excluded.parent, \
         schema = excluded.schema, name = excluded.name, upper = excluded.upper, rows = excluded.rows, \
         run = excluded.run, begun_at = excluded.begun_at, detached_at = NULL, archived_at = NULL, digest = NULL, \
         manifest = NULL, dropping_at = NULL",
    );
    execute(&mut transaction, sql, doing).await?;
    answer(doing, transaction.commit()).await
}

/// It is detached.
pub(super) async fn detached(
    connection: &mut PgConnection,
    oid: i64,
    doing: Doing,
) -> Result<(), DatabaseError> {
    let mut sql =
        Sql::new("UPDATE sereno.detached SET detached_at = pg_catalog.clock_timestamp() WHERE oid = ");
    sql.bind(oid);
    execute(connection, sql, doing).await.map(drop)
}

/// Its rows are in the archive, and this is what they were.
pub(super) async fn archived(
    session: &mut Session,
    fence: &Fence,
    oid: i64,
    rows: u64,
    digest: &str,
    manifest: &str,
) -> Result<(), DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin(Access::Write, LOCK_LIMIT).await?;
    fence::check(&mut transaction, fence, doing).await?;
    let mut sql = Sql::new(
        "UPDATE sereno.detached SET archived_at = pg_catalog.clock_timestamp(), dropping_at = NULL, rows = ",
    );
    sql.bind(i64::try_from(rows).unwrap_or(i64::MAX))
        .push(", digest = ")
        .bind(digest);
    sql.push(", manifest = ")
        .bind(manifest)
        .push(" WHERE oid = ")
        .bind(oid);
    execute(&mut transaction, sql, doing).await?;
    answer(doing, transaction.commit()).await
}

/// A drop begins.
pub(super) async fn dropping(session: &mut Session, fence: &Fence, oid: i64) -> Result<(), DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin(Access::Write, LOCK_LIMIT).await?;
    fence::check(&mut transaction, fence, doing).await?;
    let mut sql =
        Sql::new("UPDATE sereno.detached SET dropping_at = pg_catalog.clock_timestamp() WHERE oid = ");
    sql.bind(oid);
    execute(&mut transaction, sql, doing).await?;
    answer(doing, transaction.commit()).await
}

/// The drop was not done; when the table has changed since, its archive counts no more.
pub(super) async fn not_dropped(
    connection: &mut PgConnection,
    oid: i64,
    has_changed: bool,
    doing: Doing,
) -> Result<(), DatabaseError> {
    let mut sql = Sql::new("UPDATE sereno.detached SET dropping_at = NULL");
    if has_changed {
        sql.push(", archived_at = NULL, digest = NULL, manifest = NULL");
    }
    sql.push(" WHERE oid = ").bind(oid);
    execute(connection, sql, doing).await.map(drop)
}

/// It is gone.
pub(super) async fn forget(
    connection: &mut PgConnection,
    oid: i64,
    doing: Doing,
) -> Result<(), DatabaseError> {
    let mut sql = Sql::new("DELETE FROM sereno.detached WHERE oid = ");
    sql.bind(oid);
    execute(connection, sql, doing).await.map(drop)
}
