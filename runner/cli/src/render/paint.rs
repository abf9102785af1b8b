//! Colours, or none. Every text must say the same without them.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint {
    is_colored: bool,
}

impl Paint {
    /// None.
    pub(crate) const fn plain() -> Self {
        Self { is_colored: false }
    }

    /// All.
    pub(crate) const fn colored() -> Self {
        Self { is_colored: true }
    }

    /// True when there are any.
    pub(crate) fn is_colored(self) -> bool {
        self.is_colored
    }

    fn with(self, style: Style, text: impl Display) -> String {
        if self.is_colored {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }

    /// What the line is about.
    pub(crate) fn strong(self, text: impl Display) -> String {
        self.with(Style::new().bold(), text)
    }

    /// Can be passed over.
    pub(crate) fn faint(self, text: impl Display) -> String {
        self.with(Style::new().dimmed(), text)
    }

    /// All is well.
    pub(crate) fn good(self, text: impl Display) -> String {
        self.with(AnsiColor::Green.on_default().bold(), text)
    }

    /// Look at this some time.
    pub(crate) fn warn(self, text: impl Display) -> String {
        self.with(AnsiColor::Yellow.on_default().bold(), text)
    }

    /// Look at this now.
    pub(crate) fn error(self, text: impl Display) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    /// A way on.
    pub(crate) fn hint(self, text: impl Display) -> String {
        self.with(AnsiColor::Cyan.on_default().bold(), text)
    }
}
