//! What SQLite tells of its tables and indexes: sizes by `dbstat`, definitions by its pragmas. It counts no use.
//!
//! It only reads. SQLite keeps long values in pages of the table itself, so out-of-line storage is 0.

use sereno_core::name::TableName;
use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::insight::{ForeignKey, IndexDetail, Part, TableSize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::super::sql::Sql;
use super::session::Session;
use super::{catalogue, read};

/// A page of tables with their sizes, in the order of their names.
pub(super) async fn sizes(
    session: &mut Session<'_>,
    cursor: Option<&str>,
    max: u32,
) -> Result<Part<TableSize>, DatabaseError> {
    let doing = session.doing;
    let mut sql = Sql::new(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') AND name > ",
    );
    sql.bind(cursor.unwrap_or_default()).push(" ORDER BY name");
    let mut names = Vec::new();
    for row in session.all(sql).await? {
        let name: String = row.try_get(0).map_err(|error| doing.sqlite(&error))?;
        if !catalogue::is_reserved(&name) {
            names.push(name);
        }
    }
    let most = usize::try_from(max).unwrap_or(usize::MAX);
    let more = names.len() > most;
    names.truncate(most);
    let mut part = Part {
        cursor: names.last().filter(|_| more).cloned(),
        items: Vec::with_capacity(names.len()),
    };
    for table in names {
        let mut sql = Sql::new(
            "SELECT coalesce(sum(CASE WHEN m.type = 'index' THEN s.pgsize END), 0), \
             sum(CASE WHEN m.type = 'table' THEN s.pgsize END) FROM main.sqlite_schema AS m \
             JOIN dbstat AS s ON s.name = m.name AND s.aggregate = TRUE WHERE m.tbl_name = ",
        );
        sql.bind(table.as_str());
        let row = session.optional(sql).await?;
        let number = |at: usize| -> Result<Option<u64>, DatabaseError> {
            let number = row
                .as_ref()
                .map(|row| row.try_get::<Option<i64>, _>(at))
                .transpose();
            let number = number.map_err(|error| doing.sqlite(&error))?.flatten();
            Ok(number.and_then(|number| u64::try_from(number).ok()))
        };
        let (index_bytes, bytes) = (number(0)?, number(1)?);
        part.items.push(TableSize {
            schema: "main".to_owned(),
            bytes,
            index_bytes,
            toast_bytes: Some(0),
            rows_estimate: read::rows_estimate(session, &table).await?,
            partition_of: None,
            partitioned: false,
            table,
        });
    }
    Ok(part)
}

/// Every index of a table, by name.
pub(super) async fn index_details(
    session: &mut Session<'_>,
    wanted: &TableName,
) -> Result<Vec<IndexDetail>, DatabaseError> {
    let doing = session.doing;
    catalogue::table(session, wanted).await?;
    let mut sql = Sql::new(
        "SELECT l.name, l.\"unique\", l.origin, coalesce(m.sql, ''), (SELECT s.pgsize FROM dbstat AS s \
         WHERE s.aggregate = TRUE AND s.name = l.name) FROM pragma_index_list(",
    );
    sql.bind(wanted.table.as_str());
    sql.push(") AS l LEFT JOIN main.sqlite_schema AS m ON m.type = 'index' AND m.name = l.name ORDER BY 1");
    let read = |row: &SqliteRow| -> Result<IndexDetail, sqlx::Error> {
        let (origin, definition): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let bytes: Option<i64> = row.try_get(4)?;
        Ok(IndexDetail {
            index: row.try_get(0)?,
            method: "btree".to_owned(),
            unique: row.try_get(1)?,
            primary: origin == "pk",
            constraint: origin != "c",
            valid: true,
            bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            predicate: predicate(&definition),
            definition,
            ..IndexDetail::default()
        })
    };
    let rows = session.all(sql).await?;
    let mut found = rows
        .iter()
        .map(|row| read(row).map_err(|error| doing.sqlite(&error)))
        .collect::<Result<Vec<_>, _>>()?;
    for index in &mut found {
        let mut sql = Sql::new(
            "SELECT coalesce(name, '(expression ' || seqno || ')'), coll || CASE \"desc\" WHEN 1 THEN ' desc' ELSE '' END \
             FROM pragma_index_xinfo(",
        );
        sql.bind(index.index.as_str())
            .push(") WHERE key = 1 ORDER BY seqno");
        for row in session.all(sql).await? {
            index
                .columns
                .push(row.try_get(0).map_err(|error| doing.sqlite(&error))?);
            index
                .ordering
                .push(row.try_get(1).map_err(|error| doing.sqlite(&error))?);
        }
        // Two expressions are the same only where the whole statements are: their texts are nowhere else.
        if index
            .columns
            .iter()
            .any(|column| column.starts_with("(expression "))
        {
            index.predicate = Some(index.definition.clone());
        }
    }
    Ok(found)
}

/// What comes behind the last WHERE of the statement that made an index.
fn predicate(definition: &str) -> Option<String> {
    let at = definition.to_ascii_uppercase().rfind(") WHERE ")?;
    Some(definition[at + ") WHERE ".len()..].to_owned())
}

/// Every foreign key of a table. SQLite gives them no names.
pub(super) async fn foreign_keys(
    session: &mut Session<'_>,
    wanted: &TableName,
) -> Result<Vec<ForeignKey>, DatabaseError> {
    let doing = session.doing;
    let table = catalogue::table(session, wanted).await?;
    let mut sql = Sql::new("SELECT id, \"table\", \"from\" FROM pragma_foreign_key_list(");
    sql.bind(wanted.table.as_str()).push(") ORDER BY id, seq");
    let read = |row: &SqliteRow| -> Result<(i64, String, String), sqlx::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    };
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    for row in session.all(sql).await? {
        let (id, refers_to, column) = read(&row).map_err(|error| doing.sqlite(&error))?;
        match keys.last_mut() {
            Some((known, key)) if *known == id => key.columns.push(column),
            _ => keys.push((
                id,
                ForeignKey {
                    name: String::new(),
                    columns: vec![column],
                    refers_to: format!("main.{refers_to}"),
                    indexed: false,
                },
            )),
        }
    }
    let mut leading: Vec<Vec<String>> = vec![table.key.iter().map(|name| name.as_str().to_owned()).collect()];
    let indexes = index_details(session, wanted).await?;
    let whole = indexes.into_iter().filter(|index| index.predicate.is_none());
    leading.extend(whole.map(|index| index.columns));
    Ok(keys
        .into_iter()
        .map(|(_, mut key)| {
            key.indexed = leading.iter().any(|columns| {
                columns.len() >= key.columns.len()
                    && columns[..key.columns.len()]
                        .iter()
                        .all(|column| key.columns.contains(column))
            });
            key
        })
        .collect())
}
