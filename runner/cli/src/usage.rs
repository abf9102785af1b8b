//! A command line that clap refuses, as programs read it: all that people would be shown.

use std::ffi::{OsStr, OsString};

use clap::ValueEnum as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde_json::json;

use crate::args::Format;
use crate::failure::Failure;

/// Set by Lambda for every runtime that it starts.
#[cfg(feature = "lambda")]
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// What a command line means that Lambda has started without a word: `sereno lambda`, with log lines that CloudWatch can
/// take apart.
#[cfg(feature = "lambda")]
pub(crate) fn implied(
    mut given: Vec<OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Vec<OsString> {
    if given.len() == 1 && variable(RUNTIME_API).is_some() {
        given.push("lambda".into());
        given.push("--log-format=json".into());
    }
    given
}

#[cfg(not(feature = "lambda"))]
pub(crate) fn implied(given: Vec<OsString>, _variable: impl Fn(&str) -> Option<OsString>) -> Vec<OsString> {
    given
}

/// The same mistakes, with every tip and the usage as its hint.
pub(crate) fn failure(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut message = String::new();
    let mut hints = Vec::new();
    for paragraph in text.split("\n\n") {
        let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(problem) = line.strip_prefix("error: ") {
            problem.clone_into(&mut message);
        } else if line.starts_with("tip: ") {
            hints.extend(
                line.split("tip: ")
                    .map(str::trim)
                    .filter(|tip| !tip.is_empty())
                    .map(str::to_owned),
            );
        } else if line.starts_with("Usage: ") {
            hints.push(line);
        }
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        "a command is missing".clone_into(&mut message);
    }
    let hint = if hints.is_empty() {
        "`sereno --help` lists the commands".to_owned()
    } else {
        hints.join("; ")
    };
    let problems = places(error)
        .into_iter()
        .map(|at| json!({ "at": at, "message": message, "hint": hint }))
        .collect();
    Failure::usage(message.clone())
        .hint(hint.clone())
        .details(problems, String::new())
}

/// The flags, arguments or commands that are wrong or missing.
fn places(error: &clap::Error) -> Vec<String> {
    [ContextKind::InvalidArg, ContextKind::InvalidSubcommand]
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .flat_map(|value| match value {
            ContextValue::String(one) => vec![one.clone()],
            ContextValue::Strings(several) => several.clone(),
            _ => Vec::new(),
        })
        .collect()
}

/// The format that a command line asked for, though it cannot be read as a whole.
pub(crate) fn format(given: &[OsString], variable: Option<&OsStr>) -> Format {
    let words: Vec<&str> = given.iter().filter_map(|word| word.to_str()).collect();
    if words.contains(&"--json") {
        return Format::Json;
    }
    let by_flag = words
        .windows(2)
        .filter(|pair| pair[0] == "--format")
        .map(|pair| pair[1])
        .chain(words.iter().filter_map(|word| word.strip_prefix("--format=")))
        .next_back();
    let variable = variable.and_then(OsStr::to_str);
    by_flag
        .or(variable)
        .and_then(|text| Format::from_str(text, false).ok())
        .unwrap_or(Format::Text)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Arguments;

    fn told(words: &[&str]) -> (String, String, Vec<String>) {
        let error = Arguments::try_parse_from(words).expect_err("it is wrong");
        let document = failure(&error).json();
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        let problems = document["problems"].as_array().cloned().unwrap_or_default();
        let at = |problem: &serde_json::Value| problem["at"].as_str().unwrap_or_default().to_owned();
        (text("message"), text("hint"), problems.iter().map(at).collect())
    }

    #[test]
    fn nothing_that_people_are_shown_is_lost() {
        let places = |places: &[&str]| places.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            told(&["sereno", "apply"]),
            (
                "the following required arguments were not provided: <RUN>".to_owned(),
                "Usage: sereno apply <RUN>".to_owned(),
                places(&["<RUN>"])
            )
        );
        let (message, hint, at) = told(&["sereno", "jops"]);
        assert_eq!(message, "unrecognized subcommand 'jops'");
        assert_eq!(
            hint,
            "a similar subcommand exists: 'jobs'; Usage: sereno [OPTIONS] <COMMAND>"
        );
        assert_eq!(at, places(&["jops"]));
        let (message, _, at) = told(&["sereno", "run", "a", "--at", "tomorrow"]);
        assert_eq!(
            message,
            "invalid value 'tomorrow' for '--at <TIME>': write `2026-11-24T02:30:00Z`, or `2026-11-24 02:30` in UTC"
        );
        assert_eq!(at, places(&["--at <TIME>"]));
        let (message, hint, _) = told(&["sereno", "runs"]);
        assert_eq!(message, "a command is missing");
        assert!(hint.starts_with("Usage: sereno runs"), "{hint}");
    }

    #[test]
    fn the_format_is_known_before_the_command_line_is() {
        let format = |words: &[&str], variable: Option<&str>| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            super::format(&words, variable.map(OsStr::new))
        };
        assert_eq!(format(&["sereno", "--json", "x"], None), Format::Json);
        assert_eq!(
            format(&["sereno", "--format", "json"], Some("text")),
            Format::Json
        );
        assert_eq!(format(&["sereno", "--format=ndjson"], None), Format::Ndjson);
        assert_eq!(format(&["sereno", "x"], Some("ndjson")), Format::Ndjson);
        assert_eq!(format(&["sereno", "--format", "yaml"], None), Format::Text);
    }
}
