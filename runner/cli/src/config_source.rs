//! Finds and reads the configuration, and words what is wrong with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use sereno_core::config::{self, Diagnostic};
use sereno_core::job::Config;

use crate::failure::{Failure, USAGE};
use crate::output::Output;
use crate::render::diagnostics;

/// The name that is looked for where no other was given.
pub(crate) const FILE_NAME: &str = "sereno.toml";

/// A configuration and the text that it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Where it is, as it was given.
    pub(crate) file: PathBuf,
    /// As it is.
    pub(crate) text: String,
    /// The folder that relative paths start from.
    pub(crate) folder: PathBuf,
}

impl Source {
    /// Reads the file at `given` (a flag or the environment), else `./sereno.toml`.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self, Failure> {
        let file = given.unwrap_or(Path::new(FILE_NAME)).to_owned();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                let failure = Failure::from(
                    anyhow::Error::new(error)
                        .context(format!("could not read the configuration {}", file.display())),
                );
                let hint = if is_missing {
                    "`sereno init` writes one; `--config FILE` or SERENO_CONFIG names another"
                } else {
                    "it must be a file of text that this user can read"
                };
                return Err(Failure {
                    exit: USAGE,
                    code: "configuration",
                    ..failure
                }
                .hint(hint));
            }
        };
        let folder = folder_of(&file)?;
        Ok(Self { file, text, folder })
    }

    /// Reads its meaning.
    pub(crate) fn parse(&self, output: &Output) -> Result<Arc<Config>, Failure> {
        config::parse(&self.text, &self.folder)
            .map(Arc::new)
            .map_err(|mistakes| self.failure(&mistakes, "nothing was opened", output))
    }

    /// All of its mistakes, as the error that they are, with what they kept from happening.
    pub(crate) fn failure(&self, mistakes: &[Diagnostic], so: &str, output: &Output) -> Failure {
        let count = match mistakes.len() {
            1 => "1 mistake".to_owned(),
            many => format!("{many} mistakes"),
        };
        // As long as the text, so that every place holds, and without the passwords that may stand in it.
        let shown = config::masked(&self.text);
        let message = format!("{count} in {}; {so}", self.file.display());
        Failure::new(USAGE, "configuration", message).details(
            diagnostics::json(&self.file, &shown, mistakes),
            diagnostics::text(&self.file, &shown, mistakes, output.paint_talk),
        )
    }
}

/// The absolute folder of a file, so that a change of directory or a relative path harms nobody.
fn folder_of(file: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(file).with_context(|| format!("could not find {}", file.display()))?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    // The file was read, so its folder is there; without links, one directory has one name.
    Ok(folder
        .canonicalize()
        .with_context(|| format!("could not find {}", folder.display()))?)
}
