//! `[round.NAME]`: jobs that run one after the other in one maintenance window.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::document::{Entry, Node};
use super::shape::{Key, Kind, Presence, Shape};
use super::{sink, texts};
use crate::job::{Config, Job};
use crate::name::{JobName, RoundName};
use crate::place::Place;
use crate::round::{Round, Step, after_by_default};
use crate::schedule::Schedule;
use crate::units::parse_duration;

pub(super) static ROUND: Shape = Shape {
    keys: &[
        Key {
            name: "schedule",
            kind: Kind::Parsed(&texts::SCHEDULE),
            presence: Presence::Optional,
            doc: "When it runs by itself, written as a job's. Its jobs have no schedule of their own.",
        },
        Key {
            name: "window",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(24 * 3_600),
            },
            presence: Presence::Optional,
            doc: "No step starts later than this after the scheduled time (by hand: after the start), and one under way \
                  must end by then.",
        },
        Key {
            name: "sinks",
            kind: Kind::List(&Kind::Parsed(&texts::SINK_NAME)),
            presence: Presence::Optional,
            doc: "Where messages go when it leaves steps out, and when it is whole again; what becomes of the steps \
                  themselves is their jobs' to tell. By default the sinks of `[alerts]`.",
        },
        Key {
            name: "event_sources",
            kind: Kind::List(&Kind::Parsed(&texts::EVENT_SOURCE)),
            presence: Presence::Default("[]"),
            doc: "Rules and schedules whose bare events mean this round, written as a job's.",
        },
        Key {
            name: "jobs",
            kind: Kind::List(&Kind::TextOr(&texts::JOB_NAME, &STEP)),
            presence: Presence::Required,
            doc: "Its steps in order: a job's name, or `{ job = \"NAME\", after = [\"NAME\", …] }`. A step runs only when \
                  those in `after` succeeded: by default none, for a job that deletes all earlier backups.",
        },
    ],
};

static STEP: Shape = Shape {
    keys: &[
        Key {
            name: "job",
            kind: Kind::Parsed(&texts::JOB_NAME),
            presence: Presence::Required,
            doc: "Its name.",
        },
        Key {
            name: "after",
            kind: Kind::List(&Kind::Parsed(&texts::JOB_NAME)),
            presence: Presence::Optional,
            doc: "Earlier steps that must have succeeded.",
        },
    ],
};

/// The rounds. `config` holds the jobs already.
pub(super) fn read(
    root: &Node,
    config: &Config,
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeMap<RoundName, Round> {
    let rounds: BTreeMap<RoundName, Round> = root
        .entries_of("round")
        .iter()
        .filter_map(|entry| read_one(entry, config, mistakes))
        .map(|round| (round.name.clone(), round))
        .collect();
    // Told at the job's schedule, once, whichever rounds have it.
    for entry in root.entries_of("job") {
        let Ok(job) = entry.key.parse::<JobName>() else {
            continue;
        };
        let of = rounds.values().find(|round| round.has(&job));
        if let (Some(schedule), Some(round)) = (entry.node.get("schedule"), of) {
            mistakes.push(
                Diagnostic::at(
                    "two-schedules",
                    schedule.span.clone(),
                    format!(
                        "job `{}` is a step of round `{}`, which has the schedule",
                        entry.key, round.name
                    ),
                )
                .label("a second schedule")
                .hint("remove it, or take the job out of the round"),
            );
        }
    }
    rounds
}

fn read_one(entry: &Entry, config: &Config, mistakes: &mut Vec<Diagnostic>) -> Option<Round> {
    let node = &entry.node;
    let is_jobs_name = config.jobs.keys().any(|job| job.as_str() == entry.key);
    if is_jobs_name {
        mistakes.push(
            Diagnostic::at(
                "same-name",
                entry.key_span.clone(),
                format!("there is a job `{}` too", entry.key),
            )
            .label("a round and a job share no name")
            .hint("call the round otherwise"),
        );
    }
    let items = node.get("jobs").map_or(&[][..], Node::items);
    if let Some(jobs) = node.get("jobs").filter(|_| items.is_empty()) {
        mistakes.push(Diagnostic::at("no-steps", jobs.span.clone(), "the round has no jobs").label("empty"));
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut earlier: Vec<&Job> = Vec::new();
    let all: Vec<&str> = items.iter().filter_map(name_of).map(|(name, _)| name).collect();
    for item in items {
        let Some((name, span)) = name_of(item) else {
            continue;
        };
        if earlier.iter().any(|job| job.name.as_str() == name) {
            mistakes.push(
                Diagnostic::at("twice", span, format!("job `{name}` is in the round already"))
                    .label("a second time"),
            );
            continue;
        }
        let Some(job) = config.jobs.values().find(|job| job.name.as_str() == name) else {
            mistakes.push(unknown(name, span, config));
            continue;
        };
        let after = match item.get("after") {
            None => after_by_default(job, &earlier),
            Some(after) => {
                for node in after.items() {
                    mistakes.extend(misplaced(node, name, &earlier, &all));
                }
                let names = after.items().iter().filter_map(|node| node.text()?.parse().ok());
                names.collect::<Vec<JobName>>()
            }
        };
        steps.push(Step {
            job: job.name.clone(),
            after,
        });
        earlier.push(job);
    }
    let sinks = sink::named(node.get("sinks"), config, mistakes);
    if let Some(message) = nowhere(&earlier) {
        mistakes.push(
            Diagnostic::at(
                "bad-place",
                entry.key_span.clone(),
                format!("round `{}` runs nowhere: {message}", entry.key),
            )
            .label("its jobs share no place")
            .hint("look at `on` of those jobs, or make two rounds"),
        );
    }
    Some(Round {
        name: entry.key.parse().ok()?,
        schedule: node
            .text_of("schedule")
            .and_then(|text| Schedule::parse(text).ok()),
        window: node.text_of("window").and_then(|text| parse_duration(text).ok()),
        event_sources: node
            .texts_of("event_sources")
            .into_iter()
            .map(str::to_owned)
            .collect(),
        sinks: sinks.unwrap_or_else(|| config.alert_sinks.clone()),
        steps,
    })
}

/// Two jobs that no place runs both of.
fn nowhere(jobs: &[&Job]) -> Option<String> {
    let at = |place: Place| jobs.iter().find(|job| job.on == place);
    let (container, lambda) = (at(Place::Container)?, at(Place::Lambda)?);
    Some(format!(
        "job `{}` runs in a container only, job `{}` on Lambda only",
        container.name, lambda.name
    ))
}

/// The job that an element of `jobs` names, and where.
fn name_of(item: &Node) -> Option<(&str, Range<usize>)> {
    let node = match item.text() {
        Some(_) => item,
        None => item.get("job")?,
    };
    Some((node.text()?, node.span.clone()))
}

fn unknown(name: &str, span: Range<usize>, config: &Config) -> Diagnostic {
    let hint = did_you_mean(name, config.jobs.keys().map(JobName::as_str));
    Diagnostic::at("unknown-job", span, format!("there is no job `{name}`"))
        .label("unknown job")
        .hint(hint.unwrap_or_else(|| format!("add a section `[job.{name}]`")))
}

/// What a step comes after must be an earlier step.
fn misplaced(after: &Node, step: &str, earlier: &[&Job], all: &[&str]) -> Option<Diagnostic> {
    let name = after.text()?;
    if earlier.iter().any(|job| job.name.as_str() == name) {
        return None;
    }
    let mistake =
        |message: String| Diagnostic::at("bad-order", after.span.clone(), message).label("no earlier step");
    Some(if name == step {
        mistake(format!("`{step}` cannot come after itself"))
    } else if all.contains(&name) {
        mistake(format!("`{step}` comes after `{name}`, which is a later step"))
            .hint(format!("put `{name}` before `{step}`"))
    } else {
        mistake(format!("`{name}` is no step of this round"))
            .maybe_hint(did_you_mean(name, all.iter().copied()))
    })
}
