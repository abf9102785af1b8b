//! Jobs, targets and limits as the rest of the house sees them: validated, defaults filled in.
//!
//! Reading them from `sereno.toml` is `config`; nothing here knows TOML.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::closest;
use crate::gauge::Gauge;
use crate::grant::Grants;
use crate::guard::Guards;
use crate::name::{GaugeName, JobName, PluginName, RoundName, SinkName, TableName, TargetName};
use crate::place::Place;
use crate::round::Round;
use crate::schedule::{Schedule, Zone};
use crate::serve::ServeSettings;
use crate::sink::Sink;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// The zone of schedules.
    pub timezone: Zone,
    /// Where run history is kept.
    pub ledger_url: SecretText,
    /// How long ended runs are remembered.
    pub ledger_keep: Duration,
    /// What is demanded of runs that nobody watches.
    pub policy: Policy,
    /// By name.
    pub databases: BTreeMap<TargetName, DatabaseTarget>,
    /// By name.
    pub directories: BTreeMap<TargetName, DirectoryTarget>,
    /// What backups are made with.
    pub backup: BackupSettings,
    /// By name.
    pub origins: BTreeMap<TargetName, OriginTarget>,
    /// By name.
    pub storages: BTreeMap<TargetName, StorageTarget>,
    /// By name.
    pub writers: BTreeMap<TargetName, WriterTarget>,
    /// `[plugin.NAME]`: where a plugin is, if not beside the configuration or the program.
    pub plugins: BTreeMap<PluginName, PathBuf>,
    /// `[sink.NAME.KIND]`, by name.
    pub sinks: BTreeMap<SinkName, Sink>,
    /// `[alerts] sinks`.
    pub alert_sinks: Vec<SinkName>,
    /// By name.
    pub gauges: BTreeMap<GaugeName, Gauge>,
    /// By name.
    pub jobs: BTreeMap<JobName, Job>,
    /// By name; no job has it.
    pub rounds: BTreeMap<RoundName, Round>,
    /// `[serve]`.
    pub serve: ServeSettings,
}

impl Config {
    /// The round of this name.
    ///
    /// # Errors
    /// There is none; with the name that was most likely meant.
    pub fn round(&self, name: &RoundName) -> Result<&Round, NoRound> {
        self.rounds.get(name).ok_or_else(|| {
            let known = || self.rounds.keys().map(RoundName::as_str);
            let all = known().collect::<Vec<_>>().join(", ");
            let hint = match closest(name.as_str(), known()) {
                Some(meant) => format!("did you mean `{meant}`? its rounds are: {all}"),
                None if all.is_empty() => format!("it has no rounds yet: add a section `[round.{name}]`"),
                None => format!("its rounds are: {all}"),
            };
            NoRound {
                name: name.clone(),
                hint,
            }
        })
    }

    /// The job of this name.
    ///
    /// # Errors
    /// There is none; with the name that was most likely meant.
    pub fn job(&self, name: &JobName) -> Result<&Job, NoJob> {
        self.jobs.get(name).ok_or_else(|| {
            let known = || self.jobs.keys().map(JobName::as_str);
            let all = known().collect::<Vec<_>>().join(", ");
            let hint = match closest(name.as_str(), known()) {
                Some(meant) => format!("did you mean `{meant}`? its jobs are: {all}"),
                None if all.is_empty() => format!("it has no jobs yet: add a section `[job.{name}]`"),
                None => format!("its jobs are: {all}"),
            };
            NoJob {
                name: name.clone(),
                hint,
            }
        })
    }
}

/// What the operator demands of runs that nobody watches, and of commands from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// A schedule applies a destructive job only after somebody approved it.
    pub plan_first: bool,
    /// Events may carry commands.
    pub remote_commands: bool,
}

/// A round that the configuration has not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no round `{name}` in the configuration")]
pub struct NoRound {
    /// As it was asked for.
    pub name: RoundName,
    /// What was most likely meant, and all rounds there are.
    pub hint: String,
}

/// A job that the configuration has not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no job `{name}` in the configuration")]
pub struct NoJob {
    /// As it was asked for.
    pub name: JobName,
    /// What was most likely meant, and all jobs there are.
    pub hint: String,
}

/// A text that may hold secrets or references to them (`${env:X}`): never shown, resolved only when it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps the text as it stands in the configuration.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, references unresolved.
    pub fn reference(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// `[database.NAME]`.
#[derive(Debug, Clone)]
pub struct DatabaseTarget {
    /// `postgres://` or `sqlite://`, for rows, with the narrow role.
    pub url: SecretText,
    /// For `database-upkeep` only; none: `url`.
    pub upkeep_url: Option<SecretText>,
    /// Tables in which nothing may be deleted.
    pub protected: Vec<TableName>,
    /// The zone that timestamps without one are read in.
    pub timezone: Zone,
    /// How SQLite columns keep time.
    pub time_format: TimeFormat,
    /// The operator's named queries.
    pub queries: BTreeMap<TargetName, NamedQuery>,
    /// The directory whose file system holds the server's data.
    pub data_directory_free: Option<TargetName>,
    /// May be restored into.
    pub scratch: bool,
}

impl DatabaseTarget {
    /// True when it is a file, which is this machine's own as a directory is.
    pub fn is_of_host(&self) -> bool {
        self.url.reference().contains("sqlite:")
    }
}

/// How a SQLite column keeps time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFormat {
    /// `YYYY-MM-DD HH:MM:SS[.fff]`, UTC.
    #[default]
    Text,
    /// `YYYY-MM-DDTHH:MM:SS[.fff]Z`.
    Iso,
    /// Seconds since 1970.
    Epoch,
    /// Milliseconds since 1970.
    EpochMs,
}

/// SQL that the operator wrote, for plugins to call by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedQuery {
    /// One read-only statement with `$1`, `$2`, ... for its parameters.
    pub sql: String,
    /// Parameter names and types (`text`, `integer`, `real`, `boolean`, `timestamp`), in the order of their numbers.
    pub params: Vec<(String, String)>,
    /// Rows returned at most.
    pub max_rows: u32,
}

/// `[directory.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryTarget {
    /// Absolute.
    pub path: PathBuf,
    /// This machine's, or the same for all.
    pub scope: Scope,
}

/// `[origin.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginTarget {
    /// Scheme, host and port.
    pub url: SecretText,
    /// It may be this machine's or its network's, and unencrypted.
    pub allow_private: bool,
    /// Its POSTs only ask: they are sent in plans too.
    pub query: bool,
    /// Sent with every request; no plugin sees them.
    pub headers: BTreeMap<String, SecretText>,
    /// One request at most.
    pub timeout: Duration,
    /// Bytes of one answer at most.
    pub max_response: u64,
}

/// `[backup]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupSettings {
    /// The folder of PostgreSQL's client programs; none: the usual places.
    pub tools: Option<PathBuf>,
    /// Where copies are made and unpacked; none: the system's temporary folder.
    pub work: Option<PathBuf>,
}

/// `[storage.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageTarget {
    /// Where its objects are.
    pub place: StoragePlace,
    /// This machine's, or the same for all.
    pub scope: Scope,
}

/// Where a storage's objects are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoragePlace {
    /// In files below this folder, which is absolute.
    Folder(PathBuf),
    /// In a bucket.
    S3(Box<S3Place>),
}

/// A part of a bucket that speaks S3's protocol. What is absent is found as AWS's tools find it: in the environment, or
/// from the machine's own role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Place {
    /// `s3://bucket/prefix`, references unresolved.
    pub url: SecretText,
    /// `us-east-1`.
    pub region: Option<SecretText>,
    /// A server other than AWS.
    pub endpoint: Option<SecretText>,
    /// Who asks.
    pub access_key_id: Option<SecretText>,
    /// Its proof.
    pub secret_access_key: Option<SecretText>,
}

/// `[writer.NAME]`: a program that keeps files open, and how it is told to open them anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterTarget {
    /// The process that a file names gets a signal.
    Process {
        /// Absolute; the process's number is in it.
        pidfile: PathBuf,
        /// What it gets.
        signal: Signal,
    },
    /// A program of the operator's tells it.
    Hook {
        /// The program, absolute, and its arguments. No shell reads them.
        argv: Vec<String>,
        /// It is ended after this.
        timeout: Duration,
    },
}

/// The signals that programs open their files anew for. None of them is meant to end one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    /// Most servers.
    #[default]
    Hup,
    /// nginx.
    Usr1,
    /// Few.
    Usr2,
}

impl Signal {
    /// With the prefix that manuals write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hup => "SIGHUP",
            Self::Usr1 => "SIGUSR1",
            Self::Usr2 => "SIGUSR2",
        }
    }
}

/// Whose a target is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This machine's.
    #[default]
    Host,
    /// The same from every machine (a database, a network file system).
    Shared,
}

/// `[job.NAME]`.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// Its plugin.
    pub plugin: PluginName,
    /// As written; the plugin's manifest fills in defaults and checks types.
    pub params: BTreeMap<String, Json>,
    /// When it runs by itself.
    pub schedule: Option<Schedule>,
    /// What it may do.
    pub grants: Grants,
    /// What bounds its effects; `protected` holds the tables of its databases.
    pub guards: Guards,
    /// What bounds its consumption.
    pub limits: Limits,
    /// Attempts after the first that ended retryable or lost.
    pub retries: u32,
    /// How long it waits for another job on the same table or directory.
    pub wait: Duration,
    /// How old a scheduled event may be; none: half the period, at most 12 h.
    pub max_event_age: Option<Duration>,
    /// Params that an event may set.
    pub event_params: Vec<String>,
    /// Rules and schedules whose bare events mean this job.
    pub event_sources: Vec<String>,
    /// Where messages about its runs go.
    pub sinks: Vec<SinkName>,
    /// Pinged when a run begins and ends.
    pub heartbeat: Option<SinkName>,
    /// A database that refuses the `sereno` schema: the weaker promise was accepted.
    pub fence: FenceKind,
    /// Where it runs.
    pub on: Place,
}

/// How a job's changes to a database are fenced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FenceKind {
    /// The token is checked and the effect recorded in the same transaction as the change.
    #[default]
    #[serde(rename = "database")]
    Database,
    /// Only the ledger knows: after a crash an effect may be missing from it.
    #[serde(rename = "ledger only")]
    LedgerOnly,
}

/// What a guest may consume. Each default has its reason in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time inside the guest.
    pub cpu: Duration,
    /// Time from start to end, host calls included.
    pub wall: Duration,
    /// Linear memory in bytes.
    pub memory_bytes: u64,
    /// Elements of all tables.
    pub table_elements: u32,
    /// Core instances in the component.
    pub instances: u32,
    /// Guest handles and host resources.
    pub handles: u32,
    /// Bytes that one host call may lift.
    pub call_bytes: u32,
    /// Host calls.
    pub host_calls: u64,
    /// Rows that named queries return to the guest.
    pub rows: u64,
    /// Log lines kept; more are counted and dropped.
    pub log_lines: u64,
    /// Bytes of one log line.
    pub log_line_bytes: u32,
    /// Bytes of all log lines.
    pub log_bytes: u64,
    /// Bytes of findings and measurements.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(5),
            wall: Duration::from_mins(15),
            memory_bytes: 64 << 20,
            table_elements: 10_000,
            instances: 16,
            handles: 1_024,
            call_bytes: 1 << 20,
            host_calls: 100_000,
            rows: 100_000,
            log_lines: 4_000,
            log_line_bytes: 8 << 10,
            log_bytes: 1 << 20,
            output_bytes: 256 << 10,
        }
    }
}

/// The wall time of a job that does upkeep, which cannot stop half-way.
pub const UPKEEP_WALL_DEFAULT: Duration = Duration::from_hours(2);
