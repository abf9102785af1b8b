//! Finds PostgreSQL's own tools: `pg_dump`, `pg_restore` and their kin, in a version that fits the server.
//!
//! A client older than the server is refused here, where it can be said what to install: the tools themselves would refuse
//! too, and half of the world's backup scripts have taken that for success.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sereno_core::ports::backup::BackupError;
use tokio::process::Command;

/// Where they are looked for when the configuration does not say.
const VARIABLE: &str = "SERENO_PG_BIN";

/// Where Debian and Ubuntu keep them, off PATH, a folder for each version.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// A folder with the tools of one release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tools {
    pub(super) major: u32,
    folder: PathBuf,
}

/// Where the tools may be.
#[derive(Debug, Clone)]
pub(super) enum Search {
    /// The operator said where; nowhere else is looked.
    Only(PathBuf),
    /// Wherever they usually are.
    Usual,
}

impl Tools {
    /// The path of one of them.
    pub(super) fn program(&self, name: &str) -> Result<PathBuf, BackupError> {
        let path = self.folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        Err(BackupError::NotFound(format!(
            "there is no {name} in {}; install PostgreSQL's client programs of version {}",
            self.folder.display(),
            self.major
        )))
    }
}

impl Search {
    pub(super) fn new(configured: Option<&Path>) -> Self {
        let named = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty());
        match configured
            .map(Path::to_owned)
            .or_else(|| named.map(PathBuf::from))
        {
            Some(folder) => Self::Only(folder),
            None => Self::Usual,
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        match self {
            Self::Only(folder) => vec![folder.clone()],
            Self::Usual => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&path).chain(debian_folders()).collect()
            }
        }
    }

    /// The tools for a server of version `server`: of the same one, else of the next newer one that is there.
    pub(super) async fn for_server(&self, server: u32) -> Result<Tools, BackupError> {
        let found = self.all().await;
        let fits = found.iter().find(|tools| tools.major >= server);
        fits.cloned().ok_or_else(|| {
            let there: Vec<String> = found
                .iter()
                .map(|tools| format!("{} in {}", tools.major, tools.folder.display()))
                .collect();
            let there = match there.as_slice() {
                [] => match self {
                    Self::Only(folder) => format!("there are none in {}", folder.display()),
                    Self::Usual => "none were found".to_owned(),
                },
                there => format!("there is {}", there.join(" and ")),
            };
            BackupError::NotFound(format!(
                "the server is PostgreSQL {server}, and its backup needs client programs (pg_dump, pg_restore) of version \
                 {server} or newer: {there}; install postgresql-client-{server}, or name their folder with \
                 `tools` in [backup] or {VARIABLE}"
            ))
        })
    }

    /// The tools of exactly that version, for what lies in a cluster's own files.
    pub(super) async fn exactly(&self, server: u32) -> Result<Tools, BackupError> {
        let mut found = self.all().await.into_iter();
        found.find(|tools| tools.major == server).ok_or_else(|| {
            BackupError::NotFound(format!(
                "a physical backup of PostgreSQL {server} needs that version's own programs (pg_basebackup, pg_combinebackup, \
                 pg_verifybackup), which were not found; install postgresql-{server}, or name their folder with `tools` in \
                 [backup] or {VARIABLE}"
            ))
        })
    }

    /// Every release that is there, the oldest first.
    async fn all(&self) -> BTreeSet<Tools> {
        let mut found = BTreeSet::new();
        for folder in self.folders() {
            // PATH often holds links to some of the programs and not to others.
            let Ok(program) = folder.join("pg_dump").canonicalize() else {
                continue;
            };
            // Debian's own wrapper picks a version by the cluster that it thinks is meant.
            let is_wrapper = program.file_name().is_some_and(|name| name == "pg_wrapper");
            let Some(folder) = program.parent().filter(|_| !is_wrapper) else {
                continue;
            };
            if let Some(major) = major_of(&program).await {
                found.insert(Tools {
                    major,
                    folder: folder.to_owned(),
                });
            }
        }
        found
    }
}

/// The major version that a program says it is.
async fn major_of(program: &Path) -> Option<u32> {
    let answer = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    parse_major(&String::from_utf8_lossy(&answer.stdout))
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `pg_dump (PostgreSQL) 19devel`.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn debian_folders() -> impl Iterator<Item = PathBuf> {
    let versions = std::fs::read_dir(DEBIAN_VERSIONS).into_iter().flatten().flatten();
    versions.map(|entry| entry.path().join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_tools_write_them() {
        for (text, major) in [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("pg_dump (PostgreSQL) 18.6\n", Some(18)),
            ("pg_dump (PostgreSQL) 19devel\n", Some(19)),
            ("pg_dump 9\n", None),
            ("", None),
        ] {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }

    #[tokio::test]
    async fn a_folder_without_tools_says_what_to_install() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Search::Only(folder.path().to_owned()).for_server(18).await;
        let text = error.expect_err("nothing is there").to_string();
        for words in [
            "PostgreSQL 18",
            "there are none in",
            "postgresql-client-18",
            "[backup]",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}
