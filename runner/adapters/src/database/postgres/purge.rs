//! A purge in batches: ranges of a key, each deleted whole; what is locked is skipped and visited once more.
//!
//! The range shape is two to three times faster than locking rows first (docs/decisions, purge baseline) and as safe:
//! under READ COMMITTED a row that changed meanwhile is judged again before it goes. A table whose rows nothing tells
//! apart is deleted from by the rows' places, with `tableoid`, because a place alone is one in every partition.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use sereno_core::ports::database::{Archive, DatabaseError, DeleteBatch, Fence, Purge};
use sereno_core::value::{Condition, Filter, Operator};
use sqlx::{PgConnection, Row};

use super::super::cursor::{Cursor, Key, Phase};
use super::super::fault::Doing;
use super::super::pace::{Paces, Patience};
use super::super::sql::Sql;
use super::super::take::{KEEP_LIMIT, ROWS_MAX, Take};
use super::super::{no_record, refuse_empty};
use super::catalogue::{self, Column, Table};
use super::session::{Access, LOCK_LIMIT, Session, answer, execute, one, optional};
use super::{fence, filter};

/// Rows looked at in one go where the order alone does not lead to the matching ones.
const WINDOW_ROWS: u64 = 50_000;

/// How long a range waits for a locked row, with its other rows locked meanwhile, before the batch goes around it.
const RANGE_LOCK_LIMIT: Duration = Duration::from_millis(200);

/// Tries of one batch that meets deadlocks, serialization failures or locks on the whole table.
const TRIES: u32 = 3;

/// How the table is walked.
struct Walk<'a> {
    table: Table,
    /// Empty: there is no key, and rows are taken as they come.
    by: Vec<Column>,
    /// The conditions that bound the walk itself; all others only choose among the rows visited.
    bounds: Filter,
    filter: &'a Filter,
    without: &'a [Filter],
    timezone: &'a str,
}

/// A part of the walk: after one key, up to another.
#[derive(Clone, Copy)]
struct Stretch<'a> {
    after: Option<&'a [Key]>,
    upto: Option<&'a [Key]>,
}

/// Where the next stretch ends.
struct Bound {
    /// None: no matching row is left.
    upto: Option<Vec<Key>>,
    is_last: bool,
}

/// How a batch treats locked rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Wait for a moment, then give the batch up.
    Range,
    /// `FOR UPDATE SKIP LOCKED` first; takes the right to UPDATE some column.
    SkipLocked,
    /// The one row that a role without that right found locked: go past it.
    PassOne,
}

/// What one transaction did.
struct Done {
    rows: u64,
    /// Matching rows of the stretch that stayed because they were locked.
    locked: u64,
    upto: Option<Vec<Key>>,
    is_last: bool,
}

impl<'a> Walk<'a> {
    async fn new(
        session: &mut Session,
        purge: &'a Purge,
        without: &'a [Filter],
        timezone: &'a str,
    ) -> Result<Self, DatabaseError> {
        refuse_empty(&purge.filter)?;
        let table = catalogue::table(session, &purge.table).await?;
        let order_by = table.column(&purge.order_by)?.clone();
        let ages = |c: &&Condition| {
            c.column == purge.order_by && !matches!(c.op, Operator::IsNull | Operator::IsNotNull)
        };
        let bounds = Filter(purge.filter.0.iter().filter(ages).cloned().collect());
        let is_ordered =
            !table.key.is_empty() && table.leading.contains(&purge.order_by) && !bounds.0.is_empty();
        let (mut by, bounds) = if is_ordered {
            (vec![order_by], bounds)
        } else {
            (Vec::new(), Filter::default())
        };
        for key in &table.key {
            if !by.iter().any(|column| column.name == *key) {
                by.push(table.column(key.as_str())?.clone());
            }
        }
        Ok(Self {
            table,
            by,
            bounds,
            filter: &purge.filter,
            without,
            timezone,
        })
    }

    fn cursor(&self, purge: &Purge, text: Option<&str>) -> Result<Cursor, DatabaseError> {
        Cursor::read(
            text,
            &purge.table,
            &self
                .by
                .iter()
                .map(|column| column.name.as_str())
                .collect::<Vec<_>>(),
        )
    }

    /// True when the walk alone does not lead to the matching rows.
    fn has_windows(&self) -> bool {
        self.bounds != *self.filter || !self.without.is_empty()
    }

    /// Writes `t.a, t.b`, each with `after`: a name alone would mean the output column, which is text.
    fn write_by(&self, sql: &mut Sql, after: &'static str) {
        for (place, column) in self.by.iter().enumerate() {
            sql.push(if place > 0 { ", t." } else { "t." })
                .name(&column.name)
                .push(after);
        }
    }

    fn write_stretch(&self, sql: &mut Sql, stretch: Stretch<'_>) {
        for (sign, keys) in [(") > (", stretch.after), (") <= (", stretch.upto)] {
            if let Some(keys) = keys {
                sql.push(" AND (");
                self.write_by(sql, "");
                sql.push(sign);
                for (place, (key, column)) in keys.iter().zip(&self.by).enumerate() {
                    if place > 0 {
                        sql.push(", ");
                    }
                    let Key::Text(text) = key else {
                        continue;
                    };
                    sql.bind(text.as_str()).push("::").type_name(&column.type_name);
                }
                sql.push(")");
            }
        }
    }

    fn write_from(&self, sql: &mut Sql) {
        sql.push(" FROM ");
        self.table.write(sql);
        sql.push(" AS t");
    }

    fn write_where(&self, sql: &mut Sql, stretch: Stretch<'_>) -> Result<(), DatabaseError> {
        sql.push(" WHERE ");
        filter::write_less(sql, &self.table, self.filter, self.without, self.timezone)?;
        self.write_stretch(sql, stretch);
        Ok(())
    }

    /// The key of one row of a stretch: `rows` on from its start, or (none) its last.
    async fn key_at(
        &self,
        connection: &mut PgConnection,
        filter: &Filter,
        without: &[Filter],
        stretch: Stretch<'_>,
        rows: Option<u64>,
        doing: Doing,
    ) -> Result<Option<Vec<Key>>, DatabaseError> {
        let mut sql = Sql::new("SELECT ");
        self.write_by(&mut sql, "::text");
        self.write_from(&mut sql);
        sql.push(" WHERE ");
        filter::write_less(&mut sql, &self.table, filter, without, self.timezone)?;
        self.write_stretch(&mut sql, stretch);
        sql.push(" ORDER BY ");
        self.write_by(&mut sql, if rows.is_some() { "" } else { " DESC" });
        sql.push(" LIMIT 1 OFFSET ")
            .number(rows.unwrap_or(1).saturating_sub(1));
        let row = optional(connection, sql, doing).await?;
        row.map(|row| (0..row.len()).map(|at| row.try_get(at).map(Key::Text)).collect())
            .transpose()
            .map_err(|error: sqlx::Error| doing.postgres(&error))
    }

    /// The end of the stretch after `after` that holds at most `rows` matching rows.
    async fn bound(
        &self,
        connection: &mut PgConnection,
        after: Option<&[Key]>,
        rows: u32,
        doing: Doing,
    ) -> Result<Bound, DatabaseError> {
        let open = Stretch { after, upto: None };
        let mut window = None;
        if self.has_windows() {
            let size = WINDOW_ROWS.max(u64::from(rows));
            window = self
                .key_at(connection, &self.bounds, &[], open, Some(size), doing)
                .await?;
        }
        let stretch = Stretch {
            after,
            upto: window.as_deref(),
        };
        let rows = Some(u64::from(rows));
        if let Some(upto) = self
            .key_at(connection, self.filter, self.without, stretch, rows, doing)
            .await?
        {
            return Ok(Bound {
                upto: Some(upto),
                is_last: false,
            });
        }
        if window.is_some() {
            return Ok(Bound {
                upto: window,
                is_last: false,
            });
        }
        // Fewer than asked for are left. They end at a key too: rows that arrive meanwhile are not of this batch.
        let upto = self
            .key_at(connection, self.filter, self.without, open, None, doing)
            .await?;
        Ok(Bound { upto, is_last: true })
    }

    /// Counts the matching rows of a stretch.
    async fn count(
        &self,
        connection: &mut PgConnection,
        stretch: Stretch<'_>,
        doing: Doing,
    ) -> Result<u64, DatabaseError> {
        let mut sql = Sql::new("SELECT pg_catalog.count(*)");
        self.write_from(&mut sql);
        self.write_where(&mut sql, stretch)?;
        let row = one(connection, sql, doing).await?;
        let rows: i64 = row.try_get(0).map_err(|error| doing.postgres(&error))?;
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    /// True while a matching row is left that nobody holds; a role that may not lock rows cannot tell who holds them.
    async fn finds_more(&self, connection: &mut PgConnection, doing: Doing) -> Result<bool, DatabaseError> {
        let everything = Stretch {
            after: None,
            upto: None,
        };
        let mut sql = Sql::new("SELECT");
        self.write_from(&mut sql);
        self.write_where(&mut sql, everything)?;
        sql.push(" LIMIT 1");
        if self.table.may_lock {
            sql.push(" FOR UPDATE SKIP LOCKED");
        }
        Ok(optional(connection, sql, doing).await?.is_some())
    }

    /// Deletes the matching rows of a stretch. Locks them, and waits for rows that others hold.
    async fn delete_range(
        &self,
        connection: &mut PgConnection,
        stretch: Stretch<'_>,
        take: Option<&mut Take<'_>>,
        doing: Doing,
    ) -> Result<u64, DatabaseError> {
        let mut sql = Sql::new("DELETE");
        self.write_from(&mut sql);
        self.write_where(&mut sql, stretch)?;
        taken(connection, sql, take, doing).await
    }

    /// Deletes matching rows by their places, at most `rows` of them, and past those that others hold when it may
    /// lock. The predicate stands outside too: a row that changed meanwhile is judged again.
    async fn delete_places(
        &self,
        connection: &mut PgConnection,
        stretch: Stretch<'_>,
        rows: Option<u32>,
        take: Option<&mut Take<'_>>,
        doing: Doing,
    ) -> Result<u64, DatabaseError> {
        let mut sql = Sql::new("WITH doomed AS MATERIALIZED (SELECT t.tableoid, t.ctid");
        self.write_from(&mut sql);
        self.write_where(&mut sql, stretch)?;
        if let Some(rows) = rows {
            sql.push(" LIMIT ").number(u64::from(rows));
        }
        if self.table.may_lock {
            sql.push(" FOR UPDATE SKIP LOCKED");
        }
        sql.push(") DELETE");
        self.write_from(&mut sql);
        sql.push(" USING doomed");
        self.write_where(&mut sql, stretch)?;
        sql.push(" AND t.ctid = doomed.ctid AND t.tableoid = doomed.tableoid");
        taken(connection, sql, take, doing).await
    }

    /// One transaction: fence, delete, record.
    async fn batch(
        &self,
        session: &mut Session,
        cursor: &Cursor,
        asked: u32,
        shape: Shape,
        fence: &Fence,
        mut take: Option<&mut Take<'_>>,
    ) -> Result<(Done, Cursor), DatabaseError> {
        let doing = session.doing;
        let lock = if shape == Shape::Range {
            RANGE_LOCK_LIMIT
        } else {
            LOCK_LIMIT
        };
        let mut transaction = session.begin(Access::Write, lock).await?;
        fence::check(&mut transaction, fence, doing).await?;
        if let Some(take) = &mut take {
            take.begin();
            // The session's own limit would end the transaction while its rows are kept.
            let mut sql = Sql::new("SET LOCAL idle_in_transaction_session_timeout = ");
            sql.number(2_000 * KEEP_LIMIT.as_secs());
            execute(&mut transaction, sql, doing).await?;
        }
        let done = if self.by.is_empty() {
            let everything = Stretch {
                after: None,
                upto: None,
            };
            let rows = self
                .delete_places(
                    &mut transaction,
                    everything,
                    Some(asked),
                    take.as_deref_mut(),
                    doing,
                )
                .await?;
            // Fewer than asked for are no sign of the end: a row that changed meanwhile is in another place, and stayed.
            let is_last = rows < u64::from(asked) && !self.finds_more(&mut transaction, doing).await?;
            let locked = if is_last {
                self.count(&mut transaction, everything, doing).await?
            } else {
                0
            };
            Done {
                rows,
                locked,
                upto: None,
                is_last,
            }
        } else {
            let bound = self
                .bound(&mut transaction, cursor.after.as_deref(), asked, doing)
                .await?;
            let stretch = Stretch {
                after: cursor.after.as_deref(),
                upto: bound.upto.as_deref(),
            };
            let (rows, locked) = match shape {
                _ if bound.upto.is_none() => (0, 0),
                Shape::Range => {
                    let take = take.as_deref_mut();
                    (
                        self.delete_range(&mut transaction, stretch, take, doing).await?,
                        0,
                    )
                }
                Shape::SkipLocked => {
                    let rows = self
                        .delete_places(&mut transaction, stretch, None, take.as_deref_mut(), doing)
                        .await?;
                    (rows, self.count(&mut transaction, stretch, doing).await?)
                }
                Shape::PassOne => (0, self.count(&mut transaction, stretch, doing).await?),
            };
            Done {
                rows,
                locked,
                upto: bound.upto,
                is_last: bound.is_last,
            }
        };
        let next = advance(cursor, &done);
        if done.rows > 0 {
            let text = is_open(cursor, &done, &next).then(|| next.write());
            let batch = fence::record(&mut transaction, fence, done.rows, text.as_deref(), doing).await?;
            if let Some(take) = take {
                take.keep(batch.ok_or_else(no_record)?).await?;
            }
        }
        answer(doing, transaction.commit()).await?;
        Ok((done, next))
    }
}

/// Runs a delete; with `take` its rows are taken as JSON objects, as far as they fit.
async fn taken(
    connection: &mut PgConnection,
    mut sql: Sql,
    take: Option<&mut Take<'_>>,
    doing: Doing,
) -> Result<u64, DatabaseError> {
    let Some(take) = take else {
        return execute(connection, sql, doing).await;
    };
    sql.push(" RETURNING pg_catalog.row_to_json(t)::text");
    let all = async {
        let query = sql.postgres();
        let mut rows = query.fetch(connection);
        while let Some(row) = rows.try_next().await? {
            if !take.add(row.try_get(0)?) {
                break;
            }
        }
        Ok(())
    };
    answer(doing, all).await?;
    if take.is_too_large() {
        // The transaction is given up, and with it the rest of the answer; a smaller batch is tried.
        return Err(DatabaseError::Fault {
            operation: doing.operation,
            reason: "its rows are too large for one batch of an archive".to_owned(),
        });
    }
    Ok(take.len())
}

/// The cursor after a batch.
fn advance(cursor: &Cursor, done: &Done) -> Cursor {
    let mut next = cursor.clone();
    match cursor.phase {
        Phase::First => next.skipped |= done.locked > 0,
        Phase::Final => next.locked += done.locked,
    }
    if done.upto.is_some() {
        next.after.clone_from(&done.upto);
    }
    next.visited += done.rows;
    if done.is_last && cursor.phase == Phase::First && next.skipped {
        next.phase = Phase::Final;
        next.after = None;
    }
    next
}

/// True while there is more to visit: rows, or the final pass.
fn is_open(before: &Cursor, done: &Done, next: &Cursor) -> bool {
    !done.is_last || before.phase != next.phase
}

/// Deletes the next batch; with an archive only what that has kept.
#[expect(
    clippy::too_many_arguments,
    reason = "what a batch is, and what it is done with"
)]
pub(super) async fn delete(
    session: &mut Session,
    paces: &Paces,
    timezone: &str,
    purge: &Purge,
    cursor: Option<&str>,
    max: u32,
    fence: &Fence,
    archive: Option<&dyn Archive>,
) -> Result<DeleteBatch, DatabaseError> {
    let limit = session.doing.limit;
    let max = if archive.is_some() { max.min(ROWS_MAX) } else { max };
    let mut take = archive.map(Take::new);
    let walk = Walk::new(session, purge, &[], timezone).await?;
    let mut cursor = walk.cursor(purge, cursor)?;
    let mut shape = Shape::Range;
    // Smaller than the pace while a role that may not lock rows closes in on a locked one.
    let mut asked_max = max;
    let mut tries = 0;
    let patience = Patience::begin();
    loop {
        let started = Instant::now();
        let asked = paces.rows(&fence.run, &purge.table, asked_max);
        let batch = walk.batch(session, &cursor, asked, shape, fence, take.as_mut());
        let (done, next) = match batch.await {
            Ok(batch) => batch,
            Err(_) if asked > 1 && take.as_ref().is_some_and(Take::is_too_large) => {
                asked_max = asked / 2;
                paces.learn(&fence.run, &purge.table, asked, limit);
                continue;
            }
            Err(DatabaseError::Busy { .. })
                if shape == Shape::Range && !walk.by.is_empty() && walk.table.may_lock =>
            {
                shape = Shape::SkipLocked;
                continue;
            }
            Err(DatabaseError::Busy { .. }) if shape == Shape::Range && !walk.by.is_empty() && asked > 1 => {
                asked_max = asked / 2;
                // The rows around a locked one are best taken in small batches by later calls too.
                paces.learn(&fence.run, &purge.table, asked, limit);
                continue;
            }
            Err(DatabaseError::Busy { .. }) if shape == Shape::Range && !walk.by.is_empty() => {
                shape = Shape::PassOne;
                continue;
            }
            Err(DatabaseError::Busy { .. }) if tries + 1 < TRIES => {
                tries += 1;
                continue;
            }
            Err(DatabaseError::Timeout { .. }) if tries + 1 < TRIES => {
                paces.learn(&fence.run, &purge.table, asked, limit);
                tries += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        if shape == Shape::Range && done.rows == u64::from(asked) && asked_max == max {
            let kept_for = take.as_ref().map_or(Duration::ZERO, Take::kept_for);
            paces.learn(
                &fence.run,
                &purge.table,
                asked,
                started.elapsed().saturating_sub(kept_for),
            );
        }
        let is_open = is_open(&cursor, &done, &next);
        if done.rows > 0 || !is_open || patience.is_over() {
            let locked = if is_open { 0 } else { next.locked };
            return Ok(DeleteBatch {
                rows: done.rows,
                cursor: is_open.then(|| next.write()),
                locked,
            });
        }
        cursor = next;
        (shape, asked_max, tries) = (Shape::Range, max, 0);
    }
}

/// Counts what the next batch would delete; goes on until it has found something, come to the end or walked for long. It cannot tell
/// a locked row from another.
pub(super) async fn preview(
    session: &mut Session,
    timezone: &str,
    purge: &Purge,
    without: &[Filter],
    cursor: Option<&str>,
    max: u32,
) -> Result<DeleteBatch, DatabaseError> {
    let doing = session.doing;
    let walk = Walk::new(session, purge, without, timezone).await?;
    let mut cursor = walk.cursor(purge, cursor)?;
    let max = max.max(1);
    let mut transaction = session.begin(Access::Read, LOCK_LIMIT).await?;
    let patience = Patience::begin();
    loop {
        let done = if walk.by.is_empty() {
            let mut sql = Sql::new("SELECT pg_catalog.count(*) FROM (SELECT");
            walk.write_from(&mut sql);
            walk.write_where(
                &mut sql,
                Stretch {
                    after: None,
                    upto: None,
                },
            )?;
            sql.push(" OFFSET ")
                .number(cursor.visited)
                .push(" LIMIT ")
                .number(u64::from(max))
                .push(") AS batch");
            let row = one(&mut transaction, sql, doing).await?;
            let rows: i64 = row.try_get(0).map_err(|error| doing.postgres(&error))?;
            let rows = u64::try_from(rows).unwrap_or_default();
            Done {
                rows,
                locked: 0,
                upto: None,
                is_last: rows < u64::from(max),
            }
        } else {
            let bound = walk
                .bound(&mut transaction, cursor.after.as_deref(), max, doing)
                .await?;
            let stretch = Stretch {
                after: cursor.after.as_deref(),
                upto: bound.upto.as_deref(),
            };
            let rows = match bound.upto {
                Some(_) => walk.count(&mut transaction, stretch, doing).await?,
                None => 0,
            };
            Done {
                rows,
                locked: 0,
                upto: bound.upto,
                is_last: bound.is_last,
            }
        };
        let next = advance(&cursor, &done);
        let is_open = is_open(&cursor, &done, &next);
        if done.rows > 0 || !is_open || patience.is_over() {
            answer(doing, transaction.rollback()).await?;
            return Ok(DeleteBatch {
                rows: done.rows,
                cursor: is_open.then(|| next.write()),
                locked: 0,
            });
        }
        cursor = next;
    }
}
