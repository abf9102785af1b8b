//! `[serve]`: the process that stays, and its clock.

use std::time::Duration;

use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use crate::serve::ServeSettings;
use crate::units::parse_duration;

const JITTER_DEFAULT: Duration = Duration::from_secs(10);

/// Less than what an orchestrator waits between its first and its last signal, which is 30 s nearly everywhere.
const DRAIN_DEFAULT: Duration = Duration::from_secs(25);

/// More runs than this want a second machine.
const RUNS_MAX: i64 = 256;

pub(super) static SERVE: Shape = Shape {
    keys: &[
        Key {
            name: "jitter",
            kind: Kind::Duration {
                min: Duration::from_millis(1),
                max: Duration::from_secs(3_600),
            },
            presence: Presence::Default("\"10s\""),
            doc: "Spreads work that is due at once: each job and round starts up to so much later than its time, always \
                  by the same, and never by more than a tenth of its period. Cutoffs are reckoned from the time itself.",
        },
        Key {
            name: "max_runs",
            kind: Kind::Integer {
                min: 1,
                max: RUNS_MAX,
            },
            presence: Presence::Optional,
            doc: "Runs at once. By default as many as the machine has cores.",
        },
        Key {
            name: "runs_per_database",
            kind: Kind::Integer {
                min: 1,
                max: RUNS_MAX,
            },
            presence: Presence::Default("1"),
            doc: "Of those on the same database.",
        },
        Key {
            name: "drain",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(24 * 3_600),
            },
            presence: Presence::Default("\"25s\""),
            doc: "How long runs at work may take to end once the process is told to stop. What is left is interrupted: \
                  its batch is finished, and it goes on wherever it is delivered next.",
        },
    ],
};

pub(super) fn read(root: &Node) -> ServeSettings {
    let serve = root.get("serve");
    let duration = |key: &str, default: Duration| {
        serve
            .and_then(|serve| serve.text_of(key))
            .and_then(|text| parse_duration(text).ok())
            .unwrap_or(default)
    };
    let integer = |key: &str| {
        serve
            .and_then(|serve| serve.integer_of(key))
            .and_then(|number| u32::try_from(number).ok())
    };
    ServeSettings {
        jitter: duration("jitter", JITTER_DEFAULT),
        max_runs: integer("max_runs"),
        runs_per_database: integer("runs_per_database").unwrap_or(1),
        drain: duration("drain", DRAIN_DEFAULT),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    #[test]
    fn what_is_left_out_is_what_suits_one_machine() {
        let serve = |text: &str| {
            let config = parse(&format!("version = 1\n{text}"), Path::new("/srv"));
            config.expect("a configuration").serve
        };
        let default = serve("");
        assert_eq!(
            (
                default.jitter,
                default.drain,
                default.max_runs,
                default.runs_per_database
            ),
            (JITTER_DEFAULT, DRAIN_DEFAULT, None, 1)
        );
        let given = serve("[serve]\njitter = \"1m\"\nmax_runs = 3\nruns_per_database = 2\ndrain = \"5s\"\n");
        assert_eq!(
            (given.jitter, given.drain, given.max_runs, given.runs_per_database),
            (Duration::from_secs(60), Duration::from_secs(5), Some(3), 2)
        );
    }
}
