//! `[job.NAME.guard]`: what bounds a job's effects, whatever its plugin does.

use std::time::Duration;

use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::guard::Guards;
use crate::units::{parse_duration, parse_size};

/// More than any database or directory holds; a guard beyond it is no guard.
const COUNT_MAX: i64 = 1_000_000_000_000;

pub(super) static GUARD: Shape = Shape {
    keys: &[
        Key {
            name: "max_rows",
            kind: Kind::Integer {
                min: 1,
                max: COUNT_MAX,
            },
            presence: Presence::Optional,
            doc: "Rows that a run may delete; none by default.",
        },
        Key {
            name: "max_rows_percent",
            kind: Kind::Number {
                above: 0.0,
                max: 100.0,
            },
            presence: Presence::Default("20"),
            doc: "Share of a table's rows that a run may delete, in percent of exact counts, on tables of 1,000 rows \
                  and more.",
        },
        Key {
            name: "max_files",
            kind: Kind::Integer {
                min: 1,
                max: COUNT_MAX,
            },
            presence: Presence::Default("100000"),
            doc: "Files or objects that a run may remove.",
        },
        Key {
            name: "max_files_percent",
            kind: Kind::Number {
                above: 0.0,
                max: 100.0,
            },
            presence: Presence::Optional,
            doc: "Share of a directory's files that a run may remove; none by default.",
        },
        Key {
            name: "max_bytes",
            kind: Kind::Size { min: 1, max: 1 << 50 },
            presence: Presence::Default("\"10 GiB\""),
            doc: "Bytes of files or objects that a run may remove.",
        },
        Key {
            name: "max_connections",
            kind: Kind::Integer {
                min: 1,
                max: COUNT_MAX,
            },
            presence: Presence::Default("10"),
            doc: "Connections that a run may end, statements that it may cancel among them.",
        },
        Key {
            name: "max_connections_percent",
            kind: Kind::Number {
                above: 0.0,
                max: 100.0,
            },
            presence: Presence::Default("50"),
            doc: "Share of a server's connections that a run may end, on servers with 20 and more.",
        },
        Key {
            name: "retention_floor",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(100 * 365 * 86_400),
            },
            presence: Presence::Default("\"1 day\""),
            doc: "The youngest that anything removed may be.",
        },
        Key {
            name: "protected",
            kind: Kind::List(&Kind::Parsed(&texts::TABLE_NAME)),
            presence: Presence::Default("[]"),
            doc: "Tables in which this job may delete nothing, besides those that its databases protect.",
        },
        Key {
            name: "accept",
            kind: Kind::List(&Kind::Parsed(&texts::ACCEPT)),
            presence: Presence::Default("[]"),
            doc: "Hazards that were looked at: `trigger:NAME`, `cascade:TABLE`, `row-security`; `trigger:TABLE.NAME` on a \
                  table whose rows go along; `downtime:TABLE` consents to VACUUM FULL of the table.",
        },
    ],
};

/// The guards of a job, without the tables that its databases protect.
pub(super) fn read(node: Option<&Node>) -> Guards {
    let defaults = Guards::default();
    let Some(node) = node else { return defaults };
    let count = |key: &str| node.integer_of(key).and_then(|count| u64::try_from(count).ok());
    Guards {
        max_rows: count("max_rows").or(defaults.max_rows),
        max_rows_percent: node.number_of("max_rows_percent").or(defaults.max_rows_percent),
        max_files: count("max_files").or(defaults.max_files),
        max_files_percent: node.number_of("max_files_percent").or(defaults.max_files_percent),
        max_bytes: node
            .text_of("max_bytes")
            .and_then(|text| parse_size(text).ok())
            .or(defaults.max_bytes),
        max_connections: count("max_connections").or(defaults.max_connections),
        max_connections_percent: node
            .number_of("max_connections_percent")
            .or(defaults.max_connections_percent),
        retention_floor: node
            .text_of("retention_floor")
            .and_then(|text| parse_duration(text).ok())
            .unwrap_or(defaults.retention_floor),
        protected: node
            .texts_of("protected")
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        accept: node.texts_of("accept").into_iter().map(str::to_owned).collect(),
    }
}
