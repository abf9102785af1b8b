//! Approvals: the recorded consent for a destructive job to be applied by a schedule, and what voids it.
//!
//! Consent is to a job's terms: what its targets are, its params, grants, guards and its plugin's needs; not to the bytes of
//! its plugin. Keeping approvals is the ledger's business, asking for them `dispatch`'s.

use std::collections::BTreeSet;
use std::fmt;

use chrono::SubsecRound as _;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::name::{JobName, RunId};
use crate::value::{Instant, show_instant};

/// As long as a value in a sentence may be.
const VALUE_CHARS_MAX: usize = 60;

/// More differences than a sentence should have.
const TOLD_MAX: usize = 3;

/// The newest consent to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// The job.
    pub job: JobName,
    /// The hash of its terms.
    pub consent: String,
    /// What was consented to.
    pub terms: Json,
    /// The plan that was looked at.
    pub plan: RunId,
    /// When.
    pub at: Instant,
    /// On which machine.
    pub host: String,
}

/// One difference between the terms that were approved and those of now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// `params.keep`, `guard.max_rows_percent`.
    pub at: String,
    /// Null: it was not there.
    pub was: Json,
    /// Null: it is gone.
    pub now: Json,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.was, &self.now) {
            (Json::Null, now) => write!(f, "{} is new: {}", self.at, shown(now)),
            (was, Json::Null) => write!(f, "{} is gone; it was {}", self.at, shown(was)),
            (was, now) => write!(f, "{} was {}, is {}", self.at, shown(was), shown(now)),
        }
    }
}

fn shown(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// Whether a schedule may apply a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Nothing that it may do destroys anything.
    NotNeeded,
    /// `[policy] plan_first = false`.
    NotAsked,
    /// It may.
    Given(Box<Approval>),
    /// Nobody has consented to the job.
    Missing,
    /// Somebody has, to other terms.
    Void(Box<Approval>, Vec<Change>),
}

impl Standing {
    /// How a destructive job with these terms stands.
    pub fn of(approval: Option<Approval>, consent: &str, terms: &Json) -> Self {
        match approval {
            None => Self::Missing,
            Some(approval) if approval.consent == consent => Self::Given(Box::new(approval)),
            Some(approval) => {
                let changes = changes(&approval.terms, terms);
                Self::Void(Box::new(approval), changes)
            }
        }
    }

    /// True when a schedule applies the job.
    pub fn allows(&self) -> bool {
        !matches!(self, Self::Missing | Self::Void(..))
    }

    /// Short and stable.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotNeeded => "not-needed",
            Self::NotAsked => "not-asked",
            Self::Given(_) => "given",
            Self::Missing => "missing",
            Self::Void(..) => "void",
        }
    }

    /// What has changed since the last approval.
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Void(_, changes) => changes,
            _ => &[],
        }
    }

    /// Why a schedule may not apply the job, if it may not.
    pub fn why_not(&self) -> Option<String> {
        match self {
            Self::NotNeeded | Self::NotAsked | Self::Given(_) => None,
            Self::Missing => Some("nobody has approved it yet".to_owned()),
            Self::Void(approval, changes) => Some(format!(
                "its approval of {} is void: {}",
                show_instant(approval.at.trunc_subsecs(0)),
                told(changes)
            )),
        }
    }
}

fn told(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "its terms are told in another way by this version".to_owned();
    }
    let more = changes.len().saturating_sub(TOLD_MAX);
    let more = (more > 0).then(|| format!("and {more} more"));
    let told = changes.iter().take(TOLD_MAX).map(ToString::to_string);
    told.chain(more).collect::<Vec<_>>().join("; ")
}

/// Every difference between two documents, each at its deepest place. A list is one value.
pub fn changes(was: &Json, now: &Json) -> Vec<Change> {
    let mut changes = Vec::new();
    collect(String::new(), was, now, &mut changes);
    changes
}

fn collect(at: String, was: &Json, now: &Json, changes: &mut Vec<Change>) {
    if was == now {
        return;
    }
    let (Json::Object(before), Json::Object(after)) = (was, now) else {
        changes.push(Change {
            at,
            was: was.clone(),
            now: now.clone(),
        });
        return;
    };
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let place = if at.is_empty() {
            key.clone()
        } else {
            format!("{at}.{key}")
        };
        let of = |object: &serde_json::Map<String, Json>| object.get(key).cloned().unwrap_or_default();
        collect(place, &of(before), &of(after), changes);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn approval(terms: Json) -> Approval {
        Approval {
            job: "sessions".parse().expect("a name"),
            consent: "a".to_owned(),
            terms,
            plan: "k3v9x2m4qd".parse().expect("an id"),
            at: "2026-11-24T02:30:00Z".parse().expect("a time"),
            host: "night".to_owned(),
        }
    }

    #[test]
    fn consent_is_to_terms_and_every_difference_is_told() {
        let terms =
            json!({"params": {"keep": 1, "table": "a"}, "guard": {"max_rows": null}, "needs": [1, 2]});
        let now = json!({"params": {"keep": 2}, "guard": {"max_rows": 9}, "needs": [1, 2, 3], "plugin": "x"});
        let given = Standing::of(Some(approval(terms.clone())), "a", &now);
        assert!(given.allows() && given.changes().is_empty() && given.why_not().is_none());
        let void = Standing::of(Some(approval(terms)), "b", &now);
        assert!(!void.allows());
        let texts: Vec<String> = void.changes().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "guard.max_rows is new: 9",
                "needs was [1,2], is [1,2,3]",
                "params.keep was 1, is 2",
                "params.table is gone; it was \"a\"",
                "plugin is new: \"x\"",
            ]
        );
        assert_eq!(
            void.why_not().as_deref(),
            Some(
                "its approval of 2026-11-24 02:30 UTC is void: guard.max_rows is new: 9; needs was [1,2], is \
                 [1,2,3]; params.keep was 1, is 2; and 2 more"
            )
        );
        assert!(!Standing::of(None, "a", &json!({})).allows());
    }
}
