//! A whole partition kept in a storage: its rows in objects, each read back and compared, and one manifest over all of them.
//!
//! Objects without that manifest count for nothing: they were put by a host that died or a step that failed. Nothing is ever
//! removed or replaced.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::archive::{
    MANIFEST_END, ROWS_END, broken, key, not_archived, part, put_and_compare, read, stamp, zipped,
};
use crate::name::{RunId, TableName, TargetName};
use crate::ports::database::DatabaseError;
use crate::ports::partition::Shelf;
use crate::ports::plugins::CallError;
use crate::ports::storage::{Put, Storage};
use crate::run::digest;
use crate::value::Instant;

/// The partition of which all this is.
pub(super) struct About<'a> {
    pub(super) database: &'a TargetName,
    pub(super) table: &'a TableName,
    pub(super) partition: &'a TableName,
    pub(super) run: &'a RunId,
    pub(super) attempt: u32,
    /// The database's own time.
    pub(super) now: Instant,
}

/// What the manifest says.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    schema_version: u32,
    database: String,
    table: String,
    partition: String,
    run: String,
    attempt: u32,
    rows: u64,
    objects: Vec<Kept>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    object: String,
    rows: u64,
    bytes: u64,
    sha256: String,
}

/// Where the rows of one partition go.
pub(super) struct PartitionShelf {
    storage: Arc<dyn Storage>,
    home: String,
    manifest: Mutex<Manifest>,
}

impl PartitionShelf {
    /// Keeps below `prefix`.
    ///
    /// # Errors
    /// The prefix makes no key, or the storage is not there.
    pub(super) async fn new(
        storage: Arc<dyn Storage>,
        prefix: &str,
        about: &About<'_>,
    ) -> Result<Self, CallError> {
        let prefix = prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        let home = format!(
            "{prefix}{slash}{}/{}/partitions/{}/{}-{}-{}",
            about.database,
            part(&about.table.to_string()),
            part(&about.partition.to_string()),
            stamp(about.now),
            about.run,
            about.attempt
        );
        let shelf = Self {
            storage,
            manifest: Mutex::new(Manifest {
                schema_version: 1,
                database: about.database.to_string(),
                table: about.table.to_string(),
                partition: about.partition.to_string(),
                run: about.run.to_string(),
                attempt: about.attempt,
                rows: 0,
                objects: Vec::new(),
            }),
            home,
        };
        // A storage that is not there is told before anything else is done, in plans too.
        let first = key(shelf.object(1))?;
        shelf.storage.preview_put(&first, 0, Put::Create).await?;
        Ok(shelf)
    }

    fn object(&self, number: usize) -> String {
        format!("{}/{number:06}{ROWS_END}", self.home)
    }
}

#[async_trait]
impl Shelf for PartitionShelf {
    async fn part(&self, rows: &[String]) -> Result<(), DatabaseError> {
        let mut manifest = self.manifest.lock().await;
        let mut text = rows.join("\n").into_bytes();
        text.push(b'\n');
        let bytes = zipped(&text)?;
        let sha256 = digest(&bytes);
        let object = self.object(manifest.objects.len() + 1);
        put_and_compare(&*self.storage, &key(object.clone())?, &bytes, &sha256, &text).await?;
        manifest.rows += rows.len() as u64;
        manifest.objects.push(Kept {
            object,
            rows: rows.len() as u64,
            bytes: bytes.len() as u64,
            sha256,
        });
        Ok(())
    }

    async fn finish(&self, rows: u64) -> Result<String, DatabaseError> {
        let manifest = self.manifest.lock().await;
        if manifest.rows != rows {
            return Err(broken("not every row was kept; the partition stays"));
        }
        let json = serde_json::to_vec_pretty(&*manifest).map_err(|error| broken(&error.to_string()))?;
        let name = format!("{}{MANIFEST_END}", self.home);
        let at = key(name.clone())?;
        self.storage
            .put(&at, json.clone(), Put::Create)
            .await
            .map_err(|error| not_archived(&error))?;
        if read(&*self.storage, &at).await? != json {
            return Err(broken("the manifest that was read back is not what was put"));
        }
        Ok(name)
    }
}

/// Reads everything that a manifest names once more: what is dropped must still be in the archive, bit for bit. Answers the rows.
///
/// # Errors
/// Something is missing, or another than it was.
pub(super) async fn verify(
    storage: &dyn Storage,
    manifest: &str,
    table: &TableName,
    partition: &TableName,
) -> Result<u64, CallError> {
    let lost = |what: String| {
        CallError::Guard(format!(
            "the archive of {partition} is no longer whole: {what}; it stays"
        ))
    };
    let json = read(storage, &key(manifest.to_owned())?)
        .await
        .map_err(|error| match error {
            unreachable @ DatabaseError::Unreachable { .. } => unreachable.into(),
            error => lost(format!("{manifest}: {error}")),
        })?;
    let manifest: Manifest =
        serde_json::from_slice(&json).map_err(|error| lost(format!("{manifest}: {error}")))?;
    if (manifest.table.as_str(), manifest.partition.as_str())
        != (&*table.to_string(), &*partition.to_string())
    {
        return Err(lost(format!("its manifest is of {}", manifest.partition)));
    }
    for kept in &manifest.objects {
        let bytes = read(storage, &key(kept.object.clone())?)
            .await
            .map_err(|error| match error {
                unreachable @ DatabaseError::Unreachable { .. } => unreachable.into(),
                error => lost(format!("{}: {error}", kept.object)),
            })?;
        if digest(&bytes) != kept.sha256 {
            return Err(lost(format!("{} is not what was put", kept.object)));
        }
    }
    if manifest.objects.iter().map(|kept| kept.rows).sum::<u64>() != manifest.rows {
        return Err(lost("its manifest does not add up".to_owned()));
    }
    Ok(manifest.rows)
}
