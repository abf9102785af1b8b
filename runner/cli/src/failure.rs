//! What keeps a command from its end: an exit code, a sentence, its causes and what to do next, printed once.

use std::io;

use serde_json::{Value as Json, json};
use sereno_core::config::closest;
use sereno_core::dispatch::{DispatchError, Problem};
use sereno_core::job::NoJob;
use sereno_core::ports::database::DatabaseError;
use sereno_core::ports::ledger::LedgerError;
use sereno_core::ports::plugins::PluginError;

use crate::args::Format;
use crate::output::DOCUMENT_SCHEMA_VERSION;
use crate::render::next::called;
use crate::render::paint::Paint;

/// Exit code of a failure without one of its own.
const FAILED: u8 = 1;
/// Exit code of a wrong command line or configuration; clap's own.
pub(crate) const USAGE: u8 = 2;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Of the process.
    pub(crate) exit: u8,
    /// Stable and short, such as `configuration`.
    pub(crate) code: &'static str,
    /// A sentence without a full stop.
    pub(crate) message: String,
    /// Each the reason of the one before.
    pub(crate) causes: Vec<String>,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// The single mistakes, where there are several.
    pub(crate) details: Option<Box<Details>>,
    /// A reader of ours went away, which is success.
    pub(crate) is_broken_pipe: bool,
}

/// Single mistakes behind one sentence.
#[derive(Debug)]
pub(crate) struct Details {
    /// For programs.
    pub(crate) problems: Vec<Json>,
    /// For people, in whole lines; printed before the sentence.
    pub(crate) text: String,
}

impl Failure {
    /// With this exit code.
    pub(crate) fn new(exit: u8, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            exit,
            code,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            details: None,
            is_broken_pipe: false,
        }
    }

    /// A wrong command line or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, "usage", message)
    }

    /// With this advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the commands of its advice as this program is called.
    pub(crate) fn called(mut self, program: &str) -> Self {
        self.hint = self.hint.map(|hint| called(&hint, program));
        self
    }

    /// With the single mistakes behind it.
    pub(crate) fn details(mut self, problems: Vec<Json>, text: String) -> Self {
        self.details = Some(Box::new(Details { problems, text }));
        self
    }

    /// As people read it.
    pub(crate) fn text(&self, paint: Paint) -> String {
        let mut text = self
            .details
            .as_ref()
            .map(|details| details.text.clone())
            .unwrap_or_default();
        text.push_str(&format!("{} {}\n", paint.error("error:"), self.message));
        for cause in &self.causes {
            text.push_str(&format!("  caused by: {cause}\n"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("{} {hint}\n", paint.hint("hint:")));
        }
        text
    }

    /// With its causes, on one line.
    pub(crate) fn sentence(&self) -> String {
        let mut message = self.message.clone();
        for cause in &self.causes {
            message.push_str(": ");
            message.push_str(cause);
        }
        message
    }

    /// As programs read it.
    pub(crate) fn json(&self) -> Json {
        let message = self.sentence();
        let problems = self.details.as_ref().map_or(&[][..], |details| &details.problems);
        json!({
            "schema_version": DOCUMENT_SCHEMA_VERSION,
            "code": self.code,
            "exit": self.exit,
            "message": message,
            "hint": self.hint,
            "problems": problems,
        })
    }

    /// The same as text, on one line where a line is a document.
    pub(crate) fn document(&self, format: Format) -> String {
        match format {
            Format::Ndjson => self.json().to_string(),
            Format::Json | Format::Text => format!("{:#}", self.json()),
        }
    }
}

/// What a problem is about; one of all params together ends with a dot.
fn place(problem: &Problem) -> &str {
    problem.at.trim_end_matches('.')
}

/// A problem of a request or a job, as programs read it.
fn problem_json(problem: &Problem) -> Json {
    json!({ "at": place(problem), "message": problem.message, "hint": problem.hint })
}

/// The same for people.
fn problem_text(problem: &Problem, paint: Paint) -> String {
    let mut text = format!(
        "{} {}: {}\n",
        paint.error("error:"),
        paint.strong(place(problem)),
        problem.message
    );
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("  {} {hint}\n", paint.hint("hint:")));
    }
    text
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let is_broken_pipe = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::BrokenPipe);
        let mut chain = error.chain().map(ToString::to_string);
        let message = chain.next().unwrap_or_default();
        Self {
            causes: chain.collect(),
            is_broken_pipe,
            ..Self::new(FAILED, "failed", message)
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        anyhow::Error::new(error)
            .context("could not write to standard output")
            .into()
    }
}

impl From<NoJob> for Failure {
    fn from(error: NoJob) -> Self {
        DispatchError::NoJob(error).into()
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        DispatchError::Ledger(error).into()
    }
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        DispatchError::Plugin(error).into()
    }
}

impl From<DispatchError> for Failure {
    fn from(error: DispatchError) -> Self {
        let exit = error.exit_code();
        let message = error.to_string();
        let (code, hint): (&'static str, Option<String>) = match &error {
            DispatchError::Usage(problems) => return of_problems(problems, message),
            DispatchError::NoJob(missing) => ("no-job", Some(missing.hint.clone())),
            DispatchError::NoRound(missing) => ("no-round", Some(missing.hint.clone())),
            DispatchError::Refused { hint, .. } => ("refused", hint.clone()),
            DispatchError::Taken { run } => (
                "taken",
                Some(format!("`sereno runs show {run}` tells how it ended")),
            ),
            DispatchError::AtWork { run } => (
                "at-work",
                Some(format!("`sereno runs show {run}` tells how far it is")),
            ),
            DispatchError::HasEnded(_) => ("ended", Some("only a run at work can be cancelled".to_owned())),
            DispatchError::Plugin(PluginError::NotFound { name, known, .. }) => {
                ("plugin-not-found", Some(plugin_hint(name.as_str(), known)))
            }
            DispatchError::Plugin(_) => ("plugin", None),
            DispatchError::Database { name, source } => ("database", database_hint(name, source)),
            DispatchError::Directory { name, .. } => (
                "directory",
                Some(format!("look at `path` under [directory.{name}]")),
            ),
            DispatchError::Origin { name, .. } => (
                "origin",
                Some(format!("look at `url` and `headers` under [origin.{name}]")),
            ),
            DispatchError::Storage { name, .. } => {
                ("storage", Some(format!("look at `url` under [storage.{name}]")))
            }
            DispatchError::Writer { name, .. } => ("writer", Some(format!("look at [writer.{name}]"))),
            DispatchError::Ledger(LedgerError::NoRun(_)) => (
                "no-run",
                Some("`sereno runs list` has the ids of the newest".to_owned()),
            ),
            DispatchError::Ledger(LedgerError::Ambiguous { .. }) => ("ambiguous-run", None),
            DispatchError::Ledger(LedgerError::Unreachable { .. }) => {
                ("ledger", Some("look at `url` under [ledger]".to_owned()))
            }
            DispatchError::Ledger(_) => ("ledger", None),
        };
        Self {
            hint,
            ..Self::new(exit, code, message)
        }
    }
}

fn of_problems(problems: &[Problem], message: String) -> Failure {
    let json = problems.iter().map(problem_json).collect();
    match problems {
        // One problem is the error itself; a summary below it would only repeat that.
        [only] => Failure {
            hint: only.hint.clone(),
            ..Failure::new(USAGE, "usage", format!("{}: {}", place(only), only.message))
                .details(json, String::new())
        },
        several => {
            let text = several
                .iter()
                .map(|problem| problem_text(problem, Paint::plain()))
                .collect();
            Failure::new(USAGE, "usage", message).details(json, text)
        }
    }
}

fn plugin_hint(name: &str, known: &[String]) -> String {
    if let Some(meant) = closest(name, known.iter().map(String::as_str)) {
        return format!("did you mean `{meant}`?");
    }
    let put = format!("put `{name}.wasm` there, or say `[plugin.{name}] path = \"…\"`");
    if known.is_empty() {
        put
    } else {
        format!("{put}; plugins here: {}", known.join(", "))
    }
}

fn database_hint(name: &str, error: &DatabaseError) -> Option<String> {
    match error {
        DatabaseError::NotFound { .. } => Some(format!(
            "look at `url` under [database.{name}]; sereno makes no database"
        )),
        DatabaseError::Unreachable { .. } => {
            Some("is the server up, and is `url` right? nothing was changed".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(at: &str) -> Problem {
        Problem {
            at: at.to_owned(),
            message: "is wrong".to_owned(),
            hint: Some("write it right".to_owned()),
        }
    }

    #[test]
    fn an_error_is_printed_with_its_chain_and_its_hint() {
        let error = anyhow::anyhow!("no such file").context("could not read `sereno.toml`");
        let failure = Failure::from(error).hint("`sereno init` writes one");
        assert_eq!(
            failure.text(Paint::plain()),
            "error: could not read `sereno.toml`\n  caused by: no such file\nhint: `sereno init` writes one\n"
        );
        assert_eq!(failure.exit, 1);
        let json = failure.json();
        assert_eq!(json["message"], "could not read `sereno.toml`: no such file");
        assert_eq!(json["hint"], "`sereno init` writes one");
    }

    #[test]
    fn several_problems_are_all_told_and_one_is_the_error_itself() {
        let one = Failure::from(DispatchError::Usage(vec![problem("job.a")]));
        assert_eq!(
            one.text(Paint::plain()),
            "error: job.a: is wrong\nhint: write it right\n"
        );
        let two = Failure::from(DispatchError::Usage(vec![problem("job.a"), problem("job.b")]));
        assert_eq!(
            two.text(Paint::plain()),
            "error: job.a: is wrong\n  hint: write it right\nerror: job.b: is wrong\n  hint: write it right\n\
             error: 2 problem(s) with the request; nothing was started\n"
        );
        assert_eq!(
            (two.exit, two.json()["problems"].as_array().map(Vec::len)),
            (2, Some(2))
        );
    }

    #[test]
    fn a_reader_that_went_away_is_known_as_such() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(failure.is_broken_pipe);
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).is_broken_pipe);
    }
}
