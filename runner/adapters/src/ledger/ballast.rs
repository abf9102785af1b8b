//! A file of real blocks beside the ledger, given up when the disk is full so that the emergency can be recorded.
//!
//! It knows nothing of what is recorded: the ledger releases it, tries once more, and has it made again when there
//! is room.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// Room for thousands of events and the write-ahead log's own growth.
pub(super) const BALLAST_BYTES: u64 = 8 << 20;

/// Made again only when this much stays free beside it, lest it fill the very disk that was just relieved.
const FREE_BYTES_MIN: u64 = BALLAST_BYTES;

/// The file, and whether it is there.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    missing: AtomicBool,
}

impl Ballast {
    /// The ballast of the ledger at `database`, which is made if there is room for it.
    pub(super) fn beside(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push(".ballast");
        let ballast = Self {
            path: PathBuf::from(path),
            missing: AtomicBool::new(true),
        };
        ballast.restore();
        ballast
    }

    /// Makes it again when it is missing and there is room.
    pub(super) fn restore(&self) {
        if self.missing.load(Ordering::Relaxed) {
            match self.make() {
                Ok(there) => self.missing.store(!there, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "could not make the ledger's ballast file"),
            }
        }
    }

    /// Frees its blocks; false when there were none to free.
    pub(super) fn release(&self) -> bool {
        let was_missing = self.missing.swap(true, Ordering::Relaxed);
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!("the ledger's disk is full: gave up the ballast file to go on recording");
                true
            }
            // Another process has given it up since this one last looked, so there may be room now.
            Err(error) => error.kind() == ErrorKind::NotFound && !was_missing,
        }
    }

    fn make(&self) -> io::Result<bool> {
        if fs::metadata(&self.path).is_ok_and(|found| found.len() == BALLAST_BYTES) {
            return Ok(true);
        }
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let disk = statvfs(folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < BALLAST_BYTES + FREE_BYTES_MIN {
            return Ok(false);
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)?;
        match fill(file) {
            Ok(()) => Ok(true),
            Err(error) => {
                fs::remove_file(&self.path)?;
                if error.kind() == ErrorKind::StorageFull {
                    Ok(false)
                } else {
                    Err(error)
                }
            }
        }
    }
}

fn fill(mut file: File) -> io::Result<()> {
    match fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = [0; 16 << 10];
            for _ in 0..BALLAST_BYTES / zeros.len() as u64 {
                file.write_all(&zeros)?;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
