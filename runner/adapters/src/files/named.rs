//! Removing files by name: each is looked at again just before it goes.
//!
//! A name that is not there any more, or does not match any more, is skipped; so is one that is given twice, the second
//! time.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sereno_core::ports::files::{Allowance, FilesError, Removal};
use sereno_core::value::FileFilter;

use super::directory::Inner;
use super::error::show;
use super::filter::Filters;
use super::system::{Entered, Rights, Stat, System};
use super::walk::{DEPTH_MAX, LOST_AND_FOUND, Purpose};

/// A directory on the way to a file.
pub(super) struct Level<D> {
    pub(super) dir: D,
    name: Vec<u8>,
    /// Which filters reach into it.
    active: Vec<bool>,
    rights: Option<Rights>,
}

/// The directories from the root to the last file that was asked for; neighbours in a list mostly share them.
pub(super) struct Chain<'a, S: System> {
    system: &'a S,
    filters: &'a Filters,
    levels: Vec<Level<S::Dir>>,
}

impl<'a, S: System> Chain<'a, S> {
    pub(super) fn new(system: &'a S, filters: &'a Filters) -> io::Result<Self> {
        let root = Level {
            dir: system.root()?,
            name: Vec::new(),
            active: vec![true; filters.all().len()],
            rights: None,
        };
        Ok(Self {
            system,
            filters,
            levels: vec![root],
        })
    }

    /// The directory that holds `path`, and its name there; none when there is no way to it.
    pub(super) fn reach<'p>(&mut self, path: &'p [u8]) -> Option<(&mut Level<S::Dir>, &'p [u8])> {
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        let mut depth = 0;
        let mut length = 0;
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                self.levels.truncate(depth + 1);
                return Some((self.levels.last_mut()?, part));
            }
            length += part.len();
            let above = &path[..length];
            length += 1;
            depth += 1;
            if self.levels.get(depth).is_none_or(|level| level.name != part) {
                self.levels.truncate(depth);
                self.enter(above, part)?;
            }
        }
        None
    }

    fn enter(&mut self, path: &[u8], part: &[u8]) -> Option<()> {
        let parent = self.levels.last()?;
        if part == LOST_AND_FOUND || self.levels.len() > DEPTH_MAX {
            return None;
        }
        let Entered::Inside(dir) = self.system.enter(&parent.dir, &CString::new(part).ok()?) else {
            return None;
        };
        let filters = self.filters.all().iter();
        let active = filters
            .zip(&parent.active)
            .map(|(filter, active)| *active && filter.recursive && !filter.excludes(path))
            .collect();
        self.levels.push(Level {
            dir,
            name: part.to_vec(),
            active,
            rights: None,
        });
        Some(())
    }
}

impl<D> Level<D> {
    pub(super) fn rights<S: System<Dir = D>>(&mut self, system: &S) -> Rights {
        *self.rights.get_or_insert_with(|| system.rights(&self.dir))
    }
}

impl<S: System> Inner<S> {
    pub(super) fn remove_named(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
        cancelled: &AtomicBool,
    ) -> Result<Removal, FilesError> {
        check(paths, filter)?;
        let filters = Filters::new(filter, &[])?;
        let mut emptied = BTreeSet::new();
        let mut removal =
            self.each_named(paths, &filters, allowance, cancelled, |chain, path, name, _| {
                let level = chain.levels.last().ok_or(io::ErrorKind::NotFound)?;
                self.system.unlink(&level.dir, name)?;
                emptied.extend(parent(path));
                Ok(())
            })?;
        if filters.main().remove_emptied {
            removal.directories = self.remove_emptied(&filters, emptied)?;
        }
        Ok(removal)
    }

    /// What [`Self::remove_named`] would do. Where directories may go with the files, only a walk knows what else is in them.
    pub(super) fn preview_named(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
        cancelled: &AtomicBool,
    ) -> Result<Removal, FilesError> {
        check(paths, filter)?;
        let filters = Filters::new(filter, without)?;
        let takes_directories =
            filters.main().remove_emptied && paths.iter().any(|path| path.contains(&b'/'));
        if !takes_directories && !filters.all().iter().any(|filter| filter.unit) {
            let mut gone = HashSet::new();
            return self.each_named(paths, &filters, allowance, cancelled, |chain, path, _, stat| {
                let level = chain.levels.last_mut().ok_or(io::ErrorKind::NotFound)?;
                if level.rights(&self.system).cover(stat) && gone.insert(path.to_vec()) {
                    Ok(())
                } else {
                    Err(io::ErrorKind::PermissionDenied.into())
                }
            });
        }
        let filters = Arc::new(filters.only(paths));
        let tally = self.whole(Purpose::Preview, filters, allowance, cancelled)?;
        let named = u64::try_from(paths.len()).unwrap_or(u64::MAX);
        Ok(Removal {
            files: tally.files,
            directories: tally.directories,
            bytes: tally.bytes,
            skipped: if tally.exhausted {
                tally.skipped
            } else {
                named.saturating_sub(tally.files)
            },
            cursor: None,
            exhausted: tally.exhausted,
        })
    }

    /// Hands every file that still matches to `take`, within the allowance.
    fn each_named(
        &self,
        paths: &[Vec<u8>],
        filters: &Filters,
        mut allowance: Allowance,
        cancelled: &AtomicBool,
        mut take: impl FnMut(&mut Chain<'_, S>, &[u8], &CStr, &Stat) -> io::Result<()>,
    ) -> Result<Removal, FilesError> {
        let mut chain = Chain::new(&self.system, filters).map_err(|error| self.failed(error))?;
        let mut removal = Removal::default();
        for path in paths {
            if cancelled.load(Ordering::Relaxed) {
                break;
            }
            let Some((name, stat)) = self.still_matches(&mut chain, path) else {
                removal.skipped += 1;
                continue;
            };
            if allowance.files == 0 || allowance.bytes < stat.bytes {
                removal.exhausted = true;
                break;
            }
            if let Err(error) = take(&mut chain, path, &name, &stat) {
                tracing::debug!(path = show(path), %error, "left where it is");
                removal.skipped += 1;
                continue;
            }
            allowance.files -= 1;
            allowance.bytes -= stat.bytes;
            removal.files += 1;
            removal.bytes += stat.bytes;
        }
        Ok(removal)
    }

    /// The name and the inode of a file that matches, has one name and was not taken by an earlier filter.
    pub(super) fn still_matches(&self, chain: &mut Chain<'_, S>, path: &[u8]) -> Option<(CString, Stat)> {
        let filters = chain.filters;
        let (level, name) = chain.reach(path)?;
        let name = CString::new(name).ok()?;
        let takes = |filter: usize, level: &Level<S::Dir>, stat: &Stat| {
            let matcher = &filters.all()[filter];
            level.active[filter] && matcher.includes(path) && !matcher.excludes(path) && matcher.takes(stat)
        };
        let stat = self.system.stat(&level.dir, &name).ok()?;
        if !takes(filters.main_at(), level, &stat) || stat.links != 1 {
            return None;
        }
        let is_gone = (0..filters.main_at()).any(|earlier| takes(earlier, level, &stat));
        (!is_gone || !level.rights(&self.system).cover(&stat)).then_some((name, stat))
    }

    /// Takes away those of `emptied`, and of the directories above them, that have nothing left in them.
    fn remove_emptied(&self, filters: &Filters, mut emptied: BTreeSet<Vec<u8>>) -> Result<u64, FilesError> {
        let mut chain = Chain::new(&self.system, filters).map_err(|error| self.failed(error))?;
        let mut directories = 0;
        // A directory sorts before what is in it, so the last is never above another.
        while let Some(path) = emptied.pop_last() {
            if filters.main().excludes(&path) {
                continue;
            }
            let Some((level, name)) = chain.reach(&path) else {
                continue;
            };
            let Ok(name) = CString::new(name) else {
                continue;
            };
            if level.active[filters.main_at()] && self.system.rmdir(&level.dir, &name).is_ok() {
                directories += 1;
                emptied.extend(parent(&path));
            }
        }
        Ok(directories)
    }
}

fn parent(path: &[u8]) -> Option<Vec<u8>> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    Some(path[..slash].to_vec())
}

/// Paths are names and slashes, and nothing that leads elsewhere.
pub(super) fn check(paths: &[Vec<u8>], filter: &FileFilter) -> Result<(), FilesError> {
    for path in paths {
        let is_plain = path
            .split(|byte| *byte == b'/')
            .all(|part| !matches!(part, b"" | b"." | b"..") && !part.contains(&0));
        if !is_plain {
            return Err(FilesError::Invalid(format!(
                "`{}` is not a path below the directory",
                show(path)
            )));
        }
        if filter.directory_as_unit && path.contains(&b'/') {
            return Err(FilesError::Invalid(format!(
                "`{}` is in a directory that goes whole or stays whole; it cannot go by name",
                show(path)
            )));
        }
    }
    Ok(())
}
