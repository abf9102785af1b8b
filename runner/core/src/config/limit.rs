//! `[job.NAME.limits]`: what a guest may consume, each with a default and the most that can be asked for.

use std::time::Duration;

use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use crate::job::{Limits, UPKEEP_WALL_DEFAULT};
use crate::units::{parse_duration, parse_size};

/// No deadline is shorter than one tick of the engine's clock.
const TICK: Duration = Duration::from_millis(10);

pub(super) static LIMITS: Shape = Shape {
    keys: &[
        Key {
            name: "cpu",
            kind: Kind::Duration {
                min: TICK,
                max: Duration::from_secs(600),
            },
            presence: Presence::Default("\"5s\""),
            doc: "Time inside the plugin. Deciding takes little; the work is done by the host.",
        },
        Key {
            name: "wall",
            kind: Kind::Duration {
                min: TICK,
                max: Duration::from_secs(24 * 3_600),
            },
            presence: Presence::Default("\"15m\""),
            doc: "Time from start to end, host calls included: what Lambda gives. A job with an upkeep grant has \
                  `\"2h\"`, because VACUUM and REINDEX cannot stop half-way; so has one that makes or restores backups.",
        },
        Key {
            name: "memory",
            kind: Kind::Size {
                min: 1 << 20,
                max: 512 << 20,
            },
            presence: Presence::Default("\"64 MiB\""),
            doc: "The plugin's own memory. Rows and files stay with the host, so that little is needed.",
        },
        Key {
            name: "table_elements",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            presence: Presence::Default("10000"),
            doc: "Elements of all the component's tables: functions it can call indirectly.",
        },
        Key {
            name: "instances",
            kind: Kind::Integer { min: 1, max: 256 },
            presence: Presence::Default("16"),
            doc: "Core modules in the component.",
        },
        Key {
            name: "handles",
            kind: Kind::Integer { min: 1, max: 65_536 },
            presence: Presence::Default("1024"),
            doc: "Handles and host resources held at once: a leak is found early.",
        },
        Key {
            name: "call_bytes",
            kind: Kind::Size {
                min: 4 << 10,
                max: 64 << 20,
            },
            presence: Presence::Default("\"1 MiB\""),
            doc: "Bytes that one host call may carry: a batch has that, a dump has not.",
        },
        Key {
            name: "host_calls",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            presence: Presence::Default("100000"),
            doc: "Host calls: each works on a batch, so that thousands do for millions of rows.",
        },
        Key {
            name: "rows",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            presence: Presence::Default("100000"),
            doc: "Rows that named queries return to the plugin.",
        },
        Key {
            name: "log_lines",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000,
            },
            presence: Presence::Default("4000"),
            doc: "Log lines kept; more are counted and dropped.",
        },
        Key {
            name: "log_line_bytes",
            kind: Kind::Size {
                min: 64,
                max: 1 << 20,
            },
            presence: Presence::Default("\"8 KiB\""),
            doc: "Bytes of one log line.",
        },
        Key {
            name: "log_bytes",
            kind: Kind::Size {
                min: 64,
                max: 256 << 20,
            },
            presence: Presence::Default("\"1 MiB\""),
            doc: "Bytes of all log lines: the ledger keeps them.",
        },
        Key {
            name: "output_bytes",
            kind: Kind::Size {
                min: 1 << 10,
                max: 16 << 20,
            },
            presence: Presence::Default("\"256 KiB\""),
            doc: "Bytes of findings and measurements: an event of AWS holds that much.",
        },
    ],
};

/// The limits of a job; `does_upkeep` raises the wall time's default.
pub(super) fn read(node: Option<&Node>, does_upkeep: bool) -> Limits {
    let mut limits = Limits::default();
    if does_upkeep {
        limits.wall = UPKEEP_WALL_DEFAULT;
    }
    let Some(node) = node else { return limits };
    let duration = |key: &str, limit: &mut Duration| {
        if let Some(found) = node.text_of(key).and_then(|text| parse_duration(text).ok()) {
            *limit = found;
        }
    };
    duration("cpu", &mut limits.cpu);
    duration("wall", &mut limits.wall);
    let size = |key: &str| node.text_of(key).and_then(|text| parse_size(text).ok());
    let count = |key: &str| node.integer_of(key).and_then(|count| u64::try_from(count).ok());
    set(&mut limits.memory_bytes, size("memory"));
    set(&mut limits.table_elements, count("table_elements"));
    set(&mut limits.instances, count("instances"));
    set(&mut limits.handles, count("handles"));
    set(&mut limits.call_bytes, size("call_bytes"));
    set(&mut limits.host_calls, count("host_calls"));
    set(&mut limits.rows, count("rows"));
    set(&mut limits.log_lines, count("log_lines"));
    set(&mut limits.log_line_bytes, size("log_line_bytes"));
    set(&mut limits.log_bytes, size("log_bytes"));
    set(&mut limits.output_bytes, size("output_bytes"));
    limits
}

fn set<T: TryFrom<u64>>(limit: &mut T, found: Option<u64>) {
    if let Some(found) = found.and_then(|found| T::try_from(found).ok()) {
        *limit = found;
    }
}
