//! What the PostgreSQL ledger keeps of the operator's word.
//!
//! Raising and reading one flag is the module's own.

use async_trait::async_trait;
use sereno_core::approval::Approval;
use sereno_core::name::JobName;
use sereno_core::ports::ledger::LedgerError;
use sereno_core::ports::orders::{Orders, Raised};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::{PostgresLedger, sql};
use crate::ledger::{flag_of, from_json, to_json};

#[async_trait]
impl Orders for PostgresLedger {
    async fn raised(&self) -> Result<Vec<Raised>, LedgerError> {
        sqlx::query(sql::RAISED)
            .fetch_all(&self.pool)
            .await
            .and_then(|rows| rows.iter().map(raised).collect())
            .map_err(|error| self.fault("read all flags", &error))
    }

    async fn approve(&self, approval: &Approval) -> Result<(), LedgerError> {
        sqlx::query(sql::APPROVE)
            .bind(approval.job.as_str())
            .bind(&approval.consent)
            .bind(approval.plan.as_str())
            .bind(approval.at)
            .bind(to_json(approval))
            .execute(&self.pool)
            .await
            .map_err(|error| self.fault("record an approval", &error))?;
        Ok(())
    }

    async fn approval(&self, job: &JobName) -> Result<Option<Approval>, LedgerError> {
        const OPERATION: &str = "read an approval";
        let body: Option<String> = sqlx::query_scalar(sql::APPROVAL)
            .bind(job.as_str())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.fault(OPERATION, &error))?;
        body.map(|body| from_json(&body))
            .transpose()
            .map_err(|error| self.fault(OPERATION, &error))
    }
}

fn raised(row: &PgRow) -> Result<Raised, sqlx::Error> {
    Ok(Raised {
        on: row.try_get("subject")?,
        flag: flag_of(row.try_get("flag")?)?,
        at: row.try_get("raised_at")?,
    })
}
