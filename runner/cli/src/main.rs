//! The one program, `sereno`: reads its arguments, hands each command to its module, answers with an exit code.

#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "texts for people are short, and put together once"
)]

mod args;
mod commands;
mod compose;
mod config_source;
mod demo;
mod failure;
mod logging;
mod output;
mod render;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use args::{Arguments, Format};
use failure::{Failure, USAGE};
use output::Output;

fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    let arguments = match Arguments::try_parse_from(&given) {
        Ok(arguments) => arguments,
        Err(error) => return answer_clap(&error, &given),
    };
    logging::start(&arguments.global);
    let output = Output::new(&arguments.global);
    match commands::dispatch(arguments, &output) {
        Ok(code) => ExitCode::from(code),
        // A reader that went away has seen enough.
        Err(failure) if failure.is_broken_pipe => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = failure.called(&output.program);
            output.insist(&match output.format {
                Format::Text => failure.text(output.paint_talk),
                Format::Json => format!("{:#}", failure.json()),
                Format::Ndjson => failure.json().to_string(),
            });
            ExitCode::from(failure.exit)
        }
    }
}

/// Help and versions are answers; everything else is a wrong command line, told as the caller reads.
fn answer_clap(error: &clap::Error, given: &[OsString]) -> ExitCode {
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !is_answer && wants_json(given) {
        let text = error.render().to_string();
        let mut lines = text.trim().lines();
        let message = lines
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let failure = Failure::usage(message).hint("`sereno --help` lists the commands");
        let _ = writeln!(std::io::stderr(), "{}", failure.json());
        return ExitCode::from(USAGE);
    }
    // Nobody is left to tell when this fails.
    let _ = error.print();
    if is_answer {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(USAGE)
    }
}

/// Whether a command line that could not be parsed asked for JSON.
fn wants_json(given: &[OsString]) -> bool {
    let words: Vec<&str> = given.iter().filter_map(|word| word.to_str()).collect();
    words
        .iter()
        .any(|word| matches!(*word, "--json" | "--format=json" | "--format=ndjson"))
        || words
            .windows(2)
            .any(|pair| pair[0] == "--format" && matches!(pair[1], "json" | "ndjson"))
}
