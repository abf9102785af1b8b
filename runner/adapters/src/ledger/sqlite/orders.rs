//! What the SQLite ledger keeps of the operator's word.
//!
//! Raising and reading one flag is the module's own.

use async_trait::async_trait;
use sereno_core::ports::ledger::LedgerError;
use sereno_core::ports::orders::{Orders, Raised};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::fault::fault;
use super::{SqliteLedger, sql};
use crate::ledger::{flag_of, instant};

#[async_trait]
impl Orders for SqliteLedger {
    async fn raised(&self) -> Result<Vec<Raised>, LedgerError> {
        const OPERATION: &str = "read all flags";
        let rows = self.execute(OPERATION, sqlx::query(sql::RAISED)).await?;
        rows.iter()
            .map(raised)
            .collect::<Result<_, _>>()
            .map_err(|error| fault(OPERATION, &error))
    }
}

fn raised(row: &SqliteRow) -> Result<Raised, sqlx::Error> {
    Ok(Raised {
        on: row.try_get("subject")?,
        flag: flag_of(row.try_get("flag")?)?,
        at: row.try_get("raised_at").and_then(instant)?,
    })
}
