//! Which partitions a table has, how old they are, and why they may not go. It changes nothing.

use chrono::{DateTime, Utc};
use sereno_core::name::TableName;
use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::partition::{Partition, PartitionState};
use sereno_core::value::show_instant;
use sqlx::Row;

use super::super::super::sql::{Identifier, Sql};
use super::super::catalogue::{self, Kind, Table};
use super::super::detached::{self, Record};
use super::super::session::Session;
use super::VERSION_CONCURRENTLY;

/// One partition, as it is worked on.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) oid: i64,
    pub(super) schema: Identifier,
    pub(super) table: Identifier,
    /// Its detach is half done, and no other one can begin.
    pub(super) is_pending: bool,
    /// It is part of its table, if only so.
    pub(super) is_attached: bool,
    pub(super) told: Partition,
    pub(super) record: Option<Record>,
}

impl Known {
    pub(super) fn write(&self, sql: &mut Sql) {
        sql.name(&self.schema).push(".").name(&self.table);
    }
}

/// All that is known of a table's partitions.
pub(super) struct Seen {
    pub(super) parent: Table,
    pub(super) obstacle: Option<String>,
    pub(super) partitions: Vec<Known>,
}

impl Seen {
    pub(super) fn find(&self, wanted: &TableName) -> Result<&Known, DatabaseError> {
        self.partitions
            .iter()
            .find(|known| known.told.name == *wanted)
            .ok_or_else(|| DatabaseError::NotFound {
                what: format!("partition {wanted} of table {}", self.parent.quoted()),
            })
    }

    /// The partition, or why it stays where it is.
    pub(super) fn to_detach(
        &self,
        wanted: &TableName,
        before: DateTime<Utc>,
    ) -> Result<Result<&Known, String>, DatabaseError> {
        let known = self.find(wanted)?;
        if let Some(why) = self.obstacle.as_ref().or(known.told.kept.as_ref()) {
            return Ok(Err(why.clone()));
        }
        let pending = |other: &&Known| other.is_pending && other.oid != known.oid;
        if let Some(other) = self.partitions.iter().find(pending) {
            return Ok(Err(format!(
                "{} is being detached, and PostgreSQL detaches one at a time",
                other.told.name
            )));
        }
        Ok(match (known.told.state, known.told.upper) {
            (PartitionState::Attached | PartitionState::Detaching, Some(upper)) if upper <= before => {
                Ok(known)
            }
            (PartitionState::Attached | PartitionState::Detaching, Some(upper)) => {
                Err(format!("it ends at {}", show_instant(upper)))
            }
            (PartitionState::Attached | PartitionState::Detaching, None) => {
                Err("it has no upper bound".to_owned())
            }
            _ => Err("it is detached already".to_owned()),
        })
    }
}

fn table_name(schema: &str, table: &str) -> TableName {
    TableName {
        schema: (schema != "public").then(|| schema.to_owned()),
        table: table.to_owned(),
    }
}

const KEY: &str = "SELECT p.partstrat::text, p.partnatts::int4, coalesce(a.attname::text, ''), p.partdefid <> 0, \
    (SELECT pg_catalog.min(k.conrelid::pg_catalog.regclass::text) FROM pg_catalog.pg_constraint AS k \
        WHERE k.contype = 'f' AND k.confrelid = p.partrelid AND k.conparentid = 0) \
    FROM pg_catalog.pg_partitioned_table AS p LEFT JOIN pg_catalog.pg_attribute AS a \
        ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.attnum > 0 WHERE p.partrelid = ";

/// How old partitions are told apart, or why none can go.
async fn key(session: &mut Session, parent: &Table) -> Result<(Kind, Option<String>), DatabaseError> {
    const NO_AGE: &str =
        "it is not partitioned by RANGE of one timestamp or date column: its partitions have no age";
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.postgres(&error);
    let mut sql = Sql::new(KEY);
    sql.bind(parent.oid);
    let Some(row) = session.optional(sql).await? else {
        return Ok((Kind::Other, Some("it is not partitioned".to_owned())));
    };
    let (strategy, columns, name): (String, i32, String) = (
        row.try_get(0).map_err(fault)?,
        row.try_get(1).map_err(fault)?,
        row.try_get(2).map_err(fault)?,
    );
    let has_default: bool = row.try_get(3).map_err(fault)?;
    let referrer: Option<String> = row.try_get(4).map_err(fault)?;
    let kind = parent.column(&name).map_or(Kind::Other, |column| column.kind);
    let has_age =
        strategy == "r" && columns == 1 && matches!(kind, Kind::TimestampTz | Kind::Timestamp | Kind::Date);
    if !has_age {
        return Ok((Kind::Other, Some(NO_AGE.to_owned())));
    }
    let obstacle = match referrer {
        Some(referrer) => Some(format!(
            "a foreign key of {referrer} refers to it: rows that it refers to cannot leave"
        )),
        None if has_default && session.version() >= VERSION_CONCURRENTLY => Some(
            "it has a DEFAULT partition, and with one PostgreSQL detaches nothing beside readers and writers: move what is in it \
             to partitions of its own and drop it, or detach by hand while nobody uses the table"
                .to_owned(),
        ),
        None => None,
    };
    Ok((kind, obstacle))
}

/// Every partition of a table, the oldest first.
pub(super) async fn look(
    session: &mut Session,
    timezone: &str,
    table: &TableName,
) -> Result<Seen, DatabaseError> {
    let doing = session.doing;
    let parent = catalogue::table(session, table).await?;
    let (kind, obstacle) = key(session, &parent).await?;
    let mut records = detached::of(session, parent.oid).await?;
    let mut sql = Sql::new("SELECT c.oid::int8, n.nspname::text, c.relname::text, ");
    sql.push(if session.version() >= VERSION_CONCURRENTLY {
        "i.inhdetachpending, "
    } else {
        "false, "
    });
    sql.push(
        "pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', \
         CASE WHEN pg_catalog.isfinite(u.upper) THEN u.upper END FROM pg_catalog.pg_inherits AS i \
         JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT pg_catalog.substring(pg_catalog.pg_get_expr(c.relpartbound, c.oid), \
         ' TO [(]''([^'']*)''[)]$')) AS b (bound) CROSS JOIN LATERAL (SELECT ",
    );
    match kind {
        Kind::TimestampTz => {
            sql.push("b.bound::timestamptz");
        }
        Kind::Timestamp => {
            sql.push("b.bound::timestamp AT TIME ZONE ").bind(timezone);
        }
        Kind::Date => {
            sql.push("b.bound::date::timestamp AT TIME ZONE ").bind(timezone);
        }
        _ => {
            sql.push("NULL::timestamptz");
        }
    }
    sql.push(") AS u (upper) WHERE i.inhparent = ").bind(parent.oid);
    let mut partitions = Vec::new();
    if obstacle.as_deref() != Some("it is not partitioned") {
        for row in session.all(sql).await? {
            let known = (|| {
                let (oid, schema, table): (i64, String, String) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let (pending, is_default): (bool, Option<bool>) = (row.try_get(3)?, row.try_get(4)?);
                let upper: Option<DateTime<Utc>> = row.try_get(5)?;
                let record = records
                    .iter()
                    .position(|record| record.oid == oid)
                    .map(|at| records.swap_remove(at));
                Ok(attached(
                    oid,
                    &schema,
                    &table,
                    pending,
                    is_default == Some(true),
                    upper,
                    record,
                ))
            })()
            .map_err(|error: sqlx::Error| doing.postgres(&error))?;
            partitions.push(known);
        }
    }
    let newest = partitions.iter().filter_map(|known| known.told.upper).max();
    for known in &mut partitions {
        if known.told.upper == newest
            && known.told.kept.is_none()
            && known.told.state == PartitionState::Attached
        {
            known.told.kept = Some("it is the newest".to_owned());
        }
    }
    partitions.extend(
        records
            .into_iter()
            .filter(|record| !record.is_partition)
            .map(by_itself),
    );
    partitions.sort_by(|a, b| {
        let order = |known: &Known| {
            (
                known.told.upper.is_none(),
                known.told.upper,
                known.told.name.clone(),
            )
        };
        order(a).cmp(&order(b))
    });
    Ok(Seen {
        parent,
        obstacle,
        partitions,
    })
}

fn attached(
    oid: i64,
    schema: &str,
    table: &str,
    pending: bool,
    is_default: bool,
    upper: Option<DateTime<Utc>>,
    record: Option<Record>,
) -> Known {
    let kept = if is_default {
        Some("it is the DEFAULT partition".to_owned())
    } else if pending && record.is_none() {
        Some("somebody else has begun to detach it: finish that with ALTER TABLE ... DETACH PARTITION ... FINALIZE".to_owned())
    } else if upper.is_none() {
        Some("it has no upper bound".to_owned())
    } else {
        None
    };
    Known {
        oid,
        schema: Identifier::from_catalogue(schema),
        table: Identifier::from_catalogue(table),
        is_pending: pending,
        is_attached: true,
        told: Partition {
            name: table_name(schema, table),
            state: if pending {
                PartitionState::Detaching
            } else {
                PartitionState::Attached
            },
            upper,
            kept,
            archived_at: None,
            manifest: None,
        },
        record,
    }
}

/// What was a partition once, by its record.
fn by_itself(record: Record) -> Known {
    let kept = match (record.is_there, record.has_name, record.name_is_taken) {
        (true, false, _) => Some("it was given another name since it was detached".to_owned()),
        (false, _, true) => Some("another table has its name now".to_owned()),
        _ => None,
    };
    let state = match record.archived_at {
        _ if !record.is_there => PartitionState::Gone,
        // Whoever detached it could not say so.
        None if !record.is_detached => PartitionState::Detaching,
        Some(_) => PartitionState::Archived,
        None => PartitionState::Detached,
    };
    Known {
        oid: record.oid,
        schema: Identifier::from_catalogue(record.schema.as_str()),
        table: Identifier::from_catalogue(record.name.as_str()),
        is_pending: false,
        is_attached: false,
        told: Partition {
            name: table_name(&record.schema, &record.name),
            state,
            upper: record.upper,
            kept,
            archived_at: record.archived_at,
            manifest: record.manifest.clone(),
        },
        record: Some(record),
    }
}
