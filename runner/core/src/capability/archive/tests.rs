//! What is kept, what counts, and what a storage that lies does to it.

use std::sync::{Mutex as Lock, PoisonError};

use chrono::{TimeZone as _, Utc};

use super::*;
use crate::ports::storage::{Download, Listing, Object, Part, Upload};

/// A storage in memory that can break.
#[derive(Default)]
struct Shelf {
    objects: Lock<BTreeMap<String, Vec<u8>>>,
    /// Flips a bit of whatever is read.
    lies: bool,
    /// Refuses keys that end so.
    refuses: Option<&'static str>,
}

impl Shelf {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> T {
        f(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn names(&self) -> Vec<String> {
        let short = |key: &String| key.rsplit('/').next().unwrap_or_default().to_owned();
        self.with(|objects| objects.keys().map(short).collect())
    }
}

fn unused<T>() -> Result<T, StorageError> {
    Err(StorageError::Invalid("an archive does not ask that".to_owned()))
}

struct Whole(Option<Vec<u8>>);

#[async_trait]
impl Download for Whole {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.take())
    }
}

#[async_trait]
impl Storage for Shelf {
    async fn list(&self, _prefix: &str, _cursor: Option<&str>, _max: u32) -> Result<Listing, StorageError> {
        unused()
    }

    async fn head(&self, _key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        unused()
    }

    async fn get(&self, _key: &ObjectKey, _from: u64, _max: u32) -> Result<Part, StorageError> {
        unused()
    }

    async fn put(&self, key: &ObjectKey, content: Vec<u8>, put: Put) -> Result<Object, StorageError> {
        let object = self.preview_put(key, content.len() as u64, put).await?;
        if self.refuses.is_some_and(|end| key.as_str().ends_with(end)) {
            return Err(StorageError::Refused {
                operation: "write",
                key: key.to_string(),
                reason: "no space left".to_owned(),
            });
        }
        self.with(|objects| objects.insert(key.to_string(), content));
        Ok(object)
    }

    async fn preview_put(&self, key: &ObjectKey, bytes: u64, _put: Put) -> Result<Object, StorageError> {
        if self.with(|objects| objects.contains_key(key.as_str())) {
            return Err(StorageError::Exists { key: key.clone() });
        }
        Ok(Object {
            key: key.clone(),
            bytes,
            modified: now(),
        })
    }

    async fn remove(&self, _key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        unused()
    }

    async fn preview_remove(&self, _key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        unused()
    }

    async fn put_stream(&self, _key: &ObjectKey, _put: Put) -> Result<Box<dyn Upload>, StorageError> {
        unused()
    }

    async fn get_stream(&self, key: &ObjectKey) -> Result<Box<dyn Download>, StorageError> {
        let mut content = self
            .with(|objects| objects.get(key.as_str()).cloned())
            .ok_or_else(|| StorageError::NotFound {
                what: key.to_string(),
            })?;
        if self.lies
            && let Some(byte) = content.get_mut(20)
        {
            *byte ^= 1;
        }
        Ok(Box::new(Whole(Some(content))))
    }
}

fn now() -> Instant {
    Utc.with_ymd_and_hms(2026, 11, 24, 2, 30, 0)
        .single()
        .expect("a time")
}

async fn keeper(shelf: &Arc<Shelf>) -> Keeper {
    let about = About {
        database: &"app".parse().expect("a name"),
        table: &"audit.logs/2".parse().expect("a name"),
        on: "database.app.tables.\"audit.logs/2\"",
        run: &"73vxrj5mdw".parse().expect("an id"),
        attempt: 1,
        which: "at before 2026-08-26".to_owned(),
        now: now(),
    };
    let storage = Arc::clone(shelf) as Arc<dyn Storage>;
    Keeper::new(storage, "/old/", about).await.expect("a keeper")
}

fn rows(ids: std::ops::RangeInclusive<u32>) -> Vec<String> {
    ids.map(|id| format!("{{\"id\":{id},\"text\":\"some text\"}}"))
        .collect()
}

#[tokio::test]
async fn an_object_counts_once_its_rows_are_gone() {
    let shelf = Arc::new(Shelf::default());
    let keeper = keeper(&shelf).await;
    keeper.keep(1, &rows(1..=3)).await.expect("kept");
    assert_eq!(
        shelf.names(),
        ["1-000001-0.jsonl.gz"],
        "not yet: they may still be there"
    );
    keeper.confirm().await.expect("a manifest");
    keeper.confirm().await.expect("nothing left to say");
    assert_eq!(shelf.names(), ["1-000001-0.json", "1-000001-0.jsonl.gz"]);
    let objects = shelf.with(|objects| objects.clone());
    let home = "old/app/audit.logs%2F2/20261124T023000Z-73vxrj5mdw/";
    assert!(objects.keys().all(|key| key.starts_with(home)), "{objects:?}");
    let object = &objects[&format!("{home}1-000001-0.jsonl.gz")];
    let text = unzipped(object, 1 << 20).expect("gzip");
    assert_eq!(
        String::from_utf8(text).expect("text"),
        rows(1..=3).join("\n") + "\n"
    );
    let manifest: serde_json::Value =
        serde_json::from_slice(&objects[&format!("{home}1-000001-0.json")]).expect("JSON");
    assert_eq!(manifest["rows"], 3);
    assert_eq!(manifest["sha256"], digest(object));
    assert_eq!(manifest["which"], "at before 2026-08-26");
}

#[tokio::test]
async fn the_same_batch_again_means_that_its_rows_stayed_and_the_next_that_they_went() {
    let shelf = Arc::new(Shelf::default());
    let keeper = keeper(&shelf).await;
    keeper.keep(1, &rows(1..=3)).await.expect("kept");
    keeper
        .keep(1, &rows(1..=2))
        .await
        .expect("kept, after a deadlock");
    keeper.keep(2, &rows(3..=3)).await.expect("kept");
    assert_eq!(
        shelf.names(),
        [
            "1-000001-0.jsonl.gz",
            "1-000001-0.void",
            "1-000001-1.json",
            "1-000001-1.jsonl.gz",
            "1-000002-2.jsonl.gz"
        ]
    );
}

#[tokio::test]
async fn what_is_read_back_wrong_or_cannot_be_put_is_not_kept() {
    let lying = Arc::new(Shelf {
        lies: true,
        ..Shelf::default()
    });
    let error = keeper(&lying)
        .await
        .keep(1, &rows(1..=3))
        .await
        .expect_err("a flipped bit");
    assert!(error.to_string().contains("read back"), "{error}");
    assert_eq!(lying.names(), ["1-000001-0.jsonl.gz", "1-000001-0.void"]);

    let full = Arc::new(Shelf {
        refuses: Some(ROWS_END),
        ..Shelf::default()
    });
    let error = keeper(&full)
        .await
        .keep(1, &rows(1..=3))
        .await
        .expect_err("no space");
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(!full.names().iter().any(|name| name.ends_with(MANIFEST_END)));
}

#[tokio::test]
async fn rows_stay_while_the_batch_before_cannot_be_marked() {
    let shelf = Arc::new(Shelf {
        refuses: Some(MANIFEST_END),
        ..Shelf::default()
    });
    let keeper = keeper(&shelf).await;
    keeper.keep(1, &rows(1..=3)).await.expect("kept");
    keeper.confirm().await.expect_err("no manifest");
    keeper
        .keep(2, &rows(4..=5))
        .await
        .expect_err("nor the next batch");
    assert_eq!(shelf.names(), ["1-000001-0.jsonl.gz"]);
}

#[test]
fn names_tell_the_run_the_attempt_and_the_batch() {
    let named = of_stem("old/app/t/20261124T023000Z-73vxrj5mdw/2-000007-1").expect("a stem");
    assert_eq!((named.run, named.attempt, named.batch), ("73vxrj5mdw", 2, 7));
    for foreign in [
        "x",
        "old/app/t/notes",
        "old/app/t/20261124T023000Z-73vxrj5mdw/notes",
        "a/b-c/1-x-0",
    ] {
        assert!(of_stem(foreign).is_none(), "{foreign}");
    }
}
