//! What PostgreSQL's catalogue says: tables, columns, keys and rights, byte for byte.
//!
//! Names are compared as text, which is never cut at 63 bytes. Views, foreign tables and the system's own tables are
//! not tables to work on.

use sereno_core::grant::Verb;
use sereno_core::name::TableName;
use sereno_core::ports::database::{DatabaseError, Missing, Wanted};
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::super::near;
use super::super::sql::{Identifier, Sql, TypeName};
use super::session::Session;

/// The schema of a table that is named without one.
const SCHEMA_DEFAULT: &str = "public";

/// What values a column can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Number,
    /// Compared as it is.
    Text,
    /// Enumerations and the like: compared by their text.
    LikeText,
    TimestampTz,
    Timestamp,
    Date,
    Other,
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: Identifier,
    pub(super) type_name: TypeName,
    pub(super) kind: Kind,
}

/// A table with what a purge needs to know of it.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) oid: i64,
    pub(super) schema: Identifier,
    pub(super) name: Identifier,
    pub(super) partitioned: bool,
    pub(super) columns: Vec<Column>,
    /// The columns that tell its rows apart; empty when none do.
    pub(super) key: Vec<Identifier>,
    /// The first columns of its usable B-trees.
    pub(super) leading: Vec<String>,
    /// May lock rows, which takes UPDATE on some column.
    pub(super) may_lock: bool,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Result<&Column, DatabaseError> {
        self.columns
            .iter()
            .find(|column| column.name.as_str() == name)
            .ok_or_else(|| DatabaseError::NotFound {
                what: format!(
                    "column {name} of table {}.{}",
                    self.schema.as_str(),
                    self.name.as_str()
                ),
            })
    }

    /// Writes its full name.
    pub(super) fn write(&self, sql: &mut Sql) {
        sql.name(&self.schema).push(".").name(&self.name);
    }

    /// Its full name, for a statement that a person is to run.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", self.schema.quoted(), self.name.quoted())
    }
}

/// Schemas of the system, in which nothing is ever changed.
fn is_system(schema: &str) -> bool {
    schema.starts_with("pg_") || schema == "information_schema" || schema == "sereno"
}

fn schema_of(table: &TableName) -> &str {
    table.schema.as_deref().unwrap_or(SCHEMA_DEFAULT)
}

/// Finds a table.
pub(super) async fn table(session: &mut Session, wanted: &TableName) -> Result<Table, DatabaseError> {
    find(session, wanted)
        .await?
        .ok_or_else(|| DatabaseError::NotFound {
            what: format!("table {wanted}"),
        })
}

const TABLE: &str = "SELECT c.oid::int8, c.relkind = 'p', \
    c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid), \
    pg_catalog.has_any_column_privilege(c.oid, 'UPDATE') \
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname = ";

const COLUMNS: &str = "SELECT a.attname::text, pg_catalog.format_type(a.atttypid, -1), b.typname::text, \
    b.typcategory::text, b.typnamespace = 'pg_catalog'::pg_catalog.regnamespace \
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid \
    JOIN pg_catalog.pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = ";

const KEYS: &str = "SELECT i.indisprimary, \
    i.indisunique AND i.indimmediate AND i.indexprs IS NULL AND pg_catalog.bool_and(coalesce(a.attnotnull, false)), \
    pg_catalog.array_agg(coalesce(a.attname::text, '') ORDER BY k.place) \
    FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid \
    JOIN pg_catalog.pg_am AS m ON m.oid = c.relam \
    CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
    LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0 \
    WHERE m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL AND k.place <= i.indnkeyatts AND i.indrelid = ";

async fn find(session: &mut Session, wanted: &TableName) -> Result<Option<Table>, DatabaseError> {
    let doing = session.doing;
    let schema = schema_of(wanted);
    if is_system(schema) {
        return Ok(None);
    }
    let mut sql = Sql::new(TABLE);
    sql.bind(schema)
        .push(" AND c.relname = ")
        .bind(wanted.table.as_str());
    let Some(row) = session.optional(sql).await? else {
        return Ok(None);
    };
    let mut found = read_table(&row, schema, wanted).map_err(|error| doing.postgres(&error))?;
    let has_children: bool = row.try_get(2).map_err(|error| doing.postgres(&error))?;
    let mut sql = Sql::new(COLUMNS);
    sql.bind(found.oid).push(" ORDER BY a.attnum");
    for row in session.all(sql).await? {
        found
            .columns
            .push(read_column(&row).map_err(|error| doing.postgres(&error))?);
    }
    let mut sql = Sql::new(KEYS);
    sql.bind(found.oid)
        .push(" GROUP BY i.indexrelid, i.indisprimary, i.indisunique, i.indimmediate, i.indexprs IS NULL");
    sql.push(" ORDER BY i.indisprimary DESC, pg_catalog.count(*), i.indexrelid");
    for row in session.all(sql).await? {
        let (is_key, names) = read_key(&row).map_err(|error| doing.postgres(&error))?;
        // The children of plain inheritance share no uniqueness.
        if is_key && found.key.is_empty() && !has_children {
            found.key = names.iter().map(Identifier::from_catalogue).collect();
        }
        found.leading.extend(names.into_iter().next());
    }
    Ok(Some(found))
}

fn read_table(row: &PgRow, schema: &str, wanted: &TableName) -> Result<Table, sqlx::Error> {
    Ok(Table {
        oid: row.try_get(0)?,
        // These bytes are the catalogue's: it answered to them, compared as text.
        schema: Identifier::from_catalogue(schema),
        name: Identifier::from_catalogue(wanted.table.as_str()),
        partitioned: row.try_get(1)?,
        columns: Vec::new(),
        key: Vec::new(),
        leading: Vec::new(),
        may_lock: row.try_get(3)?,
    })
}

fn read_column(row: &PgRow) -> Result<Column, sqlx::Error> {
    let (base, category, is_built_in): (String, String, bool) =
        (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let kind = match (base.as_str(), category.as_str()) {
        ("timestamptz", _) if is_built_in => Kind::TimestampTz,
        ("timestamp", _) if is_built_in => Kind::Timestamp,
        ("date", _) if is_built_in => Kind::Date,
        ("bool", _) if is_built_in => Kind::Boolean,
        ("int2" | "int4" | "int8" | "float4" | "float8" | "numeric", _) if is_built_in => Kind::Number,
        ("text" | "varchar", _) if is_built_in => Kind::Text,
        ("uuid" | "bpchar" | "name", _) if is_built_in => Kind::LikeText,
        (_, "E" | "S") => Kind::LikeText,
        _ => Kind::Other,
    };
    Ok(Column {
        name: Identifier::from_catalogue(row.try_get::<String, _>(0)?),
        type_name: TypeName::from_catalogue(row.try_get(1)?),
        kind,
    })
}

fn read_key(row: &PgRow) -> Result<(bool, Vec<String>), sqlx::Error> {
    Ok((row.try_get(1)?, row.try_get(2)?))
}

/// Everything wanted that is not there.
pub(super) async fn missing(session: &mut Session, wanted: &[Wanted]) -> Result<Vec<Missing>, DatabaseError> {
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
                let names = index_names(session, &found).await?;
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

/// The texts of a statement's first column.
pub(super) async fn texts(session: &mut Session, sql: Sql) -> Result<Vec<String>, DatabaseError> {
    let doing = session.doing;
    session
        .all(sql)
        .await?
        .iter()
        .map(|row| row.try_get(0).map_err(|error| doing.postgres(&error)))
        .collect()
}

/// The names of a table's indexes, in order.
pub(super) async fn index_names(session: &mut Session, table: &Table) -> Result<Vec<String>, DatabaseError> {
    let mut sql = Sql::new(
        "SELECT c.relname::text FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid \
         WHERE i.indrelid = ",
    );
    sql.bind(table.oid).push(" ORDER BY 1");
    texts(session, sql).await
}

async fn table_hint(session: &mut Session, wanted: &TableName) -> Result<String, DatabaseError> {
    let doing = session.doing;
    let schema = schema_of(wanted);
    if is_system(schema) {
        return Ok("the tables of PostgreSQL and of sereno are never worked on".to_owned());
    }
    let mut sql = Sql::new(
        "SELECT c.relkind::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = ",
    );
    sql.bind(schema)
        .push(" AND c.relname = ")
        .bind(wanted.table.as_str());
    if let Some(row) = session.optional(sql).await? {
        let kind: String = row.try_get(0).map_err(|error| doing.postgres(&error))?;
        let kind = match kind.as_str() {
            "v" => "view",
            "m" => "materialized view",
            "f" => "foreign table",
            "S" => "sequence",
            "i" | "I" => "index",
            _ => "thing of another kind",
        };
        return Ok(format!("it is a {kind}, and only tables can be worked on"));
    }
    let mut sql = Sql::new(
        "SELECT c.relname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND n.nspname = ",
    );
    sql.bind(schema).push(" ORDER BY 1");
    let names = texts(session, sql).await?;
    if names.is_empty() {
        let sql = Sql::new(
            "SELECT nspname::text FROM pg_catalog.pg_namespace \
             WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('information_schema', 'sereno') ORDER BY 1",
        );
        let schemas = texts(session, sql).await?;
        if !schemas.iter().any(|name| name == schema) {
            return Ok(format!(
                "there is no schema {schema}; {}",
                near::hint(schema, "schemas", schemas.iter().map(String::as_str))
            ));
        }
    }
    Ok(near::hint(
        &wanted.table,
        "tables",
        names.iter().map(String::as_str),
    ))
}

/// What the role of `url` lacks to read and delete.
pub(super) async fn rights_on_rows(
    session: &mut Session,
    wanted: &TableName,
    verbs: &[Verb],
) -> Result<Vec<Missing>, DatabaseError> {
    let doing = session.doing;
    let found = table(session, wanted).await?;
    let mut sql = Sql::new(
        "SELECT pg_catalog.quote_ident(current_user), pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), \
        pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'DELETE') \
        FROM pg_catalog.pg_class AS c WHERE c.oid = ",
    );
    sql.bind(found.oid);
    let row = session.one(sql).await?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        Ok((
            row.try_get::<String, _>(0)?,
            row.try_get::<bool, _>(1)?,
            row.try_get::<bool, _>(2)?,
            row.try_get::<bool, _>(3)?,
        ))
    };
    let (role, has_schema, has_select, has_delete) = read(&row).map_err(|error| doing.postgres(&error))?;
    let deletes = verbs.contains(&Verb::Delete);
    let reads = deletes || verbs.contains(&Verb::Read);
    let mut missing = Vec::new();
    if (reads || deletes) && !has_schema {
        missing.push(Missing {
            what: format!("the right to use schema {}", found.schema.as_str()),
            hint: format!("run: GRANT USAGE ON SCHEMA {} TO {role};", found.schema.quoted()),
        });
    }
    for (wanted_right, has, right) in [(reads, has_select, "SELECT"), (deletes, has_delete, "DELETE")] {
        if wanted_right && !has {
            missing.push(Missing {
                what: format!("the right to {right} on table {wanted}"),
                hint: format!("run: GRANT {right} ON {} TO {role};", found.quoted()),
            });
        }
    }
    Ok(missing)
}

/// PostgreSQL 17 has a right to maintain; before it only owners may.
const VERSION_MAINTAIN: u32 = 170_000;

/// What the role of `upkeep_url` lacks.
pub(super) async fn rights_of_upkeep(
    session: &mut Session,
    wanted: &TableName,
    verbs: &[Verb],
) -> Result<Vec<Missing>, DatabaseError> {
    let doing = session.doing;
    let found = table(session, wanted).await?;
    let has_maintain = session.version() >= VERSION_MAINTAIN;
    let mut sql = Sql::new(
        "SELECT pg_catalog.quote_ident(current_user), pg_catalog.pg_get_userbyid(c.relowner)::text, ",
    );
    sql.push("pg_catalog.pg_has_role(c.relowner, 'USAGE'), pg_catalog.pg_has_role(d.datdba, 'USAGE'), ");
    sql.push(if has_maintain {
        "pg_catalog.has_table_privilege(c.oid, 'MAINTAIN')"
    } else {
        "false"
    });
    sql.push(" FROM pg_catalog.pg_class AS c, pg_catalog.pg_database AS d WHERE d.datname = current_database() AND c.oid = ");
    sql.bind(found.oid);
    let row = session.one(sql).await?;
    let read = |row: &PgRow| -> Result<_, sqlx::Error> {
        let names: (String, String) = (row.try_get(0)?, row.try_get(1)?);
        Ok((
            names,
            row.try_get::<bool, _>(2)?,
            row.try_get::<bool, _>(3)?,
            row.try_get::<bool, _>(4)?,
        ))
    };
    let ((role, owner), owns, owns_database, maintains) =
        read(&row).map_err(|error| doing.postgres(&error))?;
    Ok(verbs
        .iter()
        // The owner of the database may vacuum and analyze everything in it, but not rebuild single indexes.
        .filter(|verb| match verb {
            Verb::Detach | Verb::Drop => !owns,
            _ => !(owns || maintains || (owns_database && **verb != Verb::Reindex)),
        })
        .map(|verb| Missing {
            what: match verb {
                Verb::Detach | Verb::Drop => format!("the right to {verb} partitions of table {wanted}"),
                _ => format!("the right to {verb} table {wanted}"),
            },
            hint: if matches!(verb, Verb::Detach | Verb::Drop) {
                format!("set upkeep_url to a role that owns the table: only {owner} may")
            } else if has_maintain {
                format!("run: GRANT MAINTAIN ON {} TO {role};", found.quoted())
            } else {
                format!("set upkeep_url to a role that owns the table: before PostgreSQL 17 only {owner} may")
            },
        })
        .collect())
}

const TREE: &str = "WITH tree AS (SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.oid = ";
const TREE_END: &str = "::oid UNION SELECT p.relid FROM pg_catalog.pg_partition_tree(";

/// Begins a statement over a table and its partitions, in `tree (oid)`.
pub(super) fn with_tree(table: &Table) -> Sql {
    let mut sql = Sql::new(TREE);
    sql.bind(table.oid)
        .push(TREE_END)
        .bind(table.oid)
        .push("::oid::pg_catalog.regclass) AS p) ");
    sql
}
