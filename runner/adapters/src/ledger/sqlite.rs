//! The default ledger: one SQLite file, in WAL mode, written through one connection.
//!
//! Not for network file systems, where WAL does not work, nor for Lambda, where the file is gone with the sandbox.
//! Whether the ledger is another program's database is asked before anything is written.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::name::{JobName, RunId};
use sereno_core::ports::ledger::{
    Flag, Held, Lease, Ledger, LedgerError, NewRun, RunQuery, RunRow, StoredEvent,
};
use sereno_core::report::{Measurement, Report};
use sereno_core::run::{RunEvent, RunState};
use sereno_core::value::Instant;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use super::ballast::Ballast;
use super::leases::{Decision, ScopeRow, decide, in_order, until};
use super::projection::{self, Change, state_of, state_text};
use super::{flag_text, from_json, instant, known, micros, parsed, prefix_end, to_json};

/// How long a statement waits for another process's transaction, which takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// `SERN`: marks the file as a ledger, so that no other database is taken for one.
const APPLICATION_ID: i64 = 0x5345_524e;

/// Each version's changes; the last statement of each raises `user_version`. Only ever append.
const VERSIONS: [&str; 1] = ["
CREATE TABLE run (
    ordinal      INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    key          TEXT NOT NULL,
    attempt      INTEGER NOT NULL,
    job          TEXT NOT NULL,
    targets      TEXT NOT NULL,
    shard        TEXT,
    mode         TEXT NOT NULL,
    reason       TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    consent      TEXT NOT NULL,
    digest       TEXT NOT NULL,
    state        TEXT NOT NULL,
    cursor       TEXT,
    started_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    outcome      TEXT,
    events       INTEGER NOT NULL,
    UNIQUE (key, attempt)
) STRICT;
CREATE INDEX run_by_job ON run (job, started_at);
CREATE INDEX run_by_time ON run (started_at);
CREATE INDEX run_running ON run (state) WHERE state = 'running';
CREATE TABLE event (
    run  TEXT NOT NULL REFERENCES run (id),
    seq  INTEGER NOT NULL,
    at   INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT;
CREATE TABLE lease (
    scope  TEXT PRIMARY KEY,
    holder TEXT,
    job    TEXT NOT NULL,
    token  INTEGER NOT NULL,
    until  INTEGER NOT NULL
) STRICT;
CREATE INDEX lease_by_holder ON lease (holder);
CREATE TABLE lease_lost (
    run   TEXT NOT NULL,
    scope TEXT NOT NULL,
    PRIMARY KEY (run, scope)
) STRICT, WITHOUT ROWID;
CREATE TABLE flag (
    subject   TEXT NOT NULL,
    flag      TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    PRIMARY KEY (subject, flag)
) STRICT, WITHOUT ROWID;
CREATE TABLE measurement (
    run    TEXT NOT NULL REFERENCES run (id),
    at     INTEGER NOT NULL,
    name   TEXT NOT NULL,
    target TEXT NOT NULL,
    value  REAL,
    unit   TEXT NOT NULL,
    note   TEXT
) STRICT;
CREATE INDEX measurement_by_name ON measurement (name, target, at);
PRAGMA application_id = 1397051982;
PRAGMA user_version = 1;
"];

/// The version that this program writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
const VERSION: i64 = VERSIONS.len() as i64;

/// Whose file it is, its version, and whether there is anything in it.
const INSPECT: &str = "
SELECT application_id, user_version, EXISTS (SELECT 1 FROM sqlite_schema)
FROM pragma_application_id, pragma_user_version";

/// Takes the write lock at once, so that a transaction waits for another before it has read anything.
const BEGIN: &str = "BEGIN IMMEDIATE";

const START_RUN: &str = "
INSERT INTO run (id, key, attempt, job, targets, shard, mode, reason, scheduled_at, consent, digest, state, cursor,
                 started_at, events)
SELECT ?1, ?2, coalesce(max(attempt), 0) + 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1
FROM run WHERE key = ?2
RETURNING attempt";

const START_EVENT: &str = "INSERT INTO event (run, seq, at, kind, body) VALUES (?1, 1, ?2, 'started', ?3)";

const APPEND_RUN: &str = "
UPDATE run
SET events = events + ?2, state = ?3, cursor = coalesce(?4, cursor), ended_at = ?5, outcome = ?6
WHERE id = ?1 AND state = 'running'
RETURNING events";

/// All events in one statement; each is a text of its own, so that its bytes stay as they are.
const APPEND_EVENTS: &str = "
INSERT INTO event (run, seq, at, kind, body)
SELECT ?1, ?2 + key, ?3, value ->> 'kind', value FROM json_each(?4)";

const FORGET_LOST: &str = "DELETE FROM lease_lost WHERE run = ?1";

macro_rules! run_columns {
    () => {
        "id, key, attempt, job, targets, shard, mode, reason, scheduled_at, consent, digest, state, cursor, \
         started_at, ended_at, outcome"
    };
}

const RUN_BY_PREFIX: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", count(*) OVER () FROM run WHERE id >= ?1 AND id < ?2 LIMIT 1"
);

const RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM run WHERE (?1 IS NULL OR job = ?1) AND (?2 IS NULL OR key = ?2) AND (NOT ?3 OR state = 'running') \
     ORDER BY started_at DESC, ordinal DESC LIMIT ?4"
);

const RUNS_BY_KEY: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM run WHERE key = ?2 AND (?1 IS NULL OR job = ?1) AND (NOT ?3 OR state = 'running') \
     ORDER BY started_at DESC, ordinal DESC LIMIT ?4"
);

const ORPHANS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM run WHERE state = 'running' \
     AND NOT EXISTS (SELECT 1 FROM lease WHERE holder = run.id AND until > ?1) ORDER BY ordinal"
);

const RUN_STATE: &str = "SELECT state FROM run WHERE id = ?1";

const EVENTS: &str = "SELECT seq, at, body FROM event WHERE run = ?1 ORDER BY seq";

const LAST_EVENT: &str = "SELECT body FROM event WHERE run = ?1 ORDER BY seq DESC LIMIT 1";

const SCOPES: &str = "
SELECT scope, holder, job, token, until FROM lease WHERE scope IN (SELECT value FROM json_each(?1)) ORDER BY scope";

const TAKE_SCOPES: &str = "
INSERT INTO lease (scope, holder, job, token, until)
SELECT value ->> 'scope', ?2, ?3, value ->> 'token', ?4 FROM json_each(?1) WHERE true
ON CONFLICT (scope) DO UPDATE
SET holder = excluded.holder, job = excluded.job, token = excluded.token, until = excluded.until";

const LOSE_SCOPE: &str = "INSERT OR IGNORE INTO lease_lost (run, scope) VALUES (?1, ?2)";

const RENEW: &str = "
UPDATE lease SET until = ?2 WHERE holder = ?1
RETURNING (SELECT count(*) FROM lease_lost WHERE run = ?1)";

const RELEASE: &str = "UPDATE lease SET holder = NULL WHERE holder = ?1";

const RAISE_FLAG: &str =
    "INSERT INTO flag (subject, flag, raised_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";

const LOWER_FLAG: &str = "DELETE FROM flag WHERE subject = ?1 AND flag = ?2";

const FLAG: &str =
    "SELECT EXISTS (SELECT 1 FROM flag WHERE flag = ?2 AND subject IN (SELECT value FROM json_each(?1)))";

const MEASURE: &str = "
INSERT INTO measurement (run, at, name, target, value, unit, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// See the module.
#[derive(Debug)]
pub struct SqliteLedger {
    options: SqliteConnectOptions,
    /// None for a ledger in memory, whose connection must not be given up.
    ballast: Option<Ballast>,
    /// None after a fault that may have left the connection in the middle of something: the next use makes another.
    connection: Mutex<Option<SqliteConnection>>,
}

/// Runs `$attempt`; when the disk is full, once more without the ballast.
macro_rules! with_ballast {
    ($self:ident, $attempt:expr) => {{
        let result = match $attempt.await {
            Err(LedgerError::Full(_)) if $self.ballast.as_ref().is_some_and(Ballast::release) => {
                $attempt.await
            }
            result => result,
        };
        if let (Some(ballast), Ok(_)) = (&$self.ballast, &result) {
            ballast.restore();
        }
        result
    }};
}

impl SqliteLedger {
    /// Opens `sqlite://path` or `sqlite::memory:`, and creates the file and its folder when they are missing.
    pub async fn open(url: &str, folder: &Path) -> Result<Self, LedgerError> {
        const OPERATION: &str = "open it";
        let mut options = SqliteConnectOptions::from_str(url)
            .map_err(|error| LedgerError::Unreachable {
                operation: OPERATION,
                reason: error.to_string(),
            })?
            .disable_statement_logging()
            .busy_timeout(BUSY_TIMEOUT);
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        let ledger = if in_memory {
            Self {
                options,
                ballast: None,
                connection: Mutex::new(None),
            }
        } else {
            let path = folder.join(options.get_filename());
            create_folder(&path)?;
            options = options
                .filename(&path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Normal);
            Self {
                options,
                ballast: Some(Ballast::beside(&path)),
                connection: Mutex::new(None),
            }
        };
        with_ballast!(ledger, ledger.try_migrate())?;
        Ok(ledger)
    }

    /// The connection, made again if an earlier fault took it away.
    async fn connection(
        &self,
        operation: &'static str,
    ) -> Result<MutexGuard<'_, Option<SqliteConnection>>, LedgerError> {
        let mut guard = self.connection.lock().await;
        if guard.is_none() {
            *guard = Some(self.connect(operation).await?);
        }
        Ok(guard)
    }

    /// Two processes that make the file at once may meet while one switches it to WAL, and SQLite does not wait for
    /// that by itself.
    async fn connect(&self, operation: &'static str) -> Result<SqliteConnection, LedgerError> {
        const PAUSE: Duration = Duration::from_millis(10);
        let mut left = BUSY_TIMEOUT;
        loop {
            match self.options.connect().await {
                Err(error) if is_busy(&error) && !left.is_zero() => {
                    tokio::time::sleep(PAUSE).await;
                    left = left.saturating_sub(PAUSE);
                }
                result => return result.map_err(|error| fault(operation, &error)),
            }
        }
    }

    /// Gives a connection up that met a fault: SQLite may have ended its transaction or not.
    async fn failed<T>(
        &self,
        connection: &mut Option<SqliteConnection>,
        operation: &'static str,
        error: sqlx::Error,
    ) -> Result<T, LedgerError> {
        if self.ballast.is_some()
            && let Some(connection) = connection.take()
        {
            // Waiting for its end keeps it from getting in the way of the next one; its own words matter no more.
            let _ = connection.close().await;
        }
        Err(fault(operation, &error))
    }

    async fn try_migrate(&self) -> Result<(), LedgerError> {
        const OPERATION: &str = "open it";
        let mut guard = self.connection(OPERATION).await?;
        let connection = guard.as_mut().expect("it was just made");
        match migrate(connection).await {
            Ok(Found::Known) => Ok(()),
            Ok(Found::Newer(found)) => Err(LedgerError::TooNew {
                found,
                known: VERSION,
            }),
            Ok(Found::Foreign) => Err(LedgerError::Fault {
                operation: OPERATION,
                reason: "the file is another program's database; give the ledger a file of its own"
                    .to_owned(),
            }),
            Err(error) => self.failed(&mut guard, OPERATION, error).await,
        }
    }

    async fn try_start(&self, run: &NewRun) -> Result<RunRow, LedgerError> {
        const OPERATION: &str = "start a run";
        let (mut row, event) = projection::started(run);
        let mut guard = self.connection(OPERATION).await?;
        let connection = guard.as_mut().expect("it was just made");
        match start(connection, &row, &to_json(&event)).await {
            Ok(attempt) => {
                row.attempt = attempt;
                Ok(row)
            }
            Err(error) => self.failed(&mut guard, OPERATION, error).await,
        }
    }

    async fn try_append(&self, run: &RunId, at: Instant, events: &[RunEvent]) -> Result<(), LedgerError> {
        const OPERATION: &str = "append events";
        // Only a running run takes events; what else there is to say about another is found out afterwards.
        let change = projection::change(run, RunState::Running, events);
        let mut guard = self.connection(OPERATION).await?;
        let connection = guard.as_mut().expect("it was just made");
        let appended = match &change {
            Ok(change) => append(connection, run, at, change, events).await,
            Err(_) => Ok(false),
        };
        match appended {
            Ok(true) => Ok(()),
            Ok(false) => match state(connection, run).await {
                Ok(None) => Err(LedgerError::NoRun(run.to_string())),
                Ok(Some(state)) => projection::change(run, state, events).map(|_| ()),
                Err(error) => self.failed(&mut guard, OPERATION, error).await,
            },
            Err(error) => self.failed(&mut guard, OPERATION, error).await,
        }
    }

    async fn try_lease(
        &self,
        run: &RunId,
        job: &JobName,
        scopes: &[String],
        now: Instant,
        ttl: Duration,
    ) -> Result<Result<Vec<Lease>, Vec<Held>>, LedgerError> {
        const OPERATION: &str = "take leases";
        let mut guard = self.connection(OPERATION).await?;
        let connection = guard.as_mut().expect("it was just made");
        match lease(connection, run, job, scopes, now, ttl).await {
            Ok(answer) => Ok(answer),
            Err(error) => self.failed(&mut guard, OPERATION, error).await,
        }
    }

    async fn try_measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError> {
        const OPERATION: &str = "keep measurements";
        let mut guard = self.connection(OPERATION).await?;
        let connection = guard.as_mut().expect("it was just made");
        match measure(connection, run, at, measurements).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(LedgerError::NoRun(run.to_string())),
            Err(error) => self.failed(&mut guard, OPERATION, error).await,
        }
    }
}

/// Runs one statement or query on the ledger's connection.
macro_rules! on_connection {
    ($self:ident, $operation:expr, |$connection:ident| $query:expr) => {{
        let mut guard = $self.connection($operation).await?;
        let $connection = guard.as_mut().expect("it was just made");
        match $query.await {
            Ok(answer) => Ok(answer),
            Err(error) => $self.failed(&mut guard, $operation, error).await,
        }
    }};
}

impl SqliteLedger {
    async fn try_renew(&self, run: &RunId, now: Instant, ttl: Duration) -> Result<bool, LedgerError> {
        let lost: Vec<i64> = on_connection!(self, "renew leases", |connection| sqlx::query_scalar(RENEW)
            .bind(run.as_str())
            .bind(micros(until(now, ttl)))
            .fetch_all(connection))?;
        Ok(lost.first() == Some(&0))
    }

    async fn try_release(&self, run: &RunId) -> Result<(), LedgerError> {
        const OPERATION: &str = "give leases back";
        on_connection!(self, OPERATION, |connection| sqlx::query(RELEASE)
            .bind(run.as_str())
            .execute(connection))?;
        on_connection!(self, OPERATION, |connection| sqlx::query(FORGET_LOST)
            .bind(run.as_str())
            .execute(connection))?;
        Ok(())
    }

    async fn try_set_flag(
        &self,
        on: &str,
        flag: Flag,
        raised: bool,
        now: Instant,
    ) -> Result<(), LedgerError> {
        let statement = if raised { RAISE_FLAG } else { LOWER_FLAG };
        let query = || {
            let query = sqlx::query(statement).bind(on).bind(flag_text(flag));
            if raised { query.bind(micros(now)) } else { query }
        };
        on_connection!(self, "set a flag", |connection| query().execute(connection))?;
        Ok(())
    }

    async fn rows(&self, operation: &'static str, query: &RunQuery) -> Result<Vec<RunRow>, LedgerError> {
        // A key has few attempts, and its index finds them; the planner would not use it through the `OR`.
        let statement = if query.key.is_some() { RUNS_BY_KEY } else { RUNS };
        let limit = if query.limit == 0 {
            -1
        } else {
            i64::from(query.limit)
        };
        let rows: Vec<SqliteRow> = on_connection!(self, operation, |connection| sqlx::query(statement)
            .bind(query.job.as_ref().map(JobName::as_str))
            .bind(query.key.as_deref())
            .bind(query.running)
            .bind(limit)
            .fetch_all(connection))?;
        rows.iter()
            .map(run_row)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(operation, &error))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn start(&self, run: NewRun) -> Result<RunRow, LedgerError> {
        with_ballast!(self, self.try_start(&run))
    }

    async fn append(&self, run: &RunId, at: Instant, events: &[RunEvent]) -> Result<(), LedgerError> {
        with_ballast!(self, self.try_append(run, at, events))
    }

    async fn run(&self, id: &str) -> Result<RunRow, LedgerError> {
        const OPERATION: &str = "find a run";
        let found = on_connection!(self, OPERATION, |connection| sqlx::query(RUN_BY_PREFIX)
            .bind(id)
            .bind(prefix_end(id))
            .fetch_optional(connection))?;
        let Some(row) = found.filter(|_| !id.is_empty()) else {
            return Err(LedgerError::NoRun(id.to_owned()));
        };
        let count: i64 = row.try_get(16).map_err(|error| fault(OPERATION, &error))?;
        if count > 1 {
            let count = count.try_into().unwrap_or(usize::MAX);
            return Err(LedgerError::Ambiguous {
                text: id.to_owned(),
                count,
            });
        }
        run_row(&row).map_err(|error| fault(OPERATION, &error))
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, LedgerError> {
        self.rows("list runs", query).await
    }

    async fn events(&self, run: &RunId) -> Result<Vec<StoredEvent>, LedgerError> {
        const OPERATION: &str = "read events";
        let rows: Vec<(i64, i64, String)> =
            on_connection!(self, OPERATION, |connection| sqlx::query_as(EVENTS)
                .bind(run.as_str())
                .fetch_all(connection))?;
        if rows.is_empty() {
            return Err(LedgerError::NoRun(run.to_string()));
        }
        let stored = |(seq, at, body): (i64, i64, String)| {
            let seq = u64::try_from(seq).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            Ok(StoredEvent {
                seq,
                at: instant(at)?,
                event: from_json(&body)?,
            })
        };
        rows.into_iter()
            .map(stored)
            .collect::<Result<_, sqlx::Error>>()
            .map_err(|error| fault(OPERATION, &error))
    }

    async fn report(&self, run: &RunId) -> Result<Option<Report>, LedgerError> {
        const OPERATION: &str = "read a report";
        let last: Option<String> =
            on_connection!(self, OPERATION, |connection| sqlx::query_scalar(LAST_EVENT)
                .bind(run.as_str())
                .fetch_optional(connection))?;
        let last = last.ok_or_else(|| LedgerError::NoRun(run.to_string()))?;
        match from_json(&last).map_err(|error| fault(OPERATION, &error))? {
            RunEvent::Ended { report } | RunEvent::Rescued { report } => Ok(Some(*report)),
            _ => Ok(None),
        }
    }

    async fn lease(
        &self,
        run: &RunId,
        job: &JobName,
        scopes: &[String],
        now: Instant,
        ttl: Duration,
    ) -> Result<Result<Vec<Lease>, Vec<Held>>, LedgerError> {
        let scopes = in_order(scopes);
        with_ballast!(self, self.try_lease(run, job, &scopes, now, ttl))
    }

    async fn renew(&self, run: &RunId, now: Instant, ttl: Duration) -> Result<bool, LedgerError> {
        with_ballast!(self, self.try_renew(run, now, ttl))
    }

    async fn release(&self, run: &RunId) -> Result<(), LedgerError> {
        with_ballast!(self, self.try_release(run))
    }

    async fn orphans(&self, now: Instant) -> Result<Vec<RunRow>, LedgerError> {
        const OPERATION: &str = "look for lost runs";
        let rows: Vec<SqliteRow> = on_connection!(self, OPERATION, |connection| sqlx::query(ORPHANS)
            .bind(micros(now))
            .fetch_all(connection))?;
        rows.iter()
            .map(run_row)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(OPERATION, &error))
    }

    async fn set_flag(&self, on: &str, flag: Flag, raised: bool, now: Instant) -> Result<(), LedgerError> {
        with_ballast!(self, self.try_set_flag(on, flag, raised, now))
    }

    async fn flag(&self, on: &[&str], flag: Flag) -> Result<bool, LedgerError> {
        on_connection!(self, "read flags", |connection| sqlx::query_scalar(FLAG)
            .bind(to_json(&on))
            .bind(flag_text(flag))
            .fetch_one(connection))
    }

    async fn measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError> {
        with_ballast!(self, self.try_measure(run, at, measurements))
    }
}

/// What an opened file turned out to be.
enum Found {
    /// A ledger of this version, by now.
    Known,
    /// A ledger of a later version.
    Newer(i64),
    /// Not ours.
    Foreign,
}

async fn migrate(connection: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    match inspect(connection).await? {
        Ok(VERSION) => return Ok(Found::Known),
        Ok(_) => {}
        Err(found) => return Ok(found),
    }
    // Another process may have been quicker, so what counts is what is there under the write lock.
    let mut transaction = connection.begin_with(BEGIN).await?;
    let version = match inspect(&mut transaction).await? {
        Ok(version) => version,
        Err(found) => return Ok(found),
    };
    for statements in VERSIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        sqlx::raw_sql(*statements).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Found::Known)
}

async fn inspect(connection: &mut SqliteConnection) -> Result<Result<i64, Found>, sqlx::Error> {
    let (application, version, used): (i64, i64, bool) =
        sqlx::query_as(INSPECT).fetch_one(connection).await?;
    Ok(match (application, version, used) {
        (APPLICATION_ID, version, _) if version > VERSION => Err(Found::Newer(version)),
        (APPLICATION_ID, version, _) => Ok(version),
        (0, 0, false) => Ok(0),
        _ => Err(Found::Foreign),
    })
}

async fn start(connection: &mut SqliteConnection, row: &RunRow, event: &str) -> Result<u32, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let attempt: u32 = sqlx::query_scalar(START_RUN)
        .bind(row.id.as_str())
        .bind(&row.key)
        .bind(row.job.as_str())
        .bind(to_json(&row.targets))
        .bind(&row.shard)
        .bind(row.mode.to_string())
        .bind(to_json(&row.reason))
        .bind(micros(row.scheduled_at))
        .bind(&row.consent)
        .bind(&row.digest)
        .bind(state_text(row.state))
        .bind(&row.cursor)
        .bind(micros(row.started_at))
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query(START_EVENT)
        .bind(row.id.as_str())
        .bind(micros(row.started_at))
        .bind(event)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(attempt)
}

/// False when the run is not running, and then nothing was appended.
async fn append(
    connection: &mut SqliteConnection,
    run: &RunId,
    at: Instant,
    change: &Change,
    events: &[RunEvent],
) -> Result<bool, sqlx::Error> {
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let bodies: Vec<String> = events.iter().map(to_json).collect();
    let mut transaction = connection.begin_with(BEGIN).await?;
    let total: Option<i64> = sqlx::query_scalar(APPEND_RUN)
        .bind(run.as_str())
        .bind(count)
        .bind(state_text(change.state))
        .bind(&change.cursor)
        .bind(change.ended.as_ref().map(|(at, _)| micros(*at)))
        .bind(change.ended.as_ref().map(|(_, outcome)| outcome))
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(total) = total else {
        transaction.rollback().await?;
        return Ok(false);
    };
    sqlx::query(APPEND_EVENTS)
        .bind(run.as_str())
        .bind(total - count + 1)
        .bind(micros(at))
        .bind(to_json(&bodies))
        .execute(&mut *transaction)
        .await?;
    if change.state == RunState::Ended {
        sqlx::query(FORGET_LOST)
            .bind(run.as_str())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

async fn state(connection: &mut SqliteConnection, run: &RunId) -> Result<Option<RunState>, sqlx::Error> {
    let state: Option<String> = sqlx::query_scalar(RUN_STATE)
        .bind(run.as_str())
        .fetch_optional(connection)
        .await?;
    state.map(|state| state_of(&state)).transpose()
}

async fn lease(
    connection: &mut SqliteConnection,
    run: &RunId,
    job: &JobName,
    scopes: &[String],
    now: Instant,
    ttl: Duration,
) -> Result<Result<Vec<Lease>, Vec<Held>>, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let rows = sqlx::query(SCOPES)
        .bind(to_json(&scopes))
        .fetch_all(&mut *transaction)
        .await?;
    let found = rows.iter().map(scope_row).collect::<Result<Vec<_>, _>>()?;
    let (leases, lost) = match decide(&found, run, scopes, now, ttl) {
        Decision::Held(held) => {
            transaction.rollback().await?;
            return Ok(Err(held));
        }
        Decision::Take { leases, lost } => (leases, lost),
    };
    let taken: Vec<_> = leases
        .iter()
        .map(|lease| serde_json::json!({ "scope": lease.scope, "token": lease.token }))
        .collect();
    sqlx::query(TAKE_SCOPES)
        .bind(to_json(&taken))
        .bind(run.as_str())
        .bind(job.as_str())
        .bind(micros(until(now, ttl)))
        .execute(&mut *transaction)
        .await?;
    for (loser, scope) in lost {
        sqlx::query(LOSE_SCOPE)
            .bind(loser.as_str())
            .bind(scope)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(Ok(leases))
}

/// False when there is no such run.
async fn measure(
    connection: &mut SqliteConnection,
    run: &RunId,
    at: Instant,
    measurements: &[Measurement],
) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    if state(&mut transaction, run).await?.is_none() {
        transaction.rollback().await?;
        return Ok(false);
    }
    for measurement in measurements {
        sqlx::query(MEASURE)
            .bind(run.as_str())
            .bind(micros(at))
            .bind(&measurement.name)
            .bind(&measurement.target)
            .bind(known(measurement.value))
            .bind(&measurement.unit)
            .bind(&measurement.note)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

fn run_row(row: &SqliteRow) -> Result<RunRow, sqlx::Error> {
    let text = |column| row.try_get::<&str, _>(column);
    let time = |column| row.try_get(column).and_then(instant);
    let ended_at: Option<i64> = row.try_get("ended_at")?;
    Ok(RunRow {
        id: parsed(text("id")?)?,
        key: row.try_get("key")?,
        attempt: row.try_get("attempt")?,
        job: parsed(text("job")?)?,
        targets: from_json(text("targets")?)?,
        shard: row.try_get("shard")?,
        mode: super::mode_of(text("mode")?)?,
        reason: from_json(text("reason")?)?,
        scheduled_at: time("scheduled_at")?,
        consent: row.try_get("consent")?,
        digest: row.try_get("digest")?,
        state: state_of(text("state")?)?,
        cursor: row.try_get("cursor")?,
        started_at: time("started_at")?,
        ended_at: ended_at.map(instant).transpose()?,
        outcome: row.try_get("outcome")?,
    })
}

fn scope_row(row: &SqliteRow) -> Result<ScopeRow, sqlx::Error> {
    let holder: Option<&str> = row.try_get("holder")?;
    Ok(ScopeRow {
        scope: row.try_get("scope")?,
        holder: holder.map(parsed).transpose()?,
        job: parsed(row.try_get("job")?)?,
        token: row.try_get("token")?,
        until: row.try_get("until").and_then(instant)?,
    })
}

fn create_folder(path: &Path) -> Result<(), LedgerError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| LedgerError::Unreachable {
        operation: "create its folder",
        reason: format!("{}: {error}", folder.display()),
    })
}

/// SQLite's primary result codes.
const SQLITE_BUSY: i32 = 5;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;

/// Extended codes that a full disk or an exhausted quota shows itself as, where it is not `SQLITE_FULL`.
const SQLITE_IOERR_WRITE: i32 = 778;
const SQLITE_IOERR_SHMSIZE: i32 = 4874;

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

fn is_busy(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

fn fault(operation: &'static str, error: &sqlx::Error) -> LedgerError {
    let reason = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        _ => error.to_string(),
    };
    match code(error) {
        Some(SQLITE_IOERR_WRITE | SQLITE_IOERR_SHMSIZE) => LedgerError::Full(reason),
        Some(code) if code & 0xff == SQLITE_FULL => LedgerError::Full(reason),
        Some(code) if matches!(code & 0xff, SQLITE_BUSY | SQLITE_CANTOPEN) => {
            LedgerError::Unreachable { operation, reason }
        }
        _ => LedgerError::Fault { operation, reason },
    }
}
