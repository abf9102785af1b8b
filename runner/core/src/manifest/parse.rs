//! Reads `plugin.toml`.

use super::Manifest;

/// A mistake in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ManifestError {
    /// What is wrong.
    pub message: String,
    /// Where in the text, in bytes.
    pub span: Option<std::ops::Range<usize>>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn parse(_text: &str) -> Result<Self, Vec<ManifestError>> {
        Err(Vec::new())
    }
}
