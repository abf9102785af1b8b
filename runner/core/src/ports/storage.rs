//! A place for whole objects: reports, archives, backups. Objects are made whole or not at all and never changed.
//!
//! An adapter publishes an object in one step, so that nobody ever reads half of one, and answers a write only when
//! it would outlast a power failure. Keys are [`ObjectKey`]s; what a key means on a disk or in a bucket is the
//! adapter's. **Dropping a future or an [`Upload`] publishes nothing**, unless its last step had begun.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::name::NameError;
use crate::value::Instant;

/// What S3 takes; file systems take more.
pub const KEY_BYTES_MAX: usize = 1_024;

/// One part of a key becomes a file's name, of which file systems take 255 bytes.
const PART_BYTES_MAX: usize = 255;

/// Parts that begin so are the adapter's own, for what is not whole yet.
pub const RESERVED: &str = ".sereno-";

const KEY_RULE: &str = "use up to 1,024 bytes of parts between single slashes, such as `archive/2026-11-24/1.jsonl.zst`; no \
                        part is `.` or `..`, begins with `.sereno-`, has more than 255 bytes or a control character";

/// The name of an object: parts between slashes, none of which can lead out of the storage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key without its last part; empty for one of a single part.
    pub fn folder(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= PART_BYTES_MAX
        && part != "."
        && part != ".."
        && !part.starts_with(RESERVED)
        && !part.chars().any(char::is_control)
}

impl TryFrom<String> for ObjectKey {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        if text.len() <= KEY_BYTES_MAX && text.split('/').all(is_part) {
            Ok(Self(text))
        } else {
            Err(NameError {
                what: "key of an object",
                text: text.escape_debug().to_string(),
                rule: KEY_RULE,
            })
        }
    }
}

impl FromStr for ObjectKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a storage did not do as asked. Texts are escaped for display and hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such object, or the storage itself is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// What.
        what: String,
    },
    /// There is an object of that key already, and none was to be replaced.
    #[error("{key} is there already")]
    Exists {
        /// Which.
        key: ObjectKey,
    },
    /// The arguments or the configuration make no sense.
    #[error("{0}")]
    Invalid(String),
    /// Nobody answers; trying again later may work.
    #[error("could not {operation}: {reason}")]
    Unreachable {
        /// What was attempted.
        operation: &'static str,
        /// The reason.
        reason: String,
    },
    /// It was refused, and would be again: no permission, no space, a link on the way.
    #[error("could not {operation} {key}: {reason}")]
    Refused {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        key: String,
        /// The reason.
        reason: String,
    },
}

/// An object, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub key: ObjectKey,
    /// Its size.
    pub bytes: u64,
    /// When it was published.
    pub modified: Instant,
}

/// A page of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// By key, in the order of their bytes.
    pub objects: Vec<Object>,
    /// Where to go on; none: all listed.
    pub cursor: Option<String>,
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From where it was asked for; shorter than asked only at the object's end.
    pub bytes: Vec<u8>,
    /// The size of the whole object.
    pub total: u64,
}

/// What may be in the way of a new object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Nothing: an object of that key is an error, and stays.
    Create,
    /// An object of that key is replaced, in one step.
    Replace,
}

/// An object that is being written piece by piece.
#[async_trait]
pub trait Upload: Send {
    /// Adds a piece.
    async fn write(&mut self, piece: Vec<u8>) -> Result<(), StorageError>;

    /// Publishes the object. Nobody saw any of it before.
    async fn finish(self: Box<Self>) -> Result<Object, StorageError>;
}

/// An object that is being read piece by piece.
#[async_trait]
pub trait Download: Send {
    /// The next piece; none at the end. An object that ends before its size is an error.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StorageError>;
}

/// One configured storage. Implementations pass `storage::` of the integration tests.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Up to `max` objects (1 to 1,000) whose keys begin with `prefix`, which need not end at a slash.
    async fn list(&self, prefix: &str, cursor: Option<&str>, max: u32) -> Result<Listing, StorageError>;

    /// The object's size and age; none when it is not there.
    async fn head(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError>;

    /// Up to `max` bytes of an object from byte `from` on; none of them beyond its end.
    async fn get(&self, key: &ObjectKey, from: u64, max: u32) -> Result<Part, StorageError>;

    /// Publishes an object.
    async fn put(&self, key: &ObjectKey, content: Vec<u8>, put: Put) -> Result<Object, StorageError>;

    /// What [`Self::put`] of so many bytes would answer, without doing it.
    async fn preview_put(&self, key: &ObjectKey, bytes: u64, put: Put) -> Result<Object, StorageError>;

    /// Removes an object; what it was, or none when it is not there.
    async fn remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError>;

    /// What [`Self::remove`] would do, without doing it.
    async fn preview_remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError>;

    /// Begins an object of any size, for host-side users. With [`Put::Create`] a key that is taken is told here where
    /// that is known, and at [`Upload::finish`] at the latest.
    async fn put_stream(&self, key: &ObjectKey, put: Put) -> Result<Box<dyn Upload>, StorageError>;

    /// What hosts that died left of objects that they had begun in the folder `prefix`: bytes by folder. Nobody may be writing
    /// there. A storage that shows and keeps none of it answers nothing.
    async fn unfinished(&self, _prefix: &str) -> Result<BTreeMap<String, u64>, StorageError> {
        Ok(BTreeMap::new())
    }

    /// Removes what [`Self::unfinished`] tells.
    async fn remove_unfinished(&self, _prefix: &str) -> Result<BTreeMap<String, u64>, StorageError> {
        Ok(BTreeMap::new())
    }

    /// Reads an object of any size, for host-side users.
    async fn get_stream(&self, key: &ObjectKey) -> Result<Box<dyn Download>, StorageError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_its_storage() {
        for good in [
            "a",
            "a/b.c",
            "archive/2026-11-24/1.jsonl.zst",
            "año/x y",
            "..a",
            ".hidden",
        ] {
            assert_eq!(good.parse::<ObjectKey>().expect(good).as_str(), good);
        }
        let long_part = "x".repeat(256);
        let long = vec!["x".repeat(128); 8].join("/");
        assert_eq!(long.len(), 1_031);
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a\0",
            "a\nb",
            "a\u{85}b",
            ".sereno-x/a",
            "a/.sereno-1",
            &long_part,
            &long,
        ] {
            let error = bad.parse::<ObjectKey>().expect_err(bad);
            assert!(!error.to_string().contains(char::is_control), "{bad:?}");
        }
    }

    #[test]
    fn a_folder_is_what_stands_before_the_last_part() {
        let folder = |key: &str| key.parse::<ObjectKey>().expect("a key").folder().to_owned();
        assert_eq!([folder("a"), folder("a/b"), folder("a/b/c")], ["", "a", "a/b"]);
    }
}
