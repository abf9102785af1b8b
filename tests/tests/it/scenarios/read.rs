//! Reads a scenario's folder: what is there before, the steps, and what each must end as.
//!
//! It plays nothing. A folder that says too little, or a word that nobody knows, is an error and not a shorter scenario.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value as Json;
use sereno_core::units::{parse_duration, parse_size};

/// One folder of `tests/scenarios`.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) configuration: String,
    pub(super) script: Script,
    pub(super) files: Files,
    /// The database before, in the words of each adapter for which there are any.
    pub(super) sql: BTreeMap<Adapter, String>,
}

/// What holds the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Adapter {
    Sqlite,
    Postgres,
}

/// `scenario.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// One sentence: what would be wrong if this did not go as it is written.
    pub(super) about: String,
    /// For every table whose rows are told apart, the SQL expression that does it.
    #[serde(default)]
    pub(super) identity: BTreeMap<String, String>,
    /// The jobs do their work again each time, as rebuilding an index that is named; rows and files stay as they are.
    #[serde(default)]
    pub(super) repeats: bool,
    /// Findings say how full the machine's own disk is, which nobody holds still: of a plan and its apply only the codes of
    /// findings are held against each other.
    #[serde(default)]
    pub(super) tells_of_the_disk: bool,
    /// Clients of the database that are there before the first step, in this order.
    #[serde(default, rename = "session")]
    pub(super) sessions: Vec<Client>,
    #[serde(rename = "step")]
    pub(super) steps: Vec<Step>,
}

/// Somebody who is connected to PostgreSQL.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) name: String,
    /// A role, made if there is none yet, that may change every table; left out: the superuser.
    pub(super) user: Option<String>,
    /// What it calls itself; left out: its name.
    pub(super) application: Option<String>,
    /// What it has said and had answered.
    pub(super) said: Option<String>,
    /// What it says last, which waits for a lock of somebody else.
    pub(super) waits: Option<String>,
}

/// One thing that happens.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Step {
    /// Plan a job.
    Plan(Ask),
    /// Run it at once. The runner plans it first, to hold the one against the other.
    Run(Ask),
    /// Apply the job's last plan.
    Apply(Ask),
    /// Somebody else changes the world.
    Change(Change),
}

/// A request, and everything that must come of it. Rows and files that are not named must be as they were.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// Which job, or `round:NAME`; left out where the configuration has one job.
    pub(super) job: Option<String>,
    /// The time it is scheduled at: RFC 3339.
    pub(super) at: Option<String>,
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) params: BTreeMap<String, Json>,
    #[serde(default)]
    pub(super) allow: BTreeMap<String, f64>,
    /// A statement that another session holds open meanwhile.
    pub(super) beside: Option<String>,
    /// The outcome's label, or `error` where no run is made.
    pub(super) ends: String,
    pub(super) exit: u8,
    #[serde(default)]
    pub(super) duplicate: bool,
    /// `VERB TARGET: DONE of PLANNED UNIT`, and `, N skipped`; all of them.
    #[serde(default)]
    pub(super) effects: Vec<String>,
    /// `SEVERITY CODE TARGET`; all of them.
    #[serde(default)]
    pub(super) findings: Vec<String>,
    /// `NAME TARGET = VALUE`, where a value is a number, `unknown`, or `some` for any number above 0.
    #[serde(default)]
    pub(super) measured: Vec<String>,
    /// `JOB OUTCOME` of a round, in their order, where one that was not started is `left`; all of them.
    #[serde(default)]
    pub(super) steps: Vec<String>,
    /// `KIND SUBJECT` of the messages that it made; all of them.
    #[serde(default)]
    pub(super) alerts: Vec<String>,
    /// Words that the report or the error must have.
    #[serde(default)]
    pub(super) says: Vec<String>,
    /// The rows that are there afterwards, by table: texts of the identity, or `FROM..TO` for whole numbers.
    pub(super) rows: Option<BTreeMap<String, Vec<String>>>,
    /// The backups that are there afterwards: `N rows`, and the level they passed, `bad` or `not looked at`.
    pub(super) backups: Option<Vec<String>>,
    /// The files that are there afterwards, and the empty folders with a slash. In names of files `@{at}` is the run's
    /// time, as plugins write it.
    pub(super) files: Option<Vec<String>>,
    /// The sessions that are still there afterwards; left out: all that were.
    pub(super) sessions: Option<Vec<String>>,
}

/// What somebody else does to the world between two steps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// What becomes of the files of every backup.
    pub(super) damage: Option<Damage>,
    pub(super) sql: Option<String>,
    #[serde(default)]
    pub(super) files: Files,
}

/// How a stored file is broken.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Damage {
    /// Half of it is there.
    Cut,
    /// One bit in its middle is another.
    Flip,
    /// It is gone.
    Lose,
}

/// What is on disk, by path; a path that ends in a slash is a folder.
pub(super) type Files = BTreeMap<String, File>;

/// One file or folder.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// How long ago it was last written.
    #[serde(default)]
    age: Option<String>,
    #[serde(default)]
    size: Option<String>,
    /// What is in it; otherwise it is as long as `size` says.
    pub(super) content: Option<String>,
    /// It is a symbolic link to this.
    pub(super) link: Option<String>,
    /// It is another name of this file.
    pub(super) same_as: Option<String>,
}

impl File {
    pub(super) fn age(&self) -> Result<Duration> {
        Ok(self
            .age
            .as_deref()
            .map(parse_duration)
            .transpose()?
            .unwrap_or_default())
    }

    pub(super) fn size(&self) -> Result<u64> {
        Ok(self.size.as_deref().map(parse_size).transpose()?.unwrap_or(8))
    }
}

impl Scenario {
    /// Reads the folder of one case.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| -> Result<Option<String>> {
            let path = folder.join(name);
            path.is_file()
                .then(|| fs::read_to_string(&path).with_context(|| name.to_owned()))
                .transpose()
        };
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let known = [
                "sereno.toml",
                "scenario.toml",
                "files.toml",
                "rows.sql",
                "sqlite.sql",
                "postgres.sql",
            ];
            ensure!(
                known.iter().any(|known| name == *known),
                "nobody reads {}",
                name.display()
            );
        }
        let mut sql = BTreeMap::new();
        match (text("rows.sql")?, text("sqlite.sql")?, text("postgres.sql")?) {
            (Some(both), None, None) => {
                sql.extend([(Adapter::Sqlite, both.clone()), (Adapter::Postgres, both)]);
            }
            (None, sqlite, postgres) => {
                sql.extend(sqlite.map(|text| (Adapter::Sqlite, text)));
                sql.extend(postgres.map(|text| (Adapter::Postgres, text)));
            }
            _ => anyhow::bail!("rows.sql is for all adapters: no sqlite.sql or postgres.sql beside it"),
        }
        let scenario = Self {
            configuration: text("sereno.toml")?.context("there is no sereno.toml")?,
            script: script(&text("scenario.toml")?.context("there is no scenario.toml")?)?,
            files: files(&text("files.toml")?.unwrap_or_default())?,
            sql,
        };
        ensure!(
            !scenario.files.is_empty() || !scenario.sql.is_empty(),
            "there is neither a row nor a file before"
        );
        ensure!(
            scenario.script.identity.is_empty() == scenario.sql.is_empty(),
            "`identity` goes with SQL: rows that nobody tells apart prove nothing"
        );
        Ok(scenario)
    }
}

/// `files.toml`.
pub(super) fn files(text: &str) -> Result<Files> {
    toml::from_str(text).context("files.toml")
}

/// `scenario.toml`, which must expect something of some row or file.
pub(super) fn script(text: &str) -> Result<Script> {
    let script: Script = toml::from_str(text).context("scenario.toml")?;
    ensure!(!script.about.trim().is_empty(), "`about` says nothing");
    let asks = || script.steps.iter().filter_map(Step::ask);
    ensure!(asks().count() > 0, "no step runs a job");
    ensure!(
        asks().any(|ask| ask.rows.is_some() || ask.files.is_some() || ask.sessions.is_some()),
        "no step names the rows or files that are there afterwards"
    );
    let names: Vec<&str> = script.sessions.iter().map(|client| &*client.name).collect();
    for ask in asks() {
        for table in ask.rows.iter().flat_map(BTreeMap::keys) {
            ensure!(
                script.identity.contains_key(table),
                "{table} has no `identity`, and a step names its rows"
            );
        }
        for name in ask.sessions.iter().flatten() {
            ensure!(
                names.contains(&&**name),
                "a step names {name}, which is no session"
            );
        }
    }
    Ok(script)
}

impl Step {
    pub(super) fn ask(&self) -> Option<&Ask> {
        match self {
            Self::Plan(ask) | Self::Run(ask) | Self::Apply(ask) => Some(ask),
            Self::Change(_) => None,
        }
    }
}
