//! The one program, `sereno`: reads its arguments and hands each command to its own module.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let Arguments {
        command: Command::Schema,
    } = Arguments::parse();
    let text = format!("{:#}\n", sereno_core::config::schema());
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that went away has seen enough.
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
