//! What a run says of itself: effects in the host's words, findings and measurements in the plugin's.
//!
//! Nothing here decides anything. [`Report`] is a contract: `schema_version` 1 only grows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::grant::Verb;
use crate::guard::GuardState;
use crate::name::{JobName, RunId};
use crate::run::{Mode, Outcome, Reason, Work};

/// The version that [`Report::schema_version`] carries.
pub const REPORT_SCHEMA_VERSION: u32 = 1;

/// The version of every other document that programs read.
pub const DOCUMENT_SCHEMA_VERSION: u32 = 1;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Work was left over or something will need a person.
    Warn,
    /// A person is needed now.
    Critical,
}

/// Something a plugin or the host noticed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable and short, such as `rows-never-reached`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, as a grant path.
    pub target: String,
    /// One sentence.
    pub text: String,
    /// What to do next.
    pub next: Option<String>,
}

/// A number kept over time. None is unknown, which is never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Dotted and stable, such as `disk.used_percent`.
    pub name: String,
    /// What was measured, as a grant path.
    pub target: String,
    /// The reading.
    pub value: Option<f64>,
    /// `bytes`, `rows`, `files`, `percent`, `count`, `seconds`.
    pub unit: String,
    /// Why it is unknown, or how it was found.
    pub note: Option<String>,
}

/// What a run changed, or would change, on one target with one verb and cutoff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// What was done.
    pub verb: Verb,
    /// On what, as a grant path: `database.app.tables.user_sessions`.
    pub on: String,
    /// `rows`, `files`, `directories`, `tables` or `indexes`.
    pub unit: String,
    /// Which ones, in words: `updated_at before 2026-11-17 02:30 UTC`.
    pub what: String,
    /// How many the run set out to change: counted before the first.
    pub planned: u64,
    /// How many there were in all; none where nobody counted.
    pub total: Option<u64>,
    /// How many were changed; 0 in a plan.
    pub done: u64,
    /// Bytes changed or freed (planned ones in a plan); none where nobody knows.
    pub bytes: Option<u64>,
    /// Bytes given back, where that is not all of `bytes`, as of compressed files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<u64>,
    /// True when bytes are a guess, as for upkeep in a plan.
    pub bytes_estimated: bool,
    /// How many matched and were left: locked, no permission.
    pub skipped: u64,
    /// Everything strictly before it was meant.
    pub cutoff: Option<DateTime<Utc>>,
    /// The guard that stands nearest to its limit, or furthest beyond it.
    pub guard: Option<GuardState>,
    /// Every other guard that is exceeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_exceeded: Vec<GuardState>,
}

impl Effect {
    /// One of which nothing is planned or done yet.
    pub fn of(verb: Verb, on: impl Into<String>, unit: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            verb,
            on: on.into(),
            unit: unit.into(),
            what: what.into(),
            planned: 0,
            total: None,
            done: 0,
            bytes: None,
            freed: None,
            bytes_estimated: false,
            skipped: 0,
            cutoff: None,
            guard: None,
            also_exceeded: Vec::new(),
        }
    }

    /// The same effect, held against `states`.
    pub(crate) fn judged(mut self, states: impl IntoIterator<Item = GuardState>) -> Self {
        let mut states: Vec<GuardState> = states.into_iter().collect();
        // Stable: of two that stand alike, the first is told.
        states.sort_by(|a, b| {
            b.exceeded
                .cmp(&a.exceeded)
                .then(b.strain().total_cmp(&a.strain()))
        });
        let mut states = states.into_iter();
        self.guard = states.next();
        self.also_exceeded = states.filter(|state| state.exceeded).collect();
        self
    }

    /// Every guard that is exceeded, the worst first.
    pub fn exceeded(&self) -> impl Iterator<Item = &GuardState> {
        let first = self.guard.iter().filter(|state| state.exceeded);
        first.chain(&self.also_exceeded)
    }
}

/// One target's part of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetReport {
    /// `database.app` or `directory.temp`.
    pub target: String,
    /// What changed.
    pub effects: Vec<Effect>,
    /// What was noticed.
    pub findings: Vec<Finding>,
}

/// What the guest consumed, for the person who sets limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LimitsUsed {
    /// Milliseconds of wall time.
    pub wall_ms: u64,
    /// Milliseconds of a processor's time inside the guest, host calls not counted.
    pub cpu_ms: u64,
    /// Most linear memory at any time, in bytes.
    pub memory_bytes: u64,
    /// Host calls made.
    pub host_calls: u64,
    /// Rows that named queries returned.
    pub rows: u64,
    /// Log lines written.
    pub log_lines: u64,
    /// Log lines dropped beyond the limit.
    pub log_lines_dropped: u64,
}

/// What became of a step of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Its job.
    pub job: JobName,
    /// Its run; none: it was not started.
    pub run: Option<RunId>,
    /// How that ended; none: it was not started.
    pub outcome: Option<Outcome>,
    /// Why it was not started.
    pub why: Option<String>,
}

/// Everything about one attempt, as people, scripts and later runs read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// 1.
    pub schema_version: u32,
    /// The attempt's id.
    pub run: RunId,
    /// The key that makes deliveries of the same work one.
    pub key: String,
    /// 1 for the first.
    pub attempt: u32,
    /// The job or round.
    #[serde(flatten)]
    pub work: Work,
    /// Plan or apply.
    pub mode: Mode,
    /// Where it came from.
    pub reason: Reason,
    /// What every cutoff is reckoned from.
    pub scheduled_at: DateTime<Utc>,
    /// When the attempt was admitted.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How it ended.
    pub outcome: Outcome,
    /// True when the key had succeeded before and this is the stored report.
    pub duplicate: bool,
    /// By target.
    pub targets: Vec<TargetReport>,
    /// By name.
    pub measurements: Vec<Measurement>,
    /// What the guest consumed.
    pub limits_used: LimitsUsed,
    /// True when more is left under the same key.
    pub continued: bool,
    /// The params the run was given, defaults filled in.
    pub params: Json,
    /// Promises that are weaker than usual, such as `fence: ledger only`.
    pub notes: Vec<String>,
    /// What earlier attempts of the key did, or in a plan would do: not part of this attempt's effects.
    #[serde(default)]
    pub earlier: Vec<Effect>,
    /// Of a round: its steps in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
}

impl Report {
    /// As programs read it: how it ended and where it came from are short texts, as everywhere; `message` explains. A report
    /// is kept in its own shape, from which it can be read back.
    pub fn document(&self) -> Json {
        let mut document = serde_json::json!(self);
        document["outcome"] = self.outcome.label().into();
        document["message"] = self.outcome.message().into();
        document["reason"] = self.reason.label().into();
        for (place, step) in self.steps.iter().enumerate() {
            let outcome = step.outcome.as_ref();
            document["steps"][place]["outcome"] = outcome.map(Outcome::label).into();
            document["steps"][place]["message"] = outcome.and_then(Outcome::message).into();
        }
        document
    }

    /// All effects, whatever their target.
    pub fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.targets.iter().flat_map(|target| &target.effects)
    }

    /// The effects of all attempts of the key up to this one, added up.
    pub fn effects_of_key(&self) -> Vec<Effect> {
        let mut sum = self.earlier.clone();
        self.effects()
            .for_each(|effect| crate::effect::add(&mut sum, effect));
        sum
    }

    /// All findings, whatever their target.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.targets.iter().flat_map(|target| &target.findings)
    }

    /// The exit code of a command that ran it: the outcome's, or 6 for a success with a finding at or above
    /// `fail_on`.
    pub fn exit_code(&self, fail_on: Option<Severity>) -> u8 {
        let code = self.outcome.exit_code();
        let found = fail_on.is_some_and(|least| self.findings().any(|finding| finding.severity >= least));
        if code == 0 && found { 6 } else { code }
    }
}
