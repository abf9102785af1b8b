//! The tables of a PostgreSQL ledger, by version, and how a database gets there.
//!
//! Which version counts is asked again under the lock.

use sqlx::{PgConnection, PgPool};

use super::fault::is_undefined_table;

/// `sereno` in the place where PostgreSQL wants a number: one process migrates at a time.
const MIGRATION_LOCK: i64 = 0x7365_7265_6e6f;

/// Each version's changes. Only ever append. What a guest writes is JSON, since PostgreSQL's text takes no NUL, and
/// not binary JSON, which takes none either and keeps no bytes as they were.
const VERSIONS: [&str; 4] = [
    "
CREATE TABLE sereno.run (
    ordinal      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text COLLATE \"C\" NOT NULL CONSTRAINT run_id UNIQUE,
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
CREATE INDEX run_by_job ON sereno.run (job, ordinal);
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
",
    "
CREATE TABLE sereno.gauge_state (
    subject text PRIMARY KEY,
    version bigint NOT NULL,
    body    json NOT NULL
);
CREATE TABLE sereno.outbox (
    ordinal    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text NOT NULL UNIQUE,
    sink       text NOT NULL,
    subject    text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    body       json NOT NULL,
    state      text NOT NULL,
    attempts   integer NOT NULL,
    next_at    timestamptz NOT NULL,
    last_error text,
    ended_at   timestamptz
);
CREATE INDEX outbox_waiting ON sereno.outbox (sink, subject, ordinal) WHERE state = 'waiting';
",
    "
CREATE INDEX run_by_end ON sereno.run (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX measurement_by_run ON sereno.measurement (run);
",
    "
CREATE TABLE sereno.approval (
    job     text COLLATE \"C\" PRIMARY KEY,
    consent text NOT NULL,
    plan    text NOT NULL,
    at      timestamptz NOT NULL,
    body    json NOT NULL
);
",
];

/// The version that this program writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
pub(super) const VERSION: i64 = VERSIONS.len() as i64;

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

/// None when there is no ledger yet.
pub(super) async fn read_version(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    match sqlx::query_scalar(READ_VERSION).fetch_optional(pool).await {
        Err(error) if is_undefined_table(&error) => Ok(None),
        result => result,
    }
}

/// Answers the version that is there in the end.
pub(super) async fn migrate(pool: &PgPool) -> Result<i64, sqlx::Error> {
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
