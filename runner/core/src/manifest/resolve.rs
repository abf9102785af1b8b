//! Turns need and reference patterns into needs and references, with a job's params.

use serde_json::Value as Json;

use super::{Manifest, ParamError};
use crate::grant::Need;
use crate::name::{TableName, TargetName};

/// A column or an index that a param names and that must exist.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The database.
    pub database: TargetName,
    /// The table.
    pub table: TableName,
    /// What of it.
    pub kind: ReferenceKind,
}

/// What a [`Reference`] names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// A column.
    Column(String),
    /// An index.
    Index(String),
}

impl Manifest {
    /// The needs of a job with these settled params: one for each element where a pattern names a list.
    ///
    /// # Errors
    /// A pattern that the params do not fill, or a name that is none.
    pub fn needs(&self, _params: &Json) -> Result<Vec<Need>, Vec<ParamError>> {
        Err(Vec::new())
    }

    /// The columns and indexes that these settled params name.
    ///
    /// # Errors
    /// As for [`Self::needs`].
    pub fn references(&self, _params: &Json) -> Result<Vec<Reference>, Vec<ParamError>> {
        Err(Vec::new())
    }
}
