//! What backups ask of a database beside the tools: who it is, how many rows its tables have, and whether a scratch
//! database is empty, or to be emptied again.
//!
//! It is here because SQL is put together nowhere else.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _, SqliteConnection};

use super::sql::{Identifier, Sql};

/// Who a PostgreSQL server is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) version: String,
    pub(crate) major: u32,
    pub(crate) database: String,
    pub(crate) system_identifier: Option<String>,
    pub(crate) bytes: Option<u64>,
}

/// Asks a PostgreSQL server who it is.
pub(crate) async fn identify(session: &mut PgConnection) -> Result<Identity, sqlx::Error> {
    let row = sqlx::query(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, \
                current_database()::text",
    )
    .fetch_one(&mut *session)
    .await?;
    // Either may be kept from a narrow role; then it is not known.
    let system_identifier = sqlx::query_scalar("SELECT system_identifier::text FROM pg_control_system()")
        .fetch_one(&mut *session)
        .await
        .ok();
    let bytes: Option<i64> = sqlx::query_scalar("SELECT pg_database_size(current_database())")
        .fetch_one(&mut *session)
        .await
        .ok();
    Ok(Identity {
        version: row.get(0),
        major: u32::try_from(row.get::<i32, _>(1)).unwrap_or_default(),
        database: row.get(2),
        system_identifier,
        bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
    })
}

/// What a PostgreSQL server says of copies of the whole of it.
#[derive(Debug, Clone)]
pub(crate) struct Replication {
    pub(crate) may_replicate: bool,
    pub(crate) summarizes: bool,
    pub(crate) tablespaces: i64,
    pub(crate) bytes: Option<u64>,
}

/// Asks a PostgreSQL server whether all of it can be copied.
pub(crate) async fn replication(session: &mut PgConnection) -> Result<Replication, sqlx::Error> {
    let row = sqlx::query(
        "SELECT (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user), \
                coalesce(current_setting('summarize_wal', true), 'off') = 'on', \
                (SELECT count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))",
    )
    .fetch_one(&mut *session)
    .await?;
    // Of databases that it may not connect to, a narrow role may not know the size.
    let bytes: Option<i64> =
        sqlx::query_scalar("SELECT sum(pg_database_size(oid))::bigint FROM pg_database WHERE datallowconn")
            .fetch_one(&mut *session)
            .await
            .ok();
    Ok(Replication {
        may_replicate: row.get::<Option<bool>, _>(0).unwrap_or_default(),
        summarizes: row.get(1),
        tablespaces: row.get(2),
        bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
    })
}

/// Rows of every table that a dump holds, in the session's own snapshot.
pub(crate) async fn postgres_rows(session: &mut PgConnection) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    let tables = sqlx::query(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
           AND n.nspname NOT IN ('information_schema', 'sereno_scratch') \
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
                           AND d.deptype = 'e') \
         ORDER BY 1, 2",
    )
    .fetch_all(&mut *session)
    .await?;
    let mut rows = BTreeMap::new();
    for table in tables {
        let (schema, name): (String, String) = (table.get(0), table.get(1));
        let mut sql = Sql::new("SELECT count(*) FROM ONLY ");
        sql.name(&Identifier::from_catalogue(schema.clone())).push(".");
        sql.name(&Identifier::from_catalogue(name.clone()));
        let count: i64 = sql.postgres().fetch_one(&mut *session).await?.get(0);
        rows.insert(
            format!("{schema}.{name}"),
            u64::try_from(count).unwrap_or_default(),
        );
    }
    Ok(rows)
}

/// What there is in a PostgreSQL database that a new one has not; none: it is empty. With the marker in it, it counts as
/// empty: what is there is ours.
pub(crate) async fn postgres_content(session: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "WITH own AS ( \
             SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'), \
         things AS ( \
             SELECT 'the schema ' || nspname AS thing FROM pg_namespace \
             WHERE oid IN (TABLE own) AND nspname <> 'public' \
             UNION ALL \
             SELECT 'the relation ' || oid::regclass FROM pg_class WHERE relnamespace IN (TABLE own) \
             UNION ALL \
             SELECT 'the function ' || oid::regproc FROM pg_proc WHERE pronamespace IN (TABLE own) \
             UNION ALL \
             SELECT 'the type ' || oid::regtype FROM pg_type WHERE typnamespace IN (TABLE own) \
             UNION ALL \
             SELECT 'the large object ' || oid FROM pg_largeobject_metadata) \
         SELECT min(thing) FROM things \
         WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'sereno_scratch')",
    )
    .fetch_one(session)
    .await
}

/// Marks an empty PostgreSQL database as one that is being restored into.
pub(crate) async fn mark(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("CREATE SCHEMA IF NOT EXISTS sereno_scratch")
        .execute(session)
        .await?;
    Ok(())
}

/// Takes the mark away, and leaves what was restored.
pub(crate) async fn unmark(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DROP SCHEMA IF EXISTS sereno_scratch")
        .execute(session)
        .await?;
    Ok(())
}

/// Empties a PostgreSQL database that is marked; nothing happens to one that is not. The mark goes last.
pub(crate) async fn empty(session: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_marked: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'sereno_scratch')")
            .fetch_one(&mut *session)
            .await?;
    if !is_marked {
        return Ok(());
    }
    let schemas: Vec<String> = sqlx::query_scalar(
        "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' \
         AND nspname NOT IN ('information_schema', 'sereno_scratch') ORDER BY nspname = 'public', nspname",
    )
    .fetch_all(&mut *session)
    .await?;
    for schema in schemas {
        let mut sql = Sql::new("DROP SCHEMA ");
        sql.name(&Identifier::from_catalogue(schema.clone()))
            .push(" CASCADE");
        sql.postgres().execute(&mut *session).await?;
        if schema == "public" {
            sqlx::query("CREATE SCHEMA public").execute(&mut *session).await?;
            sqlx::query("GRANT USAGE ON SCHEMA public TO PUBLIC")
                .execute(&mut *session)
                .await?;
            // As in a new database of 15 and later; where the role may not give it away, it stays its own.
            let _ = sqlx::query("ALTER SCHEMA public OWNER TO pg_database_owner")
                .execute(&mut *session)
                .await;
        }
    }
    sqlx::query("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
        .execute(&mut *session)
        .await?;
    unmark(session).await
}

/// Rows of every table of a SQLite file.
pub(crate) async fn sqlite_rows(
    session: &mut SqliteConnection,
) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    // Of a virtual table only what it keeps in tables of its own is in the file.
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name",
    )
    .fetch_all(&mut *session)
    .await?;
    let mut rows = BTreeMap::new();
    for table in tables {
        let mut sql = Sql::new("SELECT count(*) FROM ");
        sql.name(&Identifier::from_catalogue(table.clone()));
        let count: i64 = sql.sqlite().fetch_one(&mut *session).await?.get(0);
        rows.insert(format!("main.{table}"), u64::try_from(count).unwrap_or_default());
    }
    Ok(rows)
}
