//! EventBridge's envelope: a rule's or a schedule's bare event names its job by an ARN, one of a bus of your own by its detail.

use serde_json::{Map, Value as Json};

use super::own::{self, Keys};
use super::{EventError, Meaning, Origin};
use crate::config::diagnostic::closest;
use crate::job::Config;
use crate::run::{Reason, RunRequest, Work, scheduled_key};

/// Told by the two keys that every envelope has and nothing of ours does.
pub(super) fn is_envelope(keys: &Map<String, Json>) -> bool {
    keys.contains_key("detail-type") && keys.contains_key("source")
}

/// Reads an envelope. What is in `detail` is in our own form, or says nothing.
pub(super) fn read(
    event: &Json,
    keys: &Map<String, Json>,
    config: &Config,
    origin: Origin<'_>,
) -> Result<Meaning, EventError> {
    let read = Keys { event, keys };
    let shape = match read.text("source")? {
        Some("aws.events") => "eventbridge-rule",
        Some("aws.scheduler") => "eventbridge-scheduler",
        Some(source) if source.starts_with("aws.") => {
            return Err(
                EventError::new(event, "the event is of a service of AWS, and names no work")
                    .hint("let its rule send `{\"v\":1,\"job\":\"NAME\"}` as constant input"),
            );
        }
        _ => "eventbridge-bus",
    };
    let detail = detail(&read)?;
    if let Some(detail) = &detail {
        let id = read.text("id")?.unwrap_or(origin.key).to_owned();
        let origin = Origin {
            shape: Some(origin.shape.unwrap_or(shape)),
            key: &id,
            sent: read.instant("time")?,
        };
        return own::read(detail, config, origin);
    }
    if shape == "eventbridge-bus" {
        return Err(EventError::new(event, "the event's `detail` names no work")
            .hint("put `{\"v\":1,\"job\":\"NAME\"}` there"));
    }
    let work = by_source(event, keys, config)?;
    let Some(at) = read.instant("time")? else {
        return Err(EventError::new(event, "the event has no `time`"));
    };
    Ok(Meaning::Run(vec![RunRequest {
        scheduled_at: Some(at),
        key: Some(scheduled_key(at)),
        reason: Reason::Event(origin.shape.unwrap_or(shape).to_owned()),
        ..RunRequest::manual(work)
    }]))
}

/// The detail, when it says anything: an object, or (from the Scheduler) the text of one.
fn detail(read: &Keys<'_>) -> Result<Option<Json>, EventError> {
    let parsed;
    let detail = match read.keys.get("detail") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Json::String(text)) => {
            parsed = serde_json::from_str::<Json>(text)
                .map_err(|_| EventError::new(read.event, "`detail` is a text that is no JSON"))?;
            // Told apart only here, where its text has become something.
            super::measure::check(&parsed)?;
            &parsed
        }
        Some(detail) => detail,
    };
    match detail {
        Json::Object(keys) if keys.is_empty() => Ok(None),
        Json::Object(_) => Ok(Some(detail.clone())),
        other => Err(read.wrong("detail", "an object", other)),
    }
}

/// The job or round that lists the event's rule or schedule.
fn by_source(event: &Json, keys: &Map<String, Json>, config: &Config) -> Result<Work, EventError> {
    let sources: Vec<&str> = keys
        .get("resources")
        .and_then(Json::as_array)
        .map(|resources| resources.iter().filter_map(|arn| source(arn.as_str()?)).collect())
        .unwrap_or_default();
    let Some(first) = sources.first() else {
        return Err(EventError::new(
            event,
            "the event's `resources` name no rule and no schedule",
        ));
    };
    let jobs = config
        .jobs
        .values()
        .map(|job| (Work::from(job.name.clone()), &job.event_sources));
    let rounds = config
        .rounds
        .values()
        .map(|round| (Work::from(round.name.clone()), &round.event_sources));
    let all: Vec<(Work, &Vec<String>)> = jobs.chain(rounds).collect();
    let lists = |listed: &Vec<String>| listed.iter().any(|listed| sources.contains(&listed.as_str()));
    if let Some((work, _)) = all.iter().find(|(_, listed)| lists(listed)) {
        return Ok(work.clone());
    }
    // The name of a rule is no secret: it stands in everybody's console.
    let message = format!("no job lists `{}` in its `event_sources`", first.escape_debug());
    let known = || {
        all.iter()
            .flat_map(|(_, listed)| listed.iter())
            .map(String::as_str)
    };
    let hint = match closest(first, known()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("add `event_sources = [\"{}\"]` to one", first.escape_debug()),
    };
    Err(EventError::new(event, message).hint(hint))
}

/// `rule/NAME` or `schedule/GROUP/NAME`: the end of an ARN of EventBridge.
fn source(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_arn = parts.next() == Some("arn");
    let service = parts.nth(1)?;
    let end = parts.nth(2)?;
    let is_source = match service {
        "events" => end.starts_with("rule/"),
        "scheduler" => end.starts_with("schedule/"),
        _ => false,
    };
    (is_arn && is_source).then_some(end)
}
