//! A SQLite file: a consistent copy made while others write, looked at and restored as a file.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sereno_core::backup::{Kind, Manifest, Server};
use sereno_core::ports::backup::{BackupError, Pace, Told, Verification, Wish};
use sereno_core::units::show_bytes;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::child::PIECE_BYTES;
use super::logical::{begun, compare, not_empty};
use super::shelf::{ReadError, Shelf};
use crate::database::dump;

/// The copy's name.
pub(super) const FILE: &str = "database.sqlite.zst";

fn said(doing: &str, error: &sqlx::Error) -> BackupError {
    BackupError::Failed(format!("could not {doing}: {error}"))
}

pub(super) fn io(doing: &str, path: &Path, error: &std::io::Error) -> BackupError {
    BackupError::Failed(format!("could not {doing} {}: {error}", path.display()))
}

/// The file behind a URL.
pub(super) fn path(url: &str) -> Result<PathBuf, BackupError> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|_| BackupError::Invalid("the database's URL is not one that can be used".to_owned()))?;
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(BackupError::Invalid(
            "a database in memory has nothing to back up".to_owned(),
        ));
    }
    Ok(options.get_filename().to_owned())
}

async fn open(path: &Path) -> Result<SqliteConnection, BackupError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false);
    options
        .connect()
        .await
        .map_err(|error| said("open the database", &error))
}

/// A folder for a copy, gone when it is dropped.
pub(super) fn workspace(work: &Path) -> Result<TempDir, BackupError> {
    let made = tempfile::Builder::new().prefix("sereno-backup-").tempdir_in(work);
    made.map_err(|error| io("make a folder in", work, &error))
}

/// The size that a copy has about, and the version of the library that makes it.
pub(super) async fn look(url: &str) -> Result<(u64, Server), BackupError> {
    let path = path(url)?;
    let mut session = open(&path).await?;
    let bytes: i64 = sqlx::query_scalar(
        "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    .fetch_one(&mut session)
    .await
    .map_err(|error| said("ask for the database's size", &error))?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut session)
        .await
        .map_err(|error| said("ask for SQLite's version", &error))?;
    let server = Server {
        version: format!("SQLite {version}"),
        system_identifier: None,
        database: path.file_name().unwrap_or(path.as_os_str()).display().to_string(),
    };
    Ok((u64::try_from(bytes).unwrap_or_default(), server))
}

/// Copies the file into the storage. The manifest is the caller's to publish.
pub(super) async fn create(
    shelf: &Shelf,
    work: &Path,
    url: &str,
    database: &str,
    wish: &Wish,
    Pace { at, told, .. }: Pace<'_>,
) -> Result<Manifest, BackupError> {
    let (_, server) = look(url).await?;
    let tool = format!("VACUUM INTO of {}", server.version);
    let mut manifest = begun(wish, at, database, Kind::Sqlite, tool, server);
    let folder = workspace(work)?;
    let copy = folder.path().join("copy.sqlite");
    told(&format!("copying {database}"));
    let mut session = open(&path(url)?).await?;
    sqlx::query("VACUUM INTO $1")
        .bind(copy.to_string_lossy().into_owned())
        .execute(&mut session)
        .await
        .map_err(|error| said("copy the database", &error))?;
    let _ = session.close().await;
    let (rows, problems) = examine(&copy).await?;
    if let Some(problem) = problems.first() {
        return Err(BackupError::Failed(format!(
            "the database itself is damaged: {problem}"
        )));
    }
    manifest.rows = Some(rows);
    let mut packer = shelf.begin(&wish.id, FILE).await?;
    let reading = |error: std::io::Error| io("read", &copy, &error);
    let mut file = tokio::fs::File::open(&copy).await.map_err(reading)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).await.map_err(reading)?;
        if read == 0 {
            break;
        }
        packer.write(&piece[..read]).await?;
        told(&format!(
            "storing the backup of {database}: {} so far",
            show_bytes(packer.raw_bytes())
        ));
    }
    manifest.files = vec![packer.finish().await?];
    Ok(manifest)
}

/// Rows by table, and what SQLite's own check complains of.
async fn examine(path: &Path) -> Result<(std::collections::BTreeMap<String, u64>, Vec<String>), BackupError> {
    let mut session = open(path).await?;
    let complaints: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(20)")
        .fetch_all(&mut session)
        .await
        .map_err(|error| said("check the database", &error))?;
    let rows = dump::sqlite_rows(&mut session)
        .await
        .map_err(|error| said("count the rows", &error))?;
    let _ = session.close().await;
    Ok((rows, complaints.into_iter().filter(|text| text != "ok").collect()))
}

/// Unpacks the copy to `to`. None: it is bad, and `found` says why.
async fn unpack(
    shelf: &Shelf,
    manifest: &Manifest,
    to: &Path,
    found: &mut Verification,
    told: Told<'_>,
) -> Result<Option<()>, BackupError> {
    let Some(file) = manifest.files.iter().find(|file| file.name == FILE) else {
        found.problems.push(format!("its manifest names no {FILE}"));
        return Ok(None);
    };
    let writing = |error: std::io::Error| io("write", to, &error);
    let unpacked = async {
        let mut source = shelf.open(&manifest.id, file).await?;
        let mut target = tokio::fs::File::create(to).await.map_err(writing)?;
        while let Some(piece) = source.next().await? {
            target.write_all(&piece).await.map_err(writing)?;
            told(&format!(
                "reading the backup of {}: {} so far",
                manifest.database,
                show_bytes(source.bytes())
            ));
        }
        target.flush().await.map_err(writing)?;
        Ok::<u64, ReadError>(source.bytes())
    };
    match unpacked.await {
        Ok(bytes) => {
            (found.files, found.bytes) = (1, bytes);
            Ok(Some(()))
        }
        Err(ReadError::Bad(problem)) => {
            found.problems.push(problem);
            Ok(None)
        }
        Err(ReadError::Failed(error)) => Err(error),
    }
}

/// Unpacks the copy and has SQLite check all of it.
pub(super) async fn read(
    shelf: &Shelf,
    work: &Path,
    manifest: &Manifest,
    told: Told<'_>,
) -> Result<Verification, BackupError> {
    let folder = workspace(work)?;
    let copy = folder.path().join("copy.sqlite");
    let mut found = Verification::default();
    if unpack(shelf, manifest, &copy, &mut found, told).await?.is_some() {
        judge(manifest, &copy, &mut found).await;
    }
    Ok(found)
}

async fn judge(manifest: &Manifest, path: &Path, found: &mut Verification) {
    match examine(path).await {
        Ok((rows, complaints)) => {
            found.problems.extend(complaints);
            compare(manifest, &rows, found);
        }
        // That it does not open is what was to be found out.
        Err(error) => found.problems.push(error.to_string()),
    }
}

/// Refuses a scratch file that something is in.
pub(super) async fn look_for_room(url: &str, name: &str) -> Result<(), BackupError> {
    let mut session = open(&path(url)?).await?;
    let things: Vec<String> =
        sqlx::query_scalar("SELECT type || ' ' || name FROM sqlite_master ORDER BY 1 LIMIT 1")
            .fetch_all(&mut session)
            .await
            .map_err(|error| said("look into the scratch database", &error))?;
    match things.first() {
        None => Ok(()),
        Some(thing) => Err(not_empty(name, &format!("the {thing}"))),
    }
}

/// Restores into an empty file, counts, and empties it again.
pub(super) async fn restore(
    shelf: &Shelf,
    manifest: &Manifest,
    url: &str,
    name: &str,
    keep: bool,
    told: Told<'_>,
) -> Result<Verification, BackupError> {
    look_for_room(url, name).await?;
    let path = path(url)?;
    let mut found = Verification::default();
    // Beside it, and moved into its place whole: whoever dies here leaves an empty scratch database.
    let beside = path.with_added_extension("sereno-restore");
    let unpacked = unpack(shelf, manifest, &beside, &mut found, told).await;
    if !matches!(unpacked, Ok(Some(()))) {
        let _ = tokio::fs::remove_file(&beside).await;
        return unpacked.map(|_| found);
    }
    let moving = |error: std::io::Error| io("replace", &path, &error);
    tokio::fs::rename(&beside, &path).await.map_err(moving)?;
    judge(manifest, &path, &mut found).await;
    if !keep {
        for suffix in ["-wal", "-shm", "-journal"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            let _ = tokio::fs::remove_file(name).await;
        }
        tokio::fs::File::create(&path).await.map_err(moving)?;
    }
    Ok(found)
}
