//! Backups that are only pretended to be made and to go.
//!
//! What was planned is in later lists, looks at backups too, and what was planned away is not: retention decides as it will in the apply.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::backup::{Level, Manifest, Stored, Verified};
use crate::name::TargetName;
use crate::ports::backup::{BackupError, Backups, Gone, Pace, Place, Verification, Wish};
use crate::value::Instant;

/// The plan-mode decorator of [`Backups`].
pub struct PlannedBackups {
    inner: Arc<dyn Backups>,
    planned: Mutex<Planned>,
}

#[derive(Default)]
struct Planned {
    made: Vec<(Place, Manifest)>,
    gone: BTreeSet<(TargetName, TargetName, String)>,
    looked: Vec<Look>,
}

/// What would be kept beside a backup.
struct Look {
    place: Place,
    id: String,
    level: Level,
    at: Instant,
    problem: Option<String>,
}

impl PlannedBackups {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn Backups>) -> Self {
        Self {
            inner,
            planned: Mutex::default(),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Planned) -> T) -> T {
        f(&mut self.planned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn looked(&self, place: &Place, id: &str, level: Level, at: Instant, found: &Verification) {
        let look = Look {
            place: place.clone(),
            id: id.to_owned(),
            level,
            at,
            problem: found.problems.first().cloned(),
        };
        self.with(|planned| planned.looked.push(look));
    }

    fn is_made(&self, place: &Place, id: &str) -> bool {
        self.with(|planned| {
            let mut made = planned.made.iter();
            made.any(|(at, manifest)| at == place && manifest.id == id)
        })
    }
}

#[async_trait]
impl Backups for PlannedBackups {
    async fn list(&self, place: &Place) -> Result<Vec<Stored>, BackupError> {
        let mut all = self.inner.list(place).await?;
        self.with(|planned| {
            let is_gone = |id: &str| {
                let key = (place.database.clone(), place.storage.clone(), id.to_owned());
                planned.gone.contains(&key)
            };
            all.retain(|stored| !is_gone(&stored.id));
            let made = planned.made.iter().filter(|(at, _)| at == place);
            all.extend(made.map(|(_, manifest)| Stored {
                id: manifest.id.clone(),
                manifest: Ok(manifest.clone()),
                verified: Verified::default(),
            }));
            for look in planned.looked.iter().filter(|look| look.place == *place) {
                let stored = all.iter_mut().find(|stored| stored.id == look.id);
                if let Some(stored) = stored {
                    stored.verified.add(look.level, look.at, look.problem.as_deref());
                }
            }
        });
        Ok(all)
    }

    async fn create(&self, place: &Place, wish: &Wish, pace: Pace<'_>) -> Result<Manifest, BackupError> {
        let manifest = self.preview_create(place, wish, pace.at).await?;
        self.with(|planned| planned.made.push((place.clone(), manifest.clone())));
        Ok(manifest)
    }

    async fn preview_create(&self, place: &Place, wish: &Wish, at: Instant) -> Result<Manifest, BackupError> {
        self.inner.preview_create(place, wish, at).await
    }

    async fn verify(
        &self,
        place: &Place,
        id: &str,
        level: Level,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError> {
        let found = self.preview_verify(place, id, level, pace).await?;
        self.looked(place, id, level, pace.at, &found);
        Ok(found)
    }

    async fn preview_verify(
        &self,
        place: &Place,
        id: &str,
        level: Level,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError> {
        if self.is_made(place, id) {
            return Ok(Verification::default());
        }
        self.inner.preview_verify(place, id, level, pace).await
    }

    async fn restore(
        &self,
        place: &Place,
        id: &str,
        into: &TargetName,
        _keep: bool,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError> {
        let found = self.preview_restore(place, id, into).await?;
        self.looked(place, id, Level::Restored, pace.at, &found);
        Ok(found)
    }

    async fn preview_restore(
        &self,
        place: &Place,
        id: &str,
        into: &TargetName,
    ) -> Result<Verification, BackupError> {
        if self.is_made(place, id) {
            return Ok(Verification::default());
        }
        self.inner.preview_restore(place, id, into).await
    }

    async fn expire(&self, place: &Place, id: &str) -> Result<Gone, BackupError> {
        let gone = self.preview_expire(place, id).await?;
        let key = (place.database.clone(), place.storage.clone(), id.to_owned());
        self.with(|planned| planned.gone.insert(key));
        Ok(gone)
    }

    async fn preview_expire(&self, place: &Place, id: &str) -> Result<Gone, BackupError> {
        if self.is_made(place, id) {
            return Ok(Gone { backups: 1, bytes: 0 });
        }
        self.inner.preview_expire(place, id).await
    }

    async fn sweep(&self, place: &Place) -> Result<Gone, BackupError> {
        self.preview_sweep(place).await
    }

    async fn preview_sweep(&self, place: &Place) -> Result<Gone, BackupError> {
        self.inner.preview_sweep(place).await
    }
}
