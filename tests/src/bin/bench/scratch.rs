//! Where benchmarks of files work, what they start from and the processes they time. It measures nothing.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use sereno_tests::house::{plugins_folder, program};

use crate::measure::quietly;

/// A folder in memory where this user may mount one, so that a disk's noise is no part of the figures.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    mounted: bool,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=4g,nr_inodes=0", "tmpfs"])
            .arg(folder.path());
        let mounted = quietly(&mut mount).is_ok();
        fs::create_dir(folder.path().join("home"))?;
        Ok(Self { folder, mounted })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.mounted {
            // What stays mounted goes with the machine; a benchmark must not fail over it.
            let _ = quietly(Command::new("umount").arg(self.folder.path()));
        }
    }
}

/// `count` files of three days' age, spread over `folders` (0: all in `root` itself).
pub(crate) fn fill(root: &Path, count: usize, folders: usize) -> Result<()> {
    let times = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400));
    for folder in 0..folders.max(1) {
        let at = if folders == 0 {
            root.to_owned()
        } else {
            root.join(format!("d{folder}"))
        };
        fs::create_dir_all(&at)?;
        for file in 0..count / folders.max(1) {
            File::create(at.join(format!("session-{file}.tmp")))?.set_times(times)?;
        }
    }
    Ok(())
}

/// A folder with a configuration for one temp-files job over `temp`, and the plugins beside it.
pub(crate) fn files_home(root: &Path) -> Result<()> {
    fs::write(
        root.join("sereno.toml"),
        r#"version = 1
[ledger]
url = "sqlite://ledger.db"
[directory.temp]
path = "temp"
[job.temp-files]
plugin = "temp-files"
params = { directory = "temp", older_than = "24h", age_by = ["mtime"], remove_emptied = false }
grant = { directory.temp = ["read", "remove"] }
guard = { max_files = 2_000_000 }
"#,
    )?;
    let plugins = root.join("plugins");
    if !plugins.exists() {
        std::os::unix::fs::symlink(plugins_folder()?, plugins)?;
    }
    Ok(())
}

pub(crate) fn sereno(root: &Path, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(program()?);
    command
        .args(args)
        .current_dir(root)
        .env("SERENO_CACHE_DIR", root.join("cache"));
    Ok(command)
}

pub(crate) fn find(root: &Path) -> Command {
    let mut command = Command::new("find");
    command
        .arg(root.join("temp"))
        .args(["-type", "f", "-mmin", "+1440", "-delete"]);
    command
}

pub(crate) fn left(root: &Path) -> Result<usize> {
    let mut open = vec![root.join("temp")];
    let mut count = 0;
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    Ok(count)
}
