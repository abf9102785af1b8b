//! `[job.NAME]`: a plugin with its params, schedule, grants, guards and limits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::document::{Entry, Node};
use super::grant::GRANT;
use super::guard::GUARD;
use super::limit::LIMITS;
use super::shape::{A_YEAR, Key, Kind, Presence, Shape};
use super::{grant, guard, limit, sink, texts};
use crate::grant::{Grants, Path, Verb};
use crate::job::{Config, FenceKind, Job};
use crate::name::JobName;
use crate::place::Place;
use crate::schedule::Schedule;
use crate::units::parse_duration;

/// Two more tries get a job over a restart and over a busy minute.
const RETRIES_DEFAULT: u32 = 2;

/// Longer than most jobs hold a table.
const WAIT_DEFAULT: Duration = Duration::from_secs(600);

pub(super) static JOB: Shape = Shape {
    keys: &[
        Key {
            name: "plugin",
            kind: Kind::Parsed(&texts::PLUGIN_NAME),
            presence: Presence::Required,
            doc: "The plugin that does the work.",
        },
        Key {
            name: "schedule",
            kind: Kind::Parsed(&texts::SCHEDULE),
            presence: Presence::Optional,
            doc: "When it runs by itself: five fields of cron with names for weekdays (`0 4 * * SUN#1`), `@daily`, \
                  `cron(...)`, `rate(...)` or `at(...)`.",
        },
        Key {
            name: "params",
            kind: Kind::Map {
                key: &texts::PARAM_NAME,
                of: &Kind::Any,
            },
            presence: Presence::Optional,
            doc: "What the plugin takes; `sereno plugin inspect NAME` lists it.",
        },
        Key {
            name: "grant",
            kind: Kind::Table(&GRANT),
            presence: Presence::Optional,
            doc: "What the job may do, on what.",
        },
        Key {
            name: "guard",
            kind: Kind::Table(&GUARD),
            presence: Presence::Optional,
            doc: "What bounds its effects.",
        },
        Key {
            name: "limits",
            kind: Kind::Table(&LIMITS),
            presence: Presence::Optional,
            doc: "What its plugin may consume.",
        },
        Key {
            name: "retries",
            kind: Kind::Integer { min: 0, max: 10 },
            presence: Presence::Default("2"),
            doc: "Attempts after the first that ended retryable or lost. The command line never retries.",
        },
        Key {
            name: "wait",
            kind: Kind::Duration {
                min: Duration::from_millis(1),
                max: Duration::from_secs(24 * 3_600),
            },
            presence: Presence::Default("\"10m\""),
            doc: "How long it waits for another job on the same table or directory.",
        },
        Key {
            name: "max_event_age",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: A_YEAR,
            },
            presence: Presence::Optional,
            doc: "How old a scheduled event may be. By default half of the schedule's period, at most 12 h.",
        },
        Key {
            name: "event_params",
            kind: Kind::List(&Kind::Parsed(&texts::PARAM_NAME)),
            presence: Presence::Default("[]"),
            doc: "Params that an event may set.",
        },
        Key {
            name: "event_sources",
            kind: Kind::List(&Kind::Parsed(&texts::EVENT_SOURCE)),
            presence: Presence::Default("[]"),
            doc: "Rules and schedules whose bare events mean this job: `rule/NAME`, `schedule/GROUP/NAME`.",
        },
        Key {
            name: "fence",
            kind: Kind::OneOf(&texts::FENCE),
            presence: Presence::Default("\"database\""),
            doc: "`database`: effects are recorded beside the rows, in the same transaction. `ledger only`: for a \
                  database that refuses the schema `sereno`; after a crash an effect may be missing from the ledger.",
        },
        Key {
            name: "sinks",
            kind: Kind::List(&Kind::Parsed(&texts::SINK_NAME)),
            presence: Presence::Optional,
            doc: "Where messages go when a run of it is refused or fails, and when it is well again. By default the \
                  sinks of `[alerts]`.",
        },
        Key {
            name: "heartbeat",
            kind: Kind::Parsed(&texts::SINK_NAME),
            presence: Presence::Optional,
            doc: "A sink of kind heartbeat that is pinged when a run of it begins, succeeds or fails.",
        },
        Key {
            name: "on",
            kind: Kind::OneOf(&texts::PLACE),
            presence: Presence::Optional,
            doc: "Where schedules run it: `any`, `lambda` or `container`. By default wherever it can: backups, and what works on \
                  one machine's own directories, files and processes, only in a container.",
        },
    ],
};

/// The jobs. `config` holds the targets already.
pub(super) fn read(root: &Node, config: &Config, mistakes: &mut Vec<Diagnostic>) -> BTreeMap<JobName, Job> {
    root.entries_of("job")
        .iter()
        .filter_map(|entry| read_one(entry, config, mistakes))
        .map(|job| (job.name.clone(), job))
        .collect()
}

/// One job; none when it has no name or no plugin, which the shape has said already.
fn read_one(entry: &Entry, config: &Config, mistakes: &mut Vec<Diagnostic>) -> Option<Job> {
    let node = &entry.node;
    let mut guards = guard::read(node.get("guard"));
    let grants = grant::read(node.get("grant"), config, &guards.protected, mistakes);
    protect(&mut guards, &grants, config);
    let does_upkeep = grants.0.values().flatten().any(|verb| {
        matches!(
            verb,
            Verb::Vacuum
                | Verb::Analyze
                | Verb::Reindex
                | Verb::VacuumFull
                | Verb::Detach
                | Verb::Backup
                | Verb::Restore
        )
    });
    let duration = |key: &str| node.text_of(key).and_then(|text| parse_duration(text).ok());
    let texts = |key: &str| node.texts_of(key).into_iter().map(str::to_owned).collect();
    let retries = node
        .integer_of("retries")
        .and_then(|retries| u32::try_from(retries).ok());
    let params = node.entries_of("params").iter();
    let sinks = sink::named(node.get("sinks"), config, mistakes);
    let heartbeat = sink::heartbeat(node.get("heartbeat"), config, mistakes);
    let place = place(entry, &grants, config, mistakes);
    Some(Job {
        name: entry.key.parse().ok()?,
        plugin: node.text_of("plugin")?.parse().ok()?,
        params: params
            .filter_map(|entry| Some((entry.key.clone(), entry.node.json()?)))
            .collect(),
        schedule: node
            .text_of("schedule")
            .and_then(|text| Schedule::parse(text).ok()),
        limits: limit::read(node.get("limits"), does_upkeep),
        grants,
        guards,
        retries: retries.unwrap_or(RETRIES_DEFAULT),
        wait: duration("wait").unwrap_or(WAIT_DEFAULT),
        max_event_age: duration("max_event_age"),
        event_params: texts("event_params"),
        event_sources: texts("event_sources"),
        sinks: sinks.unwrap_or_else(|| config.alert_sinks.clone()),
        heartbeat,
        fence: match node.text_of("fence") {
            Some("ledger only") => FenceKind::LedgerOnly,
            _ => FenceKind::Database,
        },
        on: place,
    })
}

/// Where it runs: what it was granted decides, and its operator may narrow that.
fn place(entry: &Entry, grants: &Grants, config: &Config, mistakes: &mut Vec<Diagnostic>) -> Place {
    let on = entry.node.get("on");
    let said = on.and_then(Node::text).and_then(Place::parse);
    let Some(bound) = config.bound_to_container(grants) else {
        return said.unwrap_or_default();
    };
    if let (Some(on), Some(Place::Lambda | Place::Any)) = (on, said) {
        mistakes.push(
            Diagnostic::at(
                "bad-place",
                on.span.clone(),
                format!("job `{}` cannot run on Lambda: {bound}", entry.key),
            )
            .label("not there")
            .hint("write `on = \"container\"`, or leave it out"),
        );
    }
    Place::Container
}

/// Adds what the job's databases protect, in every spelling that a plugin may use.
fn protect(guards: &mut crate::guard::Guards, grants: &Grants, config: &Config) {
    let own = std::mem::take(&mut guards.protected);
    for path in grants.0.keys() {
        let (Path::Table(name, _) | Path::AllTables(name) | Path::Whole(name) | Path::Query(name, _)) = path
        else {
            continue;
        };
        if let Some(database) = config.databases.get(name) {
            guards.protected.extend(
                database
                    .protected
                    .iter()
                    .chain(&own)
                    .flat_map(|table| database.spellings(table)),
            );
        }
    }
    guards.protected.extend(own);
}
