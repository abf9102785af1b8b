//! The manifest: what a plugin says it is, takes and needs. Read without running it.
//!
//! `plugin.toml` is the only source; `sereno plugin pack` appends it to the component. [`Manifest::parse`] reads it,
//! [`Manifest::settle_params`] holds a job's params against it, [`Manifest::needs`] turns them into needs.

mod named;
mod params;
mod parse;
mod pattern;
mod resolve;
#[cfg(test)]
mod tests;
mod unless;

use std::collections::BTreeSet;

use semver::Version;
use serde_json::Value as Json;

use crate::grant::{Interface, Verb};
use crate::name::PluginName;

pub use named::Sought;
pub use params::ParamError;
pub use parse::ManifestError;
pub use resolve::{Reference, ReferenceKind};
pub use unless::Unless;

/// The contract that this build speaks.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// A whole `plugin.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The plugin's name.
    pub name: PluginName,
    /// Its own version.
    pub version: Version,
    /// The contract it was built against.
    pub contract: Version,
    /// One sentence.
    pub summary: String,
    /// In the order of the file.
    pub params: Vec<Param>,
    /// In the order of the file.
    pub needs: Vec<NeedPattern>,
    /// Columns and indexes that must exist before anything runs.
    pub references: Vec<ReferencePattern>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its key in `params = { ... }`.
    pub name: String,
    /// What it holds.
    pub kind: ParamKind,
    /// Must be given.
    pub required: bool,
    /// Must be given, with some values of another.
    pub required_unless: Option<Unless>,
    /// Used when it is not given, as JSON after normalisation.
    pub default: Option<Json>,
    /// Smallest allowed value: a number, milliseconds or bytes.
    pub min: Option<f64>,
    /// Largest allowed value.
    pub max: Option<f64>,
    /// One sentence, for the reference and for errors.
    pub doc: String,
}

/// What a parameter holds. Durations become milliseconds and sizes become bytes before the plugin sees them.
#[derive(Debug, Clone, PartialEq)]
pub enum ParamKind {
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// True or false.
    Boolean,
    /// `"24h"`.
    Duration,
    /// `"500 MiB"`.
    Size,
    /// A glob.
    Glob,
    /// The name of a configured database.
    Database,
    /// The name of a configured directory.
    Directory,
    /// The name of a configured origin.
    Origin,
    /// The name of a configured storage.
    Storage,
    /// The name of a configured writer.
    Writer,
    /// A table, as `schema.table` or bare.
    Table,
    /// A column.
    Column,
    /// An index.
    Index,
    /// One of these texts.
    Enum(Vec<String>),
    /// A string, an integer, a float or a boolean: a value to compare a column with.
    Scalar,
    /// Several of one kind; the element's name is the list's with `[]`.
    List(Box<Param>),
    /// Named fields; `required` and `default` hold for each.
    Record(Vec<Param>),
}

/// `[[needs]]`, before it meets params.
///
/// Patterns of the same list (`{counts[].database}` and `{counts[].table}`) go together, element by element; a param
/// that was not given and has no default makes no need. A table may be the literal `*`: all granted ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeedPattern {
    /// The capability.
    pub interface: Interface,
    /// The verbs.
    pub verbs: BTreeSet<VerbPattern>,
    /// A path with `{param}`, `{list}` or `{list[].field}` in place of names.
    pub on: String,
    /// The plugin can do without.
    pub optional: bool,
}

/// One of a need's verbs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum VerbPattern {
    /// `"vacuum"`.
    Verb(Verb),
    /// `"{do}"`: the verbs that this enum, or list of an enum, holds; each of its values is a verb of the
    /// interface. So a job grants no more than what it is told to do.
    Param(String),
    /// `"{steps[].do}"`: the verb that this field of each element holds, on the path of that same element.
    Field {
        /// The list of records.
        param: String,
        /// The enum.
        field: String,
    },
}

/// `[[references]]`: a column or an index that a param names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencePattern {
    /// The table's path, a pattern like those of needs.
    pub on: String,
    /// A pattern for a column name.
    pub column: Option<String>,
    /// A pattern for an index name.
    pub index: Option<String>,
}
