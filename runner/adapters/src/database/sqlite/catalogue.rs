//! What SQLite's catalogue says: tables, columns and indexes, byte for byte.
//!
//! SQLite itself takes names in any case; here only the exact one is found. Views, virtual tables and the tables of
//! SQLite and of sereno are not tables to work on.

use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Missing, Wanted};
use sqlx::Row;

use super::super::near;
use super::super::sql::{Identifier, Sql};
use super::session::Session;

/// How a column's declared type makes SQLite store values: <https://sqlite.org/datatype3.html> §3.1
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

impl Affinity {
    fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if has("INT") {
            Self::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if declared.is_empty() || has("BLOB") {
            Self::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: Identifier,
    pub(super) declared: String,
    pub(super) affinity: Affinity,
}

/// A table with what a purge needs to know of it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: Identifier,
    pub(super) columns: Vec<Column>,
    /// What tells rows apart: the rowid, or the primary key of a table without one.
    pub(super) key: Vec<Identifier>,
    /// The first columns of its whole (not partial) indexes.
    pub(super) leading: Vec<String>,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Result<&Column, DatabaseError> {
        self.columns
            .iter()
            .find(|column| column.name.as_str() == name)
            .ok_or_else(|| DatabaseError::NotFound {
                what: format!("column {name} of table {}", self.name.as_str()),
            })
    }
}

/// The names that reach the rowid, unless a column has taken them.
const ROWID_NAMES: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// Finds a table.
pub(super) async fn table(session: &mut Session<'_>, wanted: &TableName) -> Result<Table, DatabaseError> {
    find(session, wanted)
        .await?
        .ok_or_else(|| DatabaseError::NotFound {
            what: format!("table {wanted}"),
        })
}

async fn find(session: &mut Session<'_>, wanted: &TableName) -> Result<Option<Table>, DatabaseError> {
    let doing = session.doing;
    let fault = |error: sqlx::Error| doing.sqlite(&error);
    if wanted.schema.as_deref().is_some_and(|schema| schema != "main") || is_reserved(&wanted.table) {
        return Ok(None);
    }
    let mut sql =
        Sql::new("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name = ");
    sql.bind(wanted.table.as_str());
    let Some(row) = session.optional(sql).await? else {
        return Ok(None);
    };
    let without_rowid = row.try_get::<i64, _>(0).map_err(fault)? != 0;
    let mut sql = Sql::new("SELECT name, type, pk FROM pragma_table_xinfo(");
    sql.bind(wanted.table.as_str()).push(", 'main') ORDER BY cid");
    let mut columns = Vec::new();
    let mut primary = Vec::new();
    for row in session.all(sql).await? {
        let name: String = row.try_get(0).map_err(fault)?;
        let declared: String = row.try_get(1).map_err(fault)?;
        let place: i64 = row.try_get(2).map_err(fault)?;
        let name = Identifier::from_catalogue(name);
        if place > 0 {
            primary.push((place, name.clone()));
        }
        columns.push(Column {
            name,
            affinity: Affinity::of(&declared),
            declared,
        });
    }
    primary.sort_by_key(|(place, _)| *place);
    let key = if without_rowid {
        primary.into_iter().map(|(_, name)| name).collect()
    } else {
        let free = ROWID_NAMES.into_iter().find(|name| {
            !columns
                .iter()
                .any(|column| column.name.as_str().eq_ignore_ascii_case(name))
        });
        vec![Identifier::from_catalogue(free.ok_or(
            DatabaseError::Unsupported("reaching the rowid behind columns of that name"),
        )?)]
    };
    let mut sql = Sql::new("SELECT ii.name FROM pragma_index_list(");
    sql.bind(wanted.table.as_str()).push(
        ", 'main') AS il JOIN pragma_index_info(il.name, 'main') AS ii \
         WHERE il.partial = 0 AND ii.seqno = 0 AND ii.name IS NOT NULL",
    );
    let leading = session
        .all(sql)
        .await?
        .iter()
        .map(|row| row.try_get(0).map_err(fault))
        .collect::<Result<_, _>>()?;
    Ok(Some(Table {
        name: Identifier::from_catalogue(wanted.table.as_str()),
        columns,
        key,
        leading,
    }))
}

/// Tables that belong to SQLite or to sereno.
pub(super) fn is_reserved(table: &str) -> bool {
    let table = table.to_ascii_lowercase();
    table.starts_with("sqlite_") || table == "sereno_fence" || table == "sereno_effect"
}

/// Everything wanted that is not there.
pub(super) async fn missing(
    session: &mut Session<'_>,
    wanted: &[Wanted],
) -> Result<Vec<Missing>, DatabaseError> {
    let mut missing = Vec::new();
    for want in wanted {
        let (Wanted::Table(name) | Wanted::Column(name, _) | Wanted::Index(name, _)) = want;
        let Some(found) = find(session, name).await? else {
            let lost = Missing {
                what: format!("table {name}"),
                hint: table_hint(session, name).await?,
            };
            if !missing.contains(&lost) {
                missing.push(lost);
            }
            continue;
        };
        match want {
            Wanted::Column(_, column) if found.column(column).is_err() => missing.push(Missing {
                what: format!("column {column} of table {name}"),
                hint: near::hint(column, "columns", found.columns.iter().map(|c| c.name.as_str())),
            }),
            Wanted::Index(_, index) => {
                let names = index_names(session, name).await?;
                if !names.contains(index) {
                    missing.push(Missing {
                        what: format!("index {index} of table {name}"),
                        hint: near::hint(index, "indexes", names.iter().map(String::as_str)),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(missing)
}

/// The names of a table's indexes, in order.
pub(super) async fn index_names(
    session: &mut Session<'_>,
    table: &TableName,
) -> Result<Vec<String>, DatabaseError> {
    let doing = session.doing;
    let mut sql = Sql::new("SELECT name FROM pragma_index_list(");
    sql.bind(table.table.as_str()).push(", 'main') ORDER BY name");
    session
        .all(sql)
        .await?
        .iter()
        .map(|row| row.try_get(0).map_err(|error| doing.sqlite(&error)))
        .collect()
}

async fn table_hint(session: &mut Session<'_>, wanted: &TableName) -> Result<String, DatabaseError> {
    let doing = session.doing;
    let rows = session
        .all(Sql::new("SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' ORDER BY name"))
        .await?;
    let mut names = Vec::new();
    for row in rows {
        let name: String = row.try_get(0).map_err(|error| doing.sqlite(&error))?;
        let kind: String = row.try_get(1).map_err(|error| doing.sqlite(&error))?;
        if name == wanted.table && kind != "table" {
            return Ok(format!("it is a {kind}, and only tables can be worked on"));
        }
        if kind == "table" && !is_reserved(&name) {
            names.push(name);
        }
    }
    if wanted.schema.as_deref().is_some_and(|schema| schema != "main") {
        return Ok("the only schema of SQLite is main".to_owned());
    }
    Ok(near::hint(
        &wanted.table,
        "tables",
        names.iter().map(String::as_str),
    ))
}

/// Every table, for a grant on all of them. A name that no configuration could write is left out.
pub(super) async fn tables(session: &mut Session<'_>) -> Result<Vec<TableName>, DatabaseError> {
    let doing = session.doing;
    let sql =
        Sql::new("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name");
    let mut tables = Vec::new();
    for row in session.all(sql).await? {
        let name: String = row.try_get(0).map_err(|error| doing.sqlite(&error))?;
        if is_reserved(&name) {
            continue;
        }
        match name.parse() {
            Ok(table) => tables.push(table),
            Err(error) => tracing::warn!(%error, "a table is left out of `\"*\"`"),
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_has_sqlites_affinity() {
        for (declared, affinity) in [
            ("BIGINT", Affinity::Integer),
            ("VARCHAR(20)", Affinity::Text),
            ("", Affinity::Blob),
            ("DOUBLE", Affinity::Real),
            ("DATETIME", Affinity::Numeric),
        ] {
            assert_eq!(Affinity::of(declared), affinity, "{declared}");
        }
    }
}
