//! VACUUM FULL of one table, or what newer servers have instead: a rewrite that gives its free space back.
//!
//! Whether it may be done, and whether the disk has room, is decided before. It waits for its lock for a second at a time, so
//! that nobody queues behind it for longer.

use std::time::{Duration, Instant};

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Upkeep};
use sqlx::Row;

use super::super::sql::Sql;
use super::catalogue::{self, Table};
use super::session::Session;
use super::upkeep::{alone, holder, undone};

/// Everybody else waits behind a lock that is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Tries for the lock; between them whoever waits has a turn.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// PostgreSQL 19 rewrites a table beside its readers and writers.
const VERSION_REPACK: u32 = 190_000;

/// What the server is told.
fn statement(version: u32, can_repack: bool) -> &'static str {
    if version < VERSION_REPACK {
        "VACUUM (FULL, ANALYZE) "
    } else if can_repack {
        "REPACK (CONCURRENTLY, ANALYZE) "
    } else {
        "REPACK (ANALYZE) "
    }
}

/// A table that is logged and tells its rows apart can be rewritten beside its writers.
async fn can_repack(session: &mut Session, table: &Table) -> Result<bool, DatabaseError> {
    let doing = session.doing;
    let mut sql = Sql::new(
        "SELECT c.relpersistence = 'p' AND c.relkind = 'r' AND (c.relreplident = 'i' OR (c.relreplident = 'd' \
         AND EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid))) \
         FROM pg_catalog.pg_class AS c WHERE c.oid = ",
    );
    sql.bind(table.oid);
    let row = session.one(sql).await?;
    row.try_get(0).map_err(|error| doing.postgres(&error))
}

async fn bytes(session: &mut Session, table: &Table) -> Result<u64, DatabaseError> {
    let doing = session.doing;
    let mut sql = catalogue::with_tree(table);
    sql.push("SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(tree.oid))::int8 FROM tree");
    let row = session.one(sql).await?;
    let bytes: Option<i64> = row.try_get(0).map_err(|error| doing.postgres(&error))?;
    Ok(bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or_default())
}

/// Whoever uses the table now, of those that do not end by themselves.
async fn look(session: &mut Session, table: &TableName) -> Result<(Table, Option<String>), DatabaseError> {
    let found = catalogue::table(session, table).await?;
    let stop = if found.partitioned {
        Some("it is partitioned: its partitions are rewritten one by one".to_owned())
    } else {
        holder(session, &found).await?
    };
    Ok((found, stop))
}

/// What [`run`] would do.
pub(super) async fn preview(session: &mut Session, table: &TableName) -> Result<Upkeep, DatabaseError> {
    Ok(match look(session, table).await?.1 {
        Some(note) => undone(note),
        None => Upkeep {
            done: true,
            ..Upkeep::default()
        },
    })
}

/// Rewrites the table within the operation's limit.
pub(super) async fn run(session: &mut Session, table: &TableName) -> Result<Upkeep, DatabaseError> {
    let (found, stop) = look(session, table).await?;
    if let Some(note) = stop {
        return Ok(undone(note));
    }
    let began = Instant::now();
    let before = bytes(session, &found).await?;
    let can_repack = can_repack(session, &found).await?;
    let words = statement(session.version(), can_repack);
    for attempt in 1..=TRIES {
        let mut sql = Sql::new(words);
        found.write(&mut sql);
        match alone(session, sql, Some(LOCK_WAIT)).await {
            Ok(()) => {
                let after = bytes(session, &found).await?;
                return Ok(Upkeep {
                    done: true,
                    bytes: Some(before.saturating_sub(after)),
                    note: None,
                });
            }
            Err(DatabaseError::Timeout { .. }) => {
                return Ok(undone("stopped when its time was over; the table is as it was"));
            }
            Err(DatabaseError::Busy { .. })
                if attempt < TRIES && began.elapsed() + PAUSE + LOCK_WAIT < session.doing.limit =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            Err(DatabaseError::Busy { reason, .. }) => {
                return Ok(undone(format!("skipped: {reason} ({attempt} tries of a second)")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(undone("skipped: it was locked"))
}

#[cfg(test)]
mod tests {
    use super::statement;

    #[test]
    fn the_mildest_statement_that_the_server_has_is_taken() {
        assert_eq!(statement(150_000, true), "VACUUM (FULL, ANALYZE) ");
        assert_eq!(statement(190_001, true), "REPACK (CONCURRENTLY, ANALYZE) ");
        assert_eq!(statement(190_001, false), "REPACK (ANALYZE) ");
    }
}
