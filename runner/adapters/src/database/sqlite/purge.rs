//! A purge in batches, in the order of the ageing column when an index leads with it, else in the order of the key.
//!
//! SQLite locks the file, not rows: there is nothing to skip and no final pass.

use std::time::Instant;

use futures::TryStreamExt as _;
use serde_json::{Number, Value as Json};
use sereno_core::job::TimeFormat;
use sereno_core::ports::database::{Archive, DatabaseError, DeleteBatch, Fence, Purge};
use sereno_core::value::{Filter, Operator};
use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, Row, SqliteConnection, TypeInfo, ValueRef};

use super::super::cursor::{Cursor, Key};
use super::super::fault::Doing;
use super::super::pace::{Paces, Patience};
use super::super::sql::{Arg, Identifier, Sql};
use super::super::take::{ROWS_MAX, Take};
use super::super::{hex, no_record, refuse_empty};
use super::catalogue::{self, Table};
use super::session::{Session, execute};
use super::{fence, filter};

/// Rows looked at in one go where the order alone does not lead to the matching ones: some milliseconds.
const WINDOW_ROWS: u64 = 20_000;

/// How the table is walked.
struct Walk<'a> {
    table: Table,
    by: Vec<Identifier>,
    /// The conditions that bound the walk itself; all others only choose among the rows visited.
    bounds: Filter,
    filter: &'a Filter,
    without: &'a [Filter],
    format: TimeFormat,
}

/// A part of the walk: after one key, up to another.
struct Stretch<'a> {
    after: Option<&'a [Key]>,
    upto: Option<&'a [Key]>,
}

/// A stretch with at most the rows asked for.
struct Bounded {
    upto: Option<Vec<Key>>,
}

impl<'a> Walk<'a> {
    async fn new(
        session: &mut Session<'_>,
        purge: &'a Purge,
        without: &'a [Filter],
        format: TimeFormat,
    ) -> Result<Self, DatabaseError> {
        refuse_empty(&purge.filter)?;
        let table = catalogue::table(session, &purge.table).await?;
        let order_by = table.column(&purge.order_by)?.name.clone();
        let ages = |c: &&sereno_core::value::Condition| {
            c.column == purge.order_by && !matches!(c.op, Operator::IsNull | Operator::IsNotNull)
        };
        let bounds = Filter(purge.filter.0.iter().filter(ages).cloned().collect());
        let is_ordered = table.leading.contains(&purge.order_by) && !bounds.0.is_empty();
        let (mut by, bounds) = if is_ordered {
            (vec![order_by], bounds)
        } else {
            (Vec::new(), Filter::default())
        };
        by.extend(
            table
                .key
                .iter()
                .filter(|key| !by.contains(key))
                .cloned()
                .collect::<Vec<_>>(),
        );
        Ok(Self {
            table,
            by,
            bounds,
            filter: &purge.filter,
            without,
            format,
        })
    }

    fn cursor(&self, purge: &Purge, text: Option<&str>) -> Result<Cursor, DatabaseError> {
        Cursor::read(
            text,
            &purge.table,
            &self.by.iter().map(Identifier::as_str).collect::<Vec<_>>(),
        )
    }

    /// True when the walk alone does not lead to the matching rows.
    fn has_windows(&self) -> bool {
        self.bounds != *self.filter || !self.without.is_empty()
    }

    fn write_key(&self, sql: &mut Sql) {
        sql.push("(").names(&self.by).push(")");
    }

    fn write_stretch(&self, sql: &mut Sql, stretch: &Stretch<'_>) {
        for (sign, keys) in [(" > (", stretch.after), (" <= (", stretch.upto)] {
            if let Some(keys) = keys {
                sql.push(" AND ");
                self.write_key(sql);
                sql.push(sign);
                for (place, key) in keys.iter().enumerate() {
                    if place > 0 {
                        sql.push(", ");
                    }
                    sql.bind(arg(key));
                }
                sql.push(")");
            }
        }
    }

    fn write_where(&self, sql: &mut Sql, stretch: &Stretch<'_>) -> Result<(), DatabaseError> {
        sql.push(" FROM main.").name(&self.table.name).push(" WHERE ");
        // SQLite asks an index for one upper bound only, and would take the cutoff: every batch would then walk all that
        // is left. Inside `IS TRUE` it looks for no bound, so the stretch's own is the one.
        let (open, close) = if stretch.upto.is_some() {
            ("((", ") IS TRUE)")
        } else {
            ("", "")
        };
        sql.push(open);
        filter::write_less(sql, &self.table, self.filter, self.without, self.format)?;
        sql.push(close);
        self.write_stretch(sql, stretch);
        Ok(())
    }

    /// The key `rows` rows on; none: there are fewer.
    async fn key_at(
        &self,
        connection: &mut SqliteConnection,
        filter: &Filter,
        without: &[Filter],
        stretch: &Stretch<'_>,
        rows: u64,
        doing: Doing,
    ) -> Result<Option<Vec<Key>>, DatabaseError> {
        let mut sql = Sql::new("SELECT ");
        sql.names(&self.by)
            .push(" FROM main.")
            .name(&self.table.name)
            .push(" WHERE ");
        filter::write_less(&mut sql, &self.table, filter, without, self.format)?;
        self.write_stretch(&mut sql, stretch);
        sql.push(" ORDER BY ")
            .names(&self.by)
            .push(" LIMIT 1 OFFSET ")
            .number(rows.saturating_sub(1));
        let row = sql
            .sqlite()
            .fetch_optional(connection)
            .await
            .map_err(|error| doing.sqlite(&error))?;
        row.map(|row| keys(&row))
            .transpose()
            .map_err(|error| doing.sqlite(&error))
    }

    /// The stretch after `after` that holds at most `rows` matching rows.
    async fn bound(
        &self,
        connection: &mut SqliteConnection,
        after: Option<&[Key]>,
        rows: u32,
        doing: Doing,
    ) -> Result<Bounded, DatabaseError> {
        let mut window = None;
        if self.has_windows() {
            let open = Stretch { after, upto: None };
            let size = WINDOW_ROWS.max(u64::from(rows));
            window = self
                .key_at(connection, &self.bounds, &[], &open, size, doing)
                .await?;
        }
        let stretch = Stretch {
            after,
            upto: window.as_deref(),
        };
        let last = self
            .key_at(
                connection,
                self.filter,
                self.without,
                &stretch,
                u64::from(rows),
                doing,
            )
            .await?;
        Ok(Bounded {
            upto: last.or(window),
        })
    }
}

fn arg(key: &Key) -> Arg {
    match key {
        Key::Text(text) => Arg::from(text.as_str()),
        Key::Integer(number) => Arg::from(*number),
        Key::Real(number) => Arg::Real(Some(*number)),
        Key::Blob(digits) => Arg::Blob(bytes(digits)),
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn keys(row: &SqliteRow) -> Result<Vec<Key>, sqlx::Error> {
    (0..row.len())
        .map(|at| {
            Ok(match row.try_get_raw(at)?.type_info().name() {
                "TEXT" => Key::Text(row.try_get_unchecked(at)?),
                "REAL" => Key::Real(row.try_get_unchecked(at)?),
                "BLOB" => {
                    let blob: Vec<u8> = row.try_get_unchecked(at)?;
                    Key::Blob(hex(&blob))
                }
                _ => Key::Integer(row.try_get_unchecked(at)?),
            })
        })
        .collect()
}

/// Runs a delete and takes its rows as JSON objects, as far as they fit.
async fn taken(
    connection: &mut SqliteConnection,
    mut sql: Sql,
    take: &mut Take<'_>,
) -> Result<u64, sqlx::Error> {
    sql.push(" RETURNING *");
    take.begin();
    let query = sql.sqlite();
    let mut rows = query.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        if !take.add(json(&row)?) {
            break;
        }
    }
    Ok(take.len())
}

/// A row as a JSON object. What JSON has no word for is an object of one field: `{"$blob": "00ff"}`, `{"$real": "inf"}`.
fn json(row: &SqliteRow) -> Result<String, sqlx::Error> {
    let mut object = serde_json::Map::new();
    for (at, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(at)?;
        let value = if raw.is_null() {
            Json::Null
        } else {
            match raw.type_info().name() {
                "INTEGER" => Json::from(row.try_get_unchecked::<i64, _>(at)?),
                "REAL" => {
                    let real: f64 = row.try_get_unchecked(at)?;
                    Number::from_f64(real)
                        .map_or_else(|| serde_json::json!({ "$real": real.to_string() }), Json::Number)
                }
                // Text that is no text is kept byte for byte.
                kind => {
                    let bytes: Vec<u8> = row.try_get_unchecked(at)?;
                    match String::from_utf8(bytes) {
                        Ok(text) if kind != "BLOB" => Json::String(text),
                        Ok(text) => serde_json::json!({ "$blob": hex(text.as_bytes()) }),
                        Err(error) => serde_json::json!({ "$blob": hex(error.as_bytes()) }),
                    }
                }
            }
        };
        object.insert(column.name().to_owned(), value);
    }
    serde_json::to_string(&object).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Deletes the next batch; with an archive only what that has kept.
#[expect(
    clippy::too_many_arguments,
    reason = "what a batch is, and what it is done with"
)]
pub(super) async fn delete(
    session: &mut Session<'_>,
    paces: &Paces,
    format: TimeFormat,
    purge: &Purge,
    cursor: Option<&str>,
    max: u32,
    fence: &Fence,
    archive: Option<&dyn Archive>,
) -> Result<DeleteBatch, DatabaseError> {
    let doing = session.doing;
    let mut take = archive.map(Take::new);
    let mut most = if take.is_some() { max.min(ROWS_MAX) } else { max };
    let walk = Walk::new(session, purge, &[], format).await?;
    let mut cursor = walk.cursor(purge, cursor)?;
    let patience = Patience::begin();
    loop {
        let started = Instant::now();
        let asked = paces.rows(&fence.run, &purge.table, most);
        let mut transaction = session.begin().await?;
        fence::check(&mut transaction, fence, doing).await?;
        let bounded = walk
            .bound(&mut transaction, cursor.after.as_deref(), asked, doing)
            .await?;
        let mut sql = Sql::new("DELETE");
        let stretch = Stretch {
            after: cursor.after.as_deref(),
            upto: bounded.upto.as_deref(),
        };
        walk.write_where(&mut sql, &stretch)?;
        let rows = match &mut take {
            None => execute(&mut transaction, sql).await,
            Some(take) => taken(&mut transaction, sql, take).await,
        };
        let rows = rows.map_err(|error| doing.sqlite(&error))?;
        if asked > 1 && take.as_ref().is_some_and(Take::is_too_large) {
            transaction
                .rollback()
                .await
                .map_err(|error| doing.sqlite(&error))?;
            most = asked / 2;
            continue;
        }
        let next = bounded.upto.map(|upto| {
            cursor.after = Some(upto);
            cursor.write()
        });
        if rows > 0 {
            let batch = fence::record(&mut transaction, fence, rows, next.as_deref(), doing).await?;
            if let Some(take) = &mut take {
                take.keep(batch.ok_or_else(no_record)?).await?;
            }
        }
        transaction.commit().await.map_err(|error| doing.sqlite(&error))?;
        if rows == u64::from(asked) {
            let kept_for = take.as_ref().map_or(std::time::Duration::ZERO, Take::kept_for);
            let took = started.elapsed().saturating_sub(kept_for);
            paces.learn(&fence.run, &purge.table, asked, took);
        }
        if rows > 0 || next.is_none() || patience.is_over() {
            return Ok(DeleteBatch {
                rows,
                cursor: next,
                locked: 0,
            });
        }
    }
}

/// Counts what the next batch would delete; goes on until it has found something, come to the end or walked for long.
pub(super) async fn preview(
    session: &mut Session<'_>,
    format: TimeFormat,
    purge: &Purge,
    without: &[Filter],
    cursor: Option<&str>,
    max: u32,
) -> Result<DeleteBatch, DatabaseError> {
    let doing = session.doing;
    let walk = Walk::new(session, purge, without, format).await?;
    let mut cursor = walk.cursor(purge, cursor)?;
    let patience = Patience::begin();
    loop {
        let bounded = walk
            .bound(session.connection(), cursor.after.as_deref(), max.max(1), doing)
            .await?;
        let mut sql = Sql::new("SELECT count(*)");
        let stretch = Stretch {
            after: cursor.after.as_deref(),
            upto: bounded.upto.as_deref(),
        };
        walk.write_where(&mut sql, &stretch)?;
        let row = session.optional(sql).await?;
        let rows = row
            .map_or(Ok(0), |row| row.try_get::<i64, _>(0))
            .map_err(|error| doing.sqlite(&error))?;
        let rows = u64::try_from(rows).unwrap_or_default();
        let next = bounded.upto.map(|upto| {
            cursor.after = Some(upto);
            cursor.write()
        });
        if rows > 0 || next.is_none() || patience.is_over() {
            return Ok(DeleteBatch {
                rows,
                cursor: next,
                locked: 0,
            });
        }
    }
}
