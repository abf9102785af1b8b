//! The ledger in PostgreSQL, for Lambda and for several runners on one history.
//!
//! Everything is in the schema `sereno` and named with it, so that it never meets the application's own tables, and
//! works through a transaction-mode pooler: no session state is used.

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
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row};

use super::leases::{Decision, ScopeRow, decide, in_order, until};
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

/// `sereno` in the place where PostgreSQL wants a number: one process migrates at a time.
const MIGRATION_LOCK: i64 = 0x7365_7265_6e6f;

/// Each version's changes. Only ever append. What a guest writes is JSON, since PostgreSQL's text takes no NUL, and
/// not binary JSON, which takes none either and keeps no bytes as they were.
const VERSIONS: [&str; 1] = ["
CREATE TABLE sereno.run (
    ordinal      bigint GENERATED ALWAYS AS IDENTITY,
    id           text COLLATE \"C\" PRIMARY KEY,
    key          text NOT NULL,
    attempt      integer NOT NULL,
    job          text NOT NULL,
    targets      text[] NOT NULL,
    shard        text,
    mode         text NOT NULL,
    reason       json NOT NULL,
    scheduled_at timestamptz NOT NULL,
    consent      text NOT NULL,
    digest       text NOT NULL,
    state        text NOT NULL,
    cursor       json,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    outcome      text,
    events       bigint NOT NULL,
    CONSTRAINT run_attempt UNIQUE (key, attempt)
);
CREATE INDEX run_by_job ON sereno.run (job, started_at);
CREATE INDEX run_by_time ON sereno.run (started_at);
CREATE INDEX run_running ON sereno.run (state) WHERE state = 'running';
CREATE TABLE sereno.event (
    run  text COLLATE \"C\" NOT NULL REFERENCES sereno.run (id),
    seq  bigint NOT NULL,
    at   timestamptz NOT NULL,
    kind text NOT NULL,
    body json NOT NULL,
    PRIMARY KEY (run, seq)
);
CREATE TABLE sereno.lease (
    scope  text PRIMARY KEY,
    holder text,
    job    text NOT NULL,
    token  bigint NOT NULL,
    until  timestamptz NOT NULL
);
CREATE INDEX lease_by_holder ON sereno.lease (holder);
CREATE TABLE sereno.lease_lost (
    run   text NOT NULL,
    scope text NOT NULL,
    PRIMARY KEY (run, scope)
);
CREATE TABLE sereno.flag (
    subject   text NOT NULL,
    flag      text NOT NULL,
    raised_at timestamptz NOT NULL,
    PRIMARY KEY (subject, flag)
);
CREATE TABLE sereno.measurement (
    run    text COLLATE \"C\" NOT NULL REFERENCES sereno.run (id),
    at     timestamptz NOT NULL,
    name   text NOT NULL,
    target text NOT NULL,
    value  double precision,
    unit   text NOT NULL,
    note   text
);
CREATE INDEX measurement_by_name ON sereno.measurement (name, target, at);
"];

/// The version that this program writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
const VERSION: i64 = VERSIONS.len() as i64;

const READ_VERSION: &str = "SELECT version FROM sereno.schema_version WHERE part = 'ledger'";

const LOCK_MIGRATION: &str = "SELECT pg_advisory_xact_lock($1)";

/// `CREATE SCHEMA IF NOT EXISTS` asks for the right to create it even where it exists.
const HAS_SCHEMA: &str = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'sereno')";

const CREATE_SCHEMA: &str = "CREATE SCHEMA sereno";

const CREATE_VERSION: &str =
    "CREATE TABLE IF NOT EXISTS sereno.schema_version (part text PRIMARY KEY, version bigint NOT NULL)";

const WRITE_VERSION: &str = "
INSERT INTO sereno.schema_version (part, version) VALUES ('ledger', $1)
ON CONFLICT (part) DO UPDATE SET version = excluded.version";

/// Both rows in one statement, which is its own transaction.
const START: &str = "
WITH started AS (
    INSERT INTO sereno.run (id, key, attempt, job, targets, shard, mode, reason, scheduled_at, consent, digest,
                            state, cursor, started_at, events)
    SELECT $1, $2, coalesce(max(attempt), 0) + 1, $3, $4, $5, $6, $7::json, $8, $9, $10, $11, $12::json, $13, 1
    FROM sereno.run WHERE key = $2
    RETURNING attempt
), told AS (
    INSERT INTO sereno.event (run, seq, at, kind, body) VALUES ($1, 1, $13, 'started', $14::json)
)
SELECT attempt FROM started";

/// The row's lock keeps two appends apart; an ended run takes none.
const APPEND: &str = "
WITH run AS (
    UPDATE sereno.run
    SET events = events + cardinality($7::text[]), state = $2, cursor = coalesce($3::json, cursor), ended_at = $4,
        outcome = $5
    WHERE id = $1 AND state = 'running'
    RETURNING events - cardinality($7::text[]) AS before
), told AS (
    INSERT INTO sereno.event (run, seq, at, kind, body)
    SELECT $1, before + seq, $6, kind, body::json
    FROM run, unnest($7::text[], $8::text[]) WITH ORDINALITY AS new (body, kind, seq)
), forgotten AS (
    DELETE FROM sereno.lease_lost WHERE run = $1 AND $2 = 'ended'
)
SELECT count(*) FROM run";

macro_rules! run_columns {
    () => {
        "id, key, attempt, job, targets, shard, mode, reason::text AS reason, scheduled_at, consent, digest, state, \
         cursor::text AS cursor, started_at, ended_at, outcome"
    };
}

const RUN_BY_PREFIX: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", count(*) OVER () AS found FROM sereno.run WHERE id >= $1 AND id < $2 LIMIT 1"
);

const RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM sereno.run WHERE ($1::text IS NULL OR job = $1) AND ($2::text IS NULL OR key = $2) \
     AND (NOT $3 OR state = 'running') ORDER BY started_at DESC, ordinal DESC LIMIT $4"
);

const ORPHANS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM sereno.run WHERE state = 'running' \
     AND NOT EXISTS (SELECT 1 FROM sereno.lease WHERE holder = run.id AND until > $1) ORDER BY ordinal"
);

const RUN_STATE: &str = "SELECT state FROM sereno.run WHERE id = $1";

const EVENTS: &str = "SELECT seq, at, body::text FROM sereno.event WHERE run = $1 ORDER BY seq";

const LAST_EVENT: &str = "SELECT body::text FROM sereno.event WHERE run = $1 ORDER BY seq DESC LIMIT 1";

/// Holds the rows until the transaction ends, in the order in which every runner takes them.
const SCOPES: &str = "
SELECT scope, holder, job, token, until FROM sereno.lease WHERE scope = ANY ($1) ORDER BY scope FOR UPDATE";

/// A scope that had no row may have got one from another runner since: then it is left alone, and the count tells.
const TAKE_SCOPES: &str = "
INSERT INTO sereno.lease AS lease (scope, holder, job, token, until)
SELECT scope, $3, $4, token, $5 FROM unnest($1::text[], $2::bigint[]) AS new (scope, token)
ON CONFLICT (scope) DO UPDATE
SET holder = excluded.holder, job = excluded.job, token = excluded.token, until = excluded.until
WHERE lease.token = excluded.token - 1 OR lease.holder = excluded.holder";

const LOSE_SCOPE: &str = "INSERT INTO sereno.lease_lost (run, scope) VALUES ($1, $2) ON CONFLICT DO NOTHING";

const RENEW: &str = "
WITH own AS (UPDATE sereno.lease SET until = $2 WHERE holder = $1 RETURNING 1)
SELECT EXISTS (SELECT 1 FROM own) AND NOT EXISTS (SELECT 1 FROM sereno.lease_lost WHERE run = $1)";

const RELEASE: &str = "
WITH own AS (UPDATE sereno.lease SET holder = NULL WHERE holder = $1)
DELETE FROM sereno.lease_lost WHERE run = $1";

const RAISE_FLAG: &str =
    "INSERT INTO sereno.flag (subject, flag, raised_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

const LOWER_FLAG: &str = "DELETE FROM sereno.flag WHERE subject = $1 AND flag = $2";

const FLAG: &str = "SELECT EXISTS (SELECT 1 FROM sereno.flag WHERE subject = ANY ($1) AND flag = $2)";

const MEASURE: &str = "
INSERT INTO sereno.measurement (run, at, name, target, value, unit, note)
SELECT $1, $2, name, target, value, unit, note
FROM unnest($3::text[], $4::text[], $5::float8[], $6::text[], $7::text[]) AS new (name, target, value, unit, note)";

/// See the module.
#[derive(Debug)]
pub struct PostgresLedger {
    pool: PgPool,
}

/// Tries again what met another transaction, each of which has then got its way.
macro_rules! retried {
    ($operation:expr, $attempt:expr) => {{
        let mut tries = 1;
        loop {
            match $attempt.await {
                Err(error) if tries < TRIES_MAX && met_another(&error) => tries += 1,
                result => break result.map_err(|error| fault($operation, &error)),
            }
        }
    }};
}

impl PostgresLedger {
    /// Connects, and creates or upgrades the schema where that is needed.
    pub async fn open(url: &str) -> Result<Self, LedgerError> {
        const OPERATION: &str = "open it";
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| fault(OPERATION, &error))?
            .application_name("sereno ledger")
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move { Ok(about.idle_for < TRUSTED_FOR || connection.ping().await.is_ok()) })
            })
            .connect_with(options)
            .await
            .map_err(|error| fault(OPERATION, &error))?;
        let found = match read_version(&pool)
            .await
            .map_err(|error| fault(OPERATION, &error))?
        {
            Some(VERSION) => VERSION,
            _ => retried!(OPERATION, migrate(&pool))?,
        };
        if found > VERSION {
            return Err(LedgerError::TooNew {
                found,
                known: VERSION,
            });
        }
        Ok(Self { pool })
    }

    async fn state(&self, operation: &'static str, run: &RunId) -> Result<RunState, LedgerError> {
        let state: Option<String> = sqlx::query_scalar(RUN_STATE)
            .bind(run.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| fault(operation, &error))?;
        let state = state.ok_or_else(|| LedgerError::NoRun(run.to_string()))?;
        state_of(&state).map_err(|error| fault(operation, &error))
    }

    async fn try_start(&self, row: &RunRow, event: &str) -> Result<u32, sqlx::Error> {
        let attempt: i32 = sqlx::query_scalar(START)
            .bind(row.id.as_str())
            .bind(&row.key)
            .bind(row.job.as_str())
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
            .fetch_one(&self.pool)
            .await?;
        unsigned(attempt)
    }

    async fn try_lease(
        &self,
        run: &RunId,
        job: &JobName,
        scopes: &[String],
        now: Instant,
        ttl: Duration,
    ) -> Result<Option<Result<Vec<Lease>, Vec<Held>>>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let rows = sqlx::query(SCOPES)
            .bind(scopes)
            .fetch_all(&mut *transaction)
            .await?;
        let found = rows.iter().map(scope_row).collect::<Result<Vec<_>, _>>()?;
        let (leases, lost) = match decide(&found, run, scopes, now, ttl) {
            Decision::Held(held) => {
                transaction.rollback().await?;
                return Ok(Some(Err(held)));
            }
            Decision::Take { leases, lost } => (leases, lost),
        };
        let tokens: Vec<i64> = leases.iter().map(|lease| lease.token).collect();
        let taken = sqlx::query(TAKE_SCOPES)
            .bind(scopes)
            .bind(tokens)
            .bind(run.as_str())
            .bind(job.as_str())
            .bind(until(now, ttl))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        if taken < leases.len() as u64 {
            transaction.rollback().await?;
            return Ok(None);
        }
        for (loser, scope) in lost {
            sqlx::query(LOSE_SCOPE)
                .bind(loser.as_str())
                .bind(scope)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Some(Ok(leases)))
    }
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn start(&self, run: NewRun) -> Result<RunRow, LedgerError> {
        let (mut row, event) = projection::started(&run);
        let event = to_json(&event);
        row.attempt = retried!("start a run", self.try_start(&row, &event))?;
        Ok(row)
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
                sqlx::query_scalar(APPEND)
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
            let appended: i64 = retried!(OPERATION, attempt())?;
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
        let found = sqlx::query(RUN_BY_PREFIX)
            .bind(id)
            .bind(prefix_end(id))
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| fault(OPERATION, &error))?;
        let row = found.ok_or_else(|| LedgerError::NoRun(id.to_owned()))?;
        let count: i64 = row.try_get("found").map_err(|error| fault(OPERATION, &error))?;
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
        const OPERATION: &str = "list runs";
        let limit = (query.limit > 0).then_some(i64::from(query.limit));
        sqlx::query(RUNS)
            .bind(query.job.as_ref().map(JobName::as_str))
            .bind(query.key.as_deref())
            .bind(query.running)
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(run_row).collect())
            .map_err(|error| fault(OPERATION, &error))
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
        let events: Vec<StoredEvent> = sqlx::query_as(EVENTS)
            .bind(run.as_str())
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.into_iter().map(stored).collect())
            .map_err(|error| fault(OPERATION, &error))?;
        if events.is_empty() {
            Err(LedgerError::NoRun(run.to_string()))
        } else {
            Ok(events)
        }
    }

    async fn report(&self, run: &RunId) -> Result<Option<Report>, LedgerError> {
        const OPERATION: &str = "read a report";
        let last: Option<String> = sqlx::query_scalar(LAST_EVENT)
            .bind(run.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| fault(OPERATION, &error))?;
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
        const OPERATION: &str = "take leases";
        let scopes = in_order(scopes);
        for _ in 0..TRIES_MAX {
            let answer = retried!(OPERATION, self.try_lease(run, job, &scopes, now, ttl))?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(LedgerError::Fault {
            operation: OPERATION,
            reason: "other runs kept taking and giving them back".to_owned(),
        })
    }

    async fn renew(&self, run: &RunId, now: Instant, ttl: Duration) -> Result<bool, LedgerError> {
        let attempt = || {
            sqlx::query_scalar(RENEW)
                .bind(run.as_str())
                .bind(until(now, ttl))
                .fetch_one(&self.pool)
        };
        retried!("renew leases", attempt())
    }

    async fn release(&self, run: &RunId) -> Result<(), LedgerError> {
        retried!(
            "give leases back",
            sqlx::query(RELEASE).bind(run.as_str()).execute(&self.pool)
        )?;
        Ok(())
    }

    async fn orphans(&self, now: Instant) -> Result<Vec<RunRow>, LedgerError> {
        sqlx::query(ORPHANS)
            .bind(kept(now))
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(run_row).collect())
            .map_err(|error| fault("look for lost runs", &error))
    }

    async fn set_flag(&self, on: &str, flag: Flag, raised: bool, now: Instant) -> Result<(), LedgerError> {
        let query = if raised {
            sqlx::query(RAISE_FLAG).bind(on).bind(flag_text(flag)).bind(now)
        } else {
            sqlx::query(LOWER_FLAG).bind(on).bind(flag_text(flag))
        };
        query
            .execute(&self.pool)
            .await
            .map_err(|error| fault("set a flag", &error))?;
        Ok(())
    }

    async fn flag(&self, on: &[&str], flag: Flag) -> Result<bool, LedgerError> {
        sqlx::query_scalar(FLAG)
            .bind(on)
            .bind(flag_text(flag))
            .fetch_one(&self.pool)
            .await
            .map_err(|error| fault("read flags", &error))
    }

    async fn measure(
        &self,
        run: &RunId,
        at: Instant,
        measurements: &[Measurement],
    ) -> Result<(), LedgerError> {
        const OPERATION: &str = "keep measurements";
        self.state(OPERATION, run).await?;
        let column = |text: fn(&Measurement) -> &str| measurements.iter().map(text).collect::<Vec<_>>();
        let values: Vec<Option<f64>> = measurements.iter().map(|one| known(one.value)).collect();
        let notes: Vec<Option<&str>> = measurements.iter().map(|one| one.note.as_deref()).collect();
        sqlx::query(MEASURE)
            .bind(run.as_str())
            .bind(kept(at))
            .bind(column(|one| &one.name))
            .bind(column(|one| &one.target))
            .bind(values)
            .bind(column(|one| &one.unit))
            .bind(notes)
            .execute(&self.pool)
            .await
            .map_err(|error| fault(OPERATION, &error))?;
        Ok(())
    }
}

/// None when there is no ledger yet.
async fn read_version(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    match sqlx::query_scalar(READ_VERSION).fetch_optional(pool).await {
        Err(error) if is(&error, UNDEFINED_TABLE) => Ok(None),
        result => result,
    }
}

/// Answers the version that is there in the end.
async fn migrate(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query(LOCK_MIGRATION)
        .bind(MIGRATION_LOCK)
        .execute(&mut *transaction)
        .await?;
    let version = migrate_locked(&mut transaction).await?;
    transaction.commit().await?;
    Ok(version)
}

/// Another process may have been quicker, so what counts is what is there under the lock.
async fn migrate_locked(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let has_schema: bool = sqlx::query_scalar(HAS_SCHEMA).fetch_one(&mut *connection).await?;
    if !has_schema {
        sqlx::query(CREATE_SCHEMA).execute(&mut *connection).await?;
    }
    sqlx::query(CREATE_VERSION).execute(&mut *connection).await?;
    let found: Option<i64> = sqlx::query_scalar(READ_VERSION)
        .fetch_optional(&mut *connection)
        .await?;
    let found = found.unwrap_or(0);
    if found >= VERSION {
        return Ok(found);
    }
    for statements in VERSIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        sqlx::raw_sql(*statements).execute(&mut *connection).await?;
    }
    sqlx::query(WRITE_VERSION)
        .bind(VERSION)
        .execute(connection)
        .await?;
    Ok(VERSION)
}

fn run_row(row: &PgRow) -> Result<RunRow, sqlx::Error> {
    let text = |column| row.try_get::<&str, _>(column);
    let cursor: Option<&str> = row.try_get("cursor")?;
    Ok(RunRow {
        id: parsed(text("id")?)?,
        key: row.try_get("key")?,
        attempt: unsigned(row.try_get::<i32, _>("attempt")?)?,
        job: parsed(text("job")?)?,
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

fn scope_row(row: &PgRow) -> Result<ScopeRow, sqlx::Error> {
    let holder: Option<&str> = row.try_get("holder")?;
    Ok(ScopeRow {
        scope: row.try_get("scope")?,
        holder: holder.map(parsed).transpose()?,
        job: parsed(row.try_get("job")?)?,
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

const UNDEFINED_TABLE: &str = "42P01";
const DISK_FULL: &str = "53100";

/// Classes and codes after which another server, or this one later, may answer: connection exceptions, bad
/// credentials, no such database, too many connections, shutting down.
const UNREACHABLE: [&str; 5] = ["08", "28", "3D", "53300", "57P"];

/// Two at once: the second may have its turn now.
const MET_ANOTHER: [&str; 5] = [
    "40001", // serialization failure
    "40P01", // deadlock
    "23505", // unique: the same next attempt, or the same new table
    "42P06", // the schema has just been created
    "42P07", // the table has just been created
];

/// The attempt of a key is the only unique value that another try finds anew.
const RUN_ID_CONSTRAINT: &str = "run_pkey";

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn is(error: &sqlx::Error, wanted: &str) -> bool {
    code(error).is_some_and(|code| code == wanted)
}

fn met_another(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    code(error).is_some_and(|code| MET_ANOTHER.contains(&code.as_str()))
        && constraint != Some(RUN_ID_CONSTRAINT)
}

fn fault(operation: &'static str, error: &sqlx::Error) -> LedgerError {
    let reason = match error {
        sqlx::Error::Database(database) => database.message().to_owned(),
        _ => error.to_string(),
    };
    match code(error) {
        Some(code) if code == DISK_FULL => LedgerError::Full(reason),
        Some(code) if UNREACHABLE.iter().any(|class| code.starts_with(class)) => {
            LedgerError::Unreachable { operation, reason }
        }
        Some(_) => LedgerError::Fault { operation, reason },
        None => match error {
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => {
                LedgerError::Fault { operation, reason }
            }
            // Everything that is not an answer of the server: sockets, TLS, the pool's patience, the URL itself.
            _ => LedgerError::Unreachable { operation, reason },
        },
    }
}
