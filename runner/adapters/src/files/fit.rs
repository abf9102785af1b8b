//! Decides whether a path may be swept at all, and opens it.
//!
//! It looks at where the directory is and what lies in it, and changes nothing.
//!
//! - The last component may not be a link; links above it are the operator's choice, and what counts is where they lead.
//! - The system's own directories are refused by name ([`REFUSED`], [`REFUSED_WITH_CONTENTS`]), and so is a person's home.
//! - A directory that holds a PostgreSQL data directory's mark, or lies below one that does, is refused.
//! - A directory that looks like the root of a system (a rescue mount, a container's image) is refused.
//! - **A mount root is fit.** A volume that is mounted just where the files are swept is the usual case in a container, and
//!   nothing tells a volume made for it from another; what makes a mount root dangerous, a system on it, is refused above.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, openat};
use rustix::io::Errno;
use sereno_core::ports::files::{Directory, FilesError};

use super::directory::Swept;
use super::error::{refused, show};
use super::linux::{DATABASE_MARK, Linux, open_below, stat_at};

/// What a system, or everybody on it, keeps things in. A directory below one of these may be a job's.
pub(super) const REFUSED: [&str; 16] = [
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/snap",
    "/srv",
    "/usr",
    "/usr/local",
    "/usr/src",
    "/var",
    "/var/lib",
    "/var/spool",
    "/var/mail",
];

/// Nothing below these is ever a job's either; of `/dev`, shared memory is.
pub(super) const REFUSED_WITH_CONTENTS: [&str; 17] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/sbin",
    "/usr/share",
];

/// Together they are in every system's root and in no directory of temporary files.
const SYSTEM_MARKS: [&str; 2] = ["etc", "usr"];

/// Opens a directory for sweeping.
///
/// # Errors
/// It is not there, may not be used, or may not be opened.
pub fn open(path: &Path) -> Result<Arc<dyn Directory>, FilesError> {
    let shown = show(path.as_os_str().as_bytes());
    let unfit = |reason: String| FilesError::Unfit {
        path: shown.clone(),
        reason,
    };
    // Rebuilt, because a slash at its end would have the system follow a link there.
    let plain: PathBuf = path.components().collect();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = match openat(CWD, &plain, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let is_link = plain.symlink_metadata().is_ok_and(|found| found.is_symlink());
            return Err(unfit(if is_link {
                "it is a link; name the directory that it leads to".to_owned()
            } else {
                "it is not a directory".to_owned()
            }));
        }
        Err(error) => return Err(refused("open", &shown, error.into())),
    };
    let root = Dir::from_std_file(File::from(fd));
    let resolved = plain
        .canonicalize()
        .map_err(|error| refused("resolve", &shown, error))?;
    if let Some(reason) = refused_place(&resolved) {
        return Err(unfit(reason));
    }
    // The descriptor is what will be swept, so the path must have led to the same place.
    let io = |error: Errno| refused("look at", &shown, error.into());
    let held = stat_at(&root, c"", AtFlags::EMPTY_PATH).map_err(io)?;
    let named = Dir::open_ambient_dir(&resolved, cap_std::ambient_authority())
        .map_err(|error| refused("open", &shown, error))?;
    if identity(&held) != identity(&stat_at(&named, c"", AtFlags::EMPTY_PATH).map_err(io)?) {
        return Err(unfit("it was replaced while it was being opened".to_owned()));
    }
    for above in resolved.ancestors() {
        let mark = above.join(DATABASE_MARK.to_str().expect("an ASCII name"));
        if mark.symlink_metadata().is_ok() {
            return Err(unfit(format!(
                "{} holds a PostgreSQL database's data",
                show(above.as_os_str().as_bytes())
            )));
        }
    }
    if SYSTEM_MARKS.iter().all(|name| holds(&root, name)) {
        return Err(unfit("it holds a whole system (`etc` and `usr`)".to_owned()));
    }
    match open_below(&root, c".") {
        Ok(_) => {}
        Err(Errno::NOSYS | Errno::PERM) => {
            return Err(unfit(
                "this system does not offer openat2 (it needs Linux 5.6, and a seccomp profile that allows the call), and \
                 without it links could lead a removal elsewhere"
                    .to_owned(),
            ));
        }
        Err(error) => return Err(refused("open", &shown, error.into())),
    }
    let linux = Linux::new(root, shown.clone()).map_err(io)?;
    Ok(Arc::new(Swept::new(linux)))
}

fn identity(found: &Statx) -> (u32, u32, u64) {
    (found.stx_dev_major, found.stx_dev_minor, found.stx_ino)
}

fn holds(root: &Dir, name: &str) -> bool {
    CString::new(name).is_ok_and(|name| stat_at(root, &name, AtFlags::empty()).is_ok())
}

/// Why nothing is swept there, if so.
fn refused_place(resolved: &Path) -> Option<String> {
    let name = show(resolved.as_os_str().as_bytes());
    if REFUSED.iter().any(|place| resolved == Path::new(place)) {
        return Some("it belongs to the system; name a directory below it that is swept alone".to_owned());
    }
    if resolved.parent() == Some(Path::new("/home")) {
        return Some("it is somebody's home; name a directory below it that is swept alone".to_owned());
    }
    if resolved.starts_with("/dev/shm") && resolved != Path::new("/dev/shm") {
        return None;
    }
    let within = REFUSED_WITH_CONTENTS
        .iter()
        .find(|place| resolved.starts_with(place))?;
    Some(format!("{name} is part of the system's {within}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_places_are_refused_and_a_jobs_are_not() {
        for place in REFUSED.iter().chain(&REFUSED_WITH_CONTENTS) {
            assert!(refused_place(Path::new(place)).is_some(), "{place}");
        }
        for place in [
            "/etc/app",
            "/proc/1",
            "/sys/fs/cgroup",
            "/dev/shm",
            "/usr/lib/x",
            "/home/ana",
        ] {
            assert!(refused_place(Path::new(place)).is_some(), "{place}");
        }
        for place in [
            "/tmp",
            "/var/tmp",
            "/var/log/app",
            "/srv/app/temp",
            "/home/ana/temp",
            "/dev/shm/app",
            "/libs",
            "/app",
        ] {
            assert_eq!(refused_place(Path::new(place)), None, "{place}");
        }
    }
}
