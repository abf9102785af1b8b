//! The system's own file systems, through `openat2`, `getdents64`, `statx` and `unlinkat`.
//!
//! There is no way round `openat2`: where a kernel or a seccomp profile refuses it, nothing is opened.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use cap_std::fs::Dir;
use rustix::fs::{
    Access, AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, RawDir, RenameFlags, ResolveFlags,
    SeekFrom, Statx, StatxAttributes, StatxFlags, StatxTimestamp, Timespec, Timestamps, Uid, accessat,
    fchmod, fchown, flock, fstat, fstatvfs, fsync, ftruncate, futimens, makedev, openat2, renameat_with,
    seek, statx, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use sereno_core::ports::files::DiskUsage;

use super::system::{Entered, Kind, Names, Rights, Stat, System, Time};
use super::writers;

/// Names read at a time: a few hundred calls for 100,000 files, and little memory for each level of a deep tree.
const NAMES_BYTES: usize = 32 << 10;

/// The file that every PostgreSQL data directory, tablespace and base directory holds.
pub(super) const DATABASE_MARK: &CStr = c"PG_VERSION";

/// Only what decides.
const FIELDS: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::INO)
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::BTIME);

/// The directory, held since it was opened.
#[derive(Debug)]
pub(super) struct Linux {
    root: Dir,
    device: (u32, u32),
    shown: String,
}

/// Opens `name` below `parent` and nowhere else.
pub(super) fn open_below(parent: &Dir, name: &CStr) -> Result<OwnedFd, Errno> {
    openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_XDEV
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Opens the file `name` directly in `dir`, by no link.
fn open_file(dir: &Dir, name: &CStr, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    openat2(
        dir,
        name,
        flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        mode,
        ResolveFlags::BENEATH
            | ResolveFlags::NO_XDEV
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS,
    )
}

fn dir(fd: OwnedFd) -> Dir {
    Dir::from_std_file(File::from(fd))
}

pub(super) fn stat_at(dir: &Dir, name: &CStr, flags: AtFlags) -> Result<Statx, Errno> {
    statx(
        dir,
        name,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | flags,
        FIELDS,
    )
}

impl Linux {
    /// Takes over a directory that was found fit.
    pub(super) fn new(root: Dir, shown: String) -> Result<Self, Errno> {
        let found = stat_at(&root, c"", AtFlags::EMPTY_PATH)?;
        Ok(Self {
            root,
            device: (found.stx_dev_major, found.stx_dev_minor),
            shown,
        })
    }
}

fn stat(found: &Statx) -> Stat {
    let time = |stamp: StatxTimestamp| Time(stamp.tv_sec, stamp.tv_nsec);
    let mode = u32::from(found.stx_mode);
    let has_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    Stat {
        kind: kind(FileType::from_raw_mode(mode)),
        inode: found.stx_ino,
        bytes: found.stx_size,
        links: u64::from(found.stx_nlink),
        owner: found.stx_uid,
        sticky: Mode::from_raw_mode(mode).contains(Mode::SVTX),
        pinned: found
            .stx_attributes
            .intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND | StatxAttributes::MOUNT_ROOT),
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        btime: has_birth.then(|| time(found.stx_btime)),
    }
}

fn kind(of: FileType) -> Kind {
    match of {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Unknown => Kind::Unknown,
        _ => Kind::Other,
    }
}

impl System for Linux {
    type Dir = Dir;
    type Source = File;
    type Sink = File;

    fn shown(&self) -> &str {
        &self.shown
    }

    fn root(&self) -> io::Result<Dir> {
        Ok(dir(open_below(&self.root, c".")?))
    }

    fn enter(&self, parent: &Dir, name: &CStr) -> Entered<Dir> {
        let below = match open_below(parent, name) {
            Ok(fd) => dir(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => return Entered::Gone,
            Err(Errno::XDEV | Errno::LOOP) => return Entered::Apart,
            Err(error) => return Entered::Refused(error.into()),
        };
        // A subvolume is no mount, so its device is asked for, too.
        match stat_at(&below, c"", AtFlags::EMPTY_PATH) {
            Ok(found) if (found.stx_dev_major, found.stx_dev_minor) != self.device => return Entered::Apart,
            Ok(_) => {}
            Err(error) => return Entered::Refused(error.into()),
        }
        match stat_at(&below, DATABASE_MARK, AtFlags::empty()) {
            Ok(_) => Entered::Sealed,
            Err(_) => Entered::Inside(below),
        }
    }

    fn list(&self, dir: &Dir, scratch: &mut Vec<u8>, names: &mut Names) -> io::Result<bool> {
        scratch.reserve(NAMES_BYTES);
        names.clear();
        let mut entries = RawDir::new(dir, &mut scratch.spare_capacity_mut()[..NAMES_BYTES]);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(kind(entry.file_type()), entry.file_name());
            }
            if entries.is_buffer_empty() && !names.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn rewind(&self, dir: &Dir) -> io::Result<()> {
        seek(dir, SeekFrom::Start(0))?;
        Ok(())
    }

    fn stat(&self, dir: &Dir, name: &CStr) -> io::Result<Stat> {
        Ok(stat(&stat_at(dir, name, AtFlags::empty())?))
    }

    fn stat_self(&self, dir: &Dir) -> io::Result<Stat> {
        Ok(stat(&stat_at(dir, c"", AtFlags::EMPTY_PATH)?))
    }

    fn rights(&self, dir: &Dir) -> Rights {
        let Ok(own) = self.stat_self(dir) else {
            return Rights::None;
        };
        // An append-only or immutable directory gives nothing up; a mount root does.
        let fixed = stat_at(dir, c"", AtFlags::EMPTY_PATH).is_ok_and(|found| {
            found
                .stx_attributes
                .intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND)
        });
        if fixed || accessat(dir, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_err() {
            return Rights::None;
        }
        let user = geteuid();
        if own.sticky && !user.is_root() && own.owner != user.as_raw() {
            Rights::OwnedBy(user.as_raw())
        } else {
            Rights::All
        }
    }

    fn unlink(&self, dir: &Dir, name: &CStr) -> io::Result<()> {
        Ok(unlinkat(dir, name, AtFlags::empty())?)
    }

    fn rmdir(&self, dir: &Dir, name: &CStr) -> io::Result<()> {
        Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    fn open(&self, dir: &Dir, name: &CStr) -> io::Result<(File, Stat)> {
        // A file of somebody else cannot be read without leaving a trace.
        let quiet = open_file(dir, name, OFlags::RDONLY | OFlags::NOATIME, Mode::empty());
        let fd = match quiet {
            Err(Errno::PERM) => open_file(dir, name, OFlags::RDONLY, Mode::empty())?,
            other => other?,
        };
        let found = stat(&statx(&fd, c"", AtFlags::EMPTY_PATH, FIELDS)?);
        if found.kind != Kind::File {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok((File::from(fd), found))
    }

    fn create(&self, dir: &Dir, name: &CStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = match open_file(dir, name, flags, mode) {
            Err(Errno::EXIST) => {
                // Whoever writes it holds its lock; a dead run holds nothing.
                let left = open_file(dir, name, OFlags::RDONLY, Mode::empty())?;
                flock(&left, FlockOperation::NonBlockingLockExclusive)
                    .map_err(|_| io::ErrorKind::ResourceBusy)?;
                unlinkat(dir, name, AtFlags::empty())?;
                open_file(dir, name, flags, mode)?
            }
            other => other?,
        };
        flock(&fd, FlockOperation::NonBlockingLockExclusive)?;
        Ok(File::from(fd))
    }

    fn seal(&self, sink: &mut File, like: &File) -> io::Result<()> {
        let found = fstat(like)?;
        let own = fstat(&*sink)?;
        if (own.st_uid, own.st_gid) != (found.st_uid, found.st_gid) {
            let (user, group) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
            // Only root gives files away; a group of its own anybody may.
            if fchown(&*sink, Some(user), Some(group)).is_err() {
                let _ = fchown(&*sink, None, Some(group));
            }
        }
        fchmod(&*sink, Mode::from_raw_mode(found.st_mode))?;
        let stamp = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        let stamps = Timestamps {
            last_access: stamp(
                found.st_atime,
                i64::try_from(found.st_atime_nsec).unwrap_or_default(),
            ),
            last_modification: stamp(
                found.st_mtime,
                i64::try_from(found.st_mtime_nsec).unwrap_or_default(),
            ),
        };
        futimens(&*sink, &stamps)?;
        Ok(fsync(&*sink)?)
    }

    fn rename(&self, from: (&Dir, &CStr), to: (&Dir, &CStr)) -> io::Result<()> {
        Ok(renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE)?)
    }

    fn sync(&self, dir: &Dir) -> io::Result<()> {
        Ok(fsync(dir)?)
    }

    fn truncate(&self, dir: &Dir, name: &CStr) -> io::Result<()> {
        Ok(ftruncate(
            open_file(dir, name, OFlags::WRONLY, Mode::empty())?,
            0,
        )?)
    }

    fn being_written(&self) -> HashSet<u64> {
        writers::inodes(makedev(self.device.0, self.device.1))
    }

    fn usage(&self) -> io::Result<DiskUsage> {
        let found = fstatvfs(&self.root)?;
        let has_bytes = found.f_blocks > 0;
        let has_inodes = found.f_files > 0;
        // Kept for root: `df` counts it as neither used nor free, and nobody else ever sees it full.
        let reserved = found.f_bfree.saturating_sub(found.f_bavail);
        let blocks = found.f_blocks.saturating_sub(reserved);
        Ok(DiskUsage {
            bytes_total: has_bytes.then(|| blocks.saturating_mul(found.f_frsize)),
            bytes_free: has_bytes.then(|| found.f_bavail.saturating_mul(found.f_frsize)),
            inodes_total: has_inodes.then_some(found.f_files),
            inodes_free: has_inodes.then_some(found.f_favail),
            device: Some(makedev(self.device.0, self.device.1)),
        })
    }
}
