//! What the PostgreSQL ledger keeps of the operator's word.
//!
//! Raising and reading one flag is the module's own.

use async_trait::async_trait;
use sereno_core::ports::ledger::LedgerError;
use sereno_core::ports::orders::{Orders, Raised};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{PostgresLedger, sql};
use crate::ledger::flag_of;

#[async_trait]
impl Orders for PostgresLedger {
    async fn raised(&self) -> Result<Vec<Raised>, LedgerError> {
        sqlx::query(sql::RAISED)
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(raised).collect())
            .map_err(|error| self.fault("read all flags", &error))
    }
}

fn raised(row: &PgRow) -> Result<Raised, sqlx::Error> {
    Ok(Raised {
        on: row.try_get("subject")?,
        flag: flag_of(row.try_get("flag")?)?,
        at: row.try_get("raised_at")?,
    })
}
