//! Objects as files below a folder: durable, whole, and never outside of it.
//!
//! - **Confined**: every key is opened by `openat2` from the folder's own descriptor, beneath it and through no link; where
//!   the kernel refuses that call, nothing is opened.
//! - **Whole**: an object is written under a name that no key can have, in the folder where it will be, and takes its own
//!   name in one step. What a crash left behind under such a name is removed by the next object of that folder, a day later.
//! - **Durable**: the file is synced before it takes its name, its folder after; folders that were made on the way too.
//!
//! The folder itself is never made: where a volume is not mounted, a backup must not land on the disk below.

mod leftovers;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Statx, StatxFlags, fsync, linkat,
    mkdirat, open as open_path, openat, openat2, renameat, renameat_with, statx, unlinkat,
};
use rustix::io::Errno;
use sereno_core::ports::storage::{
    Download, Listing, Object, ObjectKey, Part, Put, RESERVED, Storage, StorageError, Upload,
};
use sereno_core::value::Instant;

/// Archives and backups hold what the database holds: they are their owner's alone.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// As above.
const FOLDER_MODE: Mode = Mode::RWXU;

/// Read at a time: few calls for a large object, and no weight beside a plugin's own memory.
const PIECE_BYTES: usize = 1 << 20;

/// How long an unfinished object may be at work: no upload takes a day.
const LEFTOVER_SECONDS: i64 = 86_400;

/// How often a folder that was removed under a new object is made again.
const FOLDER_TRIES: u32 = 5;

/// Opens the folder at `path`, which is there.
///
/// # Errors
/// It is not there, is no folder, or may not be used.
pub async fn open(path: PathBuf) -> Result<Arc<dyn Storage>, StorageError> {
    blocking(move || {
        let shown = path.display().to_string();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open_path(&path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => StorageError::NotFound {
                what: format!("the folder {shown}"),
            },
            error => refused("open", &shown, error),
        })?;
        let folder = Folder(Arc::new(root));
        match folder.open(".", OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(_) => Ok(Arc::new(LocalStorage(folder)) as Arc<dyn Storage>),
            Err(Errno::NOSYS | Errno::PERM) => Err(StorageError::Invalid(
                "this system does not offer openat2 (it needs Linux 5.6, and a seccomp profile that allows the call), and \
                 without it links could lead an object elsewhere"
                    .to_owned(),
            )),
            Err(error) => Err(refused("open", &shown, error)),
        }
    })
    .await
}

struct LocalStorage(Folder);

/// The folder, held since it was opened.
#[derive(Clone)]
struct Folder(Arc<OwnedFd>);

fn refused(operation: &'static str, key: &str, error: Errno) -> StorageError {
    let reason = match error {
        Errno::LOOP => "there is a link on the way".to_owned(),
        Errno::NOTDIR => "a part of it is an object, which holds no others".to_owned(),
        Errno::ISDIR => "it is a folder of other objects".to_owned(),
        error => io::Error::from(error).to_string(),
    };
    StorageError::Refused {
        operation,
        key: key.to_owned(),
        reason,
    }
}

fn failed(operation: &'static str, key: &str, error: &io::Error) -> StorageError {
    match Errno::from_io_error(error) {
        Some(errno) => refused(operation, key, errno),
        None => StorageError::Refused {
            operation,
            key: key.to_owned(),
            reason: error.to_string(),
        },
    }
}

/// Network file systems may let their caller wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StorageError::Unreachable {
                operation: "use the folder",
                reason: "the program is ending".to_owned(),
            }),
        },
    }
}

fn stat(dir: &OwnedFd, name: &str) -> Result<Statx, Errno> {
    let fields = StatxFlags::TYPE | StatxFlags::SIZE | StatxFlags::MTIME;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    statx(dir, name, flags, fields)
}

fn kind(found: &Statx) -> FileType {
    FileType::from_raw_mode(u32::from(found.stx_mode))
}

fn object(key: &ObjectKey, found: &Statx) -> Object {
    let stamp = found.stx_mtime;
    Object {
        key: key.clone(),
        bytes: found.stx_size,
        modified: DateTime::from_timestamp(stamp.tv_sec, stamp.tv_nsec).unwrap_or_default(),
    }
}

fn last(key: &ObjectKey) -> &str {
    key.as_str().rsplit('/').next().unwrap_or_default()
}

impl Folder {
    /// Opens `path` below the folder and nowhere else.
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        openat2(
            &*self.0,
            path,
            flags | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    }

    /// The folder that holds an object; none when there is none.
    fn holder(&self, key: &ObjectKey) -> Result<Option<OwnedFd>, Errno> {
        match self.open(key.folder(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, made where it is missing.
    fn made_holder(&self, key: &ObjectKey) -> Result<OwnedFd, Errno> {
        if let Some(folder) = self.holder(key)? {
            return Ok(folder);
        }
        let mut above = self.open("", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut path = String::new();
        for part in key.folder().split('/') {
            match mkdirat(&above, part, FOLDER_MODE) {
                Ok(()) => fsync(&above)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            path = if path.is_empty() {
                part.to_owned()
            } else {
                format!("{path}/{part}")
            };
            above = self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        }
        Ok(above)
    }

    fn head(&self, key: &ObjectKey) -> Result<Option<Object>, Errno> {
        let holder = match self.holder(key) {
            Ok(Some(holder)) => holder,
            Ok(None) | Err(Errno::NOTDIR) => return Ok(None),
            Err(error) => return Err(error),
        };
        match stat(&holder, last(key)) {
            Ok(found) if kind(&found) == FileType::RegularFile => Ok(Some(object(key, &found))),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, key: &ObjectKey) -> Result<(File, u64), StorageError> {
        let missing = || StorageError::NotFound {
            what: key.to_string(),
        };
        let fd = self
            .open(key.as_str(), OFlags::RDONLY)
            .map_err(|error| match error {
                Errno::NOENT | Errno::NOTDIR => missing(),
                error => refused("read", key.as_str(), error),
            })?;
        let found = stat(&fd, "").map_err(|error| refused("read", key.as_str(), error))?;
        if kind(&found) != FileType::RegularFile {
            return Err(missing());
        }
        Ok((File::from(fd), found.stx_size))
    }

    /// Begins an object that has no name of its own yet.
    fn begin(&self, key: &ObjectKey, put: Put) -> Result<Unfinished, StorageError> {
        let fault = |error| refused("write", key.as_str(), error);
        self.may_be_put(key, put)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let holder = self.made_holder(key).map_err(fault)?;
            let token = getrandom::u64()
                .map_err(|error| failed("write", key.as_str(), &io::Error::other(error.to_string())))?;
            let name = format!("{RESERVED}{token:016x}");
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&holder, &name, flags, FILE_MODE) {
                Ok(fd) => {
                    remove_leftovers(&holder);
                    return Ok(Unfinished {
                        file: File::from(fd),
                        holder,
                        name,
                        key: key.clone(),
                        put,
                    });
                }
                // The last object of the folder was removed, and the folder with it.
                Err(Errno::NOENT) if tries < FOLDER_TRIES => {}
                Err(error) => return Err(fault(error)),
            }
        }
    }

    fn may_be_put(&self, key: &ObjectKey, put: Put) -> Result<(), StorageError> {
        let fault = |error| refused("write", key.as_str(), error);
        let Some(holder) = self.holder(key).map_err(fault)? else {
            return Ok(());
        };
        match stat(&holder, last(key)) {
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(fault(error)),
            Ok(found) => match (kind(&found), put) {
                (FileType::RegularFile, Put::Replace) => Ok(()),
                (FileType::RegularFile, Put::Create) => Err(StorageError::Exists { key: key.clone() }),
                (FileType::Directory, _) => Err(fault(Errno::ISDIR)),
                (FileType::Symlink, _) => Err(fault(Errno::LOOP)),
                _ => Err(failed(
                    "write",
                    key.as_str(),
                    &io::Error::other("something else has that name"),
                )),
            },
        }
    }

    fn remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        let fault = |error| refused("remove", key.as_str(), error);
        let Some(found) = self.head(key).map_err(fault)? else {
            return Ok(None);
        };
        let Some(holder) = self.holder(key).map_err(fault)? else {
            return Ok(None);
        };
        match unlinkat(&holder, last(key), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(fault(error)),
        }
        fsync(&holder).map_err(fault)?;
        drop(holder);
        // Folders are nothing of their own here: the last object takes them along.
        let mut path = key.folder();
        while !path.is_empty() {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Ok(above_it) = self.open(above, OFlags::RDONLY | OFlags::DIRECTORY) else {
                break;
            };
            if unlinkat(&above_it, name, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            path = above;
        }
        Ok(Some(found))
    }

    /// Every object from `after` on, in the order of keys, until `objects` holds more than `max`.
    fn list(
        &self,
        folder: &str,
        prefix: &str,
        after: Option<&str>,
        max: usize,
        objects: &mut Vec<Object>,
    ) -> Result<(), Errno> {
        let fd = match self.open(folder, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            // Gone meanwhile, or never there.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name == "." || name == ".." || name.starts_with(RESERVED) {
                continue;
            }
            let is_folder = match entry.file_type() {
                FileType::Directory => true,
                FileType::RegularFile => false,
                FileType::Unknown => match stat(&fd, name) {
                    Ok(found) => kind(&found) == FileType::Directory,
                    Err(_) => continue,
                },
                _ => continue,
            };
            let path = match (folder, is_folder) {
                ("", false) => name.to_owned(),
                ("", true) => format!("{name}/"),
                (folder, false) => format!("{folder}/{name}"),
                (folder, true) => format!("{folder}/{name}/"),
            };
            // A folder is of interest when keys in it may begin with the prefix and come after the cursor.
            let fits = if is_folder {
                let within = path.starts_with(prefix) || prefix.starts_with(&path);
                within && after.is_none_or(|after| path.as_str() > after || after.starts_with(&path))
            } else {
                path.starts_with(prefix) && after.is_none_or(|after| path.as_str() > after)
            };
            if fits {
                names.push((path, is_folder));
            }
        }
        names.sort_unstable();
        for (path, is_folder) in names {
            if objects.len() > max {
                break;
            }
            if is_folder {
                self.list(path.trim_end_matches('/'), prefix, after, max, objects)?;
            } else if let Ok(key) = path.parse::<ObjectKey>()
                && let Ok(found) = stat(&fd, last(&key))
                && kind(&found) == FileType::RegularFile
            {
                objects.push(object(&key, &found));
            }
        }
        Ok(())
    }
}

/// What crashes left behind in a folder. Whoever is at work there has names that are younger.
fn remove_leftovers(holder: &OwnedFd) {
    let Ok(entries) = Dir::read_from(holder) else {
        return;
    };
    let before = Utc::now().timestamp() - LEFTOVER_SECONDS;
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with(RESERVED) && stat(holder, name).is_ok_and(|found| found.stx_mtime.tv_sec < before)
        {
            let _ = unlinkat(holder, name, AtFlags::empty());
        }
    }
}

/// An object under a name that no key can have. Dropped, it is removed.
struct Unfinished {
    file: File,
    holder: OwnedFd,
    name: String,
    key: ObjectKey,
    put: Put,
}

impl Unfinished {
    fn write(&mut self, piece: &[u8]) -> Result<(), StorageError> {
        self.file
            .write_all(piece)
            .map_err(|error| failed("write", self.key.as_str(), &error))
    }

    fn publish(self) -> Result<Object, StorageError> {
        let key = self.key.clone();
        let fault = |error| match error {
            Errno::EXIST => StorageError::Exists { key: key.clone() },
            error => refused("write", key.as_str(), error),
        };
        self.file
            .sync_all()
            .map_err(|error| failed("write", key.as_str(), &error))?;
        let (from, to) = (self.name.as_str(), last(&key));
        match self.put {
            Put::Replace => renameat(&self.holder, from, &self.holder, to),
            Put::Create => {
                match renameat_with(&self.holder, from, &self.holder, to, RenameFlags::NOREPLACE) {
                    // NFS, for one: a second name is as good, and never taken either; the first goes when this is dropped.
                    Err(Errno::INVAL | Errno::NOSYS) => {
                        linkat(&self.holder, from, &self.holder, to, AtFlags::empty())
                    }
                    done => done,
                }
            }
        }
        .map_err(&fault)?;
        fsync(&self.holder).map_err(&fault)?;
        let found = stat(&self.holder, to).map_err(&fault)?;
        Ok(object(&key, &found))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it took its own name, there is nothing under this one.
        let _ = unlinkat(&self.holder, self.name.as_str(), AtFlags::empty());
    }
}

#[async_trait]
impl Storage for LocalStorage {
    async fn list(&self, prefix: &str, cursor: Option<&str>, max: u32) -> Result<Listing, StorageError> {
        let (folder, prefix, cursor) = (self.0.clone(), prefix.to_owned(), cursor.map(str::to_owned));
        blocking(move || {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            let mut objects = Vec::new();
            folder
                .list("", &prefix, cursor.as_deref(), max, &mut objects)
                .map_err(|error| refused("list", &prefix, error))?;
            let more = objects.len() > max;
            objects.truncate(max);
            let cursor = objects.last().filter(|_| more).map(|last| last.key.to_string());
            Ok(Listing { objects, cursor })
        })
        .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        let (folder, key) = (self.0.clone(), key.clone());
        blocking(move || {
            folder
                .head(&key)
                .map_err(|error| refused("look at", key.as_str(), error))
        })
        .await
    }

    async fn get(&self, key: &ObjectKey, from: u64, max: u32) -> Result<Part, StorageError> {
        let (folder, key) = (self.0.clone(), key.clone());
        blocking(move || {
            let (mut file, total) = folder.read(&key)?;
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(from.min(total)))
                .and_then(|_| file.take(max.into()).read_to_end(&mut bytes))
                .map_err(|error| failed("read", key.as_str(), &error))?;
            Ok(Part { bytes, total })
        })
        .await
    }

    async fn put(&self, key: &ObjectKey, content: Vec<u8>, put: Put) -> Result<Object, StorageError> {
        let (folder, key) = (self.0.clone(), key.clone());
        blocking(move || {
            let mut unfinished = folder.begin(&key, put)?;
            unfinished.write(&content)?;
            unfinished.publish()
        })
        .await
    }

    async fn preview_put(&self, key: &ObjectKey, bytes: u64, put: Put) -> Result<Object, StorageError> {
        let (folder, key) = (self.0.clone(), key.clone());
        blocking(move || {
            folder.may_be_put(&key, put)?;
            let modified: Instant = Utc::now();
            Ok(Object { key, bytes, modified })
        })
        .await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        let (folder, key) = (self.0.clone(), key.clone());
        blocking(move || folder.remove(&key)).await
    }

    async fn preview_remove(&self, key: &ObjectKey) -> Result<Option<Object>, StorageError> {
        self.head(key).await
    }

    async fn put_stream(&self, key: &ObjectKey, put: Put) -> Result<Box<dyn Upload>, StorageError> {
        let (folder, key) = (self.0.clone(), key.clone());
        let unfinished = blocking(move || folder.begin(&key, put)).await?;
        Ok(Box::new(LocalUpload(Some(unfinished))))
    }

    async fn unfinished(&self, prefix: &str) -> Result<BTreeMap<String, u64>, StorageError> {
        let (folder, prefix) = (self.0.clone(), prefix.to_owned());
        blocking(move || {
            leftovers::of(&folder, &prefix, false).map_err(|error| refused("list", &prefix, error))
        })
        .await
    }

    async fn remove_unfinished(&self, prefix: &str) -> Result<BTreeMap<String, u64>, StorageError> {
        let (folder, prefix) = (self.0.clone(), prefix.to_owned());
        blocking(move || {
            leftovers::of(&folder, &prefix, true).map_err(|error| refused("remove", &prefix, error))
        })
        .await
    }

    async fn get_stream(&self, key: &ObjectKey) -> Result<Box<dyn Download>, StorageError> {
        let (folder, key) = (self.0.clone(), key.clone());
        blocking(move || {
            let (file, left) = folder.read(&key)?;
            Ok(Box::new(LocalDownload {
                file: Some(file),
                left,
                key,
            }) as Box<dyn Download>)
        })
        .await
    }
}

/// None while a piece is on its way, and after one failed.
struct LocalUpload(Option<Unfinished>);

fn given_up() -> StorageError {
    StorageError::Invalid("this object was given up after a piece that could not be written".to_owned())
}

#[async_trait]
impl Upload for LocalUpload {
    async fn write(&mut self, piece: Vec<u8>) -> Result<(), StorageError> {
        let mut unfinished = self.0.take().ok_or_else(given_up)?;
        let written = blocking(move || unfinished.write(&piece).map(|()| unfinished)).await?;
        self.0 = Some(written);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Object, StorageError> {
        let unfinished = self.0.take().ok_or_else(given_up)?;
        blocking(move || unfinished.publish()).await
    }
}

struct LocalDownload {
    file: Option<File>,
    left: u64,
    key: ObjectKey,
}

#[async_trait]
impl Download for LocalDownload {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(mut file) = self.file.take().filter(|_| self.left > 0) else {
            return Ok(None);
        };
        let size = usize::try_from(self.left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let key = self.key.clone();
        let (file, piece) = blocking(move || {
            let mut piece = vec![0; size];
            file.read_exact(&mut piece)
                .map_err(|error| failed("read", key.as_str(), &error))?;
            Ok((file, piece))
        })
        .await?;
        self.left -= piece.len() as u64;
        self.file = Some(file);
        Ok(Some(piece))
    }
}
