//! The ledger in PostgreSQL, for Lambda and for several runners on one history.
//!
//! Everything is in the schema `sereno` and named with it, so that it never meets the application's own tables, and
//! works through a transaction-mode pooler: no session state is used.

/// Tries again what met another transaction, each of which has then got its way.
macro_rules! retried {
    ($($fault:ident).+, $operation:expr, $attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt.await {
                Err(error) if tries < TRIES_MAX && met_another(&error) => tries += 1,
                result => break result.map_err(|error| $($fault).+($operation, &error)),
            }
        }
    }};
}

mod fault;
mod orders;
mod schema;
mod sql;
mod watch;

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use async_trait::async_trait;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::{
    Flag, Lease, Ledger, LedgerError, NewRun, Old, RunQuery, RunRow, Start, StoredEvent,
};
use sereno_core::report::{Measurement, Report};
use sereno_core::run::{RunEvent, RunState, Work};
use sereno_core::value::Instant;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row};

use self::fault::{fault, met_another};
use self::schema::{VERSION, migrate, read_version};
use super::leases::{Decision, ScopeRow, decide, in_order, take_over, until};
use super::projection::{self, state_of, state_text};
use super::{flag_text, from_json, kept, known, mode_of, parsed, prefix_end, to_json};

/// Runs of one process seldom write at the same moment, and servers count connections.
const CONNECTIONS_MAX: u32 = 4;

/// Longer than a failover takes to be refused, shorter than a lease.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that rested longer is asked whether it still lives: a frozen sandbox thaws with dead ones.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// How often a transaction is tried that met another.
const TRIES_MAX: u32 = 100;

/// See the module.
#[derive(Debug)]
pub struct PostgresLedger {
    pool: PgPool,
    /// When the server was last out of reach: no connection that is older is used without a question.
    trouble: Arc<Mutex<Option<StdInstant>>>,
}

impl PostgresLedger {
    /// Connects, and creates or upgrades the schema where that is needed.
    pub async fn open(url: &str) -> Result<Self, LedgerError> {
        const OPERATION: &str = "open it";
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| fault(OPERATION, &error))?
            .application_name("sereno ledger")
            .disable_statement_logging();
        let trouble = Arc::new(Mutex::new(None::<StdInstant>));
        let seen = Arc::clone(&trouble);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(move |connection, about| {
                let last = *seen.lock().unwrap_or_else(PoisonError::into_inner);
                let trusted =
                    about.idle_for < TRUSTED_FOR && last.is_none_or(|trouble| about.age < trouble.elapsed());
                Box::pin(async move { Ok(trusted || connection.ping().await.is_ok()) })
            })
            .connect_with(options)
            .await
            .map_err(|error| fault(OPERATION, &error))?;
        let found = match read_version(&pool)
            .await
            .map_err(|error| fault(OPERATION, &error))?
        {
            Some(VERSION) => VERSION,
            _ => retried!(fault, OPERATION, migrate(&pool))?,
        };
        if found > VERSION {
            return Err(LedgerError::TooNew {
                found,
                known: VERSION,
            });
        }
        Ok(Self { pool, trouble })
    }

    fn fault(&self, operation: &'static str, error: &sqlx::Error) -> LedgerError {
        let fault = fault(operation, error);
        if matches!(fault, LedgerError::Unreachable { .. }) {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(StdInstant::now());
        }
        fault
    }

    async fn state(&self, operation: &'static str, run: &RunId) -> Result<RunState, LedgerError> {
        let state: Option<String> = sqlx::query_scalar(sql::RUN_STATE)
            .bind(run.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.fault(operation, &error))?;
        let state = state.ok_or_else(|| LedgerError::NoRun(run.to_string()))?;
        state_of(&state).map_err(|error| self.fault(operation, &error))
    }

    /// None: a scope that had no row has got one from another runner since.
    async fn try_start(
        &self,
        row: &RunRow,
        event: &str,
        scopes: &[String],
        ttl: Duration,
    ) -> Result<Option<Start>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let answer = start(&mut transaction, row, event, scopes, ttl).await?;
        if matches!(answer, Some(Start::Begun(..))) {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(answer)
    }

    async fn try_take_over(
        &self,
        orphan: &RunId,
        now: Instant,
        ttl: Duration,
    ) -> Result<Option<Vec<Lease>>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let running: Option<String> = sqlx::query_scalar(sql::LOCK_RUNNING)
            .bind(orphan.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(job) = running else {
            return Ok(None);
        };
        let own = sqlx::query(sql::OWN_SCOPES).bind(orphan.as_str());
        let own = scope_rows(own, &mut transaction).await?;
        let Some(leases) = take_over(&own, orphan, now, ttl) else {
            return Ok(None);
        };
        let lost: Vec<_> = leases
            .iter()
            .map(|lease| (orphan.clone(), lease.scope.clone()))
            .collect();
        hold(&mut transaction, &leases, &parsed(&job)?, &lost).await?;
        transaction.commit().await?;
        Ok(Some(leases))
    }
}

async fn start(
    connection: &mut PgConnection,
    row: &RunRow,
    event: &str,
    scopes: &[String],
    ttl: Duration,
) -> Result<Option<Start>, sqlx::Error> {
    let found = scope_rows(sqlx::query(sql::SCOPES).bind(scopes), connection).await?;
    let (leases, lost) = match decide(&found, &row.id, scopes, row.started_at, ttl) {
        Decision::Held(held) => return Ok(Some(Start::Held(held))),
        Decision::Take { leases, lost } => (leases, lost),
    };
    if !hold(connection, &leases, &row.work, &lost).await? {
        return Ok(None);
    }
    let begun = sqlx::query(sql::START)
        .bind(row.id.as_str())
        .bind(&row.key)
        .bind(i32::try_from(row.attempt).unwrap_or(i32::MAX))
        .bind(row.work.text())
        .bind(&row.targets)
        .bind(&row.shard)
        .bind(row.mode.to_string())
        .bind(to_json(&row.reason))
        .bind(row.scheduled_at)
        .bind(&row.consent)
        .bind(&row.digest)
        .bind(state_text(row.state))
        .bind(row.cursor.as_ref().map(to_json))
        .bind(row.started_at)
        .bind(event)
        .execute(connection)
        .await?
        .rows_affected();
    Ok(Some(if begun == 0 {
        Start::Overtaken
    } else {
        Start::Begun(Box::new(row.clone()), leases)
    }))
}

/// Writes leases, and who lost them; false when one of them has gone to another meanwhile.
async fn hold(
    connection: &mut PgConnection,
    leases: &[Lease],
    work: &Work,
    lost: &[(RunId, String)],
) -> Result<bool, sqlx::Error> {
    let Some(first) = leases.first() else {
        return Ok(true);
    };
    let scopes: Vec<&str> = leases.iter().map(|lease| lease.scope.as_str()).collect();
    let tokens: Vec<i64> = leases.iter().map(|lease| lease.token).collect();
    let losers: Vec<&str> = lost.iter().map(|(loser, _)| loser.as_str()).collect();
    let taken = sqlx::query(sql::TAKE_SCOPES)
        .bind(scopes)
        .bind(tokens)
        .bind(first.run.as_str())
        .bind(work.text())
        .bind(first.until)
        .bind(losers)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    for (loser, scope) in lost {
        sqlx::query(sql::LOSE_SCOPE)
            .bind(loser.as_str())
            .bind(scope)
            .execute(&mut *connection)
            .await?;
    }
    Ok(taken == leases.len() as u64)
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn start(&self, run: NewRun, scopes: &[String], ttl: Duration) -> Result<Start, LedgerError> {
        const OPERATION: &str = "start a run";
        let (row, event) = projection::started(&run);
        let (event, scopes) = (to_json(&event), in_order(scopes));
        for _ in 0..TRIES_MAX {
            if let Some(start) = retried!(self.fault, OPERATION, self.try_start(&row, &event, &scopes, ttl))?
            {
                return Ok(start);
            }
        }
        Err(LedgerError::Fault {
            operation: OPERATION,
            reason: "other runs kept taking its leases and giving them back".to_owned(),
        })
    }

    async fn append(&self, run: &RunId, at: Instant, events: &[RunEvent]) -> Result<(), LedgerError> {
        const OPERATION: &str = "append events";
        // Only a running run takes events; what else there is to say about another is found out afterwards.
        if let Ok(change) = projection::change(run, RunState::Running, events) {
            let bodies: Vec<String> = events.iter().map(to_json).collect();
            let kinds: Vec<&str> = events.iter().map(projection::kind).collect();
            let cursor = change.cursor.as_ref().map(to_json);
            let (ended_at, outcome) = change.ended.unzip();
            let attempt = || {
                sqlx::query_scalar(sql::APPEND)
                    .bind(run.as_str())
                    .bind(state_text(change.state))
                    .bind(&cursor)
                    .bind(ended_at)
                    .bind(&outcome)
                    .bind(kept(at))
                    .bind(&bodies)
                    .bind(&kinds)
                    .fetch_one(&self.pool)
            };
            let appended: i64 = retried!(self.fault, OPERATION, attempt())?;
            if appended == 1 {
                return Ok(());
            }
        }
        let state = self.state(OPERATION, run).await?;
        projection::change(run, state, events).map(|_| ())
    }

    async fn run(&self, id: &str) -> Result<RunRow, LedgerError> {
        const OPERATION: &str = "find a run";
        // An id has no NUL, and PostgreSQL takes none.
        if id.is_empty() || id.contains('\0') {
            return Err(LedgerError::NoRun(id.escape_debug().to_string()));
        }
        let found = sqlx::query(sql::RUN_BY_PREFIX)
            .bind(id)
            .bind(prefix_end(id))
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.fault(OPERATION, &error))?;
        let row = found.ok_or_else(|| LedgerError::NoRun(id.to_owned()))?;
        let count: i64 = row
            .try_get("found")
            .map_err(|error| self.fault(OPERATION, &error))?;
        if count > 1 {
            let count = count.try_into().unwrap_or(usize::MAX);
            return Err(LedgerError::Ambiguous {
                text: id.to_owned(),
                count,
            });
        }
        run_row(&row).map_err(|error| self.fault(OPERATION, &error))
    }

    async fn runs(&self, query: &RunQuery) -> Result<Vec<RunRow>, LedgerError> {
        const OPERATION: &str = "list runs";
        let limit = (query.limit > 0).then_some(i64::from(query.limit));
        sqlx::query(sql::RUNS)
            .bind(query.work.as_ref().map(Work::text))
            .bind(query.key.as_deref())
            .bind(query.running)
            .bind(limit)
            .bind(query.mode.map(|mode| mode.to_string()))
            .bind(query.outcome.as_deref())
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(run_row).collect())
            .map_err(|error| self.fault(OPERATION, &error))
    }

    async fn events(&self, run: &RunId) -> Result<Vec<StoredEvent>, LedgerError> {
        const OPERATION: &str = "read events";
        let stored = |(seq, at, body): (i64, Instant, String)| {
            Ok(StoredEvent {
                seq: unsigned(seq)?,
                at,
                event: from_json(&body)?,
            })
        };
        let events: Vec<StoredEvent> = sqlx::query_as(sql::EVENTS)
            .bind(run.as_str())
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.into_iter().map(stored).collect())
            .map_err(|error| self.fault(OPERATION, &error))?;
        if events.is_empty() {
            Err(LedgerError::NoRun(run.to_string()))
        } else {
            Ok(events)
        }
    }

    async fn report(&self, run: &RunId) -> Result<Option<Report>, LedgerError> {
        const OPERATION: &str = "read a report";
        let last: Option<String> = sqlx::query_scalar(sql::LAST_EVENT)
            .bind(run.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.fault(OPERATION, &error))?;
        let last = last.ok_or_else(|| LedgerError::NoRun(run.to_string()))?;
        match from_json(&last).map_err(|error| self.fault(OPERATION, &error))? {
            RunEvent::Ended { report } | RunEvent::Rescued { report } => Ok(Some(*report)),
            _ => Ok(None),
        }
    }

    async fn renew(&self, run: &RunId, now: Instant, ttl: Duration) -> Result<bool, LedgerError> {
        let attempt = || {
            sqlx::query_scalar(sql::RENEW)
                .bind(run.as_str())
                .bind(until(now, ttl))
                .fetch_one(&self.pool)
        };
        retried!(self.fault, "renew leases", attempt())
    }

    async fn orphans(&self, now: Instant) -> Result<Vec<RunRow>, LedgerError> {
        sqlx::query(sql::ORPHANS)
            .bind(kept(now))
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(run_row).collect())
            .map_err(|error| self.fault("look for lost runs", &error))
    }

    async fn take_over(
        &self,
        orphan: &RunId,
        now: Instant,
        ttl: Duration,
    ) -> Result<Option<Vec<Lease>>, LedgerError> {
        retried!(
            self.fault,
            "take a lost run over",
            self.try_take_over(orphan, now, ttl)
        )
    }

    async fn set_flag(&self, on: &str, flag: Flag, raised: bool, now: Instant) -> Result<(), LedgerError> {
        let query = if raised {
            sqlx::query(sql::RAISE_FLAG)
                .bind(on)
                .bind(flag_text(flag))
                .bind(now)
        } else {
            sqlx::query(sql::LOWER_FLAG).bind(on).bind(flag_text(flag))
        };
        query
            .execute(&self.pool)
            .await
            .map_err(|error| self.fault("set a flag", &error))?;
        Ok(())
    }

    async fn flag(&self, on: &[&str], flag: Flag) -> Result<bool, LedgerError> {
        sqlx::query_scalar(sql::FLAG)
            .bind(on)
            .bind(flag_text(flag))
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.fault("read flags", &error))
    }

    async fn forget(&self, old: &Old) -> Result<u64, LedgerError> {
        let done = sqlx::query(sql::FORGET)
            .bind(kept(old.before))
            .bind(i64::from(old.but_newest))
            .bind(i64::from(old.limit))
            .execute(&self.pool)
            .await
            .map_err(|error| self.fault("forget old runs", &error))?;
        Ok(done.rows_affected())
    }

    async fn measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError> {
        const OPERATION: &str = "keep measurements";
        self.state(OPERATION, run).await?;
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(|error| self.fault(OPERATION, &error))?;
        add_measurements(&mut connection, run, at, measurements)
            .await
            .map_err(|error| self.fault(OPERATION, &error))
    }
}

async fn add_measurements(
    connection: &mut PgConnection,
    run: &RunId,
    at: Instant,
    measurements: &[Measurement],
) -> Result<(), sqlx::Error> {
    let column = |text: fn(&Measurement) -> &str| measurements.iter().map(text).collect::<Vec<_>>();
    let values: Vec<Option<f64>> = measurements.iter().map(|one| known(one.value)).collect();
    let notes: Vec<Option<&str>> = measurements.iter().map(|one| one.note.as_deref()).collect();
    sqlx::query(sql::MEASURE)
        .bind(run.as_str())
        .bind(kept(at))
        .bind(column(|one| &one.name))
        .bind(column(|one| &one.target))
        .bind(values)
        .bind(column(|one| &one.unit))
        .bind(notes)
        .execute(connection)
        .await?;
    Ok(())
}

fn run_row(row: &PgRow) -> Result<RunRow, sqlx::Error> {
    let text = |column| row.try_get::<&str, _>(column);
    let cursor: Option<&str> = row.try_get("cursor")?;
    Ok(RunRow {
        id: parsed(text("id")?)?,
        key: row.try_get("key")?,
        attempt: unsigned(row.try_get::<i32, _>("attempt")?)?,
        work: parsed(text("job")?)?,
        targets: row.try_get("targets")?,
        shard: row.try_get("shard")?,
        mode: mode_of(text("mode")?)?,
        reason: from_json(text("reason")?)?,
        scheduled_at: row.try_get("scheduled_at")?,
        consent: row.try_get("consent")?,
        digest: row.try_get("digest")?,
        state: state_of(text("state")?)?,
        cursor: cursor.map(from_json).transpose()?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        outcome: row.try_get("outcome")?,
    })
}

async fn scope_rows(
    query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    connection: &mut PgConnection,
) -> Result<Vec<ScopeRow>, sqlx::Error> {
    query.fetch_all(connection).await?.iter().map(scope_row).collect()
}

fn scope_row(row: &PgRow) -> Result<ScopeRow, sqlx::Error> {
    let holder: Option<&str> = row.try_get("holder")?;
    Ok(ScopeRow {
        scope: row.try_get("scope")?,
        holder: holder.map(parsed).transpose()?,
        work: parsed(row.try_get("job")?)?,
        token: row.try_get("token")?,
        until: row.try_get("until")?,
    })
}

/// PostgreSQL has no unsigned numbers.
fn unsigned<S, U>(number: S) -> Result<U, sqlx::Error>
where
    U: TryFrom<S>,
    U::Error: std::error::Error + Send + Sync + 'static,
{
    number
        .try_into()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
