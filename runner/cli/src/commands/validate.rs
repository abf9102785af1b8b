//! `validate`: every mistake in the configuration, the plugins' manifests, params, needs and grants, at once, each
//! underlined where it stands.

use std::sync::Arc;

use serde_json::json;
use sereno_core::config::{self, Diagnostic, Reading, check_job};
use sereno_core::dispatch::{DispatchError, Examined, Services, examine, preflight};
use sereno_core::job::{Config, Job};
use sereno_core::run::{Mode, RunRequest};

use super::source;
use crate::args::{Global, Validate};
use crate::compose;
use crate::config_source::Source;
use crate::failure::{Failure, USAGE};
use crate::output::{DOCUMENT_SCHEMA_VERSION, Output};
use crate::render::diagnostics;

pub(super) async fn validate(global: &Global, args: &Validate, output: &Output) -> Result<u8, Failure> {
    let source = source(global)?;
    let reading = config::read(&source.text, &source.folder);
    let config = Arc::new(reading.draft().clone());
    let services = compose::offline(Arc::clone(&config))?;
    let mut mistakes = reading.mistakes.clone();
    for job in config.jobs.values() {
        // A configuration with mistakes of its own opens nothing.
        let online = args.online && reading.mistakes.is_empty();
        mistakes.extend(mistakes_of(&services, job, &reading, online).await);
    }
    if args.online
        && reading.mistakes.is_empty()
        && let Err(failure) = compose::ledger(&config).await
    {
        mistakes.push(of_failure("ledger", "ledger.url", failure, &reading));
    }
    if !output.is_text() {
        let exit = if mistakes.is_empty() { 0 } else { USAGE };
        output.document(&json!({
            "schema_version": DOCUMENT_SCHEMA_VERSION,
            "file": source.file.display().to_string(),
            "problems": diagnostics::json(&source.file, &source.text, &mistakes),
        }))?;
        return Ok(exit);
    }
    if !mistakes.is_empty() {
        return Err(source.failure(&mistakes, "nothing was changed", output));
    }
    output.data(&in_order(&source, &config))?;
    Ok(0)
}

/// What is wrong with one job: its params first; with good params its grants; with both its targets.
async fn mistakes_of(services: &Services, job: &Job, reading: &Reading, online: bool) -> Vec<Diagnostic> {
    let section = format!("job.{}", job.name);
    let plugin = match services.plugins.inspect(&job.plugin).await {
        Ok(plugin) => plugin,
        Err(error) => {
            return vec![of_failure(
                "plugin",
                &format!("{section}.plugin"),
                error.into(),
                reading,
            )];
        }
    };
    let mistakes = check_job(&services.config, job, &plugin.manifest, &reading.spans);
    if !mistakes.is_empty() {
        return mistakes;
    }
    let examined = match examine(services, &RunRequest::manual(job.name.clone())).await {
        Ok(examined) => examined,
        Err(error) => return of_error(&section, error, reading),
    };
    let missing = missing_grants(&examined, reading);
    if !missing.is_empty() || !online {
        return missing;
    }
    match preflight(services, &examined, Mode::Apply).await {
        Ok(_) => Vec::new(),
        Err(error) => of_error(&section, error, reading),
    }
}

fn missing_grants(examined: &Examined, reading: &Reading) -> Vec<Diagnostic> {
    let Err(denied) = &examined.authority else {
        return Vec::new();
    };
    let section = format!("job.{}.grant", examined.job.name);
    denied
        .iter()
        .map(|denied| Diagnostic {
            code: "missing-grant",
            message: format!(
                "the plugin `{}` needs more than job `{}` was granted",
                examined.job.plugin, examined.job.name
            ),
            span: reading.spans.nearest(&section),
            label: denied.to_string(),
            hint: Some(format!("add under [{section}]: {}", denied.line_to_add())),
        })
        .collect()
}

fn of_error(section: &str, error: DispatchError, reading: &Reading) -> Vec<Diagnostic> {
    let DispatchError::Usage(problems) = error else {
        return vec![of_failure("target", section, error.into(), reading)];
    };
    problems
        .into_iter()
        .map(|problem| Diagnostic {
            code: "job",
            span: reading
                .spans
                .nearest(&problem.at)
                .or_else(|| reading.spans.nearest(section)),
            message: problem.message,
            label: String::new(),
            hint: problem.hint,
        })
        .collect()
}

fn of_failure(code: &'static str, path: &str, failure: Failure, reading: &Reading) -> Diagnostic {
    Diagnostic {
        code,
        message: std::iter::once(failure.message)
            .chain(failure.causes)
            .collect::<Vec<_>>()
            .join(": "),
        span: reading.spans.nearest(path),
        label: String::new(),
        hint: failure.hint,
    }
}

fn in_order(source: &Source, config: &Config) -> String {
    let count = |count: usize, one: &str, many: &str| {
        sereno_core::units::show_counted(u64::try_from(count).unwrap_or(u64::MAX), one, many)
    };
    format!(
        "{} is in order: {}, {}, {}\n",
        source.file.display(),
        count(config.jobs.len(), "job", "jobs"),
        count(config.databases.len(), "database", "databases"),
        count(config.directories.len(), "directory", "directories")
    )
}
