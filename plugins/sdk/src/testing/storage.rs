//! A storage in memory: objects by their key.

use std::collections::BTreeMap;

use super::{FakeHost, names};
use crate::{Error, Instant, Listing, Object, ObjectPart, Storage};

/// One storage.
#[derive(Debug, Default)]
pub struct FakeStorage {
    objects: BTreeMap<String, (Vec<u8>, Instant)>,
    /// When what a plugin puts is published.
    pub now: Option<Instant>,
}

impl FakeStorage {
    /// Puts an object there.
    pub fn object(&mut self, key: &str, content: &[u8], modified: Instant) -> &mut Self {
        self.objects.insert(key.to_owned(), (content.to_vec(), modified));
        self
    }

    /// The keys that are there, in order.
    pub fn keys(&self) -> Vec<&str> {
        names(self.objects.keys())
    }

    /// What an object holds; none when it is not there.
    pub fn content(&self, key: &str) -> Option<&[u8]> {
        self.objects.get(key).map(|(content, _)| content.as_slice())
    }

    fn head(&self, key: &str) -> Option<Object> {
        let (content, modified) = self.objects.get(key)?;
        Some(Object {
            key: key.to_owned(),
            bytes: content.len() as u64,
            modified: *modified,
        })
    }
}

impl FakeHost {
    fn at_storage(&mut self, call: &'static str, verb: &str, name: &str) -> Result<&mut FakeStorage, Error> {
        self.enter(call, name)?;
        self.storages
            .get_mut(name)
            .ok_or_else(|| Error::Denied(format!("storage.{name} = [\"{verb}\"]")))
    }
}

impl Storage for FakeHost {
    fn list_objects(
        &mut self,
        storage: &str,
        prefix: &str,
        cursor: Option<&str>,
        max: u32,
    ) -> Result<Listing, Error> {
        let max = self.max(max);
        let storage = self.at_storage("list_objects", "read", storage)?;
        let found =
            |key: &&String| key.starts_with(prefix) && cursor.is_none_or(|cursor| key.as_str() > cursor);
        let keys: Vec<&String> = storage.objects.keys().filter(found).collect();
        let page: Vec<Object> = keys
            .iter()
            .take(max)
            .filter_map(|key| storage.head(key))
            .collect();
        let cursor = page
            .last()
            .filter(|_| keys.len() > max)
            .map(|last| last.key.clone());
        Ok(Listing {
            objects: page,
            cursor,
        })
    }

    fn object(&mut self, storage: &str, key: &str) -> Result<Option<Object>, Error> {
        Ok(self.at_storage("object", "read", storage)?.head(key))
    }

    fn read_object(&mut self, storage: &str, key: &str, from: u64, max: u32) -> Result<ObjectPart, Error> {
        let storage = self.at_storage("read_object", "read", storage)?;
        let content = storage
            .content(key)
            .ok_or_else(|| Error::NotFound(key.to_owned()))?;
        let start = usize::try_from(from).unwrap_or(usize::MAX).min(content.len());
        let max = usize::try_from(max.min(1 << 20)).unwrap_or(usize::MAX);
        let end = start.saturating_add(max).min(content.len());
        Ok(ObjectPart {
            bytes: content[start..end].to_vec(),
            total: content.len() as u64,
        })
    }

    fn put_object(&mut self, storage: &str, key: &str, content: &[u8]) -> Result<Object, Error> {
        let storage = self.at_storage("put_object", "write", storage)?;
        if storage.content(key).is_some() {
            return Err(Error::Invalid(format!("{key} is there already")));
        }
        let now = storage.now.unwrap_or(Instant::from_micros(0));
        storage.object(key, content, now);
        storage.head(key).ok_or_else(|| Error::NotFound(key.to_owned()))
    }

    fn remove_object(&mut self, storage: &str, key: &str) -> Result<bool, Error> {
        Ok(self
            .at_storage("remove_object", "remove", storage)?
            .objects
            .remove(key)
            .is_some())
    }
}
