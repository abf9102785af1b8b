//! Backups behind the host's floor: what a guest makes, verifies, restores and lets go, counted and worded by the host.
//!
//! The port under it is the adapter in apply and `plan::PlannedBackups` in plan. That a backup is bad is noted here, so
//! that a guest which keeps silent about it changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Hold;
use crate::backup::{Kind, Level, Manifest, Stored, must_stay};
use crate::effect::UnderWay;
use crate::grant::{Path, Verb};
use crate::guard::GuardState;
use crate::name::TargetName;
use crate::ports::backup::{BackupError, Backups, Pace, Place, Verification, Wish};
use crate::ports::clock::Clock;
use crate::ports::plugins::CallError;
use crate::report::{Effect, Finding, Severity};
use crate::run::{Mode, RunEvent};

/// The guard that no job can widen.
const LAST_BACKUP: &str = "last_backup";

/// Backups that one attempt may make: one is the rule, and each fills a storage with as much as a whole database.
pub const MADE_MAX: u32 = 16;

/// Changes besides: backups let go, restored, swept and looked at. Each is an event of the run's history or a file.
const CHANGES_MAX: u32 = 10_000;

/// Everything that one attempt does with backups.
pub struct BackupCapability {
    port: Arc<dyn Backups>,
    clock: Arc<dyn Clock>,
    hold: Arc<Hold>,
    made: AtomicU32,
    changes: AtomicU32,
}

impl From<BackupError> for CallError {
    fn from(error: BackupError) -> Self {
        let text = error.to_string();
        match error {
            BackupError::NotFound(_) => Self::NotFound(text),
            BackupError::Invalid(_) => Self::Invalid(text),
            BackupError::Unreachable(_) => Self::Unreachable(text),
            // It would take as long again: to be called once more helps nobody.
            BackupError::Failed(_) | BackupError::Timeout { .. } => Self::Fault(text),
        }
    }
}

impl BackupCapability {
    /// Puts `port` behind the floor.
    pub fn new(port: Arc<dyn Backups>, clock: Arc<dyn Clock>, hold: Arc<Hold>) -> Self {
        Self {
            port,
            clock,
            hold,
            made: AtomicU32::new(0),
            changes: AtomicU32::new(0),
        }
    }

    fn another(&self) -> Result<(), CallError> {
        if self.changes.fetch_add(1, Ordering::Relaxed) < CHANGES_MAX {
            return Ok(());
        }
        Err(CallError::Limit(format!(
            "an attempt may look at, restore and let go at most {CHANGES_MAX} backups"
        )))
    }

    /// Every published backup, the oldest first.
    pub async fn list(&self, place: &Place) -> Result<Vec<Stored>, CallError> {
        Ok(self.port.list(place).await?)
    }

    /// Makes a backup and publishes it.
    pub async fn create(&self, place: &Place, kind: Kind, limit: Duration) -> Result<Manifest, CallError> {
        let before = self.made.fetch_add(1, Ordering::Relaxed);
        if before >= MADE_MAX {
            let text = format!("an attempt may make at most {MADE_MAX} backups");
            return Err(CallError::Limit(text));
        }
        let now = self.clock.now();
        let wish = Wish {
            // Sorts by time; two of one second differ, of two runs or of one.
            id: match before {
                0 => format!("{}-{}", now.format("%Y%m%dT%H%M%SZ"), self.hold.run),
                _ => format!("{}-{}-{before:02}", now.format("%Y%m%dT%H%M%SZ"), self.hold.run),
            },
            kind,
            run: self.hold.run.to_string(),
        };
        let effect = Effect {
            planned: 1,
            ..Self::effect(
                Verb::Backup,
                &Path::Whole(place.database.clone()),
                "databases",
                format!("{kind}, to storage.{}", place.storage),
            )
        };
        // What is refused here is not begun: nobody has to wonder whether it was done.
        self.port.preview_create(place, &wish, now).await?;
        let under_way = self.begin(&effect).await?;
        let progress = Arc::clone(&self.hold.progress);
        let told = move |text: &str| progress.waiting(text);
        let pace = Pace {
            at: now,
            limit,
            told: &told,
        };
        let manifest = self.port.create(place, &wish, pace).await?;
        let bytes = Some(manifest.bytes());
        self.done(Effect { bytes, ..effect }, under_way).await?;
        Ok(manifest)
    }

    /// Looks at a backup. A bad one is a finding.
    pub async fn verify(
        &self,
        place: &Place,
        id: &str,
        level: Level,
        limit: Duration,
    ) -> Result<Verification, CallError> {
        if level == Level::Restored {
            let text = "to restore a backup is a verb of its own".to_owned();
            return Err(CallError::Invalid(text));
        }
        self.another()?;
        let progress = Arc::clone(&self.hold.progress);
        let told = move |text: &str| progress.waiting(text);
        let pace = Pace {
            at: self.clock.now(),
            limit,
            told: &told,
        };
        let found = self.port.verify(place, id, level, pace).await?;
        self.judge(place, id, &found);
        Ok(found)
    }

    /// Restores a backup into an empty scratch database and counts its rows.
    pub async fn restore(
        &self,
        place: &Place,
        id: &str,
        into: &TargetName,
        keep: bool,
        limit: Duration,
    ) -> Result<Verification, CallError> {
        self.another()?;
        let effect = Effect {
            planned: 1,
            ..Self::effect(
                Verb::Restore,
                &Path::Whole(into.clone()),
                "databases",
                format!("a backup of {} from storage.{}", place.database, place.storage),
            )
        };
        self.port.preview_restore(place, id, into).await?;
        let under_way = self.begin(&effect).await?;
        let progress = Arc::clone(&self.hold.progress);
        let told = move |text: &str| progress.waiting(text);
        let pace = Pace {
            at: self.clock.now(),
            limit,
            told: &told,
        };
        let found = self.port.restore(place, id, into, keep, pace).await?;
        self.judge(place, id, &found);
        self.done(effect, under_way).await?;
        Ok(found)
    }

    /// Lets a backup go, unless it is the best there is, or another needs it.
    pub async fn expire(&self, place: &Place, id: &str) -> Result<u64, CallError> {
        self.another()?;
        let all = self.port.list(place).await?;
        if !all.iter().any(|stored| stored.id == id) {
            let text = format!(
                "there is no backup {id} of {} in storage.{}",
                place.database, place.storage
            );
            return Err(CallError::NotFound(text));
        }
        let mut effect = Effect {
            planned: 1,
            ..Self::effect(
                Verb::Remove,
                &Path::Storage(place.storage.clone()),
                "backups",
                format!("of {}", place.database),
            )
        };
        if let Some(reason) = must_stay(&all, id) {
            effect.planned = 0;
            effect.guard = Some(GuardState::new(LAST_BACKUP, 0.0, 1.0));
            // In a plan too: no allowance lifts it, so there is nothing to go on to.
            self.hold.note(effect).await?;
            return Err(CallError::Guard(format!("{reason}, and it stays")));
        }
        let under_way = self.begin(&effect).await?;
        let gone = self.port.expire(place, id).await?;
        let bytes = Some(gone.bytes);
        self.done(Effect { bytes, ..effect }, under_way).await?;
        Ok(gone.bytes)
    }

    /// Removes what runs that died left behind.
    pub async fn sweep(&self, place: &Place) -> Result<u64, CallError> {
        self.another()?;
        let effect = Self::effect(
            Verb::Remove,
            &Path::Storage(place.storage.clone()),
            "leftovers",
            format!("of {}", place.database),
        );
        let under_way = self.begin(&effect).await?;
        let gone = self.port.sweep(place).await?;
        if gone.backups == 0 {
            under_way.over();
            return Ok(0);
        }
        let effect = Effect {
            planned: gone.backups,
            bytes: Some(gone.bytes),
            ..effect
        };
        self.done(effect, under_way).await?;
        Ok(gone.backups)
    }

    fn judge(&self, place: &Place, id: &str, found: &Verification) {
        for problem in &found.problems {
            self.hold.book.finding(Finding {
                code: "backup-bad".to_owned(),
                severity: Severity::Critical,
                target: Path::Storage(place.storage.clone()).to_string(),
                text: format!("the backup {id} of {} is bad: {problem}", place.database),
                next: Some("make a new backup now, and find out what happened to this one".to_owned()),
            });
        }
    }

    /// A crash between a change and its record leaves this line behind.
    async fn begin(&self, effect: &Effect) -> Result<UnderWay<'_>, CallError> {
        if self.hold.mode == Mode::Apply && effect.planned > 0 {
            let effect = Box::new(Effect {
                planned: 0,
                ..effect.clone()
            });
            self.hold
                .recorder
                .record(vec![RunEvent::Intent { effect }])
                .await?;
        }
        Ok(self.hold.book.under_way())
    }

    async fn done(&self, effect: Effect, under_way: UnderWay<'_>) -> Result<(), CallError> {
        let plan = self.hold.mode == Mode::Plan;
        let done = if plan { 0 } else { effect.planned };
        let estimated = plan && effect.verb == Verb::Backup;
        self.hold
            .note(Effect {
                done,
                bytes_estimated: estimated,
                ..effect
            })
            .await?;
        under_way.over();
        Ok(())
    }

    fn effect(verb: Verb, on: &Path, unit: &str, what: String) -> Effect {
        Effect::of(verb, on.to_string(), unit, what)
    }
}
