//! Upkeep: VACUUM of the whole file, once for an attempt; ANALYZE of a table; REINDEX of an index.
//!
//! What another connection or the disk stands in the way of is not done and says why.

use std::sync::PoisonError;
use std::time::Duration;

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Fence, Upkeep, UpkeepTask};
use sereno_core::units::{show_bytes, show_duration};

use super::super::sql::{Identifier, Sql};
use super::super::{estimate, near};
use super::session::{Access, Session, execute};
use super::{STATEMENT_LIMIT, Sqlite, catalogue, fence, read};

fn undone(note: impl Into<String>) -> Upkeep {
    Upkeep {
        done: false,
        bytes: None,
        note: Some(note.into()),
    }
}

const ONCE: &str = "the whole database was vacuumed for an earlier table of this run";

/// Its VACUUM is already one.
const FULL: DatabaseError = DatabaseError::Unsupported("VACUUM FULL (a plain VACUUM does as much)");

/// Does one task.
pub(super) async fn run(
    database: &Sqlite,
    task: &UpkeepTask,
    limit: Duration,
    fence: &Fence,
) -> Result<Upkeep, DatabaseError> {
    let mut session = database.sessions.open("do upkeep", Access::Write, limit).await?;
    let done = match task {
        UpkeepTask::VacuumFull { .. } => return Err(FULL),
        UpkeepTask::Vacuum { table, analyze } => vacuum(database, &mut session, table, *analyze, fence).await,
        UpkeepTask::Analyze { table } => {
            let table = catalogue::table(&mut session, table).await?;
            let mut sql = Sql::new("ANALYZE main.");
            sql.name(&table.name);
            within_fence(&mut session, sql, fence).await
        }
        UpkeepTask::Reindex { table, index } => {
            let index = find_index(&mut session, table, index).await?;
            let mut sql = Sql::new("REINDEX main.");
            sql.name(&index);
            within_fence(&mut session, sql, fence).await
        }
    };
    match done {
        Err(DatabaseError::Busy { reason, .. }) => {
            Ok(undone(format!("another connection holds the database: {reason}")))
        }
        Err(DatabaseError::Timeout { limit, .. }) => Ok(undone(format!(
            "stopped after its {}; nothing was changed",
            show_duration(limit)
        ))),
        other => other,
    }
}

async fn within_fence(session: &mut Session<'_>, sql: Sql, fence: &Fence) -> Result<Upkeep, DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin().await?;
    fence::check(&mut transaction, fence, doing).await?;
    execute(&mut transaction, sql)
        .await
        .map_err(|error| doing.sqlite(&error))?;
    transaction.commit().await.map_err(|error| doing.sqlite(&error))?;
    Ok(Upkeep {
        done: true,
        bytes: None,
        note: None,
    })
}

async fn vacuum(
    database: &Sqlite,
    session: &mut Session<'_>,
    table: &TableName,
    analyze: bool,
    fence: &Fence,
) -> Result<Upkeep, DatabaseError> {
    let doing = session.doing;
    let found = catalogue::table(session, table).await?;
    // VACUUM refuses to run in a transaction, so the fence can only be checked before it.
    fence::check(session.connection(), fence, doing).await?;
    let done = if is_vacuumed(database, fence, false) {
        Upkeep {
            done: true,
            bytes: Some(0),
            note: Some(ONCE.to_owned()),
        }
    } else {
        if let Some(note) = lack(database, session, doing.limit).await? {
            return Ok(undone(note));
        }
        let before = read::statistics(session).await?.bytes;
        session.execute(Sql::new("VACUUM main")).await?;
        let after = read::statistics(session).await?.bytes;
        remember(database, fence, false);
        let bytes = before
            .zip(after)
            .map(|(before, after)| before.saturating_sub(after));
        Upkeep {
            done: true,
            bytes,
            note: None,
        }
    };
    if analyze {
        let mut sql = Sql::new("ANALYZE main.");
        sql.name(&found.name);
        within_fence(session, sql, fence).await?;
        // Cheap after that: it looks only at tables whose statistics have grown old.
        session.execute(Sql::new("PRAGMA main.optimize")).await?;
    }
    Ok(done)
}

/// What [`run`] would do.
pub(super) async fn preview(
    database: &Sqlite,
    task: &UpkeepTask,
    limit: Duration,
    fence: &Fence,
) -> Result<Upkeep, DatabaseError> {
    let mut session = database
        .sessions
        .open("look at upkeep", Access::Read, STATEMENT_LIMIT)
        .await?;
    let session = &mut session;
    match task {
        UpkeepTask::VacuumFull { .. } => Err(FULL),
        UpkeepTask::Vacuum { table, .. } => {
            catalogue::table(session, table).await?;
            if is_vacuumed(database, fence, true) {
                return Ok(Upkeep {
                    done: true,
                    bytes: Some(0),
                    note: Some(ONCE.to_owned()),
                });
            }
            if let Some(note) = lack(database, session, limit).await? {
                return Ok(undone(note));
            }
            remember(database, fence, true);
            Ok(Upkeep {
                done: true,
                bytes: read::statistics(session).await?.free_bytes,
                note: None,
            })
        }
        UpkeepTask::Analyze { table } => {
            catalogue::table(session, table).await?;
            Ok(Upkeep {
                done: true,
                bytes: None,
                note: None,
            })
        }
        UpkeepTask::Reindex { table, index } => {
            find_index(session, table, index).await?;
            Ok(Upkeep {
                done: true,
                bytes: None,
                note: None,
            })
        }
    }
}

fn is_vacuumed(database: &Sqlite, fence: &Fence, preview: bool) -> bool {
    let vacuumed = database.vacuumed.lock().unwrap_or_else(PoisonError::into_inner);
    vacuumed.contains(&(fence.run.clone(), fence.attempt, preview))
}

fn remember(database: &Sqlite, fence: &Fence, preview: bool) {
    let mut vacuumed = database.vacuumed.lock().unwrap_or_else(PoisonError::into_inner);
    vacuumed.insert((fence.run.clone(), fence.attempt, preview));
}

/// What there is too little of to begin a VACUUM, which reads the whole database and writes it twice.
async fn lack(
    database: &Sqlite,
    session: &mut Session<'_>,
    limit: Duration,
) -> Result<Option<String>, DatabaseError> {
    let bytes = read::statistics(session).await?.bytes.unwrap_or_default();
    match estimate::beyond(3 * bytes, limit) {
        Some(note) => Ok(Some(note)),
        None => lack_of_room(database, session).await,
    }
}

/// VACUUM writes the whole database a second time before it gives anything back.
async fn lack_of_room(database: &Sqlite, session: &mut Session<'_>) -> Result<Option<String>, DatabaseError> {
    let Some(path) = &database.path else {
        return Ok(None);
    };
    let needed = read::statistics(session).await?.bytes.unwrap_or_default();
    let Ok(disk) = rustix::fs::statvfs(path) else {
        return Ok(None);
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok((free < needed).then(|| {
        format!(
            "VACUUM needs {} of free disk, and there are {}",
            show_bytes(needed),
            show_bytes(free)
        )
    }))
}

async fn find_index(
    session: &mut Session<'_>,
    table: &TableName,
    index: &str,
) -> Result<Identifier, DatabaseError> {
    catalogue::table(session, table).await?;
    let names = catalogue::index_names(session, table).await?;
    if names.iter().any(|name| name == index) {
        return Ok(Identifier::from_catalogue(index));
    }
    let hint = near::hint(index, "indexes", names.iter().map(String::as_str));
    Err(DatabaseError::NotFound {
        what: format!("index {index} of table {table} ({hint})"),
    })
}
