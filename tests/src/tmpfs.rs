//! A small file system of a test's own, and files of a size and an age to fill it with.
//!
//! It needs root, as these tests have.

use std::ffi::CString;
use std::fs::{self, File, FileTimes};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Gone with the value.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// One of so many MiB over the folder `at`.
    ///
    /// # Panics
    /// The test may not mount.
    pub fn over(at: &Path, mib: u64) -> Self {
        let size = CString::new(format!("size={mib}m")).expect("no zero byte");
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(&*size)).expect("these tests run as root");
        Self(at.to_owned())
    }

    /// Writes into the file `name` below it until there is no room left.
    ///
    /// # Panics
    /// It cannot be written for another reason.
    pub fn fill(&self, name: &str) {
        let mut file = File::create(self.0.join(name)).expect("a file");
        for length in [64 << 10, 4 << 10, 1] {
            let block = vec![b'.'; length];
            while match file.write_all(&block) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::StorageFull => false,
                Err(error) => panic!("{error}"),
            } {}
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// So many random bytes, which do not shrink.
///
/// # Panics
/// The system has none.
pub fn noise(bytes: u64) -> Vec<u8> {
    let mut noise = Vec::new();
    let urandom = File::open("/dev/urandom").expect("urandom");
    urandom.take(bytes).read_to_end(&mut noise).expect("noise");
    noise
}

/// Gives a file a last write that lies `by` back.
///
/// # Panics
/// There is no such file.
pub fn age(path: &Path, by: Duration) {
    let file = File::options().write(true).open(path).expect("a file");
    let time = FileTimes::new().set_modified(SystemTime::now() - by);
    file.set_times(time).expect("a time");
}

/// What is in a folder, in order.
///
/// # Panics
/// There is no such folder.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.into_string().expect("a name of text")
        })
        .collect();
    names.sort();
    names
}
