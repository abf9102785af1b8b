//! A storage in memory, for tests. It keeps nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::Utc;
use sereno_core::ports::storage::{
    Download, Listing, Object, ObjectKey, Part, Put, Storage, StorageError, Upload,
};
use sereno_core::value::Instant;

type Objects = BTreeMap<String, (Vec<u8>, Instant)>;

/// A storage that its clones share.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage(Arc<Mutex<Objects>>);

impl MemoryStorage {
    fn with<T>(&self, f: impl FnOnce(&mut Objects) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn object(key: &ObjectKey, bytes: u64, modified: Instant) -> Object {
    Object {
        key: key.clone(),
        bytes,
        modified,
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn list(&self, prefix: &str, cursor: Option<&str>, max: u32) -> Result<Listing, StorageError> {
        let after = cursor.unwrap_or_default().to_owned();
        let from = if prefix > after.as_str() {
            Bound::Included(prefix.to_owned())
        } else {
            Bound::Excluded(after)
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut objects: Vec<Object> = self.with(|objects| {
            objects
                .range((from, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(prefix))
                .take(max + 1)
                .filter_map(|(key, (content, at))| {
                    Some(object(&key.parse().ok()?, content.len() as u64, *at))
                })
                .collect()
        });
        let more = objects.len() > max;
        objects.truncate(max);
        let cursor = objects.last().filter(|_| more).map(|last| last.key.to_string());
        Ok(Listing { objects, cursor })
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        Ok(self.with(|objects| {
            let (content, at) = objects.get(key.as_str())?;
            Some(object(key, content.len() as u64, *at))
        }))
    }

    async fn get(&self, key: &ObjectKey, from: u64, max: u32) -> Result<Part, StorageError> {
        self.with(|objects| {
            let (content, _) = objects.get(key.as_str()).ok_or_else(|| StorageError::NotFound {
                what: key.to_string(),
            })?;
            let start = usize::try_from(from).unwrap_or(usize::MAX).min(content.len());
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            let end = start.saturating_add(max).min(content.len());
            Ok(Part {
                bytes: content[start..end].to_vec(),
                total: content.len() as u64,
            })
        })
    }

    async fn put(&self, key: &ObjectKey, content: Vec<u8>, put: Put) -> Result<Object, StorageError> {
        let now = Utc::now();
        self.with(|objects| {
            if put == Put::Create && objects.contains_key(key.as_str()) {
                return Err(StorageError::Exists { key: key.clone() });
            }
            let made = object(key, content.len() as u64, now);
            objects.insert(key.to_string(), (content, now));
            Ok(made)
        })
    }

    async fn preview_put(&self, key: &ObjectKey, bytes: u64, put: Put) -> Result<Object, StorageError> {
        if put == Put::Create && self.with(|objects| objects.contains_key(key.as_str())) {
            return Err(StorageError::Exists { key: key.clone() });
        }
        Ok(object(key, bytes, Utc::now()))
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        Ok(self.with(|objects| {
            let (content, at) = objects.remove(key.as_str())?;
            Some(object(key, content.len() as u64, at))
        }))
    }

    async fn preview_remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        self.head(key).await
    }

    async fn put_stream(&self, key: &ObjectKey, put: Put) -> Result<Box<dyn Upload>, StorageError> {
        self.preview_put(key, 0, put).await?;
        Ok(Box::new(Written {
            storage: self.clone(),
            key: key.clone(),
            content: Vec::new(),
            put,
        }))
    }

    async fn get_stream(&self, key: &ObjectKey) -> Result<Box<dyn Download>, StorageError> {
        let part = self.get(key, 0, u32::MAX).await?;
        Ok(Box::new(Read(Some(part.bytes))))
    }
}

struct Written {
    storage: MemoryStorage,
    key: ObjectKey,
    content: Vec<u8>,
    put: Put,
}

#[async_trait]
impl Upload for Written {
    async fn write(&mut self, piece: Vec<u8>) -> Result<(), StorageError> {
        self.content.extend(piece);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Object, StorageError> {
        self.storage.put(&self.key, self.content, self.put).await
    }
}

struct Read(Option<Vec<u8>>);

#[async_trait]
impl Download for Read {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.take().filter(|content| !content.is_empty()))
    }
}
