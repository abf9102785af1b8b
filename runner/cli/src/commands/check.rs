//! Finds what the configuration alone cannot know: params against manifests, needs against grants, and online what the
//! targets lack. Every mistake becomes a diagnostic at its place in the file.

use std::sync::Arc;

use sereno_core::config::{self, Diagnostic, Reading, Spans, check_job};
use sereno_core::dispatch::{DispatchError, Examined, Problem, Services, examine, preflight};
use sereno_core::job::{Config, Job};
use sereno_core::run::{Mode, RunRequest};

use crate::compose;
use crate::config_source::Source;
use crate::failure::Failure;
use crate::output::Output;

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Files only.
    Offline,
    /// Databases, directories and the ledger too.
    Online,
}

/// The configuration, or every mistake that can be found without opening anything.
pub(super) async fn configuration(source: &Source, output: &Output) -> Result<Arc<Config>, Failure> {
    let reading = config::read(&source.text, &source.folder);
    if reading.mistakes.is_empty() {
        return Ok(Arc::new(reading.draft().clone()));
    }
    let mistakes = mistakes(&reading, Reach::Offline).await?;
    Err(source.failure(&mistakes, "nothing was opened", output))
}

/// Every mistake, job by job.
pub(super) async fn mistakes(reading: &Reading, reach: Reach) -> Result<Vec<Diagnostic>, Failure> {
    let config = Arc::new(reading.draft().clone());
    let services = compose::offline(Arc::clone(&config))?;
    let mut mistakes = reading.mistakes.clone();
    // A configuration with mistakes of its own opens nothing.
    let is_online = reach == Reach::Online && mistakes.is_empty();
    for job in config.jobs.values() {
        for mistake in mistakes_of(&services, job, &reading.spans, is_online).await {
            // A target that is not there is no better for being named by two jobs.
            if !mistakes.contains(&mistake) {
                mistakes.push(mistake);
            }
        }
    }
    if is_online && let Err(failure) = compose::history(&config).await {
        mistakes.push(of_failure("ledger", "ledger.url", failure, &reading.spans));
    }
    Ok(mistakes)
}

/// What is wrong with one job: its params first; with good params its grants; with both its targets.
async fn mistakes_of(services: &Services, job: &Job, spans: &Spans, is_online: bool) -> Vec<Diagnostic> {
    let section = format!("job.{}", job.name);
    let plugin = match services.plugins.inspect(&job.plugin).await {
        Ok(plugin) => plugin,
        Err(error) => {
            return vec![of_failure(
                "plugin",
                &format!("{section}.plugin"),
                error.into(),
                spans,
            )];
        }
    };
    let mistakes = check_job(&services.config, job, &plugin.manifest, spans);
    if !mistakes.is_empty() {
        return mistakes;
    }
    let examined = match examine(services, &RunRequest::manual(job.name.clone())).await {
        Ok(examined) => examined,
        Err(error) => return of_error(&section, error, spans),
    };
    let missing = missing_grants(&examined, spans);
    if !missing.is_empty() || !is_online {
        return missing;
    }
    match preflight(services, &examined, Mode::Apply).await {
        Ok(opened) => Arc::into_inner(opened.unreached)
            .unwrap_or_default()
            .into_iter()
            .flat_map(|error| of_error(&section, error, spans))
            .collect(),
        Err(error) => of_error(&section, error, spans),
    }
}

fn missing_grants(examined: &Examined, spans: &Spans) -> Vec<Diagnostic> {
    let Err(denied) = &examined.authority else {
        return Vec::new();
    };
    let job = &examined.job;
    let section = format!("job.{}.grant", job.name);
    denied
        .iter()
        .map(|denied| Diagnostic {
            code: "missing-grant",
            message: format!(
                "the plugin `{}` needs more than job `{}` was granted",
                job.plugin, job.name
            ),
            span: spans.nearest(&section),
            label: denied.to_string(),
            hint: Some(format!("add under [{section}]: {}", denied.line_to_add())),
        })
        .collect()
}

fn of_error(section: &str, error: DispatchError, spans: &Spans) -> Vec<Diagnostic> {
    match error {
        DispatchError::Usage(problems) => problems
            .into_iter()
            .map(|problem| of_problem(problem, spans))
            .collect(),
        DispatchError::Database { ref name, .. } => {
            let path = format!("database.{name}.url");
            vec![of_failure("target", &path, error.into(), spans)]
        }
        DispatchError::Directory { ref name, .. } => {
            let path = format!("directory.{name}.path");
            vec![of_failure("target", &path, error.into(), spans)]
        }
        DispatchError::Origin { ref name, .. } => {
            let path = format!("origin.{name}.url");
            vec![of_failure("target", &path, error.into(), spans)]
        }
        DispatchError::Storage { ref name, .. } => {
            let path = format!("storage.{name}.url");
            vec![of_failure("target", &path, error.into(), spans)]
        }
        DispatchError::Writer { ref name, .. } => {
            let path = format!("writer.{name}");
            vec![of_failure("target", &path, error.into(), spans)]
        }
        error => vec![of_failure("target", section, error.into(), spans)],
    }
}

/// A problem is about a path of the configuration.
fn of_problem(problem: Problem, spans: &Spans) -> Diagnostic {
    Diagnostic {
        code: "job",
        span: spans.nearest(&problem.at),
        message: problem.message,
        label: String::new(),
        hint: problem.hint,
    }
}

fn of_failure(code: &'static str, path: &str, failure: Failure, spans: &Spans) -> Diagnostic {
    Diagnostic {
        code,
        message: std::iter::once(failure.message)
            .chain(failure.causes)
            .collect::<Vec<_>>()
            .join(": "),
        span: spans.nearest(path),
        label: String::new(),
        hint: failure.hint,
    }
}

/// A request that dispatch found wrong: underlined where the file says so, told plainly where the command line did.
pub(super) fn wrong_request(
    source: &Source,
    given: &[&str],
    error: DispatchError,
    output: &Output,
) -> Failure {
    let DispatchError::Usage(problems) = error else {
        return error.into();
    };
    let reading = config::read(&source.text, &source.folder);
    let is_in_file = |problem: &Problem| {
        let mut parts = problem.at.split(['.', '[', ' ']);
        let is_of_a_job = parts.next() == Some("job") && parts.next().is_some();
        let is_given =
            parts.next() == Some("params") && parts.next().is_some_and(|param| given.contains(&param));
        is_of_a_job && !is_given
    };
    let is_known = |problem: &Problem| reading.spans.nearest(&problem.at).is_some();
    if !problems
        .iter()
        .all(|problem| is_in_file(problem) && is_known(problem))
    {
        return DispatchError::Usage(problems).into();
    }
    let mistakes: Vec<Diagnostic> = problems
        .into_iter()
        .map(|problem| of_problem(problem, &reading.spans))
        .collect();
    source.failure(&mistakes, "nothing was started", output)
}
