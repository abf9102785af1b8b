//! `roles`: the SQL that makes a database's roles, from what the plugins need and the jobs were granted.
//!
//! It opens no database and runs nothing.

use std::sync::Arc;

use serde_json::json;
use sereno_core::config::Dialect;
use sereno_core::dispatch::examine;
use sereno_core::job::{Config, DatabaseTarget};
use sereno_core::name::TargetName;
use sereno_core::rights::Rights;
use sereno_core::run::RunRequest;

use super::check::configuration;
use super::source;
use crate::args::{Global, Roles};
use crate::compose;
use crate::failure::Failure;
use crate::output::{DOCUMENT_SCHEMA_VERSION, Output};

/// Unless they are called otherwise. What a backup brings must not run as the role that has rights elsewhere.
const ROWS: &str = "sereno_rows";
const RESTORE: &str = "sereno_restore";

pub(super) async fn roles(global: &Global, args: &Roles, output: &Output) -> Result<u8, Failure> {
    let config = configuration(&source(global)?, output).await?;
    let (name, database) = chosen(&config, args.database.as_ref())?;
    let services = compose::offline(Arc::clone(&config))?;
    let mut rights = Rights {
        protected: database.protected.clone(),
        ..Rights::default()
    };
    for job in config.jobs.values() {
        let examined = examine(&services, &RunRequest::manual(job.name.clone())).await?;
        rights.add(name, job, &examined.needs, &database.queries);
    }
    if rights.is_empty() {
        output.talk(&format!(
            "no job does anything in database.{name}: its roles may do nothing"
        ));
    }
    let role = args
        .role
        .as_deref()
        .unwrap_or(if database.scratch { RESTORE } else { ROWS });
    let sql = compose::role_statements(name, &rights, role, &args.upkeep_role);
    if output.is_text() {
        output.data(&sql)?;
    } else {
        output.document(&json!({
            "schema_version": DOCUMENT_SCHEMA_VERSION,
            "database": name,
            "sql": sql,
        }))?;
    }
    Ok(0)
}

/// The database that was named, or the only one that has roles at all.
fn chosen<'a>(
    config: &'a Config,
    wanted: Option<&TargetName>,
) -> Result<(&'a TargetName, &'a DatabaseTarget), Failure> {
    let of_postgres = || {
        config
            .databases
            .iter()
            .filter(|(_, database)| database.dialect() == Dialect::Postgres)
    };
    let known = || {
        let names: Vec<&str> = of_postgres().map(|(name, _)| name.as_str()).collect();
        names.join(", ")
    };
    match wanted {
        Some(wanted) => match config.databases.get_key_value(wanted) {
            Some((_, database)) if database.dialect() == Dialect::Sqlite => Err(Failure::usage(format!(
                "database.{wanted} is a file of SQLite, which has no roles"
            ))
            .hint("who may read and write the file is the file system's business")),
            Some(found) => Ok(found),
            None => Err(
                Failure::usage(format!("there is no database `{wanted}` in the configuration"))
                    .hint(format!("its PostgreSQL databases are: {}", known())),
            ),
        },
        None => {
            let mut all = of_postgres();
            match (all.next(), all.next()) {
                (Some(only), None) => Ok(only),
                (None, _) => Err(Failure::usage("the configuration has no PostgreSQL database")
                    .hint("a file of SQLite has no roles")),
                _ => Err(Failure::usage("there is more than one database")
                    .hint(format!("name one with --database: {}", known()))),
            }
        }
    }
}
