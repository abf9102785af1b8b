//! The tables of a SQLite ledger, by version, and how a file gets there.
//!
//! Which version counts is asked again under the write lock.

use sqlx::SqliteConnection;

use super::sql;

/// `SERN`: marks the file as a ledger, so that no other database is taken for one.
const APPLICATION_ID: i64 = 0x5345_524e;

/// Each version's changes; the last statement of each raises `user_version`. Only ever append.
const VERSIONS: [&str; 4] = [
    "
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
CREATE INDEX run_by_job ON run (job);
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
) STRICT, WITHOUT ROWID;
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
",
    "
CREATE TABLE gauge_state (
    subject TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    ordinal    INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    sink       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    body       TEXT NOT NULL,
    state      TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    next_at    INTEGER NOT NULL,
    last_error TEXT,
    ended_at   INTEGER
) STRICT;
CREATE INDEX outbox_waiting ON outbox (sink, subject, ordinal) WHERE state = 'waiting';
PRAGMA user_version = 2;
",
    "
CREATE INDEX run_by_end ON run (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX measurement_by_run ON measurement (run);
PRAGMA user_version = 3;
",
    "
CREATE TABLE approval (
    job     TEXT PRIMARY KEY,
    consent TEXT NOT NULL,
    plan    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 4;
",
];

/// The version that this program writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
pub(super) const VERSION: i64 = VERSIONS.len() as i64;

/// Whose file it is, its version, and whether there is anything in it.
const INSPECT: &str = "
SELECT application_id, user_version, EXISTS (SELECT 1 FROM sqlite_schema)
FROM pragma_application_id, pragma_user_version";

/// What an opened file turned out to be.
pub(super) enum Found {
    /// A ledger of this version, by now.
    Known,
    /// A ledger of a later version.
    Newer(i64),
    /// Not ours.
    Foreign,
}

pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    match inspect(connection).await? {
        Ok(VERSION) => return Ok(Found::Known),
        Ok(_) => {}
        Err(found) => return Ok(found),
    }
    // Another process may have been quicker, so what counts is what is there under the write lock.
    sqlx::query(sql::BEGIN).execute(&mut *connection).await?;
    let version = match inspect(connection).await? {
        Ok(version) => version,
        Err(found) => return Ok(found),
    };
    for statements in VERSIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        sqlx::raw_sql(*statements).execute(&mut *connection).await?;
    }
    sqlx::query(sql::COMMIT).execute(connection).await?;
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
