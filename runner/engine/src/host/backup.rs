//! `backup`: backups of one granted database in one granted storage.

use std::sync::Arc;

use sereno_core::backup::{Kind, Level, Manifest, Stored};
use sereno_core::capability::BackupCapability;
use sereno_core::grant::{Interface, Path, Verb};
use sereno_core::name::TargetName;
use sereno_core::ports::backup::{Place, Verification as Found};
use sereno_core::ports::plugins::CallError;

use crate::bindings::backup::{BackupInfo, Host, Verification};
use crate::bindings::types;
use crate::state::{Pace, Reach, State, denied, target};

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl Host for State {
    async fn backups(&mut self, database: String, storage: String) -> Answer<Vec<BackupInfo>> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let (backups, place) = reach.backups(&database, &storage, &[Verb::Read], &[])?;
                Ok(backups.list(&place).await?.iter().map(listed).collect())
            })
            .await)
    }

    async fn create(&mut self, database: String, storage: String, kind: String) -> Answer<BackupInfo> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let kind = Kind::parse(&kind).ok_or_else(|| {
                    CallError::Invalid("a backup is logical, physical or incremental".to_owned())
                })?;
                let (backups, place) = reach.backups(&database, &storage, &[Verb::Write], &[Verb::Backup])?;
                // It cannot go on later, so it must be over while the run can still end in order.
                let made = backups.create(&place, kind, reach.time_left()).await?;
                Ok(info(&made))
            })
            .await)
    }

    async fn verify(
        &mut self,
        database: String,
        storage: String,
        id: String,
        level: String,
    ) -> Answer<Verification> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let level = Level::parse(&level).ok_or_else(|| {
                    CallError::Invalid("a level is present, checksums or readable".to_owned())
                })?;
                let (backups, place) = reach.backups(&database, &storage, &[Verb::Read, Verb::Write], &[])?;
                let found = backups.verify(&place, &id, level, reach.time_left()).await?;
                Ok(verification(found))
            })
            .await)
    }

    async fn restore(
        &mut self,
        database: String,
        storage: String,
        id: String,
        into: String,
        keep: bool,
    ) -> Answer<Verification> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let (backups, place) = reach.backups(&database, &storage, &[Verb::Read, Verb::Write], &[])?;
                let into = target(&into)?;
                reach.authorize(Interface::Backup, Verb::Restore, &Path::Whole(into.clone()))?;
                let left = reach.time_left();
                let found = backups.restore(&place, &id, &into, keep, left).await?;
                Ok(verification(found))
            })
            .await)
    }

    async fn expire(&mut self, database: String, storage: String, id: String) -> Answer<u64> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let (backups, place) = reach.backups(&database, &storage, &[Verb::Remove], &[])?;
                backups.expire(&place, &id).await
            })
            .await)
    }

    async fn sweep(&mut self, database: String, storage: String) -> Answer<u64> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move {
                let (backups, place) =
                    reach.backups(&database, &storage, &[Verb::Remove], &[Verb::Backup])?;
                backups.sweep(&place).await
            })
            .await)
    }
}

impl Reach {
    /// The run's backups, if this call may be made on that storage and that database.
    fn backups(
        &self,
        database: &str,
        storage: &str,
        on_storage: &[Verb],
        on_database: &[Verb],
    ) -> Result<(Arc<BackupCapability>, Place), CallError> {
        let place = Place {
            database: target(database)?,
            storage: target(storage)?,
        };
        let stored = |name: &TargetName| Path::Storage(name.clone());
        for verb in on_storage {
            self.authorize(Interface::Backup, *verb, &stored(&place.storage))?;
        }
        for verb in on_database {
            self.authorize(Interface::Backup, *verb, &Path::Whole(place.database.clone()))?;
        }
        let backups = self.capabilities().backups.clone();
        let backups = backups.ok_or_else(|| denied(&stored(&place.storage), Verb::Read))?;
        Ok((backups, place))
    }
}

fn info(manifest: &Manifest) -> BackupInfo {
    BackupInfo {
        id: manifest.id.clone(),
        kind: manifest.kind.to_string(),
        parent: manifest.parent.clone(),
        started: Some(manifest.started.timestamp_micros()),
        ended: Some(manifest.ended.timestamp_micros()),
        bytes: manifest.bytes(),
        level: None,
        verified: None,
        restored: None,
        bad: None,
        attributes: Vec::new(),
    }
}

fn listed(stored: &Stored) -> BackupInfo {
    let known = match &stored.manifest {
        Ok(manifest) => info(manifest),
        Err(error) => BackupInfo {
            id: stored.id.clone(),
            kind: String::new(),
            parent: None,
            started: None,
            ended: None,
            bytes: 0,
            level: None,
            verified: None,
            restored: None,
            bad: Some(error.to_string()),
            attributes: Vec::new(),
        },
    };
    let verified = &stored.verified;
    let failed = verified.failed.as_ref();
    let looked = verified.passed.values().chain(failed.map(|(_, at, _)| at)).max();
    BackupInfo {
        level: verified.level().map(|level| level.to_string()),
        verified: looked.map(chrono::DateTime::timestamp_micros),
        restored: verified
            .passed
            .get(&Level::Restored)
            .map(chrono::DateTime::timestamp_micros),
        bad: known
            .bad
            .or_else(|| failed.map(|(_, _, problem)| problem.clone())),
        ..known
    }
}

fn verification(found: Found) -> Verification {
    Verification {
        problems: found.problems,
        files: found.files,
        bytes: found.bytes,
        tables: found.tables,
        rows: found.rows,
    }
}
