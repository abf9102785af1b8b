//! What the port of storages asks, of every adapter: a folder, memory, and a bucket on a real server.
//!
//! What only a folder can do wrong is in `folder`.

mod folder;

use std::sync::Arc;

use sereno_adapters::secrets::Secret;
use sereno_adapters::storage::memory::MemoryStorage;
use sereno_adapters::storage::{S3Options, local, open_s3};
use sereno_core::plan::PlannedStorage;
use sereno_core::ports::storage::{Object, ObjectKey, Part, Put, Storage, StorageError};
use sereno_tests::moto;
use tempfile::TempDir;

/// A storage of its own for each case; the folder is gone with it.
struct World {
    storage: Arc<dyn Storage>,
    _folder: Option<TempDir>,
}

async fn memory(_case: &str) -> World {
    World {
        storage: Arc::new(MemoryStorage::default()),
        _folder: None,
    }
}

async fn folder(_case: &str) -> World {
    let folder = TempDir::new().unwrap();
    World {
        storage: local::open(folder.path().to_owned()).await.unwrap(),
        _folder: Some(folder),
    }
}

/// A part of a bucket, on moto.
async fn bucket(case: &str) -> World {
    let moto = moto::shared().unwrap();
    let bucket = case.replace('_', "-");
    moto.make_bucket(&bucket).unwrap();
    World {
        storage: in_bucket(&format!("s3://{bucket}/some prefix/deep")).unwrap(),
        _folder: None,
    }
}

fn in_bucket(url: &str) -> Result<Arc<dyn Storage>, StorageError> {
    let endpoint = moto::shared().unwrap().endpoint();
    let secret = |text: &str| Secret::from(text.to_owned());
    open_s3(&S3Options {
        url: secret(url),
        region: Some(secret("us-east-1")),
        endpoint: Some(secret(&endpoint)),
        access_key_id: Some(secret("test")),
        secret_access_key: Some(secret("test")),
    })
}

/// The same on top of a plan: what it pretends must read as if it were so.
async fn planned(_case: &str) -> World {
    World {
        storage: Arc::new(PlannedStorage::new(Arc::new(MemoryStorage::default()))),
        _folder: None,
    }
}

macro_rules! conformance {
    ($($case:ident on $($world:ident)*;)*) => {
        $(mod $case {
            $(#[tokio::test]
            async fn $world() {
                let world = super::$world(concat!("case-", stringify!($case))).await;
                super::cases::$case(&*world.storage).await;
            })*
        })*
    };
}

conformance! {
    an_object_is_read_back_as_it_was_put on memory folder bucket planned;
    a_part_ends_at_the_objects_end on memory folder bucket planned;
    a_key_that_is_taken_is_an_error_and_its_object_stays on memory folder bucket planned;
    a_replacement_is_whole on memory folder bucket planned;
    what_is_not_there_is_none on memory folder bucket planned;
    pages_are_in_order_and_nothing_comes_twice on memory folder bucket planned;
    a_prefix_need_not_end_at_a_slash on memory folder bucket planned;
    previews_answer_and_change_nothing on memory folder bucket planned;
    a_stream_is_read_back_as_it_was_written on memory folder bucket;
    a_stream_that_is_dropped_publishes_nothing on memory folder bucket;
    of_two_streams_that_create_the_second_fails on memory folder bucket;
    keys_of_all_scripts_and_marks_are_kept on memory folder bucket planned;
    of_many_writers_of_one_key_one_creates_it on memory folder bucket;
}

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

async fn put(storage: &dyn Storage, at: &str, content: &[u8]) -> Object {
    storage
        .put(&key(at), content.to_vec(), Put::Create)
        .await
        .unwrap()
}

async fn whole(storage: &dyn Storage, at: &str) -> Vec<u8> {
    let mut pieces = storage.get_stream(&key(at)).await.unwrap();
    let mut content = Vec::new();
    while let Some(piece) = pieces.next().await.unwrap() {
        content.extend(piece);
    }
    content
}

async fn keys(storage: &dyn Storage, prefix: &str) -> Vec<String> {
    let page = storage.list(prefix, None, 1_000).await.unwrap();
    assert_eq!(page.cursor, None);
    page.objects.iter().map(|object| object.key.to_string()).collect()
}

/// Bytes that no compression and no mistake of an offset makes look right.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(bytes).collect()
}

mod cases {
    use super::*;

    pub(super) async fn an_object_is_read_back_as_it_was_put(storage: &dyn Storage) {
        let before = chrono::Utc::now() - chrono::TimeDelta::seconds(5);
        for (at, content) in [("a", noise(100_000)), ("b/c/d", noise(1)), ("empty", Vec::new())] {
            let made = put(storage, at, &content).await;
            assert_eq!((made.key.as_str(), made.bytes), (at, content.len() as u64));
            let found = storage.head(&key(at)).await.unwrap().unwrap();
            assert_eq!((found.key.as_str(), found.bytes), (at, content.len() as u64));
            assert!(found.modified > before, "{found:?}");
            assert_eq!(whole(storage, at).await, content);
        }
    }

    pub(super) async fn a_part_ends_at_the_objects_end(storage: &dyn Storage) {
        put(storage, "x", b"0123456789").await;
        put(storage, "empty", b"").await;
        for (at, from, max, found) in [
            ("x", 0, 4, "0123"),
            ("x", 4, 4, "4567"),
            ("x", 8, 4, "89"),
            ("x", 9, 1, "9"),
            ("x", 10, 4, ""),
            ("x", 1_000, 4, ""),
            ("x", 0, u32::MAX, "0123456789"),
            ("empty", 0, 4, ""),
        ] {
            let part = storage.get(&key(at), from, max).await.unwrap();
            let total = if at == "x" { 10 } else { 0 };
            let bytes = found.as_bytes().to_vec();
            assert_eq!(part, Part { bytes, total }, "{at} {from} {max}");
        }
    }

    pub(super) async fn a_key_that_is_taken_is_an_error_and_its_object_stays(storage: &dyn Storage) {
        put(storage, "x", b"first").await;
        let again = storage.put(&key("x"), b"second".to_vec(), Put::Create).await;
        assert!(matches!(again, Err(StorageError::Exists { key }) if key.as_str() == "x"));
        assert_eq!(whole(storage, "x").await, b"first");
    }

    pub(super) async fn a_replacement_is_whole(storage: &dyn Storage) {
        put(storage, "x", &noise(50_000)).await;
        storage
            .put(&key("x"), b"new".to_vec(), Put::Replace)
            .await
            .unwrap();
        assert_eq!(whole(storage, "x").await, b"new");
        assert_eq!(keys(storage, "").await, ["x"]);
    }

    pub(super) async fn what_is_not_there_is_none(storage: &dyn Storage) {
        put(storage, "a/b", b"x").await;
        for missing in ["a", "b", "a/b/c", "a/c"] {
            assert_eq!(storage.head(&key(missing)).await.unwrap(), None, "{missing}");
            assert_eq!(storage.remove(&key(missing)).await.unwrap(), None, "{missing}");
            let read = storage.get(&key(missing), 0, 1).await;
            assert!(
                matches!(read, Err(StorageError::NotFound { .. })),
                "{missing}: {read:?}"
            );
            let streamed = storage.get_stream(&key(missing)).await.err();
            assert!(
                matches!(streamed, Some(StorageError::NotFound { .. })),
                "{missing}"
            );
        }
        assert_eq!(keys(storage, "nothing/").await, [""; 0]);
        let removed = storage.remove(&key("a/b")).await.unwrap().unwrap();
        assert_eq!((removed.key.as_str(), removed.bytes), ("a/b", 1));
        assert_eq!(keys(storage, "").await, [""; 0]);
        put(storage, "a/b", b"anew").await;
    }

    pub(super) async fn pages_are_in_order_and_nothing_comes_twice(storage: &dyn Storage) {
        // `-` and `.` come before `/`, `0` after it: an order of folders is another than one of keys.
        let all = ["a-b", "a.b", "a/1", "a/2", "a/b/1", "a/b-1", "a0", "b", "c/d/e/f"];
        for at in all {
            put(storage, at, at.as_bytes()).await;
        }
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        assert_eq!(keys(storage, "").await, sorted);
        for max in 1..=10_usize {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let max = u32::try_from(max).unwrap();
                let page = storage.list("", cursor.as_deref(), max).await.unwrap();
                assert!(page.objects.len() <= max as usize);
                seen.extend(page.objects.iter().map(|object| object.key.to_string()));
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, sorted, "{max}");
        }
        // A cursor is a place, not a memory: what was removed meanwhile does not come again, what is behind it does.
        let page = storage.list("", None, 3).await.unwrap();
        storage.remove(&page.objects[2].key).await.unwrap();
        let rest = storage.list("", page.cursor.as_deref(), 1_000).await.unwrap();
        let rest: Vec<String> = rest.objects.iter().map(|object| object.key.to_string()).collect();
        assert_eq!(rest, sorted[3..]);
    }

    pub(super) async fn a_prefix_need_not_end_at_a_slash(storage: &dyn Storage) {
        for at in ["log", "logs/1", "logs/10", "logs/2/a", "logs-old/1", "m"] {
            put(storage, at, b"x").await;
        }
        for (prefix, found) in [
            ("log", &["log", "logs-old/1", "logs/1", "logs/10", "logs/2/a"][..]),
            ("logs", &["logs-old/1", "logs/1", "logs/10", "logs/2/a"]),
            ("logs/", &["logs/1", "logs/10", "logs/2/a"]),
            ("logs/1", &["logs/1", "logs/10"]),
            ("logs/2/a", &["logs/2/a"]),
            ("logs/2/ab", &[]),
            ("z", &[]),
        ] {
            assert_eq!(keys(storage, prefix).await, found, "{prefix}");
        }
    }

    pub(super) async fn previews_answer_and_change_nothing(storage: &dyn Storage) {
        put(storage, "x", b"12345").await;
        let taken = storage.preview_put(&key("x"), 3, Put::Create).await;
        assert!(matches!(taken, Err(StorageError::Exists { .. })));
        let would = storage.preview_put(&key("x"), 3, Put::Replace).await.unwrap();
        assert_eq!((would.key.as_str(), would.bytes), ("x", 3));
        let would = storage.preview_put(&key("y"), 7, Put::Create).await.unwrap();
        assert_eq!((would.key.as_str(), would.bytes), ("y", 7));
        let would = storage.preview_remove(&key("x")).await.unwrap().unwrap();
        assert_eq!((would.key.as_str(), would.bytes), ("x", 5));
        assert_eq!(storage.preview_remove(&key("y")).await.unwrap(), None);
        assert_eq!(keys(storage, "").await, ["x"]);
        assert_eq!(whole(storage, "x").await, b"12345");
    }

    pub(super) async fn a_stream_is_read_back_as_it_was_written(storage: &dyn Storage) {
        // More than two of a bucket's parts, in pieces that end at none of their ends.
        let content = noise(35 << 20);
        let mut upload = storage.put_stream(&key("big/one"), Put::Create).await.unwrap();
        for piece in content.chunks(700_001) {
            upload.write(piece.to_vec()).await.unwrap();
            assert_eq!(storage.head(&key("big/one")).await.unwrap(), None);
        }
        let made = upload.finish().await.unwrap();
        assert_eq!((made.key.as_str(), made.bytes), ("big/one", content.len() as u64));
        assert!(whole(storage, "big/one").await == content);
        let mut upload = storage.put_stream(&key("big/one"), Put::Replace).await.unwrap();
        upload.write(b"small".to_vec()).await.unwrap();
        upload.finish().await.unwrap();
        assert_eq!(whole(storage, "big/one").await, b"small");
        let upload = storage.put_stream(&key("none"), Put::Create).await.unwrap();
        assert_eq!(upload.finish().await.unwrap().bytes, 0);
        assert_eq!(whole(storage, "none").await, b"");
    }

    pub(super) async fn a_stream_that_is_dropped_publishes_nothing(storage: &dyn Storage) {
        put(storage, "old", b"old").await;
        for (at, put) in [("new", Put::Create), ("old", Put::Replace)] {
            let mut upload = storage.put_stream(&key(at), put).await.unwrap();
            upload.write(noise(20 << 20)).await.unwrap();
            drop(upload);
        }
        assert_eq!(keys(storage, "").await, ["old"]);
        assert_eq!(whole(storage, "old").await, b"old");
    }

    pub(super) async fn of_two_streams_that_create_the_second_fails(storage: &dyn Storage) {
        let mut first = storage.put_stream(&key("x"), Put::Create).await.unwrap();
        let mut second = storage.put_stream(&key("x"), Put::Create).await.unwrap();
        first.write(b"first".to_vec()).await.unwrap();
        second.write(b"second".to_vec()).await.unwrap();
        first.finish().await.unwrap();
        let late = second.finish().await;
        assert!(matches!(late, Err(StorageError::Exists { .. })), "{late:?}");
        assert_eq!(whole(storage, "x").await, b"first");
        let begun = storage.put_stream(&key("x"), Put::Create).await.err();
        assert!(matches!(begun, Some(StorageError::Exists { .. })));
    }

    pub(super) async fn keys_of_all_scripts_and_marks_are_kept(storage: &dyn Storage) {
        let mut all = [
            "año/día 1",
            "a+b",
            "a%20b",
            "a b",
            "a=b&c",
            "#1",
            "~x",
            "{y}",
            "日本/語",
            "q?x",
            "back\\slash",
        ];
        for at in all {
            put(storage, at, at.as_bytes()).await;
        }
        all.sort_unstable();
        assert_eq!(keys(storage, "").await, all);
        for at in all {
            assert_eq!(whole(storage, at).await, at.as_bytes(), "{at}");
            assert_eq!(
                storage.remove(&key(at)).await.unwrap().map(|object| object.bytes),
                Some(at.len() as u64)
            );
        }
        assert_eq!(keys(storage, "").await, [""; 0]);
    }

    pub(super) async fn of_many_writers_of_one_key_one_creates_it(storage: &dyn Storage) {
        let one = key("x/y");
        let writers = (0..8_u8).map(|writer| storage.put(&one, vec![writer; 10_000], Put::Create));
        let ended = futures::future::join_all(writers).await;
        let winners: Vec<usize> = ended
            .iter()
            .enumerate()
            .filter(|(_, ended)| ended.is_ok())
            .map(|(writer, _)| writer)
            .collect();
        assert_eq!(winners.len(), 1, "{ended:?}");
        assert_eq!(
            whole(storage, "x/y").await,
            vec![u8::try_from(winners[0]).unwrap(); 10_000]
        );
    }
}

/// What a bucket alone can do wrong.
#[tokio::test]
async fn a_bucket_that_is_not_there_is_told() {
    let storage = in_bucket("s3://no-such-bucket").unwrap();
    let listed = storage.list("", None, 1).await;
    assert!(matches!(listed, Err(StorageError::NotFound { .. })), "{listed:?}");
    let made = storage.put(&key("x"), Vec::new(), Put::Create).await;
    assert!(matches!(made, Err(StorageError::NotFound { .. })), "{made:?}");
}

#[test]
fn a_url_that_names_no_bucket_or_leads_out_of_its_prefix_is_told() {
    for url in ["s3://", "s3:///x", "http://x", "s3://b/../c", "s3://b/a//c"] {
        let opened = in_bucket(url).err();
        assert!(
            matches!(opened, Some(StorageError::Invalid(_))),
            "{url}: {opened:?}"
        );
    }
}
