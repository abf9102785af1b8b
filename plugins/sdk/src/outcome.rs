//! What a plugin says of its run: findings, measurements, and whether work is left.
//!
//! Effects are not in it: the host counts and words those.

/// How a call of the plugin ended well.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Everything is done.
    Done(Report),
    /// Work is left; the next attempt gets this cursor in its context.
    More(Report, String),
}

/// What a call says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// In the order in which they were noticed.
    pub findings: Vec<Finding>,
}

impl Report {
    /// One with nothing in it.
    pub const fn new() -> Self {
        Self { findings: Vec::new() }
    }

    /// Adds a finding.
    #[must_use]
    pub fn finding(mut self, finding: Finding) -> Self {
        self.add(finding);
        self
    }

    /// Adds a finding in place.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Work was left over, or something will need a person.
    Warn,
    /// A person is needed now.
    Critical,
}

impl Severity {
    /// Its text in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Critical => "critical",
        }
    }
}

/// Something noticed, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable and short, such as `rows-never-reached`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about; [`crate::target`] makes these.
    pub target: String,
    /// One sentence.
    pub text: String,
    /// What to do next, as a sentence or a command.
    pub next: Option<String>,
}

impl Finding {
    /// A finding of this severity.
    pub fn new(severity: Severity, code: &str, target: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity,
            target: target.into(),
            text: text.into(),
            next: None,
        }
    }

    /// Worth knowing.
    pub fn info(code: &str, target: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, target, text)
    }

    /// Work was left over, or something will need a person.
    pub fn warn(code: &str, target: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Severity::Warn, code, target, text)
    }

    /// A person is needed now.
    pub fn critical(code: &str, target: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Severity::Critical, code, target, text)
    }

    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

/// What a measurement counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Rows.
    Rows,
    /// Files.
    Files,
    /// Percent.
    Percent,
    /// A plain number, such as connections.
    Count,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// Its text in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Rows => "rows",
            Self::Files => "files",
            Self::Percent => "percent",
            Self::Count => "count",
            Self::Seconds => "seconds",
        }
    }
}

/// One reading, kept over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Dotted and stable, such as `disk.used_percent`.
    pub name: String,
    /// What was measured; [`crate::target`] makes these.
    pub target: String,
    /// None is unknown, which is never 0.
    pub value: Option<f64>,
    /// What it counts.
    pub unit: Unit,
    /// Why it is unknown, or how it was found.
    pub note: Option<String>,
}

impl Measurement {
    /// A reading; `unknown` says why there is none.
    pub fn new(name: &str, target: &str, unit: Unit, value: Option<f64>, unknown: &str) -> Self {
        let note = value.is_none().then(|| unknown.to_owned());
        Self {
            name: name.to_owned(),
            target: target.to_owned(),
            value,
            unit,
            note,
        }
    }

    /// A count; `unknown` says why there is none.
    pub fn count(name: &str, target: &str, unit: Unit, value: Option<u64>, unknown: &str) -> Self {
        Self::new(name, target, unit, value.map(|value| value as f64), unknown)
    }
}
