//! What a database tells of itself, up to what may be asked for at once; ends connections and judges rewrites.
//!
//! Reads have no guards: their caps are here. An end is counted before it is done, and a rewrite needs consent and room.

use super::database::DatabaseCapability;
use crate::grant::{Path, Verb};
use crate::guard::GuardState;
use crate::name::TableName;
use crate::ports::database::Upkeep;
use crate::ports::insight::{
    Activity, Backend, Connection, EndMode, ForeignKey, IndexDetail, Part, Queries, TableSize,
};
use crate::ports::plugins::CallError;
use crate::report::Effect;
use crate::run::Mode;

/// Tables on one page: each costs the server a look at its files.
const TABLES_MAX: u32 = 500;

/// Connections on one page; most servers allow fewer.
const CONNECTIONS_MAX: u32 = 500;

/// Statements at once: what `pg_stat_statements` keeps by default.
const QUERIES_MAX: u32 = 5_000;

/// Texts at once: each makes the server read all of them.
const TEXTS_MAX: usize = 50;

/// The part of a table's size that a rewrite needs besides the table itself: WAL, sorts and what comes meanwhile.
const REWRITE_MARGIN: f64 = 1.2;

impl DatabaseCapability {
    /// Up to `max` tables with their sizes.
    pub async fn sizes(&self, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, CallError> {
        Ok(self.port.sizes(cursor, max.clamp(1, TABLES_MAX)).await?)
    }

    /// The indexes of a table with their use.
    pub async fn index_details(&self, table: &TableName) -> Result<Vec<IndexDetail>, CallError> {
        Ok(self.port.index_details(table).await?)
    }

    /// The foreign keys of a table.
    pub async fn foreign_keys(&self, table: &TableName) -> Result<Vec<ForeignKey>, CallError> {
        Ok(self.port.foreign_keys(table).await?)
    }

    /// Up to `max` statements with what they took.
    pub async fn statements(&self, max: u32) -> Result<Queries, CallError> {
        Ok(self.port.queries(max.clamp(1, QUERIES_MAX)).await?)
    }

    /// The texts of some statements.
    pub async fn statement_texts(&self, ids: &[String]) -> Result<Vec<(String, String)>, CallError> {
        if ids.len() > TEXTS_MAX {
            return Err(CallError::Invalid(format!(
                "{} texts at once; it may be {TEXTS_MAX}",
                ids.len()
            )));
        }
        Ok(self.port.query_texts(ids).await?)
    }

    /// Up to `max` connections.
    pub async fn connections(&self, cursor: Option<&str>, max: u32) -> Result<Part<Connection>, CallError> {
        Ok(self
            .port
            .connections(cursor, max.clamp(1, CONNECTIONS_MAX))
            .await?)
    }

    /// What is at work.
    pub async fn activity(&self) -> Result<Vec<Activity>, CallError> {
        Ok(self.port.activity().await?)
    }

    /// Ends one connection or its statement, within the guards.
    pub async fn end_connection(&self, backend: &Backend, mode: EndMode) -> Result<Upkeep, CallError> {
        let on = Path::Whole(self.name.clone()).to_string();
        let what = match mode {
            EndMode::Cancel => "only their statements",
            EndMode::Terminate => "",
        };
        let mut effect = Effect {
            planned: 1,
            ..Effect::of(Verb::Terminate, on.clone(), "connections", what)
        };
        let (_, before) = self.hold.taken(&effect);
        let total = self.port.statistics().await?.connections;
        // What this run has ended is part of the whole all the same.
        let whole = total.map(|total| total + before);
        let judged = self.hold.guards.judge_connections(whole, before);
        let of_plan = self.hold.judge_plan(&effect, 1);
        effect = effect.judged(judged.into_iter().chain(of_plan));
        self.hold.stop_at(&effect)?;
        let under_way = self.hold.book.under_way();
        let ended = self.port.end_connection(backend, mode, &self.fence(&on)).await?;
        if ended.done {
            effect.done = u64::from(self.hold.mode == Mode::Apply);
        } else {
            effect.planned = 0;
            effect.skipped = 1;
        }
        self.hold.note(effect).await?;
        under_way.over();
        Ok(ended)
    }

    /// Nobody can use a table that is rewritten: that takes the operator's word, and room for the table once more.
    pub(super) async fn judge_rewrite(
        &self,
        on: &str,
        table: &TableName,
    ) -> Result<Vec<GuardState>, CallError> {
        if self.hold.guards.protected.contains(table) {
            return Err(CallError::Guard(format!(
                "{on} is protected: VACUUM FULL is never run on it"
            )));
        }
        let consent = format!("downtime:{table}");
        let is_accepted = self.hold.guards.accept.contains(&consent);
        if !is_accepted {
            let text = format!("VACUUM FULL of {on} lets nobody read or write it until it is done");
            self.hold.hazard(on, &consent, &text);
        }
        let Some(disk) = &self.disk else {
            return Err(CallError::Guard(format!(
                "nobody knows whether the disk has room for {on} once more: set `data_directory_free = \"directory.NAME\"` in \
                 [database.{}] to a directory on the file system of the server's data",
                self.name
            )));
        };
        let free = disk.usage().await?.bytes_free.unwrap_or_default();
        let statistics = self.port.table_statistics(table).await?;
        let needed = statistics.bytes.unwrap_or(u64::MAX) as f64 * REWRITE_MARGIN;
        let consent = (!is_accepted).then(|| GuardState::new("accept", 0.0, 1.0));
        Ok(
            [Some(GuardState::new("free_space", free as f64, needed)), consent]
                .into_iter()
                .flatten()
                .collect(),
        )
    }
}
