//! Where the backups of one database lie in a storage, and how bytes go in and out: packed, hashed, piece by piece.
//!
//! `DATABASE/ID/manifest.json`, beside it `verified.json` and the files that the manifest names.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use sereno_core::backup::StoredFile;
use sereno_core::name::TargetName;
use sereno_core::ports::backup::BackupError;
use sereno_core::ports::storage::{Download, ObjectKey, Put, Storage, StorageError, Upload};
use sha2::{Digest as _, Sha256};
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

/// The manifest's name: before it is there, there is no backup.
pub(super) const MANIFEST: &str = "manifest.json";

/// What verifications came to.
pub(super) const VERIFIED: &str = "verified.json";

/// A manifest has a line for each table; a hundred thousand of them take less.
const SMALL_BYTES_MAX: u32 = 64 << 20;

/// Objects of a page.
const PAGE: u32 = 1_000;

/// Fast, and near the best for dumps.
const ZSTD_LEVEL: i32 = 3;

/// Unpacked bytes that are handed on at once.
const PIECE_BYTES: usize = 256 << 10;

/// The backups of one database in one storage.
pub(super) struct Shelf {
    port: Arc<dyn Storage>,
    database: TargetName,
}

/// Why an object could not be read to its end.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It is not what was written.
    Bad(String),
    /// Nobody knows.
    Failed(BackupError),
}

impl From<BackupError> for ReadError {
    fn from(error: BackupError) -> Self {
        Self::Failed(error)
    }
}

/// A storage's error as one of backups.
pub(super) fn stored(error: &StorageError) -> BackupError {
    let text = error.to_string();
    match error {
        StorageError::NotFound { .. } => BackupError::NotFound(text),
        StorageError::Exists { .. } | StorageError::Invalid(_) => BackupError::Invalid(text),
        StorageError::Unreachable { .. } => BackupError::Unreachable(text),
        StorageError::Refused { .. } => BackupError::Failed(text),
    }
}

impl Shelf {
    pub(super) fn new(port: Arc<dyn Storage>, database: TargetName) -> Self {
        Self { port, database }
    }

    fn key(&self, id: &str, name: &str) -> Result<ObjectKey, BackupError> {
        if id.is_empty() || id.contains('/') || name.contains('/') {
            return Err(BackupError::Invalid(format!(
                "`{}` is not a backup's id",
                id.escape_debug()
            )));
        }
        let key = format!("{}/{id}/{name}", self.database);
        key.parse()
            .map_err(|error: sereno_core::name::NameError| BackupError::Invalid(error.to_string()))
    }

    /// Every object by the id it is under, with its size.
    pub(super) async fn all(&self) -> Result<BTreeMap<String, BTreeMap<String, u64>>, BackupError> {
        let prefix = format!("{}/", self.database);
        let mut found = BTreeMap::<String, BTreeMap<String, u64>>::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = self.port.list(&prefix, cursor.as_deref(), PAGE).await;
            let page = page.map_err(|error| stored(&error))?;
            for object in page.objects {
                let Some((id, name)) = object.key.as_str()[prefix.len()..].split_once('/') else {
                    continue;
                };
                found
                    .entry(id.to_owned())
                    .or_default()
                    .insert(name.to_owned(), object.bytes);
            }
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(found);
            }
        }
    }

    /// What hosts that died left of objects that they had begun: bytes by id.
    pub(super) async fn unfinished(&self, remove: bool) -> Result<BTreeMap<String, u64>, BackupError> {
        let prefix = format!("{}/", self.database);
        let found = if remove {
            self.port.remove_unfinished(&prefix).await
        } else {
            self.port.unfinished(&prefix).await
        };
        let of_id = |(folder, bytes): (String, u64)| Some((folder.strip_prefix(&prefix)?.to_owned(), bytes));
        Ok(found
            .map_err(|error| stored(&error))?
            .into_iter()
            .filter_map(of_id)
            .collect())
    }

    /// A small object whole; none when it is not there.
    pub(super) async fn small(&self, id: &str, name: &str) -> Result<Option<Vec<u8>>, BackupError> {
        match self.port.get(&self.key(id, name)?, 0, SMALL_BYTES_MAX).await {
            Ok(part) => Ok(Some(part.bytes)),
            Err(StorageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(stored(&error)),
        }
    }

    /// Publishes a small object.
    pub(super) async fn put(
        &self,
        id: &str,
        name: &str,
        content: Vec<u8>,
        put: Put,
    ) -> Result<(), BackupError> {
        let done = self.port.put(&self.key(id, name)?, content, put).await;
        done.map(drop).map_err(|error| stored(&error))
    }

    /// Removes an object; that it is gone already is as well.
    pub(super) async fn remove(&self, id: &str, name: &str) -> Result<(), BackupError> {
        let done = self.port.remove(&self.key(id, name)?).await;
        done.map(drop).map_err(|error| stored(&error))
    }

    /// Begins an object that is packed on its way.
    pub(super) async fn begin(&self, id: &str, name: &str) -> Result<Packer, BackupError> {
        let upload = self.port.put_stream(&self.key(id, name)?, Put::Create).await;
        let packing = |error: std::io::Error| BackupError::Failed(format!("could not pack: {error}"));
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(packing)?;
        encoder.include_checksum(true).map_err(packing)?;
        Ok(Packer {
            upload: upload.map_err(|error| stored(&error))?,
            encoder,
            hasher: Sha256::new(),
            file: StoredFile {
                name: name.to_owned(),
                bytes: 0,
                sha256: String::new(),
                raw_bytes: 0,
                compression: Some("zstd".to_owned()),
            },
        })
    }

    /// Begins to read an object, to be held against what was written down of it.
    pub(super) async fn open(&self, id: &str, file: &StoredFile) -> Result<Unpacker, ReadError> {
        let download = match self.port.get_stream(&self.key(id, &file.name)?).await {
            Ok(download) => download,
            Err(StorageError::NotFound { .. }) => {
                return Err(ReadError::Bad(format!("{} is missing", file.name)));
            }
            Err(error) => return Err(ReadError::Failed(stored(&error))),
        };
        let decoder = Decoder::new();
        let unpacking = |error: std::io::Error| BackupError::Failed(format!("could not unpack: {error}"));
        Ok(Unpacker {
            download,
            decoder: decoder.map_err(unpacking)?,
            hasher: Sha256::new(),
            input: Vec::new(),
            at: 0,
            is_full: false,
            bytes: 0,
            raw_bytes: 0,
            frame_left: 0,
            file: file.clone(),
        })
    }
}

/// An object on its way into a storage.
pub(super) struct Packer {
    upload: Box<dyn Upload>,
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    hasher: Sha256,
    file: StoredFile,
}

impl Packer {
    /// Unpacked bytes so far.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.file.raw_bytes
    }

    /// Adds unpacked bytes.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), BackupError> {
        self.file.raw_bytes += piece.len() as u64;
        let packed = self.encoder.write_all(piece);
        packed.map_err(|error| BackupError::Failed(format!("could not pack: {error}")))?;
        let packed = std::mem::take(self.encoder.get_mut());
        self.send(packed).await
    }

    async fn send(&mut self, packed: Vec<u8>) -> Result<(), BackupError> {
        if packed.is_empty() {
            return Ok(());
        }
        self.hasher.update(&packed);
        self.file.bytes += packed.len() as u64;
        self.upload.write(packed).await.map_err(|error| stored(&error))
    }

    /// Publishes the object.
    pub(super) async fn finish(self) -> Result<StoredFile, BackupError> {
        let Self {
            mut upload,
            encoder,
            mut hasher,
            mut file,
        } = self;
        let last = encoder.finish();
        let last = last.map_err(|error| BackupError::Failed(format!("could not pack: {error}")))?;
        hasher.update(&last);
        file.bytes += last.len() as u64;
        upload.write(last).await.map_err(|error| stored(&error))?;
        let object = upload.finish().await.map_err(|error| stored(&error))?;
        if object.bytes != file.bytes {
            return Err(BackupError::Failed(format!(
                "{} bytes of {} were sent, and the storage has {}",
                file.bytes, file.name, object.bytes
            )));
        }
        file.sha256 = hex(&hasher.finalize());
        Ok(file)
    }
}

/// An object on its way out of a storage.
pub(super) struct Unpacker {
    download: Box<dyn Download>,
    decoder: Decoder<'static>,
    hasher: Sha256,
    input: Vec<u8>,
    at: usize,
    /// The last answer filled its room, so that there may be more of the same input.
    is_full: bool,
    bytes: u64,
    raw_bytes: u64,
    frame_left: usize,
    file: StoredFile,
}

impl Unpacker {
    /// The next unpacked bytes. At the end everything is held against what was written down.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            if self.at < self.input.len() || self.is_full {
                let piece = self.unpack()?;
                if !piece.is_empty() {
                    return Ok(Some(piece));
                }
                continue;
            }
            let next = self.download.next().await;
            match next.map_err(|error| ReadError::Failed(stored(&error)))? {
                Some(piece) => {
                    self.hasher.update(&piece);
                    self.bytes += piece.len() as u64;
                    (self.input, self.at) = (piece, 0);
                }
                None => return self.judge().map(|()| None),
            }
        }
    }

    fn unpack(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut input = InBuffer::around(&self.input[self.at..]);
        let mut output = OutBuffer::around(&mut piece[..]);
        let unpacked = self.decoder.run(&mut input, &mut output);
        let (read, written) = (input.pos(), output.pos());
        self.frame_left = unpacked
            .map_err(|error| ReadError::Bad(format!("{} cannot be unpacked: {error}", self.file.name)))?;
        self.at += read;
        self.raw_bytes += written as u64;
        self.is_full = written == PIECE_BYTES;
        piece.truncate(written);
        Ok(piece)
    }

    fn judge(&mut self) -> Result<(), ReadError> {
        let name = &self.file.name;
        if self.bytes != self.file.bytes {
            return Err(ReadError::Bad(format!(
                "{name} has {} bytes, and {} were written",
                self.bytes, self.file.bytes
            )));
        }
        if hex(&self.hasher.finalize_reset()) != self.file.sha256 {
            return Err(ReadError::Bad(format!(
                "{name} is not what was written: its SHA-256 is another"
            )));
        }
        if self.frame_left != 0 || self.raw_bytes != self.file.raw_bytes {
            return Err(ReadError::Bad(format!(
                "{name} unpacks to {} bytes, and {} were packed",
                self.raw_bytes, self.file.raw_bytes
            )));
        }
        Ok(())
    }

    /// Bytes read from the storage so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn hex(bytes: &[u8]) -> String {
    crate::database::hex(bytes)
}
