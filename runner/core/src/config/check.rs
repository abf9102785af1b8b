//! Holds a job against its plugin's manifest: what the configuration alone cannot know.

use super::diagnostic::{Diagnostic, did_you_mean};
use super::spans::Spans;
use crate::job::{Config, Job};
use crate::manifest::{Manifest, Param, ParamKind};
use crate::name::TargetName;
use serde_json::Value as Json;

/// Every mistake in the params of `job`, each at the value in the text that `spans` was made from.
pub fn check_job(config: &Config, job: &Job, manifest: &Manifest, spans: &Spans) -> Vec<Diagnostic> {
    let section = format!("job.{}", job.name);
    let params = format!("{section}.params");
    let mut mistakes = Vec::new();
    if let Err(errors) = manifest.settle_params(&job.params) {
        for error in errors {
            let path = if error.path.is_empty() {
                params.clone()
            } else {
                format!("{params}.{}", error.path)
            };
            let (code, span, label) = if error.is_unknown {
                ("unknown-param", spans.key(&path), "unknown param")
            } else {
                ("bad-param", spans.nearest(&path), "here")
            };
            mistakes.push(Diagnostic {
                code,
                message: error.message,
                span,
                label: label.to_owned(),
                hint: error.hint,
            });
        }
    }
    for param in &manifest.params {
        if let Some(value) = job.params.get(&param.name) {
            check_targets(
                config,
                param,
                value,
                &format!("{params}.{}", param.name),
                spans,
                &mut mistakes,
            );
        }
    }
    for (place, name) in job.event_params.iter().enumerate() {
        if !manifest.params.iter().any(|param| param.name == *name) {
            mistakes.push(Diagnostic {
                code: "unknown-param",
                message: format!("`{name}` is not a param of `{}`", manifest.name),
                span: spans.value(&format!("{section}.event_params[{place}]")),
                label: "unknown param".to_owned(),
                hint: did_you_mean(name, manifest.params.iter().map(|param| param.name.as_str())),
            });
        }
    }
    mistakes
}

/// Databases, directories, origins, storages and writers that a param names must be configured.
fn check_targets(
    config: &Config,
    param: &Param,
    value: &Json,
    path: &str,
    spans: &Spans,
    mistakes: &mut Vec<Diagnostic>,
) {
    match (&param.kind, value) {
        (ParamKind::Database, Json::String(name)) => {
            mistakes.extend(unknown(name, "database", config.databases.keys(), path, spans));
        }
        (ParamKind::Directory, Json::String(name)) => {
            mistakes.extend(unknown(name, "directory", config.directories.keys(), path, spans));
        }
        (ParamKind::Origin, Json::String(name)) => {
            mistakes.extend(unknown(name, "origin", config.origins.keys(), path, spans));
        }
        (ParamKind::Storage, Json::String(name)) => {
            mistakes.extend(unknown(name, "storage", config.storages.keys(), path, spans));
        }
        (ParamKind::Writer, Json::String(name)) => {
            mistakes.extend(unknown(name, "writer", config.writers.keys(), path, spans));
        }
        (ParamKind::List(items), Json::Array(values)) => {
            for (place, value) in values.iter().enumerate() {
                check_targets(config, items, value, &format!("{path}[{place}]"), spans, mistakes);
            }
        }
        (ParamKind::Record(fields), Json::Object(values)) => {
            for field in fields {
                if let Some(value) = values.get(&field.name) {
                    check_targets(
                        config,
                        field,
                        value,
                        &format!("{path}.{}", field.name),
                        spans,
                        mistakes,
                    );
                }
            }
        }
        _ => {}
    }
}

/// The mistake of naming a target that there is not. What is no name at all was refused with the param.
fn unknown<'a>(
    name: &str,
    section: &str,
    mut known: impl Iterator<Item = &'a TargetName> + Clone,
    path: &str,
    spans: &Spans,
) -> Option<Diagnostic> {
    let name = name.parse::<TargetName>().ok()?;
    let names: Vec<&str> = known.clone().map(TargetName::as_str).collect();
    if known.any(|known| *known == name) {
        return None;
    }
    let hint = did_you_mean(name.as_str(), names.iter().copied());
    Some(Diagnostic {
        code: "unknown-target",
        message: format!("there is no `{section}.{name}`"),
        span: spans.nearest(path),
        label: "unknown".to_owned(),
        hint: Some(hint.unwrap_or_else(|| format!("add a section `[{section}.{name}]`"))),
    })
}
