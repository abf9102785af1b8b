//! A guest that asks a storage for what it must not give, and fills it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sereno_adapters::storage::memory::MemoryStorage;
use sereno_core::capability::WRITTEN_BYTES_MAX;
use sereno_core::grant::{Grants, Path, Verb};
use sereno_core::job::Limits;
use sereno_core::ports::plugins::GuestEnd;
use sereno_core::ports::storage::{Put, Storage};
use sereno_engine::PluginHost;

use super::stage::{Ended, Run, options, reports};

async fn beyond(how: &str, storage: &MemoryStorage) -> Ended {
    let grants = [Verb::Read, Verb::Write, Verb::Remove].into();
    let run = Run {
        grants: Grants(BTreeMap::from([(Path::Storage(reports()), grants)])),
        storage: Some(Arc::new(storage.clone())),
        limits: Limits {
            cpu: Duration::from_secs(20),
            ..Limits::default()
        },
        ..Run::of("beyond-storage").how(how)
    };
    let ended = run.go(&PluginHost::new(options())).await;
    assert_eq!(ended.end, GuestEnd::Done);
    ended
}

fn text<'a>(ended: &'a Ended, code: &str) -> &'a str {
    let mut found = ended.findings.iter().filter(|finding| finding.code == code);
    found.next().map_or("none", |finding| finding.text.as_str())
}

#[tokio::test]
async fn a_guest_reaches_its_storage_and_no_other_by_keys_that_stay_inside() {
    let storage = MemoryStorage::default();
    let taken = "taken".parse().unwrap();
    storage
        .put(&taken, b"theirs".to_vec(), Put::Create)
        .await
        .unwrap();
    let ended = beyond("keys", &storage).await;
    let by_key = ended.findings.iter().filter(|finding| {
        let call = &finding.code;
        !["into", "taken", "none", "all", "young"]
            .iter()
            .any(|word| call.ends_with(word) || call.contains(" into "))
            && !call.starts_with("list")
    });
    let by_key: Vec<&str> = by_key.map(|finding| finding.text.as_str()).collect();
    assert_eq!(by_key, ["invalid"; 24]);
    assert_eq!(
        text(&ended, "put into others"),
        "denied: storage.others = [\"write\"]"
    );
    assert_eq!(text(&ended, "list others"), "denied: storage.others = [\"read\"]");
    for no_name in [
        "put into ../reports",
        "list ../reports",
        "put into reports\\0",
        "list reports\\0",
    ] {
        assert_eq!(text(&ended, no_name), "invalid", "{no_name}");
    }
    assert_eq!(text(&ended, "put taken"), "invalid");
    assert_eq!(text(&ended, "list none"), "invalid");
    assert_eq!(
        [text(&ended, "list all"), text(&ended, "get all")],
        ["done", "done"]
    );
    // Younger than the retention floor.
    let refused = text(&ended, "remove young");
    assert!(
        refused.contains("Guard") && refused.contains("retention_floor"),
        "{refused}"
    );
    let page = storage.list("", None, 10).await.unwrap();
    let left: Vec<(&str, u64)> = page
        .objects
        .iter()
        .map(|object| (object.key.as_str(), object.bytes))
        .collect();
    assert_eq!(left, [("taken", 6)]);
}

#[tokio::test]
async fn a_guest_puts_so_many_bytes_and_no_more() {
    let storage = MemoryStorage::default();
    let ended = beyond("bytes", &storage).await;
    let objects = WRITTEN_BYTES_MAX / 900_000;
    assert_eq!(text(&ended, "objects"), objects.to_string());
    assert!(text(&ended, "end").contains("at most 64 MiB"), "{ended:?}");
    let page = storage.list("", None, 1_000).await.unwrap();
    assert_eq!(page.objects.len() as u64, objects);
}

#[tokio::test]
async fn a_guest_changes_so_many_objects_and_no_more() {
    let storage = MemoryStorage::default();
    let ended = beyond("objects", &storage).await;
    assert_eq!(text(&ended, "objects"), "10000");
    assert!(text(&ended, "end").contains("at most 10000 objects"), "{ended:?}");
}
