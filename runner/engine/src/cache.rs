//! Compiled plugins on disk, each under a seal that only this user's key can make.
//!
//! An artefact is native code: nothing that this module has not authenticated is ever loaded. A file that is
//! damaged, swapped, truncated or from another release is a miss, and is compiled again. The cache never looks into
//! what it keeps.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::engine::{TARGET, WASMTIME_VERSION};

/// First line of every file; a new layout gets a new one.
const MAGIC: &[u8] = b"sereno-cwasm-1\n";
/// Of the seal and of the key.
const SECRET_BYTES: usize = 32;
/// An artefact is three to five times as large as its component, which has a limit of its own.
pub(crate) const FILE_BYTES_MAX: u64 = 512 << 20;
/// What others may not have on the folder and the key.
const OTHERS: u32 = 0o077;

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Somebody else could write to it, or own it.
    #[error("{path} must be yours alone: {reason}")]
    Exposed {
        /// The folder or the key.
        path: PathBuf,
        /// What to change.
        reason: String,
    },
    /// The operating system refused.
    #[error("could not {operation} {path}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> CacheError + 'a {
    move |source| CacheError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// A folder of compiled plugins.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in `folder`, which need not exist. Touches nothing.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The artefact made from the component with this digest; none when there is none that can be trusted.
    ///
    /// # Errors
    /// The folder or its key is not this user's alone.
    pub fn load(&self, digest: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        self.check_folder()?;
        let Some(key) = self.read_key()? else {
            return Ok(None);
        };
        let mut sealed = Vec::new();
        file.take(FILE_BYTES_MAX)
            .read_to_end(&mut sealed)
            .map_err(failed("read", &path))?;
        let Some(seal) = unwrapped(&sealed) else {
            return Ok(None);
        };
        let artefact_at = MAGIC.len() + SECRET_BYTES;
        if mac(&key, digest, &sealed[artefact_at..])
            .verify_slice(seal)
            .is_err()
        {
            return Ok(None);
        }
        sealed.drain(..artefact_at);
        Ok(Some(sealed))
    }

    /// Keeps `artefact` as what the component with this digest compiles to.
    ///
    /// # Errors
    /// The folder is not this user's alone, or cannot be written.
    pub fn store(&self, digest: &str, artefact: &[u8]) -> Result<(), CacheError> {
        let key = self.key()?;
        let seal = mac(&key, digest, artefact).finalize().into_bytes();
        let draft = self.draft()?;
        let written = draft
            .create()
            .and_then(|mut file| {
                file.write_all(MAGIC)?;
                file.write_all(&seal)?;
                file.write_all(artefact)
            })
            .and_then(|()| fs::rename(&draft.0, self.path(digest)));
        written.map_err(failed("write", &draft.0))
    }

    /// A file in the folder that nobody else has and that is gone when it is dropped.
    pub(crate) fn draft(&self) -> Result<Draft, CacheError> {
        self.make_folder()?;
        let mut random = [0; 16];
        fill(&mut random).map_err(failed("name a file in", &self.folder))?;
        Ok(Draft(self.folder.join(format!("draft-{}", hex(&random)))))
    }

    /// Everything that an artefact depends on is in its name: another release or architecture looks elsewhere. What
    /// was configured differently is in the artefact, and wasmtime refuses it.
    fn path(&self, digest: &str) -> PathBuf {
        self.folder
            .join(format!("{}.cwasm", artefact_name(digest, TARGET)))
    }

    fn make_folder(&self) -> Result<(), CacheError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(failed("create", &self.folder))?;
        self.check_folder()
    }

    fn check_folder(&self) -> Result<(), CacheError> {
        let found = fs::symlink_metadata(&self.folder).map_err(failed("look at", &self.folder))?;
        if !found.is_dir() {
            return Err(exposed(&self.folder, "it is no folder; name another"));
        }
        check_owner(&self.folder, &found)
    }

    fn key_path(&self) -> PathBuf {
        self.folder.join("key")
    }

    fn read_key(&self) -> Result<Option<[u8; SECRET_BYTES]>, CacheError> {
        let path = self.key_path();
        // A link would lead to a key that others may know.
        let open = OpenOptions::new().read(true).custom_flags(nofollow()).open(&path);
        let mut file = match open {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let found = file.metadata().map_err(failed("look at", &path))?;
        check_owner(&path, &found)?;
        let mut key = [0; SECRET_BYTES];
        if found.len() != SECRET_BYTES as u64 {
            return Err(exposed(&path, "it is damaged; remove it"));
        }
        file.read_exact(&mut key).map_err(failed("read", &path))?;
        Ok(Some(key))
    }

    /// The key, made if there is none. Of several processes that make one at once, the first one's counts.
    fn key(&self) -> Result<[u8; SECRET_BYTES], CacheError> {
        self.make_folder()?;
        if let Some(key) = self.read_key()? {
            return Ok(key);
        }
        let path = self.key_path();
        let mut key = [0; SECRET_BYTES];
        fill(&mut key).map_err(failed("draw", &path))?;
        let draft = self.draft()?;
        draft
            .create()
            .and_then(|mut file| file.write_all(&key))
            .map_err(failed("write", &draft.0))?;
        match fs::hard_link(&draft.0, &path) {
            Ok(()) => Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self
                .read_key()?
                .ok_or_else(|| exposed(&path, "it went away while it was read")),
            Err(error) => Err(failed("write", &path)(error)),
        }
    }
}

/// A file that is not there yet, or not for long.
pub(crate) struct Draft(pub(crate) PathBuf);

impl Draft {
    /// Makes the file; refuses one that is there.
    pub(crate) fn create(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.0)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Renamed away when all went well.
        let _ = fs::remove_file(&self.0);
    }
}

/// The seal of a file that has the right shape.
fn unwrapped(sealed: &[u8]) -> Option<&[u8]> {
    sealed
        .strip_prefix(MAGIC)?
        .split_at_checked(SECRET_BYTES)
        .map(|(seal, _)| seal)
}

/// The name is under the seal too, so that an artefact cannot be passed off as another's.
fn mac(key: &[u8; SECRET_BYTES], digest: &str, artefact: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(MAGIC);
    mac.update(artefact_name(digest, TARGET).as_bytes());
    mac.update(artefact);
    mac
}

/// What the artefact is called that the component with this digest compiles to, for `target` and this release.
pub fn artefact_name(digest: &str, target: Option<&str>) -> String {
    let parts = [digest, WASMTIME_VERSION, target.unwrap_or("host")];
    hex(&Sha256::digest(parts.join("\n").as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn fill(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}

fn nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).expect("open flags fit")
}

fn check_owner(path: &Path, found: &fs::Metadata) -> Result<(), CacheError> {
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(exposed(path, "it belongs to another user; name another folder"));
    }
    if found.mode() & OTHERS != 0 {
        return Err(exposed(path, "others have rights on it; run `chmod go=` on it"));
    }
    Ok(())
}

fn exposed(path: &Path, reason: &str) -> CacheError {
    CacheError::Exposed {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DIGEST: &str = "d1";

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::new(folder.path().join("cache"));
        (folder, cache)
    }

    #[test]
    fn an_artefact_comes_back_and_leaves_no_drafts() {
        let (_folder, cache) = cache();
        assert_eq!(cache.load(DIGEST).expect("an empty cache"), None);
        cache.store(DIGEST, b"code").expect("it is kept");
        assert_eq!(cache.load(DIGEST).expect("a cache"), Some(b"code".to_vec()));
        assert_eq!(cache.load("d2").expect("a cache"), None);
        let mut names: Vec<_> = fs::read_dir(&cache.folder)
            .expect("a folder")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("a name")
            })
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                format!("{}.cwasm", artefact_name(DIGEST, TARGET)),
                "key".to_owned()
            ]
        );
    }

    #[test]
    fn an_artefact_under_anothers_name_is_not_trusted() {
        let (_folder, cache) = cache();
        cache.store(DIGEST, b"code").expect("it is kept");
        fs::copy(cache.path(DIGEST), cache.path("d2")).expect("a copy");
        assert_eq!(cache.load("d2").expect("a cache"), None);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_makes_a_miss() {
        let (_folder, cache) = cache();
        cache.store(DIGEST, b"code").expect("it is kept");
        let good = fs::read(cache.path(DIGEST)).expect("the file");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(cache.path(DIGEST), bad).expect("it is written");
            assert_eq!(cache.load(DIGEST).expect("a cache"), None, "bit {bit}");
        }
        for end in 0..good.len() {
            fs::write(cache.path(DIGEST), &good[..end]).expect("it is written");
            assert_eq!(cache.load(DIGEST).expect("a cache"), None, "cut at {end}");
        }
    }

    #[test]
    fn another_key_makes_a_miss() {
        let (_folder, cache) = cache();
        cache.store(DIGEST, b"code").expect("it is kept");
        fs::write(cache.key_path(), [7; SECRET_BYTES]).expect("another key");
        assert_eq!(cache.load(DIGEST).expect("a cache"), None);
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let (_folder, cache) = cache();
        cache.store(DIGEST, b"code").expect("it is kept");
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
        };
        open(&cache.key_path(), 0o640);
        assert!(matches!(cache.load(DIGEST), Err(CacheError::Exposed { .. })));
        open(&cache.key_path(), 0o600);
        assert!(cache.load(DIGEST).expect("a cache").is_some());
        open(&cache.folder, 0o770);
        assert!(matches!(cache.load(DIGEST), Err(CacheError::Exposed { .. })));
        assert!(matches!(
            cache.store(DIGEST, b""),
            Err(CacheError::Exposed { .. })
        ));
    }

    #[test]
    fn makers_of_the_key_at_the_same_time_agree_on_one() {
        let (_folder, cache) = cache();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| cache.key().expect("a key")))
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().expect("no panic"))
                .collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}
