//! One PostgreSQL database by `pg_dump` and `pg_restore`, rows counted in the very snapshot that is dumped.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use sereno_core::backup::{Kind, Manifest, Server};
use sereno_core::ports::backup::{BackupError, Pace, Told, Verification, Wish};
use sereno_core::units::show_bytes;
use sereno_core::value::Instant;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::child::{PIECE_BYTES, Tool};
use super::connection;
use super::shelf::{ReadError, Shelf};
use super::tools::{Search, Tools};
use crate::database::dump::{self, Identity};

/// The archive's name.
pub(super) const FILE: &str = "dump.pgc.zst";

/// How long a dump waits for one table that somebody alters.
const LOCK_WAIT: &str = "--lock-wait-timeout=60s";

/// A server's error, its words kept and its URL not.
pub(super) fn said(doing: &str, error: &sqlx::Error) -> BackupError {
    let text = match error {
        sqlx::Error::Configuration(_) | sqlx::Error::InvalidArgument(_) => {
            return BackupError::Invalid("the database's URL is not one that can be used".to_owned());
        }
        other => format!("could not {doing}: {other}"),
    };
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) => BackupError::Unreachable(text),
        _ => BackupError::Failed(text),
    }
}

/// A session with the server, and who that is.
pub(super) async fn connect(url: &str) -> Result<(PgConnection, Identity), BackupError> {
    let connecting = |error| said("connect to the database", &error);
    let options = PgConnectOptions::from_str(url).map_err(connecting)?;
    let options = options
        .application_name("sereno-backup")
        .statement_cache_capacity(0);
    let mut session = options.connect().await.map_err(connecting)?;
    let identity = dump::identify(&mut session)
        .await
        .map_err(|error| said("ask the database who it is", &error))?;
    Ok((session, identity))
}

/// A manifest of which only the files and the rows are missing.
pub(super) fn begun(
    wish: &Wish,
    at: Instant,
    database: &str,
    kind: Kind,
    tool: String,
    server: Server,
) -> Manifest {
    Manifest {
        schema_version: Manifest::schema_version(),
        id: wish.id.clone(),
        database: database.to_owned(),
        kind,
        parent: None,
        run: wish.run.clone(),
        started: at,
        ended: at,
        tool,
        server,
        files: Vec::new(),
        rows: None,
    }
}

pub(super) fn server(identity: &Identity) -> Server {
    Server {
        version: format!("PostgreSQL {}", identity.version),
        system_identifier: identity.system_identifier.clone(),
        database: identity.database.clone(),
    }
}

/// Tools for the server behind `url`, and a session with it.
pub(super) async fn reach(
    url: &str,
    search: &Search,
) -> Result<(PgConnection, Identity, Tools), BackupError> {
    let (session, identity) = connect(url).await?;
    let tools = search.for_server(identity.major).await?;
    Ok((session, identity, tools))
}

/// Dumps into the storage. The manifest is the caller's to publish.
pub(super) async fn create(
    shelf: &Shelf,
    search: &Search,
    url: &str,
    database: &str,
    wish: &Wish,
    Pace { at, told, .. }: Pace<'_>,
) -> Result<Manifest, BackupError> {
    let (mut session, identity, tools) = reach(url, search).await?;
    let tool = format!("pg_dump {}", tools.major);
    let mut manifest = begun(wish, at, database, Kind::Logical, tool, server(&identity));
    let beginning = |error| said("begin a snapshot", &error);
    for statement in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "SET LOCAL row_security = off",
    ] {
        sqlx::query(statement)
            .execute(&mut session)
            .await
            .map_err(beginning)?;
    }
    let snapshot: String = sqlx::query_scalar("SELECT pg_export_snapshot()")
        .fetch_one(&mut session)
        .await
        .map_err(beginning)?;
    let tool = Tool {
        program: tools.program("pg_dump")?,
        args: [
            "--format=custom",
            // Packed here, with a checksum; and a changed byte is then never a matter of luck.
            "--compress=0",
            "--no-password",
            LOCK_WAIT,
            &format!("--snapshot={snapshot}"),
        ]
        .map(str::to_owned)
        .to_vec(),
        environment: connection::environment(url)?,
    };
    let dumped = async {
        let (running, stdin, mut stdout) = tool.start()?;
        drop(stdin);
        let mut packer = shelf.begin(&wish.id, FILE).await?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = stdout.read(&mut piece).await;
            let read =
                read.map_err(|error| BackupError::Failed(format!("could not read from pg_dump: {error}")))?;
            if read == 0 {
                break;
            }
            packer.write(&piece[..read]).await?;
            told(&format!(
                "pg_dump of {database}: {} so far",
                show_bytes(packer.raw_bytes())
            ));
        }
        // Before it is known that the tool is content, nothing is published.
        running.finish().await?;
        if packer.raw_bytes() == 0 {
            return Err(BackupError::Failed("pg_dump wrote nothing".to_owned()));
        }
        packer.finish().await
    };
    let counted = async {
        let rows = dump::postgres_rows(&mut session).await;
        rows.map_err(|error| said("count the rows", &error))
    };
    let (file, rows) = futures::try_join!(dumped, counted)?;
    manifest.files = vec![file];
    manifest.rows = Some(rows);
    Ok(manifest)
}

/// Reads the archive to its end with the tool that would restore it, into `url` or into nothing.
async fn restore_to(
    shelf: &Shelf,
    tools: &Tools,
    manifest: &Manifest,
    url: Option<&str>,
    told: Told<'_>,
) -> Result<Verification, BackupError> {
    let mut found = Verification::default();
    let Some(file) = manifest.files.iter().find(|file| file.name == FILE) else {
        found.problems.push(format!("its manifest names no {FILE}"));
        return Ok(found);
    };
    let (mut args, environment) = match url {
        None => (vec!["--file=/dev/null".to_owned()], Vec::new()),
        Some(url) => {
            let environment = connection::environment(url)?;
            let name = environment.iter().find(|(name, _)| *name == "PGDATABASE");
            let name = name.map(|(_, name)| name.clone()).unwrap_or_default();
            let args = [
                "--no-owner",
                "--no-privileges",
                "--no-publications",
                "--no-subscriptions",
                "--no-password",
                "--exit-on-error",
            ];
            let mut args = args.map(str::to_owned).to_vec();
            args.push(format!("--dbname={name}"));
            (args, environment)
        }
    };
    args.push("--format=custom".to_owned());
    let tool = Tool {
        program: tools.program("pg_restore")?,
        args,
        environment,
    };
    let mut source = match shelf.open(&manifest.id, file).await {
        Ok(source) => source,
        Err(ReadError::Bad(problem)) => {
            found.problems.push(problem);
            return Ok(found);
        }
        Err(ReadError::Failed(error)) => return Err(error),
    };
    let (running, mut stdin, mut stdout) = tool.start()?;
    let mut is_listening = true;
    loop {
        match source.next().await {
            Ok(Some(piece)) => {
                // It may stop at what it cannot read; the rest is read all the same, for its checksum.
                is_listening = is_listening && stdin.write_all(&piece).await.is_ok();
                told(&format!(
                    "reading the backup of {}: {} so far",
                    manifest.database,
                    show_bytes(source.bytes())
                ));
            }
            Ok(None) => break,
            Err(ReadError::Bad(problem)) => {
                found.problems.push(problem);
                break;
            }
            Err(ReadError::Failed(error)) => return Err(error),
        }
    }
    drop(stdin);
    let mut piece = [0; 512];
    while stdout.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    // What it says of bytes that are not those that were written is no second problem.
    if let Err(error) = running.finish().await
        && found.problems.is_empty()
    {
        found.problems.push(error.to_string());
    }
    found.files = 1;
    found.bytes = source.bytes();
    Ok(found)
}

/// Reads the archive to its end.
pub(super) async fn read(
    shelf: &Shelf,
    search: &Search,
    manifest: &Manifest,
    told: Told<'_>,
) -> Result<Verification, BackupError> {
    let tools = search.for_server(made_with(manifest)).await?;
    restore_to(shelf, &tools, manifest, None, told).await
}

/// The version of the tool that wrote it: an older one does not read it.
fn made_with(manifest: &Manifest) -> u32 {
    let major = manifest
        .tool
        .rsplit_once(' ')
        .and_then(|(_, major)| major.parse().ok());
    major.unwrap_or_default()
}

/// Refuses a scratch database that something is in. What an unfinished restore left is taken away.
pub(super) async fn look_for_room(url: &str, name: &str) -> Result<(), BackupError> {
    let (mut session, _) = connect(url).await?;
    let content = dump::postgres_content(&mut session).await;
    match content.map_err(|error| said("look into the scratch database", &error))? {
        None => Ok(()),
        Some(thing) => Err(not_empty(name, &thing)),
    }
}

pub(super) fn not_empty(name: &str, thing: &str) -> BackupError {
    BackupError::Invalid(format!(
        "database.{name} is not empty ({thing} is there), and a backup is only restored into an empty one; \
         make a new database for it"
    ))
}

/// Restores into an empty database, counts, and empties it again.
pub(super) async fn restore(
    shelf: &Shelf,
    search: &Search,
    manifest: &Manifest,
    url: &str,
    name: &str,
    keep: bool,
    told: Told<'_>,
) -> Result<Verification, BackupError> {
    look_for_room(url, name).await?;
    let (mut session, identity) = connect(url).await?;
    let doing = |error| said("prepare the scratch database", &error);
    dump::empty(&mut session).await.map_err(doing)?;
    dump::mark(&mut session).await.map_err(doing)?;
    let tools = search.for_server(made_with(manifest).max(identity.major)).await?;
    let mut found = restore_to(shelf, &tools, manifest, Some(url), told).await?;
    let rows = dump::postgres_rows(&mut session).await;
    let rows = rows.map_err(|error| said("count the restored rows", &error))?;
    if found.problems.is_empty() {
        compare(manifest, &rows, &mut found);
    }
    let doing = |error| said("empty the scratch database", &error);
    if keep {
        dump::unmark(&mut session).await.map_err(doing)?;
    } else {
        dump::empty(&mut session).await.map_err(doing)?;
    }
    Ok(found)
}

/// Holds the rows that are there against those that were counted.
pub(super) fn compare(manifest: &Manifest, rows: &BTreeMap<String, u64>, found: &mut Verification) {
    let Some(counted) = &manifest.rows else { return };
    found.tables = rows.len() as u64;
    found.rows = rows.values().sum();
    for (table, count) in counted {
        match rows.get(table) {
            None => found.problems.push(format!("{table} was not restored")),
            Some(there) if there != count => {
                let problem = format!("{table} has {there} rows after the restore, and {count} were counted");
                found.problems.push(problem);
            }
            Some(_) => {}
        }
    }
    for table in rows.keys().filter(|table| !counted.contains_key(*table)) {
        found.problems.push(format!(
            "{table} was restored, and was not there when the backup was made"
        ));
    }
}
