//! `[ledger]`: where run history is kept.

use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::job::SecretText;

/// Beside the configuration, unless the environment says otherwise.
const URL_DEFAULT: &str = "${env:SERENO_LEDGER:-sqlite://sereno.db}";

pub(super) static LEDGER: Shape = Shape {
    keys: &[Key {
        name: "url",
        kind: Kind::Parsed(&texts::LEDGER_URL),
        presence: Presence::Default("\"${env:SERENO_LEDGER:-sqlite://sereno.db}\""),
        doc: "`sqlite://` (a file, from this file's folder) or `postgres://` (for Lambda and for several replicas).",
    }],
};

pub(super) fn read(root: &Node) -> SecretText {
    SecretText::new(
        root.get("ledger")
            .and_then(|ledger| ledger.text_of("url"))
            .unwrap_or(URL_DEFAULT),
    )
}
