//! A run: its request, key, attempts, outcome and events.
//!
//! The state machine is [`RunState::after`]. Keeping runs is the ledger port's business.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::guard::Allowances;
use crate::name::{JobName, NameError, RoundName, RunId};
use crate::report::{Effect, Report, StepReport};
use crate::value::rfc3339;

/// Whether changes are made or only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Count and word every effect, change nothing.
    Plan,
    /// Do it.
    Apply,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
        })
    }
}

/// Where a run comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A person at the command line.
    Manual,
    /// The schedule's own tick.
    Tick,
    /// An event from outside; the text is its shape.
    Event(String),
    /// Somebody who invoked a deployed runner.
    Invoke,
    /// The plan of this run, applied.
    Apply(RunId),
    /// More work under the same key.
    Continuation,
    /// A step of this run of a round.
    Step {
        /// The round's run.
        round: RunId,
        /// Whether the round was scheduled.
        is_scheduled: bool,
    },
}

impl Reason {
    /// Scheduled runs may be stale and need an approval; manual ones never.
    pub fn is_scheduled(&self) -> bool {
        match self {
            Self::Tick | Self::Event(_) => true,
            Self::Step { is_scheduled, .. } => *is_scheduled,
            Self::Manual | Self::Invoke | Self::Apply(_) | Self::Continuation => false,
        }
    }

    /// True when the params came in an event, which may set only those that its job lists.
    pub fn is_event(&self) -> bool {
        matches!(self, Self::Event(_) | Self::Invoke)
    }

    /// True for a step of a round.
    pub fn is_step(&self) -> bool {
        matches!(self, Self::Step { .. })
    }

    /// Short and stable: `manual`, `apply(k3v9x2m4qd)`, `step(k3v9x2m4qd)`.
    pub fn label(&self) -> String {
        match self {
            Self::Manual => "manual".into(),
            Self::Tick => "tick".into(),
            Self::Event(shape) => format!("event({shape})"),
            Self::Invoke => "invoke".into(),
            Self::Apply(plan) => format!("apply({plan})"),
            Self::Continuation => "continuation".into(),
            Self::Step { round, .. } => format!("step({round})"),
        }
    }
}

/// What a run does: `"job": "NAME"` or `"round": "NAME"` in JSON. A job and a round never share a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A job.
    Job(JobName),
    /// A round: its jobs, one after the other.
    Round(RoundName),
}

/// Before a round's name where one text stands for either; no name has a colon.
const ROUND_PREFIX: &str = "round:";

impl Work {
    /// The name alone.
    pub fn name(&self) -> &str {
        match self {
            Self::Job(name) => name.as_str(),
            Self::Round(name) => name.as_str(),
        }
    }

    /// The job, if it is one.
    pub fn job(&self) -> Option<&JobName> {
        match self {
            Self::Job(name) => Some(name),
            Self::Round(_) => None,
        }
    }

    /// One text for either, from which it can be read back: a job's name, or `round:NAME`.
    pub fn text(&self) -> String {
        match self {
            Self::Job(name) => name.to_string(),
            Self::Round(name) => format!("{ROUND_PREFIX}{name}"),
        }
    }
}

impl From<JobName> for Work {
    fn from(name: JobName) -> Self {
        Self::Job(name)
    }
}

impl From<RoundName> for Work {
    fn from(name: RoundName) -> Self {
        Self::Round(name)
    }
}

impl std::str::FromStr for Work {
    type Err = NameError;

    /// Reads what [`Work::text`] wrote.
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix(ROUND_PREFIX) {
            Some(name) => name.parse().map(Self::Round),
            None => text.parse().map(Self::Job),
        }
    }
}

/// As a sentence has it: ``job `temp-files` ``.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(name) => write!(f, "job `{name}`"),
            Self::Round(name) => write!(f, "round `{name}`"),
        }
    }
}

/// Everything a trigger hands to dispatch. Two runs differ only in these values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Which job or round.
    #[serde(flatten)]
    pub work: Work,
    /// Params that the request sets over the configured ones.
    pub params: BTreeMap<String, Json>,
    /// Plan or apply.
    pub mode: Mode,
    /// What cutoffs are reckoned from; none: the moment of acceptance.
    pub scheduled_at: Option<DateTime<Utc>>,
    /// The operator's own key, or none for the derived or random one.
    pub key: Option<String>,
    /// The tenant or part.
    pub shard: Option<String>,
    /// Where it comes from.
    pub reason: Reason,
    /// Guards that this one apply lifts.
    pub allow: Allowances,
    /// Stop at `continued` instead of going on.
    pub once: bool,
    /// When it must have ended, whatever its limits allow: the end of its round's window.
    #[serde(default)]
    pub until: Option<DateTime<Utc>>,
    /// Which attempt of its key it is to be, for carriers that several hosts share: another one is refused. None: the
    /// next.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// Why it is planned although it was to be applied: nobody has approved its job. Dispatch says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unapproved: Option<String>,
}

impl RunRequest {
    /// A manual apply of a job or a round, now, under a random key.
    pub fn manual(work: impl Into<Work>) -> Self {
        Self {
            work: work.into(),
            params: BTreeMap::new(),
            mode: Mode::Apply,
            scheduled_at: None,
            key: None,
            shard: None,
            reason: Reason::Manual,
            allow: Allowances::default(),
            once: false,
            until: None,
            attempt: None,
            unapproved: None,
        }
    }
}

/// The hash that makes deliveries of the same work one.
///
/// `given` is the operator's key, or else the scheduled time; `host` is the host's name when a target is
/// host-scoped, so that each machine cleans its own directory.
pub fn run_key(
    work: &Work,
    targets: &[String],
    shard: Option<&str>,
    mode: Mode,
    host: Option<&str>,
    given: &str,
) -> String {
    let mut targets = targets.to_vec();
    targets.sort();
    targets.dedup();
    let parts = serde_json::json!([work.text(), targets, shard, mode, host, given]);
    digest(parts.to_string().as_bytes())[..32].to_owned()
}

/// The key text of a request that gives none.
pub fn scheduled_key(at: DateTime<Utc>) -> String {
    format!("at:{}", rfc3339(at))
}

/// SHA-256 in lower-case hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes everything");
            text
        })
}

/// Why dispatch or a capability refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// No grant covers what the plugin needs.
    Grant,
    /// A guard is exceeded.
    Guard,
    /// A scheduled destructive job has no approval.
    PlanNeeded,
    /// The scheduled time or a cutoff lies in the future of the target.
    Future,
}

/// Why nothing was done, in good order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// The job, or this very key, is at work elsewhere.
    Overlap,
    /// The event is too old.
    Stale,
    /// The job is paused.
    Paused,
}

/// How a run ended. A closed set: see architecture.md §3 for what each carrier does with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it.
    Succeeded,
    /// In order, with more to do under the same key.
    Continued,
    /// Some targets.
    Partial(String),
    /// Nothing, in good order.
    Skipped(Skip, String),
    /// Not allowed.
    Refused(Refusal, String),
    /// Would fail again.
    Failed(String),
    /// May succeed when delivered again.
    Retryable(String),
    /// A target or the ledger cannot be reached.
    Unreachable(String),
    /// The guest trapped.
    Trap(String),
    /// The plugin is none, or answered nonsense.
    Invalid(String),
    /// The guest used up a limit; the name is the limit's.
    Limit(String, String),
    /// The operator cancelled it.
    Cancelled,
    /// The host was told to stop.
    Interrupted,
    /// The request or the configuration is wrong.
    Usage(String),
    /// The host died; closed by a later run.
    Lost(String),
}

impl Outcome {
    /// The exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed(_) | Self::Retryable(_) | Self::Trap(_) | Self::Invalid(_) | Self::Lost(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(..) => 3,
            Self::Continued | Self::Partial(_) => 4,
            Self::Skipped(..) => 5,
            Self::Unreachable(_) => 7,
            Self::Limit(..) => 8,
            Self::Cancelled => 130,
            Self::Interrupted => 143,
        }
    }

    /// Why, in a sentence, where there is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Succeeded | Self::Continued | Self::Cancelled | Self::Interrupted => None,
            Self::Skipped(_, text)
            | Self::Refused(_, text)
            | Self::Limit(_, text)
            | Self::Partial(text)
            | Self::Failed(text)
            | Self::Retryable(text)
            | Self::Unreachable(text)
            | Self::Trap(text)
            | Self::Invalid(text)
            | Self::Usage(text)
            | Self::Lost(text) => Some(text),
        }
    }

    /// Short and stable: `succeeded`, `refused(guard)`, `limit(memory)`.
    pub fn label(&self) -> String {
        match self {
            Self::Succeeded => "succeeded".into(),
            Self::Continued => "continued".into(),
            Self::Partial(_) => "partial".into(),
            Self::Skipped(why, _) => format!("skipped({})", kebab(why)),
            Self::Refused(why, _) => format!("refused({})", kebab(why)),
            Self::Failed(_) => "failed(permanent)".into(),
            Self::Retryable(_) => "failed(retryable)".into(),
            Self::Unreachable(_) => "unreachable".into(),
            Self::Trap(_) => "trap".into(),
            Self::Invalid(_) => "invalid".into(),
            Self::Limit(name, _) => format!("limit({name})"),
            Self::Cancelled => "cancelled".into(),
            Self::Interrupted => "interrupted".into(),
            Self::Usage(_) => "usage".into(),
            Self::Lost(_) => "lost".into(),
        }
    }

    /// The text that explains it, where there is one.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Partial(text)
            | Self::Skipped(_, text)
            | Self::Refused(_, text)
            | Self::Failed(text)
            | Self::Retryable(text)
            | Self::Unreachable(text)
            | Self::Trap(text)
            | Self::Invalid(text)
            | Self::Limit(_, text)
            | Self::Usage(text)
            | Self::Lost(text) => Some(text),
            Self::Succeeded | Self::Continued | Self::Cancelled | Self::Interrupted => None,
        }
    }
}

fn kebab(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|json| json.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// One line of a run's history: the truth from which everything else is derived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RunEvent {
    /// Written before the guest executes.
    Started {
        /// The request, so that a lost run can be submitted again.
        request: Box<RunRequest>,
        /// Params with defaults filled in.
        params: Json,
        /// Where an earlier attempt stopped.
        cursor: Option<String>,
    },
    /// Files are about to be removed: written before a batch, so that a crash leaves a trace.
    Intent {
        /// The effect as it is about to be; `done` is 0.
        effect: Box<Effect>,
    },
    /// A batch is done. Effects with the same verb, path and words add up.
    Effect {
        /// What this batch added.
        effect: Box<Effect>,
    },
    /// The guest's cursor after its last call in order.
    Cursor {
        /// Opaque.
        cursor: String,
    },
    /// A line of the guest's log.
    Log {
        /// `debug`, `info`, `warn` or `error`.
        level: String,
        /// Escaped.
        message: String,
        /// Key and value.
        fields: Vec<(String, String)>,
    },
    /// A step of a round is over, or was left out.
    Step {
        /// What became of it.
        step: Box<StepReport>,
    },
    /// The terminal event.
    Ended {
        /// The whole report.
        report: Box<Report>,
    },
    /// The terminal event of a run whose host died, written by another run.
    Rescued {
        /// The report, rebuilt from what is recorded.
        report: Box<Report>,
    },
}

/// What a run is, after its events so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// No event yet.
    New,
    /// `started`, and no terminal event.
    Running,
    /// Closed.
    Ended,
}

impl RunState {
    /// The state after `event`, or none when a run in this state cannot meet it.
    pub fn after(self, event: &RunEvent) -> Option<Self> {
        match (self, event) {
            (Self::Running, RunEvent::Ended { .. } | RunEvent::Rescued { .. }) => Some(Self::Ended),
            (Self::New, RunEvent::Started { .. })
            | (
                Self::Running,
                RunEvent::Intent { .. }
                | RunEvent::Effect { .. }
                | RunEvent::Cursor { .. }
                | RunEvent::Step { .. }
                | RunEvent::Log { .. },
            ) => Some(Self::Running),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_ignores_the_order_of_targets_and_nothing_else() {
        let job: Work = "purge".parse().expect("a name");
        let key = |targets: &[&str], shard, mode, host, given| {
            let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
            run_key(&job, &targets, shard, mode, host, given)
        };
        let base = key(&["a", "b"], None, Mode::Apply, None, "k");
        assert_eq!(base, key(&["b", "a"], None, Mode::Apply, None, "k"));
        assert_ne!(base, key(&["a"], None, Mode::Apply, None, "k"));
        assert_ne!(base, key(&["a", "b"], Some("t1"), Mode::Apply, None, "k"));
        assert_ne!(base, key(&["a", "b"], None, Mode::Plan, None, "k"));
        assert_ne!(base, key(&["a", "b"], None, Mode::Apply, Some("host"), "k"));
        assert_ne!(base, key(&["a", "b"], None, Mode::Apply, None, "l"));
    }

    #[test]
    fn labels_are_stable() {
        assert_eq!(
            Outcome::Refused(Refusal::PlanNeeded, String::new()).label(),
            "refused(plan-needed)"
        );
        assert_eq!(
            Outcome::Skipped(Skip::Overlap, String::new()).label(),
            "skipped(overlap)"
        );
        assert_eq!(
            Outcome::Limit("memory".into(), String::new()).label(),
            "limit(memory)"
        );
    }
}
