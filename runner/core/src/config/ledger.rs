//! `[ledger]`: where run history is kept.

use std::time::Duration;

use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::job::SecretText;
use crate::units;

/// Beside the configuration, unless the environment says otherwise.
const URL_DEFAULT: &str = "${env:SERENO_LEDGER:-sqlite://sereno.db}";

/// A year, and what is to be compared with it.
const KEEP_DEFAULT: Duration = Duration::from_hours(400 * 24);

/// A queue delivers again for up to 14 days, gauges look back for 28.
const KEEP_MIN: Duration = Duration::from_hours(30 * 24);

const KEEP_MAX: Duration = Duration::from_hours(3_660 * 24);

pub(super) static LEDGER: Shape = Shape {
    keys: &[
        Key {
            name: "url",
            kind: Kind::Parsed(&texts::LEDGER_URL),
            presence: Presence::Default("\"${env:SERENO_LEDGER:-sqlite://sereno.db}\""),
            doc: "`sqlite://` (a file, from this file's folder) or `postgres://` (for Lambda and for several replicas).",
        },
        Key {
            name: "keep",
            kind: Kind::Duration {
                min: KEEP_MIN,
                max: KEEP_MAX,
            },
            presence: Presence::Default("\"400 days\""),
            doc: "How long runs are remembered, with their events and measurements. Of each job the newest ten and the last success \
              are never forgotten.",
        },
    ],
};

/// See [`crate::job::Config::ledger_keep`].
pub(super) fn keep(root: &Node) -> Duration {
    root.get("ledger")
        .and_then(|ledger| ledger.text_of("keep"))
        .and_then(|text| units::parse_duration(text).ok())
        .unwrap_or(KEEP_DEFAULT)
}

pub(super) fn read(root: &Node) -> SecretText {
    SecretText::new(
        root.get("ledger")
            .and_then(|ledger| ledger.text_of("url"))
            .unwrap_or(URL_DEFAULT),
    )
}
