//! A database behind its guards: counts before the first row goes, words every effect, records every batch.
//!
//! The port under it is the adapter in apply and `plan::PlannedDatabase` in plan; the path here is the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::{Hold, worse};
use crate::grant::{Path, Verb};
use crate::guard::{GuardState, MAX_ROWS_PERCENT_FROM_ROWS};
use crate::job::NamedQuery;
use crate::name::{TableName, TargetName};
use crate::ports::database::{
    Database, DatabaseError, DatabaseStatistics, DeleteBatch, Fence, IndexStatistics, Purge, Rows,
    TableStatistics, Upkeep, UpkeepTask,
};
use crate::ports::plugins::CallError;
use crate::report::Effect;
use crate::run::Mode;
use crate::value::{Filter, Value};

/// One database, for one attempt.
pub struct DatabaseCapability {
    name: TargetName,
    port: Arc<dyn Database>,
    queries: BTreeMap<TargetName, NamedQuery>,
    hold: Arc<Hold>,
    /// The purges that passed their guards, with how many more rows those allow.
    open: Mutex<Vec<OpenPurge>>,
}

struct OpenPurge {
    purge: Purge,
    /// None: no guard bounds the rows.
    rows_left: Option<u64>,
}

impl From<DatabaseError> for CallError {
    fn from(error: DatabaseError) -> Self {
        let text = error.to_string();
        match error {
            DatabaseError::Unreachable { .. } => Self::Unreachable(text),
            DatabaseError::Busy { .. } | DatabaseError::Timeout { .. } | DatabaseError::Fenced { .. } => {
                Self::Busy(text)
            }
            DatabaseError::NotFound { .. } => Self::NotFound(text),
            DatabaseError::Invalid(_) => Self::Invalid(text),
            DatabaseError::Forbidden { .. } | DatabaseError::Unsupported(_) | DatabaseError::Fault { .. } => {
                Self::Fault(text)
            }
        }
    }
}

impl DatabaseCapability {
    /// Puts `port` behind the guards of `hold`.
    pub fn new(
        name: TargetName,
        port: Arc<dyn Database>,
        queries: BTreeMap<TargetName, NamedQuery>,
        hold: Arc<Hold>,
    ) -> Self {
        Self {
            name,
            port,
            queries,
            hold,
            open: Mutex::new(Vec::new()),
        }
    }

    /// Sizes and connections.
    pub async fn statistics(&self) -> Result<DatabaseStatistics, CallError> {
        Ok(self.port.statistics().await?)
    }

    /// Of one table.
    pub async fn table_statistics(&self, table: &TableName) -> Result<TableStatistics, CallError> {
        Ok(self.port.table_statistics(table).await?)
    }

    /// Of one table's indexes.
    pub async fn indexes(&self, table: &TableName) -> Result<Vec<IndexStatistics>, CallError> {
        Ok(self.port.indexes(table).await?)
    }

    /// Exact count, less what a plan has planned away.
    pub async fn count(&self, table: &TableName, filter: &Filter) -> Result<u64, CallError> {
        Ok(self.port.count(table, filter, &[]).await?)
    }

    /// The operator's query `name`.
    pub async fn query(&self, name: &TargetName, params: &[Value]) -> Result<Rows, CallError> {
        let query = self
            .queries
            .get(name)
            .ok_or_else(|| CallError::NotFound(format!("database.{}.queries.{name}", self.name)))?;
        Ok(self.port.query(query, params).await?)
    }

    /// One batch of a purge. The first of each purge counts and is held against the guards before any row goes.
    pub async fn delete_batch(
        &self,
        table: &TableName,
        filter: Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<DeleteBatch, CallError> {
        let on = Path::Table(self.name.clone(), table.clone()).to_string();
        let purge = Purge {
            table: table.clone(),
            filter,
            order_by: order_by.to_owned(),
        };
        let mut open = self.open.lock().await;
        let at = if let Some(at) = open.iter().position(|known| known.purge == purge) {
            at
        } else {
            let opened = self.open_purge(&on, purge).await?;
            open.push(opened);
            open.len() - 1
        };
        let OpenPurge { purge, rows_left } = &mut open[at];
        let fence = self.fence(&on);
        if *rows_left == Some(0) && self.hold.mode == Mode::Apply {
            // The guards' last row is gone. Whether more match decides between the end and a refusal.
            let more = self
                .port
                .preview_delete_batch(purge, &[], cursor, 1, &fence)
                .await?;
            if more.rows == 0 && more.cursor.is_none() {
                return Ok(DeleteBatch { rows: 0, ..more });
            }
            return Err(CallError::Guard(format!(
                "more rows match on {on} than its guards allowed when the run began"
            )));
        }
        let bounded = rows_left.map_or(max, |left| max.min(u32::try_from(left).unwrap_or(u32::MAX)));
        let asked = if self.hold.mode == Mode::Apply {
            bounded
        } else {
            max
        };
        let batch = self
            .port
            .delete_batch(purge, cursor, asked.max(1), &fence)
            .await?;
        if let Some(left) = rows_left {
            *left = left.saturating_sub(batch.rows);
        }
        let part = Effect {
            done: if self.hold.mode == Mode::Apply {
                batch.rows
            } else {
                0
            },
            skipped: batch.locked,
            ..rows_effect(&on, purge)
        };
        if part.done > 0 || part.skipped > 0 {
            self.hold.note(None, part).await?;
        }
        Ok(batch)
    }

    /// One upkeep task.
    pub async fn upkeep(&self, task: UpkeepTask, limit: Duration) -> Result<Upkeep, CallError> {
        let (verb, table, unit, what) = match &task {
            UpkeepTask::Vacuum { table, analyze } => (
                Verb::Vacuum,
                table,
                "tables",
                if *analyze { "with statistics" } else { "" }.to_owned(),
            ),
            UpkeepTask::Analyze { table } => (Verb::Analyze, table, "tables", String::new()),
            UpkeepTask::Reindex { table, index } => (Verb::Reindex, table, "indexes", index.clone()),
        };
        let on = Path::Table(self.name.clone(), table.clone()).to_string();
        let mut effect = Effect {
            verb,
            on: on.clone(),
            unit: unit.to_owned(),
            what,
            planned: 1,
            total: None,
            done: 0,
            bytes: None,
            bytes_estimated: self.hold.mode == Mode::Plan,
            skipped: 0,
            cutoff: None,
            guard: None,
        };
        effect.guard = self.hold.judge_plan(&effect, 1);
        self.hold.stop_at(&effect)?;
        let upkeep = self.port.upkeep(&task, limit, &self.fence(&on)).await?;
        if upkeep.done {
            effect.done = u64::from(self.hold.mode == Mode::Apply);
        } else {
            effect.planned = 0;
            effect.skipped = 1;
        }
        effect.bytes = upkeep.bytes;
        self.hold.note(None, effect).await?;
        Ok(upkeep)
    }

    /// Everything that must hold before the first row goes: a cutoff, no protected table, no hazard, no guard
    /// exceeded, no more than was planned. Counts are exact.
    async fn open_purge(&self, on: &str, purge: Purge) -> Result<OpenPurge, CallError> {
        let table = &purge.table;
        let Some(cutoff) = purge.filter.cutoff(&purge.order_by) else {
            return Err(CallError::Invalid(format!(
                "a delete on {on} needs a condition `{} <` with a point in time",
                purge.order_by
            )));
        };
        if self.hold.guards.protected.contains(table) {
            return Err(CallError::Guard(format!(
                "{on} is protected: nothing may be deleted from it"
            )));
        }
        let now = self.port.now().await?;
        let hazards: Vec<_> = self
            .port
            .hazards(table)
            .await?
            .into_iter()
            .filter(|hazard| !self.hold.guards.accept.contains(&hazard.name))
            .collect();
        let matching = self.port.count(table, &purge.filter, &[]).await?;
        let total = self.port.count(table, &Filter::default(), &[]).await?;
        let mut effect = Effect {
            planned: matching,
            total: Some(total),
            cutoff: Some(cutoff),
            ..rows_effect(on, &purge)
        };
        let (before, before_all) = self.hold.done_before(&effect);
        let rows = self.hold.guards.judge_rows(matching, total, before, before_all);
        let danger = (!hazards.is_empty()).then(|| GuardState::new("accept", 0.0, hazards.len() as f64));
        effect.guard = [
            self.hold.judge_cutoff(cutoff, now),
            danger,
            self.hold.judge_plan(&effect, matching),
        ]
        .into_iter()
        .fold(rows, worse);
        for hazard in &hazards {
            self.hold.hazard(on, &hazard.name, &hazard.text);
        }
        self.hold.note(None, effect.clone()).await?;
        self.hold.stop_at(&effect)?;
        let rows_left = self.rows_allowed(matching, total, before, before_all);
        Ok(OpenPurge { purge, rows_left })
    }

    /// The most rows that the guards let this attempt delete from one table.
    fn rows_allowed(&self, matching: u64, total: u64, before: u64, before_all: u64) -> Option<u64> {
        let whole = total + before;
        let of_key = self
            .hold
            .guards
            .max_rows
            .map(|limit| limit.saturating_sub(before_all));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a row count"
        )]
        let share = self
            .hold
            .guards
            .max_rows_percent
            .filter(|_| whole >= MAX_ROWS_PERCENT_FROM_ROWS)
            .map(|percent| ((whole as f64 * percent / 100.0) as u64).saturating_sub(before));
        // What was counted was allowed, whatever rounding says.
        of_key
            .into_iter()
            .chain(share)
            .min()
            .map(|rows| rows.max(matching))
    }

    fn fence(&self, scope: &str) -> Fence {
        Fence {
            run: self.hold.run.clone(),
            attempt: self.hold.attempt,
            scope: scope.to_owned(),
            token: self.hold.tokens.get(scope).copied().unwrap_or_default(),
            in_database: self.hold.fence_in_database && self.hold.tokens.contains_key(scope),
        }
    }
}

fn rows_effect(on: &str, purge: &Purge) -> Effect {
    Effect {
        verb: Verb::Delete,
        on: on.to_owned(),
        unit: "rows".to_owned(),
        what: purge.filter.to_string(),
        planned: 0,
        total: None,
        done: 0,
        bytes: None,
        bytes_estimated: false,
        skipped: 0,
        cutoff: None,
        guard: None,
    }
}
