//! Who has a file open for writing, as far as `/proc` tells.
//!
//! It sees the processes that this user may look into, in this process's own namespace; it decides nothing. A file that
//! is only mapped does not count.

use std::collections::HashSet;
use std::fs::{self, DirEntry, ReadDir};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The two bits of a file's flags that say whether it is open for reading, writing or both.
const ACCESS_MODE: u32 = 0o3;

fn entries(path: impl AsRef<Path>) -> impl Iterator<Item = DirEntry> {
    let listing: Option<ReadDir> = fs::read_dir(path).ok();
    listing.into_iter().flatten().filter_map(Result::ok)
}

/// The inodes on `device` that are open for writing.
pub(super) fn inodes(device: u64) -> HashSet<u64> {
    entries("/proc")
        .filter(|process| {
            process
                .file_name()
                .to_str()
                .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .flat_map(|process| {
            let info = process.path().join("fdinfo");
            entries(process.path().join("fd")).filter_map(move |fd| {
                let found = fs::metadata(fd.path()).ok()?;
                let is_meant = found.dev() == device && found.is_file();
                (is_meant && is_for_writing(&info.join(fd.file_name()))).then(|| found.ino())
            })
        })
        .collect()
}

fn is_for_writing(info: &Path) -> bool {
    let flags = fs::read_to_string(info).ok().and_then(|text| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
        u32::from_str_radix(flags.trim(), 8).ok()
    });
    // One that cannot be read any more was closed just now, or is not ours to look at: then it counts.
    flags.is_none_or(|flags| flags & ACCESS_MODE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_while_it_is_open_for_writing() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let found = file.as_file().metadata().expect("its inode");
        assert!(inodes(found.dev()).contains(&found.ino()));
        let path = file.into_temp_path();
        assert!(!inodes(found.dev()).contains(&found.ino()), "it is closed");
        let reader = fs::File::open(&path).expect("it is there");
        assert!(!inodes(found.dev()).contains(&found.ino()), "it is only read");
        drop(reader);
    }
}
