//! Commands: what an operator may ask of the runner besides runs, and the JSON that asks it from outside.
//!
//! Reading them decides nothing: who may ask, and what is then done, is `dispatch`'s.

use serde_json::{Map, Value as Json};

use crate::config::diagnostic::did_you_mean;
use crate::guard::Allowances;
use crate::name::{JobName, RoundName};
use crate::run::Work;

/// The version of the JSON form.
pub const COMMAND_VERSION: u64 = 1;

/// Runs that are listed when nobody says how many.
pub const RUNS_DEFAULT: u32 = 20;

/// Runs that are listed at most: an answer must fit into what carries it.
pub const RUNS_MAX: u32 = 1_000;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Do what a plan showed.
    Apply {
        /// The plan's run id, or enough of its beginning.
        run: String,
        /// Guards that are lifted for this one apply.
        allow: Allowances,
    },
    /// Plan every job that changes something, and approve what its schedule may do.
    PlanAll,
    /// Stop a run at work.
    Cancel {
        /// Its id, or enough of its beginning.
        run: String,
    },
    /// Start nothing of this any more.
    Pause(Extent),
    /// Start it again.
    Resume(Extent),
    /// Which runs there were.
    Runs {
        /// Of this job or round only.
        work: Option<Work>,
        /// The newest this many.
        limit: u32,
    },
}

/// What a pause is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// Everything, and what is at work stops: the kill switch.
    All,
    /// One job or round; what is at work goes on to its end.
    Of(Work),
}

impl Extent {
    /// What the flag is raised on.
    pub fn subject(&self) -> &str {
        match self {
            Self::All => "*",
            Self::Of(work) => work.name(),
        }
    }
}

/// A command that is none: what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CommandError(pub String);

/// The commands and the keys that each takes besides `v` and `command`.
const COMMANDS: [(&str, &[&str]); 6] = [
    ("apply", &["run", "allow"]),
    ("plan-all", &[]),
    ("cancel", &["run"]),
    ("pause", &["job", "round", "all"]),
    ("resume", &["job", "round", "all"]),
    ("runs", &["job", "round", "limit"]),
];

impl Command {
    /// Reads `{"v": 1, "command": "cancel", "run": "k3v9x2m4qd"}`.
    ///
    /// # Errors
    /// What it is not, in a sentence.
    pub fn parse(object: &Map<String, Json>) -> Result<Self, CommandError> {
        let wrong = |text: String| Err(CommandError(text));
        if object.get("v").and_then(Json::as_u64) != Some(COMMAND_VERSION) {
            return wrong(format!("a command says `\"v\": {COMMAND_VERSION}`"));
        }
        let names = || COMMANDS.iter().map(|(name, _)| *name);
        let all = names().collect::<Vec<_>>().join(", ");
        let Some(name) = object.get("command").and_then(Json::as_str) else {
            return wrong(format!("`command` is a text, one of {all}"));
        };
        let Some((_, keys)) = COMMANDS.iter().find(|(known, _)| *known == name) else {
            let meant = did_you_mean(name, names()).unwrap_or_else(|| format!("there are {all}"));
            return wrong(format!("there is no command `{name}`; {meant}"));
        };
        let known = |key: &str| key == "v" || key == "command" || keys.contains(&key);
        if let Some(key) = object.keys().find(|key| !known(key)) {
            let takes = if keys.is_empty() {
                "nothing".to_owned()
            } else {
                keys.join(", ")
            };
            return wrong(format!(
                "`{key}` is no key of the command `{name}`, which takes {takes}"
            ));
        }
        let command = match name {
            "apply" => Self::Apply {
                run: run(object)?,
                allow: allow(object)?,
            },
            "plan-all" => Self::PlanAll,
            "cancel" => Self::Cancel { run: run(object)? },
            "pause" => Self::Pause(extent(object)?),
            "resume" => Self::Resume(extent(object)?),
            _ => Self::Runs {
                work: work(object)?,
                limit: limit(object)?,
            },
        };
        Ok(command)
    }
}

fn run(object: &Map<String, Json>) -> Result<String, CommandError> {
    let text = object.get("run").and_then(Json::as_str).unwrap_or_default();
    if text.is_empty() {
        return Err(CommandError(
            "`run` is a run's id, or the beginning of one".to_owned(),
        ));
    }
    Ok(text.to_owned())
}

/// `{"max_rows_percent": 92}`.
fn allow(object: &Map<String, Json>) -> Result<Allowances, CommandError> {
    let Some(allow) = object.get("allow") else {
        return Ok(Allowances::default());
    };
    let wrong =
        || CommandError("`allow` is an object of guards and numbers: {\"max_rows_percent\": 92}".to_owned());
    let numbers = allow.as_object().ok_or_else(wrong)?;
    let number =
        |(name, value): (&String, &Json)| Some((name.clone(), value.as_f64().filter(|value| *value >= 0.0)?));
    let numbers: Option<_> = numbers.iter().map(number).collect();
    numbers.map(Allowances).ok_or_else(wrong)
}

fn work(object: &Map<String, Json>) -> Result<Option<Work>, CommandError> {
    let name = |key: &str| match object.get(key) {
        None => Ok(None),
        Some(Json::String(name)) => Ok(Some(name.clone())),
        Some(_) => Err(CommandError(format!("`{key}` is a {key}'s name"))),
    };
    let no_name = |error: crate::name::NameError| CommandError(error.to_string());
    match (name("job")?, name("round")?) {
        (Some(_), Some(_)) => Err(CommandError("give `job` or `round`, not both".to_owned())),
        (Some(job), None) => Ok(Some(job.parse::<JobName>().map_err(no_name)?.into())),
        (None, Some(round)) => Ok(Some(round.parse::<RoundName>().map_err(no_name)?.into())),
        (None, None) => Ok(None),
    }
}

fn extent(object: &Map<String, Json>) -> Result<Extent, CommandError> {
    let wrong = || CommandError("name a `job` or a `round`, or say `\"all\": true`".to_owned());
    let all = match object.get("all") {
        None => false,
        Some(all) => all.as_bool().ok_or_else(wrong)?,
    };
    match (work(object)?, all) {
        (Some(work), false) => Ok(Extent::Of(work)),
        (None, true) => Ok(Extent::All),
        (Some(_), true) | (None, false) => Err(wrong()),
    }
}

fn limit(object: &Map<String, Json>) -> Result<u32, CommandError> {
    let Some(limit) = object.get("limit") else {
        return Ok(RUNS_DEFAULT);
    };
    let limit = limit.as_u64().and_then(|limit| u32::try_from(limit).ok());
    limit
        .filter(|limit| (1..=RUNS_MAX).contains(limit))
        .ok_or_else(|| CommandError(format!("`limit` is a number from 1 to {RUNS_MAX}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(json: &Json) -> Result<Command, String> {
        Command::parse(json.as_object().expect("an object")).map_err(|error| error.0)
    }

    #[test]
    fn every_command_is_read() {
        let job = || Work::Job("temp-files".parse().expect("a name"));
        let round = || Work::Round("daily".parse().expect("a name"));
        for (json, command) in [
            (
                json!({"v": 1, "command": "apply", "run": "k3v9", "allow": {"max_rows_percent": 92}}),
                Command::Apply {
                    run: "k3v9".to_owned(),
                    allow: Allowances([("max_rows_percent".to_owned(), 92.0)].into()),
                },
            ),
            (json!({"v": 1, "command": "plan-all"}), Command::PlanAll),
            (
                json!({"v": 1, "command": "cancel", "run": "k3v9"}),
                Command::Cancel {
                    run: "k3v9".to_owned(),
                },
            ),
            (
                json!({"v": 1, "command": "pause", "all": true}),
                Command::Pause(Extent::All),
            ),
            (
                json!({"v": 1, "command": "pause", "job": "temp-files"}),
                Command::Pause(Extent::Of(job())),
            ),
            (
                json!({"v": 1, "command": "resume", "round": "daily", "all": false}),
                Command::Resume(Extent::Of(round())),
            ),
            (
                json!({"v": 1, "command": "runs"}),
                Command::Runs {
                    work: None,
                    limit: RUNS_DEFAULT,
                },
            ),
            (
                json!({"v": 1, "command": "runs", "job": "temp-files", "limit": 1}),
                Command::Runs {
                    work: Some(job()),
                    limit: 1,
                },
            ),
        ] {
            assert_eq!(parse(&json), Ok(command), "{json}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_with_what_would_be_one() {
        for (json, text) in [
            (json!({"command": "runs"}), "a command says `\"v\": 1`"),
            (json!({"v": 2, "command": "runs"}), "a command says `\"v\": 1`"),
            (
                json!({"v": 1, "command": "pauze", "all": true}),
                "there is no command `pauze`; did you mean `pause`?",
            ),
            (
                json!({"v": 1, "command": "cancel", "run": "k", "force": true}),
                "`force` is no key of the command `cancel`, which takes run",
            ),
            (
                json!({"v": 1, "command": "plan-all", "job": "x"}),
                "`job` is no key of the command `plan-all`, which takes nothing",
            ),
            (
                json!({"v": 1, "command": "cancel"}),
                "`run` is a run's id, or the beginning of one",
            ),
            (
                json!({"v": 1, "command": "apply", "run": "k", "allow": {"max_rows": "many"}}),
                "`allow` is an object of guards and numbers: {\"max_rows_percent\": 92}",
            ),
            (
                json!({"v": 1, "command": "pause"}),
                "name a `job` or a `round`, or say `\"all\": true`",
            ),
            (
                json!({"v": 1, "command": "pause", "job": "x", "all": true}),
                "name a `job` or a `round`, or say `\"all\": true`",
            ),
            (
                json!({"v": 1, "command": "resume", "job": "x", "round": "y"}),
                "give `job` or `round`, not both",
            ),
            (
                json!({"v": 1, "command": "runs", "limit": 0}),
                "`limit` is a number from 1 to 1000",
            ),
        ] {
            assert_eq!(parse(&json), Err(text.to_owned()), "{json}");
        }
    }
}
