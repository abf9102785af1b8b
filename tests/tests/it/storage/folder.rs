//! What only a folder can do wrong: links, leftovers, folders that are no objects, and a write that is not durable.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sereno_adapters::storage::local;
use sereno_core::ports::storage::{Put, Storage, StorageError};
use tempfile::TempDir;

use super::{key, keys, put};

async fn open(folder: &Path) -> Arc<dyn Storage> {
    local::open(folder.to_owned()).await.unwrap()
}

#[tokio::test]
async fn no_link_leads_out_of_the_folder() {
    let (outside, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), folder.path().join("way")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("file")).unwrap();
    symlink("/etc", folder.path().join("etc")).unwrap();
    let storage = open(folder.path()).await;
    put(&*storage, "own", b"own").await;
    for at in ["way/secret", "file", "etc/passwd"] {
        for error in [
            storage.get(&key(at), 0, 10).await.err(),
            storage.get_stream(&key(at)).await.err(),
        ] {
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains("link"), "{at}: {text}");
        }
    }
    for at in ["way/new", "way/secret", "file", "way"] {
        for put in [Put::Create, Put::Replace] {
            let text = storage
                .put(&key(at), b"x".to_vec(), put)
                .await
                .unwrap_err()
                .to_string();
            assert!(text.contains("link"), "{at}: {text}");
            assert!(storage.put_stream(&key(at), put).await.is_err(), "{at}");
        }
    }
    assert!(storage.remove(&key("way/secret")).await.is_err());
    assert_eq!(storage.remove(&key("file")).await.unwrap(), None);
    assert_eq!(keys(&*storage, "").await, ["own"]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "secret"
    );
}

#[tokio::test]
async fn the_folder_is_never_made() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("not-mounted");
    let error = local::open(missing.clone()).await.err();
    assert!(matches!(error, Some(StorageError::NotFound { .. })), "{error:?}");
    assert!(!missing.exists());
    fs::write(&missing, "").unwrap();
    assert!(local::open(missing).await.is_err(), "a file is no folder");
}

#[tokio::test]
async fn a_folder_of_objects_is_no_object_and_goes_with_its_last() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path()).await;
    put(&*storage, "a/b/c", b"x").await;
    put(&*storage, "a/d", b"x").await;
    assert!(matches!(
        storage.put(&key("a/b"), Vec::new(), Put::Replace).await,
        Err(StorageError::Refused { .. })
    ));
    assert!(matches!(
        storage.put(&key("a/d/e"), Vec::new(), Put::Create).await,
        Err(StorageError::Refused { .. })
    ));
    storage.remove(&key("a/b/c")).await.unwrap();
    assert!(!folder.path().join("a/b").exists());
    assert!(folder.path().join("a/d").exists());
    storage.remove(&key("a/d")).await.unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_nobodys_object_and_is_gone_a_day_later() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path()).await;
    put(&*storage, "a/x", b"x").await;
    let leave = |name: &str, age: Duration| {
        let path = folder.path().join("a").join(name);
        fs::write(&path, "half").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        path
    };
    let old = leave(".sereno-00000000000000aa", Duration::from_secs(2 * 86_400));
    let young = leave(".sereno-00000000000000bb", Duration::from_secs(60));
    assert_eq!(keys(&*storage, "").await, ["a/x"]);
    put(&*storage, "a/y", b"y").await;
    assert_eq!([old.exists(), young.exists()], [false, true]);
    assert_eq!(keys(&*storage, "").await, ["a/x", "a/y"]);
}

#[tokio::test]
async fn objects_are_their_owners_alone() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path()).await;
    put(&*storage, "a/x", b"x").await;
    let mode = |path: &str| {
        fs::metadata(folder.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!([mode("a"), mode("a/x")], [0o700, 0o600]);
}

/// What is published over and over is read whole by whoever reads it meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_half_of_an_object() {
    let folder = TempDir::new().unwrap();
    let storage = open(folder.path()).await;
    put(&*storage, "x", &vec![0; 100_000]).await;
    let writer = Arc::clone(&storage);
    let writing = tokio::spawn(async move {
        for round in 1..100_u8 {
            writer
                .put(&key("x"), vec![round; 100_000], Put::Replace)
                .await
                .unwrap();
        }
    });
    while !writing.is_finished() {
        let part = storage.get(&key("x"), 0, 200_000).await.unwrap();
        assert_eq!(part.bytes, vec![part.bytes[0]; 100_000]);
    }
    writing.await.unwrap();
}
