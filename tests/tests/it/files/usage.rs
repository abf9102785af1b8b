//! How full a disk is, as `df` says it.

use std::process::Command;

use super::linux::disk;

/// Blocks that only root may fill are neither used nor free.
#[tokio::test]
async fn a_disk_is_as_large_as_df_says() {
    let (world, path) = disk();
    let output = Command::new("df")
        .args(["--output=used,avail", "--block-size=1"])
        .arg(&path)
        .output()
        .expect("df");
    let text = String::from_utf8(output.stdout).expect("a table");
    let numbers = text
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok());
    let numbers: Vec<u64> = numbers.collect();
    let [used, free] = numbers[..] else {
        panic!("{text}");
    };
    // Both change while others write; their sum does not.
    let usage = world.open().usage().await.expect("usage");
    assert_eq!(usage.bytes_total, Some(used + free), "{text}");
}
