//! Mistakes in a document, each with its place, its reason and what to write instead.
//!
//! Rendering them is the command line's work; they stop nothing by themselves.

use std::fmt;
use std::ops::Range;

/// One mistake in a configuration or a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable and short, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// Where, in bytes of the text; none when it is about the whole.
    pub span: Option<Range<usize>>,
    /// What stands at the underline.
    pub label: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A mistake at `span`.
    pub fn at(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            span: Some(span),
            label: String::new(),
            hint: None,
        }
    }

    /// A mistake of the whole document.
    pub fn of_the_whole(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            span: None,
            label: String::new(),
            hint: None,
        }
    }

    /// With these words at the underline.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With this advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With this advice, if there is any.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// The line that it starts on, counted from 1.
    pub fn line(&self, text: &str) -> Option<usize> {
        self.span.as_ref().map(|span| line_of(text, span.start))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// The line, counted from 1, that byte `at` of `text` is on.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// The known word that somebody who wrote `word` most likely meant.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word may differ: `shedule` is `schedule`, `a` is nothing.
    let allowed = word.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|candidate| {
            (
                strsim::osa_distance(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// The hint that names the closest known word, or else all of them.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(meant) = closest(word, known.clone()) {
        return Some(format!("did you mean `{meant}`?"));
    }
    let all: Vec<_> = known.into_iter().map(|word| format!("`{word}`")).collect();
    (!all.is_empty()).then(|| format!("known here: {}", all.join(", ")))
}
