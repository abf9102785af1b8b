//! What SQLite tells of a database as a whole: the sizes of its tables, by `dbstat`.
//!
//! It only reads. SQLite keeps long values in pages of the table itself, so out-of-line storage is 0.

use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::insight::{Part, TableSize};
use sqlx::Row;

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
