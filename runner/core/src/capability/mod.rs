//! What a guest's host calls reach: a port behind its guards, the same in plan and apply.
//!
//! Order: grant (the engine's host functions ask `Authority`) → guard → plan or fence → adapter. A capability
//! counts and words every effect; it knows nothing of WebAssembly.

mod archive;
mod backup;
mod database;
mod files;
mod http;
mod insight;
mod moves;
mod partition;
mod shelf;
mod storage;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::effect::{Book, is_same};
use crate::guard::{GuardState, Guards};
use crate::name::RunId;
use crate::ports::database::Progress;
use crate::ports::plugins::CallError;
use crate::report::{Effect, Finding, Severity};
use crate::run::{Mode, RunEvent};
use crate::value::{Instant, show_instant};

pub use backup::{BackupCapability, MADE_MAX};
pub use database::DatabaseCapability;
pub use files::DirectoryCapability;
pub use http::OriginCapability;
pub use storage::{StorageCapability, WRITTEN_BYTES_MAX};
pub use writer::WriterCapability;

/// How much more than its plan an apply may change before it is something else than what was consented to.
const PLAN_TOLERANCE: f64 = 1.1;

/// Purges or removals that an attempt may begin on one target, whether or not their guards let them pass: each is kept,
/// worded and recorded, and looked through for every batch. No operator's job has as many.
const BEGUN_MAX: usize = 256;

/// What an attempt has begun on one target.
#[derive(Debug, Default)]
struct Begun(AtomicUsize);

impl Begun {
    /// Counts one more, or refuses it.
    fn another(&self, on: &str) -> Result<(), CallError> {
        if self.0.fetch_add(1, Ordering::Relaxed) < BEGUN_MAX {
            return Ok(());
        }
        Err(CallError::Limit(format!(
            "a run may begin at most {BEGUN_MAX} removals with filters of their own on a target, and this one has on {on}"
        )))
    }
}

/// Writes a run's events to the ledger.
#[async_trait]
pub trait Recorder: Send + Sync {
    /// Appends events in one transaction.
    async fn record(&self, events: Vec<RunEvent>) -> Result<(), CallError>;
}

/// What all capabilities of one attempt share.
pub struct Hold {
    /// The attempt's id.
    pub run: RunId,
    /// Its number.
    pub attempt: u32,
    /// Plan or apply.
    pub mode: Mode,
    /// With every allowance in place.
    pub guards: Guards,
    /// For the apply of a plan: the effects that were planned.
    pub plan: Option<Vec<Effect>>,
    /// What earlier attempts under the same key have done.
    pub before: Vec<Effect>,
    /// Where effects and findings are added up.
    pub book: Arc<Book>,
    /// Where they are recorded.
    pub recorder: Arc<dyn Recorder>,
    /// Who watches.
    pub progress: Arc<dyn Progress>,
    /// The fence token of each leased scope.
    pub tokens: BTreeMap<String, i64>,
    /// False: effects are not recorded beside the rows, and the operator knows.
    pub fence_in_database: bool,
}

impl Hold {
    /// Adds `part` to the book and the ledger.
    async fn note(&self, part: Effect) -> Result<(), CallError> {
        self.book.effect(&part);
        if let Some(sum) = self.book.effects().iter().find(|effect| is_same(effect, &part)) {
            self.progress.effect(sum);
        }
        let event = RunEvent::Effect {
            effect: Box::new(part),
        };
        self.recorder.record(vec![event]).await
    }

    /// What the key has taken so far, this attempt included, in whatever words: where `effect` is, and everywhere.
    fn taken(&self, effect: &Effect) -> (u64, u64) {
        let (mut here, mut everywhere) = (0, 0);
        let now = self.book.effects();
        let alike = |other: &&Effect| other.unit == effect.unit && other.verb == effect.verb;
        for other in self.before.iter().chain(&now).filter(alike) {
            let amount = match self.mode {
                Mode::Plan => other.planned,
                Mode::Apply => other.done,
            };
            everywhere += amount;
            here += if other.on == effect.on { amount } else { 0 };
        }
        (here, everywhere)
    }

    /// Holds `found` against the plan that is being applied; none when this run applies no plan.
    fn judge_plan(&self, effect: &Effect, found: u64) -> Option<GuardState> {
        let planned: u64 = self
            .plan
            .as_ref()?
            .iter()
            .filter(|planned| is_same(planned, effect))
            .map(|planned| planned.planned)
            .sum();
        let before: u64 = self
            .before
            .iter()
            .filter(|other| is_same(other, effect))
            .map(|other| other.done)
            .sum();
        let limit = (planned as f64 * PLAN_TOLERANCE).floor();
        Some(GuardState::new("plan", limit, (before + found) as f64))
    }

    /// Refuses a cutoff that comes nearer to `now` than the retention floor. In a plan it is recorded and answered.
    fn judge_cutoff(&self, cutoff: Instant, now: Instant) -> Option<GuardState> {
        let floor = chrono::Duration::from_std(self.guards.retention_floor).unwrap_or(chrono::Duration::MAX);
        let age = now.signed_duration_since(cutoff);
        (age < floor).then(|| GuardState {
            name: "retention_floor".to_owned(),
            limit: floor.num_seconds() as f64,
            found: age.num_seconds() as f64,
            exceeded: true,
        })
    }

    /// Stops an apply at an exceeded guard; lets a plan go on.
    fn stop_at(&self, effect: &Effect) -> Result<(), CallError> {
        match explain_all(effect) {
            Some(text) if self.mode == Mode::Apply => Err(CallError::Guard(text)),
            _ => Ok(()),
        }
    }

    fn hazard(&self, on: &str, name: &str, text: &str) {
        self.book.finding(Finding {
            code: "hazard".to_owned(),
            severity: Severity::Warn,
            target: on.to_owned(),
            text: text.to_owned(),
            next: Some(format!(
                "if that is wanted, add `accept = [\"{name}\"]` to the job's guard"
            )),
        });
    }
}

/// Every guard that an effect exceeds, in words; none when there is none.
pub fn explain_all(effect: &Effect) -> Option<String> {
    let texts: Vec<String> = effect.exceeded().map(|guard| explain(effect, guard)).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// A refusal in words: what was found, the guard and its limit.
fn explain(effect: &Effect, guard: &GuardState) -> String {
    use crate::units::{show_bytes, show_count, show_counted, show_duration};
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts, far below 2^53"
    )]
    let count_of = |value: f64| value.max(0.0) as u64;
    let count = |value: f64| show_count(count_of(value));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts, far below 2^53"
    )]
    let bytes = |value: f64| show_bytes(value.max(0.0) as u64);
    let amount = match effect.total {
        Some(total) => format!(
            "{} of {} {}",
            show_count(effect.planned),
            show_count(total),
            effect.unit
        ),
        None => show_counted(effect.planned, effect.unit.trim_end_matches('s'), &effect.unit),
    };
    let on = &effect.on;
    match guard.name.as_str() {
        "free_space" => format!(
            "a rewrite of {on} needs {} of free space, and {} are free",
            bytes(guard.found),
            bytes(guard.limit)
        ),
        "max_connections" => format!(
            "{} on {on}, and the guard max_connections allows {}",
            show_counted(count_of(guard.found), "connection", "connections"),
            count(guard.limit)
        ),
        "max_connections_percent" => format!(
            "{:.1} % of the connections on {on}, and the guard max_connections_percent allows {} %",
            guard.found, guard.limit
        ),
        "max_rows_percent" | "max_files_percent" => format!(
            "{amount} on {on} are {:.1} %, and the guard {} allows {} %",
            guard.found, guard.name, guard.limit
        ),
        "max_bytes" => format!(
            "{} on {on}, and the guard max_bytes allows {}",
            bytes(guard.found),
            bytes(guard.limit)
        ),
        "retention_floor" => {
            let seconds =
                |value: f64| show_duration(Duration::try_from_secs_f64(value.max(0.0)).unwrap_or_default());
            let cutoff = effect.cutoff.map(show_instant).unwrap_or_default();
            format!(
                "the cutoff {cutoff} on {on} is {} old, and the guard retention_floor asks for {}",
                if guard.found < 0.0 {
                    "less than nothing".to_owned()
                } else {
                    seconds(guard.found)
                },
                seconds(guard.limit)
            )
        }
        "last_backup" => format!("{on} would lose the best backup {}", effect.what),
        "plan" => format!(
            "{} {} on {on} match now, and the plan's count × 1.1 allows {}",
            count(guard.found),
            effect.unit,
            count(guard.limit)
        ),
        "accept" => format!(
            "{on} has {} hazard(s) that the guard's `accept` does not name",
            count(guard.found)
        ),
        name => format!(
            "{amount} on {on}, and the guard {name} allows {}",
            count(guard.limit)
        ),
    }
}
