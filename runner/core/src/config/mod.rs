//! Reads `sereno.toml`: strict, every mistake at once, each with its place.
//!
//! Each section has a file with its table of keys and what they become. Nothing is opened and no reference
//! (`${env:X}`) is resolved here.

mod backup;
mod check;
mod database;
pub(crate) mod diagnostic;
mod directory;
pub(crate) mod document;
mod gauge;
mod grant;
mod guard;
mod http;
mod job;
mod lambda;
mod ledger;
mod limit;
mod origin;
mod plugin;
mod policy;
mod round;
mod schema;
mod secret;
mod serve;
pub(crate) mod shape;
mod sink;
mod source;
mod spans;
mod storage;
#[cfg(test)]
mod tests;
mod texts;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;

use crate::job::Config;
use crate::schedule::Zone;
use shape::{Key, Kind, Presence, Shape};

pub use check::check_job;
pub use database::Dialect;
pub use diagnostic::{Diagnostic, closest};
pub use origin::{Origin, origins};
pub use schema::{reference_markdown, schema};
pub use spans::Spans;

static ROOT: Shape = Shape {
    keys: &[
        Key {
            name: "version",
            kind: Kind::Integer { min: 1, max: 1 },
            presence: Presence::Required,
            doc: "The version of this format.",
        },
        Key {
            name: "timezone",
            kind: Kind::Parsed(&texts::ZONE),
            presence: Presence::Default("\"UTC\""),
            doc: "The zone of schedules: an IANA name such as `America/Mexico_City`.",
        },
        Key {
            name: "ledger",
            kind: Kind::Table(&ledger::LEDGER),
            presence: Presence::Optional,
            doc: "Where run history is kept.",
        },
        Key {
            name: "database",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&database::DATABASE),
            },
            presence: Presence::Optional,
            doc: "Databases, by name.",
        },
        Key {
            name: "directory",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&directory::DIRECTORY),
            },
            presence: Presence::Optional,
            doc: "Directories, by name.",
        },
        Key {
            name: "origin",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&http::ORIGIN),
            },
            presence: Presence::Optional,
            doc: "Origins of the web that jobs may send requests to, by name.",
        },
        Key {
            name: "storage",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&storage::STORAGE),
            },
            presence: Presence::Optional,
            doc: "Places for archives, backups and reports, by name.",
        },
        Key {
            name: "writer",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&writer::WRITER),
            },
            presence: Presence::Optional,
            doc: "Programs that write files and can be told to open them anew, by name.",
        },
        Key {
            name: "backup",
            kind: Kind::Table(&backup::BACKUP),
            presence: Presence::Optional,
            doc: "What backups are made with.",
        },
        Key {
            name: "plugin",
            kind: Kind::Map {
                key: &texts::PLUGIN_NAME,
                of: &Kind::Table(&plugin::PLUGIN),
            },
            presence: Presence::Optional,
            doc: "Where plugins are.",
        },
        Key {
            name: "job",
            kind: Kind::Map {
                key: &texts::JOB_NAME,
                of: &Kind::Table(&job::JOB),
            },
            presence: Presence::Optional,
            doc: "Jobs, by name.",
        },
        Key {
            name: "policy",
            kind: Kind::Table(&policy::POLICY),
            presence: Presence::Optional,
            doc: "What the operator demands of every run.",
        },
        Key {
            name: "round",
            kind: Kind::Map {
                key: &texts::ROUND_NAME,
                of: &Kind::Table(&round::ROUND),
            },
            presence: Presence::Optional,
            doc: "Rounds, by name: jobs that run one after the other.",
        },
        Key {
            name: "gauge",
            kind: Kind::Map {
                key: &texts::GAUGE_NAME,
                of: &Kind::Table(&gauge::GAUGE),
            },
            presence: Presence::Optional,
            doc: "Measurements held against a target, by name.",
        },
        Key {
            name: "alerts",
            kind: Kind::Table(&gauge::ALERTS),
            presence: Presence::Optional,
            doc: "Where messages go that name no sinks of their own.",
        },
        Key {
            name: "sink",
            kind: Kind::Map {
                key: &texts::SINK_NAME,
                of: &Kind::Table(&sink::SINK),
            },
            presence: Presence::Optional,
            doc: "Where messages go, by name; each has one kind.",
        },
        Key {
            name: "lambda",
            kind: Kind::Table(&lambda::LAMBDA),
            presence: Presence::Optional,
            doc: "How it runs as a function of AWS Lambda.",
        },
        Key {
            name: "serve",
            kind: Kind::Table(&serve::SERVE),
            presence: Presence::Optional,
            doc: "The process that stays and keeps the schedules.",
        },
    ],
};

/// A configuration as far as it could be read, and every mistake in it.
#[derive(Debug)]
pub struct Reading {
    draft: Config,
    /// Where everything stands.
    pub spans: Spans,
    /// In the order of the text.
    pub mistakes: Vec<Diagnostic>,
}

impl Reading {
    /// What could be read, mistakes left out or replaced by defaults: to look for more mistakes in (with
    /// [`check_job`]), never to run.
    pub fn draft(&self) -> &Config {
        &self.draft
    }

    /// The configuration.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn into_config(self) -> Result<Config, Vec<Diagnostic>> {
        if self.mistakes.is_empty() {
            Ok(self.draft)
        } else {
            Err(self.mistakes)
        }
    }
}

/// Reads a configuration. Relative paths start from `folder`, which is absolute.
///
/// # Errors
/// Every mistake there is.
pub fn parse(text: &str, folder: &Path) -> Result<Config, Vec<Diagnostic>> {
    read(text, folder).into_config()
}

/// Reads what can be read, and finds every mistake.
pub fn read(text: &str, folder: &Path) -> Reading {
    let (root, mut mistakes) = document::read(text);
    shape::check_table(&ROOT, &root, "", &mut mistakes);
    let mut draft = Config {
        folder: directory::absolute(folder, ""),
        timezone: root
            .text_of("timezone")
            .and_then(|text| Zone::parse(text).ok())
            .unwrap_or_else(Zone::utc),
        ledger_url: ledger::read(&root),
        ledger_keep: ledger::keep(&root),
        policy: policy::read(&root),
        databases: database::read(&root, &mut mistakes),
        directories: directory::read(&root, folder, &mut mistakes),
        origins: http::read(&root, &mut mistakes),
        backup: backup::read(&root, folder),
        storages: storage::read(&root, folder, &mut mistakes),
        writers: writer::read(&root, folder, &mut mistakes),
        plugins: plugin::read(&root, folder),
        lambda: lambda::read(&root),
        sinks: sink::read(&root, &mut mistakes),
        serve: serve::read(&root),
        alert_sinks: Vec::new(),
        gauges: BTreeMap::new(),
        jobs: BTreeMap::new(),
        rounds: BTreeMap::new(),
    };
    draft.alert_sinks = gauge::read_alerts(&root, &draft, &mut mistakes);
    draft.gauges = gauge::read(&root, &draft, &mut mistakes);
    draft.jobs = job::read(&root, &draft, &mut mistakes);
    draft.rounds = round::read(&root, &draft, &mut mistakes);
    source::check(&root, &mut mistakes);
    mistakes.sort_by_key(|mistake| mistake.span.as_ref().map_or(0, |span| span.start));
    Reading {
        draft,
        spans: Spans::of(&root),
        mistakes,
    }
}

/// The text of a configuration with every value that holds a password in plain text starred out. It is as long as
/// before, so that the places of mistakes hold: show them in this text.
pub fn masked(text: &str) -> String {
    secret::masked(text)
}
