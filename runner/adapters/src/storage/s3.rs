//! Objects in a bucket, over S3's protocol.
//!
//! A bucket publishes whole objects by itself; what is added here is the prefix, keys that begin with any text, and an
//! order of errors. An object of more than a part's size is put in parts; given up, its parts are taken back.
//!
//! With [`Put::Create`] a small object is never written over another. One in parts is looked for before its first part and
//! again before it is published: S3's protocol, as the client speaks it, offers no more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    RetryConfig, WriteMultipart,
};
use sereno_core::ports::storage::{
    Download, Listing, Object, ObjectKey, Part, Put, Storage, StorageError, Upload,
};

use super::S3Options;
use crate::aws::REGION;

/// S3 takes 10,000 parts, so that an object may have 156 GiB; two of them are in memory at a time.
const PART_BYTES: usize = 16 << 20;

/// Parts on their way at a time.
const PARTS_AT_ONCE: usize = 2;

/// A server that is being restarted answers by then; a carrier delivers again after that.
const RETRY_TIME: Duration = Duration::from_secs(30);

/// Until a server has taken a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// One request, a part of an object included.
const REQUEST_TIME: Duration = Duration::from_secs(120);

pub(super) fn open(options: &S3Options) -> Result<Arc<dyn Storage>, StorageError> {
    let invalid = |text: &str| StorageError::Invalid(text.to_owned());
    let url = options.url.expose();
    let rest = url
        .strip_prefix("s3://")
        .ok_or_else(|| invalid("its url is not `s3://bucket/prefix`"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(invalid("its url names no bucket"));
    }
    let prefix = prefix.trim_end_matches('/');
    let prefix = match prefix {
        "" => None,
        prefix => Some(
            prefix
                .parse::<ObjectKey>()
                .map_err(|error| StorageError::Invalid(format!("the prefix of its url: {error}")))?,
        ),
    };
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIME)
        .with_timeout(REQUEST_TIME);
    let mut builder = AmazonS3Builder::from_env()
        .with_client_options(client)
        .with_retry(RetryConfig {
            max_retries: 5,
            retry_timeout: RETRY_TIME,
            ..RetryConfig::default()
        })
        .with_bucket_name(bucket);
    if let Some(region) = &options.region {
        builder = builder.with_region(region.expose());
    } else if builder.get_config_value(&AmazonS3ConfigKey::Region).is_none() {
        builder = builder.with_region(REGION);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.expose());
    }
    if let (Some(id), Some(secret)) = (&options.access_key_id, &options.secret_access_key) {
        builder = builder
            .with_access_key_id(id.expose())
            .with_secret_access_key(secret.expose());
    }
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let store = builder
        .with_allow_http(is_plain)
        .build()
        .map_err(|error| StorageError::Invalid(error.to_string()))?;
    Ok(Arc::new(Bucket {
        store: Arc::new(store),
        prefix,
    }))
}

#[derive(Clone)]
struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Option<ObjectKey>,
}

/// What a server said, without the document around it.
fn reason(text: &str) -> String {
    let message = text
        .split_once("<Message>")
        .and_then(|(_, rest)| rest.split_once("</Message>"));
    message.map_or(text, |(message, _)| message).to_owned()
}

/// Codes of S3 that stay what they are however often one asks.
const REFUSALS: [&str; 3] = [
    "<Code>AccessDenied<",
    "<Code>InvalidAccessKeyId<",
    "<Code>SignatureDoesNotMatch<",
];

fn failed(operation: &'static str, what: &str, error: &object_store::Error) -> StorageError {
    // The client tells these apart for some requests only.
    let text = error.to_string();
    if text.contains("<Code>NoSuchBucket<") {
        return StorageError::NotFound {
            what: "the bucket".to_owned(),
        };
    }
    if REFUSALS.iter().any(|code| text.contains(code)) {
        return StorageError::Refused {
            operation,
            key: what.to_owned(),
            reason: reason(&text),
        };
    }
    match error {
        object_store::Error::NotFound { .. } => StorageError::NotFound {
            what: what.to_owned(),
        },
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            StorageError::Refused {
                operation,
                key: what.to_owned(),
                reason: "the bucket does not permit it to these credentials".to_owned(),
            }
        }
        object_store::Error::InvalidPath { .. } => StorageError::Invalid(error.to_string()),
        _ => StorageError::Unreachable {
            operation,
            reason: reason(&text),
        },
    }
}

impl Bucket {
    /// The path of a key, or of a folder of keys.
    fn path(&self, key: &str) -> Result<Path, StorageError> {
        let whole = match (&self.prefix, key) {
            (Some(prefix), "") => prefix.to_string(),
            (Some(prefix), key) => format!("{prefix}/{key}"),
            (None, key) => key.to_owned(),
        };
        Path::parse(whole).map_err(|error| StorageError::Invalid(error.to_string()))
    }

    /// What lies in the bucket, as an object of ours; none for a key that we would not write.
    fn object(&self, found: &ObjectMeta) -> Option<Object> {
        let path: &str = found.location.as_ref();
        let key = match &self.prefix {
            Some(prefix) => path.strip_prefix(prefix.as_str())?.strip_prefix('/')?,
            None => path,
        };
        Some(Object {
            key: key.parse().ok()?,
            bytes: found.size,
            modified: found.last_modified,
        })
    }

    async fn publish(&self, key: &ObjectKey, content: Vec<u8>, put: Put) -> Result<Object, StorageError> {
        let bytes = content.len() as u64;
        let options = PutOptions::from(match put {
            Put::Create => PutMode::Create,
            Put::Replace => PutMode::Overwrite,
        });
        let path = self.path(key.as_str())?;
        match self.store.put_opts(&path, content.into(), options).await {
            Ok(_) => Ok(Object {
                key: key.clone(),
                bytes,
                modified: Utc::now(),
            }),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Err(StorageError::Exists { key: key.clone() })
            }
            Err(error) => Err(failed("write", key.as_str(), &error)),
        }
    }

    async fn may_be_put(&self, key: &ObjectKey, put: Put) -> Result<(), StorageError> {
        match put {
            Put::Create if self.head(key).await?.is_some() => Err(StorageError::Exists { key: key.clone() }),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Storage for Bucket {
    async fn list(&self, prefix: &str, cursor: Option<&str>, max: u32) -> Result<Listing, StorageError> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let folder = self.path(prefix.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        let mut pages = match cursor {
            Some(cursor) => self.store.list_with_offset(Some(&folder), &self.path(cursor)?),
            None => self.store.list(Some(&folder)),
        };
        let mut objects = Vec::new();
        while objects.len() <= max {
            let found = match pages.try_next().await {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => return Err(failed("list", "the bucket", &error)),
            };
            let Some(object) = self.object(&found) else {
                continue;
            };
            let key = object.key.as_str();
            if key.starts_with(prefix) {
                objects.push(object);
            } else if key > prefix {
                break;
            }
        }
        let more = objects.len() > max;
        objects.truncate(max);
        let cursor = objects.last().filter(|_| more).map(|last| last.key.to_string());
        Ok(Listing { objects, cursor })
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        match self.store.head(&self.path(key.as_str())?).await {
            Ok(found) => Ok(self.object(&found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed("look at", key.as_str(), &error)),
        }
    }

    async fn get(&self, key: &ObjectKey, from: u64, max: u32) -> Result<Part, StorageError> {
        let fault = |error| failed("read", key.as_str(), &error);
        let options = GetOptions {
            range: Some(GetRange::Bounded(
                from..from.saturating_add(u64::from(max).max(1)),
            )),
            ..GetOptions::default()
        };
        match self.store.get_opts(&self.path(key.as_str())?, options).await {
            Ok(found) => {
                let total = found.meta.size;
                let bytes = found.bytes().await.map_err(fault)?;
                let mut bytes = Vec::from(bytes);
                bytes.truncate(usize::try_from(max).unwrap_or(usize::MAX));
                Ok(Part { bytes, total })
            }
            // A range behind an object's end is an error of its own, which the client does not tell apart.
            Err(error) => match self.head(key).await? {
                Some(object) if object.bytes <= from => Ok(Part {
                    bytes: Vec::new(),
                    total: object.bytes,
                }),
                _ => Err(fault(error)),
            },
        }
    }

    async fn put(&self, key: &ObjectKey, content: Vec<u8>, put: Put) -> Result<Object, StorageError> {
        self.publish(key, content, put).await
    }

    async fn preview_put(&self, key: &ObjectKey, bytes: u64, put: Put) -> Result<Object, StorageError> {
        self.may_be_put(key, put).await?;
        Ok(Object {
            key: key.clone(),
            bytes,
            modified: Utc::now(),
        })
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        let Some(found) = self.head(key).await? else {
            return Ok(None);
        };
        match self.store.delete(&self.path(key.as_str())?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(Some(found)),
            Err(error) => Err(failed("remove", key.as_str(), &error)),
        }
    }

    async fn preview_remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        self.head(key).await
    }

    async fn put_stream(&self, key: &ObjectKey, put: Put) -> Result<Box<dyn Upload>, StorageError> {
        self.may_be_put(key, put).await?;
        Ok(Box::new(BucketUpload {
            bucket: self.clone(),
            key: key.clone(),
            put,
            whole: Vec::new(),
            parts: None,
            bytes: 0,
        }))
    }

    async fn get_stream(&self, key: &ObjectKey) -> Result<Box<dyn Download>, StorageError> {
        let found = self
            .store
            .get(&self.path(key.as_str())?)
            .await
            .map_err(|error| failed("read", key.as_str(), &error))?;
        Ok(Box::new(BucketDownload {
            left: found.meta.size,
            pieces: found.into_stream(),
            key: key.clone(),
        }))
    }
}

struct BucketUpload {
    bucket: Bucket,
    key: ObjectKey,
    put: Put,
    /// While it is small.
    whole: Vec<u8>,
    /// When it is not.
    parts: Option<WriteMultipart>,
    bytes: u64,
}

impl BucketUpload {
    fn fault(&self, error: &object_store::Error) -> StorageError {
        failed("write", self.key.as_str(), error)
    }
}

#[async_trait]
impl Upload for BucketUpload {
    async fn write(&mut self, piece: Vec<u8>) -> Result<(), StorageError> {
        self.bytes += piece.len() as u64;
        if self.parts.is_none() {
            self.whole.extend_from_slice(&piece);
            if self.whole.len() <= PART_BYTES {
                return Ok(());
            }
            let path = self.bucket.path(self.key.as_str())?;
            let begun = self.bucket.store.put_multipart(&path).await;
            let begun = begun.map_err(|error| self.fault(&error))?;
            let mut parts = WriteMultipart::new_with_chunk_size(begun, PART_BYTES);
            parts.write(&std::mem::take(&mut self.whole));
            self.parts = Some(parts);
            return Ok(());
        }
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        let room = parts.wait_for_capacity(PARTS_AT_ONCE).await;
        if let Err(error) = room {
            return Err(self.fault(&error));
        }
        if let Some(parts) = &mut self.parts {
            parts.write(&piece);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Object, StorageError> {
        if self.parts.is_none() {
            let whole = std::mem::take(&mut self.whole);
            return self.bucket.publish(&self.key, whole, self.put).await;
        }
        // When this fails, dropping takes the parts back.
        self.bucket.may_be_put(&self.key, self.put).await?;
        if let Some(parts) = self.parts.take()
            && let Err(error) = parts.finish().await
        {
            return Err(self.fault(&error));
        }
        Ok(Object {
            key: self.key.clone(),
            bytes: self.bytes,
            modified: Utc::now(),
        })
    }
}

impl Drop for BucketUpload {
    fn drop(&mut self) {
        // Parts of an object that is never published are paid for until somebody takes them back.
        if let (Some(parts), Ok(runtime)) = (self.parts.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(parts.abort());
        }
    }
}

struct BucketDownload {
    pieces: BoxStream<'static, object_store::Result<bytes::Bytes>>,
    left: u64,
    key: ObjectKey,
}

#[async_trait]
impl Download for BucketDownload {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        match self.pieces.try_next().await {
            Ok(Some(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Ok(Some(piece.into()))
            }
            Ok(None) if self.left > 0 => Err(StorageError::Unreachable {
                operation: "read an object to its end",
                reason: format!("{} ended {} bytes early", self.key, self.left),
            }),
            Ok(None) => Ok(None),
            Err(error) => Err(failed("read", self.key.as_str(), &error)),
        }
    }
}
