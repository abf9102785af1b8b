//! The system's own file systems, through `openat2`, `getdents64`, `statx` and `unlinkat`.
//!
//! There is no way round `openat2`: where a kernel or a seccomp profile refuses it, nothing is opened.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use cap_std::fs::Dir;
use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Statx, StatxAttributes,
    StatxFlags, StatxTimestamp, accessat, fstatvfs, openat2, seek, statx, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use sereno_core::ports::files::DiskUsage;

use super::system::{Entered, Kind, Names, Rights, Stat, System, Time};

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

    fn usage(&self) -> io::Result<DiskUsage> {
        let found = fstatvfs(&self.root)?;
        let has_bytes = found.f_blocks > 0;
        let has_inodes = found.f_files > 0;
        Ok(DiskUsage {
            bytes_total: has_bytes.then(|| found.f_blocks.saturating_mul(found.f_frsize)),
            bytes_free: has_bytes.then(|| found.f_bavail.saturating_mul(found.f_frsize)),
            inodes_total: has_inodes.then_some(found.f_files),
            inodes_free: has_inodes.then_some(found.f_favail),
        })
    }
}
