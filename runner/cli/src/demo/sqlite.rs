//! The demo's database in a SQLite file: made, and read back.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::world::{Table, Times, World};

/// The plan's schema.
const SCHEMA: &str = "
CREATE TABLE tenants (id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE user_sessions (
    id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, chat TEXT NOT NULL, state TEXT NOT NULL, updated_at TEXT NOT NULL);
CREATE TABLE notifications (
    id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE audit_logs (
    id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE tenant_invoices (
    id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, folio TEXT NOT NULL, cents INTEGER NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE tenant_payments (
    id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, invoice_id INTEGER NOT NULL, cents INTEGER NOT NULL,
    created_at TEXT NOT NULL);
CREATE TABLE tenant_subscriptions (
    id INTEGER PRIMARY KEY, tenant_id INTEGER NOT NULL, plan TEXT NOT NULL, created_at TEXT NOT NULL);
";

/// After the rows, because an index is made quicker than it is kept.
const INDEXES: &str = "
CREATE INDEX user_sessions_updated_at ON user_sessions (updated_at);
CREATE INDEX audit_logs_created_at ON audit_logs (created_at);
";

/// Takes the values of each row of a JSON list.
macro_rules! insert {
    ($table:literal, 3) => {
        concat!(
            "INSERT INTO ",
            $table,
            " SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)"
        )
    };
    ($table:literal, 4) => {
        concat!(
            "INSERT INTO ",
            $table,
            " SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1)"
        )
    };
    ($table:literal, 5) => {
        concat!(
            "INSERT INTO ",
            $table,
            " SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1)"
        )
    };
}

fn insert(table: Table) -> &'static str {
    match table {
        Table::Tenants => insert!("tenants", 3),
        Table::UserSessions => insert!("user_sessions", 5),
        Table::Notifications => insert!("notifications", 5),
        Table::AuditLogs => insert!("audit_logs", 5),
        Table::TenantInvoices => insert!("tenant_invoices", 5),
        Table::TenantPayments => insert!("tenant_payments", 5),
        Table::TenantSubscriptions => insert!("tenant_subscriptions", 4),
    }
}

/// The ids of a table; the same statement for both databases.
pub(super) fn select_ids(table: Table) -> &'static str {
    match table {
        Table::Tenants => "SELECT id FROM tenants",
        Table::UserSessions => "SELECT id FROM user_sessions",
        Table::Notifications => "SELECT id FROM notifications",
        Table::AuditLogs => "SELECT id FROM audit_logs",
        Table::TenantInvoices => "SELECT id FROM tenant_invoices",
        Table::TenantPayments => "SELECT id FROM tenant_payments",
        Table::TenantSubscriptions => "SELECT id FROM tenant_subscriptions",
    }
}

/// Makes the database, all in one transaction.
pub(super) async fn build(file: &Path, world: &World) -> Result<()> {
    let mut connection = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .connect()
        .await
        .context("could not make the demo's database")?;
    fill(&mut connection, world)
        .await
        .context("could not fill the demo's database")?;
    connection
        .close()
        .await
        .context("could not close the demo's database")
}

async fn fill(connection: &mut SqliteConnection, world: &World) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
    for table in Table::ALL {
        for rows in world.chunks(table, Times::Text) {
            sqlx::query(insert(table))
                .bind(rows)
                .execute(&mut *transaction)
                .await?;
        }
    }
    sqlx::raw_sql(INDEXES).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// The ids that a table holds now.
pub(super) async fn ids(file: &Path, table: Table) -> Result<BTreeSet<i64>> {
    let mut connection = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .connect()
        .await
        .context("could not open the demo's database")?;
    let ids: Vec<i64> = sqlx::query_scalar(select_ids(table))
        .fetch_all(&mut connection)
        .await
        .with_context(|| format!("could not read {}", table.name()))?;
    connection
        .close()
        .await
        .context("could not close the demo's database")?;
    Ok(ids.into_iter().collect())
}
