//! The default ledger: one SQLite file, in WAL mode, written through one connection.
//!
//! Not for network file systems, where WAL does not work, nor for Lambda, where the file is gone with the sandbox.
//! Whether the ledger is another program's database is asked before anything is written.
//!
//! SQLite runs on a thread of its own, and waking it costs more than most statements do. So an operation is one
//! text of several statements, its transaction included, wherever it need not look at something in between.

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

mod fault;
mod orders;
mod schema;
mod sql;
mod watch;

use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::{
    Flag, Lease, Ledger, LedgerError, NewRun, Old, Past, RunQuery, RunRow, Start, StoredEvent,
};
use sereno_core::report::{Measurement, Report};
use sereno_core::run::{RunEvent, RunState, Work};
use sereno_core::value::Instant;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use self::fault::{fault, is_busy};
use self::schema::{Found, VERSION, migrate};
use super::ballast::Ballast;
use super::leases::{Decision, ScopeRow, decide, in_order, take_over, until};
use super::projection::{self, state_of, state_text};
use super::{flag_text, from_json, instant, known, micros, parsed, prefix_end, to_json};

/// How long a statement waits for another process's transaction, which takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// See the module.
#[derive(Debug)]
pub struct SqliteLedger {
    options: SqliteConnectOptions,
    /// None in memory.
    ballast: Option<Ballast>,
    /// None at first and after a fault or a cancellation: the next operation makes another.
    connection: Mutex<Option<SqliteConnection>>,
    /// In memory, what keeps the database when the other connection is made anew.
    _anchor: Option<Mutex<SqliteConnection>>,
}

/// One operation's hold of the connection. Unless it is given back, the connection is closed, and whatever
/// transaction was open is rolled back: so it goes when a future is dropped in the middle of an operation.
struct Turn<'a> {
    place: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Turn<'_> {
    fn give_back(mut self) {
        *self.place = Some(self.connection);
    }

    /// After a fault SQLite may have ended the transaction or not. Waiting until the connection is closed keeps it
    /// from getting in the way of the next one; what it says to that matters no more.
    async fn give_up(self, operation: &'static str, error: sqlx::Error) -> LedgerError {
        let _ = self.connection.close().await;
        fault(operation, &error)
    }
}

impl SqliteLedger {
    /// Opens `sqlite://path` or `sqlite::memory:`, and creates the file and its folder when they are missing.
    pub async fn open(url: &str, folder: &Path) -> Result<Self, LedgerError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| fault(OPEN, &error))?
            .disable_statement_logging()
            .busy_timeout(BUSY_TIMEOUT);
        let ledger = if url.ends_with(":memory:") {
            Self::in_memory(options).await?
        } else {
            let path = folder.join(options.get_filename());
            create_folder(&path)?;
            Self {
                options: options
                    .filename(&path)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Normal),
                ballast: Some(Ballast::beside(&path)),
                connection: Mutex::default(),
                _anchor: None,
            }
        };
        with_ballast!(ledger, ledger.migrate())?;
        Ok(ledger)
    }

    async fn in_memory(options: SqliteConnectOptions) -> Result<Self, LedgerError> {
        // A name that starts with `/` is one database for all connections of the process.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("/sereno-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let options = options
            .in_memory(false)
            .shared_cache(false)
            .create_if_missing(true)
            .filename(name)
            .vfs("memdb");
        let anchor = options.connect().await.map_err(|error| fault(OPEN, &error))?;
        let (connection, anchor) = (Mutex::default(), Some(Mutex::new(anchor)));
        Ok(Self {
            options,
            ballast: None,
            connection,
            _anchor: anchor,
        })
    }

    async fn turn(&self, operation: &'static str) -> Result<Turn<'_>, LedgerError> {
        let mut place = self.connection.lock().await;
        let connection = match place.take() {
            Some(connection) => connection,
            None => self.connect().await.map_err(|error| fault(operation, &error))?,
        };
        Ok(Turn { place, connection })
    }

    /// Two processes that make the file at once may meet while one switches it to WAL, and SQLite does not wait for
    /// that by itself.
    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        const PAUSE: Duration = Duration::from_millis(10);
        let mut left = BUSY_TIMEOUT;
        loop {
            match self.options.connect().await {
                Err(error) if is_busy(&error) && !left.is_zero() => {
                    tokio::time::sleep(PAUSE).await;
                    left = left.saturating_sub(PAUSE);
                }
                result => return result,
            }
        }
    }

    /// Runs a text to its end, and answers all rows of all its statements.
    async fn execute(
        &self,
        operation: &'static str,
        statement: Statement<'_>,
    ) -> Result<Vec<SqliteRow>, LedgerError> {
        let mut turn = self.turn(operation).await?;
        match statement.fetch_all(&mut turn.connection).await {
            Ok(rows) => {
                turn.give_back();
                Ok(rows)
            }
            Err(error) => Err(turn.give_up(operation, error).await),
        }
    }

    async fn migrate(&self) -> Result<(), LedgerError> {
        let mut turn = self.turn(OPEN).await?;
        let found = match migrate(&mut turn.connection).await {
            Ok(found) => found,
            Err(error) => return Err(turn.give_up(OPEN, error).await),
        };
        match found {
            Found::Known => {
                turn.give_back();
                Ok(())
            }
            Found::Newer(found) => Err(LedgerError::TooNew {
                found,
                known: VERSION,
            }),
            Found::Foreign => Err(LedgerError::Fault {
                operation: OPEN,
                reason: "the file is another program's database; give the ledger a file of its own"
                    .to_owned(),
            }),
        }
    }

    async fn try_start(
        &self,
        row: &RunRow,
        event: &str,
        scopes: &[String],
        ttl: Duration,
    ) -> Result<Start, LedgerError> {
        const OPERATION: &str = "start a run";
        let mut turn = self.turn(OPERATION).await?;
        match start(&mut turn.connection, row, event, scopes, ttl).await {
            Ok(answer) => {
                turn.give_back();
                Ok(answer)
            }
            Err(error) => Err(turn.give_up(OPERATION, error).await),
        }
    }

    async fn try_take_over(
        &self,
        orphan: &RunId,
        now: Instant,
        ttl: Duration,
    ) -> Result<Option<Vec<Lease>>, LedgerError> {
        const OPERATION: &str = "take a lost run over";
        let mut turn = self.turn(OPERATION).await?;
        match take_over_orphan(&mut turn.connection, orphan, now, ttl).await {
            Ok(answer) => {
                turn.give_back();
                Ok(answer)
            }
            Err(error) => Err(turn.give_up(OPERATION, error).await),
        }
    }

    async fn try_measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError> {
        const OPERATION: &str = "keep measurements";
        let mut turn = self.turn(OPERATION).await?;
        match measure(&mut turn.connection, run, at, measurements).await {
            Ok(()) => {
                turn.give_back();
                Ok(())
            }
            Err(error) => Err(turn.give_up(OPERATION, error).await),
        }
    }

    async fn state(&self, operation: &'static str, run: &RunId) -> Result<RunState, LedgerError> {
        let rows = self
            .execute(operation, sqlx::query(sql::RUN_STATE).bind(run.as_str()))
            .await?;
        let row = rows.first().ok_or_else(|| LedgerError::NoRun(run.to_string()))?;
        row.try_get(0)
            .and_then(state_of)
            .map_err(|error| fault(operation, &error))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn start(&self, run: NewRun, scopes: &[String], ttl: Duration) -> Result<Start, LedgerError> {
        let (row, event) = projection::started(&run);
        let (event, scopes) = (to_json(&event), in_order(scopes));
        with_ballast!(self, self.try_start(&row, &event, &scopes, ttl))
    }

    async fn append(&self, run: &RunId, at: Instant, events: &[RunEvent]) -> Result<(), LedgerError> {
        const OPERATION: &str = "append events";
        // Only a running run takes events; what else there is to say about another is found out afterwards.
        if let Ok(change) = projection::change(run, RunState::Running, events) {
            let bodies: Vec<String> = events.iter().map(to_json).collect();
            let bodies = to_json(&bodies);
            let (ended_at, outcome) = change.ended.unzip();
            let statement = || {
                sqlx::query(sql::APPEND)
                    .bind(run.as_str())
                    .bind(micros(at))
                    .bind(&bodies)
                    .bind(state_text(change.state))
                    .bind(&change.cursor)
                    .bind(ended_at.map(micros))
                    .bind(&outcome)
            };
            if !with_ballast!(self, self.execute(OPERATION, statement()))?.is_empty() {
                return Ok(());
            }
        }
        let state = self.state(OPERATION, run).await?;
        projection::change(run, state, events).map(|_| ())
    }

    async fn run(&self, id: &str) -> Result<RunRow, LedgerError> {
        const OPERATION: &str = "find a run";
        let statement = sqlx::query(sql::RUN_BY_PREFIX).bind(id).bind(prefix_end(id));
        let rows = self.execute(OPERATION, statement).await?;
        let Some(row) = rows.first().filter(|_| !id.is_empty()) else {
            return Err(LedgerError::NoRun(id.to_owned()));
        };
        let count: i64 = row.try_get("found").map_err(|error| fault(OPERATION, &error))?;
        if count > 1 {
            let count = count.try_into().unwrap_or(usize::MAX);
            return Err(LedgerError::Ambiguous {
                text: id.to_owned(),
                count,
            });
        }
        run_row(row).map_err(|error| fault(OPERATION, &error))
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, LedgerError> {
        const OPERATION: &str = "list runs";
        let statement = sqlx::query(if query.key.is_some() {
            sql::RUNS_OF_KEY
        } else {
            sql::RUNS
        })
        .bind(query.work.as_ref().map(Work::text))
        .bind(query.running)
        .bind(if query.limit == 0 {
            -1
        } else {
            i64::from(query.limit)
        })
        .bind(query.key.as_deref())
        .bind(query.mode.map(|mode| mode.to_string()))
        .bind(query.outcome.as_deref());
        run_rows(OPERATION, &self.execute(OPERATION, statement).await?)
    }

    async fn events(&self, run: &RunId) -> Result<Vec<StoredEvent>, LedgerError> {
        const OPERATION: &str = "read events";
        let rows = self
            .execute(OPERATION, sqlx::query(sql::EVENTS).bind(run.as_str()))
            .await?;
        if rows.is_empty() {
            return Err(LedgerError::NoRun(run.to_string()));
        }
        rows.iter()
            .map(stored_event)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(OPERATION, &error))
    }

    async fn report(&self, run: &RunId) -> Result<Option<Report>, LedgerError> {
        const OPERATION: &str = "read a report";
        let rows = self
            .execute(OPERATION, sqlx::query(sql::LAST_EVENT).bind(run.as_str()))
            .await?;
        let last = rows.first().ok_or_else(|| LedgerError::NoRun(run.to_string()))?;
        match last
            .try_get(0)
            .and_then(from_json)
            .map_err(|error| fault(OPERATION, &error))?
        {
            RunEvent::Ended { report } | RunEvent::Rescued { report } => Ok(Some(*report)),
            _ => Ok(None),
        }
    }

    async fn renew(&self, run: &RunId, now: Instant, ttl: Duration) -> Result<bool, LedgerError> {
        const OPERATION: &str = "renew leases";
        let statement = || {
            sqlx::query(sql::RENEW)
                .bind(run.as_str())
                .bind(micros(until(now, ttl)))
        };
        let own = with_ballast!(self, self.execute(OPERATION, statement()))?;
        let Some(first) = own.first() else {
            return Ok(false);
        };
        let lost: i64 = first.try_get(0).map_err(|error| fault(OPERATION, &error))?;
        Ok(lost == 0)
    }

    async fn orphans(&self, now: Instant) -> Result<Vec<RunRow>, LedgerError> {
        const OPERATION: &str = "look for lost runs";
        run_rows(
            OPERATION,
            &self
                .execute(OPERATION, sqlx::query(sql::ORPHANS).bind(micros(now)))
                .await?,
        )
    }

    async fn take_over(
        &self,
        orphan: &RunId,
        now: Instant,
        ttl: Duration,
    ) -> Result<Option<Vec<Lease>>, LedgerError> {
        with_ballast!(self, self.try_take_over(orphan, now, ttl))
    }

    async fn past(&self, work: &Work, key: &str, now: Instant) -> Result<Past, LedgerError> {
        const OPERATION: &str = "look at what was before";
        let statement = sqlx::query(sql::PAST)
            .bind(key)
            .bind(micros(now))
            .bind(to_json(&[work.name(), "*"]))
            .bind(flag_text(Flag::Pause));
        let rows = self.execute(OPERATION, statement).await?;
        let of = |part: &str| {
            let of_part = rows
                .iter()
                .filter(|row| row.try_get::<&str, _>("part").is_ok_and(|of| of == part));
            of_part.collect::<Vec<_>>()
        };
        Ok(Past {
            orphans: run_rows(OPERATION, of("orphan"))?,
            attempts: run_rows(OPERATION, of("attempt"))?,
            paused: !of("paused").is_empty(),
        })
    }

    async fn set_flag(&self, on: &str, flag: Flag, raised: bool, now: Instant) -> Result<(), LedgerError> {
        let statement = || {
            sqlx::query(if raised { sql::RAISE_FLAG } else { sql::LOWER_FLAG })
                .bind(on)
                .bind(flag_text(flag))
                .bind(micros(now))
        };
        with_ballast!(self, self.execute("set a flag", statement()))?;
        Ok(())
    }

    async fn flag(&self, on: &[&str], flag: Flag) -> Result<bool, LedgerError> {
        const OPERATION: &str = "read flags";
        let statement = sqlx::query(sql::FLAG).bind(to_json(&on)).bind(flag_text(flag));
        let rows = self.execute(OPERATION, statement).await?;
        let raised = rows
            .first()
            .ok_or(sqlx::Error::RowNotFound)
            .and_then(|row| row.try_get(0));
        raised.map_err(|error| fault(OPERATION, &error))
    }

    async fn forget(&self, old: &Old) -> Result<u64, LedgerError> {
        let statement = sqlx::query(sql::FORGET)
            .bind(micros(old.before))
            .bind(i64::from(old.but_newest))
            .bind(i64::from(old.limit));
        let rows = self.execute("forget old runs", statement).await?;
        Ok(rows.len() as u64)
    }

    async fn measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError> {
        self.state("keep measurements", run).await?;
        with_ballast!(self, self.try_measure(run, at, measurements))
    }
}

async fn start(
    connection: &mut SqliteConnection,
    row: &RunRow,
    event: &str,
    scopes: &[String],
    ttl: Duration,
) -> Result<Start, sqlx::Error> {
    let looked = sqlx::query(sql::BEGIN_START)
        .bind(to_json(&scopes))
        .bind(&row.key)
        .fetch_all(&mut *connection)
        .await?;
    let (found, attempts): (Vec<_>, Vec<_>) = looked.iter().partition(|row| row.columns().len() > 1);
    let known: i64 = attempts.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    let found = found.into_iter().map(scope_row).collect::<Result<Vec<_>, _>>()?;
    let refusal = match decide(&found, &row.id, scopes, row.started_at, ttl) {
        Decision::Held(held) => Start::Held(held),
        Decision::Take { .. } if known + 1 != i64::from(row.attempt) => Start::Overtaken,
        Decision::Take { leases, lost } => {
            sqlx::query(sql::START)
                .bind(taken(&leases))
                .bind(to_json(&lost))
                .bind(row.id.as_str())
                .bind(&row.key)
                .bind(row.attempt)
                .bind(row.work.text())
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
                .bind(event)
                .execute(connection)
                .await?;
            return Ok(Start::Begun(Box::new(row.clone()), leases));
        }
    };
    sqlx::query(sql::ROLLBACK).execute(connection).await?;
    Ok(refusal)
}

async fn take_over_orphan(
    connection: &mut SqliteConnection,
    orphan: &RunId,
    now: Instant,
    ttl: Duration,
) -> Result<Option<Vec<Lease>>, sqlx::Error> {
    let looked = sqlx::query(sql::BEGIN_TAKE_OVER)
        .bind(orphan.as_str())
        .fetch_all(&mut *connection)
        .await?;
    let (own, running): (Vec<_>, Vec<_>) = looked.iter().partition(|row| row.columns().len() > 1);
    let own = own.into_iter().map(scope_row).collect::<Result<Vec<_>, _>>()?;
    let leases = take_over(&own, orphan, now, ttl).filter(|_| !running.is_empty());
    let Some(leases) = leases else {
        sqlx::query(sql::ROLLBACK).execute(connection).await?;
        return Ok(None);
    };
    sqlx::query(sql::TAKE_OVER)
        .bind(taken(&leases))
        .bind(orphan.as_str())
        .execute(connection)
        .await?;
    Ok(Some(leases))
}

/// Leases as the statements take them.
fn taken(leases: &[Lease]) -> String {
    let taken: Vec<_> = leases
        .iter()
        .map(|lease| {
            serde_json::json!({ "scope": lease.scope, "token": lease.token, "until": micros(lease.until) })
        })
        .collect();
    to_json(&taken)
}

async fn measure(
    connection: &mut SqliteConnection,
    run: &RunId,
    at: Instant,
    measurements: &[Measurement],
) -> Result<(), sqlx::Error> {
    sqlx::query(sql::BEGIN).execute(&mut *connection).await?;
    add_measurements(connection, run, at, measurements).await?;
    sqlx::query(sql::COMMIT).execute(connection).await?;
    Ok(())
}

/// Within a transaction that is open.
async fn add_measurements(
    connection: &mut SqliteConnection,
    run: &RunId,
    at: Instant,
    measurements: &[Measurement],
) -> Result<(), sqlx::Error> {
    for measurement in measurements {
        sqlx::query(sql::MEASURE)
            .bind(run.as_str())
            .bind(micros(at))
            .bind(&measurement.name)
            .bind(&measurement.target)
            .bind(known(measurement.value))
            .bind(&measurement.unit)
            .bind(&measurement.note)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn run_rows<'a>(
    operation: &'static str,
    rows: impl IntoIterator<Item = &'a SqliteRow>,
) -> Result<Vec<RunRow>, LedgerError> {
    rows.into_iter()
        .map(run_row)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(operation, &error))
}

fn run_row(row: &SqliteRow) -> Result<RunRow, sqlx::Error> {
    let text = |column| row.try_get::<&str, _>(column);
    let time = |column| row.try_get(column).and_then(instant);
    let ended_at: Option<i64> = row.try_get("ended_at")?;
    Ok(RunRow {
        id: parsed(text("id")?)?,
        key: row.try_get("key")?,
        attempt: row.try_get("attempt")?,
        work: parsed(text("job")?)?,
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
        work: parsed(row.try_get("job")?)?,
        token: row.try_get("token")?,
        until: row.try_get("until").and_then(instant)?,
    })
}

fn stored_event(row: &SqliteRow) -> Result<StoredEvent, sqlx::Error> {
    let seq: i64 = row.try_get("seq")?;
    Ok(StoredEvent {
        seq: seq
            .try_into()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        at: row.try_get("at").and_then(instant)?,
        event: from_json(row.try_get("body")?)?,
    })
}

/// What every error of opening says it was about.
const OPEN: &str = "open it";

fn create_folder(path: &Path) -> Result<(), LedgerError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(|error| LedgerError::Unreachable {
        operation: "create its folder",
        reason: format!("{}: {error}", folder.display()),
    })
}
