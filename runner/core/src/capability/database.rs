//! A database behind its guards: counts before the first row goes, words every effect, records every batch.
//!
//! The port under it is the adapter in apply and `plan::PlannedDatabase` in plan; the path here is the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::archive::{About, Keeper};
use super::{Begun, Hold, StorageCapability};
use crate::grant::{Authority, Path, Verb};
use crate::guard::GuardState;
use crate::job::NamedQuery;
use crate::name::{TableName, TargetName};
use crate::ports::database::{
    Database, DatabaseError, DatabaseStatistics, DeleteBatch, Fence, IndexStatistics, Purge, Rows,
    TableStatistics, Upkeep, UpkeepTask,
};
use crate::ports::files::Directory;
use crate::ports::plugins::CallError;
use crate::report::Effect;
use crate::run::Mode;
use crate::value::{Filter, Instant, Value};

/// One database, for one attempt.
pub struct DatabaseCapability {
    pub(super) name: TargetName,
    pub(super) port: Arc<dyn Database>,
    queries: BTreeMap<TargetName, NamedQuery>,
    /// Where the server keeps its data, for its free space.
    pub(super) disk: Option<Arc<dyn Directory>>,
    authority: Arc<Authority>,
    pub(super) hold: Arc<Hold>,
    /// The purges that passed their guards.
    open: Mutex<Vec<OpenPurge>>,
    pub(super) begun: Begun,
}

struct OpenPurge {
    purge: Purge,
    /// Where its rows go first.
    keeper: Option<Keeper>,
    /// What `keeper` was made of.
    archive: Option<(TargetName, String)>,
    /// The table's rows as the key found them.
    whole: u64,
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
            DatabaseError::Refused(_) => Self::Guard(text),
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
        disk: Option<Arc<dyn Directory>>,
        authority: Arc<Authority>,
        hold: Arc<Hold>,
    ) -> Self {
        Self {
            name,
            port,
            queries,
            disk,
            authority,
            hold,
            open: Mutex::new(Vec::new()),
            begun: Begun::default(),
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
        self.purge_batch(table, filter, order_by, cursor, max, None).await
    }

    /// The same, and every row is kept in `storage` below `prefix` before it goes.
    #[expect(clippy::too_many_arguments, reason = "the contract's own")]
    pub async fn archive_batch(
        &self,
        table: &TableName,
        filter: Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
        storage: &StorageCapability,
        prefix: &str,
    ) -> Result<DeleteBatch, CallError> {
        self.purge_batch(table, filter, order_by, cursor, max, Some((storage, prefix)))
            .await
    }

    async fn purge_batch(
        &self,
        table: &TableName,
        filter: Filter,
        order_by: &str,
        cursor: Option<&str>,
        max: u32,
        archive: Option<(&StorageCapability, &str)>,
    ) -> Result<DeleteBatch, CallError> {
        let (on, table) = self.canonical(table);
        let purge = Purge {
            table,
            filter,
            order_by: order_by.to_owned(),
        };
        let to = archive.map(|(storage, prefix)| (storage.name().clone(), prefix.to_owned()));
        let mut open = self.open.lock().await;
        let is_same = |known: &OpenPurge| known.purge == purge && known.archive == to;
        let at = if let Some(at) = open.iter().position(is_same) {
            at
        } else {
            self.begun.another(&on)?;
            let opened = self.open_purge(&on, purge, archive).await?;
            open.push(opened);
            open.len() - 1
        };
        let OpenPurge {
            purge, keeper, whole, ..
        } = &open[at];
        let fence = self.fence(&on);
        if self.hold.fence_in_database && self.hold.mode == Mode::Apply && !fence.in_database {
            // Another run may be at the same rows, and nothing would record what goes.
            return Err(CallError::Fault(format!("this run holds no lease on {on}")));
        }
        // Asked anew for every batch, because purges of the same table share what its guards allow.
        let rows_left = match self.hold.mode {
            Mode::Apply => self.rows_left(&rows_effect(&on, purge), *whole),
            Mode::Plan => None,
        };
        if rows_left == Some(0) {
            // The guards' last row is gone. Whether more match decides between the end and a refusal.
            let more = self
                .port
                .preview_delete_batch(purge, &[], cursor, 1, &fence)
                .await?;
            if more.rows == 0 {
                // The end, or a long walk on which nothing has matched yet.
                return Ok(more);
            }
            return Err(CallError::Guard(format!(
                "more rows match on {on} than its guards allowed when the run began"
            )));
        }
        let asked = rows_left.map_or(max, |left| max.min(u32::try_from(left).unwrap_or(u32::MAX)));
        let under_way = self.hold.book.under_way();
        let batch = match keeper {
            None => self.port.delete_batch(purge, cursor, asked, &fence).await?,
            Some(keeper) => {
                self.port
                    .archive_batch(purge, cursor, asked, &fence, keeper)
                    .await?
            }
        };
        if let Some((storage, _)) = archive
            && self.hold.mode == Mode::Apply
            && batch.rows > 0
        {
            let kept = Effect {
                done: batch.rows,
                ..kept_effect(storage, &on)
            };
            self.hold.note(kept).await?;
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
            self.hold.note(part).await?;
        }
        under_way.over();
        // The rows are gone and counted; that their object says so too may be left to the next run.
        if let Some(keeper) = keeper {
            keeper.confirm().await?;
        }
        Ok(batch)
    }

    /// One upkeep task.
    pub async fn upkeep(&self, mut task: UpkeepTask, limit: Duration) -> Result<Upkeep, CallError> {
        let (UpkeepTask::Vacuum { table, .. }
        | UpkeepTask::Analyze { table }
        | UpkeepTask::VacuumFull { table }
        | UpkeepTask::Reindex { table, .. }) = &mut task;
        let (on, canonical) = self.canonical(table);
        *table = canonical;
        let (verb, unit, what) = match &task {
            UpkeepTask::Vacuum { analyze, .. } => (
                Verb::Vacuum,
                "tables",
                if *analyze { "with statistics" } else { "" }.to_owned(),
            ),
            UpkeepTask::Analyze { .. } => (Verb::Analyze, "tables", String::new()),
            UpkeepTask::VacuumFull { .. } => (Verb::VacuumFull, "tables", String::new()),
            UpkeepTask::Reindex { index, .. } => (Verb::Reindex, "indexes", index.clone()),
        };
        let mut effect = Effect {
            planned: 1,
            bytes_estimated: self.hold.mode == Mode::Plan,
            ..Effect::of(verb, on.clone(), unit, what)
        };
        let of_plan = self.hold.judge_plan(&effect, 1);
        let of_rewrite = match &task {
            UpkeepTask::VacuumFull { table } => self.judge_rewrite(&on, table).await?,
            _ => Vec::new(),
        };
        effect = effect.judged(of_plan.into_iter().chain(of_rewrite));
        self.hold.stop_at(&effect)?;
        let upkeep = self.port.upkeep(&task, limit, &self.fence(&on)).await?;
        if upkeep.done {
            effect.done = u64::from(self.hold.mode == Mode::Apply);
        } else {
            effect.planned = 0;
            effect.skipped = 1;
        }
        effect.bytes = upkeep.bytes;
        self.hold.note(effect).await?;
        Ok(upkeep)
    }

    /// Everything that must hold before the first row goes: a cutoff, no protected table, no hazard, no guard
    /// exceeded, no more than was planned. Counts are exact.
    async fn open_purge(
        &self,
        on: &str,
        purge: Purge,
        archive: Option<(&StorageCapability, &str)>,
    ) -> Result<OpenPurge, CallError> {
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
        let keeper = match archive {
            Some((storage, prefix)) => Some(self.keeper(on, &purge, storage, prefix, now).await?),
            None => None,
        };
        let hazards: Vec<_> = self
            .port
            .hazards(table)
            .await?
            .into_iter()
            // Rows of other tables that go along are in no archive, whatever was accepted.
            .filter(|hazard| {
                (archive.is_some() && hazard.name.starts_with("cascade:"))
                    || !self.hold.guards.accept.contains(&hazard.name)
            })
            .collect();
        let matching = self.port.count(table, &purge.filter, &[]).await?;
        let total = self.port.count(table, &Filter::default(), &[]).await?;
        let effect = Effect {
            planned: matching,
            total: Some(total),
            cutoff: Some(cutoff),
            ..rows_effect(on, &purge)
        };
        let (before, before_all) = self.hold.taken(&effect);
        let rows = self.hold.guards.judge_rows(matching, total, before, before_all);
        let danger = (!hazards.is_empty()).then(|| GuardState::new("accept", 0.0, hazards.len() as f64));
        let others = [
            self.hold.judge_cutoff(cutoff, now),
            danger,
            self.hold.judge_plan(&effect, matching),
        ];
        let effect = effect.judged(rows.into_iter().chain(others.into_iter().flatten()));
        for hazard in &hazards {
            self.hold.hazard(on, &hazard.name, &hazard.text);
        }
        self.hold.note(effect.clone()).await?;
        self.hold.stop_at(&effect)?;
        if let Some((storage, _)) = archive {
            let kept = Effect {
                planned: matching,
                ..kept_effect(storage, on)
            };
            self.hold.note(kept).await?;
        }
        let whole = total + before;
        Ok(OpenPurge {
            purge,
            keeper,
            archive: archive.map(|(storage, prefix)| (storage.name().clone(), prefix.to_owned())),
            whole,
        })
    }

    /// What keeps the rows of one purge; objects that a host left behind which died get their manifests.
    async fn keeper(
        &self,
        on: &str,
        purge: &Purge,
        storage: &StorageCapability,
        prefix: &str,
        now: Instant,
    ) -> Result<Keeper, CallError> {
        if !self.hold.fence_in_database {
            return Err(CallError::Invalid(format!(
                "rows of {on} cannot be archived with `fence = \"ledger only\"`: whether a batch is gone is known by its record \
                 in the database itself"
            )));
        }
        let about = About {
            database: &self.name,
            table: &purge.table,
            on,
            run: &self.hold.run,
            attempt: self.hold.attempt,
            which: purge.filter.to_string(),
            now,
        };
        let keeper = Keeper::new(Arc::clone(storage.port()), prefix, about).await?;
        if self.hold.mode == Mode::Apply {
            keeper.recover(&*self.port, now).await?;
        }
        Ok(keeper)
    }

    /// How many more rows the guards let this attempt delete from a table that had `whole`; none: no guard bounds them.
    fn rows_left(&self, effect: &Effect, whole: u64) -> Option<u64> {
        let (of_table, of_key) = self.hold.taken(effect);
        self.hold.guards.rows_left(whole, of_table, of_key)
    }

    /// The table in its one spelling, and its grant path: the one that is leased, fenced and added up.
    pub(super) fn canonical(&self, table: &TableName) -> (String, TableName) {
        let path = self
            .authority
            .canonical(Path::Table(self.name.clone(), table.clone()));
        let on = path.to_string();
        match path {
            Path::Table(_, table) => (on, table),
            _ => (on, table.clone()),
        }
    }

    pub(super) fn fence(&self, scope: &str) -> Fence {
        let token = self.hold.tokens.get(scope).copied();
        Fence {
            run: self.hold.run.clone(),
            attempt: self.hold.attempt,
            scope: scope.to_owned(),
            token: token.unwrap_or_default(),
            in_database: self.hold.fence_in_database && token.is_some(),
        }
    }
}

/// Rows put into a storage.
pub(super) fn kept_effect(storage: &StorageCapability, on: &str) -> Effect {
    Effect::of(Verb::Write, storage.on(), "rows", format!("those of {on}"))
}

fn rows_effect(on: &str, purge: &Purge) -> Effect {
    Effect::of(Verb::Delete, on, "rows", purge.filter.to_string())
}
