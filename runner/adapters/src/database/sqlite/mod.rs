//! A SQLite database: one connection, one writer.
//!
//! The clock is the host's, rows are never locked one by one (`locked` is always 0), and the file must exist.
//! Dropping a future interrupts the statement: its progress handler looks at a flag every thousand steps.

mod catalogue;
mod fence;
mod filter;
mod hazards;
mod insight;
mod purge;
mod read;
mod session;
mod upkeep;

use std::collections::HashSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::grant::Verb;
use sereno_core::job::{NamedQuery, TimeFormat};
use sereno_core::name::{RunId, TableName};
use sereno_core::ports::database::{
    Archive, Database, DatabaseError, DatabaseStatistics, DeleteBatch, Fence, Hazard, IndexStatistics,
    Missing, Purge, RecordedBatch, Rows, TableStatistics, Upkeep, UpkeepTask, Wanted,
};
use sereno_core::ports::insight::{
    Activity, Backend, Connection, EndMode, ForeignKey, IndexDetail, Insight, Part, Queries, TableSize,
};
use sereno_core::ports::partition::Partitioned;
use sereno_core::value::{Filter, Instant, Value};
use sqlx::sqlite::SqliteConnectOptions;

use super::Options;
use super::fault::Doing;
use super::pace::Paces;
use session::{Access, Sessions};

/// How long to wait for another writer before it counts as busy: longer than a web request writes, and short beside a
/// cancellation, which cannot cut it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Catalogue reads and single batches: long for them, short for an operator who waits.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

/// An exact count may have to read the whole table.
const COUNT_LIMIT: Duration = Duration::from_secs(120);

/// A SQLite database.
pub(super) struct Sqlite {
    sessions: Sessions,
    /// None: in memory.
    path: Option<PathBuf>,
    time_format: TimeFormat,
    paces: Paces,
    /// The attempts that have vacuumed, with whether they only pretended: once is enough for the whole file.
    vacuumed: Mutex<HashSet<(RunId, u32, bool)>>,
}

impl Sqlite {
    pub(super) fn new(options: &Options) -> Result<Self, DatabaseError> {
        let connect = SqliteConnectOptions::from_str(&options.url)
            .map_err(|error| {
                Doing {
                    operation: "read the URL",
                    limit: STATEMENT_LIMIT,
                }
                .sqlite(&error)
            })?
            .create_if_missing(false)
            .busy_timeout(BUSY_TIMEOUT);
        let in_memory = options.url.contains(":memory:") || options.url.contains("mode=memory");
        let path = (!in_memory).then(|| connect.get_filename().to_owned());
        Ok(Self {
            sessions: Sessions::new(connect),
            path,
            time_format: options.time_format,
            paces: Paces::default(),
            vacuumed: Mutex::default(),
        })
    }
}

#[async_trait]
impl Insight for Sqlite {
    async fn sizes(&self, cursor: Option<&str>, max: u32) -> Result<Part<TableSize>, DatabaseError> {
        let mut session = self
            .sessions
            .open("list tables", Access::Read, COUNT_LIMIT)
            .await?;
        insight::sizes(&mut session, cursor, max).await
    }

    async fn index_details(&self, table: &TableName) -> Result<Vec<IndexDetail>, DatabaseError> {
        let mut session = self
            .sessions
            .open("read statistics", Access::Read, STATEMENT_LIMIT)
            .await?;
        insight::index_details(&mut session, table).await
    }

    async fn foreign_keys(&self, table: &TableName) -> Result<Vec<ForeignKey>, DatabaseError> {
        let mut session = self
            .sessions
            .open("read the catalogue", Access::Read, STATEMENT_LIMIT)
            .await?;
        insight::foreign_keys(&mut session, table).await
    }

    async fn queries(&self, _max: u32) -> Result<Queries, DatabaseError> {
        Err(DatabaseError::Unsupported("counting statements"))
    }

    async fn query_texts(&self, _ids: &[String]) -> Result<Vec<(String, String)>, DatabaseError> {
        Err(DatabaseError::Unsupported("counting statements"))
    }

    async fn connections(&self, _cursor: Option<&str>, _max: u32) -> Result<Part<Connection>, DatabaseError> {
        Err(DatabaseError::Unsupported("listing connections"))
    }

    async fn activity(&self) -> Result<Vec<Activity>, DatabaseError> {
        Err(DatabaseError::Unsupported("telling what is at work"))
    }
}

/// There are none here.
impl Partitioned for Sqlite {}

#[async_trait]
impl Database for Sqlite {
    async fn now(&self) -> Result<Instant, DatabaseError> {
        let mut session = self
            .sessions
            .open("read the clock", Access::Read, STATEMENT_LIMIT)
            .await?;
        read::now(&mut session).await
    }

    async fn missing(&self, wanted: &[Wanted]) -> Result<Vec<Missing>, DatabaseError> {
        let mut session = self
            .sessions
            .open("read the catalogue", Access::Read, STATEMENT_LIMIT)
            .await?;
        catalogue::missing(&mut session, wanted).await
    }

    async fn rights_missing(&self, table: &TableName, verbs: &[Verb]) -> Result<Vec<Missing>, DatabaseError> {
        let mut session = self
            .sessions
            .open("read the catalogue", Access::Read, STATEMENT_LIMIT)
            .await?;
        catalogue::table(&mut session, table).await?;
        let writes = verbs.iter().any(|verb| verb.is_changing());
        let refused = self
            .path
            .as_ref()
            .is_some_and(|path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err());
        Ok((writes && refused)
            .then(|| Missing {
                what: format!("the right to write to the database file of {table}"),
                hint: "let the user that runs sereno write to the file and its folder".to_owned(),
            })
            .into_iter()
            .collect())
    }

    async fn tables(&self) -> Result<Vec<TableName>, DatabaseError> {
        let mut session = self
            .sessions
            .open("list tables", Access::Read, STATEMENT_LIMIT)
            .await?;
        catalogue::tables(&mut session).await
    }

    async fn hazards(&self, table: &TableName) -> Result<Vec<Hazard>, DatabaseError> {
        let mut session = self
            .sessions
            .open("read the catalogue", Access::Read, STATEMENT_LIMIT)
            .await?;
        hazards::find(&mut session, table).await
    }

    async fn statistics(&self) -> Result<DatabaseStatistics, DatabaseError> {
        let mut session = self
            .sessions
            .open("read statistics", Access::Read, STATEMENT_LIMIT)
            .await?;
        read::statistics(&mut session).await
    }

    async fn table_statistics(&self, table: &TableName) -> Result<TableStatistics, DatabaseError> {
        let mut session = self
            .sessions
            .open("read statistics", Access::Read, STATEMENT_LIMIT)
            .await?;
        read::table_statistics(&mut session, table).await
    }

    async fn indexes(&self, table: &TableName) -> Result<Vec<IndexStatistics>, DatabaseError> {
        let mut session = self
            .sessions
            .open("read statistics", Access::Read, STATEMENT_LIMIT)
            .await?;
        read::indexes(&mut session, table).await
    }

    async fn count(
        &self,
        table: &TableName,
        filter: &Filter,
        without: &[Filter],
    ) -> Result<u64, DatabaseError> {
        let mut session = self
            .sessions
            .open("count rows", Access::Read, COUNT_LIMIT)
            .await?;
        read::count(&mut session, table, filter, without, self.time_format).await
    }

    async fn query(&self, query: &NamedQuery, params: &[Value]) -> Result<Rows, DatabaseError> {
        let mut session = self
            .sessions
            .open("run the query", Access::Read, STATEMENT_LIMIT)
            .await?;
        read::query(&mut session, query, params, self.time_format).await
    }

    async fn take_fence(&self, fence: &Fence) -> Result<(), DatabaseError> {
        if !fence.in_database {
            return Ok(());
        }
        let mut session = self
            .sessions
            .open("take the fence", Access::Write, STATEMENT_LIMIT)
            .await?;
        fence::take(&mut session, fence).await
    }

    async fn recorded(&self, run: &RunId) -> Result<Vec<RecordedBatch>, DatabaseError> {
        let mut session = self
            .sessions
            .open("read recorded batches", Access::Read, STATEMENT_LIMIT)
            .await?;
        fence::recorded(&mut session, run).await
    }

    async fn old_records(&self, before: Instant, max: u32) -> Result<Vec<RunId>, DatabaseError> {
        let mut session = self
            .sessions
            .open("look for old records", Access::Read, STATEMENT_LIMIT)
            .await?;
        fence::old(&mut session, before, max).await
    }

    async fn forget_records(&self, runs: &[RunId]) -> Result<u64, DatabaseError> {
        let mut session = self
            .sessions
            .open("forget old records", Access::Write, STATEMENT_LIMIT)
            .await?;
        fence::forget(&mut session, runs).await
    }

    async fn delete_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        let mut session = self
            .sessions
            .open("delete rows", Access::Write, STATEMENT_LIMIT)
            .await?;
        purge::delete(
            &mut session,
            &self.paces,
            self.time_format,
            purge,
            cursor,
            max,
            fence,
            None,
        )
        .await
    }

    async fn archive_batch(
        &self,
        purge: &Purge,
        cursor: Option<&str>,
        max: u32,
        fence: &Fence,
        archive: &dyn Archive,
    ) -> Result<DeleteBatch, DatabaseError> {
        let mut session = self
            .sessions
            .open("delete rows", Access::Write, STATEMENT_LIMIT)
            .await?;
        purge::delete(
            &mut session,
            &self.paces,
            self.time_format,
            purge,
            cursor,
            max,
            fence,
            Some(archive),
        )
        .await
    }

    async fn preview_delete_batch(
        &self,
        purge: &Purge,
        without: &[Filter],
        cursor: Option<&str>,
        max: u32,
        _fence: &Fence,
    ) -> Result<DeleteBatch, DatabaseError> {
        let mut session = self
            .sessions
            .open("count rows to delete", Access::Read, COUNT_LIMIT)
            .await?;
        purge::preview(&mut session, self.time_format, purge, without, cursor, max).await
    }

    async fn end_connection(
        &self,
        _backend: &Backend,
        _mode: EndMode,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        Err(DatabaseError::Unsupported("ending a connection"))
    }

    async fn preview_end_connection(
        &self,
        _backend: &Backend,
        _mode: EndMode,
        _fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        Err(DatabaseError::Unsupported("ending a connection"))
    }

    async fn upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        upkeep::run(self, task, limit, fence).await
    }

    async fn preview_upkeep(
        &self,
        task: &UpkeepTask,
        limit: Duration,
        fence: &Fence,
    ) -> Result<Upkeep, DatabaseError> {
        upkeep::preview(self, task, limit, fence).await
    }
}
