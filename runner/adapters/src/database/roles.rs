//! PostgreSQL's roles for what jobs do: the narrow one that reads and deletes rows, and the one that does upkeep.
//!
//! It writes statements for a person to read and run, and runs none. The roles own nothing and are granted to nobody, no
//! function of theirs is left behind, nothing is granted to PUBLIC: whoever owns tables there gains nothing from them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sereno_core::grant::Verb;
use sereno_core::name::{JobName, TableName};
use sereno_core::rights::{Rights, Wanted};

use super::postgres::{DETACHED, FENCE};

/// What the roles are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleNames {
    /// Who reads and deletes rows: the user of `url`.
    pub rows: String,
    /// Who does upkeep: the user of `upkeep_url`.
    pub upkeep: String,
}

/// The verbs that go through `upkeep_url`.
const UPKEEP: [Verb; 8] = [
    Verb::Vacuum,
    Verb::Analyze,
    Verb::Reindex,
    Verb::VacuumFull,
    Verb::Terminate,
    Verb::Backup,
    Verb::Detach,
    Verb::Drop,
];

/// The verbs that change how a table is stored and nothing in it.
const MAINTAIN: [Verb; 4] = [Verb::Vacuum, Verb::Analyze, Verb::Reindex, Verb::VacuumFull];

/// The verbs that only an owner may, on every server.
const OWN: [Verb; 2] = [Verb::Detach, Verb::Drop];

/// The statements, for the database called `database` in the configuration.
pub fn statements(database: &str, rights: &Rights, names: &RoleNames) -> String {
    let mut text = head(database, names);
    if rights.whole.contains_key(&Verb::Restore) {
        text.push_str(&restore(names));
        text.push_str("\nCOMMIT;\n");
        return text;
    }
    let has_upkeep = every(rights).any(|(verb, _)| UPKEEP.contains(verb));
    text.push_str(&role(
        &names.rows,
        "reads and deletes rows, and nothing else: the user of `url`",
    ));
    text.push_str(&schemas(rights, &names.rows));
    text.push_str(&rows(rights, &names.rows));
    text.push_str(&fence(rights, &names.rows));
    if has_upkeep {
        text.push_str(&role(
            &names.upkeep,
            "does upkeep and reads no rows to do it: the user of `upkeep_url`, past any pooler",
        ));
        text.push_str(&schemas(rights, &names.upkeep));
        text.push_str(&upkeep(rights, &names.upkeep));
        if every(rights).any(|(verb, _)| OWN.contains(verb)) {
            text.push_str(&detached(names));
        }
    }
    text.push_str("\nCOMMIT;\n");
    text
}

fn every(rights: &Rights) -> impl Iterator<Item = (&Verb, &BTreeSet<JobName>)> {
    let tables = rights.tables.values().flatten();
    tables.chain(&rights.all_tables).chain(&rights.whole)
}

fn head(database: &str, names: &RoleNames) -> String {
    format!(
        "\
-- The roles of sereno in [database.{database}], written by `sereno roles` from what its jobs were granted.
--
-- Read it, then run it in that database as a superuser (or as the owner of its tables who may make roles):
--     psql --set ON_ERROR_STOP=1 --file roles.sql DATABASE
-- It may be run again after a grant changed: it gives what is granted now and takes back what no longer is.
-- It sets no password. Do that by hand, or let the server know the roles otherwise (a certificate, IAM):
--     \\password {}
--
-- Two walls: sereno lets a plugin do only what its job was granted, and these roles cannot do more if it ever did.

BEGIN;
",
        names.rows
    )
}

fn role(name: &str, does: &str) -> String {
    let (text, name) = (literal(name), quoted(name));
    format!(
        "
-- {name} {does}.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {text}) THEN
        CREATE ROLE {name} LOGIN;
    END IF;
    EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', pg_catalog.current_database(), {text});
END
$$;
-- No superuser: a trigger of somebody else's would run with all its power as soon as it deletes a row.
ALTER ROLE {name} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
-- Names are looked up in the catalogue alone: nobody's function or operator can stand in for the one that was meant.
ALTER ROLE {name} SET search_path = pg_catalog, pg_temp;
-- A statement whose client died, or a transaction that nobody goes on with, does not hold others up.
ALTER ROLE {name} SET idle_in_transaction_session_timeout = '60s';
"
    )
}

/// What was granted before is taken back first, so that a grant that is gone is gone here too.
fn schemas(rights: &Rights, name: &str) -> String {
    let name = quoted(name);
    let mut schemas: BTreeSet<&str> = rights.tables.keys().map(schema).collect();
    if !rights.all_tables.is_empty() || schemas.is_empty() {
        schemas.insert(SCHEMA_DEFAULT);
    }
    let mut text = String::from("\n");
    for schema in schemas {
        let schema = quoted(schema);
        _ = writeln!(text, "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {name};");
        _ = writeln!(text, "REVOKE ALL ON SCHEMA {schema} FROM {name};");
        _ = writeln!(text, "GRANT USAGE ON SCHEMA {schema} TO {name};");
    }
    text
}

fn rows(rights: &Rights, name: &str) -> String {
    let name = quoted(name);
    let mut text = String::from("\n");
    let right_of = |wanted: &Wanted| -> Option<(&'static str, String)> {
        let by = |verbs: &[Verb]| jobs(wanted, verbs);
        if wanted.contains_key(&Verb::Delete) {
            return Some(("SELECT, DELETE", by(&[Verb::Read, Verb::Delete])));
        }
        // Upkeep looks at its tables by the catalogue; only who asked to read may see rows.
        wanted
            .contains_key(&Verb::Read)
            .then(|| ("SELECT", by(&[Verb::Read])))
    };
    for (table, wanted) in &rights.tables {
        if let Some((right, by)) = right_of(wanted) {
            _ = writeln!(
                text,
                "-- {by}\nGRANT {right} ON TABLE {} TO {name};",
                table_name(table)
            );
        }
    }
    if let Some((right, by)) = right_of(&rights.all_tables) {
        _ = writeln!(
            text,
            "-- {by}: every table that is there now; run this again after new ones were made\n\
             GRANT {right} ON ALL TABLES IN SCHEMA {} TO {name};",
            quoted(SCHEMA_DEFAULT)
        );
        for table in &rights.protected {
            let table = table_name(table);
            _ = writeln!(text, "-- protected\nREVOKE DELETE ON TABLE {table} FROM {name};");
        }
    }
    let tables: Vec<String> = rights
        .tables
        .iter()
        .filter(|(_, wanted)| wanted.contains_key(&Verb::Delete))
        .map(|(table, _)| table_name(table))
        .collect();
    if !tables.is_empty() {
        text.push_str(&on_partitions(&tables, "GRANT SELECT, DELETE ON TABLE", &name));
    }
    for (query, sql) in &rights.queries {
        let lines: Vec<String> = sql.lines().map(|line| format!("--     {line}")).collect();
        _ = writeln!(
            text,
            "-- The query `{query}` reads what its SQL says; grant SELECT on that, on single columns where that is enough:\n\
             {}\n-- GRANT SELECT (column, column) ON TABLE \"schema\".\"table\" TO {name};",
            lines.join("\n")
        );
    }
    if rights
        .whole
        .keys()
        .any(|verb| matches!(verb, Verb::Read | Verb::Terminate))
    {
        let by = jobs(&rights.whole, &[Verb::Read, Verb::Terminate]);
        _ = writeln!(
            text,
            "-- {by}: who is connected and what takes long, of all users; it reads no rows\n\
             GRANT pg_read_all_stats TO {name};"
        );
    } else {
        _ = writeln!(text, "REVOKE pg_read_all_stats FROM {name};");
    }
    text
}

/// Partitions are tables of their own, with rights of their own.
fn on_partitions(tables: &[String], grant: &str, name: &str) -> String {
    let list: Vec<String> = tables.iter().map(|table| literal(table)).collect();
    format!(
        "-- The same on their partitions, where they have any.
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN
        SELECT tree.relid
        FROM pg_catalog.unnest(ARRAY[{}]) AS wanted, pg_catalog.pg_partition_tree(wanted::regclass) AS tree
    LOOP
        EXECUTE '{grant} ' || (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
            FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.oid = part) || ' TO {name}';
    END LOOP;
END
$$;
",
        list.join(", ")
    )
}

fn fence(rights: &Rights, name: &str) -> String {
    if !rights.is_fenced {
        return String::new();
    }
    let name = quoted(name);
    let create: String = FENCE.iter().map(|create| format!("{create};\n")).collect();
    format!(
        "
-- Beside the rows: who may work on them now (the fence), and what was done (the effects), in the same transaction as the
-- change. Made here, so that {name} need not be allowed to make anything.
{create}\
ALTER SCHEMA sereno OWNER TO CURRENT_USER;
ALTER TABLE sereno.fence OWNER TO CURRENT_USER;
ALTER TABLE sereno.effect OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA sereno FROM PUBLIC;
GRANT USAGE ON SCHEMA sereno TO {name};
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE sereno.fence TO {name};
GRANT SELECT, INSERT, DELETE ON TABLE sereno.effect TO {name};
"
    )
}

fn upkeep(rights: &Rights, name: &str) -> String {
    let mut text = String::from("\n");
    for (verbs, only_owners) in [(&MAINTAIN[..], false), (&OWN[..], true)] {
        let tables: Vec<(String, String)> = rights
            .tables
            .iter()
            .filter(|(_, wanted)| verbs.iter().any(|verb| wanted.contains_key(verb)))
            .map(|(table, wanted)| (table_name(table), jobs(wanted, verbs)))
            .collect();
        for (table, by) in &tables {
            _ = writeln!(text, "-- {by}: {table}");
        }
        if !tables.is_empty() {
            let list: Vec<String> = tables.iter().map(|(table, _)| literal(table)).collect();
            let parts = format!(
                "SELECT wanted::regclass AS part FROM pg_catalog.unnest(ARRAY[{}]) AS wanted",
                list.join(", ")
            );
            text.push_str(&maintain(&parts, name, only_owners));
        }
        if verbs.iter().any(|verb| rights.all_tables.contains_key(verb)) {
            _ = writeln!(
                text,
                "-- {}: every table that is there now; run this again after new ones were made",
                jobs(&rights.all_tables, verbs)
            );
            text.push_str(&maintain(ALL, name, only_owners));
        }
    }
    let name = quoted(name);
    let member = |verb: Verb, role: &str, of: &str| {
        if rights.whole.contains_key(&verb) {
            let by = jobs(&rights.whole, &[verb]);
            format!("-- {by}: {of}\nGRANT {role} TO {name};\n")
        } else {
            format!("REVOKE {role} FROM {name};\n")
        }
    };
    text.push_str(&member(
        Verb::Terminate,
        "pg_signal_backend",
        "ends connections of others, never a superuser's",
    ));
    text.push_str(&member(
        Verb::Backup,
        "pg_read_all_data",
        "a backup reads all there is; it changes nothing",
    ));
    text
}

/// Which partitions were taken out, and by which run: both roles keep that record.
fn detached(names: &RoleNames) -> String {
    let (rows, upkeep) = (quoted(&names.rows), quoted(&names.upkeep));
    format!(
        "
-- Which partitions were taken out, kept beside the fence.
{DETACHED};
ALTER TABLE sereno.detached OWNER TO CURRENT_USER;
GRANT USAGE ON SCHEMA sereno TO {upkeep};
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE sereno.detached TO {rows}, {upkeep};
"
    )
}

/// From PostgreSQL 17 on upkeep is a right of its own; before, and for partitions to be taken out, only a table's owner may.
fn maintain(parts: &str, name: &str, only_owners: bool) -> String {
    let text = literal(name);
    let has_right = if only_owners {
        "false"
    } else {
        "pg_catalog.current_setting('server_version_num')::int >= 170000"
    };
    format!(
        "DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        WITH wanted AS ({parts})
        SELECT c.oid, n.nspname, c.relname, o.rolname AS owner, o.rolsuper
        FROM (SELECT part FROM wanted
              UNION SELECT tree.relid FROM wanted, pg_catalog.pg_partition_tree(wanted.part) AS tree) AS every
        JOIN pg_catalog.pg_class AS c ON c.oid = every.part
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
    LOOP
        IF {has_right} THEN
            EXECUTE pg_catalog.format('GRANT MAINTAIN ON TABLE %I.%I TO %I', one.nspname, one.relname, {text});
        ELSIF one.rolsuper THEN
            RAISE WARNING 'table %.% belongs to the superuser %: this work needs another owner',
                one.nspname, one.relname, one.owner;
        ELSE
            -- A member may do all that the owner may: use this role for nothing else.
            EXECUTE pg_catalog.format('GRANT %I TO %I', one.owner, {text});
        END IF;
    END LOOP;
END
$$;
"
    )
}

/// A scratch database is the restoring role's own, and so must that role be: what a dump brings runs as it.
fn restore(names: &RoleNames) -> String {
    format!(
        "
-- Backups are restored here. What they bring (defaults, checks, functions of indexes) runs as the role that restores, so
-- that role owns this database and has no rights in any other: take one that no other database knows.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {text}) THEN
        CREATE ROLE {name} LOGIN;
    END IF;
    EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO %I', pg_catalog.current_database(), {text});
END
$$;
ALTER SCHEMA public OWNER TO {name};
",
        name = quoted(&names.rows),
        text = literal(&names.rows)
    )
}

/// Every table of the schema that tables without one are in.
const ALL: &str = "SELECT oid::regclass AS part FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') \
    AND relnamespace = 'public'::regnamespace";

const SCHEMA_DEFAULT: &str = "public";

fn schema(table: &TableName) -> &str {
    table.schema.as_deref().unwrap_or(SCHEMA_DEFAULT)
}

fn table_name(table: &TableName) -> String {
    format!("{}.{}", quoted(schema(table)), quoted(&table.table))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text for SQL, safe inside `$$` too.
fn literal(text: &str) -> String {
    format!(
        "'{}'",
        text.replace('\'', "''").replace('$', "'||pg_catalog.chr(36)||'")
    )
}

/// Who wants it, for a comment: one line whatever the names are.
fn jobs(wanted: &Wanted, verbs: &[Verb]) -> String {
    let all: BTreeSet<&JobName> = verbs
        .iter()
        .filter_map(|verb| wanted.get(verb))
        .flatten()
        .collect();
    all.into_iter()
        .map(JobName::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
