//! `required_unless = { op = ["is-null"] }`: a param that must be given, unless a neighbour of it has one of some values.

use serde_json::{Map, Value as Json};

use super::{Param, ParamKind};
use crate::config::diagnostic::Diagnostic;
use crate::config::document::{Entry, Node};

/// The neighbour, and its values with which nothing need be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unless {
    /// An enum beside the param.
    pub param: String,
    /// Some of its values.
    pub values: Vec<String>,
}

impl Unless {
    /// As it is written; whether it makes sense [`check`] says.
    pub(super) fn read(node: &Node) -> Option<Self> {
        let entry = node.entries_of("required_unless").first()?;
        Some(Self {
            param: entry.key.clone(),
            values: entry
                .node
                .items()
                .iter()
                .filter_map(Node::text)
                .map(str::to_owned)
                .collect(),
        })
    }

    /// True when the neighbour, settled, asks for the param. One that is wrong asks for nothing more.
    pub(super) fn asks(&self, neighbours: &Map<String, Json>) -> bool {
        let value = neighbours.get(&self.param).and_then(Json::as_str);
        value.is_some_and(|value| !self.values.iter().any(|free| free == value))
    }

    /// When it is needed, for the hint of a missing one.
    pub(super) fn words(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|value| format!("`{value}`")).collect();
        format!("needed unless `{}` is {}", self.param, values.join(" or "))
    }
}

/// Holds every `required_unless` among `entries` against its neighbours, `params`.
pub(super) fn check(entries: &[Entry], params: &[Param], mistakes: &mut Vec<Diagnostic>) {
    for entry in entries {
        let Some(found) = entry.node.get("required_unless") else {
            continue;
        };
        let mut refuse = |message: String, hint: &str| {
            mistakes.push(
                Diagnostic::at("bad-param", found.span.clone(), message)
                    .label("here")
                    .hint(hint),
            );
        };
        if entry.node.is_true("required") || entry.node.get("default").is_some() {
            refuse(
                format!(
                    "`{}` is required, or has a default, whatever its neighbours are",
                    entry.key
                ),
                "remove one of the two",
            );
        }
        let is_of_an_enum = |unless: &Unless| {
            params.iter().any(|param| match &param.kind {
                ParamKind::Enum(values) => {
                    param.name == unless.param && unless.values.iter().all(|value| values.contains(value))
                }
                _ => false,
            })
        };
        let is_one = found.entries().len() == 1;
        if !Unless::read(&entry.node)
            .is_some_and(|unless| is_one && !unless.values.is_empty() && is_of_an_enum(&unless))
        {
            refuse(
                "this names no values of an enum beside it".to_owned(),
                "write one enum and some of its values: `required_unless = { op = [\"is-null\"] }`",
            );
        }
    }
}
