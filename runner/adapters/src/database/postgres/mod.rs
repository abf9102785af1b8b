//! A PostgreSQL database, 12 or newer, reached directly or through a pooler in session mode.
//!
//! Rows are changed through `url`, upkeep goes through `upkeep_url`. Nothing is opened before the first call. Dropping
//! a future cancels its statement from a second connection. Named queries see only `pg_catalog` without a schema, so
//! that nobody's table or operator can take the place of the one that was meant.

mod catalogue;
mod connections;
mod detached;
mod fence;
mod filter;
mod hazards;
mod horizon;
mod insight;
mod partitions;
mod purge;
mod queries;
mod read;
mod rewrite;
mod session;
mod tables;
mod upkeep;

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::grant::Verb;
use sereno_core::job::NamedQuery;
use sereno_core::name::{RunId, TableName};
use sereno_core::ports::database::{
    Archive, Database, DatabaseError, DatabaseStatistics, DeleteBatch, Fence, Hazard, IndexStatistics,
    Missing, Purge, RecordedBatch, Rows, TableStatistics, Upkeep, UpkeepTask, Wanted,
};
use sereno_core::ports::insight::{
    Activity, Backend, Connection, EndMode, ForeignKey, IndexDetail, Insight, Part, Queries, TableSize,
};
use sereno_core::ports::partition::{PartitionStep, Partitioned, Partitions, Shelf};
use sereno_core::value::{Filter, Instant, Value};
use sqlx::postgres::PgConnectOptions;

use super::Options;
use super::fault::Doing;
use super::pace::Paces;
pub(crate) use detached::CREATE as DETACHED;
pub(crate) use fence::CREATE as FENCE;
use session::Sessions;

/// What the server's own lists call us.
const APPLICATION_NAME: &str = "sereno";

/// What the server knows without looking anywhere.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

/// A statement that works on rows or reads a catalogue: longer than any batch should take.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

/// An exact count may have to read the whole table.
const COUNT_LIMIT: Duration = Duration::from_secs(120);

/// A PostgreSQL database.
pub(super) struct Postgres {
    rows: Sessions,
    /// None: upkeep goes the way of rows.
    upkeep: Option<Sessions>,
    timezone: String,
    paces: Paces,
}

impl Postgres {
    pub(super) fn new(options: &Options) -> Result<Self, DatabaseError> {
        let connect = |url: &str| {
            PgConnectOptions::from_str(url)
                .map(|options| {
                    options
                        .application_name(APPLICATION_NAME)
                        .statement_cache_capacity(0)
                })
                .map_err(|error| {
                    Doing {
                        operation: "read the URL",
                        limit: STATEMENT_LIMIT,
                    }
                    .postgres(&error)
                })
        };
        Ok(Self {
            rows: Sessions::new(connect(&options.url)?),
            upkeep: options
                .upkeep_url
                .as_deref()
                .map(connect)
                .transpose()?
                .map(Sessions::new),
            timezone: options.timezone.name().to_owned(),
            paces: Paces::default(),
        })
    }

    fn ways(&self) -> partitions::Ways<'_> {
        partitions::Ways {
            rows: &self.rows,
            upkeep: self.upkeep_sessions(),
            timezone: &self.timezone,
        }
    }

    fn upkeep_sessions(&self) -> &Sessions {
        self.upkeep.as_ref().unwrap_or(&self.rows)
    }
}

#[async_trait]
impl Insight for Postgres {
    async fn sizes(&self, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, DatabaseError> {
        let mut session = self.rows.open("list tables", COUNT_LIMIT).await?;
        let answer = insight::sizes(&mut session, cursor, max).await;
        session.give_back(answer)
    }

    async fn index_details(&self, table: &TableName) -> Result<Vec<IndexDetail>, DatabaseError> {
        let mut session = self.rows.open("read statistics", STATEMENT_LIMIT).await?;
        let answer = insight::index_details(&mut session, table).await;
        session.give_back(answer)
    }

    async fn foreign_keys(&self, table: &TableName) -> Result<Vec<ForeignKey>, DatabaseError> {
        let mut session = self.rows.open("read the catalogue", STATEMENT_LIMIT).await?;
        let answer = insight::foreign_keys(&mut session, table).await;
        session.give_back(answer)
    }

    async fn queries(&self, max: u32) -> Result<Queries, DatabaseError> {
        let mut session = self.rows.open("read pg_stat_statements", STATEMENT_LIMIT).await?;
        let answer = queries::queries(&mut session, max).await;
        session.give_back(answer)
    }

    async fn query_texts(&self, ids: &[String]) -> Result<Vec<(String, String)>, DatabaseError> {
        let mut session = self.rows.open("read pg_stat_statements", STATEMENT_LIMIT).await?;
        let answer = queries::query_texts(&mut session, ids).await;
        session.give_back(answer)
    }

    async fn connections(&self, cursor: Option<&str>, max: u32) -> Result<Part<Connection>, DatabaseError> {
        let mut session = self.rows.open("list connections", STATEMENT_LIMIT).await?;
        let answer = connections::connections(&mut session, cursor, max).await;
        session.give_back(answer)
    }

    async fn activity(&self) -> Result<Vec<Activity>, DatabaseError> {
        let mut session = self.rows.open("look at what is at work", STATEMENT_LIMIT).await?;
        let answer = connections::activity(&mut session).await;
        session.give_back(answer)
    }
}

#[async_trait]
impl Partitioned for Postgres {
    async fn partitions(&self, table: &TableName) -> Result<Partitions, DatabaseError> {
        self.ways().list(table).await
    }

    async fn detach_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        before: Instant,
        limit: Duration,
        fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        self.ways().detach(table, partition, before, limit, fence).await
    }

    async fn preview_detach_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        before: Instant,
        limit: Duration,
        _fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        self.ways().preview_detach(table, partition, before, limit).await
    }

    async fn archive_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        fence: &Fence,
        shelf: &dyn Shelf,
    ) -> Result<PartitionStep, DatabaseError> {
        self.ways().archive(table, partition, limit, fence, shelf).await
    }

    async fn preview_archive_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        detached: bool,
    ) -> Result<PartitionStep, DatabaseError> {
        self.ways()
            .preview_archive(table, partition, limit, detached)
            .await
    }

    async fn drop_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        self.ways().drop(table, partition, limit, fence).await
    }

    async fn preview_drop_partition(
        &self,
        table: &TableName,
        partition: &TableName,
        _limit: Duration,
        _fence: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        self.ways().preview_drop(table, partition).await
    }
}

#[async_trait]
impl Database for Postgres {
    async fn now(&self) -> Result<Instant, DatabaseError> {
        let mut session = self.rows.open("read the clock", QUESTION_LIMIT).await?;
        let answer = read::now(&mut session).await;
        session.give_back(answer)
    }

    async fn missing(&self, wanted: &[Wanted]) -> Result<Vec<Missing>, DatabaseError> {
        let mut session = self.rows.open("read the catalogue", STATEMENT_LIMIT).await?;
        let answer = catalogue::missing(&mut session, wanted).await;
        session.give_back(answer)
    }

    async fn rights_missing(&self, table: &TableName, verbs: &[Verb]) -> Result<Vec<Missing>, DatabaseError> {
        let mut session = self.rows.open("read the catalogue", STATEMENT_LIMIT).await?;
        let answer = catalogue::rights_on_rows(&mut session, table, verbs).await;
        let mut missing = session.give_back(answer)?;
        let upkeep: Vec<Verb> = verbs
            .iter()
            .copied()
            .filter(|verb| {
                matches!(
                    verb,
                    Verb::Vacuum
                        | Verb::Analyze
                        | Verb::Reindex
                        | Verb::VacuumFull
                        | Verb::Detach
                        | Verb::Drop
                )
            })
            .collect();
        if !upkeep.is_empty() {
            let mut session = self
                .upkeep_sessions()
                .open("read the catalogue", STATEMENT_LIMIT)
                .await?;
            let answer = catalogue::rights_of_upkeep(&mut session, table, &upkeep).await;
            missing.extend(session.give_back(answer)?);
        }
        Ok(missing)
    }

    async fn tables(&self) -> Result<Vec<TableName>, DatabaseError> {
        let mut session = self.rows.open("list tables", STATEMENT_LIMIT).await?;
        let answer = tables::tables(&mut session).await;
        session.give_back(answer)
    }

    async fn hazards(&self, table: &TableName) -> Result<Vec<Hazard>, DatabaseError> {
        let mut session = self.rows.open("look for hazards", STATEMENT_LIMIT).await?;
        let answer = hazards::find(&mut session, table).await;
        session.give_back(answer)
    }

    async fn statistics(&self) -> Result<DatabaseStatistics, DatabaseError> {
        let mut session = self.rows.open("read statistics", STATEMENT_LIMIT).await?;
        let answer = read::statistics(&mut session).await;
        session.give_back(answer)
    }

    async fn table_statistics(&self, table: &TableName) -> Result<TableStatistics, DatabaseError> {
        let mut session = self.rows.open("read statistics", STATEMENT_LIMIT).await?;
        let answer = read::table_statistics(&mut session, table).await;
        session.give_back(answer)
    }

    async fn indexes(&self, table: &TableName) -> Result<Vec<IndexStatistics>, DatabaseError> {
        let mut session = self.rows.open("read statistics", STATEMENT_LIMIT).await?;
        let answer = read::indexes(&mut session, table).await;
        session.give_back(answer)
    }

    async fn count(
        &self,
        table: &TableName,
        filter: &Filter,
        without: &[Filter],
    ) -> Result<u64, DatabaseError> {
        let mut session = self.rows.open("count rows", COUNT_LIMIT).await?;
        let answer = read::count(&mut session, &self.timezone, table, filter, without).await;
        session.give_back(answer)
    }

    async fn query(&self, query: &NamedQuery, params: &[Value]) -> Result<Rows, DatabaseError> {
        let mut session = self.rows.open("run the query", STATEMENT_LIMIT).await?;
        let answer = read::query(&mut session, &self.timezone, query, params).await;
        session.give_back(answer)
    }

    async fn take_fence(&self, fence: &Fence) -> Result<(), DatabaseError> {
        if !fence.in_database {
            return Ok(());
        }
        let mut session = self.rows.open("take the fence", STATEMENT_LIMIT).await?;
        let answer = fence::take(&mut session, fence).await;
        session.give_back(answer)
    }

    async fn recorded(&self, run: &RunId) -> Result<Vec<RecordedBatch>, DatabaseError> {
        let mut session = self.rows.open("read recorded batches", STATEMENT_LIMIT).await?;
        let answer = fence::recorded(&mut session, run).await;
        session.give_back(answer)
    }

    async fn delete_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        let mut session = self.rows.open("delete rows", STATEMENT_LIMIT).await?;
        let answer = purge::delete(
            &mut session,
            &self.paces,
            &self.timezone,
            purge,
            cursor,
            max,
            fence,
            None,
        )
        .await;
        session.give_back(answer)
    }

    async fn archive_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
        archive: &dyn Archive,
    ) -> Result<DeleteBatch, DatabaseError> {
        let mut session = self.rows.open("delete rows", STATEMENT_LIMIT).await?;
        let answer = purge::delete(
            &mut session,
            &self.paces,
            &self.timezone,
            purge,
            cursor,
            max,
            fence,
            Some(archive),
        )
        .await;
        session.give_back(answer)
    }

    async fn preview_delete_batch(
        &self,
        purge: &Purge,
        without: &[Filter],
        cursor: Option<&str>,
        max: u32,
        _fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        let mut session = self.rows.open("count rows to delete", COUNT_LIMIT).await?;
        let answer = purge::preview(&mut session, &self.timezone, purge, without, cursor, max).await;
        session.give_back(answer)
    }

    async fn end_connection(
        &self,
        backend: &Backend,
        mode: EndMode,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        if fence.in_database {
            let mut session = self.rows.open("check the fence", STATEMENT_LIMIT).await?;
            let answer = fence::check_alone(&mut session, fence).await;
            session.give_back(answer)?;
        }
        let mut session = self
            .upkeep_sessions()
            .open("end a connection", STATEMENT_LIMIT)
            .await?;
        let answer = connections::end(&mut session, backend, mode).await;
        session.give_back(answer)
    }

    async fn preview_end_connection(
        &self,
        backend: &Backend,
        _mode: EndMode,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        let mut session = self
            .upkeep_sessions()
            .open("look at a connection", STATEMENT_LIMIT)
            .await?;
        let answer = connections::preview(&mut session, backend).await;
        session.give_back(answer)
    }

    async fn upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        // The fence is where the rows' role can reach it; upkeep cannot run in a transaction with it.
        if fence.in_database {
            let mut session = self.rows.open("check the fence", STATEMENT_LIMIT).await?;
            let answer = fence::check_alone(&mut session, fence).await;
            session.give_back(answer)?;
        }
        let mut session = self.upkeep_sessions().open("do upkeep", limit).await?;
        let answer = upkeep::run(&mut session, task).await;
        session.give_back(answer)
    }

    async fn preview_upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        let mut session = self
            .upkeep_sessions()
            .open("look at upkeep", STATEMENT_LIMIT)
            .await?;
        let answer = upkeep::preview(&mut session, task, limit).await;
        session.give_back(answer)
    }
}
