//! Compiled plugins that came with the program, in one package: trusted as far as the program itself is.
//!
//! Whoever can change them can change the program: they have its owner, and nobody else may write them. A cache is
//! another matter (`cache`): that is filled by a process for itself, and sealed.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cache::{CacheError, FILE_BYTES_MAX, artefact_name};

/// What the group and others may not do.
const WRITE_OF_OTHERS: u32 = 0o022;

/// A folder of compiled plugins beside the program.
#[derive(Debug, Clone)]
pub struct Packaged {
    folder: PathBuf,
    owner: u32,
}

impl Packaged {
    /// The packaged plugins in `folder`, which came with `program`; none where there is no such folder.
    ///
    /// # Errors
    /// Neither can be looked at, or somebody else can change what is in the folder.
    pub fn find(folder: &Path, program: &Path) -> Result<Option<Self>, CacheError> {
        let found = match fs::symlink_metadata(folder) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(folder, source)),
        };
        let owner = fs::metadata(program)
            .map_err(|source| failed(program, source))?
            .uid();
        let packaged = Self {
            folder: folder.to_owned(),
            owner,
        };
        packaged.check(folder, &found)?;
        Ok(Some(packaged))
    }

    /// The artefact made from the component with this digest, for this machine and this release; none when it was not
    /// packaged.
    ///
    /// # Errors
    /// It cannot be read, or somebody else can change it.
    pub fn load(&self, digest: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let path = self
            .folder
            .join(format!("{}.cwasm", artefact_name(digest, crate::TARGET)));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(&path, source)),
        };
        let found = file.metadata().map_err(|source| failed(&path, source))?;
        self.check(&path, &found)?;
        let mut artefact = Vec::new();
        file.take(FILE_BYTES_MAX)
            .read_to_end(&mut artefact)
            .map_err(|source| failed(&path, source))?;
        Ok(Some(artefact))
    }

    fn check(&self, path: &Path, found: &Metadata) -> Result<(), CacheError> {
        let exposed = |reason: &str| CacheError::Exposed {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        if found.uid() != self.owner {
            return Err(exposed("it has another owner than the program"));
        }
        if found.mode() & WRITE_OF_OTHERS != 0 {
            return Err(exposed("others may write it; run `chmod go-w` on it"));
        }
        Ok(())
    }
}

fn failed(path: &Path, source: io::Error) -> CacheError {
    CacheError::Io {
        operation: "read",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_came_with_the_program_is_loaded_and_what_others_may_write_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("bootstrap");
        fs::write(&program, "").expect("a file");
        let compiled = folder.path().join("compiled");
        assert!(Packaged::find(&compiled, &program).expect("a look").is_none());
        fs::create_dir(&compiled).expect("a folder");
        let file = compiled.join(format!("{}.cwasm", artefact_name("d1", crate::TARGET)));
        fs::write(&file, b"code").expect("a file");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
        };
        mode(&compiled, 0o755);
        mode(&file, 0o644);
        let packaged = Packaged::find(&compiled, &program)
            .expect("a look")
            .expect("a folder");
        assert_eq!(packaged.load("d1").expect("a file"), Some(b"code".to_vec()));
        assert_eq!(packaged.load("d2").expect("a look"), None);
        mode(&file, 0o664);
        assert!(matches!(packaged.load("d1"), Err(CacheError::Exposed { .. })));
        mode(&compiled, 0o777);
        assert!(matches!(
            Packaged::find(&compiled, &program),
            Err(CacheError::Exposed { .. })
        ));
    }
}
