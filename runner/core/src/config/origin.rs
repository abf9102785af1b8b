//! Where each effective value comes from: a line of the file, or a default.

use std::path::Path;

use super::document::{self, Data, Node};
use super::shape::{Key, Kind, Presence, Shape};
use super::spans::below;
use super::{ROOT, diagnostic, secret};
use crate::job::UPKEEP_WALL_DEFAULT;
use crate::units::show_duration;

/// One effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its path, such as `job.temp-files.guard.max_files`.
    pub key: String,
    /// As TOML; references unresolved, passwords starred out.
    pub value: String,
    /// The line that sets it, counted from 1; none for a default.
    pub line: Option<usize>,
}

/// Every effective value of a good configuration, in the order of the reference.
///
/// # Errors
/// As [`super::parse`].
pub fn origins(text: &str, folder: &Path) -> Result<Vec<Origin>, Vec<diagnostic::Diagnostic>> {
    let config = super::parse(text, folder)?;
    let (root, _) = document::read(text);
    let mut walk = Walk {
        text: secret::masked(text),
        found: Vec::new(),
    };
    walk.table(&ROOT, &root, "");
    // The one default that depends on other keys.
    for origin in walk.found.iter_mut().filter(|origin| origin.line.is_none()) {
        let wall = config
            .jobs
            .values()
            .find(|job| origin.key == format!("job.{}.limits.wall", job.name));
        if wall.is_some_and(|job| job.limits.wall == UPKEEP_WALL_DEFAULT) {
            origin.value = format!("\"{}\"", show_duration(UPKEEP_WALL_DEFAULT));
        }
    }
    Ok(walk.found)
}

struct Walk {
    text: String,
    found: Vec<Origin>,
}

impl Walk {
    fn table(&mut self, shape: &Shape, node: &Node, path: &str) {
        for key in shape.keys {
            self.key(key, node.get(key.name), &below(path, key.name));
        }
    }

    fn key(&mut self, key: &Key, found: Option<&Node>, path: &str) {
        let absent = Node {
            span: 0..0,
            data: Data::Table(Vec::new()),
        };
        match (&key.kind, found, key.presence) {
            (Kind::Later, ..) => {}
            (Kind::Table(shape), found, _) => self.table(shape, found.unwrap_or(&absent), path),
            (Kind::Map { of, .. }, Some(found), _) => {
                for entry in found.entries() {
                    self.value(of, &entry.node, &below(path, &entry.key));
                }
            }
            (kind, Some(found), _) => self.value(kind, found, path),
            (_, None, Presence::Default(value)) => {
                self.found.push(Origin {
                    key: path.to_owned(),
                    value: value.to_owned(),
                    line: None,
                });
            }
            (_, None, Presence::Optional | Presence::Required) => {}
        }
    }

    fn value(&mut self, kind: &Kind, node: &Node, path: &str) {
        match kind {
            Kind::Table(shape) => self.table(shape, node, path),
            Kind::Map { of, .. } => {
                for entry in node.entries() {
                    self.value(of, &entry.node, &below(path, &entry.key));
                }
            }
            _ => {
                let line = diagnostic::line_of(&self.text, node.span.start);
                let value = self.text.get(node.span.clone()).unwrap_or_default();
                let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
                self.found.push(Origin {
                    key: path.to_owned(),
                    value,
                    line: Some(line),
                });
            }
        }
    }
}
