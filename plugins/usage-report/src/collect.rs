//! Asks the databases and file systems what they hold. It compares nothing and judges nothing.
//!
//! A target that fails is told as unknown, and hides no other.

use std::collections::BTreeMap;

use sereno_plugin::{DatabaseRead, Error, Files, TableSize, Value, target};

use crate::report::{
    DatabaseUse, DiskUse, IndexUse, SchemaUse, TableUse, TenantUse, Tenants, Unknown, UsageReport,
};
use crate::{Params, Tenants as TenantsParam};

/// What one call may answer at most.
const PAGE: u32 = 500;

/// Tables of one database that are looked at: each is held in memory until its partitions are known.
const TABLES_MAX: usize = 50_000;

/// Tables of one database in the JSON object.
const TABLES_LISTED: usize = 2_000;

/// Tenants in the JSON object.
const TENANTS_LISTED: usize = 2_000;

/// Fills the report with everything that the params name.
///
/// # Errors
/// What ends the whole attempt, and what the last target answered when none did.
pub(crate) fn collect(
    params: &Params,
    host: &mut (impl DatabaseRead + Files),
    report: &mut UsageReport,
) -> Result<(), Error> {
    let mut last = None;
    for name in &params.databases {
        match database(params, name, host, &mut report.unknown) {
            Ok(found) => report.databases.push(found),
            Err(error) => last = Some(local(&target::database(name), error, &mut report.unknown)?),
        }
    }
    for name in &params.directories {
        match host.usage(name) {
            Ok(usage) => {
                let used = usage
                    .bytes_total
                    .zip(usage.bytes_free)
                    .map(|(total, free)| total.saturating_sub(free));
                report.disks.push(DiskUse {
                    name: name.clone(),
                    bytes_total: usage.bytes_total,
                    bytes_used: used,
                    used_percent: percent(used, usage.bytes_total),
                    inodes_used_percent: percent(
                        usage
                            .inodes_total
                            .zip(usage.inodes_free)
                            .map(|(total, free)| total.saturating_sub(free)),
                        usage.inodes_total,
                    ),
                    change: None,
                });
            }
            Err(error) => last = Some(local(&target::directory(name), error, &mut report.unknown)?),
        }
    }
    match last {
        Some(error) if report.databases.is_empty() && report.disks.is_empty() => Err(error),
        _ => Ok(()),
    }
}

/// Notes what could not be found out; what ends the attempt is passed on.
fn local(on: &str, error: Error, unknown: &mut Vec<Unknown>) -> Result<Error, Error> {
    if !error.is_local() {
        return Err(error);
    }
    unknown.push(Unknown {
        target: on.to_owned(),
        why: error.to_string(),
    });
    Ok(error)
}

fn percent(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = part.zip(whole).filter(|(_, whole)| *whole > 0)?;
    Some(part as f64 * 100.0 / whole as f64)
}

fn database(
    params: &Params,
    name: &str,
    host: &mut impl DatabaseRead,
    unknown: &mut Vec<Unknown>,
) -> Result<DatabaseUse, Error> {
    let statistics = host.database_statistics(name)?;
    let (sizes, is_cut) = sizes(name, host)?;
    if is_cut {
        unknown.push(Unknown {
            target: target::database(name),
            why: format!("it has more than {TABLES_MAX} tables; the rest was not looked at"),
        });
    }
    let mut tables = folded(&sizes);
    let schemas = by_schema(&tables);
    let sum = tables
        .iter()
        .try_fold(0_u64, |sum, table| Some(sum.saturating_add(table.bytes?)));
    let mut found = DatabaseUse {
        name: name.to_owned(),
        bytes: statistics.bytes,
        free_bytes: statistics.free_bytes,
        other_bytes: statistics.bytes.zip(sum.filter(|_| !is_cut)).map(|(bytes, sum)| {
            bytes
                .saturating_sub(sum)
                .saturating_sub(statistics.free_bytes.unwrap_or_default())
        }),
        connections: statistics.connections,
        connections_limit: statistics.connections_limit,
        tables_total: tables.len() as u64,
        schemas,
        ..DatabaseUse::default()
    };
    for how in params.tenants.iter().filter(|how| how.database == name) {
        match tenants(how, &tables, host) {
            Ok(tenants) => found.tenants.push(tenants),
            Err(error) => {
                let what = how.query.as_deref().or(how.schemas.as_deref());
                let on = format!(
                    "{}, tenants by {}",
                    target::database(name),
                    what.unwrap_or_default()
                );
                drop(local(&on, error, unknown)?);
            }
        }
    }
    tables.truncate(TABLES_LISTED);
    found.tables_left_out = found.tables_total - tables.len() as u64;
    let top = usize::try_from(params.top).unwrap_or(usize::MAX);
    let looked_at = &tables[..top.min(tables.len())];
    if let Err(error) = indexes(name, looked_at, host, &mut found) {
        drop(local(
            &format!("the indexes of {}", target::database(name)),
            error,
            unknown,
        )?);
    }
    found.tables = tables;
    Ok(found)
}

fn sizes(name: &str, host: &mut impl DatabaseRead) -> Result<(Vec<TableSize>, bool), Error> {
    let (mut sizes, mut cursor) = (Vec::new(), None);
    loop {
        let page = host.tables(name, cursor.as_deref(), PAGE)?;
        sizes.extend(page.items);
        cursor = page.cursor;
        if cursor.is_none() || sizes.len() >= TABLES_MAX {
            return Ok((sizes, cursor.is_some()));
        }
    }
}

/// Partitions counted into the table they belong to, at any depth; the largest first.
fn folded(sizes: &[TableSize]) -> Vec<TableUse> {
    let parents: BTreeMap<String, &str> = sizes
        .iter()
        .filter_map(|size| Some((full_name(size), size.partition_of.as_deref()?)))
        .collect();
    let mut tables = BTreeMap::<String, TableUse>::new();
    // The parents first: a partition is added to what is there.
    for size in sizes.iter().filter(|size| size.partition_of.is_none()) {
        tables.insert(full_name(size), alone(size));
    }
    for size in sizes.iter().filter(|size| size.partition_of.is_some()) {
        let name = full_name(size);
        let mut root = name.as_str();
        // More levels than anybody has partitions of partitions, and an end where a name stands for two.
        for _ in 0..16 {
            match parents.get(root) {
                Some(parent) => root = parent,
                None => break,
            }
        }
        match tables.get_mut(root) {
            Some(table) => add(table, size),
            // Its parent went between two pages, or may not be seen.
            None => drop(tables.insert(name, alone(size))),
        }
    }
    let mut tables: Vec<TableUse> = tables.into_values().collect();
    tables.sort_by(|a, b| {
        let size = |table: &TableUse| table.bytes.map_or(-1, i128::from);
        size(b).cmp(&size(a)).then_with(|| a.name().cmp(&b.name()))
    });
    tables
}

fn full_name(size: &TableSize) -> String {
    format!("{}.{}", size.schema, size.table)
}

fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.saturating_add(b?))
}

fn total(size: &TableSize) -> Option<u64> {
    plus(plus(size.bytes, size.index_bytes), size.toast_bytes)
}

fn alone(size: &TableSize) -> TableUse {
    TableUse {
        schema: size.schema.clone(),
        table: size.table.clone(),
        rows: if size.partitioned {
            Some(0)
        } else {
            size.rows_estimate
        },
        bytes: total(size),
        row_bytes: size.bytes,
        index_bytes: size.index_bytes,
        toast_bytes: size.toast_bytes,
        ..TableUse::default()
    }
}

fn add(table: &mut TableUse, partition: &TableSize) {
    table.bytes = plus(table.bytes, total(partition));
    table.row_bytes = plus(table.row_bytes, partition.bytes);
    table.index_bytes = plus(table.index_bytes, partition.index_bytes);
    table.toast_bytes = plus(table.toast_bytes, partition.toast_bytes);
    // A partition that is partitioned again holds nothing itself.
    if !partition.partitioned {
        table.partitions += 1;
        table.rows = plus(table.rows, partition.rows_estimate);
    }
}

fn by_schema(tables: &[TableUse]) -> Vec<SchemaUse> {
    let mut schemas = BTreeMap::<&str, SchemaUse>::new();
    for table in tables {
        let schema = schemas.entry(&table.schema).or_insert_with(|| SchemaUse {
            schema: table.schema.clone(),
            ..SchemaUse::default()
        });
        schema.tables += 1;
        match table.bytes {
            Some(bytes) => schema.bytes = schema.bytes.saturating_add(bytes),
            None => schema.unknown_tables += 1,
        }
    }
    let mut schemas: Vec<SchemaUse> = schemas.into_values().collect();
    schemas.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.schema.cmp(&b.schema)));
    schemas
}

/// The indexes of those tables that the job may read.
fn indexes(
    database: &str,
    tables: &[TableUse],
    host: &mut impl DatabaseRead,
    found: &mut DatabaseUse,
) -> Result<(), Error> {
    let granted = host.granted_tables(database, "read")?;
    for table in tables {
        let full = table.name();
        // The default schema is left out where grants name it.
        let Some(name) = granted
            .iter()
            .find(|name| **name == full || (is_default(&table.schema) && **name == table.table))
        else {
            continue;
        };
        match host.index_details(database, name) {
            Ok(indexes) => {
                found.indexes_of += 1;
                found.indexes.extend(indexes.into_iter().map(|index| IndexUse {
                    table: full.clone(),
                    index: index.index,
                    bytes: index.bytes,
                    change: None,
                }));
            }
            // It went meanwhile, or somebody has it locked: its sizes are told by its table.
            Err(error) if error.is_local() => {}
            Err(error) => return Err(error),
        }
    }
    found
        .indexes
        .sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.index.cmp(&b.index)));
    Ok(())
}

fn is_default(schema: &str) -> bool {
    matches!(schema, "public" | "main")
}

fn tenants(how: &TenantsParam, tables: &[TableUse], host: &mut impl DatabaseRead) -> Result<Tenants, Error> {
    let mut tenants = match (&how.schemas, &how.query) {
        (Some(pattern), _) => Tenants {
            by: format!("schemas {pattern}"),
            list: by_schema(tables)
                .into_iter()
                .filter(|schema| matches(pattern.as_bytes(), schema.schema.as_bytes()))
                .map(|schema| TenantUse {
                    name: schema.schema,
                    bytes: Some(schema.bytes).filter(|_| schema.unknown_tables == 0),
                    ..TenantUse::default()
                })
                .collect(),
            ..Tenants::default()
        },
        (None, query) => by_query(query.as_deref().unwrap_or_default(), how, host)?,
    };
    tenants.total = tenants.list.len() as u64;
    tenants.list.sort_by(|a, b| {
        (b.bytes, b.rows)
            .cmp(&(a.bytes, a.rows))
            .then_with(|| a.name.cmp(&b.name))
    });
    tenants.list.truncate(TENANTS_LISTED);
    Ok(tenants)
}

fn by_query(query: &str, how: &TenantsParam, host: &mut impl DatabaseRead) -> Result<Tenants, Error> {
    let rows = host.query(&how.database, query, &[])?;
    let column = |name: &str| rows.columns.iter().position(|column| column == name);
    let (Some(tenant), bytes, number) = (column("tenant"), column("bytes"), column("rows")) else {
        return Err(Error::Invalid(format!(
            "the query {query} has no column `tenant`: name one so, and `bytes` or `rows` beside it"
        )));
    };
    if bytes.is_none() && number.is_none() {
        return Err(Error::Invalid(format!(
            "the query {query} has neither a column `bytes` nor one `rows`"
        )));
    }
    let found = rows.rows.iter().map(|row| {
        let count = |at: Option<usize>| at.and_then(|at| whole(row.get(at)?));
        TenantUse {
            name: row.get(tenant).map(shown).unwrap_or_default(),
            bytes: count(bytes),
            rows: count(number),
            ..TenantUse::default()
        }
    });
    Ok(Tenants {
        by: format!("query {query}"),
        list: found.collect(),
        capped: rows.capped,
        ..Tenants::default()
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "held to what a whole number of 64 bits has"
)]
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Real(number) if (0.0..9e18).contains(number) => Some(*number as u64),
        // `sum()` of whole numbers is a `numeric` in PostgreSQL.
        Value::Text(text) | Value::Other(text) => text.split('.').next()?.parse().ok(),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) | Value::Other(text) => text.clone(),
        Value::Instant(at) => at.to_string(),
    }
}

/// `*` is any number of characters, `?` one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|at| matches(rest, &name[at..])),
        ([b'?', rest @ ..], [_, name @ ..]) => matches(rest, name),
        ([c, rest @ ..], [first, name @ ..]) => c == first && matches(rest, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(name: &str, bytes: [u64; 3], partition_of: Option<&str>) -> TableSize {
        let (schema, table) = name.split_once('.').expect("a schema");
        TableSize {
            schema: schema.to_owned(),
            table: table.to_owned(),
            bytes: Some(bytes[0]),
            index_bytes: Some(bytes[1]),
            toast_bytes: Some(bytes[2]),
            rows_estimate: Some(10),
            partition_of: partition_of.map(str::to_owned),
            partitioned: bytes == [0; 3],
        }
    }

    #[test]
    fn partitions_of_any_depth_are_one_table_and_nothing_is_counted_twice() {
        let tables = folded(&[
            size("a.log_1_x", [5, 5, 5], Some("a.log_1")),
            size("a.log", [0; 3], None),
            size("a.log_1", [0; 3], Some("a.log")),
            size("a.log_2", [1, 2, 3], Some("a.log")),
            size("b.alone", [100, 0, 0], None),
            size("b.lost", [1, 0, 0], Some("b.nobody")),
        ]);
        let told: Vec<_> = tables
            .iter()
            .map(|table| (table.name(), table.partitions, table.bytes, table.rows))
            .collect();
        assert_eq!(
            told,
            [
                ("b.alone".to_owned(), 0, Some(100), Some(10)),
                ("a.log".to_owned(), 2, Some(21), Some(20)),
                ("b.lost".to_owned(), 0, Some(1), Some(10)),
            ]
        );
        let schemas = by_schema(&tables);
        assert_eq!((schemas[0].schema.as_str(), schemas[0].bytes), ("b", 101));
        assert_eq!((schemas[1].schema.as_str(), schemas[1].bytes), ("a", 21));
    }

    #[test]
    fn a_locked_table_is_unknown_and_not_0() {
        let locked = TableSize {
            bytes: None,
            ..size("a.t", [1, 1, 1], None)
        };
        let tables = folded(&[locked, size("a.u", [1, 1, 1], None)]);
        assert_eq!((tables[1].name(), tables[1].bytes), ("a.t".to_owned(), None));
        assert_eq!(by_schema(&tables)[0].unknown_tables, 1);
    }

    #[test]
    fn patterns_and_numbers_of_queries() {
        assert!(matches(b"tenant_*", b"tenant_7") && !matches(b"tenant_*", b"public"));
        assert!(matches(b"t?", b"t1") && !matches(b"t?", b"t12"));
        assert_eq!(whole(&Value::Other("12.0".to_owned())), Some(12));
        assert_eq!(whole(&Value::Real(-1.0)), None);
        assert_eq!(whole(&Value::Null), None);
    }
}
