//! `[plugin.NAME]`: where a plugin is, if not beside the configuration or the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::directory::absolute;
use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::name::PluginName;

pub(super) static PLUGIN: Shape = Shape {
    keys: &[Key {
        name: "path",
        kind: Kind::Parsed(&texts::PATH),
        presence: Presence::Required,
        doc: "The component, absolute or from this file's folder. Without this section a plugin is looked for in \
              `plugins/` beside this file, then in `plugins/` and `../plugins/` beside the program.",
    }],
};

pub(super) fn read(root: &Node, folder: &Path) -> BTreeMap<PluginName, PathBuf> {
    root.entries_of("plugin")
        .iter()
        .filter_map(|entry| {
            Some((
                entry.key.parse().ok()?,
                absolute(folder, entry.node.text_of("path")?),
            ))
        })
        .collect()
}
