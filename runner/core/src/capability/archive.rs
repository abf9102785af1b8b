//! Rows kept in a storage before they go: an object a batch, read back and compared, and a manifest once the rows are gone.
//!
//! It deletes nothing, neither rows nor objects. An object counts with its manifest only: one without was put by a batch whose
//! rows may still be there. Which it is the database's own record says, and the next run asks that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use async_trait::async_trait;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::name::{RunId, TableName, TargetName};
use crate::ports::database::{Archive, Database, DatabaseError};
use crate::ports::plugins::CallError;
use crate::ports::storage::{ObjectKey, Put, Storage, StorageError};
use crate::run::digest;
use crate::value::Instant;

/// Objects of runs that are older than this are not looked at again: whoever ran then has run since, or never will.
const LOOK_BACK: chrono::Duration = chrono::Duration::days(30);

/// Objects that are listed to find those without a manifest: two for each batch, and more than a month of purges has.
const LISTED_MAX: usize = 20_000;

/// Of one listing.
const PAGE: u32 = 1_000;

/// What the rows are put into.
pub(super) const ROWS_END: &str = ".jsonl.gz";
/// What says that the rows are gone, and how to know the object.
pub(super) const MANIFEST_END: &str = ".json";
/// What says that the rows stayed.
const VOID_END: &str = ".void";

/// Where the rows of one purge go.
pub(super) struct Keeper {
    storage: Arc<dyn Storage>,
    /// Of all archives of this table.
    table_folder: String,
    /// Of this attempt.
    home: String,
    database: TargetName,
    table: TableName,
    on: String,
    run: RunId,
    attempt: u32,
    which: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Kept, and not yet known to be gone.
    open: Option<Kept>,
    tries: u32,
}

#[derive(Debug, Clone)]
struct Kept {
    batch: u32,
    stem: String,
    rows: u64,
    bytes: u64,
    sha256: String,
}

/// What the manifest says.
#[derive(Serialize)]
struct Manifest<'a> {
    schema_version: u32,
    object: &'a str,
    database: &'a str,
    table: String,
    run: &'a str,
    attempt: u32,
    batch: u32,
    rows: u64,
    bytes: u64,
    sha256: &'a str,
    /// Which rows: the purge's conditions in words.
    which: &'a str,
    /// Found by a later run, which knows the database's record and not the purge.
    recovered: bool,
}

/// What keeps rows from being archived keeps them from being deleted.
pub(super) fn not_archived(error: &StorageError) -> DatabaseError {
    let reason = error.to_string();
    match error {
        StorageError::Unreachable { .. } => DatabaseError::Unreachable {
            operation: "archive rows",
            reason,
        },
        _ => DatabaseError::Fault {
            operation: "archive rows",
            reason,
        },
    }
}

/// What the purge is.
pub(super) struct About<'a> {
    pub(super) database: &'a TargetName,
    pub(super) table: &'a TableName,
    pub(super) on: &'a str,
    pub(super) run: &'a RunId,
    pub(super) attempt: u32,
    pub(super) which: String,
    /// The database's own time.
    pub(super) now: Instant,
}

/// A name as a part of a key: what could mean something else there is written as its bytes.
pub(super) fn part(name: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

pub(super) fn stamp(at: Instant) -> String {
    at.format("%Y%m%dT%H%M%SZ").to_string()
}

pub(super) fn key(text: String) -> Result<ObjectKey, DatabaseError> {
    ObjectKey::try_from(text).map_err(|error| DatabaseError::Invalid(error.to_string()))
}

pub(super) fn zipped(text: &[u8]) -> Result<Vec<u8>, DatabaseError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(text)
        .and_then(|()| encoder.finish())
        .map_err(|error| broken(&error.to_string()))
}

pub(super) fn unzipped(bytes: &[u8], length: usize) -> Result<Vec<u8>, DatabaseError> {
    let mut text = Vec::with_capacity(length);
    // One byte more than expected is enough to see that it is something else.
    GzDecoder::new(bytes)
        .take(length as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| broken(&error.to_string()))?;
    Ok(text)
}

pub(super) fn broken(reason: &str) -> DatabaseError {
    DatabaseError::Fault {
        operation: "read back archived rows",
        reason: reason.to_owned(),
    }
}

/// All of an object.
pub(super) async fn read(storage: &dyn Storage, key: &ObjectKey) -> Result<Vec<u8>, DatabaseError> {
    let mut download = storage
        .get_stream(key)
        .await
        .map_err(|error| not_archived(&error))?;
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await.map_err(|error| not_archived(&error))? {
        bytes.extend(piece);
    }
    Ok(bytes)
}

/// Puts rows that were compressed, and holds what is there against what was meant.
pub(super) async fn put_and_compare(
    storage: &dyn Storage,
    key: &ObjectKey,
    bytes: &[u8],
    sha256: &str,
    text: &[u8],
) -> Result<(), DatabaseError> {
    storage
        .put(key, bytes.to_vec(), Put::Create)
        .await
        .map_err(|error| not_archived(&error))?;
    let back = read(storage, key).await?;
    if digest(&back) != sha256 || unzipped(&back, text.len())? != text {
        return Err(broken(
            "what was read back is not what was put; no row was deleted",
        ));
    }
    Ok(())
}

impl Keeper {
    /// Keeps rows below `prefix`.
    ///
    /// # Errors
    /// The prefix makes no key, or the storage is not there.
    pub(super) async fn new(
        storage: Arc<dyn Storage>,
        prefix: &str,
        about: About<'_>,
    ) -> Result<Self, CallError> {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        let table_folder = format!(
            "{prefix}{slash}{}/{}/",
            about.database,
            part(&about.table.to_string())
        );
        let home = format!("{table_folder}{}-{}/", stamp(about.now), about.run);
        let keeper = Self {
            storage,
            table_folder,
            home,
            database: about.database.clone(),
            table: about.table.clone(),
            on: about.on.to_owned(),
            run: about.run.clone(),
            attempt: about.attempt,
            which: about.which,
            state: Mutex::default(),
        };
        // A storage that is not there is told before anything else is done, in plans too.
        let first = key(keeper.stem(1, 0) + ROWS_END)?;
        keeper.storage.preview_put(&first, 0, Put::Create).await?;
        Ok(keeper)
    }

    fn stem(&self, batch: u32, tries: u32) -> String {
        format!("{}{}-{batch:06}-{tries}", self.home, self.attempt)
    }

    /// The rows of the last batch are gone.
    pub(super) async fn confirm(&self) -> Result<(), CallError> {
        let mut state = self.state.lock().await;
        if let Some(kept) = &state.open {
            self.manifest(kept, false).await?;
            state.open = None;
        }
        Ok(())
    }

    async fn manifest(&self, kept: &Kept, recovered: bool) -> Result<(), DatabaseError> {
        let object = format!("{}{ROWS_END}", kept.stem);
        let (run, attempt) =
            of_stem(&kept.stem).map_or((self.run.as_str(), self.attempt), |stem| (stem.run, stem.attempt));
        let manifest = Manifest {
            schema_version: 1,
            object: &object,
            database: self.database.as_str(),
            table: self.table.to_string(),
            run,
            attempt,
            batch: kept.batch,
            rows: kept.rows,
            bytes: kept.bytes,
            sha256: &kept.sha256,
            which: if recovered { "" } else { &self.which },
            recovered,
        };
        let json = serde_json::to_vec_pretty(&manifest).map_err(|error| broken(&error.to_string()))?;
        self.mark(&kept.stem, MANIFEST_END, json).await
    }

    /// Puts what is said of an object beside it. Said twice is said once.
    async fn mark(&self, stem: &str, end: &str, content: Vec<u8>) -> Result<(), DatabaseError> {
        let key = key(format!("{stem}{end}"))?;
        match self.storage.put(&key, content, Put::Create).await {
            Ok(_) | Err(StorageError::Exists { .. }) => Ok(()),
            Err(error) => Err(not_archived(&error)),
        }
    }

    async fn put(&self, kept: &Kept, bytes: &[u8], text: &[u8]) -> Result<(), DatabaseError> {
        let key = key(format!("{}{ROWS_END}", kept.stem))?;
        put_and_compare(&*self.storage, &key, bytes, &kept.sha256, text).await
    }

    /// Gives objects of earlier runs their manifest where the database says that their rows are gone: a host that died
    /// between the two could not. Of all others nothing is known here, and nothing is done to them.
    pub(super) async fn recover(&self, port: &dyn Database, now: Instant) -> Result<(), CallError> {
        let mut cursor = Some(format!("{}{}", self.table_folder, stamp(now - LOOK_BACK)));
        let (mut objects, mut marked, mut listed) = (BTreeSet::new(), BTreeSet::new(), 0);
        loop {
            let page = self
                .storage
                .list(&self.table_folder, cursor.as_deref(), PAGE)
                .await?;
            listed += page.objects.len();
            for object in page.objects {
                let name = object.key.as_str();
                if let Some(stem) = name.strip_suffix(ROWS_END) {
                    objects.insert(stem.to_owned());
                } else if let Some(stem) = name
                    .strip_suffix(MANIFEST_END)
                    .or_else(|| name.strip_suffix(VOID_END))
                {
                    marked.insert(stem.to_owned());
                }
            }
            cursor = page.cursor;
            if cursor.is_none() || listed >= LISTED_MAX {
                break;
            }
        }
        let mut known = BTreeMap::new();
        for stem in objects.difference(&marked) {
            let Some(named) = of_stem(stem) else { continue };
            let Ok(run) = named.run.parse::<RunId>() else {
                continue;
            };
            if !known.contains_key(&run) {
                known.insert(run.clone(), port.recorded(&run).await?);
            }
            let record = known.get(&run).into_iter().flatten().find(|record| {
                (record.attempt, record.batch, &record.scope) == (named.attempt, named.batch, &self.on)
            });
            if let Some(record) = record {
                let bytes = read(&*self.storage, &key(format!("{stem}{ROWS_END}"))?).await?;
                let kept = Kept {
                    batch: named.batch,
                    stem: stem.clone(),
                    rows: record.rows,
                    bytes: bytes.len() as u64,
                    sha256: digest(&bytes),
                };
                self.manifest(&kept, true).await?;
            }
        }
        Ok(())
    }
}

/// What the name of an object says.
struct Named<'a> {
    run: &'a str,
    attempt: u32,
    batch: u32,
}

fn of_stem(stem: &str) -> Option<Named<'_>> {
    let (folder, name) = stem.rsplit_once('/')?;
    let (_, home) = folder.rsplit_once('/')?;
    let (_, run) = home.split_once('-')?;
    let mut numbers = name.splitn(3, '-');
    Some(Named {
        run,
        attempt: numbers.next()?.parse().ok()?,
        batch: numbers.next()?.parse().ok()?,
    })
}

#[async_trait]
impl Archive for Keeper {
    async fn keep(&self, batch: u32, rows: &[String]) -> Result<(), DatabaseError> {
        let mut state = self.state.lock().await;
        // The database counts what is gone: the same number again means that the batch before it stayed.
        if let Some(kept) = &state.open {
            if kept.batch == batch {
                self.mark(&kept.stem, VOID_END, Vec::new()).await?;
            } else {
                self.manifest(kept, false).await?;
            }
            state.open = None;
        }
        let mut text = rows.join("\n").into_bytes();
        text.push(b'\n');
        let bytes = zipped(&text)?;
        let kept = Kept {
            batch,
            stem: self.stem(batch, state.tries),
            rows: rows.len() as u64,
            bytes: bytes.len() as u64,
            sha256: digest(&bytes),
        };
        state.tries += 1;
        let answer = self.put(&kept, &bytes, &text).await;
        if answer.is_err() {
            // These rows stay for certain. Where that cannot even be said, the object has no manifest all the same.
            let _ = self.mark(&kept.stem, VOID_END, Vec::new()).await;
        } else {
            state.open = Some(kept);
        }
        answer
    }
}

#[cfg(test)]
mod tests;
