//! The folder that runs leave things in: emptied before each invocation, since a sandbox keeps it from one to the next.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes it, or empties it. Nobody else may look in.
pub(super) fn empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_invocation_left_is_gone_for_the_next_and_a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (scratch, other) = (folder.path().join("scratch"), folder.path().join("other"));
        empty(&scratch).expect("it is made");
        fs::create_dir(&other).expect("a folder");
        fs::write(other.join("kept"), "x").expect("a file");
        fs::create_dir(scratch.join("deep")).expect("a folder");
        fs::write(scratch.join("deep/left"), "x").expect("a file");
        std::os::unix::fs::symlink(&other, scratch.join("link")).expect("a link");
        empty(&scratch).expect("it is emptied");
        assert_eq!(fs::read_dir(&scratch).expect("it is there").count(), 0);
        assert!(other.join("kept").is_file());
    }
}
