//! The way of partitions out of their table on PostgreSQL: detached, kept, dropped.
//!
//! No step is one transaction: a detach beside readers and writers cannot be, and the role that may do it need not be the one that
//! keeps the record. Each step writes down what it is about to do, and goes on from what it finds when it is asked again.

mod detach;
mod drop;
mod look;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Fence};
use sereno_core::ports::partition::{PartitionState, PartitionStep, Partitions, Shelf};
use sqlx::{PgConnection, Row};

use super::super::fault::Doing;
use super::super::sql::Sql;
use super::super::take::{BYTES_MAX, ROWS_MAX};
use super::detached::{self, Intent, Record};
use super::session::{Access, LOCK_LIMIT, Session, Sessions, answer, execute, one};
use super::{COUNT_LIMIT, STATEMENT_LIMIT, fence};
use drop::Dropped;
use look::{Known, Seen};

/// Everybody else waits behind a lock that is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// Tries for a lock; between them whoever waits has a turn.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Before PostgreSQL 14 a detach waits until nobody uses the table, and everybody waits for it.
const VERSION_CONCURRENTLY: u32 = 140_000;

/// The two ways into the database, and how its times are read.
pub(super) struct Ways<'a> {
    pub(super) rows: &'a Sessions,
    pub(super) upkeep: &'a Sessions,
    pub(super) timezone: &'a str,
}

impl Ways<'_> {
    async fn look(&self, table: &TableName) -> Result<Seen, DatabaseError> {
        let mut session = self.rows.open("look at partitions", STATEMENT_LIMIT).await?;
        let seen = look::look(&mut session, self.timezone, table).await;
        session.give_back(seen)
    }

    /// The partitions of a table.
    pub(super) async fn list(&self, table: &TableName) -> Result<Partitions, DatabaseError> {
        let seen = self.look(table).await?;
        Ok(Partitions {
            obstacle: seen.obstacle,
            partitions: seen.partitions.into_iter().map(|known| known.told).collect(),
        })
    }

    async fn count(&self, known: &Known, limit: Duration) -> Result<u64, DatabaseError> {
        let mut session = self.upkeep.open("count rows", COUNT_LIMIT.min(limit)).await?;
        let answer = async {
            let doing = session.doing;
            let mut sql = Sql::new("SELECT pg_catalog.count(*) FROM ");
            known.write(&mut sql);
            let mut transaction = session.begin(Access::Read, LOCK_LIMIT).await?;
            let row = one(&mut transaction, sql, doing).await?;
            answer(doing, transaction.rollback()).await?;
            let rows: i64 = row.try_get(0).map_err(|error| doing.postgres(&error))?;
            Ok(u64::try_from(rows).unwrap_or_default())
        }
        .await;
        session.give_back(answer)
    }

    /// What [`Self::detach`] would do.
    pub(super) async fn preview_detach(
        &self,
        table: &TableName,
        partition: &TableName,
        before: DateTime<Utc>,
        limit: Duration,
    ) -> Result<PartitionStep, DatabaseError> {
        let seen = self.look(table).await?;
        Ok(match seen.to_detach(partition, before)? {
            Err(note) => PartitionStep::not_done(note),
            Ok(known) => PartitionStep {
                done: true,
                rows: self.count(known, limit).await?,
                ..PartitionStep::default()
            },
        })
    }

    /// Takes one partition out of its table.
    pub(super) async fn detach(
        &self,
        table: &TableName,
        partition: &TableName,
        before: DateTime<Utc>,
        limit: Duration,
        held: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        let began = Instant::now();
        let seen = self.look(table).await?;
        let known = match seen.to_detach(partition, before)? {
            Ok(known) => known,
            Err(note) => return Ok(PartitionStep::not_done(note)),
        };
        let rows = self.count(known, limit).await?;
        let mut session = self.rows.open("detach a partition", STATEMENT_LIMIT).await?;
        let intent = Intent {
            oid: known.oid,
            parent: seen.parent.oid,
            schema: known.schema.as_str(),
            name: known.table.as_str(),
            upper: known.told.upper,
            rows,
        };
        let intended = detached::intend(&mut session, held, &intent).await;
        session.give_back(intended)?;
        let mut session = self.rows.open("detach a partition", STATEMENT_LIMIT).await?;
        let done = async {
            let doing = session.doing;
            let mut holding = hold(&mut session, held, limit).await?;
            let mut upkeep = self.upkeep.open("detach a partition", limit).await?;
            let stopped = detach::detach(&mut upkeep, &seen.parent, known, began + limit).await;
            let stopped = upkeep.give_back(stopped)?;
            if stopped.is_none() {
                detached::detached(&mut holding, known.oid, doing).await?;
                fence::record(&mut holding, held, rows, None, doing).await?;
            }
            answer(doing, holding.commit()).await?;
            Ok(stopped)
        }
        .await;
        Ok(match session.give_back(done)? {
            None => PartitionStep {
                done: true,
                rows,
                ..PartitionStep::default()
            },
            Some(note) => PartitionStep::not_done(note),
        })
    }

    /// What [`Self::archive`] would do; in a plan that has detached it, it is still where it was.
    pub(super) async fn preview_archive(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        detached: bool,
    ) -> Result<PartitionStep, DatabaseError> {
        let seen = self.look(table).await?;
        let known = seen.find(partition)?;
        if let Some(note) = not_to_archive(known, detached) {
            return Ok(PartitionStep::not_done(note));
        }
        Ok(PartitionStep {
            done: true,
            rows: self.count(known, limit).await?,
            ..PartitionStep::default()
        })
    }

    /// Gives all rows of a detached partition to `shelf`.
    pub(super) async fn archive(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        held: &Fence,
        shelf: &dyn Shelf,
    ) -> Result<PartitionStep, DatabaseError> {
        let seen = self.look(table).await?;
        let known = seen.find(partition)?;
        if let Some(note) = not_to_archive(known, false) {
            return Ok(PartitionStep::not_done(note));
        }
        let mut session = self.upkeep.open("archive a partition", limit).await?;
        let given = give(&mut session, known, shelf).await;
        let (rows, digest) = match session.give_back(given) {
            Err(DatabaseError::Timeout { .. }) => {
                return Ok(PartitionStep::not_done(
                    "not all of it could be archived in the time of this run, and nothing of that counts: give the job a larger \
                     `limits = { wall = ... }`",
                ));
            }
            given => given?,
        };
        let manifest = shelf.finish(rows).await?;
        let mut session = self.rows.open("archive a partition", STATEMENT_LIMIT).await?;
        let recorded = detached::archived(&mut session, held, known.oid, rows, &digest, &manifest).await;
        session.give_back(recorded)?;
        Ok(PartitionStep {
            done: true,
            rows,
            ..PartitionStep::default()
        })
    }

    /// What [`Self::drop`] would do.
    pub(super) async fn preview_drop(
        &self,
        table: &TableName,
        partition: &TableName,
    ) -> Result<PartitionStep, DatabaseError> {
        let seen = self.look(table).await?;
        let known = seen.find(partition)?;
        let record = match to_drop(known) {
            Ok(record) => record,
            Err(note) => return Ok(PartitionStep::not_done(note)),
        };
        if !record.is_there {
            return Ok(already_gone(record));
        }
        let mut session = self.upkeep.open("look at a partition", STATEMENT_LIMIT).await?;
        let answer = async {
            let doing = session.doing;
            let mut sql = Sql::new("SELECT pg_catalog.pg_total_relation_size(");
            sql.bind(known.oid).push("::oid)");
            let row = session.one(sql).await?;
            row.try_get::<Option<i64>, _>(0)
                .map_err(|error| doing.postgres(&error))
        }
        .await;
        let bytes = session.give_back(answer)?;
        Ok(PartitionStep {
            done: true,
            rows: record.rows,
            bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            note: None,
        })
    }

    /// Drops an archived partition.
    pub(super) async fn drop(
        &self,
        table: &TableName,
        partition: &TableName,
        limit: Duration,
        held: &Fence,
    ) -> Result<PartitionStep, DatabaseError> {
        let seen = self.look(table).await?;
        let known = seen.find(partition)?;
        let record = match to_drop(known) {
            Ok(record) => record,
            Err(note) => return Ok(PartitionStep::not_done(note)),
        };
        if record.is_there {
            let mut session = self.rows.open("drop a partition", STATEMENT_LIMIT).await?;
            let begun = detached::dropping(&mut session, held, known.oid).await;
            session.give_back(begun)?;
        }
        let mut session = self.rows.open("drop a partition", STATEMENT_LIMIT).await?;
        let done = async {
            let doing = session.doing;
            let mut holding = hold(&mut session, held, limit).await?;
            let dropped = if record.is_there {
                let mut upkeep = self.upkeep.open("drop a partition", limit).await?;
                let dropped = drop::drop_it(&mut upkeep, known, record).await;
                upkeep.give_back(dropped)?
            } else {
                Dropped::Done
            };
            let step = match dropped {
                Dropped::Done => {
                    let step = if record.is_there {
                        PartitionStep {
                            done: true,
                            rows: record.rows,
                            ..PartitionStep::default()
                        }
                    } else {
                        already_gone(record)
                    };
                    fence::record(&mut holding, held, step.rows, None, doing).await?;
                    detached::forget(&mut holding, known.oid, doing).await?;
                    step
                }
                Dropped::Stays(note) => {
                    detached::not_dropped(&mut holding, known.oid, false, doing).await?;
                    PartitionStep::not_done(note)
                }
                Dropped::Changed => {
                    detached::not_dropped(&mut holding, known.oid, true, doing).await?;
                    PartitionStep::not_done(
                        "somebody has written to it since it was archived: it is archived once more",
                    )
                }
            };
            answer(doing, holding.commit()).await?;
            Ok(step)
        }
        .await;
        session.give_back(done)
    }
}

/// A transaction that keeps the fence while another connection works.
async fn hold<'a>(
    session: &'a mut Session,
    held: &Fence,
    limit: Duration,
) -> Result<sqlx::Transaction<'a, sqlx::Postgres>, DatabaseError> {
    let doing = session.doing;
    let mut holding = session.begin(Access::Write, LOCK_LIMIT).await?;
    fence::check(&mut holding, held, doing).await?;
    // The session's own limit would end it while the other one works.
    let mut sql = Sql::new("SET LOCAL idle_in_transaction_session_timeout = ");
    sql.number(2_000 * limit.as_secs().clamp(30, 1_000_000));
    execute(&mut holding, sql, doing).await?;
    Ok(holding)
}

fn not_to_archive(known: &Known, detached: bool) -> Option<String> {
    if let Some(why) = &known.told.kept {
        return Some(why.clone());
    }
    match known.told.state {
        PartitionState::Detached => None,
        PartitionState::Attached | PartitionState::Detaching if detached => None,
        PartitionState::Attached | PartitionState::Detaching => Some("it is not detached".to_owned()),
        PartitionState::Archived => Some("it is in the archive already".to_owned()),
        PartitionState::Gone => Some("it is no longer there".to_owned()),
    }
}

/// Streams all rows; answers how many, and a number that any change of them changes.
async fn give(
    session: &mut Session,
    known: &Known,
    shelf: &dyn Shelf,
) -> Result<(u64, String), DatabaseError> {
    let doing = session.doing;
    let mut transaction = session.begin(Access::Read, LOCK_LIMIT).await?;
    is_itself(&mut transaction, known, doing).await?;
    let mut sql = Sql::new(
        "SELECT pg_catalog.row_to_json(t)::text, pg_catalog.hashtextextended(pg_catalog.row_to_json(t)::text, 0) FROM ",
    );
    known.write(&mut sql);
    sql.push(" AS t");
    let began = Instant::now();
    let fault = |error: sqlx::Error| doing.postgres_after(&error, began.elapsed());
    let (mut rows, mut sum) = (0_u64, 0_i128);
    {
        let (mut part, mut bytes) = (Vec::new(), 0);
        let query = sql.postgres();
        let mut stream = query.fetch(&mut *transaction);
        while let Some(row) = stream.try_next().await.map_err(fault)? {
            let text: String = row.try_get(0).map_err(fault)?;
            sum += i128::from(row.try_get::<i64, _>(1).map_err(fault)?);
            rows += 1;
            bytes += text.len() + 1;
            part.push(text);
            if part.len() >= ROWS_MAX as usize || bytes >= BYTES_MAX {
                shelf.part(&part).await?;
                part.clear();
                bytes = 0;
            }
        }
        if !part.is_empty() {
            shelf.part(&part).await?;
        }
    }
    answer(doing, transaction.rollback()).await?;
    Ok((rows, sum.to_string()))
}

/// Refuses when the name means another table by now, or the table is a partition again.
async fn is_itself(connection: &mut PgConnection, known: &Known, doing: Doing) -> Result<(), DatabaseError> {
    let mut sql = Sql::new(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE NOT c.relispartition AND c.oid = ",
    );
    sql.bind(known.oid).push("::oid AND n.nspname = ");
    sql.bind(known.schema.as_str())
        .push(" AND c.relname = ")
        .bind(known.table.as_str())
        .push(")");
    let row = one(connection, sql, doing).await?;
    if row.try_get(0).map_err(|error| doing.postgres(&error))? {
        return Ok(());
    }
    Err(DatabaseError::Refused(format!(
        "{} is no longer the table that was detached",
        known.told.name
    )))
}

/// The record of what may be dropped, or why it stays.
fn to_drop(known: &Known) -> Result<&Record, String> {
    if let Some(why) = &known.told.kept {
        return Err(why.clone());
    }
    match (known.told.state, &known.record) {
        (PartitionState::Archived | PartitionState::Gone, Some(record)) => Ok(record),
        _ => Err("it is in no archive yet".to_owned()),
    }
}

/// Whoever dropped it could not say so; when it was not sereno, nothing is counted.
fn already_gone(record: &Record) -> PartitionStep {
    PartitionStep {
        done: true,
        rows: if record.dropping { record.rows } else { 0 },
        bytes: None,
        note: Some("it was gone already".to_owned()),
    }
}
