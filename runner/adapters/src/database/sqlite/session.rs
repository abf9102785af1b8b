//! The one connection, lent to one operation at a time, with a deadline and a way to interrupt it.
//!
//! It knows no table. Waiting for another process's write lock is not interrupted, but it ends by itself soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sereno_core::ports::database::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use super::super::fault::Doing;
use super::super::sql::Sql;

/// Steps of SQLite's virtual machine between two looks at the flag: some microseconds, and no cost that shows.
const STEPS_PER_LOOK: i32 = 1_000;

/// What an operation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Tells the running statement to stop.
#[derive(Debug)]
struct Interrupt {
    started: Instant,
    dropped: AtomicBool,
    deadline_ms: AtomicU64,
}

impl Interrupt {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn may_go_on(&self) -> bool {
        !self.dropped.load(Ordering::Acquire) && self.elapsed_ms() < self.deadline_ms.load(Ordering::Acquire)
    }
}

/// Where the connection waits between operations.
pub(super) struct Sessions {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
    interrupt: Arc<Interrupt>,
}

impl Sessions {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        let interrupt = Interrupt {
            started: Instant::now(),
            dropped: AtomicBool::new(false),
            deadline_ms: AtomicU64::new(0),
        };
        Self {
            options,
            connection: Mutex::new(None),
            interrupt: Arc::new(interrupt),
        }
    }

    /// Waits for the connection, opens it at the first call, and gives the operation `limit`.
    pub(super) async fn open(
        &self,
        operation: &'static str,
        access: Access,
        limit: Duration,
    ) -> Result<Session<'_>, DatabaseError> {
        let doing = Doing { operation, limit };
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_mut() {
            // The worker answers after it has interrupted and rolled back what a dropped future left. Of a transaction that
            // SQLite itself has rolled back (it was interrupted, the disk is full) sqlx still believes that it is open.
            if connection.ping().await.is_err() || connection.is_in_transaction() {
                *slot = None;
            }
        }
        self.interrupt.dropped.store(false, Ordering::Release);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.interrupt.deadline_ms.store(
            self.interrupt.elapsed_ms().saturating_add(limit_ms),
            Ordering::Release,
        );
        if slot.is_none() {
            let mut connection = SqliteConnection::connect_with(&self.options)
                .await
                .map_err(|error| doing.sqlite(&error))?;
            let interrupt = Arc::clone(&self.interrupt);
            connection
                .lock_handle()
                .await
                .map_err(|error| doing.sqlite(&error))?
                .set_progress_handler(STEPS_PER_LOOK, move || interrupt.may_go_on());
            *slot = Some(connection);
        }
        let mut session = Session {
            slot,
            interrupt: Arc::clone(&self.interrupt),
            doing,
        };
        session
            .execute(Sql::new(match access {
                Access::Read => "PRAGMA query_only = ON",
                Access::Write => "PRAGMA query_only = OFF",
            }))
            .await?;
        Ok(session)
    }
}

/// The connection during one operation.
pub(super) struct Session<'a> {
    slot: MutexGuard<'a, Option<SqliteConnection>>,
    interrupt: Arc<Interrupt>,
    pub(super) doing: Doing,
}

impl Session<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        self.slot
            .as_mut()
            .expect("a session is only made around an open connection")
    }

    /// Becomes the writer, or is busy after the busy timeout. Dropping the transaction rolls it back.
    pub(super) async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>, DatabaseError> {
        let doing = self.doing;
        self.connection()
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(|error| doing.sqlite(&error))
    }

    pub(super) async fn execute(&mut self, sql: Sql) -> Result<u64, DatabaseError> {
        let doing = self.doing;
        execute(self.connection(), sql)
            .await
            .map_err(|error| doing.sqlite(&error))
    }

    pub(super) async fn all(&mut self, sql: Sql) -> Result<Vec<SqliteRow>, DatabaseError> {
        let doing = self.doing;
        sql.sqlite()
            .fetch_all(self.connection())
            .await
            .map_err(|error| doing.sqlite(&error))
    }

    pub(super) async fn optional(&mut self, sql: Sql) -> Result<Option<SqliteRow>, DatabaseError> {
        let doing = self.doing;
        sql.sqlite()
            .fetch_optional(self.connection())
            .await
            .map_err(|error| doing.sqlite(&error))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // Harmless when the operation has ended: the next one resets it.
        self.interrupt.dropped.store(true, Ordering::Release);
    }
}

/// Runs a statement and answers the rows it changed.
pub(super) async fn execute(connection: &mut SqliteConnection, sql: Sql) -> Result<u64, sqlx::Error> {
    Ok(sql.sqlite().execute(connection).await?.rows_affected())
}
