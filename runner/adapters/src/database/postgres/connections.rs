//! Who is connected and what is at work; ends one connection, and only the one that was meant.
//!
//! A process's number is given again and a client goes on working: what was looked at is compared in the very statement that
//! ends it. Which connections are kept is decided here, for looks and ends alike.

use std::time::{Duration, Instant as Moment};

use sereno_core::ports::database::{DatabaseError, Upkeep};
use sereno_core::ports::insight::{Activity, Backend, Connection, EndMode, Part};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::sql::{Arg, Sql};
use super::insight::unsigned;
use super::session::Session;

/// Why a connection is never ended. A role that nobody knows is taken for a superuser.
const KEPT: &str = "CASE WHEN a.backend_type = 'walsender' THEN 'replication' \
    WHEN a.backend_type <> 'client backend' THEN 'not a client' \
    WHEN a.application_name = 'sereno' THEN 'sereno itself' \
    WHEN coalesce(r.rolsuper, true) THEN 'a superuser' \
    WHEN r.rolreplication THEN 'a role for replication' \
    WHEN a.application_name ~* '^(pg_dump|pg_restore|pg_basebackup|pg_receivewal|pg_recvlogical|pg_probackup|pgbackrest|barman|wal-?g)' \
        THEN 'a backup tool' END";

const FROM: &str = " FROM pg_catalog.pg_stat_activity AS a LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid \
    WHERE a.datname = current_database() AND a.pid <> pg_catalog.pg_backend_pid() \
    AND a.backend_type IN ('client backend', 'walsender')";

/// How long we wait for what was told to end.
const END_LIMIT: Duration = Duration::from_secs(5);
const END_PAUSE: Duration = Duration::from_millis(50);

/// A page of connections, by the numbers of their processes.
pub(super) async fn connections(
    session: &mut Session,
    cursor: Option<&str>,
    max: u32,
) -> Result<Part<Connection>, DatabaseError> {
    let doing = session.doing;
    let after: i64 = match cursor {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            DatabaseError::Invalid(format!("`{text}` is not a cursor of a list of connections"))
        })?,
    };
    let mut sql = Sql::new(
        "SELECT a.pid::int8, a.backend_start, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), \
         coalesce(pg_catalog.host(a.client_addr), 'local'), a.state, a.state_change, a.xact_start, a.query_start, \
         upper(pg_catalog.substring(a.query, '^\\s*([A-Za-z]+)')), a.wait_event_type || ':' || a.wait_event, \
         CASE WHEN a.wait_event_type = 'Lock' THEN pg_catalog.pg_blocking_pids(a.pid)::int8[] ELSE '{}'::int8[] END, ",
    );
    sql.push(KEPT).push(FROM).push(" AND a.pid > ").bind(after);
    sql.push(" ORDER BY a.pid LIMIT ").number(u64::from(max) + 1);
    let rows = session.all(sql).await?;
    let most = usize::try_from(max).unwrap_or(usize::MAX);
    let items = rows
        .iter()
        .take(most)
        .map(|row| read_connection(row).map_err(|error| doing.postgres(&error)))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Part {
        cursor: items
            .last()
            .filter(|_| rows.len() > most)
            .map(|connection| connection.pid.to_string()),
        items,
    })
}

fn read_connection(row: &PgRow) -> Result<Connection, sqlx::Error> {
    Ok(Connection {
        pid: row.try_get(0)?,
        started: row.try_get(1)?,
        user: row.try_get(2)?,
        application: row.try_get(3)?,
        client: row.try_get(4)?,
        state: row.try_get(5)?,
        state_changed: row.try_get(6)?,
        transaction_started: row.try_get(7)?,
        query_started: row.try_get(8)?,
        query_kind: row.try_get(9)?,
        waits_for: row.try_get(10)?,
        blocked_by: row.try_get(11)?,
        kept: row.try_get(12)?,
    })
}

/// What became of the look that precedes, or is, the end.
enum Found {
    Gone,
    Changed,
    Same { signalled: bool },
}

/// Looks at one connection and, with `end`, ends it in the same statement while it is what was looked at.
async fn find(
    session: &mut Session,
    backend: &Backend,
    end: Option<EndMode>,
) -> Result<Found, DatabaseError> {
    let doing = session.doing;
    let mut sql = Sql::new("SELECT f.kept, f.same, f.active, CASE WHEN f.same AND f.kept IS NULL THEN ");
    sql.push(match end {
        None => "NULL::boolean",
        Some(EndMode::Cancel) => "pg_catalog.pg_cancel_backend(f.pid)",
        Some(EndMode::Terminate) => "pg_catalog.pg_terminate_backend(f.pid)",
    });
    sql.push(" END FROM (SELECT a.pid, ")
        .push(KEPT)
        .push(", a.backend_start = ");
    sql.bind(Arg::Instant(Some(backend.started)))
        .push(" AND a.state_change IS NOT DISTINCT FROM ")
        .bind(Arg::Instant(backend.state_changed));
    sql.push(", a.state = 'active'")
        .push(FROM)
        .push(" AND a.pid = ")
        .bind(backend.pid);
    sql.push(" OFFSET 0) AS f (pid, kept, same, active)");
    let Some(row) = session.optional(sql).await? else {
        return Ok(Found::Gone);
    };
    let read = |row: &PgRow| -> Result<(Option<String>, bool, Option<bool>), sqlx::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(3)?))
    };
    let (kept, same, signalled) = read(&row).map_err(|error| doing.postgres(&error))?;
    if let Some(kept) = kept {
        return Err(DatabaseError::Refused(format!(
            "the connection of process {} is never ended: it is {kept}",
            backend.pid
        )));
    }
    Ok(if same {
        Found::Same {
            signalled: signalled.unwrap_or_default(),
        }
    } else {
        Found::Changed
    })
}

fn undone(note: &str) -> Upkeep {
    Upkeep {
        done: false,
        bytes: None,
        note: Some(note.to_owned()),
    }
}

const GONE: &str = "it is not there any more";
const CHANGED: &str = "it has gone on since it was looked at";

/// Ends one connection, or its statement, and waits until it is over.
pub(super) async fn end(
    session: &mut Session,
    backend: &Backend,
    mode: EndMode,
) -> Result<Upkeep, DatabaseError> {
    match find(session, backend, Some(mode)).await? {
        Found::Gone => return Ok(undone(GONE)),
        Found::Changed => return Ok(undone(CHANGED)),
        Found::Same { signalled: false } => return Ok(undone("the server could not signal it")),
        Found::Same { signalled: true } => {}
    }
    let began = Moment::now();
    loop {
        let is_over = match find(session, backend, None).await? {
            Found::Gone => true,
            Found::Changed => mode == EndMode::Cancel,
            Found::Same { .. } => false,
        };
        if is_over {
            return Ok(Upkeep {
                done: true,
                ..Upkeep::default()
            });
        }
        if began.elapsed() > END_LIMIT {
            return Ok(undone("it was told to end and has not in 5 s"));
        }
        tokio::time::sleep(END_PAUSE).await;
    }
}

/// What [`end`] would do.
pub(super) async fn preview(session: &mut Session, backend: &Backend) -> Result<Upkeep, DatabaseError> {
    Ok(match find(session, backend, None).await? {
        Found::Gone => undone(GONE),
        Found::Changed => undone(CHANGED),
        Found::Same { .. } => Upkeep {
            done: true,
            ..Upkeep::default()
        },
    })
}

/// What is at work, in blocks, and what holds the database back.
const ACTIVITY: &str = "SELECT * FROM ( \
    SELECT 'vacuum', 'vacuum of ' || v.relid::pg_catalog.regclass || ', ' || v.phase, v.pid::int8, NULL::timestamptz, \
        v.heap_blks_scanned, v.heap_blks_total, 'blocks', NULL::text \
        FROM pg_catalog.pg_stat_progress_vacuum AS v WHERE v.datname = current_database() \
    UNION ALL SELECT 'index', lower(x.command) || ' of ' || x.relid::pg_catalog.regclass || ', ' || x.phase, x.pid::int8, NULL, \
        x.blocks_done, x.blocks_total, 'blocks', NULL \
        FROM pg_catalog.pg_stat_progress_create_index AS x WHERE x.datname = current_database() \
    UNION ALL SELECT 'rewrite', lower(w.command) || ' of ' || w.relid::pg_catalog.regclass || ', ' || w.phase, w.pid::int8, NULL, \
        w.heap_blks_scanned, w.heap_blks_total, 'blocks', NULL \
        FROM pg_catalog.pg_stat_progress_cluster AS w WHERE w.datname = current_database() \
    UNION ALL SELECT 'horizon', 'the transaction of process ' || a.pid, a.pid::int8, a.xact_start, \
        greatest(pg_catalog.age(a.backend_xmin), pg_catalog.age(a.backend_xid))::int8, NULL, 'transactions', a.state \
        FROM pg_catalog.pg_stat_activity AS a WHERE a.pid <> pg_catalog.pg_backend_pid() \
        AND (a.datname = current_database() OR a.backend_type = 'walsender') AND a.backend_type <> 'autovacuum worker' \
        AND coalesce(a.backend_xmin, a.backend_xid) IS NOT NULL \
    UNION ALL SELECT 'horizon', 'the prepared transaction ' || x.gid, NULL, x.prepared, pg_catalog.age(x.transaction)::int8, NULL, \
        'transactions', NULL FROM pg_catalog.pg_prepared_xacts AS x WHERE x.database = current_database() \
    UNION ALL SELECT 'slot', 'the replication slot ' || s.slot_name, s.active_pid::int8, NULL, ";

/// On a standby the server's own position is another one; before PostgreSQL 13 a slot had no state of its WAL.
const SLOTS: &str = "CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
    ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::int8 END, NULL, 'bytes', ";

/// Rows of the list: more than anybody reads.
const ACTIVITY_MAX: u64 = 200;

const VERSION_WAL_STATUS: u32 = 130_000;

/// What is at work, and what holds the database back.
pub(super) async fn activity(session: &mut Session) -> Result<Vec<Activity>, DatabaseError> {
    let doing = session.doing;
    let mut sql = Sql::new(ACTIVITY);
    sql.push(SLOTS);
    sql.push(if session.version() >= VERSION_WAL_STATUS {
        "pg_catalog.concat_ws(', ', CASE WHEN s.active THEN 'active' ELSE 'inactive' END, 'WAL ' || s.wal_status, \
         'safe for ' || s.safe_wal_size || ' bytes')"
    } else {
        "CASE WHEN s.active THEN 'active' ELSE 'inactive' END"
    });
    sql.push(
        " FROM pg_catalog.pg_replication_slots AS s) AS t (kind, what, pid, since, amount, total, unit, note) \
         ORDER BY t.kind, t.amount DESC NULLS LAST, t.what LIMIT ",
    );
    sql.number(ACTIVITY_MAX);
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        Ok(Activity {
            kind: row.try_get(0)?,
            what: row.try_get(1)?,
            pid: row.try_get(2)?,
            since: row.try_get(3)?,
            amount: unsigned(row.try_get(4)?),
            of: unsigned(row.try_get(5)?),
            unit: row.try_get(6)?,
            note: row.try_get(7)?,
        })
    };
    let rows = session.all(sql).await?;
    rows.iter()
        .map(|row| read(row).map_err(|error| doing.postgres(&error)))
        .collect()
}
