//! The fence and the record of effects, in the tables `sereno_fence` and `sereno_effect` beside the operator's own.
//!
//! Their layout is a promise to older and newer versions of sereno that meet in one file.

use sereno_core::name::RunId;
use sereno_core::ports::database::{DatabaseError, Fence, RecordedBatch};
use sereno_core::value::Instant;
use sqlx::{Row, SqliteConnection};

use super::super::fault::Doing;
use super::super::sql::{Arg, Sql};
use super::session::{Session, execute};

const CREATE_FENCE: &str = "CREATE TABLE IF NOT EXISTS main.sereno_fence (\
    scope TEXT NOT NULL PRIMARY KEY, token INTEGER NOT NULL, at TEXT NOT NULL)";

const CREATE_EFFECT: &str = "CREATE TABLE IF NOT EXISTS main.sereno_effect (\
    run TEXT NOT NULL, attempt INTEGER NOT NULL, batch INTEGER NOT NULL, scope TEXT NOT NULL, \
    rows INTEGER NOT NULL, bytes INTEGER, cursor TEXT, at TEXT NOT NULL, PRIMARY KEY (run, attempt, batch))";

/// Raises the token, never lowers it.
pub(super) async fn take(session: &mut Session<'_>, fence: &Fence) -> Result<(), DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin().await?;
    for create in [CREATE_FENCE, CREATE_EFFECT] {
        execute(&mut transaction, Sql::new(create))
            .await
            .map_err(|error| doing.sqlite(&error))?;
    }
    let mut sql = Sql::new("INSERT INTO main.sereno_fence (scope, token, at) VALUES (");
    sql.bind(fence.scope.as_str()).push(", ").bind(fence.token).push(
        ", strftime('%Y-%m-%d %H:%M:%f', 'now')) ON CONFLICT (scope) DO UPDATE \
         SET token = excluded.token, at = excluded.at WHERE sereno_fence.token <= excluded.token",
    );
    let raised = execute(&mut transaction, sql)
        .await
        .map_err(|error| doing.sqlite(&error))?;
    if raised == 0 {
        return Err(DatabaseError::Fenced {
            scope: fence.scope.clone(),
        });
    }
    transaction.commit().await.map_err(|error| doing.sqlite(&error))
}

/// Refuses unless the token is still the newest. The caller's transaction already keeps other writers out.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    fence: &Fence,
    doing: Doing,
) -> Result<(), DatabaseError> {
    if !fence.in_database {
        return Ok(());
    }
    let mut sql = Sql::new("SELECT token FROM main.sereno_fence WHERE scope = ");
    sql.bind(fence.scope.as_str());
    let row = sql
        .sqlite()
        .fetch_optional(connection)
        .await
        .map_err(|error| doing.sqlite(&error))?;
    let token: Option<i64> = match row {
        Some(row) => Some(row.try_get(0).map_err(|error| doing.sqlite(&error))?),
        None => None,
    };
    if token == Some(fence.token) {
        Ok(())
    } else {
        Err(DatabaseError::Fenced {
            scope: fence.scope.clone(),
        })
    }
}

/// Records a batch in the transaction of its effect, and answers its number where there is a record.
pub(super) async fn record(
    connection: &mut SqliteConnection,
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
        Sql::new("INSERT INTO main.sereno_effect (run, attempt, batch, scope, rows, cursor, at) SELECT ");
    sql.bind(run)
        .push(", ")
        .bind(attempt)
        .push(", coalesce(max(batch), 0) + 1, ")
        .bind(fence.scope.as_str());
    sql.push(", ")
        .bind(i64::try_from(rows).unwrap_or(i64::MAX))
        .push(", ");
    sql.bind(Arg::Text(cursor.map(str::to_owned)));
    sql.push(", strftime('%Y-%m-%d %H:%M:%f', 'now') FROM main.sereno_effect WHERE run = ")
        .bind(run);
    sql.push(" AND attempt = ").bind(attempt).push(" RETURNING batch");
    let row = sql
        .sqlite()
        .fetch_one(connection)
        .await
        .map_err(|error| doing.sqlite(&error))?;
    row.try_get(0).map(Some).map_err(|error| doing.sqlite(&error))
}

async fn is_there(session: &mut Session<'_>) -> Result<bool, DatabaseError> {
    let there = "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = 'sereno_effect'";
    Ok(session.optional(Sql::new(there)).await?.is_some())
}

/// What was recorded for a run, in order.
pub(super) async fn recorded(
    session: &mut Session<'_>,
    run: &RunId,
) -> Result<Vec<RecordedBatch>, DatabaseError> {
    let doing = session.doing;
    if !is_there(session).await? {
        return Ok(Vec::new());
    }
    let mut sql = Sql::new("SELECT attempt, batch, scope, rows, cursor FROM main.sereno_effect WHERE run = ");
    sql.bind(run.as_str()).push(" ORDER BY attempt, batch");
    session
        .all(sql)
        .await?
        .iter()
        .map(|row| {
            Ok(RecordedBatch {
                run: run.clone(),
                attempt: row.try_get::<u32, _>(0)?,
                batch: row.try_get::<u32, _>(1)?,
                scope: row.try_get(2)?,
                rows: u64::try_from(row.try_get::<i64, _>(3)?).unwrap_or_default(),
                cursor: row.try_get(4)?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| doing.sqlite(&error))
}

/// Runs of which nothing was recorded since `before`, the oldest first.
pub(super) async fn old(
    session: &mut Session<'_>,
    before: Instant,
    max: u32,
) -> Result<Vec<RunId>, DatabaseError> {
    let doing = session.doing;
    if !is_there(session).await? {
        return Ok(Vec::new());
    }
    let mut sql = Sql::new("SELECT run FROM main.sereno_effect GROUP BY run HAVING max(at) < ");
    sql.bind(before.format("%Y-%m-%d %H:%M:%S%.3f").to_string().as_str())
        .push(" ORDER BY max(at), run LIMIT ")
        .number(u64::from(max));
    let mut runs = Vec::new();
    for row in session.all(sql).await? {
        let run: String = row.try_get(0).map_err(|error| doing.sqlite(&error))?;
        runs.extend(run.parse::<RunId>().ok());
    }
    Ok(runs)
}

/// Forgets what was recorded for `runs`.
pub(super) async fn forget(session: &mut Session<'_>, runs: &[RunId]) -> Result<u64, DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin().await?;
    let mut batches = 0;
    for run in runs {
        let mut sql = Sql::new("DELETE FROM main.sereno_effect WHERE run = ");
        sql.bind(run.as_str());
        batches += execute(&mut transaction, sql)
            .await
            .map_err(|error| doing.sqlite(&error))?;
    }
    transaction.commit().await.map_err(|error| doing.sqlite(&error))?;
    Ok(batches)
}
