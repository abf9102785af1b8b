//! What `doctor` found, for people and for programs.

use serde_json::{Value as Json, json as object};

use super::paint::Paint;
use crate::failure::Failure;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Well,
    /// It works, and somebody should know.
    Doubtful,
    Wrong,
    /// It does not answer.
    Unreachable,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Doubtful => "doubtful",
            Self::Wrong => "wrong",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// What: a path of the configuration, or a word.
    pub(crate) at: String,
    pub(crate) state: State,
    /// What was seen.
    pub(crate) text: String,
    /// What to do.
    pub(crate) next: Option<String>,
}

impl Finding {
    pub(crate) fn well(at: &str, text: impl Into<String>) -> Self {
        Self {
            at: at.to_owned(),
            state: State::Well,
            text: text.into(),
            next: None,
        }
    }

    /// Not well after all, and what to do.
    pub(crate) fn becomes(self, state: State, next: &str) -> Self {
        Self {
            state,
            next: Some(next.to_owned()),
            ..self
        }
    }

    /// What kept it from being looked at.
    pub(crate) fn of_failure(at: &str, failure: Failure) -> Self {
        let state = if failure.exit == 7 {
            State::Unreachable
        } else {
            State::Wrong
        };
        let text = std::iter::once(failure.message)
            .chain(failure.causes)
            .collect::<Vec<_>>()
            .join(": ");
        Self {
            next: failure.hint,
            state,
            ..Self::well(at, text)
        }
    }
}

/// Each on a line with its next step below it, and how many were looked at.
pub(crate) fn text(findings: &[&Finding], looked_at: usize, _paint: Paint) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!(
            "{}: {}: {}\n",
            finding.state.word(),
            finding.at,
            finding.text
        ));
        if let Some(next) = &finding.next {
            text.push_str(&format!("  next: {next}\n"));
        }
    }
    let bad = findings
        .iter()
        .filter(|finding| finding.state != State::Well)
        .count();
    let end = match bad {
        0 => format!("looked at {looked_at}: all is well\n"),
        bad => format!("looked at {looked_at}: {bad} not well\n"),
    };
    text + &end
}

/// The same for programs.
pub(crate) fn json(finding: &Finding) -> Json {
    object!({
        "at": finding.at,
        "state": finding.state.word(),
        "text": finding.text,
        "next": finding.next,
    })
}
