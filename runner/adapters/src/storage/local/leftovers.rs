//! What hosts that died left of objects they had begun: files under names that no key can have.
//!
//! Whether somebody is still at work on them is the caller's to know.

use std::collections::BTreeMap;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, unlinkat};
use rustix::io::Errno;
use sereno_core::ports::storage::RESERVED;

use super::{Folder, kind, stat};

/// Bytes by folder, below `folder`; with `remove` they are gone afterwards, and the folders that held nothing else too.
pub(super) fn of(folder: &Folder, below: &str, remove: bool) -> Result<BTreeMap<String, u64>, Errno> {
    let mut found = BTreeMap::new();
    walk(folder, below.trim_end_matches('/'), remove, &mut found)?;
    Ok(found)
}

fn walk(folder: &Folder, path: &str, remove: bool, found: &mut BTreeMap<String, u64>) -> Result<(), Errno> {
    let fd = match folder.open(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(fd) => fd,
        // Gone meanwhile, or never there.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let Ok(looks) = stat(&fd, name) else { continue };
        match kind(&looks) {
            FileType::RegularFile if name.starts_with(RESERVED) => {
                if remove {
                    match unlinkat(&fd, name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(error) => return Err(error),
                    }
                }
                *found.entry(path.to_owned()).or_default() += looks.stx_size;
            }
            FileType::Directory if name != "." && name != ".." => {
                let inner = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                };
                walk(folder, &inner, remove, found)?;
                if remove && found.contains_key(&inner) {
                    // Only an empty one goes.
                    let _ = unlinkat(&fd, name, AtFlags::REMOVEDIR);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
