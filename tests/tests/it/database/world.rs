//! A database under test together with a second way in, for what the operator's application does.
//!
//! The second way is the test's own connection; nothing of the adapter is used to look at what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sereno_adapters::database::{Options, open};
use sereno_core::job::TimeFormat;
use sereno_core::ports::database::Database;
use sereno_core::schedule::Zone;
use sereno_tests::postgres;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// The test's own connection.
enum Side {
    Sqlite(Mutex<SqliteConnection>),
    Postgres(Mutex<PgConnection>),
}

/// A database of one test.
pub(crate) struct World {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) url: String,
    side: Side,
    _folder: Option<TempDir>,
}

pub(crate) fn options(url: &str) -> Options {
    Options {
        url: url.to_owned(),
        upkeep_url: None,
        timezone: Zone::utc(),
        time_format: TimeFormat::Text,
    }
}

impl World {
    pub(crate) async fn sqlite_file() -> Self {
        Self::sqlite_file_with(TimeFormat::Text).await
    }

    pub(crate) async fn sqlite_file_with(time_format: TimeFormat) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("app.db").display());
        let side = SqliteConnection::connect(&format!("{url}?mode=rwc"))
            .await
            .expect("a connection");
        let database = open(&Options {
            time_format,
            ..options(&url)
        })
        .expect("a SQLite URL");
        Self {
            database,
            url,
            side: Side::Sqlite(Mutex::new(side)),
            _folder: Some(folder),
        }
    }

    /// Lives as long as the test's own connection.
    pub(crate) async fn sqlite_memory() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let url = format!(
            "sqlite://file:world-{}?mode=memory",
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let side = SqliteConnection::connect(&url).await.expect("a connection");
        let database = open(&options(&url)).expect("a SQLite URL");
        Self {
            database,
            url,
            side: Side::Sqlite(Mutex::new(side)),
            _folder: None,
        }
    }

    pub(crate) async fn postgres() -> Self {
        Self::postgres_with(options).await
    }

    /// A database of its own in the cluster of all tests, reached as `with` says.
    pub(crate) async fn postgres_with(with: impl FnOnce(&str) -> Options) -> Self {
        let cluster = postgres::shared().expect("a PostgreSQL server");
        let made = cluster.database("world").await.expect("a database");
        let side = PgConnection::connect(&made.url).await.expect("a connection");
        let database = open(&with(&made.url)).expect("a PostgreSQL URL");
        Self {
            database,
            url: made.url,
            side: Side::Postgres(Mutex::new(side)),
            _folder: None,
        }
    }

    /// One more connection, such as the application's.
    pub(crate) async fn second_postgres(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("a connection")
    }

    /// The same database as another role, with the adapter that reaches it so.
    pub(crate) async fn as_role(&self, role: &str) -> Arc<dyn Database> {
        let name = self.texts("SELECT current_database()::text").await.remove(0);
        let url = postgres::shared()
            .expect("a PostgreSQL server")
            .url_for(&name, role);
        open(&options(&url)).expect("a PostgreSQL URL")
    }

    /// One more connection to the same file.
    pub(crate) async fn second_sqlite(&self) -> SqliteConnection {
        SqliteConnection::connect(&self.url).await.expect("a connection")
    }

    /// Runs statements.
    #[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
    pub(crate) async fn run(&self, sql: &str) {
        match &self.side {
            Side::Sqlite(side) => {
                let mut side = side.lock().await;
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut *side)
                    .await
                    .map(drop)
            }
            Side::Postgres(side) => {
                let mut side = side.lock().await;
                sqlx::raw_sql(AssertSqlSafe(sql))
                    .execute(&mut *side)
                    .await
                    .map(drop)
            }
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The numbers of a query's first column.
    #[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
    pub(crate) async fn numbers(&self, sql: &str) -> Vec<i64> {
        match &self.side {
            Side::Sqlite(side) => {
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut *side.lock().await)
                    .await
            }
            Side::Postgres(side) => {
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut *side.lock().await)
                    .await
            }
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The texts of a query's first column.
    #[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        match &self.side {
            Side::Sqlite(side) => {
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut *side.lock().await)
                    .await
            }
            Side::Postgres(side) => {
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut *side.lock().await)
                    .await
            }
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The type of a column that keeps time.
    pub(crate) fn timestamp(&self) -> &'static str {
        match self.side {
            Side::Sqlite(_) => "text",
            Side::Postgres(_) => "timestamptz",
        }
    }

    /// A query for the names of all tables.
    pub(crate) fn tables(&self) -> &'static str {
        match self.side {
            Side::Sqlite(_) => "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name",
            Side::Postgres(_) => {
                "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384 ORDER BY 1"
            }
        }
    }

    /// How a named query must call a table.
    pub(crate) fn qualified(&self, table: &str) -> String {
        match self.side {
            Side::Sqlite(_) => table.to_owned(),
            Side::Postgres(_) => format!("public.{table}"),
        }
    }

    /// Makes a trigger that does nothing.
    pub(crate) async fn create_trigger(&self, name: &str, event: &str, table: &str) {
        match self.side {
            Side::Sqlite(_) => {
                self.run(&format!(
                    "CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN SELECT 1; END"
                ))
                .await;
            }
            Side::Postgres(_) => {
                let body = format!(
                    "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
                     CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
                );
                self.run(&body).await;
            }
        }
    }
}
