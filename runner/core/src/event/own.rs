//! Our own form: `{"v":1,"job":"…"|"round":"…","mode":…,"scheduled_at":…,"key":…,"shards":[…],"params":{…}}`, with the context
//! attributes of EventBridge Scheduler (`schedule_arn`, `execution_id`, `attempt`), which make it a schedule's.
//!
//! A key that is not known is refused: it would be a wish that nobody heard.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::seen::{kind, show_key};
use super::{Continuation, EventError, Meaning, Origin, command, nothing_named};
use crate::config::diagnostic::did_you_mean;
use crate::job::Config;
use crate::run::{Mode, Reason, RunRequest, Work, scheduled_key};
use crate::value::Instant;

/// What an event of work may say.
const WORK: [&str; 8] = [
    "v",
    "job",
    "round",
    "mode",
    "scheduled_at",
    "key",
    "shards",
    "params",
];

/// What EventBridge Scheduler, or the operator's template, adds.
const CONTEXT: [&str; 3] = ["schedule_arn", "execution_id", "attempt"];

/// Keys that other programs have for the same.
const FOREIGN: [(&str, &str); 6] = [
    ("task", "job"),
    ("name", "job"),
    ("scheduled_time", "scheduled_at"),
    ("time", "scheduled_at"),
    ("dry_run", "mode"),
    ("idempotency_key", "key"),
];

const NO_KEY_OF_AN_EVENT: &str = "no key of an event";
pub(super) const NO_KEY_OF_A_COMMAND: &str = "no key of this command";

/// What an unreplaced context attribute begins with.
const PLACEHOLDER: &str = "<aws.";

/// As much as a key may be long: it is hashed, and only told.
const KEY_BYTES_MAX: usize = 256;

/// Reads an event in our own form.
pub(super) fn read(event: &Json, config: &Config, origin: Origin<'_>) -> Result<Meaning, EventError> {
    let Some(keys) = event.as_object() else {
        return Err(nothing_named(event, config));
    };
    if has_placeholder(event) {
        return Err(EventError::new(
            event,
            "the event still holds a placeholder of EventBridge Scheduler (`<aws.…>`)",
        )
        .hint("only the Scheduler replaces it: write a value, or leave the key out"));
    }
    let read = Keys { event, keys };
    read.version()?;
    if keys.contains_key("command") {
        let is_context = CONTEXT.iter().any(|key| keys.contains_key(*key));
        if origin.shape.is_some() || is_context {
            return Err(EventError::new(
                event,
                "a command is taken only from whoever invokes the runner directly",
            )
            .hint("`sereno invoke` sends it so"));
        }
        return command::read(event, keys).map(Meaning::Command);
    }
    if let Some(more) = keys.get("continue") {
        read.only(&["v", "continue"], NO_KEY_OF_AN_EVENT)?;
        let more = serde_json::from_value::<Continuation>(more.clone())
            .map_err(|_| read.wrong("continue", "an object with `key` and `attempt`", more))?;
        return Ok(Meaning::Continue(more));
    }
    let Some(work) = read.work()? else {
        // What was meant may be recognizable.
        read.only(&[&WORK[..], &CONTEXT].concat(), NO_KEY_OF_AN_EVENT)?;
        return Err(nothing_named(event, config));
    };
    read.only(&[&WORK[..], &CONTEXT].concat(), NO_KEY_OF_AN_EVENT)?;
    known(event, &work, config)?;
    let wish = Wish {
        work,
        mode: read.mode()?,
        scheduled_at: read.instant("scheduled_at")?,
        key: read.key()?,
        params: read.params()?,
        is_from_schedule: read.context()?,
    };
    read.no_shards()?;
    Ok(Meaning::Run(vec![wish.request(origin)]))
}

/// What an event asks for, before it is known when and under which key.
struct Wish {
    work: Work,
    mode: Mode,
    scheduled_at: Option<Instant>,
    key: Option<String>,
    params: BTreeMap<String, Json>,
    is_from_schedule: bool,
}

impl Wish {
    fn request(self, origin: Origin<'_>) -> RunRequest {
        let reason = match origin.shape {
            Some(shape) => Reason::Event(shape.to_owned()),
            None if self.is_from_schedule => Reason::Event("schedule".to_owned()),
            None => Reason::Invoke,
        };
        // The same at every delivery: what the event says, else what its carrier calls it.
        let key = match (self.key, self.scheduled_at) {
            (Some(key), _) => key,
            (None, Some(at)) => scheduled_key(at),
            (None, None) => format!("delivery:{}", origin.key),
        };
        RunRequest {
            params: self.params,
            mode: self.mode,
            scheduled_at: self.scheduled_at.or(origin.sent),
            key: Some(key),
            reason,
            ..RunRequest::manual(self.work)
        }
    }
}

/// There is such a job or round.
pub(super) fn known(event: &Json, work: &Work, config: &Config) -> Result<(), EventError> {
    let (message, hint) = match work {
        Work::Job(name) => match config.job(name) {
            Ok(_) => return Ok(()),
            Err(error) => (error.to_string(), error.hint),
        },
        Work::Round(name) => match config.round(name) {
            Ok(_) => return Ok(()),
            Err(error) => (error.to_string(), error.hint),
        },
    };
    Err(EventError::new(event, message).hint(hint))
}

fn has_placeholder(event: &Json) -> bool {
    let mut open = vec![event];
    while let Some(value) = open.pop() {
        match value {
            Json::String(text) if text.starts_with(PLACEHOLDER) => return true,
            Json::Array(elements) => open.extend(elements),
            Json::Object(keys) => open.extend(keys.values()),
            _ => {}
        }
    }
    false
}

/// The keys of an event, to be read one by one.
pub(super) struct Keys<'a> {
    pub(super) event: &'a Json,
    pub(super) keys: &'a Map<String, Json>,
}

impl<'a> Keys<'a> {
    /// Refuses a value by its type.
    pub(super) fn wrong(&self, key: &str, wanted: &str, found: &Json) -> EventError {
        EventError::new(
            self.event,
            format!(
                "`{key}` must be {wanted}, and what came is of type {}",
                kind(found)
            ),
        )
    }

    /// Refuses every key but these.
    pub(super) fn only(&self, known: &[&str], what: &str) -> Result<(), EventError> {
        let Some(key) = self.keys.keys().find(|key| !known.contains(&key.as_str())) else {
            return Ok(());
        };
        let error = EventError::new(self.event, format!("{} is {what}", show_key(key)));
        let ours = FOREIGN
            .iter()
            .find(|(foreign, ours)| foreign == key && known.contains(ours));
        let hint = match ours {
            Some((_, ours)) => Some(format!("it is `{ours}` here")),
            None => did_you_mean(key, known.iter().copied()),
        };
        Err(error.hint(hint.unwrap_or_else(|| format!("its keys are: {}", known.join(", ")))))
    }

    /// A text; null is as good as absent.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, EventError> {
        match self.keys.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a text", other)),
        }
    }

    /// The job or round that is named.
    pub(super) fn work(&self) -> Result<Option<Work>, EventError> {
        let name = |key| self.text(key);
        let rule = |error: crate::name::NameError| {
            EventError::new(
                self.event,
                format!("what the event calls a {} is none: {}", error.what, error.rule),
            )
        };
        match (name("job")?, name("round")?) {
            (Some(_), Some(_)) => {
                Err(EventError::new(self.event, "the event names a job and a round").hint("send two events"))
            }
            (Some(job), None) => job.parse().map(Work::Job).map(Some).map_err(rule),
            (None, Some(round)) => round.parse().map(Work::Round).map(Some).map_err(rule),
            (None, None) => Ok(None),
        }
    }

    fn version(&self) -> Result<(), EventError> {
        match self.keys.get("v") {
            None => Ok(()),
            Some(version) if version.as_u64() == Some(1) => Ok(()),
            Some(_) => Err(
                EventError::new(self.event, "`v` must be 1, the version of this form")
                    .hint("a newer sereno may know more"),
            ),
        }
    }

    fn mode(&self) -> Result<Mode, EventError> {
        match self.text("mode")? {
            None | Some("apply") => Ok(Mode::Apply),
            Some("plan") => Ok(Mode::Plan),
            Some(_) => Err(EventError::new(
                self.event,
                "`mode` is neither `apply` nor `plan`",
            )),
        }
    }

    /// A time, with its zone.
    pub(super) fn instant(&self, key: &str) -> Result<Option<Instant>, EventError> {
        self.text(key)?
            .map(|text| {
                text.parse::<chrono::DateTime<chrono::FixedOffset>>()
                    .map(|at| at.to_utc())
                    .map_err(|_| {
                        EventError::new(self.event, format!("`{key}` is no time"))
                            .hint("write it as `2026-11-24T02:30:00Z`")
                    })
            })
            .transpose()
    }

    fn key(&self) -> Result<Option<String>, EventError> {
        match self.text("key")? {
            Some(key) if key.is_empty() || key.len() > KEY_BYTES_MAX => Err(EventError::new(
                self.event,
                format!("`key` is empty, or longer than {KEY_BYTES_MAX} bytes"),
            )),
            key => Ok(key.map(str::to_owned)),
        }
    }

    /// Which of them the job takes from an event is asked where its plugin is known.
    fn params(&self) -> Result<BTreeMap<String, Json>, EventError> {
        match self.keys.get("params") {
            None | Some(Json::Null) => Ok(BTreeMap::new()),
            Some(Json::Object(params)) => Ok(params
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()),
            Some(other) => Err(self.wrong("params", "an object", other)),
        }
    }

    fn no_shards(&self) -> Result<(), EventError> {
        match self.keys.get("shards") {
            None | Some(Json::Null) => Ok(()),
            Some(Json::Array(shards)) if shards.is_empty() => Ok(()),
            Some(Json::Array(_)) => Err(EventError::new(self.event, "the job has no shards")
                .hint("leave `shards` out: a run does all of its job's targets")),
            Some(other) => Err(self.wrong("shards", "a list", other)),
        }
    }

    /// True when a schedule sent it. `attempt` comes as a number or as a text, and is only told.
    fn context(&self) -> Result<bool, EventError> {
        self.text("schedule_arn")?;
        self.text("execution_id")?;
        match self.keys.get("attempt") {
            None | Some(Json::Null | Json::String(_) | Json::Number(_)) => {}
            Some(other) => return Err(self.wrong("attempt", "a number", other)),
        }
        Ok(CONTEXT
            .iter()
            .any(|key| self.keys.get(*key).is_some_and(|value| !value.is_null())))
    }
}
