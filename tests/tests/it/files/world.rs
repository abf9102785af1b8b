//! The directories that the suite is held against, and what it sees of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use sereno_adapters::files::memory::{MemoryDirectory, MemoryFile};
use sereno_core::ports::files::{Allowance, Directory, Removal};
use sereno_core::value::{FileFilter, Instant, Stamp};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::super::files::at;

/// Everything that is old in these tests is older than this.
pub(super) fn cutoff() -> Instant {
    at("2021-06-01T00:00:00Z")
}

pub(super) fn old() -> Instant {
    at("2021-05-01T00:00:00Z")
}

pub(super) fn young() -> Instant {
    at("2021-06-10T00:00:00Z")
}

/// Later than any clock that runs these tests.
pub(super) fn far_future() -> Instant {
    at("2100-01-01T00:00:00Z")
}

pub(super) const PLENTY: Allowance = Allowance {
    files: u64::MAX,
    bytes: u64::MAX,
};

/// Everything old by its last write, at any depth.
pub(super) fn everything_old() -> FileFilter {
    FileFilter {
        older_than: Some(cutoff()),
        age_by: vec![Stamp::Mtime],
        recursive: true,
        ..FileFilter::default()
    }
}

pub(super) enum World {
    Memory(MemoryDirectory),
    Disk(TempDir),
}

/// What there is to know of a file from outside.
pub(super) type Identity = (u64, u64, u32, (i64, i64), Vec<u8>);

impl World {
    pub(super) fn memory() -> Self {
        Self::Memory(MemoryDirectory::new(at("2024-01-01T00:00:00Z")))
    }

    pub(super) fn disk() -> Self {
        Self::Disk(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(super) fn shared_memory() -> Self {
        Self::Disk(tempfile::tempdir_in("/dev/shm").expect("a directory on tmpfs"))
    }

    pub(super) fn open(&self) -> Arc<dyn Directory> {
        match self {
            Self::Memory(memory) => memory.open(),
            Self::Disk(root) => sereno_adapters::files::open(root.path()).expect("a fit directory"),
        }
    }

    /// A file last written at `mtime`, and otherwise new.
    pub(super) fn put(&self, path: &str, bytes: usize, mtime: Instant) {
        let contents = vec![b'x'; bytes];
        match self {
            Self::Memory(memory) => memory.put(
                path,
                MemoryFile {
                    mtime,
                    ..MemoryFile::of(&contents, at("2024-01-01T00:00:00Z"))
                },
            ),
            Self::Disk(root) => {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().expect("below the root")).expect("parents");
                fs::write(&path, contents).expect("a file");
                set_mtime(&path, mtime);
            }
        }
    }

    pub(super) fn put_all(&self, paths: &[&str], mtime: Instant) {
        for path in paths {
            self.put(path, 10, mtime);
        }
    }

    /// A directory last changed at `stamp`; call it after everything in it is there.
    pub(super) fn directory(&self, path: &str, stamp: Instant) {
        match self {
            Self::Memory(memory) => memory.make_directory(path, stamp),
            Self::Disk(root) => {
                let path = root.path().join(path);
                fs::create_dir_all(&path).expect("a directory");
                set_mtime(&path, stamp);
            }
        }
    }

    pub(super) fn files(&self) -> BTreeSet<String> {
        match self {
            Self::Memory(memory) => memory.files().into_keys().map(|path| text(&path)).collect(),
            Self::Disk(root) => walk(root.path())
                .into_iter()
                .filter(|(_, is_dir)| !is_dir)
                .map(|(path, _)| path)
                .collect(),
        }
    }

    pub(super) fn directories(&self) -> BTreeSet<String> {
        match self {
            Self::Memory(memory) => memory.directories().into_keys().map(|path| text(&path)).collect(),
            Self::Disk(root) => walk(root.path())
                .into_iter()
                .filter(|(_, is_dir)| *is_dir)
                .map(|(path, _)| path)
                .collect(),
        }
    }

    /// Inode, size, mode, mtime and contents of every file, and of every directory all but the contents.
    pub(super) fn identities(&self) -> BTreeMap<String, Identity> {
        match self {
            Self::Memory(memory) => memory
                .files()
                .into_iter()
                .map(|(path, file)| {
                    let stamp = (
                        file.mtime.timestamp(),
                        i64::from(file.mtime.timestamp_subsec_nanos()),
                    );
                    (text(&path), (0, file.bytes.len() as u64, 0, stamp, file.bytes))
                })
                .collect(),
            Self::Disk(root) => walk(root.path())
                .into_iter()
                .map(|(path, is_dir)| {
                    let full = root.path().join(&path);
                    let found = fs::symlink_metadata(&full).expect("it was listed");
                    let contents = if is_dir {
                        Vec::new()
                    } else {
                        fs::read(&full).expect("a file")
                    };
                    let stamp = (found.mtime(), found.mtime_nsec());
                    (
                        path,
                        (
                            found.ino(),
                            found.size(),
                            found.mode(),
                            stamp,
                            Sha256::digest(contents).to_vec(),
                        ),
                    )
                })
                .collect(),
        }
    }
}

pub(super) fn set_mtime(path: &Path, mtime: Instant) {
    let stamp = Timespec {
        tv_sec: mtime.timestamp(),
        tv_nsec: mtime.timestamp_subsec_nanos().into(),
    };
    let times = Timestamps {
        last_access: stamp,
        last_modification: stamp,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("stamps can be set");
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Every entry below `root`, and whether it is a directory; links are entries, not ways.
pub(super) fn walk(root: &Path) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(root.join(&below)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = below.join(entry.file_name());
            let is_dir = entry.file_type().expect("a type").is_dir();
            found.push((text(path.as_os_str().as_bytes()), is_dir));
            if is_dir {
                open.push(path);
            }
        }
    }
    found
}

/// How a removal is called in a loop.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Remove,
    Preview,
}

/// Runs a removal to its end, `max` entries a batch, and adds the batches up.
pub(super) async fn drive(
    directory: &Arc<dyn Directory>,
    call: Call,
    filter: &FileFilter,
    without: &[FileFilter],
    max: u32,
    allowance: Allowance,
) -> Removal {
    let mut sum = Removal::default();
    for _ in 0..100_000 {
        let left = Allowance {
            files: allowance.files - sum.files,
            bytes: allowance.bytes - sum.bytes,
        };
        let cursor = sum.cursor.as_deref();
        let batch = match call {
            Call::Remove => directory.remove_batch(filter, cursor, max, left).await,
            Call::Preview => {
                directory
                    .preview_remove_batch(filter, without, cursor, max, left)
                    .await
            }
        }
        .expect("a batch");
        assert!(
            batch.files <= u64::from(max),
            "a batch visits what it removes: {batch:?} of {max}"
        );
        assert_ne!(
            batch.cursor.is_some().then_some(&batch.cursor),
            Some(&sum.cursor),
            "a cursor moves"
        );
        sum = Removal {
            files: sum.files + batch.files,
            directories: sum.directories + batch.directories,
            bytes: sum.bytes + batch.bytes,
            skipped: sum.skipped + batch.skipped,
            ..batch
        };
        if sum.cursor.is_none() {
            return sum;
        }
    }
    panic!("the removal does not end: {sum:?}");
}

pub(super) fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}
