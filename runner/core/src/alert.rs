//! A message about a gauge or a job: what every sink is handed, whatever it makes of it.
//!
//! When there is one to send is decided by `gauge` and `watch`; how it travels is the sink's business. It never holds
//! a secret: it is stored in the outbox as it is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::name::{GaugeName, JobName, RunId};
use crate::report::Severity;

/// The version that [`Message::schema_version`] carries; it only grows.
pub const MESSAGE_SCHEMA_VERSION: u32 = 1;

/// What a message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// Something is wrong that was not before.
    Firing,
    /// It is well again.
    Resolved,
    /// A gauge has had no reading for long.
    Unknown,
    /// A heartbeat: a run begins.
    Start,
    /// A heartbeat: a run succeeded.
    Success,
    /// A heartbeat: a run did not succeed.
    Fail,
    /// Sent by hand, to see whether a sink works.
    Test,
}

impl MessageKind {
    /// Heartbeats are worth something for a short while only.
    pub fn is_heartbeat(self) -> bool {
        matches!(self, Self::Start | Self::Success | Self::Fail)
    }

    /// Short and stable, as in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Unknown => "unknown",
            Self::Start => "start",
            Self::Success => "success",
            Self::Fail => "fail",
            Self::Test => "test",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// 1.
    pub schema_version: u32,
    /// The same for every sink and every try: receivers that see it twice may drop the second.
    pub id: String,
    /// What it tells.
    pub kind: MessageKind,
    /// How bad it is; of a resolved one, how bad it was.
    pub severity: Severity,
    /// `gauge.disk`, `job.backup`: the same in the firing message and in the resolved one.
    pub subject: String,
    /// What of it: `failed(permanent)`, `finding(disk-full)`; empty for a gauge.
    pub about: String,
    /// One line.
    pub title: String,
    /// Sentences.
    pub text: String,
    /// What to do next.
    pub next: Option<String>,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Since when it was wrong.
    pub since: Option<DateTime<Utc>>,
    /// The machine that noticed.
    pub host: String,
    /// The job, when it is about one.
    pub job: Option<JobName>,
    /// The run that noticed.
    pub run: Option<RunId>,
    /// The gauge, when it is about one.
    pub gauge: Option<GaugeName>,
    /// What was measured, as a grant path.
    pub target: Option<String>,
    /// The reading.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: Option<String>,
    /// What it was held against: `> 85 %`.
    pub threshold: Option<String>,
}
