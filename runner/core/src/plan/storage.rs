//! A storage that only pretends to change.
//!
//! What was put is kept and read back, what was removed is gone for later reads. The capability bounds both, so a plan's
//! memory is bounded too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::ports::storage::{Download, Listing, Object, ObjectKey, Part, Put, Storage, StorageError, Upload};

/// The plan-mode decorator of a [`Storage`].
pub struct PlannedStorage {
    inner: Arc<dyn Storage>,
    planned: Mutex<BTreeMap<ObjectKey, Planned>>,
}

#[derive(Clone)]
enum Planned {
    Put(Object, Vec<u8>),
    Removed,
}

/// How many objects are asked of the storage at once when some of them may be planned away.
const LIST_AT_LEAST: u32 = 100;

impl PlannedStorage {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn Storage>) -> Self {
        Self {
            inner,
            planned: Mutex::default(),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<ObjectKey, Planned>) -> T) -> T {
        f(&mut self.planned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn planned(&self, key: &ObjectKey) -> Option<Planned> {
        self.with(|planned| planned.get(key).cloned())
    }
}

#[async_trait]
impl Storage for PlannedStorage {
    async fn list(&self, prefix: &str, cursor: Option<&str>, max: u32) -> Result<Listing, StorageError> {
        let mut merged = BTreeMap::<ObjectKey, Object>::new();
        let mut at = cursor.map(str::to_owned);
        let wanted = usize::try_from(max).unwrap_or(usize::MAX);
        loop {
            let page = self
                .inner
                .list(prefix, at.as_deref(), max.max(LIST_AT_LEAST))
                .await?;
            let gone =
                |key: &ObjectKey| self.with(|planned| matches!(planned.get(key), Some(Planned::Removed)));
            let left = page.objects.into_iter().filter(|object| !gone(&object.key));
            merged.extend(left.map(|object| (object.key.clone(), object)));
            at = page.cursor;
            if at.is_none() || merged.len() > wanted {
                break;
            }
        }
        // Beyond the last that was asked for, a planned one may stand behind others that were not seen yet.
        let seen_to = at.is_some().then(|| merged.keys().next_back().cloned()).flatten();
        self.with(|planned| {
            let put = planned.iter().filter_map(|(key, planned)| match planned {
                Planned::Put(object, _) => Some((key, object)),
                Planned::Removed => None,
            });
            for (key, object) in put {
                let is_after = cursor.is_none_or(|cursor| key.as_str() > cursor);
                if is_after
                    && key.as_str().starts_with(prefix)
                    && seen_to.as_ref().is_none_or(|last| key <= last)
                {
                    merged.insert(key.clone(), object.clone());
                }
            }
        });
        let more = at.is_some() || merged.len() > wanted;
        let objects: Vec<Object> = merged.into_values().take(wanted).collect();
        let cursor = objects
            .last()
            .filter(|_| more)
            .map(|object| object.key.to_string());
        Ok(Listing { objects, cursor })
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        match self.planned(key) {
            Some(Planned::Put(object, _)) => Ok(Some(object)),
            Some(Planned::Removed) => Ok(None),
            None => self.inner.head(key).await,
        }
    }

    async fn get(&self, key: &ObjectKey, from: u64, max: u32) -> Result<Part, StorageError> {
        match self.planned(key) {
            Some(Planned::Put(object, content)) => {
                let start = usize::try_from(from).unwrap_or(usize::MAX).min(content.len());
                let end = start
                    .saturating_add(usize::try_from(max).unwrap_or(usize::MAX))
                    .min(content.len());
                Ok(Part {
                    bytes: content[start..end].to_vec(),
                    total: object.bytes,
                })
            }
            Some(Planned::Removed) => Err(StorageError::NotFound {
                what: key.to_string(),
            }),
            None => self.inner.get(key, from, max).await,
        }
    }

    async fn put(&self, key: &ObjectKey, content: Vec<u8>, put: Put) -> Result<Object, StorageError> {
        let object = self.preview_put(key, content.len() as u64, put).await?;
        self.with(|planned| planned.insert(key.clone(), Planned::Put(object.clone(), content)));
        Ok(object)
    }

    async fn preview_put(&self, key: &ObjectKey, bytes: u64, put: Put) -> Result<Object, StorageError> {
        let put = match self.planned(key) {
            Some(Planned::Put(..)) if put == Put::Create => {
                return Err(StorageError::Exists { key: key.clone() });
            }
            Some(_) => Put::Replace,
            None => put,
        };
        self.inner.preview_put(key, bytes, put).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        let removed = self.preview_remove(key).await?;
        if removed.is_some() {
            self.with(|planned| planned.insert(key.clone(), Planned::Removed));
        }
        Ok(removed)
    }

    async fn preview_remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        match self.planned(key) {
            Some(Planned::Put(object, _)) => Ok(Some(object)),
            Some(Planned::Removed) => Ok(None),
            None => self.inner.preview_remove(key).await,
        }
    }

    /// Host-side verbs that stream have `preview_` twins of their own, which stream nothing.
    async fn put_stream(&self, _key: &ObjectKey, _put: Put) -> Result<Box<dyn Upload>, StorageError> {
        Err(StorageError::Invalid(
            "a plan writes no object of any size".to_owned(),
        ))
    }

    async fn get_stream(&self, key: &ObjectKey) -> Result<Box<dyn Download>, StorageError> {
        match self.planned(key) {
            None => self.inner.get_stream(key).await,
            Some(Planned::Removed) => Err(StorageError::NotFound {
                what: key.to_string(),
            }),
            Some(Planned::Put(_, content)) => Ok(Box::new(Whole(Some(content)))),
        }
    }
}

/// A planned object, read in one piece.
struct Whole(Option<Vec<u8>>);

#[async_trait]
impl Download for Whole {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.take())
    }
}
