//! Reading, renaming and emptying files by name.
//!
//! A name leads to a regular file with one name below the root, or nowhere; nothing is ever replaced.

use std::ffi::CString;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use sereno_core::ports::files::{Content, FilesError, Moved};
use sereno_core::value::FileFilter;

use super::directory::Inner;
use super::error::{refused, show};
use super::filter::Filters;
use super::named::{Chain, check};
use super::system::{Kind, Stat, System};

/// Bytes that are copied at a time.
pub(super) const CHUNK_BYTES: usize = 128 << 10;

/// Every file, whatever its age.
fn anything() -> FileFilter {
    FileFilter {
        recursive: true,
        ..FileFilter::default()
    }
}

/// What a file will look like under another path.
pub(super) fn moved(to: &[u8], stat: &Stat) -> Moved {
    Moved {
        to: to.to_vec(),
        bytes: stat.bytes,
        mtime: stat.mtime.instant(),
        ctime: Utc::now(),
        btime: stat.btime.map(super::system::Time::instant),
    }
}

fn failed(operation: &'static str, path: &[u8], error: io::Error) -> FilesError {
    if error.kind() == io::ErrorKind::AlreadyExists {
        FilesError::Taken { path: show(path) }
    } else {
        refused(operation, &show(path), error)
    }
}

impl<S: System> Inner<S> {
    pub(super) fn content(&self, path: &[u8], offset: u64, max: u32) -> Result<Content, FilesError> {
        let filter = anything();
        check(&[path.to_vec()], &filter)?;
        let filters = Filters::new(&filter, &[])?;
        let mut chain = Chain::new(&self.system, &filters).map_err(|error| self.failed(error))?;
        let (name, _) = self.one(&mut chain, path)?;
        let (level, _) = chain.reach(path).ok_or_else(|| gone(path))?;
        let read = |mut source: S::Source| {
            let mut bytes = Vec::new();
            source.seek(SeekFrom::Start(offset))?;
            source.take(max.into()).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let (source, stat) = self
            .system
            .open(&level.dir, &name)
            .map_err(|error| failed("open", path, error))?;
        if stat.links != 1 {
            return Err(unfit(path));
        }
        Ok(Content {
            bytes: read(source).map_err(|error| failed("read", path, error))?,
            total: stat.bytes,
        })
    }

    pub(super) fn rename(&self, from: &[u8], to: &[u8]) -> Result<Moved, FilesError> {
        self.between(from, to, &[], |from_dir, to_dir, stat| {
            self.system
                .rename(from_dir, to_dir)
                .and_then(|()| self.system.sync(to_dir.0))
                .and_then(|()| self.system.sync(from_dir.0))
                .map_err(|error| failed("rename", to, error))?;
            Ok(moved(to, stat))
        })
    }

    pub(super) fn preview_rename(
        &self,
        from: &[u8],
        to: &[u8],
        without: &[FileFilter],
    ) -> Result<Moved, FilesError> {
        self.between(from, to, without, |_, _, stat| Ok(moved(to, stat)))
    }

    /// Copies, publishes the copy, copies what came meanwhile, and empties. What is written after the last read and
    /// before the emptying is lost, and nothing on this side of the writer can help that.
    pub(super) fn copy_truncate(
        &self,
        from: &[u8],
        to: &[u8],
        cancelled: &AtomicBool,
    ) -> Result<Moved, FilesError> {
        self.between(from, to, &[], |(from_dir, from_name), (to_dir, to_name), stat| {
            let partial = CString::new([b".", to_name.to_bytes(), b".partial"].concat())
                .map_err(|error| failed("copy to", to, error.into()))?;
            let (mut source, _) = self
                .system
                .open(from_dir, from_name)
                .map_err(|error| failed("open", from, error))?;
            let mut sink = self
                .system
                .create(to_dir, &partial)
                .map_err(|error| failed("copy to", to, error))?;
            let mut bytes = 0;
            let mut published = false;
            let done = (|| {
                bytes = copy(&mut source, &mut sink, cancelled)?;
                self.system.seal(&mut sink, &source)?;
                self.system.rename((to_dir, &partial), (to_dir, to_name))?;
                published = true;
                self.system.sync(to_dir)?;
                bytes += copy(&mut source, &mut sink, cancelled)?;
                self.system.truncate(from_dir, from_name)?;
                self.system.seal(&mut sink, &source)
            })();
            if let Err(error) = done {
                let left = if published { to_name } else { &partial };
                let _ = self.system.unlink(to_dir, left);
                return Err(failed("copy to", to, error));
            }
            Ok(Moved {
                bytes,
                ..moved(to, stat)
            })
        })
    }

    /// Hands on the file at `from` and the free place at `to`.
    fn between<T>(
        &self,
        from: &[u8],
        to: &[u8],
        without: &[FileFilter],
        act: impl FnOnce((&S::Dir, &std::ffi::CStr), (&S::Dir, &std::ffi::CStr), &Stat) -> Result<T, FilesError>,
    ) -> Result<T, FilesError> {
        let filter = anything();
        check(&[from.to_vec(), to.to_vec()], &filter)?;
        let filters = Filters::new(&filter, without)?;
        let start = || Chain::new(&self.system, &filters).map_err(|error| self.failed(error));
        let (mut at_from, mut at_to) = (start()?, start()?);
        let (name, stat) = self.one(&mut at_from, from)?;
        let (level, _) = at_from.reach(from).ok_or_else(|| gone(from))?;
        if !level.rights(&self.system).cover(&stat) {
            return Err(failed("move", from, io::ErrorKind::PermissionDenied.into()));
        }
        // A file that an earlier filter has taken is no obstacle.
        let is_taken = self.still_matches(&mut at_to, to).is_some();
        let (target, last) = at_to.reach(to).ok_or_else(|| gone(to))?;
        let last = CString::new(last).map_err(|_| gone(to))?;
        let other = self.system.stat(&target.dir, &last);
        let is_free = match other {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed("look at", to, error)),
            Ok(found) => found.kind == Kind::File && found.links == 1 && !is_taken && !without.is_empty(),
        };
        if !is_free {
            return Err(FilesError::Taken { path: show(to) });
        }
        act((&level.dir, &name), (&target.dir, &last), &stat)
    }

    /// The regular file with one name at `path`.
    fn one(&self, chain: &mut Chain<'_, S>, path: &[u8]) -> Result<(CString, Stat), FilesError> {
        if let Some(found) = self.still_matches(chain, path) {
            return Ok(found);
        }
        let (level, name) = chain.reach(path).ok_or_else(|| gone(path))?;
        let name = CString::new(name).map_err(|_| gone(path))?;
        match self.system.stat(&level.dir, &name) {
            Ok(stat) if stat.kind != Kind::File || stat.links != 1 || stat.sticky => Err(unfit(path)),
            Ok(_) | Err(_) => Err(gone(path)),
        }
    }
}

fn gone(path: &[u8]) -> FilesError {
    FilesError::NotFound { path: show(path) }
}

fn unfit(path: &[u8]) -> FilesError {
    FilesError::Invalid(format!(
        "`{}` is not a regular file with one name and without the sticky bit",
        show(path)
    ))
}

/// Copies to the end of `source`; says how many bytes.
fn copy(source: &mut impl Read, sink: &mut impl Write, cancelled: &AtomicBool) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        if cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("given up"));
        }
        match source.read(&mut chunk)? {
            0 => return Ok(bytes),
            read => {
                sink.write_all(&chunk[..read])?;
                bytes += read as u64;
            }
        }
    }
}
