//! The one program, `sereno`: reads its arguments and hands each command to its own function.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use sereno_core::manifest::Manifest;

/// Runs maintenance jobs as sandboxed WebAssembly plugins that hold only the keys they need.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the JSON Schema of `sereno.toml`, for your editor.
    Schema,
    /// Work with plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Append a manifest to a finished component, in whatever language it was written.
    Pack {
        /// The component, as its compiler left it.
        component: PathBuf,
        /// Its `plugin.toml`.
        #[arg(long)]
        manifest: PathBuf,
        /// Where the packed plugin goes.
        #[arg(short, long)]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that went away has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done when even stderr is gone.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Schema => {
            writeln!(io::stdout(), "{:#}", sereno_core::config::schema())?;
            Ok(())
        }
        Command::Plugin(PluginCommand::Pack {
            component,
            manifest,
            output,
        }) => pack(&component, &manifest, &output),
    }
}

/// Checks the manifest before anything is written, all of its mistakes at once.
fn pack(component: &Path, manifest: &Path, output: &Path) -> anyhow::Result<()> {
    let read = |path: &Path| format!("could not read {}", path.display());
    let text = fs::read_to_string(manifest).with_context(|| read(manifest))?;
    if let Err(mistakes) = Manifest::parse(&text) {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        bail!(
            "{} is not a manifest:\n  {}",
            manifest.display(),
            mistakes.join("\n  ")
        );
    }
    let bytes = fs::read(component).with_context(|| read(component))?;
    let packed = sereno_pack::append(&bytes, &text)
        .with_context(|| format!("could not pack {}", component.display()))?;
    fs::write(output, packed).with_context(|| format!("could not write {}", output.display()))
}
