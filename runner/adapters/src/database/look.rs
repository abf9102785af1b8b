//! A look at a database from outside, for whoever wants to know whether it is as jobs will want it. It changes nothing.
//!
//! What a role lacks on single tables is asked through the port; here it is who we are, whom we reach, and through what.

use std::time::{Duration, Instant as Moment};

use chrono::{DateTime, TimeDelta, Utc};
use sereno_core::ports::database::DatabaseError;
use sqlx::{Connection as _, PgConnection, Row as _, SqliteConnection};
use tokio::time::timeout;

use super::fault::Doing;
use super::sql::Sql;

/// Longer than a network takes, shorter than a person waits.
const LIMIT: Duration = Duration::from_secs(10);

const DOING: Doing = Doing {
    operation: "look at the database",
    limit: LIMIT,
};

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// `PostgreSQL 15.18`.
    pub server: String,
    /// 15.
    pub major: u32,
    /// Who we are there; a file has nobody.
    pub role: Option<Role>,
    /// How far the server's clock is ahead of ours, as near as the way there and back allows; a file has no clock.
    pub ahead: Option<TimeDelta>,
    /// Two connections were the same session: a pooler between gives one away at the end of each transaction.
    pub shares_sessions: bool,
    /// It only follows another server.
    pub is_replica: bool,
    /// From asking to the answer.
    pub took: Duration,
}

/// A role of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// It may do everything.
    pub is_superuser: bool,
    /// Tables outside of `sereno` that are its own.
    pub owns: u64,
}

/// Looks at the database behind `url`.
///
/// # Errors
/// It is out of reach, or refuses us.
pub async fn look(url: &str) -> Result<Looked, DatabaseError> {
    let looked = timeout(LIMIT, async {
        if url.starts_with("sqlite:") {
            sqlite(url).await
        } else {
            postgres(url).await
        }
    });
    looked.await.unwrap_or(Err(DatabaseError::Unreachable {
        operation: DOING.operation,
        reason: "no answer within 10 s".to_owned(),
    }))
}

async fn sqlite(url: &str) -> Result<Looked, DatabaseError> {
    let moment = Moment::now();
    let failed = |error: sqlx::Error| DOING.sqlite(&error);
    let mut connection = SqliteConnection::connect(url).await.map_err(failed)?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    let took = moment.elapsed();
    connection.close().await.map_err(failed)?;
    Ok(Looked {
        major: version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or(3),
        server: format!("SQLite {version}"),
        role: None,
        ahead: None,
        shares_sessions: false,
        is_replica: false,
        took,
    })
}

const WHO: &str = "SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int, \
    current_user::text, r.rolsuper, pg_catalog.pg_is_in_recovery(), \
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND c.relowner = r.oid AND n.nspname !~ '^pg_' \
     AND n.nspname NOT IN ('information_schema', 'sereno')) \
    FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user";

async fn postgres(url: &str) -> Result<Looked, DatabaseError> {
    let failed = |error: sqlx::Error| DOING.postgres(&error);
    let mut connection = PgConnection::connect(url).await.map_err(failed)?;
    let row = Sql::new(WHO)
        .postgres()
        .fetch_one(&mut connection)
        .await
        .map_err(failed)?;
    let (moment, before) = (Moment::now(), Utc::now());
    let clock = Sql::new("SELECT pg_catalog.clock_timestamp()");
    let there: DateTime<Utc> = clock
        .postgres()
        .fetch_one(&mut connection)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(failed)?;
    let took = moment.elapsed();
    let half = TimeDelta::from_std(took / 2).unwrap_or_default();
    let shares_sessions = shares_sessions(&mut connection, url).await.map_err(failed)?;
    let read = |row: &sqlx::postgres::PgRow| -> Result<Looked, sqlx::Error> {
        let number = u32::try_from(row.try_get::<i32, _>(1)?).unwrap_or_default();
        Ok(Looked {
            server: format!("PostgreSQL {}", row.try_get::<String, _>(0)?),
            major: number / 10_000,
            role: Some(Role {
                name: row.try_get(2)?,
                is_superuser: row.try_get(3)?,
                owns: row.try_get::<i64, _>(5)?.unsigned_abs(),
            }),
            ahead: Some(there - (before + half)),
            shares_sessions,
            is_replica: row.try_get(4)?,
            took,
        })
    };
    let looked = read(&row).map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(looked)
}

/// A second connection begins a transaction while the first one rests. With a session of its own each, they differ; a
/// pooler that gives sessions away gives the second one what the first one used last.
async fn shares_sessions(first: &mut PgConnection, url: &str) -> Result<bool, sqlx::Error> {
    let pid = "SELECT pg_catalog.pg_backend_pid()";
    let one: i32 = Sql::new(pid).postgres().fetch_one(first).await?.try_get(0)?;
    let mut second = PgConnection::connect(url).await?;
    let mut transaction = second.begin().await?;
    let another: i32 = Sql::new(pid)
        .postgres()
        .fetch_one(&mut *transaction)
        .await?
        .try_get(0)?;
    transaction.rollback().await?;
    second.close().await?;
    Ok(one == another)
}
