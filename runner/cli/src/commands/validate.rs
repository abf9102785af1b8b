//! `validate`: every mistake in the configuration, the plugins' manifests, params, needs and grants, at once, each
//! underlined where it stands.

use serde_json::json;
use sereno_core::config;
use sereno_core::job::Config;
use sereno_core::units::show_counted;

use super::check::{Reach, mistakes};
use super::source;
use crate::args::{Global, Validate};
use crate::config_source::Source;
use crate::failure::{Failure, USAGE};
use crate::output::{DOCUMENT_SCHEMA_VERSION, Output};
use crate::render::diagnostics;

pub(super) async fn validate(global: &Global, args: &Validate, output: &Output) -> Result<u8, Failure> {
    let source = source(global)?;
    let reading = config::read(&source.text, &source.folder);
    let reach = if args.online {
        Reach::Online
    } else {
        Reach::Offline
    };
    let mistakes = mistakes(&reading, reach).await?;
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
    output.data(&in_order(&source, reading.draft()))?;
    Ok(0)
}

fn in_order(source: &Source, config: &Config) -> String {
    let count = |count: usize, one: &str, many: &str| {
        show_counted(u64::try_from(count).unwrap_or(u64::MAX), one, many)
    };
    let storages = match config.storages.len() {
        0 => String::new(),
        storages => format!(", {}", count(storages, "storage", "storages")),
    };
    format!(
        "{} is in order: {}, {}, {}{storages}\n",
        source.file.display(),
        count(config.jobs.len(), "job", "jobs"),
        count(config.databases.len(), "database", "databases"),
        count(config.directories.len(), "directory", "directories")
    )
}
