//! Connections: made at the first call, lent to one operation at a time, cancelled when that operation is dropped.
//!
//! It knows no table. Every transaction sets what it relies on for itself; statements outside of one rely on the
//! session's settings, and a cancellation on its process, so a pooler between must give each client its own session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sereno_core::ports::database::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection, PgConnection, Postgres, Row, Transaction};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::super::fault::Doing;
use super::super::sql::Sql;

/// Longer than a network takes, shorter than an operator waits.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How much longer than the server lets a statement run its answer may take. One that comes later never will: a firewall
/// has dropped the connection, or the machine is gone.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// A connection that does not answer a ping in this time is not worth the wait: a new one is made sooner.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// A server that does not take a cancellation in this time will notice the closed connection.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// How long row work waits for a lock before it is busy.
pub(super) const LOCK_LIMIT: Duration = Duration::from_secs(2);

/// A connection that lay longer than this is asked whether it lives before it is lent.
const IDLE_TRUSTED: Duration = Duration::from_secs(1);

/// One for rows and one for a neighbour; more would only lie about.
const IDLE_MAX: usize = 2;

/// Set for the session; transactions set the first ones again for themselves.
const SETTINGS: &str = "SET search_path = pg_catalog, pg_temp; \
    SET statement_timeout = '30s'; SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '10s'; \
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'hex'; \
    SET extra_float_digits = 3; SET row_security = on";

/// PostgreSQL 14 and newer: a statement whose client is gone is stopped even when nobody cancels it.
const SETTINGS_14: &str = "SET client_connection_check_interval = '1s'";

/// The number of version 14, as the server counts.
const VERSION_14: u32 = 140_000;

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// The connections of one role.
pub(super) struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    options: PgConnectOptions,
    idle: Mutex<Vec<Live>>,
}

struct Live {
    connection: PgConnection,
    pid: i32,
    /// Tells this backend from a later one with the same number.
    started: DateTime<Utc>,
    used: Instant,
}

impl Sessions {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                idle: Mutex::default(),
            }),
        }
    }

    /// Lends a connection for an operation whose statements take `limit` at most.
    pub(super) async fn open(
        &self,
        operation: &'static str,
        limit: Duration,
    ) -> Result<Session, DatabaseError> {
        let doing = Doing { operation, limit };
        let idle = self
            .shared
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let live = match idle {
            Some(mut live) if live.used.elapsed() > IDLE_TRUSTED => {
                let lives = matches!(timeout(PING_LIMIT, live.connection.ping()).await, Ok(Ok(())));
                lives.then_some(live)
            }
            trusted => trusted,
        };
        let live = match live {
            Some(live) => live,
            None => timeout(CONNECT_LIMIT, connect(&self.shared.options))
                .await
                .map_err(|_| DatabaseError::Unreachable {
                    operation,
                    reason: no_answer(CONNECT_LIMIT),
                })?
                .map_err(|error| doing.postgres(&error))?,
        };
        Ok(Session {
            live: Some(live),
            shared: Arc::clone(&self.shared),
            doing,
        })
    }
}

async fn connect(options: &PgConnectOptions) -> Result<Live, sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    sqlx::raw_sql(SETTINGS).execute(&mut connection).await?;
    if connection.server_version_num() >= Some(VERSION_14) {
        sqlx::raw_sql(SETTINGS_14).execute(&mut connection).await?;
    }
    let who = Sql::new(
        "SELECT pid, backend_start FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())",
    );
    let row = who.postgres().fetch_one(&mut connection).await?;
    Ok(Live {
        pid: row.try_get(0)?,
        started: row.try_get(1)?,
        connection,
        used: Instant::now(),
    })
}

/// A connection during one operation. Dropped without [`Session::give_back`], its statement is cancelled.
pub(super) struct Session {
    live: Option<Live>,
    shared: Arc<Shared>,
    pub(super) doing: Doing,
}

impl Session {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self
            .live
            .as_mut()
            .expect("it is only taken when the session ends")
            .connection
    }

    /// The server's version as it counts: 150018.
    pub(super) fn version(&mut self) -> u32 {
        self.connection().server_version_num().unwrap_or_default()
    }

    /// Begins a transaction in which statements take the operation's limit at most, and wait `lock` for a lock.
    /// Dropping it rolls it back.
    pub(super) async fn begin(
        &mut self,
        access: Access,
        lock: Duration,
    ) -> Result<Transaction<'_, Postgres>, DatabaseError> {
        let doing = self.doing;
        let begin = match access {
            Access::Read => "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
            Access::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        let mut transaction = answer(doing, self.connection().begin_with(begin)).await?;
        let mut sql = Sql::new("SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)");
        sql.push(", pg_catalog.set_config('TimeZone', 'UTC', true), pg_catalog.set_config('DateStyle', 'ISO, YMD', true)");
        sql.push(", pg_catalog.set_config('statement_timeout', ")
            .bind(millis(doing.limit).as_str())
            .push(", true)");
        sql.push(", pg_catalog.set_config('lock_timeout', ")
            .bind(millis(lock).as_str())
            .push(", true)");
        execute(&mut transaction, sql, doing).await?;
        Ok(transaction)
    }

    pub(super) async fn all(&mut self, sql: Sql) -> Result<Vec<PgRow>, DatabaseError> {
        answer(self.doing, sql.postgres().fetch_all(self.connection())).await
    }

    pub(super) async fn optional(&mut self, sql: Sql) -> Result<Option<PgRow>, DatabaseError> {
        let doing = self.doing;
        optional(self.connection(), sql, doing).await
    }

    pub(super) async fn one(&mut self, sql: Sql) -> Result<PgRow, DatabaseError> {
        let doing = self.doing;
        one(self.connection(), sql, doing).await
    }

    pub(super) async fn execute(&mut self, sql: Sql) -> Result<u64, DatabaseError> {
        let doing = self.doing;
        execute(self.connection(), sql, doing).await
    }

    /// Ends the operation and passes its answer on. The connection is kept only after one that went well: any other may
    /// have a transaction open, whose locks would be held until the next operation comes, or has an answer still to come.
    pub(super) fn give_back<T>(mut self, answer: Result<T, DatabaseError>) -> Result<T, DatabaseError> {
        if let Some(mut live) = self.live.take()
            && answer.is_ok()
        {
            live.used = Instant::now();
            let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(live);
            }
        }
        answer
    }
}

/// As PostgreSQL's settings take it; 0 would mean no limit.
pub(super) fn millis(duration: Duration) -> String {
    format!(
        "{}ms",
        duration.as_millis().clamp(1, i32::MAX.unsigned_abs().into())
    )
}

fn no_answer(limit: Duration) -> String {
    format!("no answer in {} s", limit.as_secs())
}

/// Waits for what the server answers to one statement, and not for ever when it does not.
pub(super) async fn answer<T>(
    doing: Doing,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, DatabaseError> {
    let started = Instant::now();
    let limit = doing.limit.saturating_add(ANSWER_GRACE);
    timeout(limit, statement)
        .await
        .map_err(|_| DatabaseError::Unreachable {
            operation: doing.operation,
            reason: no_answer(limit),
        })?
        .map_err(|error| doing.postgres_after(&error, started.elapsed()))
}

/// Runs a statement and answers the rows it changed.
pub(super) async fn execute(
    connection: &mut PgConnection,
    sql: Sql,
    doing: Doing,
) -> Result<u64, DatabaseError> {
    let done = answer(doing, sql.postgres().execute(connection)).await?;
    Ok(done.rows_affected())
}

/// Runs a statement and answers its one row.
pub(super) async fn one(
    connection: &mut PgConnection,
    sql: Sql,
    doing: Doing,
) -> Result<PgRow, DatabaseError> {
    answer(doing, sql.postgres().fetch_one(connection)).await
}

/// Runs a statement and answers its row, if there is one.
pub(super) async fn optional(
    connection: &mut PgConnection,
    sql: Sql,
    doing: Doing,
) -> Result<Option<PgRow>, DatabaseError> {
    answer(doing, sql.postgres().fetch_optional(connection)).await
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let cancel = async move {
            let cancelled = timeout(CANCEL_LIMIT, cancel(&shared.options, &live)).await;
            if !matches!(cancelled, Ok(Ok(()))) {
                tracing::warn!(
                    pid = live.pid,
                    "could not cancel a statement; closing its connection"
                );
            }
            // Closed only now, so that the server cannot give the number to another backend before.
            drop(live);
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(cancel);
        } else {
            // Dropped outside of a runtime: a thread of its own, which ends with the cancellation.
            std::thread::spawn(|| {
                if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    runtime.block_on(cancel);
                }
            });
        }
    }
}

async fn cancel(options: &PgConnectOptions, live: &Live) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let mut sql = Sql::new("SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_get_activity(");
    sql.bind(i64::from(live.pid))
        .push("::integer) WHERE backend_start OPERATOR(pg_catalog.=) ");
    sql.bind(super::super::sql::Arg::Instant(Some(live.started)));
    sql.postgres().execute(&mut connection).await?;
    connection.close().await
}
