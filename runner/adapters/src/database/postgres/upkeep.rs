//! Upkeep outside of transactions: VACUUM, ANALYZE, REINDEX CONCURRENTLY, each with a look before it.
//!
//! A preview takes the same look. What stands in the way is not waited for and not removed: it is named, with the
//! statement that would.

use std::time::Duration;

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Upkeep, UpkeepTask};
use sereno_core::units::show_duration;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::sql::{Identifier, Sql};
use super::super::{estimate, near};
use super::catalogue::{self, Table};
use super::session::{LOCK_LIMIT, Session, millis};
use super::{horizon, rewrite};

/// The pace of autovacuum; by hand PostgreSQL takes all of the disk.
const COST_DELAY: &str = "2ms";

/// Statistics of a finished VACUUM come late from servers before 15.
const STATISTICS_LIMIT: Duration = Duration::from_secs(2);
const STATISTICS_PAUSE: Duration = Duration::from_millis(50);

pub(super) fn undone(note: impl Into<String>) -> Upkeep {
    Upkeep {
        done: false,
        bytes: None,
        note: Some(note.into()),
    }
}

/// What a look before the work found.
struct Look {
    table: Table,
    /// Why it will not be done.
    stop: Option<String>,
    /// Why not all of it will be done.
    partly: Option<String>,
    /// Estimated bytes that it would give back or make reusable.
    bytes: Option<u64>,
    index: Option<Identifier>,
}

async fn look(session: &mut Session, task: &UpkeepTask, limit: Duration) -> Result<Look, DatabaseError> {
    match task {
        UpkeepTask::Vacuum { table, .. } => {
            let table = catalogue::table(session, table).await?;
            let stop = match running_vacuum(session, &table).await? {
                Some(note) => Some(note),
                None => holder(session, &table).await?,
            };
            // Sizes are asked for only where nobody holds the table: asking waits for an exclusive lock.
            let partly = if stop.is_none() {
                locked_leaves(session, &table).await?
            } else {
                None
            };
            let (stop, bytes) = if stop.is_none() && partly.is_none() {
                let work = bytes_to_vacuum(session, &table).await?;
                (estimate::beyond(work, limit), dead(session, &table).await?.1)
            } else {
                (stop, None)
            };
            Ok(Look {
                table,
                stop,
                partly,
                bytes,
                index: None,
            })
        }
        UpkeepTask::Analyze { table } => {
            let table = catalogue::table(session, table).await?;
            let stop = holder(session, &table).await?;
            let partly = if stop.is_none() {
                locked_leaves(session, &table).await?
            } else {
                None
            };
            Ok(Look {
                table,
                stop,
                partly,
                bytes: None,
                index: None,
            })
        }
        UpkeepTask::VacuumFull { table } => {
            let table = catalogue::table(session, table).await?;
            Ok(Look {
                table,
                stop: None,
                partly: None,
                bytes: None,
                index: None,
            })
        }
        UpkeepTask::Reindex { table, index } => look_at_index(session, table, index, limit).await,
    }
}

/// Does one task within the operation's limit.
pub(super) async fn run(session: &mut Session, task: &UpkeepTask) -> Result<Upkeep, DatabaseError> {
    if let UpkeepTask::VacuumFull { table } = task {
        return rewrite::run(session, table).await;
    }
    let look = look(session, task, session.doing.limit).await?;
    if let Some(note) = look.stop {
        return Ok(undone(note));
    }
    match task {
        UpkeepTask::Vacuum { analyze, .. } => vacuum(session, &look.table, *analyze).await,
        UpkeepTask::Analyze { .. } => analyze(session, &look.table).await,
        UpkeepTask::VacuumFull { table } => rewrite::run(session, table).await,
        UpkeepTask::Reindex { .. } => {
            let index = look
                .index
                .expect("the look at a REINDEX either finds the index or fails");
            reindex(session, &look.table, &index).await
        }
    }
}

/// What [`run`] would do within `limit`.
pub(super) async fn preview(
    session: &mut Session,
    task: &UpkeepTask,
    limit: Duration,
) -> Result<Upkeep, DatabaseError> {
    if let UpkeepTask::VacuumFull { table } = task {
        return rewrite::preview(session, table).await;
    }
    let look = look(session, task, limit).await?;
    Ok(match look.stop.or(look.partly) {
        Some(note) => undone(note),
        None => Upkeep {
            done: true,
            bytes: look.bytes,
            note: None,
        },
    })
}

/// Runs a statement that refuses to be in a transaction, with the session's settings for it.
pub(super) async fn alone(
    session: &mut Session,
    statement: Sql,
    lock: Option<Duration>,
) -> Result<(), DatabaseError> {
    let limit = session.doing.limit;
    let mut sql = Sql::new("SELECT pg_catalog.set_config('statement_timeout', ");
    sql.bind(millis(limit).as_str())
        .push(", false), pg_catalog.set_config('lock_timeout', ");
    sql.bind(lock.map_or_else(|| "0".to_owned(), millis).as_str())
        .push(", false), ");
    sql.push("pg_catalog.set_config('vacuum_cost_delay', ")
        .bind(COST_DELAY)
        .push(", false)");
    session.execute(sql).await?;
    let done = session.execute(statement).await.map(drop);
    if !matches!(done, Err(DatabaseError::Unreachable { .. })) {
        let mut sql = Sql::new("SELECT pg_catalog.set_config('statement_timeout', '30s', false), ");
        sql.push("pg_catalog.set_config('lock_timeout', '2s', false), ");
        sql.push("pg_catalog.set_config('vacuum_cost_delay', '0', false)");
        session.execute(sql).await?;
    }
    done
}

/// What a VACUUM goes through: everything but the pages of which it is known that all see all their rows.
async fn bytes_to_vacuum(session: &mut Session, table: &Table) -> Result<u64, DatabaseError> {
    let mut sql = catalogue::with_tree(table);
    sql.push(
        "SELECT pg_catalog.sum(greatest(pg_catalog.pg_total_relation_size(c.oid) \
            - c.relallvisible::int8 * pg_catalog.current_setting('block_size')::int8, 0))::int8 \
         FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid",
    );
    bytes(session, sql).await
}

/// What a REINDEX CONCURRENTLY goes through: the table once to build and once to find what came meanwhile, and the index.
async fn bytes_to_reindex(session: &mut Session, table: &Table, index: &str) -> Result<u64, DatabaseError> {
    let mut sql = catalogue::with_tree(table);
    sql.push(
        "SELECT (2 * pg_catalog.sum(pg_catalog.pg_relation_size(tree.oid)) + coalesce((SELECT pg_catalog.sum(pg_catalog.pg_relation_size(i.indexrelid)) \
            FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = ",
    );
    sql.bind(table.oid).push("::oid AND c.relname = ").bind(index);
    sql.push("), 0))::int8 FROM tree");
    bytes(session, sql).await
}

/// The sum that a statement answers.
async fn bytes(session: &mut Session, sql: Sql) -> Result<u64, DatabaseError> {
    let doing = session.doing;
    let row = session.one(sql).await?;
    let bytes: Option<i64> = row.try_get(0).map_err(|error| doing.postgres(&error))?;
    Ok(bytes
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or_default())
}

/// Dead rows of a table and its partitions, and the bytes that they take.
async fn dead(session: &mut Session, table: &Table) -> Result<(u64, Option<u64>), DatabaseError> {
    let doing = session.doing;
    let mut sql = catalogue::with_tree(table);
    sql.push(
        "SELECT coalesce(pg_catalog.sum(s.n_dead_tup), 0)::int8, \
         pg_catalog.sum(pg_catalog.pg_relation_size(s.relid)::numeric * s.n_dead_tup / nullif(s.n_live_tup + s.n_dead_tup, 0))::int8 \
         FROM pg_catalog.pg_stat_all_tables AS s JOIN tree ON tree.oid = s.relid",
    );
    let row = session.one(sql).await?;
    let rows: i64 = row.try_get(0).map_err(|error| doing.postgres(&error))?;
    let bytes: Option<i64> = row.try_get(1).map_err(|error| doing.postgres(&error))?;
    Ok((
        u64::try_from(rows).unwrap_or_default(),
        bytes.and_then(|bytes| u64::try_from(bytes).ok()),
    ))
}

async fn running_vacuum(session: &mut Session, table: &Table) -> Result<Option<String>, DatabaseError> {
    let doing = session.doing;
    let mut sql = catalogue::with_tree(table);
    sql.push(
        "SELECT v.pid FROM pg_catalog.pg_stat_progress_vacuum AS v JOIN tree ON tree.oid = v.relid LIMIT 1",
    );
    let row = session.optional(sql).await?;
    let pid: Option<i32> = row
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(|error| doing.postgres(&error))?;
    Ok(pid.map(|pid| format!("another VACUUM is at work on it (process {pid})")))
}

/// Modes of lock beside which neither VACUUM nor ANALYZE nor REINDEX CONCURRENTLY gets its own.
const HOLDERS: &str = " JOIN pg_catalog.pg_locks AS l ON l.relation = tree.oid AND l.granted \
    AND l.locktype = 'relation' AND l.pid <> pg_catalog.pg_backend_pid() \
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()) \
    AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";

/// Who holds a lock on the table itself that would make the work skip it.
pub(super) async fn holder(session: &mut Session, table: &Table) -> Result<Option<String>, DatabaseError> {
    let doing = session.doing;
    let mut sql = catalogue::with_tree(table);
    sql.push("SELECT l.pid, l.mode FROM tree")
        .push(HOLDERS)
        .push(" WHERE tree.oid = ")
        .bind(table.oid);
    sql.push("::oid LIMIT 1");
    let Some(row) = session.optional(sql).await? else {
        return Ok(None);
    };
    let pid: Option<i32> = row.try_get(0).map_err(|error| doing.postgres(&error))?;
    let mode: String = row.try_get(1).map_err(|error| doing.postgres(&error))?;
    Ok(Some(match pid {
        Some(pid) => format!("skipped: process {pid} holds {mode} on it"),
        None => format!("skipped: a prepared transaction holds {mode} on it"),
    }))
}

/// What will be said of leaves that somebody holds now.
async fn locked_leaves(session: &mut Session, table: &Table) -> Result<Option<String>, DatabaseError> {
    let doing = session.doing;
    let leaves = counts(session, table).await?.len();
    let mut sql = catalogue::with_tree(table);
    sql.push("SELECT DISTINCT tree.oid, ")
        .push(LEAF)
        .push(" FROM tree JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid");
    sql.push(HOLDERS)
        .push(" WHERE c.relkind <> 'p' ORDER BY tree.oid");
    let locked = session
        .all(sql)
        .await?
        .iter()
        .map(|row| row.try_get(1))
        .collect::<Result<Vec<String>, sqlx::Error>>()
        .map_err(|error| doing.postgres(&error))?;
    Ok(skipped(leaves, &locked))
}

/// What a leaf is called: two may have one name, in different schemas.
const LEAF: &str = "CASE c.relnamespace WHEN 'public'::pg_catalog.regnamespace THEN '' ELSE c.relnamespace::pg_catalog.regnamespace || '.' END || c.relname";

/// What the server has counted for a leaf.
struct Leaf {
    oid: i64,
    name: String,
    vacuums: i64,
    analyzes: i64,
}

async fn counts(session: &mut Session, table: &Table) -> Result<Vec<Leaf>, DatabaseError> {
    let doing = session.doing;
    let mut sql = catalogue::with_tree(table);
    sql.push("SELECT s.relid::int8, ").push(LEAF).push(
        ", s.vacuum_count, s.analyze_count FROM pg_catalog.pg_stat_all_tables AS s \
         JOIN tree ON tree.oid = s.relid JOIN pg_catalog.pg_class AS c ON c.oid = s.relid WHERE c.relkind <> 'p' ORDER BY s.relid",
    );
    session
        .all(sql)
        .await?
        .iter()
        .map(|row| {
            Ok(Leaf {
                oid: row.try_get(0)?,
                name: row.try_get(1)?,
                vacuums: row.try_get(2)?,
                analyzes: row.try_get(3)?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|error| doing.postgres(&error))
}

/// The leaves of which `count` has not grown since `before`.
async fn untouched(
    session: &mut Session,
    table: &Table,
    before: &[Leaf],
    count: fn(&Leaf) -> i64,
) -> Result<Vec<String>, DatabaseError> {
    let started = std::time::Instant::now();
    loop {
        let now = counts(session, table).await?;
        let rest: Vec<String> = before
            .iter()
            .filter(|was| now.iter().any(|is| is.oid == was.oid && count(is) <= count(was)))
            .map(|was| was.name.clone())
            .collect();
        if rest.is_empty() || started.elapsed() > STATISTICS_LIMIT {
            return Ok(rest);
        }
        tokio::time::sleep(STATISTICS_PAUSE).await;
    }
}

/// VACUUM does not fail when it skips: it warns, and its counters stay.
fn skipped(leaves: usize, untouched: &[String]) -> Option<String> {
    (!untouched.is_empty()).then(|| {
        if leaves == 1 {
            "skipped: it was locked".to_owned()
        } else {
            format!(
                "{} of {leaves} partitions were locked and skipped: {}",
                untouched.len(),
                untouched.join(", ")
            )
        }
    })
}

fn out_of_time(limit: Duration, left: &str) -> Upkeep {
    undone(format!("stopped after its {}; {left}", show_duration(limit)))
}

/// Takes SHARE UPDATE EXCLUSIVE, which readers and writers do not notice.
async fn vacuum(session: &mut Session, table: &Table, with_analyze: bool) -> Result<Upkeep, DatabaseError> {
    let limit = session.doing.limit;
    let before = counts(session, table).await?;
    let (dead_before, bytes_before) = dead(session, table).await?;
    let mut sql = Sql::new(if with_analyze {
        "VACUUM (ANALYZE, SKIP_LOCKED, TRUNCATE false) "
    } else {
        "VACUUM (SKIP_LOCKED, TRUNCATE false) "
    });
    table.write(&mut sql);
    match alone(session, sql, Some(LOCK_LIMIT)).await {
        Err(DatabaseError::Timeout { .. }) => {
            return Ok(out_of_time(limit, "what it had cleaned stays clean"));
        }
        Err(DatabaseError::Busy { reason, .. }) => return Ok(undone(format!("skipped: {reason}"))),
        other => other?,
    }
    let rest = untouched(session, table, &before, |leaf| leaf.vacuums).await?;
    if let Some(note) = skipped(before.len(), &rest) {
        return Ok(undone(note));
    }
    let (dead_after, _) = dead(session, table).await?;
    let cleaned = dead_before.saturating_sub(dead_after);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size"
    )]
    let bytes = bytes_before.map(|bytes| (bytes as f64 * cleaned as f64 / dead_before.max(1) as f64) as u64);
    let note = if dead_after > 0 {
        let holder = horizon::oldest(session).await?;
        let holder = holder.unwrap_or_else(|| "a transaction that was open meanwhile".to_owned());
        Some(format!(
            "{dead_after} dead rows stay: {holder} may still see them"
        ))
    } else {
        None
    };
    Ok(Upkeep {
        done: true,
        bytes,
        note,
    })
}

/// Takes SHARE UPDATE EXCLUSIVE. A partitioned parent gets statistics of its own, which autovacuum never gathers.
async fn analyze(session: &mut Session, table: &Table) -> Result<Upkeep, DatabaseError> {
    let limit = session.doing.limit;
    let before = counts(session, table).await?;
    let mut sql = Sql::new("ANALYZE (SKIP_LOCKED) ");
    table.write(&mut sql);
    match alone(session, sql, Some(LOCK_LIMIT)).await {
        Err(DatabaseError::Timeout { .. }) => return Ok(out_of_time(limit, "nothing was changed")),
        Err(DatabaseError::Busy { reason, .. }) => return Ok(undone(format!("skipped: {reason}"))),
        other => other?,
    }
    let rest = untouched(session, table, &before, |leaf| leaf.analyzes).await?;
    Ok(match skipped(before.len(), &rest) {
        Some(note) => undone(note),
        None => Upkeep {
            done: true,
            bytes: None,
            note: None,
        },
    })
}

/// An invalid index that an interrupted rebuild left.
struct Leftover {
    schema: Identifier,
    name: Identifier,
}

/// Those of the table and of its partitions: each partition's index is rebuilt by itself.
async fn leftovers(session: &mut Session, table: &Table) -> Result<Vec<Leftover>, DatabaseError> {
    let doing = session.doing;
    let mut sql = catalogue::with_tree(table);
    sql.push(
        "SELECT n.nspname::text, c.relname::text FROM tree JOIN pg_catalog.pg_index AS i ON i.indrelid = tree.oid \
         JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' ORDER BY 1, 2",
    );
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        Ok(Leftover {
            schema: Identifier::from_catalogue(row.try_get::<String, _>(0)?),
            name: Identifier::from_catalogue(row.try_get::<String, _>(1)?),
        })
    };
    let rows = session.all(sql).await?;
    rows.iter()
        .map(|row| read(row).map_err(|error| doing.postgres(&error)))
        .collect()
}

/// `INDEX behind; run: ` what drops it; none: there is nothing.
fn behind(leftovers: &[Leftover]) -> Option<String> {
    let joined = |written: fn(&Leftover) -> String, by: &str| {
        leftovers.iter().map(written).collect::<Vec<_>>().join(by)
    };
    let names = joined(|left| left.name.as_str().to_owned(), ", ");
    let drops = joined(
        |left| {
            format!(
                "DROP INDEX CONCURRENTLY {}.{};",
                left.schema.quoted(),
                left.name.quoted()
            )
        },
        " ",
    );
    (!leftovers.is_empty()).then(|| format!("{names} behind; run: {drops}"))
}

async fn look_at_index(
    session: &mut Session,
    table: &TableName,
    index: &str,
    limit: Duration,
) -> Result<Look, DatabaseError> {
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.postgres(&error);
    let found = catalogue::table(session, table).await?;
    let mut sql = Sql::new(
        "SELECT i.indisvalid, i.indisexclusion FROM pg_catalog.pg_index AS i \
         JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = ",
    );
    sql.bind(found.oid).push(" AND c.relname = ").bind(index);
    let Some(row) = session.optional(sql).await? else {
        let names = catalogue::index_names(session, &found).await?;
        let hint = near::hint(index, "indexes", names.iter().map(String::as_str));
        return Err(DatabaseError::NotFound {
            what: format!("index {index} of table {table} ({hint})"),
        });
    };
    let (is_valid, is_exclusion): (bool, bool) =
        (row.try_get(0).map_err(fault)?, row.try_get(1).map_err(fault)?);
    let name = Identifier::from_catalogue(index);
    let stop = if let Some(left) = behind(&leftovers(session, &found).await?) {
        Some(format!("an earlier rebuild left {left}"))
    } else if !is_valid {
        Some(format!(
            "it is invalid: an interrupted build left it; run: REINDEX INDEX CONCURRENTLY {0}.{1}; or drop it",
            found.schema.quoted(),
            name.quoted()
        ))
    } else if is_exclusion {
        Some("it belongs to an exclusion constraint, which cannot be rebuilt beside writers".to_owned())
    } else if let Some(note) = other_build(session, &found).await? {
        Some(note)
    } else if let Some(note) = holder(session, &found).await? {
        Some(note)
    } else if let Some(note) = horizon::long_transaction(session).await? {
        Some(note)
    } else {
        estimate::beyond(bytes_to_reindex(session, &found, index).await?, limit)
    };
    if stop.is_some() {
        return Ok(Look {
            table: found,
            stop,
            partly: None,
            bytes: None,
            index: Some(name),
        });
    }
    let statistics = super::read::indexes(session, table).await?;
    let known = statistics.iter().find(|known| known.index == index);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a size"
    )]
    let bytes = known
        .and_then(|known| known.bytes.zip(known.bloat_percent))
        .map(|(bytes, percent)| (bytes as f64 * percent / 100.0) as u64);
    Ok(Look {
        table: found,
        stop,
        partly: None,
        bytes,
        index: Some(name),
    })
}

async fn other_build(session: &mut Session, table: &Table) -> Result<Option<String>, DatabaseError> {
    let doing = session.doing;
    let mut sql = catalogue::with_tree(table);
    sql.push("SELECT b.pid FROM pg_catalog.pg_stat_progress_create_index AS b JOIN tree ON tree.oid = b.relid LIMIT 1");
    let row = session.optional(sql).await?;
    let pid: Option<i32> = row
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(|error| doing.postgres(&error))?;
    Ok(pid.map(|pid| format!("another index of its table is being built (process {pid})")))
}

/// Takes SHARE UPDATE EXCLUSIVE, and waits for it without a lock timeout: one that runs out in a later phase would
/// leave an invalid index behind, and nobody queues behind this wait but other upkeep.
async fn reindex(session: &mut Session, table: &Table, index: &Identifier) -> Result<Upkeep, DatabaseError> {
    let limit = session.doing.limit;
    let before = index_bytes(session, table, index).await?;
    let mut sql = Sql::new("REINDEX INDEX CONCURRENTLY ");
    sql.name(&table.schema).push(".").name(index);
    match alone(session, sql, None).await {
        Ok(()) => {
            let after = index_bytes(session, table, index).await?;
            let bytes = before
                .zip(after)
                .map(|(before, after)| before.saturating_sub(after));
            Ok(Upkeep {
                done: true,
                bytes,
                note: None,
            })
        }
        Err(error @ (DatabaseError::Timeout { .. } | DatabaseError::Busy { .. })) => {
            let left = match behind(&leftovers(session, table).await?) {
                Some(left) => format!("it left {left}"),
                None => "it left nothing behind".to_owned(),
            };
            Ok(match error {
                DatabaseError::Busy { reason, .. } => undone(format!("{reason}; {left}")),
                _ => out_of_time(limit, &left),
            })
        }
        Err(error) => Err(error),
    }
}

async fn index_bytes(
    session: &mut Session,
    table: &Table,
    index: &Identifier,
) -> Result<Option<u64>, DatabaseError> {
    let doing = session.doing;
    let mut sql = Sql::new(
        "SELECT pg_catalog.pg_relation_size(c.oid) FROM pg_catalog.pg_index AS i \
         JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = ",
    );
    sql.bind(table.oid).push(" AND c.relname = ").bind(index.as_str());
    let row = session.optional(sql).await?;
    let bytes: Option<i64> = row
        .map(|row| row.try_get(0))
        .transpose()
        .map_err(|error| doing.postgres(&error))?;
    Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()))
}
