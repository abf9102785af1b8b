//! Holds a job's params against its plugin's manifest.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Manifest;

/// One mistake in a job's params.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamError {
    /// The path of the value: `keep`, `where[0].op`.
    pub path: String,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Manifest {
    /// The params as the plugin gets them: types checked, defaults filled in, durations in milliseconds, sizes in
    /// bytes.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn settle_params(&self, _given: &BTreeMap<String, Json>) -> Result<Json, Vec<ParamError>> {
        Err(Vec::new())
    }
}
