//! Where text goes: data to standard output, talk to standard error, in colour where that is read.
//!
//! It words nothing. A reader that went away has seen enough: a broken pipe is success.

use std::io::{self, IsTerminal, Write};

use anstream::ColorChoice;
use serde_json::Value as Json;

use crate::args::{ColorWhen, Format, Global};
use crate::render::next::program;
use crate::render::paint::Paint;

/// The process's streams as one command uses them.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// How data is written.
    pub(crate) format: Format,
    /// Errors only on standard error.
    pub(crate) quiet: bool,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    /// For standard output.
    pub(crate) paint: Paint,
    /// For standard error.
    pub(crate) paint_talk: Paint,
    /// How the program is called, for commands that it prints.
    pub(crate) program: String,
    /// A person looks at standard error.
    pub(crate) is_watched: bool,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let paint = |auto: ColorChoice| match global.color {
            ColorWhen::Never => Paint::plain(),
            ColorWhen::Auto if auto == ColorChoice::Never => Paint::plain(),
            ColorWhen::Always | ColorWhen::Auto => Paint::colored(),
        };
        Self {
            format: global.format(),
            quiet: global.quiet,
            verbose: global.verbose,
            paint: paint(anstream::AutoStream::choice(&io::stdout())),
            paint_talk: paint(anstream::AutoStream::choice(&io::stderr())),
            program: program(global.config.as_deref()),
            is_watched: !global.quiet && io::stderr().is_terminal(),
        }
    }

    /// Writes data.
    #[expect(clippy::unused_self, reason = "whoever writes data holds the output")]
    pub(crate) fn data(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Writes one document, in the chosen format or as one line.
    pub(crate) fn document(&self, document: &Json) -> io::Result<()> {
        match self.format {
            Format::Ndjson => self.data(&format!("{document}\n")),
            Format::Json | Format::Text => self.data(&format!("{document:#}\n")),
        }
    }

    /// Writes several documents: one a line, or all in one under `name`.
    pub(crate) fn documents(&self, name: &str, documents: Vec<Json>) -> io::Result<()> {
        if self.format == Format::Ndjson {
            let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
            return self.data(&lines);
        }
        let mut all = serde_json::Map::new();
        all.insert("schema_version".to_owned(), Json::from(DOCUMENT_SCHEMA_VERSION));
        all.insert(name.to_owned(), Json::Array(documents));
        self.document(&Json::Object(all))
    }

    /// Tells a person something that is no data.
    pub(crate) fn talk(&self, text: &str) {
        if !self.quiet {
            self.insist(text);
        }
    }

    /// Tells it even to those who asked for quiet.
    #[expect(clippy::unused_self, reason = "whoever talks holds the output")]
    pub(crate) fn insist(&self, text: &str) {
        // Nobody is left to tell when this fails.
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
    }

    /// True when data is text for people.
    pub(crate) fn is_text(&self) -> bool {
        self.format == Format::Text
    }
}

/// The version that documents other than reports carry; it only grows.
pub(crate) use sereno_core::report::DOCUMENT_SCHEMA_VERSION;
