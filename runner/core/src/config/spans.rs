//! Where every value of a configuration stands, by its path: `job.temp-files.params.older_than`, `...where[0].op`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::document::{Data, Node};

/// Places of keys and values, in bytes of the text.
#[derive(Debug, Clone, Default)]
pub struct Spans(BTreeMap<String, Place>);

#[derive(Debug, Clone)]
struct Place {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

/// The path of `key` below `path`; a key with a dot in it is quoted.
pub(super) fn below(path: &str, key: &str) -> String {
    let key = if key.contains(['.', '[', '"']) {
        format!("{key:?}")
    } else {
        key.to_owned()
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

impl Spans {
    pub(super) fn of(root: &Node) -> Self {
        let mut spans = Self::default();
        spans.add(root, "");
        spans
    }

    fn add(&mut self, node: &Node, path: &str) {
        match &node.data {
            Data::Table(entries) => {
                for entry in entries {
                    let path = below(path, &entry.key);
                    let place = Place {
                        key: Some(entry.key_span.clone()),
                        value: entry.node.span.clone(),
                    };
                    self.0.insert(path.clone(), place);
                    self.add(&entry.node, &path);
                }
            }
            Data::List(items) => {
                for (place, item) in items.iter().enumerate() {
                    let path = format!("{path}[{place}]");
                    self.0.insert(
                        path.clone(),
                        Place {
                            key: None,
                            value: item.span.clone(),
                        },
                    );
                    self.add(item, &path);
                }
            }
            _ => {}
        }
    }

    /// Where the value at `path` stands.
    pub fn value(&self, path: &str) -> Option<Range<usize>> {
        self.0.get(path).map(|place| place.value.clone())
    }

    /// Where the key at `path` stands; of an element of a list, the element.
    pub fn key(&self, path: &str) -> Option<Range<usize>> {
        self.0
            .get(path)
            .map(|place| place.key.clone().unwrap_or_else(|| place.value.clone()))
    }

    /// Where the value at `path` stands, or else the nearest thing around it.
    pub fn nearest(&self, path: &str) -> Option<Range<usize>> {
        let mut path = path;
        loop {
            if let Some(span) = self.value(path) {
                return Some(span);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}
