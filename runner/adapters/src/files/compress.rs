//! Puts a compressed copy in the place of a file that nobody writes any more.
//!
//! Every step leaves either the original or a finished, compared copy: see "Compressing" in the module above.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::{DeflateEncoder, MultiGzDecoder};
use flate2::{Compression as Level, GzBuilder};
use sereno_core::ports::files::{Allowance, Compressed, Compression, FilesError, Left, Moved};
use sereno_core::value::FileFilter;
use sha2::{Digest, Sha256};

use super::directory::Inner;
use super::error::show;
use super::filter::Filters;
use super::moves::{CHUNK_BYTES, moved};
use super::named::{Chain, check};
use super::system::{Kind, Stat, System};

/// What says that there is nothing to gain, or that it is a copy on its way.
const NOT_AGAIN: [&str; 9] = [
    ".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip", ".7z", ".br", ".partial",
];

/// Bytes of one sample; a file of so few times as many is compressed whole to guess.
const SAMPLE_BYTES: u64 = 64 << 10;

/// Samples of a large file, spread evenly.
const SAMPLES: u64 = 4;

/// How long and what: two of the same are the same contents.
type Fingerprint = (u64, [u8; 32]);

/// One file on its way.
struct Task<'a, S: System> {
    system: &'a S,
    dir: &'a S::Dir,
    name: &'a CStr,
    stat: &'a Stat,
    /// `NAME.gz`
    target: CString,
    /// `.NAME.gz.partial`
    partial: CString,
    cancelled: &'a AtomicBool,
}

/// What became of it.
enum Done {
    /// So many bytes stand in its place.
    Compressed(u64),
    Left(Left),
    /// Nobody waits for it any more.
    GivenUp,
}

impl<S: System> Inner<S> {
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method of a type that borrows is no function over every lifetime"
    )]
    pub(super) fn compress(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        allowance: Allowance,
        cancelled: &AtomicBool,
    ) -> Result<Compression, FilesError> {
        self.each_to_compress(paths, filter, &[], allowance, cancelled, |task| task.replace())
    }

    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method of a type that borrows is no function over every lifetime"
    )]
    pub(super) fn preview_compress(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        allowance: Allowance,
        cancelled: &AtomicBool,
    ) -> Result<Compression, FilesError> {
        self.each_to_compress(paths, filter, without, allowance, cancelled, |task| task.guess())
    }

    fn each_to_compress(
        &self,
        paths: &[Vec<u8>],
        filter: &FileFilter,
        without: &[FileFilter],
        mut allowance: Allowance,
        cancelled: &AtomicBool,
        act: impl Fn(&Task<'_, S>) -> Done,
    ) -> Result<Compression, FilesError> {
        check(paths, filter)?;
        let filters = Filters::new(filter, without)?;
        let mut chain = Chain::new(&self.system, &filters).map_err(|error| self.failed(error))?;
        let written = self.system.being_written();
        let mut seen = HashSet::new();
        let mut compression = Compression::default();
        for path in paths {
            if cancelled.load(Ordering::Relaxed) {
                break;
            }
            let mut leave = |why| compression.left.push((path.clone(), why));
            if !seen.insert(path) {
                leave(Left::Gone);
                continue;
            }
            let Some((name, stat)) = self.still_matches(&mut chain, path) else {
                leave(self.why_not(&mut chain, path));
                continue;
            };
            let Some((level, _)) = chain.reach(path) else {
                leave(Left::Gone);
                continue;
            };
            let text = name.to_bytes();
            if NOT_AGAIN.iter().any(|end| text.ends_with(end.as_bytes())) {
                leave(Left::NotMatching);
                continue;
            }
            if written.contains(&stat.inode) && stat.inode != 0 {
                leave(Left::BeingWritten);
                continue;
            }
            if !level.rights(&self.system).cover(&stat) {
                leave(Left::Refused);
                continue;
            }
            if allowance.files == 0 || allowance.bytes < stat.bytes {
                compression.exhausted = true;
                break;
            }
            let named = |parts: &[&[u8]]| CString::new(parts.concat());
            let (Ok(target), Ok(partial)) = (named(&[text, b".gz"]), named(&[b".", text, b".gz.partial"]))
            else {
                leave(Left::Refused);
                continue;
            };
            let task = Task {
                system: &self.system,
                dir: &level.dir,
                name: &name,
                stat: &stat,
                target,
                partial,
                cancelled,
            };
            match act(&task) {
                Done::Compressed(bytes) => {
                    allowance.files -= 1;
                    allowance.bytes -= stat.bytes;
                    let to = [path.as_slice(), b".gz"].concat();
                    compression.done.push(Compressed {
                        from: path.clone(),
                        bytes: stat.bytes,
                        to: Moved {
                            bytes,
                            btime: stat.btime.map(|_| chrono::Utc::now()),
                            ..moved(&to, &stat)
                        },
                    });
                }
                Done::Left(why) => {
                    tracing::debug!(path = show(path), why = why.as_str(), "left where it is");
                    leave(why);
                }
                Done::GivenUp => break,
            }
        }
        Ok(compression)
    }

    fn why_not(&self, chain: &mut Chain<'_, S>, path: &[u8]) -> Left {
        let there = chain.reach(path).is_some_and(|(level, name)| {
            CString::new(name).is_ok_and(|name| self.system.stat(&level.dir, &name).is_ok())
        });
        if there { Left::NotMatching } else { Left::Gone }
    }
}

/// What an error of the system means for one file.
fn left(error: &io::Error) -> Done {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Done::Left(Left::NoSpace),
        io::ErrorKind::StaleNetworkFileHandle => Done::Left(Left::Changed),
        io::ErrorKind::AlreadyExists => Done::Left(Left::NameTaken),
        io::ErrorKind::ResourceBusy => Done::Left(Left::BeingWritten),
        _ => Done::Left(Left::Refused),
    }
}

impl<S: System> Task<'_, S> {
    fn replace(&self) -> Done {
        match self.system.stat(self.dir, &self.target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return left(&error),
            Ok(there) => return self.finish_for_a_dead_run(&there),
        }
        let written = match self.write() {
            Ok(written) => written,
            Err(error) => return self.give_up(left(&error)),
        };
        let Some(original) = written else {
            return self.give_up(Done::GivenUp);
        };
        match self.fingerprint(&self.partial) {
            Ok(Some(copy)) if copy == original => {}
            Ok(None) => return self.give_up(Done::GivenUp),
            Ok(Some(_)) | Err(_) => return self.give_up(Done::Left(Left::Refused)),
        }
        if !self.is_as_it_was() {
            return self.give_up(Done::Left(Left::Changed));
        }
        let published = self
            .system
            .rename((self.dir, &self.partial), (self.dir, &self.target))
            .and_then(|()| self.system.sync(self.dir))
            .and_then(|()| self.system.stat(self.dir, &self.target));
        match published {
            Ok(copy) => self.remove_original(&copy),
            Err(error) => self.give_up(left(&error)),
        }
    }

    /// The copy is there: the original goes, unless somebody has touched it or opened it for writing meanwhile.
    fn remove_original(&self, copy: &Stat) -> Done {
        if !self.is_as_it_was() || self.system.being_written().contains(&self.stat.inode) {
            let _ = self.system.unlink(self.dir, &self.target);
            return Done::Left(Left::Changed);
        }
        match self
            .system
            .unlink(self.dir, self.name)
            .and_then(|()| self.system.sync(self.dir))
        {
            Ok(()) => Done::Compressed(copy.bytes),
            Err(error) => {
                let _ = self.system.unlink(self.dir, &self.target);
                left(&error)
            }
        }
    }

    /// A run died between naming the copy and removing the original, if the two say the same.
    fn finish_for_a_dead_run(&self, there: &Stat) -> Done {
        match self.is_own_copy(there) {
            Ok(true) => self.remove_original(there),
            Ok(false) => Done::Left(Left::NameTaken),
            Err(()) => Done::GivenUp,
        }
    }

    fn is_own_copy(&self, there: &Stat) -> Result<bool, ()> {
        if there.kind != Kind::File || there.links != 1 || there.mtime != self.stat.mtime {
            return Ok(false);
        }
        let Ok((source, _)) = self.system.open(self.dir, self.name) else {
            return Ok(false);
        };
        let original = self.read(source, |_| Ok(())).unwrap_or_default();
        let copy = self.fingerprint(&self.target).unwrap_or_default();
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(());
        }
        Ok(original.is_some() && original == copy)
    }

    /// Writes the copy; none when it was given up.
    fn write(&self) -> io::Result<Option<Fingerprint>> {
        let (source, found) = self.system.open(self.dir, self.name)?;
        if !found.is_untouched(self.stat) {
            return Err(io::ErrorKind::StaleNetworkFileHandle.into());
        }
        let (like, _) = self.system.open(self.dir, self.name)?;
        let sink = self.system.create(self.dir, &self.partial)?;
        let seconds = u32::try_from(self.stat.mtime.0).unwrap_or_default();
        let mut encoder = GzBuilder::new()
            .mtime(seconds)
            .filename(self.name.to_bytes())
            .write(sink, Level::default());
        let Some(original) = self.read(source, |bytes| encoder.write_all(bytes))? else {
            return Ok(None);
        };
        let mut sink = encoder.finish()?;
        sink.flush()?;
        self.system.seal(&mut sink, &like)?;
        Ok(Some(original))
    }

    /// Reads to the end, hands every chunk on and says what it was; none when it was given up.
    fn read(
        &self,
        mut source: impl Read,
        mut each: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Option<Fingerprint>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let (mut bytes, mut hash) = (0, Sha256::new());
        loop {
            if self.cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let read = source.read(&mut chunk)?;
            if read == 0 {
                return Ok(Some((bytes, hash.finalize().into())));
            }
            each(&chunk[..read])?;
            hash.update(&chunk[..read]);
            bytes += read as u64;
        }
    }

    /// What a compressed file holds. It grows no further than the original is: a copy is no larger.
    fn fingerprint(&self, name: &CStr) -> io::Result<Option<Fingerprint>> {
        let (source, _) = self.system.open(self.dir, name)?;
        let most = self.stat.bytes.saturating_add(1);
        self.read(MultiGzDecoder::new(source).take(most), |_| Ok(()))
    }

    fn is_as_it_was(&self) -> bool {
        self.system
            .stat(self.dir, self.name)
            .is_ok_and(|now| now.is_untouched(self.stat))
    }

    /// Takes the unfinished copy away.
    fn give_up(&self, done: Done) -> Done {
        // A partial file of another run that is still at work is not ours.
        if !matches!(done, Done::Left(Left::BeingWritten)) {
            let _ = self.system.unlink(self.dir, &self.partial);
        }
        done
    }

    /// What [`Self::replace`] would come to, from samples.
    fn guess(&self) -> Done {
        match self.system.stat(self.dir, &self.target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return left(&error),
            Ok(there) => {
                return match self.is_own_copy(&there) {
                    Ok(true) => Done::Compressed(there.bytes),
                    Ok(false) => Done::Left(Left::NameTaken),
                    Err(()) => Done::GivenUp,
                };
            }
        }
        match self.sample() {
            Ok(bytes) => Done::Compressed(bytes),
            Err(error) => left(&error),
        }
    }

    fn sample(&self) -> io::Result<u64> {
        let (mut source, _) = self.system.open(self.dir, self.name)?;
        let whole = self.stat.bytes;
        let (mut read, mut packed) = (0, 0);
        let count = if whole <= SAMPLE_BYTES * SAMPLES {
            1
        } else {
            SAMPLES
        };
        for sample in 0..count {
            source.seek(SeekFrom::Start(whole / count * sample))?;
            let most = if count == 1 { whole } else { SAMPLE_BYTES };
            let mut encoder = DeflateEncoder::new((&mut source).take(most), Level::default());
            packed += io::copy(&mut encoder, &mut io::sink())?;
            read += encoder.total_in();
        }
        let packed = u128::from(packed) * u128::from(whole) / u128::from(read.max(1));
        Ok(u64::try_from(packed).unwrap_or(whole))
    }
}
