//! Opens a file after a look at everybody who could have written it: its owner, its mode, and the directories above it.
//!
//! A directory above in which anybody may make files counts only where nobody can rename what is another's (the sticky bit);
//! the file's own directory may not be such a one either.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;
use sereno_core::ports::writer::WriterError;

use super::show_path;

/// Group and everybody.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// A file that is held open, so that what was looked at is what is used.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: File,
    pub(super) meta: Metadata,
    /// Who owns it or a directory above it, besides root and this process's own user, each with what he owns.
    pub(super) owners: Vec<(u32, PathBuf)>,
}

/// Opens the regular file at `path`; none when it is not there.
///
/// # Errors
/// Others may write it, or what stands there is no file.
pub(super) fn hold(path: &Path) -> Result<Option<Held>, WriterError> {
    let shown = show_path(path);
    let refused = |text: String| WriterError::Refused(text);
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refused(format!("{shown} is not the path of a file")));
    };
    let above = match above.canonicalize() {
        Ok(above) => above,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(format!("could not resolve {shown}: {error}"))),
    };
    let mut owners = Vec::new();
    for (depth, directory) in above.ancestors().enumerate() {
        let meta = directory
            .metadata()
            .map_err(|error| refused(format!("could not look at {}: {error}", show_path(directory))))?;
        judge(directory, &meta, depth > 0, &mut owners)?;
    }
    let path = above.join(name);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) if path.is_symlink() => {
            return Err(refused(format!(
                "{shown} is a link; name the file that it leads to"
            )));
        }
        Err(error) => return Err(refused(format!("could not open {shown}: {error}"))),
    };
    let meta = file
        .metadata()
        .map_err(|error| refused(format!("could not look at {shown}: {error}")))?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(refused(format!("{shown} is not a regular file with one name")));
    }
    judge(&path, &meta, false, &mut owners)?;
    Ok(Some(Held { file, meta, owners }))
}

fn judge(
    path: &Path,
    meta: &Metadata,
    sticky_is_enough: bool,
    owners: &mut Vec<(u32, PathBuf)>,
) -> Result<(), WriterError> {
    let mode = meta.mode();
    if mode & OTHERS_WRITE != 0 && !(sticky_is_enough && mode & STICKY != 0) {
        let shown = show_path(path);
        return Err(WriterError::Refused(format!(
            "others may write {shown} (mode {:04o}): take that from them with `chmod go-w {shown}`, or keep the file elsewhere",
            mode & 0o7777
        )));
    }
    let owner = meta.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        owners.push((owner, path.to_owned()));
    }
    Ok(())
}
