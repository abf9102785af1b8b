//! The statements that take a partition out of its table, and whom they wait for. What is recorded of it is decided above.

use std::time::Instant;

use chrono::{DateTime, Utc};
use sereno_core::ports::database::DatabaseError;
use sereno_core::value::show_instant;
use sqlx::Row;

use super::super::super::sql::Sql;
use super::super::catalogue::Table;
use super::super::session::Session;
use super::super::upkeep::alone;
use super::look::Known;
use super::{LOCK_WAIT, PAUSE, TRIES, VERSION_CONCURRENTLY};

/// Detaches, or finishes a detach; none: it is done.
pub(super) async fn detach(
    session: &mut Session,
    parent: &Table,
    known: &Known,
    until: Instant,
) -> Result<Option<String>, DatabaseError> {
    if !known.is_attached {
        return Ok(None);
    }
    let mut is_pending = known.is_pending;
    for attempt in 1..=TRIES {
        let mut sql = Sql::new("ALTER TABLE ");
        parent.write(&mut sql);
        sql.push(" DETACH PARTITION ");
        known.write(&mut sql);
        sql.push(match (is_pending, session.version() >= VERSION_CONCURRENTLY) {
            (true, _) => " FINALIZE",
            (false, true) => " CONCURRENTLY",
            (false, false) => "",
        });
        let reason = match alone(session, sql, Some(LOCK_WAIT)).await {
            Ok(()) => return Ok(None),
            Err(error @ (DatabaseError::Busy { .. } | DatabaseError::Timeout { .. })) => error.to_string(),
            Err(error) => return Err(error),
        };
        is_pending = session.version() >= VERSION_CONCURRENTLY && pending(session, known.oid).await?;
        if attempt == TRIES || Instant::now() + PAUSE + LOCK_WAIT >= until {
            let who = user_of(session, parent.oid).await?.unwrap_or(reason);
            return Ok(Some(if is_pending {
                format!(
                    "its detach is begun and not finished: {who}. Queries no longer see it; the next run goes on"
                )
            } else {
                format!("skipped: {who}")
            }));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Some("skipped: it was locked".to_owned()))
}

async fn pending(session: &mut Session, oid: i64) -> Result<bool, DatabaseError> {
    let doing = session.doing;
    let mut sql =
        Sql::new("SELECT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhdetachpending AND inhrelid = ");
    sql.bind(oid).push("::oid)");
    let row = session.one(sql).await?;
    row.try_get(0).map_err(|error| doing.postgres(&error))
}

/// Who has used the table for the longest, and has not ended.
async fn user_of(session: &mut Session, oid: i64) -> Result<Option<String>, DatabaseError> {
    let doing = session.doing;
    let mut sql = Sql::new(
        "SELECT l.pid, a.xact_start FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
         WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() \
         AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()) \
         AND l.relation = ",
    );
    sql.bind(oid)
        .push("::oid ORDER BY a.xact_start NULLS LAST LIMIT 1");
    let Some(row) = session.optional(sql).await? else {
        return Ok(None);
    };
    let read = (|| {
        Ok((
            row.try_get::<i32, _>(0)?,
            row.try_get::<Option<DateTime<Utc>>, _>(1)?,
        ))
    })();
    let (pid, since) = read.map_err(|error: sqlx::Error| doing.postgres(&error))?;
    Ok(Some(match since {
        Some(since) => format!(
            "process {pid} has been using the table since {}",
            show_instant(since)
        ),
        None => format!("process {pid} is using the table"),
    }))
}
