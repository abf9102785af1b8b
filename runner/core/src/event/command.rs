//! Operator events: what a person would type, sent to a deployed runner. Read here; carried out by nobody in this module.
//!
//! `{"v":1,"command":"apply"|"plan-all"|"cancel"|"pause"|"resume"|"runs",…}`, accepted only from whoever invoked the runner
//! directly: never from a message, a rule, a schedule or a list, which may be filled by others.

use serde_json::{Map, Value as Json};

use super::EventError;
use super::own::{Keys, NO_KEY_OF_A_COMMAND};
use crate::guard::Allowances;
use crate::run::Work;

/// What is paused or listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything: `"all": true`.
    All,
    /// One job or round: `"job": "NAME"` or `"round": "NAME"`.
    One(Work),
}

/// What an operator asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `{"command":"apply","run":"ID","allow":{"max_rows_percent":92}}`: as `sereno apply ID --allow …`.
    Apply {
        /// The plan's run id, or an unambiguous start of it.
        run: String,
        /// Guards that this one apply lifts.
        allow: Allowances,
    },
    /// `{"command":"plan-all"}`: as `sereno plan --all`.
    PlanAll,
    /// `{"command":"cancel","run":"ID"}`: as `sereno runs cancel ID`.
    Cancel {
        /// The run's id, or an unambiguous start of it.
        run: String,
    },
    /// `{"command":"pause","job":"NAME"}`: no run of it starts any more.
    Pause(Scope),
    /// `{"command":"resume","job":"NAME"}`: they do again.
    Resume(Scope),
    /// `{"command":"runs"}`, of one job or all, or `{"command":"runs","run":"ID"}` for one run's report.
    Runs {
        /// Of these only.
        of: Scope,
        /// One run.
        run: Option<String>,
        /// How many of the newest.
        limit: u32,
    },
}

/// As `sereno runs list` shows.
const RUNS_DEFAULT: u32 = 20;

/// An answer has room for these.
const RUNS_MAX: u32 = 1_000;

const NAMES: [&str; 6] = ["apply", "plan-all", "cancel", "pause", "resume", "runs"];

/// Reads an event that has a `command`.
pub(super) fn read(event: &Json, keys: &Map<String, Json>) -> Result<Command, EventError> {
    let keys = Keys { event, keys };
    let name = keys.text("command")?.unwrap_or_default();
    let allowed: &[&str] = match name {
        "apply" => &["run", "allow"],
        "cancel" => &["run"],
        "plan-all" => &[],
        "pause" | "resume" => &["job", "round", "all"],
        "runs" => &["run", "job", "round", "all", "limit"],
        _ => {
            return Err(EventError::new(event, "`command` is none that there is")
                .hint(format!("it is one of: {}", NAMES.join(", "))));
        }
    };
    keys.only(&[&["v", "command"], allowed].concat(), NO_KEY_OF_A_COMMAND)?;
    let needs_run = || {
        keys.text("run")?.map(str::to_owned).ok_or_else(|| {
            EventError::new(event, format!("the command `{name}` needs a `run`"))
                .hint("`{\"v\":1,\"command\":\"runs\"}` answers their ids")
        })
    };
    Ok(match name {
        "apply" => Command::Apply {
            run: needs_run()?,
            allow: allow(&keys)?,
        },
        "cancel" => Command::Cancel { run: needs_run()? },
        "pause" => Command::Pause(named(&keys, name)?),
        "resume" => Command::Resume(named(&keys, name)?),
        "runs" => Command::Runs {
            of: scope(&keys)?.unwrap_or(Scope::All),
            run: keys.text("run")?.map(str::to_owned),
            limit: limit(&keys)?,
        },
        _ => Command::PlanAll,
    })
}

fn named(keys: &Keys<'_>, name: &str) -> Result<Scope, EventError> {
    scope(keys)?.ok_or_else(|| {
        EventError::new(keys.event, format!("the command `{name}` does not say what of"))
            .hint("say `\"job\": \"NAME\"`, `\"round\": \"NAME\"` or `\"all\": true`")
    })
}

fn scope(keys: &Keys<'_>) -> Result<Option<Scope>, EventError> {
    let work = keys.work()?;
    match (work, keys.keys.get("all")) {
        (None, Some(Json::Bool(true))) => Ok(Some(Scope::All)),
        (work, None | Some(Json::Bool(false) | Json::Null)) => Ok(work.map(Scope::One)),
        (Some(_), Some(Json::Bool(true))) => {
            Err(EventError::new(keys.event, "the command names one job and `all`").hint("say one of them"))
        }
        (_, Some(other)) => Err(keys.wrong("all", "true or false", other)),
    }
}

fn allow(keys: &Keys<'_>) -> Result<Allowances, EventError> {
    let mut allow = Allowances::default();
    match keys.keys.get("allow") {
        None | Some(Json::Null) => {}
        Some(Json::Object(guards)) => {
            for (name, value) in guards {
                let lifted = value.as_f64().filter(|value| value.is_finite() && *value >= 0.0);
                let value = lifted.ok_or_else(|| keys.wrong("allow", "guards with numbers", value))?;
                allow.0.insert(name.clone(), value);
            }
        }
        Some(other) => return Err(keys.wrong("allow", "an object of guards and numbers", other)),
    }
    Ok(allow)
}

fn limit(keys: &Keys<'_>) -> Result<u32, EventError> {
    match keys.keys.get("limit") {
        None | Some(Json::Null) => Ok(RUNS_DEFAULT),
        Some(value) => value
            .as_u64()
            .and_then(|limit| u32::try_from(limit).ok())
            .filter(|limit| (1..=RUNS_MAX).contains(limit))
            .ok_or_else(|| keys.wrong("limit", &format!("a whole number from 1 to {RUNS_MAX}"), value)),
    }
}
