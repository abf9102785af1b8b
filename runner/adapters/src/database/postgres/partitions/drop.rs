//! The drop of a partition that is in the archive, if it still is what was archived. Whether it may go is decided above.

use sereno_core::ports::database::DatabaseError;
use sqlx::Row;

use super::super::super::sql::Sql;
use super::super::detached::Record;
use super::super::session::{Access, Session, answer, execute, one};
use super::look::Known;
use super::{LOCK_WAIT, PAUSE, TRIES, is_itself};

/// What became of it.
pub(super) enum Dropped {
    Done,
    Stays(String),
    /// It is not what was archived.
    Changed,
}

/// Looks at all rows once more, with nobody else at the table, and drops it.
pub(super) async fn drop_it(
    session: &mut Session,
    known: &Known,
    record: &Record,
) -> Result<Dropped, DatabaseError> {
    for attempt in 1..=TRIES {
        match try_drop(session, known, record).await {
            Ok(true) => return Ok(Dropped::Done),
            Ok(false) => return Ok(Dropped::Changed),
            Err(DatabaseError::Busy { .. }) if attempt < TRIES => tokio::time::sleep(PAUSE).await,
            Err(DatabaseError::Busy { reason, .. }) => {
                return Ok(Dropped::Stays(format!(
                    "skipped: {reason} ({attempt} tries of a second)"
                )));
            }
            // Views and foreign keys that need it; they are the operator's to decide.
            Err(DatabaseError::Fault { reason, .. }) => {
                return Ok(Dropped::Stays(format!("skipped: {reason}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Dropped::Stays("skipped: it was locked".to_owned()))
}

async fn try_drop(session: &mut Session, known: &Known, record: &Record) -> Result<bool, DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin(Access::Write, LOCK_WAIT).await?;
    let mut sql = Sql::new("LOCK TABLE ");
    known.write(&mut sql);
    sql.push(" IN ACCESS EXCLUSIVE MODE");
    execute(&mut transaction, sql, doing).await?;
    is_itself(&mut transaction, known, doing).await?;
    let mut sql = Sql::new(
        "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.row_to_json(t)::text, 0)\
         ::numeric), 0)::text FROM ",
    );
    known.write(&mut sql);
    sql.push(" AS t");
    let row = one(&mut transaction, sql, doing).await?;
    let read = (|| Ok((row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?)))();
    let (rows, digest) = read.map_err(|error: sqlx::Error| doing.postgres(&error))?;
    if u64::try_from(rows).ok() != Some(record.rows) || Some(&digest) != record.digest.as_ref() {
        answer(doing, transaction.rollback()).await?;
        return Ok(false);
    }
    let mut sql = Sql::new("DROP TABLE ");
    known.write(&mut sql);
    execute(&mut transaction, sql, doing).await?;
    answer(doing, transaction.commit()).await?;
    Ok(true)
}
