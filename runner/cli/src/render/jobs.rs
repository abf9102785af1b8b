//! Jobs in a list, one job explained, and the times at which jobs are due.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{SubsecRound as _, TimeDelta};
use serde_json::{Value as Json, json};
use sereno_core::approval::Standing;
use sereno_core::dispatch::Examined;
use sereno_core::grant::{Path, Verb};
use sereno_core::guard::Guards;
use sereno_core::job::{FenceKind, Job, Limits};
use sereno_core::manifest::ParamKind;
use sereno_core::name::TableName;
use sereno_core::ports::ledger::RunRow;
use sereno_core::round::Round;
use sereno_core::run::Work;
use sereno_core::schedule::{Schedule, Zone};
use sereno_core::units::{show_bytes, show_count, show_duration};
use sereno_core::value::{Instant, show_instant};

use super::paint::Paint;
use super::table::table;
use super::words::{guard_limit, in_unit};

/// Runs of a schedule that `jobs explain` shows.
const EXPLAINED_RUNS: usize = 5;

/// A job and how its last run ended.
pub(crate) struct Listed<'a> {
    /// The job.
    pub(crate) job: &'a Job,
    /// The rounds that it is a step of, which then have the schedules.
    pub(crate) rounds: Vec<&'a Round>,
    /// Its newest run; none: never, or the ledger was not asked.
    pub(crate) last: Option<RunRow>,
    /// By itself, or with everything.
    pub(crate) is_paused: bool,
}

impl Listed<'_> {
    /// By its own schedule or a round's, whichever is first.
    fn next(&self, now: Instant, zone: &Zone) -> Option<Instant> {
        let rounds = self.rounds.iter().filter_map(|round| round.schedule.as_ref());
        rounds
            .chain(&self.job.schedule)
            .filter_map(|schedule| schedule.next_after(now, zone))
            .min()
    }

    /// `0 2 * * *`, `round daily, round weekly`, `by hand`.
    fn when(&self) -> String {
        let rounds: Vec<String> = self
            .rounds
            .iter()
            .map(|round| format!("round {}", round.name))
            .collect();
        match &self.job.schedule {
            Some(schedule) => schedule.text().to_owned(),
            None if rounds.is_empty() => "by hand".to_owned(),
            None => rounds.join(", "),
        }
    }
}

/// Every job on a line.
pub(crate) fn list(jobs: &[Listed<'_>], zone: &Zone, now: Instant, paint: Paint) -> String {
    if jobs.is_empty() {
        return "no jobs are configured\n".to_owned();
    }
    let rows: Vec<[String; 5]> = jobs
        .iter()
        .map(|listed| {
            [
                listed.job.name.to_string(),
                listed.job.plugin.to_string(),
                listed.when(),
                if listed.is_paused {
                    "paused".to_owned()
                } else {
                    listed
                        .next(now, zone)
                        .map_or_else(|| "-".to_owned(), |at| local(at, zone))
                },
                listed.last.as_ref().map_or("never".to_owned(), last),
            ]
        })
        .collect();
    table(
        ["job", "plugin", "schedule", "next run", "last run"],
        &rows,
        paint,
    )
}

/// The same for programs.
pub(crate) fn list_json(jobs: &[Listed<'_>], zone: &Zone, now: Instant) -> Vec<Json> {
    jobs.iter()
        .map(|listed| {
            json!({
                "job": listed.job.name,
                "plugin": listed.job.plugin,
                "rounds": listed.rounds.iter().map(|round| &round.name).collect::<Vec<_>>(),
                "schedule": listed.job.schedule.as_ref().map(Schedule::text),
                "next": listed.next(now, zone),
                "paused": listed.is_paused,
                "last": listed.last.as_ref().map(super::json::row),
            })
        })
        .collect()
}

fn last(row: &RunRow) -> String {
    let outcome = row.outcome.as_deref().unwrap_or("at work");
    format!(
        "{outcome} {} ({} {})",
        row.started_at.format("%Y-%m-%d %H:%M UTC"),
        row.mode,
        row.id
    )
}

/// `2026-11-24 02:30 -06:00`.
pub(super) fn local(at: Instant, zone: &Zone) -> String {
    at.with_timezone(&zone.offset_at(at))
        .format("%Y-%m-%d %H:%M %:z")
        .to_string()
}

/// The next runs of one schedule.
pub(crate) fn next_runs(schedule: &Schedule, zone: &Zone, after: Instant, count: usize) -> Vec<Instant> {
    std::iter::successors(schedule.next_after(after, zone), |at| {
        schedule.next_after(*at, zone)
    })
    .take(count)
    .collect()
}

/// When jobs and rounds are due, soonest first.
pub(crate) fn due(runs: &[(Work, Instant)], zone: &Zone, now: Instant, paint: Paint) -> String {
    if runs.is_empty() {
        return "nothing has a schedule\n".to_owned();
    }
    let rows: Vec<[String; 4]> = runs
        .iter()
        .map(|(work, at)| {
            let away = show_duration((*at - now).to_std().unwrap_or_default());
            [
                local(*at, zone),
                show_instant(*at),
                match work {
                    Work::Job(name) => name.to_string(),
                    Work::Round(name) => format!("round {name}"),
                },
                format!("in {away}"),
            ]
        })
        .collect();
    table([zone.name(), "UTC", "job", ""], &rows, paint)
}

/// The same for programs.
pub(crate) fn due_json(runs: &[(Work, Instant)], zone: &Zone) -> Vec<Json> {
    runs.iter()
        .map(|(work, at)| {
            let mut due =
                json!({ "at": at, "local": at.with_timezone(&zone.offset_at(*at)), "timezone": zone.name() });
            match work {
                Work::Job(name) => due["job"] = json!(name),
                Work::Round(name) => due["round"] = json!(name),
            }
            due
        })
        .collect()
}

/// A verb on a path, and whether the job may really use it.
struct Key {
    path: Path,
    verb: Verb,
    is_needed: bool,
    is_optional: bool,
    is_granted: bool,
}

/// Everything that the plugin needs or the operator granted.
fn keys(examined: &Examined) -> Vec<Key> {
    let mut all: BTreeSet<(Path, Verb)> = BTreeSet::new();
    for need in &examined.needs {
        all.extend(need.verbs.iter().map(|verb| (need.on.clone(), *verb)));
    }
    for (path, verbs) in &examined.job.grants.0 {
        all.extend(verbs.iter().map(|verb| (path.clone(), *verb)));
    }
    all.into_iter()
        .map(|(path, verb)| {
            let mut needs = examined.needs.iter().filter(|need| need.verbs.contains(&verb) && need.on.covers(&path)).peekable();
            let is_needed = needs.peek().is_some();
            let is_optional = is_needed && needs.all(|need| need.optional);
            let granted = examined.job.grants.on(&path).contains(&verb)
                || matches!(&path, Path::AllTables(database) if examined.job.grants.tables(database, verb).next().is_some());
            Key { path, verb, is_needed, is_optional, is_granted: granted }
        })
        .collect()
}

/// The params that say how old something must be, with the cutoff that a run at `at` would have.
fn cutoffs(examined: &Examined, at: Instant) -> Vec<(String, Duration, Instant)> {
    let is_destructive = examined
        .needs
        .iter()
        .any(|need| need.verbs.iter().any(|verb| verb.is_destructive()));
    if !is_destructive {
        return Vec::new();
    }
    let params = &examined.plugin.manifest.params;
    params
        .iter()
        .filter(|param| param.kind == ParamKind::Duration)
        .filter_map(|param| {
            let millis = examined.params.get(&param.name)?.as_u64()?;
            let age = TimeDelta::try_milliseconds(i64::try_from(millis).ok()?)?;
            Some((
                param.name.clone(),
                Duration::from_millis(millis),
                at.checked_sub_signed(age)?,
            ))
        })
        .collect()
}

/// All about one job.
pub(crate) fn explain(
    examined: &Examined,
    standing: Option<&Standing>,
    zone: &Zone,
    now: Instant,
    program: &str,
    paint: Paint,
) -> String {
    let job = &examined.job;
    let manifest = &examined.plugin.manifest;
    let mut text = format!(
        "{}: {} {}\n  {}\n",
        paint.strong(&job.name),
        manifest.name,
        manifest.version,
        manifest.summary
    );
    let mut section = |title: &str, lines: Vec<String>| {
        for (place, line) in lines.into_iter().enumerate() {
            let title = if place == 0 { title } else { "" };
            text.push_str(&format!("  {} {line}\n", paint.faint(format!("{title:10}"))));
        }
    };
    match &job.schedule {
        Some(schedule) => {
            section(
                "schedule",
                vec![format!("{} in {}", schedule.text(), zone.name())],
            );
            let runs = next_runs(schedule, zone, now, EXPLAINED_RUNS);
            let lines = if runs.is_empty() {
                vec!["never again".to_owned()]
            } else {
                runs.into_iter()
                    .map(|at| format!("{}  ({})", local(at, zone), show_instant(at)))
                    .collect()
            };
            section("next runs", lines);
        }
        None => section(
            "schedule",
            vec!["none: it runs by hand, or as a round's step".to_owned()],
        ),
    }
    let age = |(name, age, cutoff): (String, Duration, Instant)| {
        format!(
            "{name} = {}: a run now would reach everything before {}",
            show_duration(age),
            show_instant(cutoff)
        )
    };
    section("cutoff", cutoffs(examined, now).into_iter().map(age).collect());
    section("works on", examined.targets.clone());
    section("params", params(examined));
    section("may", may(examined));
    section("lacks", lacks(examined, paint));
    section("unused", unused(examined));
    section("guards", vec![guards(&job.guards)]);
    section(
        "approval",
        standing
            .map(|standing| approval(standing, program))
            .into_iter()
            .collect(),
    );
    section("limits", vec![limits(&job.limits)]);
    section(
        "retries",
        vec![format!(
            "{}; waits {} for another job's table or directory",
            job.retries,
            show_duration(job.wait)
        )],
    );
    if job.fence == FenceKind::LedgerOnly {
        section(
            "fence",
            vec!["ledger only: after a crash, the last batch may be missing from the history".to_owned()],
        );
    }
    text.push_str(&format!(
        "{} {program} plan {}\n",
        paint.hint("what would it do?"),
        job.name
    ));
    text
}

/// Whether a schedule may apply it.
fn approval(standing: &Standing, program: &str) -> String {
    match standing {
        Standing::NotNeeded => "needs none: nothing that it may do destroys anything".to_owned(),
        Standing::NotAsked => "nobody asks for one: `[policy] plan_first` is false".to_owned(),
        Standing::Given(approval) => format!(
            "given at {} on {} (plan {})",
            show_instant(approval.at.trunc_subsecs(0)),
            approval.host,
            approval.plan
        ),
        Standing::Missing | Standing::Void(..) => format!(
            "{}; a schedule only plans it until `{program} plan --all` approves it",
            standing.why_not().unwrap_or_default()
        ),
    }
}

/// A param a line, in its own unit.
fn params(examined: &Examined) -> Vec<String> {
    let manifest = &examined.plugin.manifest;
    manifest
        .params
        .iter()
        .filter_map(|param| {
            let value = examined.params.get(&param.name)?;
            Some(format!("{} = {}", param.name, in_unit(&param.kind, value)))
        })
        .collect()
}

fn may(examined: &Examined) -> Vec<String> {
    by_path(
        keys(examined)
            .into_iter()
            .filter(|key| key.is_needed && key.is_granted),
        "",
    )
}

fn unused(examined: &Examined) -> Vec<String> {
    by_path(
        keys(examined)
            .into_iter()
            .filter(|key| !key.is_needed && key.is_granted),
        " (granted, but the plugin does not ask for it)",
    )
}

fn lacks(examined: &Examined, paint: Paint) -> Vec<String> {
    let mut lines = by_path(
        keys(examined)
            .into_iter()
            .filter(|key| key.is_optional && !key.is_granted),
        " (it can do without)",
    );
    if let Err(denied) = &examined.authority {
        for denied in denied {
            lines.push(format!(
                "{} add under [job.{}.grant]: {}",
                paint.error(format!("{denied};")),
                examined.job.name,
                denied.line_to_add()
            ));
        }
    }
    lines
}

fn by_path(keys: impl Iterator<Item = Key>, note: &str) -> Vec<String> {
    let mut paths: Vec<(Path, Vec<&'static str>)> = Vec::new();
    for key in keys {
        match paths.last_mut() {
            Some((path, verbs)) if *path == key.path => verbs.push(key.verb.as_str()),
            _ => paths.push((key.path, vec![key.verb.as_str()])),
        }
    }
    paths
        .into_iter()
        .map(|(path, verbs)| format!("{path}: {}{note}", verbs.join(", ")))
        .collect()
}

fn guards(guards: &Guards) -> String {
    let number =
        |name: &str, limit: Option<f64>| limit.map(|limit| format!("{name} {}", guard_limit(name, limit)));
    let mut parts: Vec<String> = [
        number("max_rows", guards.max_rows.map(|rows| rows as f64)),
        number("max_rows_percent", guards.max_rows_percent),
        number("max_files", guards.max_files.map(|files| files as f64)),
        number("max_files_percent", guards.max_files_percent),
        number("max_bytes", guards.max_bytes.map(|bytes| bytes as f64)),
    ]
    .into_iter()
    .flatten()
    .collect();
    parts.push(format!(
        "retention_floor {}",
        show_duration(guards.retention_floor)
    ));
    if !guards.protected.is_empty() {
        // A table in its database's default schema is protected under both of its names; one is enough to read.
        let has_bare = |table: &TableName| {
            guards
                .protected
                .iter()
                .any(|other| other.schema.is_none() && other.table == table.table)
        };
        let tables: Vec<String> = guards
            .protected
            .iter()
            .filter(|table| table.schema.is_none() || !has_bare(table))
            .map(ToString::to_string)
            .collect();
        parts.push(format!("protected {}", tables.join(" ")));
    }
    if !guards.accept.is_empty() {
        let hazards: Vec<&str> = guards.accept.iter().map(String::as_str).collect();
        parts.push(format!("accept {}", hazards.join(" ")));
    }
    parts.join(", ")
}

fn limits(limits: &Limits) -> String {
    format!(
        "wall {}, cpu {}, memory {}, {} host calls, {} query rows, {} log lines",
        show_duration(limits.wall),
        show_duration(limits.cpu),
        show_bytes(limits.memory_bytes),
        show_count(limits.host_calls),
        show_count(limits.rows),
        show_count(limits.log_lines)
    )
}

/// The same for programs.
pub(crate) fn explain_json(
    examined: &Examined,
    standing: Option<&Standing>,
    zone: &Zone,
    now: Instant,
) -> Json {
    let job = &examined.job;
    let runs = job
        .schedule
        .as_ref()
        .map(|schedule| next_runs(schedule, zone, now, EXPLAINED_RUNS))
        .unwrap_or_default();
    let keys: Vec<Json> = keys(examined)
        .into_iter()
        .map(|key| {
            json!({
                "on": key.path.to_string(),
                "verb": key.verb,
                "needed": key.is_needed,
                "optional": key.is_optional,
                "granted": key.is_granted,
            })
        })
        .collect();
    let missing: Vec<String> = match &examined.authority {
        Ok(_) => Vec::new(),
        Err(denied) => denied
            .iter()
            .map(sereno_core::grant::Denied::line_to_add)
            .collect(),
    };
    let cutoffs: Vec<Json> = cutoffs(examined, now)
        .into_iter()
        .map(|(name, age, cutoff)| json!({ "param": name, "age_seconds": age.as_secs(), "cutoff": cutoff }))
        .collect();
    json!({
        "schema_version": crate::output::DOCUMENT_SCHEMA_VERSION,
        "job": job.name,
        "plugin": { "name": examined.plugin.manifest.name, "version": examined.plugin.manifest.version.to_string(), "digest": examined.plugin.digest, "path": examined.plugin.path },
        "schedule": job.schedule.as_ref().map(Schedule::text),
        "timezone": zone.name(),
        "next": runs,
        "cutoffs": cutoffs,
        "targets": examined.targets,
        "params": examined.params,
        "keys": keys,
        "grants_to_add": missing,
        "guards": job.guards,
        "approval": standing.map(|standing| json!({
            "state": standing.label(),
            "changes": standing.changes(),
            "plan": match standing {
                Standing::Given(approval) | Standing::Void(approval, _) => Some(&approval.plan),
                _ => None,
            },
        })),
        "limits": job.limits,
        "retries": job.retries,
    })
}
