//! `plugin inspect | pack | compile`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use sereno_core::job::Config;
use sereno_core::manifest::{Manifest, ManifestError};

use super::{block_on, source};
use crate::args::{Global, Plugin};
use crate::compose;
use crate::failure::{Failure, USAGE};
use crate::output::Output;
use crate::render;

pub(super) fn plugin(global: &Global, args: Plugin, output: &Output) -> Result<u8, Failure> {
    match args {
        Plugin::Inspect { plugin } => block_on(inspect(global, &plugin, output)),
        Plugin::Pack {
            component,
            manifest,
            output: file,
        } => pack(&component, &manifest, &file, output),
        Plugin::Compile(args) => match &args.output {
            Some(file) => {
                compose::compile_file(Path::new(&args.plugin), file, args.target)?;
                Ok(0)
            }
            None => block_on(prepare(global, &args.plugin, output)),
        },
    }
}

/// A file is one that is there or looks like a path; anything else is a name.
pub(crate) fn is_file(plugin: &str) -> bool {
    plugin.contains('/') || Path::new(plugin).extension().is_some() || Path::new(plugin).is_file()
}

async fn prepare(global: &Global, plugin: &str, output: &Output) -> Result<u8, Failure> {
    let config = configured(global, output)?;
    let info = compose::prepare(config.as_deref(), plugin).await?;
    output.data(&format!(
        "{} {} is compiled and in the cache\n",
        info.manifest.name, info.manifest.version
    ))?;
    Ok(0)
}

/// Plugins beside the program need no configuration; a broken one is no reason to look past it.
fn configured(global: &Global, output: &Output) -> Result<Option<Arc<Config>>, Failure> {
    match source(global) {
        Ok(source) => Ok(Some(source.parse(output)?)),
        Err(_) if global.config.is_none() => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn inspect(global: &Global, plugin: &str, output: &Output) -> Result<u8, Failure> {
    let info = if is_file(plugin) {
        compose::inspect_file(Path::new(plugin)).await?
    } else {
        compose::inspect(configured(global, output)?.as_deref(), plugin).await?
    };
    if output.is_text() {
        output.data(&render::plugin::text(&info, output.paint))?;
    } else {
        output.document(&render::plugin::json(&info))?;
    }
    Ok(0)
}

/// Checks the manifest before anything is written, all of its mistakes at once.
fn pack(component: &Path, manifest: &Path, file: &Path, output: &Output) -> Result<u8, Failure> {
    let text = fs::read_to_string(manifest)
        .with_context(|| format!("could not read the manifest {}", manifest.display()))
        .map_err(usage)?;
    let bytes = fs::read(component)
        .with_context(|| format!("could not read the component {}", component.display()))
        .map_err(usage)?;
    let parsed =
        Manifest::parse(&text).map_err(|mistakes| manifest_failure(manifest, &text, &mistakes, output))?;
    let packed = sereno_pack::append(&bytes, &text)
        .with_context(|| format!("could not pack {}", component.display()))
        .map_err(usage)?;
    fs::write(file, packed).with_context(|| format!("could not write {}", file.display()))?;
    output.talk(&format!(
        "packed {} {} into {}",
        parsed.name,
        parsed.version,
        file.display()
    ));
    Ok(0)
}

fn usage(error: anyhow::Error) -> Failure {
    Failure {
        exit: USAGE,
        code: "usage",
        ..Failure::from(error)
    }
}

/// Mistakes of a manifest, shown as those of a configuration are.
fn manifest_failure(file: &Path, text: &str, mistakes: &[ManifestError], output: &Output) -> Failure {
    let count = if mistakes.len() == 1 {
        "1 mistake".to_owned()
    } else {
        format!("{} mistakes", mistakes.len())
    };
    let message = format!("{count} in {}; nothing was written", file.display());
    Failure::new(USAGE, "manifest", message).details(
        render::diagnostics::json(file, text, mistakes),
        render::diagnostics::text(file, text, mistakes, output.paint_talk),
    )
}
