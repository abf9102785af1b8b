//! A whole PostgreSQL cluster by `pg_basebackup`: all of it, or what changed since another. Put together and verified by the
//! server's own tools of the very same version.
//!
//! It is streamed as one tar, so that no second copy lies on this machine; a cluster with tablespaces cannot be.

use std::path::Path;

use sereno_core::backup::{Kind, Manifest, StoredFile};
use sereno_core::ports::backup::{BackupError, Pace, Told, Verification, Wish};
use sereno_core::units::show_bytes;
use sqlx::PgConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::child::{PIECE_BYTES, Tool};
use super::connection;
use super::feed::{self, Feeder};
use super::logical::{begun, connect, said, server};
use super::shelf::{ReadError, Shelf};
use super::sqlite::{io, workspace};
use super::tools::{Search, Tools};
use crate::database::dump::{self, Identity};

/// The cluster.
const FILE: &str = "base.tar.zst";

/// The server's own list of the cluster's files. It is in the cluster too; here it is at hand for the next incremental one.
const LIST: &str = "backup_manifest.zst";

/// The list's name in the cluster.
const LISTED: &str = "backup_manifest";

/// From this version on servers know what changed.
const INCREMENTAL_SINCE: u32 = 17;

/// Where backups of one database come from and go to.
pub(super) struct Bench<'a> {
    pub(super) shelf: &'a Shelf,
    pub(super) search: &'a Search,
    pub(super) work: &'a Path,
    pub(super) url: &'a str,
    pub(super) database: &'a str,
}

/// What a server must be for a backup of this kind; its tools, and who it is, with the bytes of all its databases.
async fn look(bench: &Bench<'_>, kind: Kind) -> Result<(PgConnection, Identity, Tools), BackupError> {
    let (mut session, mut identity) = connect(bench.url).await?;
    let tools = bench.search.exactly(identity.major).await?;
    tools.program("pg_basebackup")?;
    let asked = dump::replication(&mut session).await;
    let asked = asked.map_err(|error| said("ask the server about replication", &error))?;
    let refuse = |text: &str| Err(BackupError::Invalid(text.to_owned()));
    if !asked.may_replicate {
        return refuse(
            "a physical backup needs a role with REPLICATION: `ALTER ROLE ... REPLICATION`, and a line for `replication` in pg_hba.conf",
        );
    }
    if asked.tablespaces > 0 {
        return refuse(
            "the cluster has tablespaces, which cannot be streamed as one archive; use `kind = \"logical\"`",
        );
    }
    if kind == Kind::Incremental && identity.major < INCREMENTAL_SINCE {
        return refuse(
            "incremental backups need PostgreSQL 17 or later; use `kind = \"physical\"` or `\"logical\"`",
        );
    }
    if kind == Kind::Incremental && !asked.summarizes {
        return refuse(
            "incremental backups need `summarize_wal = on` on the server: `ALTER SYSTEM SET summarize_wal = on`, then reload it",
        );
    }
    identity.bytes = asked.bytes;
    Ok((session, identity, tools))
}

/// A manifest of what [`create`] would make, with the size of all databases for its bytes.
pub(super) async fn preview(
    bench: &Bench<'_>,
    wish: &Wish,
    parent: Option<&Manifest>,
    at: sereno_core::value::Instant,
) -> Result<Manifest, BackupError> {
    let (_, identity, tools) = look(bench, wish.kind).await?;
    fits(&identity, parent)?;
    let tool = format!("pg_basebackup {}", tools.major);
    let mut manifest = begun(wish, at, bench.database, wish.kind, tool, server(&identity));
    manifest.parent = parent.map(|parent| parent.id.clone());
    let bytes = identity.bytes.unwrap_or_default();
    manifest.files = vec![StoredFile {
        name: "estimate".to_owned(),
        bytes,
        sha256: String::new(),
        raw_bytes: bytes,
        compression: None,
    }];
    Ok(manifest)
}

/// Refuses a parent that is another cluster's, or this one's before an upgrade.
fn fits(identity: &Identity, parent: Option<&Manifest>) -> Result<(), BackupError> {
    let Some(parent) = parent else { return Ok(()) };
    let is_same = parent.server.system_identifier == identity.system_identifier
        && made_with(parent) == Some(identity.major);
    if is_same {
        return Ok(());
    }
    Err(BackupError::Invalid(format!(
        "{} is of another cluster, or of another version: make a backup with `kind = \"physical\"` first",
        parent.id
    )))
}

/// Copies the cluster into the storage. The manifest is the caller's to publish.
pub(super) async fn create(
    bench: &Bench<'_>,
    wish: &Wish,
    parent: Option<&Manifest>,
    Pace { at, told, .. }: Pace<'_>,
) -> Result<Manifest, BackupError> {
    let (session, identity, tools) = look(bench, wish.kind).await?;
    drop(session);
    fits(&identity, parent)?;
    let folder = workspace(bench.work)?;
    let mut args = [
        "--pgdata=-",
        "--format=tar",
        "--wal-method=fetch",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--no-password",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(parent) = parent {
        let list = folder.path().join("parent");
        unpack_list(bench.shelf, parent, &list).await?;
        args.push(format!("--incremental={}", list.display()));
    }
    let tool = Tool {
        program: tools.program("pg_basebackup")?,
        args,
        environment: connection::environment(bench.url)?,
    };
    let listed = folder.path().join(LISTED);
    let (file, is_listed) = stream(bench, wish, &tool, &listed, told).await?;
    if !is_listed {
        return Err(BackupError::Failed(format!(
            "pg_basebackup wrote no {LISTED}: without it nobody can verify the backup"
        )));
    }
    let list = pack(bench.shelf, &wish.id, &listed).await?;
    let tool = format!("pg_basebackup {}", tools.major);
    let mut manifest = begun(wish, at, bench.database, wish.kind, tool, server(&identity));
    manifest.parent = parent.map(|parent| parent.id.clone());
    manifest.files = vec![file, list];
    Ok(manifest)
}

/// What the tool writes goes into the storage; its list of files goes to `listed` on the way.
async fn stream(
    bench: &Bench<'_>,
    wish: &Wish,
    tool: &Tool,
    listed: &Path,
    told: Told<'_>,
) -> Result<(StoredFile, bool), BackupError> {
    let (running, stdin, mut stdout) = tool.start()?;
    drop(stdin);
    let mut packer = bench.shelf.begin(&wish.id, FILE).await?;
    let mut lister = feed::extract(LISTED, listed);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = stdout.read(&mut piece).await;
        let read =
            read.map_err(|error| BackupError::Failed(format!("could not read from pg_basebackup: {error}")))?;
        if read == 0 {
            break;
        }
        packer.write(&piece[..read]).await?;
        lister.feed(piece[..read].to_vec()).await;
        told(&format!(
            "pg_basebackup of {}: {} so far",
            bench.database,
            show_bytes(packer.raw_bytes())
        ));
    }
    // Before it is known that the tool is content, nothing is published.
    running.finish().await?;
    let is_listed = lister.end().await;
    let is_listed =
        is_listed.map_err(|error| io("read", Path::new("the archive of pg_basebackup"), &error))?;
    Ok((packer.finish().await?, is_listed))
}

async fn pack(shelf: &Shelf, id: &str, path: &Path) -> Result<StoredFile, BackupError> {
    let reading = |error: std::io::Error| io("read", path, &error);
    let mut packer = shelf.begin(id, LIST).await?;
    let mut file = tokio::fs::File::open(path).await.map_err(reading)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = file.read(&mut piece).await.map_err(reading)?;
        if read == 0 {
            return packer.finish().await;
        }
        packer.write(&piece[..read]).await?;
    }
}

async fn unpack_list(shelf: &Shelf, parent: &Manifest, to: &Path) -> Result<(), BackupError> {
    let writing = |error: std::io::Error| io("write", to, &error);
    let unpacked = async {
        let file = parent.files.iter().find(|file| file.name == LIST);
        let file = file.ok_or_else(|| ReadError::Bad(format!("its manifest names no {LIST}")))?;
        let mut source = shelf.open(&parent.id, file).await?;
        let mut target = tokio::fs::File::create(to).await.map_err(writing)?;
        while let Some(piece) = source.next().await? {
            target.write_all(&piece).await.map_err(writing)?;
        }
        target.flush().await.map_err(writing)?;
        Ok::<(), ReadError>(())
    };
    unpacked.await.map_err(|error| match error {
        ReadError::Failed(error) => error,
        ReadError::Bad(problem) => BackupError::Failed(format!(
            "{} cannot be built on ({problem}): make a backup with `kind = \"physical\"`",
            parent.id
        )),
    })
}

/// The version of the tool that wrote it, which is the server's own.
fn made_with(manifest: &Manifest) -> Option<u32> {
    manifest.tool.rsplit_once(' ')?.1.parse().ok()
}

/// Unpacks a backup and all that it builds on (`chain`, the oldest first), puts them together, and has the server's own tool
/// verify every file and the log that makes them consistent.
pub(super) async fn read(
    shelf: &Shelf,
    search: &Search,
    work: &Path,
    chain: &[Manifest],
    told: Told<'_>,
) -> Result<Verification, BackupError> {
    let mut found = Verification::default();
    let Some(last) = chain.last() else {
        return Ok(found);
    };
    let tools = search.exactly(made_with(last).unwrap_or_default()).await?;
    let folder = workspace(work)?;
    let mut parts = Vec::new();
    for manifest in chain {
        let part = folder.path().join(format!("part-{}", parts.len()));
        unpack(shelf, manifest, &part, &mut found, told).await?;
        if !found.problems.is_empty() {
            return Ok(found);
        }
        parts.push(part.display().to_string());
    }
    let mut whole = parts[0].clone();
    if parts.len() > 1 {
        whole = folder.path().join("whole").display().to_string();
        told("putting the backups together");
        let mut args = parts;
        args.extend(["--output".to_owned(), whole.clone(), "--no-sync".to_owned()]);
        if let Err(error) = run(tools.program("pg_combinebackup")?, args).await? {
            found.problems.push(error);
            return Ok(found);
        }
    }
    told("verifying the cluster");
    if let Err(error) = run(tools.program("pg_verifybackup")?, vec![whole]).await? {
        found.problems.push(error);
    }
    Ok(found)
}

/// Runs a tool that says what is wrong by failing.
async fn run(program: std::path::PathBuf, args: Vec<String>) -> Result<Result<(), String>, BackupError> {
    let tool = Tool {
        program,
        args,
        environment: Vec::new(),
    };
    let (running, stdin, mut stdout) = tool.start()?;
    drop(stdin);
    let mut piece = [0; 512];
    while stdout.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    Ok(running.finish().await.map_err(|error| error.to_string()))
}

/// Unpacks one backup to `to`, and reads its list of files too, for its checksum.
async fn unpack(
    shelf: &Shelf,
    manifest: &Manifest,
    to: &Path,
    found: &mut Verification,
    told: Told<'_>,
) -> Result<(), BackupError> {
    for file in &manifest.files {
        let unpacked = async {
            let mut feeder = (file.name == FILE).then(|| feed::unpack(to));
            let mut source = shelf.open(&manifest.id, file).await?;
            while let Some(piece) = source.next().await? {
                if let Some(feeder) = &mut feeder {
                    feeder.feed(piece).await;
                }
                told(&format!(
                    "reading the backup {} of {}: {} so far",
                    manifest.id,
                    manifest.database,
                    show_bytes(source.bytes())
                ));
            }
            if let Some(feeder) = feeder {
                // Its bytes are what was written: that they cannot be unpacked is this machine's matter.
                let ended = Feeder::end(feeder).await;
                ended.map_err(|error| io("unpack to", to, &error))?;
            }
            Ok::<u64, ReadError>(source.bytes())
        };
        match unpacked.await {
            Ok(bytes) => {
                found.files += 1;
                found.bytes += bytes;
            }
            Err(ReadError::Bad(problem)) => found.problems.push(format!("{}: {problem}", manifest.id)),
            Err(ReadError::Failed(error)) => return Err(error),
        }
    }
    Ok(())
}
