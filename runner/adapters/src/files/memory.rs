//! A directory in memory, for tests: the same walk over a map instead of a disk.
//!
//! It has no links, no modes and no mounts; everything in it may be removed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{CStr, CString};
use std::io::{self, Cursor, Write};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sereno_core::ports::files::{Directory, DiskUsage};
use sereno_core::value::Instant;

use super::directory::Swept;
use super::system::{Entered, Kind, Names, Rights, Stat, System};

/// Names listed at a time: few, so that removals meet the middle of a listing.
const NAMES_AT_A_TIME: usize = 7;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFile {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Last write.
    pub mtime: Instant,
    /// Last change of the inode.
    pub ctime: Instant,
    /// Birth, if the file system knows.
    pub btime: Option<Instant>,
}

impl MemoryFile {
    /// A file that was written once, and not touched since.
    pub fn of(bytes: &[u8], at: Instant) -> Self {
        Self {
            bytes: bytes.to_vec(),
            mtime: at,
            ctime: at,
            btime: Some(at),
        }
    }
}

#[derive(Debug)]
enum Item {
    File(MemoryFile),
    /// With its only stamp.
    Directory(Instant),
}

/// What there is, by its path below the directory.
#[derive(Debug)]
struct Disk {
    items: BTreeMap<Vec<u8>, Item>,
    usage: DiskUsage,
    now: Instant,
    /// How often a removal lets other threads go first before it answers.
    pause: u32,
}

/// A tree of files, shared by its clones.
#[derive(Debug, Clone)]
pub struct MemoryDirectory(Arc<Mutex<Disk>>);

impl MemoryDirectory {
    /// An empty one. Directories that change take `now` for their stamp.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            items: BTreeMap::new(),
            usage: DiskUsage::default(),
            now,
            pause: 0,
        })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file at a path, in place of one that is there, and makes the directories above it.
    pub fn put(&self, path: impl AsRef<[u8]>, file: MemoryFile) {
        let mut disk = self.disk();
        disk.make_parents(path.as_ref());
        disk.items.insert(path.as_ref().to_vec(), Item::File(file));
    }

    /// Makes a directory, or gives one another stamp.
    pub fn make_directory(&self, path: impl AsRef<[u8]>, stamp: Instant) {
        let mut disk = self.disk();
        disk.make_parents(path.as_ref());
        disk.items.insert(path.as_ref().to_vec(), Item::Directory(stamp));
    }

    /// What the file system says of its size.
    pub fn set_usage(&self, usage: DiskUsage) {
        self.disk().usage = usage;
    }

    /// Makes removals slow beside everything else: each lets other threads go first this often before it answers.
    pub fn set_pause(&self, times: u32) {
        self.disk().pause = times;
    }

    /// Every file, by path.
    pub fn files(&self) -> BTreeMap<Vec<u8>, MemoryFile> {
        let of = |(path, item): (&Vec<u8>, &Item)| match item {
            Item::File(file) => Some((path.clone(), file.clone())),
            Item::Directory(_) => None,
        };
        self.disk().items.iter().filter_map(of).collect()
    }

    /// Every directory below this one, with its stamp.
    pub fn directories(&self) -> BTreeMap<Vec<u8>, Instant> {
        let of = |(path, item): (&Vec<u8>, &Item)| match item {
            Item::File(_) => None,
            Item::Directory(stamp) => Some((path.clone(), *stamp)),
        };
        self.disk().items.iter().filter_map(of).collect()
    }

    /// The port, with no walk open.
    pub fn open(&self) -> Arc<dyn Directory> {
        Arc::new(Swept::new(Memory(self.clone())))
    }
}

impl Disk {
    fn make_parents(&mut self, path: &[u8]) {
        let now = self.now;
        for at in (0..path.len()).filter(|at| path[*at] == b'/') {
            self.items
                .entry(path[..at].to_vec())
                .or_insert(Item::Directory(now));
        }
    }

    /// The directory that holds `path` has changed.
    fn touch_parent(&mut self, path: &[u8]) {
        let now = self.now;
        let parent = path
            .iter()
            .rposition(|byte| *byte == b'/')
            .map(|slash| &path[..slash]);
        if let Some(Item::Directory(stamp)) = parent.and_then(|parent| self.items.get_mut(parent)) {
            *stamp = now;
        }
    }

    fn is_empty(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        self.items
            .range(below.clone()..)
            .next()
            .is_none_or(|(other, _)| !other.starts_with(&below))
    }
}

struct Memory(MemoryDirectory);

/// A file that is being written: it is in the directory from its first byte on.
struct Written {
    directory: MemoryDirectory,
    path: Vec<u8>,
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.directory.disk().items.get_mut(&self.path) {
            Some(Item::File(file)) => file.bytes.extend_from_slice(bytes),
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A directory that is held, and the last entry that was listed.
struct Held {
    path: Vec<u8>,
    after: Mutex<Vec<u8>>,
}

impl Held {
    fn new(path: Vec<u8>) -> Self {
        Self {
            path,
            after: Mutex::default(),
        }
    }

    fn below(&self, name: &CStr) -> Vec<u8> {
        if self.path.is_empty() {
            name.to_bytes().to_vec()
        } else {
            [&self.path, b"/".as_slice(), name.to_bytes()].concat()
        }
    }
}

fn of_directory(stamp: Instant) -> Stat {
    Stat {
        kind: Kind::Directory,
        inode: 0,
        bytes: 0,
        links: 1,
        owner: 0,
        sticky: false,
        pinned: false,
        mtime: stamp.into(),
        ctime: stamp.into(),
        btime: Some(stamp.into()),
    }
}

fn stat(item: &Item) -> Stat {
    match item {
        Item::Directory(stamp) => of_directory(*stamp),
        Item::File(file) => Stat {
            kind: Kind::File,
            bytes: file.bytes.len() as u64,
            mtime: file.mtime.into(),
            ctime: file.ctime.into(),
            btime: file.btime.map(Into::into),
            ..of_directory(file.mtime)
        },
    }
}

impl System for Memory {
    type Dir = Held;
    type Source = Cursor<Vec<u8>>;
    type Sink = Written;

    fn shown(&self) -> &'static str {
        "the directory in memory"
    }

    fn root(&self) -> io::Result<Held> {
        Ok(Held::new(Vec::new()))
    }

    fn enter(&self, parent: &Held, name: &CStr) -> Entered<Held> {
        let path = parent.below(name);
        let disk = self.0.disk();
        match disk.items.get(&path) {
            Some(Item::Directory(_))
                if disk
                    .items
                    .contains_key(&[&path, b"/PG_VERSION".as_slice()].concat()) =>
            {
                Entered::Sealed
            }
            Some(Item::Directory(_)) => Entered::Inside(Held::new(path)),
            Some(Item::File(_)) | None => Entered::Gone,
        }
    }

    fn list(&self, dir: &Held, _scratch: &mut Vec<u8>, names: &mut Names) -> io::Result<bool> {
        names.clear();
        let prefix = dir.below(c"");
        let mut after = dir.after.lock().unwrap_or_else(PoisonError::into_inner);
        if after.is_empty() {
            after.clone_from(&prefix);
        }
        let disk = self.0.disk();
        let below = disk
            .items
            .range::<Vec<u8>, _>((Bound::Excluded(&*after), Bound::Unbounded));
        let found: Vec<_> = below
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(path, _)| !path[prefix.len()..].contains(&b'/'))
            .take(NAMES_AT_A_TIME)
            .collect();
        for (path, item) in &found {
            names.push(stat(item).kind, &CString::new(&path[prefix.len()..])?);
        }
        if let Some((path, _)) = found.last() {
            after.clone_from(path);
        }
        Ok(found.len() == NAMES_AT_A_TIME)
    }

    fn rewind(&self, dir: &Held) -> io::Result<()> {
        dir.after.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    fn stat(&self, dir: &Held, name: &CStr) -> io::Result<Stat> {
        let disk = self.0.disk();
        Ok(disk
            .items
            .get(&dir.below(name))
            .map(stat)
            .ok_or(io::ErrorKind::NotFound)?)
    }

    fn stat_self(&self, dir: &Held) -> io::Result<Stat> {
        let disk = self.0.disk();
        if dir.path.is_empty() {
            return Ok(of_directory(disk.now));
        }
        Ok(disk
            .items
            .get(&dir.path)
            .map(stat)
            .ok_or(io::ErrorKind::NotFound)?)
    }

    fn rights(&self, _dir: &Held) -> Rights {
        Rights::All
    }

    fn unlink(&self, dir: &Held, name: &CStr) -> io::Result<()> {
        let path = dir.below(name);
        let mut disk = self.0.disk();
        if !matches!(disk.items.get(&path), Some(Item::File(_))) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.items.remove(&path);
        disk.touch_parent(&path);
        let pause = disk.pause;
        drop(disk);
        (0..pause).for_each(|_| std::thread::yield_now());
        Ok(())
    }

    fn rmdir(&self, dir: &Held, name: &CStr) -> io::Result<()> {
        let path = dir.below(name);
        let mut disk = self.0.disk();
        if !disk.is_empty(&path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        disk.items.remove(&path).ok_or(io::ErrorKind::NotFound)?;
        disk.touch_parent(&path);
        Ok(())
    }

    fn open(&self, dir: &Held, name: &CStr) -> io::Result<(Cursor<Vec<u8>>, Stat)> {
        match self.0.disk().items.get(&dir.below(name)) {
            Some(item @ Item::File(file)) => Ok((Cursor::new(file.bytes.clone()), stat(item))),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, dir: &Held, name: &CStr) -> io::Result<Written> {
        let path = dir.below(name);
        let mut disk = self.0.disk();
        let file = MemoryFile::of(b"", disk.now);
        // Nothing in memory outlives its run, so what is there was left by one that was given up.
        disk.items.insert(path.clone(), Item::File(file));
        Ok(Written {
            directory: self.0.clone(),
            path,
        })
    }

    fn seal(&self, sink: &mut Written, like: &Cursor<Vec<u8>>) -> io::Result<()> {
        let mut disk = self.0.disk();
        let same = |item: &Item| match item {
            Item::File(file) if file.bytes == *like.get_ref() => Some(file.mtime),
            _ => None,
        };
        let mtime = disk.items.values().find_map(same);
        if let (Some(mtime), Some(Item::File(file))) = (mtime, disk.items.get_mut(&sink.path)) {
            file.mtime = mtime;
        }
        Ok(())
    }

    fn rename(&self, from: (&Held, &CStr), to: (&Held, &CStr)) -> io::Result<()> {
        let (from, to) = (from.0.below(from.1), to.0.below(to.1));
        let mut disk = self.0.disk();
        if disk.items.contains_key(&to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut item = disk.items.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        let now = disk.now;
        if let Item::File(file) = &mut item {
            file.ctime = now;
        }
        disk.items.insert(to, item);
        Ok(())
    }

    fn sync(&self, _dir: &Held) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, dir: &Held, name: &CStr) -> io::Result<()> {
        match self.0.disk().items.get_mut(&dir.below(name)) {
            Some(Item::File(file)) => file.bytes.clear(),
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn being_written(&self) -> HashSet<u64> {
        HashSet::new()
    }

    fn usage(&self) -> io::Result<DiskUsage> {
        Ok(self.0.disk().usage)
    }
}
