//! `schedule next | lint | export`: when jobs and rounds are due, what is doubtful about that, and who keeps the time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::SubsecRound as _;
use serde_json::json;
use sereno_core::config::{self, Diagnostic};
use sereno_core::job::Config;
use sereno_core::name::JobName;
use sereno_core::place::Place;
use sereno_core::report::Severity;
use sereno_core::run::Work;
use sereno_core::schedule::Schedule as Timetable;
use sereno_core::timetable::doubts;
use sereno_core::units::show_counted;
use sereno_core::value::Instant;

use super::source;
use crate::args::{Export, Global, Schedule, Scheduler};
use crate::compose;
use crate::config_source::Source;
use crate::failure::Failure;
use crate::output::{DOCUMENT_SCHEMA_VERSION, Output};
use crate::render::diagnostics;
use crate::render::export::{self, Exported, Installed};
use crate::render::jobs::{due, due_json, next_runs};

/// Exit code of a success with something to look at.
const FOUND: u8 = 6;

/// Where a configuration is in an image, and on a machine that one was installed on.
const INSTALLED: &str = "/etc/sereno/sereno.toml";

pub(super) fn schedule(global: &Global, args: &Schedule, output: &Output) -> Result<u8, Failure> {
    let source = source(global)?;
    let config = source.parse(output)?;
    match args {
        Schedule::Next { name, count } => next(&config, name.as_ref(), *count, output),
        Schedule::Lint => lint(&source, &config, output),
        Schedule::Export(args) => export(&source, &config, args, output),
    }
}

fn next(config: &Config, only: Option<&JobName>, count: u32, output: &Output) -> Result<u8, Failure> {
    // A step is due when its round is.
    let rounds = config.rounds.values().filter(|round| {
        only.as_ref()
            .is_none_or(|name| round.name.as_str() == name.as_str() || round.has(name))
    });
    let jobs = config
        .jobs
        .values()
        .filter(|job| only.as_ref().is_none_or(|name| job.name == **name));
    let all: Vec<(Work, &Option<Timetable>)> = rounds
        .map(|round| (Work::Round(round.name.clone()), &round.schedule))
        .chain(jobs.map(|job| (Work::Job(job.name.clone()), &job.schedule)))
        .collect();
    if let Some(name) = only {
        if all.is_empty() {
            config.job(name)?;
        }
        if all.iter().all(|(_, schedule)| schedule.is_none()) {
            output.talk(&format!("`{name}` has no schedule: it runs by hand"));
        }
    }
    let now = compose::clock().now().trunc_subsecs(0);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut runs: Vec<(Work, Instant)> = all
        .into_iter()
        .filter_map(|(work, schedule)| Some((work, schedule.as_ref()?)))
        .flat_map(|(work, schedule)| {
            let times = next_runs(schedule, &config.timezone, now, count);
            times.into_iter().map(move |at| (work.clone(), at))
        })
        .collect();
    runs.sort_by_key(|(_, at)| *at);
    if output.is_text() {
        output.data(&due(&runs, &config.timezone, now, output.paint))?;
    } else {
        output.documents("runs", due_json(&runs, &config.timezone))?;
    }
    Ok(0)
}

fn lint(source: &Source, config: &Config, output: &Output) -> Result<u8, Failure> {
    let spans = config::read(&source.text, &source.folder).spans;
    let now = compose::clock().now().trunc_subsecs(0);
    let found: Vec<(Severity, Diagnostic)> = doubts(config, now)
        .into_iter()
        .map(|doubt| {
            let diagnostic = Diagnostic {
                code: doubt.code,
                message: doubt.message,
                span: spans.nearest(&doubt.at),
                label: String::new(),
                hint: Some(doubt.hint),
            };
            (doubt.severity, diagnostic)
        })
        .collect();
    let shown = config::masked(&source.text);
    let (notes, warnings): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(severity, _)| *severity == Severity::Info);
    let plain = |found: &[(Severity, Diagnostic)]| -> Vec<Diagnostic> {
        found.iter().map(|(_, diagnostic)| diagnostic.clone()).collect()
    };
    if output.is_text() {
        let text = |severity, found: &[_]| {
            diagnostics::doubts(severity, &source.file, &shown, &plain(found), output.paint)
        };
        let scheduled = config.scheduled().len();
        let count =
            |count: usize, one, many| show_counted(u64::try_from(count).unwrap_or(u64::MAX), one, many);
        output.data(&format!(
            "{}{}{}: {}, {}\n",
            text(Severity::Warn, &warnings),
            text(Severity::Info, &notes),
            count(scheduled, "schedule", "schedules"),
            count(warnings.len(), "warning", "warnings"),
            count(notes.len(), "note", "notes"),
        ))?;
    } else {
        let json = |severity: &str, found: &[_]| {
            let mut all = diagnostics::json(&source.file, &shown, &plain(found));
            for one in &mut all {
                one["severity"] = json!(severity);
            }
            all
        };
        output.documents("doubts", [json("warn", &warnings), json("info", &notes)].concat())?;
    }
    Ok(if warnings.is_empty() { 0 } else { FOUND })
}

fn export(source: &Source, config: &Config, args: &Export, output: &Output) -> Result<u8, Failure> {
    let installed = match (&args.installed, args.to) {
        (Some(file), _) => file.clone(),
        (None, Scheduler::Crontab) => {
            let name = source.file.file_name().context("a file has a name")?;
            source.folder.join(name)
        }
        (None, _) => PathBuf::from(INSTALLED),
    };
    let place = match args.to {
        Scheduler::Eventbridge => Place::Lambda,
        Scheduler::Kubernetes | Scheduler::Crontab => Place::Container,
    };
    let (here, elsewhere): (Vec<_>, Vec<_>) = config
        .scheduled()
        .into_iter()
        .partition(|(work, _)| config.place(work).takes(place));
    let installed = Installed {
        config,
        file: &installed,
    };
    let exported = match args.to {
        Scheduler::Eventbridge => export::eventbridge::template(&installed, &here),
        Scheduler::Kubernetes => export::kubernetes::manifests(&installed, &here),
        Scheduler::Crontab => export::crontab::table(&installed, &here),
    };
    for (work, _) in &elsewhere {
        output.talk(&format!("left out: {work}: {}", why(config, work, place)));
    }
    match &args.output {
        Some(folder) if args.check => check(&exported, folder, args, output),
        Some(folder) => {
            let file = folder.join(exported.name);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&file, &exported.text))
                .with_context(|| format!("could not write {}", file.display()))?;
            output.talk(&format!(
                "wrote {}: {}",
                file.display(),
                show_counted(
                    u64::try_from(here.len()).unwrap_or(u64::MAX),
                    "schedule",
                    "schedules"
                )
            ));
            Ok(0)
        }
        None if output.is_text() => {
            output.data(&exported.text)?;
            Ok(0)
        }
        None => {
            output.document(&json!({
                "schema_version": DOCUMENT_SCHEMA_VERSION,
                "file": exported.name,
                "text": exported.text,
                "exported": here.iter().map(|(work, _)| work.text()).collect::<Vec<_>>(),
                "left_out": elsewhere
                    .iter()
                    .map(|(work, _)| json!({ "work": work.text(), "reason": why(config, work, place) }))
                    .collect::<Vec<_>>(),
            }))?;
            Ok(0)
        }
    }
}

fn why(config: &Config, work: &Work, place: Place) -> String {
    match place {
        Place::Lambda => config.why_in_container(work),
        Place::Any | Place::Container => "it runs on Lambda only".to_owned(),
    }
}

/// Whether what is there is what would be written.
fn check(exported: &Exported, folder: &Path, args: &Export, output: &Output) -> Result<u8, Failure> {
    let file = folder.join(exported.name);
    let found = match fs::read_to_string(&file) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("could not read {}", file.display()))
                .into());
        }
    };
    if found == exported.text {
        output.talk(&format!("{} is what the configuration says", file.display()));
        return Ok(0);
    }
    let line = |text: &str, place: usize| text.lines().nth(place).unwrap_or("(nothing)").trim().to_owned();
    let mut lines = found.lines().zip(exported.text.lines());
    let place = lines
        .position(|(found, wanted)| found != wanted)
        .unwrap_or_else(|| found.lines().count().min(exported.text.lines().count()));
    let to = clap::ValueEnum::to_possible_value(&args.to).context("every scheduler has a name")?;
    output.insist(&format!(
        "{}:{} is not what the configuration says\n  there:  {}\n  wanted: {}\nhint: write it anew: {} schedule export \
         --to {} --output {}",
        file.display(),
        place + 1,
        line(&found, place),
        line(&exported.text, place),
        output.program,
        to.get_name(),
        folder.display(),
    ));
    Ok(FOUND)
}
