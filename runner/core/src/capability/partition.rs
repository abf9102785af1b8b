//! The way of a partition out of its table, behind the guards: detached, kept, and after its grace dropped.
//!
//! Which partitions go the plugin says; that they are old enough, allowed to go and safely kept is held here. The adapter holds
//! that they are what they were.

use std::sync::Arc;
use std::time::Duration;

use super::StorageCapability;
use super::database::{DatabaseCapability, kept_effect};
use super::shelf::{About, PartitionShelf, verify};
use crate::grant::Verb;
use crate::guard::GuardState;
use crate::name::TableName;
use crate::ports::partition::{PartitionState, PartitionStep, Partitions};
use crate::ports::plugins::CallError;
use crate::report::Effect;
use crate::run::Mode;
use crate::value::{Filter, Instant, show_instant};

impl DatabaseCapability {
    /// The partitions of a table, and those on their way out of it.
    pub async fn partitions(&self, table: &TableName) -> Result<Partitions, CallError> {
        let (_, table) = self.canonical(table);
        Ok(self.port.partitions(&table).await?)
    }

    /// Takes a partition that ends at `before` or earlier out of its table, within the guards.
    pub async fn detach_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        before: Instant,
        limit: Duration,
    ) -> Result<PartitionStep, CallError> {
        let (on, table, partition) = self.enter(table, partition)?;
        let fence = self.fence(&on);
        let found = self
            .port
            .preview_detach_partition(&table, &partition, before, limit, &fence)
            .await?;
        if !found.done {
            return Ok(found);
        }
        let total = self.port.count(&table, &Filter::default(), &[]).await?;
        let now = self.port.now().await?;
        let effect = Effect {
            planned: found.rows,
            total: Some(total),
            cutoff: Some(before),
            ..partition_effect(Verb::Detach, &on, &partition)
        };
        let (of_table, of_key) = self.hold.taken(&effect);
        let rows = self.hold.guards.judge_rows(found.rows, total, of_table, of_key);
        let others = [
            self.hold.judge_cutoff(before, now),
            self.hold.judge_plan(&effect, found.rows),
        ];
        let effect = effect.judged(rows.into_iter().chain(others.into_iter().flatten()));
        self.hold.note(effect.clone()).await?;
        self.hold.stop_at(&effect)?;
        let under_way = self.hold.book.under_way();
        let step = self
            .port
            .detach_partition(&table, &partition, before, limit, &fence)
            .await?;
        self.note_done(Verb::Detach, &on, &partition, &step).await?;
        under_way.over();
        Ok(step)
    }

    /// Keeps all rows of a detached partition in `storage` below `prefix`.
    pub async fn archive_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        storage: &StorageCapability,
        prefix: &str,
        limit: Duration,
    ) -> Result<PartitionStep, CallError> {
        let (on, table, partition) = self.enter(table, partition)?;
        let about = About {
            database: &self.name,
            table: &table,
            partition: &partition,
            run: &self.hold.run,
            attempt: self.hold.attempt,
            now: self.port.now().await?,
        };
        let shelf = PartitionShelf::new(Arc::clone(storage.port()), prefix, &about).await?;
        let found = self
            .port
            .preview_archive_partition(&table, &partition, limit, false)
            .await?;
        if !found.done {
            return Ok(found);
        }
        let kept = kept_effect(storage, &on);
        let planned = Effect {
            planned: found.rows,
            ..kept.clone()
        };
        self.hold.note(planned).await?;
        let under_way = self.hold.book.under_way();
        let step = self
            .port
            .archive_partition(&table, &partition, limit, &self.fence(&on), &shelf)
            .await?;
        if step.done && self.hold.mode == Mode::Apply {
            let done = step.rows;
            self.hold.note(Effect { done, ..kept }).await?;
        }
        under_way.over();
        Ok(step)
    }

    /// Drops a partition that has been in the archive since before `archived_before`, after a look at all of what is there.
    pub async fn drop_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        archived_before: Instant,
        storage: &StorageCapability,
        limit: Duration,
    ) -> Result<PartitionStep, CallError> {
        let (on, table, partition) = self.enter(table, partition)?;
        let known = self.port.partitions(&table).await?;
        let Some(known) = known.partitions.into_iter().find(|known| known.name == partition) else {
            return Err(CallError::NotFound(format!("partition {partition} of {on}")));
        };
        if known.state != PartitionState::Gone {
            let Some((archived_at, manifest)) = known.archived_at.zip(known.manifest) else {
                return Ok(PartitionStep::not_done("it is in no archive yet"));
            };
            if archived_at >= archived_before {
                return Ok(PartitionStep::not_done(format!(
                    "it has been in the archive since {}",
                    show_instant(archived_at)
                )));
            }
            verify(&**storage.port(), &manifest, &table, &partition).await?;
        }
        let fence = self.fence(&on);
        let found = self
            .port
            .preview_drop_partition(&table, &partition, limit, &fence)
            .await?;
        if !found.done {
            return Ok(found);
        }
        let now = self.port.now().await?;
        let effect = Effect {
            planned: found.rows,
            bytes: found.bytes,
            cutoff: Some(archived_before),
            ..partition_effect(Verb::Drop, &on, &partition)
        };
        let (_, of_key) = self.hold.taken(&effect);
        // A share of the table was judged when they left it: they are no part of it any more.
        let rows = self
            .hold
            .guards
            .max_rows
            .map(|limit| GuardState::new("max_rows", limit as f64, (of_key + found.rows) as f64));
        let others = [
            rows,
            self.hold.judge_cutoff(archived_before, now),
            self.hold.judge_plan(&effect, found.rows),
        ];
        let effect = effect.judged(others.into_iter().flatten());
        self.hold.note(effect.clone()).await?;
        self.hold.stop_at(&effect)?;
        let under_way = self.hold.book.under_way();
        let step = self
            .port
            .drop_partition(&table, &partition, limit, &fence)
            .await?;
        self.note_done(Verb::Drop, &on, &partition, &step).await?;
        under_way.over();
        Ok(step)
    }

    /// What holds for every step: nothing protected, a record in the database, a lease.
    fn enter(
        &self,
        table: &TableName,
        partition: &TableName,
    ) -> Result<(String, TableName, TableName), CallError> {
        let (on, table) = self.canonical(table);
        let (_, partition) = self.canonical(partition);
        let protected = &self.hold.guards.protected;
        if let Some(found) = [&table, &partition]
            .into_iter()
            .find(|name| protected.contains(name))
        {
            return Err(CallError::Guard(format!(
                "{found} is protected: its partitions are never detached or dropped"
            )));
        }
        if !self.hold.fence_in_database {
            return Err(CallError::Invalid(format!(
                "partitions of {on} cannot be retired with `fence = \"ledger only\"`: which of them were detached by sereno is \
                 known by its record in the database itself"
            )));
        }
        if self.hold.mode == Mode::Apply && !self.fence(&on).in_database {
            return Err(CallError::Fault(format!("this run holds no lease on {on}")));
        }
        self.begun.another(&on)?;
        Ok((on, table, partition))
    }

    async fn note_done(
        &self,
        verb: Verb,
        on: &str,
        partition: &TableName,
        step: &PartitionStep,
    ) -> Result<(), CallError> {
        if !step.done || self.hold.mode == Mode::Plan {
            return Ok(());
        }
        let done = Effect {
            done: step.rows,
            ..partition_effect(verb, on, partition)
        };
        self.hold.note(done).await
    }
}

fn partition_effect(verb: Verb, on: &str, partition: &TableName) -> Effect {
    Effect::of(verb, on, "rows", format!("partition {partition}"))
}
