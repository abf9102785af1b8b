//! The fence and the record of effects, in the schema `sereno` of the operator's database.
//!
//! Their layout is a promise to older and newer versions of sereno that meet in one database.

use sereno_core::name::RunId;
use sereno_core::ports::database::{DatabaseError, Fence, RecordedBatch};
use sqlx::{PgConnection, Row};

use super::super::fault::Doing;
use super::super::sql::{Arg, Sql};
use super::session::{Access, LOCK_LIMIT, Session, answer, execute, one, optional};

/// Keeps two first runs from creating the same things; the letters of `sereno`.
pub(super) const CREATE_LOCK: i64 = 0x7365_7265_6e6f;

pub(crate) const CREATE: [&str; 3] = [
    "CREATE SCHEMA IF NOT EXISTS sereno",
    "CREATE TABLE IF NOT EXISTS sereno.fence (scope text PRIMARY KEY, token bigint NOT NULL, at timestamptz NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sereno.effect (run text NOT NULL, attempt integer NOT NULL, batch integer NOT NULL, \
     scope text NOT NULL, rows bigint NOT NULL, bytes bigint, cursor text, at timestamptz NOT NULL, \
     PRIMARY KEY (run, attempt, batch))",
];

const THERE: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_class AS c \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE n.nspname = 'sereno' AND c.relname IN ('fence', 'effect')";

async fn is_there(session: &mut Session) -> Result<bool, DatabaseError> {
    let doing = session.doing;
    let row = session.one(Sql::new(THERE)).await?;
    Ok(row.try_get::<i64, _>(0).map_err(|error| doing.postgres(&error))? == 2)
}

/// Raises the token, never lowers it. Waits for a batch in flight under the older one.
pub(super) async fn take(session: &mut Session, fence: &Fence) -> Result<(), DatabaseError> {
    let doing = session.doing;
    let create = !is_there(session).await?;
    let mut transaction = session.begin(Access::Write, LOCK_LIMIT).await?;
    if create {
        let mut lock = Sql::new("SELECT pg_catalog.pg_advisory_xact_lock(");
        lock.bind(CREATE_LOCK).push(")");
        execute(&mut transaction, lock, doing).await?;
        for create in CREATE {
            execute(&mut transaction, Sql::new(create), doing).await.map_err(|error| match error {
                DatabaseError::Forbidden { reason, .. } => DatabaseError::Forbidden {
                    operation: "create the schema sereno for its fence",
                    reason: format!("{reason}; GRANT CREATE ON DATABASE to it, or set `fence = \"ledger only\"` on the job"),
                },
                other => other,
            })?;
        }
    }
    let mut sql = Sql::new("INSERT INTO sereno.fence (scope, token, at) VALUES (");
    sql.bind(fence.scope.as_str()).push(", ").bind(fence.token).push(
        ", pg_catalog.now()) ON CONFLICT (scope) DO UPDATE \
         SET token = excluded.token, at = excluded.at WHERE fence.token <= excluded.token",
    );
    if execute(&mut transaction, sql, doing).await? == 0 {
        return Err(fenced(fence));
    }
    answer(doing, transaction.commit()).await
}

fn fenced(fence: &Fence) -> DatabaseError {
    DatabaseError::Fenced {
        scope: fence.scope.clone(),
    }
}

/// Refuses unless the token is still the newest, and keeps it so until the transaction ends (a row lock, shared).
pub(super) async fn check(
    connection: &mut PgConnection,
    fence: &Fence,
    doing: Doing,
) -> Result<(), DatabaseError> {
    if !fence.in_database {
        return Ok(());
    }
    let mut sql = Sql::new("SELECT token FROM sereno.fence WHERE scope = ");
    sql.bind(fence.scope.as_str()).push(" FOR SHARE");
    let row = optional(connection, sql, doing).await?;
    let token: Option<i64> = row
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(|error| doing.postgres(&error))?;
    if token == Some(fence.token) {
        Ok(())
    } else {
        Err(fenced(fence))
    }
}

/// The check before work that cannot be in a transaction.
pub(super) async fn check_alone(session: &mut Session, fence: &Fence) -> Result<(), DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin(Access::Write, LOCK_LIMIT).await?;
    check(&mut transaction, fence, doing).await?;
    answer(doing, transaction.commit()).await
}

/// Records a batch in the transaction of its effect, and answers its number where there is a record.
pub(super) async fn record(
    connection: &mut PgConnection,
    fence: &Fence,
    rows: u64,
    cursor: Option<&str>,
    doing: Doing,
) -> Result<Option<u32>, DatabaseError> {
    if !fence.in_database {
        return Ok(None);
    }
    let (run, attempt) = (fence.run.as_str(), fence.attempt);
    let mut sql =
        Sql::new("INSERT INTO sereno.effect (run, attempt, batch, scope, rows, cursor, at) SELECT ");
    sql.bind(run)
        .push(", ")
        .bind(attempt)
        .push("::integer, coalesce(pg_catalog.max(batch), 0) + 1, ");
    sql.bind(fence.scope.as_str())
        .push(", ")
        .bind(i64::try_from(rows).unwrap_or(i64::MAX))
        .push(", ");
    sql.bind(Arg::Text(cursor.map(str::to_owned)));
    sql.push(", pg_catalog.clock_timestamp() FROM sereno.effect WHERE run = ")
        .bind(run);
    sql.push(" AND attempt = ").bind(attempt).push(" RETURNING batch");
    let row = one(connection, sql, doing).await?;
    let batch: i32 = row.try_get(0).map_err(|error| doing.postgres(&error))?;
    Ok(u32::try_from(batch).ok())
}

/// What was recorded for a run, in order.
pub(super) async fn recorded(
    session: &mut Session,
    run: &RunId,
) -> Result<Vec<RecordedBatch>, DatabaseError> {
    let doing = session.doing;
    if !is_there(session).await? {
        return Ok(Vec::new());
    }
    let mut sql = Sql::new("SELECT attempt, batch, scope, rows, cursor FROM sereno.effect WHERE run = ");
    sql.bind(run.as_str()).push(" ORDER BY attempt, batch");
    session
        .all(sql)
        .await?
        .iter()
        .map(|row| {
            Ok(RecordedBatch {
                run: run.clone(),
                attempt: u32::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default(),
                batch: u32::try_from(row.try_get::<i32, _>(1)?).unwrap_or_default(),
                scope: row.try_get(2)?,
                rows: u64::try_from(row.try_get::<i64, _>(3)?).unwrap_or_default(),
                cursor: row.try_get(4)?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| doing.postgres(&error))
}
