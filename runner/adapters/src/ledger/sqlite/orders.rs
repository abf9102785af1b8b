//! What the SQLite ledger keeps of the operator's word.
//!
//! Raising and reading one flag is the module's own.

use async_trait::async_trait;
use sereno_core::approval::Approval;
use sereno_core::name::JobName;
use sereno_core::ports::ledger::LedgerError;
use sereno_core::ports::orders::{Orders, Raised};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::fault::fault;
use super::{SqliteLedger, sql};
use crate::ledger::ballast::Ballast;
use crate::ledger::{flag_of, from_json, instant, micros, to_json};

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

    async fn approve(&self, approval: &Approval) -> Result<(), LedgerError> {
        let body = to_json(approval);
        let statement = || {
            sqlx::query(sql::APPROVE)
                .bind(approval.job.as_str())
                .bind(&approval.consent)
                .bind(approval.plan.as_str())
                .bind(micros(approval.at))
                .bind(&body)
        };
        with_ballast!(self, self.execute("record an approval", statement()))?;
        Ok(())
    }

    async fn approval(&self, job: &JobName) -> Result<Option<Approval>, LedgerError> {
        const OPERATION: &str = "read an approval";
        let statement = sqlx::query(sql::APPROVAL).bind(job.as_str());
        let rows = self.execute(OPERATION, statement).await?;
        rows.first()
            .map(|row| row.try_get(0).and_then(from_json))
            .transpose()
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
