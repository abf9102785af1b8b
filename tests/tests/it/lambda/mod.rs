//! The program as a function of Lambda, on real PostgreSQL: events by the real AWS command line through cargo-lambda's
//! emulator, and by a Runtime API of our own where deadlines, errors and ends of sandboxes matter.
//!
//! What an event means is held in `runner/core/src/event/tests.rs`; here it must come true.

mod deadlines;
mod sandbox;
mod shapes;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value as Json;
use sereno_tests::postgres::{self, Database};
use sqlx::{Connection as _, PgConnection, Row as _};
use tempfile::TempDir;

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

/// A database with sessions of all ages, a ledger beside it, and a configuration.
struct World {
    folder: TempDir,
    app: Database,
    ledger: Database,
}

impl World {
    /// `rest` is put behind a configuration that can purge sessions.
    async fn new(rest: &str) -> Self {
        let cluster = postgres::shared().unwrap();
        let app = cluster.database("lambda_app").await.unwrap();
        let ledger = cluster.database("lambda_ledger").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            r#"
version = 1
[policy]
plan_first = false
[ledger]
url = "{ledger}"
[database.app]
url = "{app}"
[database.gone]
url = "postgres://nobody@127.0.0.1:1/gone"
[job.expired-sessions]
plugin = "row-retention"
params = {{ database = "app", table = "user_sessions", column = "updated_at", keep = "7 days" }}
grant = {{ database.app.tables.user_sessions = ["read", "delete"] }}
guard = {{ max_rows_percent = 100, accept = ["trigger:slow"] }}
event_sources = ["rule/expired-sessions-nightly", "schedule/default/expired-sessions"]
[job.out-of-reach]
plugin = "row-retention"
params = {{ database = "gone", table = "user_sessions", column = "updated_at", keep = "7 days" }}
grant = {{ database.gone.tables.user_sessions = ["read", "delete"] }}
{rest}
"#,
            ledger = ledger.url,
            app = app.url
        );
        fs::write(folder.path().join("sereno.toml"), configuration).unwrap();
        let world = Self { folder, app, ledger };
        world
            .execute(
                "CREATE TABLE user_sessions (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
                 CREATE INDEX by_age ON user_sessions (updated_at, id);",
            )
            .await;
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn app(&self) -> PgConnection {
        PgConnection::connect(&self.app.url).await.unwrap()
    }

    async fn execute(&self, text: &str) {
        let mut connection = self.app().await;
        sqlx::raw_sql(sql(text.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
    }

    /// Sessions 1 to 20, one a day old each, whichever of them are there already.
    async fn fill(&self) {
        self.execute(
            "INSERT INTO user_sessions SELECT i, now() - make_interval(days => i, hours => -1)
             FROM generate_series(1, 20) i ON CONFLICT DO NOTHING",
        )
        .await;
    }

    async fn ids(&self) -> BTreeSet<i64> {
        let rows = sqlx::query("SELECT id FROM user_sessions")
            .fetch_all(&mut self.app().await)
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Lets a minute pass for the leases of whoever died.
    async fn leases_run_out(&self) {
        let mut ledger = PgConnection::connect(&self.ledger.url).await.unwrap();
        sqlx::raw_sql("UPDATE sereno.lease SET until = now() - interval '1 second'")
            .execute(&mut ledger)
            .await
            .unwrap();
    }
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How many were deleted by this attempt.
fn done(report: &Json) -> u64 {
    let targets = report["targets"].as_array().unwrap();
    let effects = targets
        .iter()
        .flat_map(|target| target["effects"].as_array().unwrap());
    effects.map(|effect| effect["done"].as_u64().unwrap()).sum()
}
