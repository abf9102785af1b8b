//! The list of tables, for a grant on all of them.
//!
//! What a single table is like is `catalogue`.

use sereno_core::name::TableName;
use sereno_core::ports::database::DatabaseError;
use sqlx::Row;

use super::super::sql::Sql;
use super::session::Session;

/// Partitions are reached through their table. A name that no configuration could write is left out.
pub(super) async fn tables(session: &mut Session) -> Result<Vec<TableName>, DatabaseError> {
    let doing = session.doing;
    let sql = Sql::new(
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition \
         AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname NOT IN ('information_schema', 'sereno') ORDER BY 1, 2",
    );
    let mut tables = Vec::new();
    for row in session.all(sql).await? {
        let part = |at: usize| {
            row.try_get::<String, _>(at)
                .map_err(|error| doing.postgres(&error))
        };
        let text = format!("{}.{}", part(0)?, part(1)?);
        match text.parse() {
            Ok(table) => tables.push(table),
            Err(error) => tracing::warn!(%error, "a table is left out of `\"*\"`"),
        }
    }
    Ok(tables)
}
