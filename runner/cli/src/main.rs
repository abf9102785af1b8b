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
mod usage;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use args::{Arguments, FORMAT_VARIABLE, Format};
use failure::USAGE;
use output::Output;

fn main() -> ExitCode {
    let given = usage::implied(std::env::args_os().collect(), |name| std::env::var_os(name));
    let arguments = match Arguments::try_parse_from(&given) {
        Ok(arguments) => arguments,
        Err(error) => return answer_clap(&error, &given),
    };
    logging::start(&arguments.global, arguments.command.stays());
    let output = Output::new(&arguments.global);
    match commands::dispatch(arguments, &output) {
        Ok(code) => ExitCode::from(code),
        // A reader that went away has seen enough.
        Err(failure) if failure.is_broken_pipe => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = failure.called(&output.program);
            output.insist(&match output.format {
                Format::Text => failure.text(output.paint_talk),
                format => failure.document(format),
            });
            ExitCode::from(failure.exit)
        }
    }
}

/// Help and versions are answers; everything else is a wrong command line, told as the caller reads.
fn answer_clap(error: &clap::Error, given: &[OsString]) -> ExitCode {
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let format = usage::format(given, std::env::var_os(FORMAT_VARIABLE).as_deref());
    // Nobody is left to tell when writing fails.
    if is_answer || format == Format::Text {
        let _ = error.print();
    } else {
        let _ = writeln!(std::io::stderr(), "{}", usage::failure(error).document(format));
    }
    ExitCode::from(if is_answer { 0 } else { USAGE })
}
