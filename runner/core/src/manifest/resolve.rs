//! Turns need and reference patterns into needs and references, with a job's params.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::pattern::{PathPattern, Template, Turns, turns};
use super::{Manifest, ParamError, VerbPattern};
use crate::grant::{Need, Path, Verb};
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
    /// The needs of a job with these settled params: one for each element where a pattern names a list, none where
    /// an optional param is absent, and all tables where a list of tables is. Table names are as written;
    /// [`crate::job::Config::needs`] also brings them into their canonical form.
    ///
    /// # Errors
    /// A pattern that the params do not fill, or a name that is none.
    pub fn needs(&self, params: &Json) -> Result<Vec<Need>, Vec<ParamError>> {
        let (mut needs, mut errors) = (Vec::new(), Vec::new());
        for need in &self.needs {
            let Some(pattern) = self.pattern(&need.on, params, &mut errors) else {
                continue;
            };
            let fields: Vec<Template> = need.verbs.iter().filter_map(VerbPattern::template).collect();
            let templates: Vec<&Template> = pattern.templates().into_iter().chain(&fields).collect();
            for turns in turns(&templates, &self.params, params) {
                let verbs = verbs(&need.verbs, params, &turns);
                if verbs.is_empty() {
                    continue;
                }
                match pattern.fill(params, &turns) {
                    Some(Ok(on)) => {
                        let need = Need {
                            interface: need.interface,
                            verbs,
                            on,
                            optional: need.optional,
                        };
                        if !needs.contains(&need) {
                            needs.push(need);
                        }
                    }
                    Some(Err(error)) => errors.push(name_error(&error)),
                    None => {}
                }
            }
        }
        if errors.is_empty() { Ok(needs) } else { Err(errors) }
    }

    fn pattern(&self, on: &str, params: &Json, errors: &mut Vec<ParamError>) -> Option<PathPattern> {
        match PathPattern::parse(on, &self.params) {
            Ok(pattern) => Some(pattern.widened(&self.params, params)),
            Err(complaint) => {
                errors.push(ParamError {
                    is_unknown: false,
                    path: String::new(),
                    message: complaint.message,
                    hint: complaint.hint,
                });
                None
            }
        }
    }

    /// The columns and indexes that these settled params name.
    ///
    /// # Errors
    /// As for [`Self::needs`].
    pub fn references(&self, params: &Json) -> Result<Vec<Reference>, Vec<ParamError>> {
        let (mut references, mut errors) = (Vec::new(), Vec::new());
        for reference in &self.references {
            let Some(pattern) = self.pattern(&reference.on, params, &mut errors) else {
                continue;
            };
            let column: fn(String) -> ReferenceKind = ReferenceKind::Column;
            let named = [
                (&reference.column, column),
                (&reference.index, ReferenceKind::Index),
            ];
            for (text, kind) in named
                .iter()
                .filter_map(|(text, kind)| Some((text.as_deref()?, kind)))
            {
                let Ok(name) = Template::parse(text) else { continue };
                let mut templates = pattern.templates();
                templates.push(&name);
                for turns in turns(&templates, &self.params, params) {
                    let Some(name) = name.fill(params, &turns) else {
                        continue;
                    };
                    match pattern.fill(params, &turns) {
                        Some(Ok(Path::Table(database, table))) => {
                            references.push(Reference {
                                database,
                                table,
                                kind: kind(name.to_owned()),
                            });
                        }
                        Some(Err(error)) => errors.push(name_error(&error)),
                        // Of every table no single column can be asked for.
                        Some(Ok(_)) | None => {}
                    }
                }
            }
        }
        references.sort();
        references.dedup();
        if errors.is_empty() {
            Ok(references)
        } else {
            Err(errors)
        }
    }
}

impl VerbPattern {
    /// The field that it names, as a placeholder.
    fn template(&self) -> Option<Template> {
        match self {
            Self::Field { param, field } => Some(Template::Placeholder {
                param: param.clone(),
                field: Some(field.clone()),
            }),
            Self::Verb(_) | Self::Param(_) => None,
        }
    }
}

/// The verbs that these params ask for in turn `turns`; of an empty list none.
fn verbs(patterns: &BTreeSet<VerbPattern>, params: &Json, turns: &Turns<'_>) -> BTreeSet<Verb> {
    let mut verbs = BTreeSet::new();
    for pattern in patterns {
        match pattern {
            VerbPattern::Verb(verb) => {
                verbs.insert(*verb);
            }
            VerbPattern::Param(name) => {
                let named = match params.get(name) {
                    Some(Json::Array(values)) => values.as_slice(),
                    Some(value) => std::slice::from_ref(value),
                    None => &[],
                };
                verbs.extend(named.iter().filter_map(Json::as_str).filter_map(Verb::parse));
            }
            VerbPattern::Field { .. } => {
                let named = pattern.template();
                let named = named.as_ref().and_then(|named| named.fill(params, turns));
                verbs.extend(named.and_then(Verb::parse));
            }
        }
    }
    verbs
}

fn name_error(error: &crate::name::NameError) -> ParamError {
    ParamError {
        is_unknown: false,
        path: String::new(),
        message: error.to_string(),
        hint: None,
    }
}
