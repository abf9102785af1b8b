//! Backups in memory: a list that grows, is looked at, and shrinks.

use super::FakeHost;
use crate::{Backup, Backups, Error, Instant, Verification};

/// Backups by database and storage, and what is wrong with them.
#[derive(Debug, Default)]
pub struct FakeBackups {
    /// Of all databases, the oldest first.
    pub published: Vec<Backup>,
    /// What runs that died left behind.
    pub leftovers: u64,
    /// When a new backup is begun.
    pub now: Option<Instant>,
    /// What a verification or a restore finds in the backup of that id.
    pub problems: Vec<(String, String)>,
}

impl FakeBackups {
    /// Adds one that was begun at `started`, which is also its id.
    pub fn made(&mut self, started: Instant, level: Option<&str>) -> &mut Self {
        self.published.push(Backup {
            id: started.to_string(),
            kind: "logical".to_owned(),
            parent: None,
            started: Some(started),
            ended: Some(started),
            bytes: 1_000,
            level: level.map(str::to_owned),
            verified: level.map(|_| started),
            restored: level.filter(|level| *level == "restored").map(|_| started),
            bad: None,
        });
        self
    }

    /// The ids that are there, the oldest first.
    pub fn ids(&self) -> Vec<&str> {
        self.published.iter().map(|backup| backup.id.as_str()).collect()
    }
}

impl FakeHost {
    fn found(&self, id: &str) -> Verification {
        let problems = self.backups.problems.iter().filter(|(of, _)| of == id);
        Verification {
            problems: problems.map(|(_, problem)| problem.clone()).collect(),
            files: 1,
            ..Verification::default()
        }
    }
}

impl Backups for FakeHost {
    fn backups(&mut self, database: &str, _storage: &str) -> Result<Vec<Backup>, Error> {
        self.enter("backups", database)?;
        Ok(self.backups.published.clone())
    }

    fn create_backup(&mut self, database: &str, _storage: &str, _kind: &str) -> Result<Backup, Error> {
        self.enter("create-backup", database)?;
        let now = self.backups.now.unwrap_or(Instant::from_micros(0));
        self.backups.made(now, None);
        Ok(self.backups.published[self.backups.published.len() - 1].clone())
    }

    fn verify_backup(
        &mut self,
        _database: &str,
        _storage: &str,
        id: &str,
        level: &str,
    ) -> Result<Verification, Error> {
        self.enter("verify-backup", &format!("{id} {level}"))?;
        Ok(self.found(id))
    }

    fn restore_backup(
        &mut self,
        _database: &str,
        _storage: &str,
        id: &str,
        into: &str,
        _keep: bool,
    ) -> Result<Verification, Error> {
        self.enter("restore-backup", &format!("{id} into {into}"))?;
        Ok(self.found(id))
    }

    fn expire_backup(&mut self, _database: &str, _storage: &str, id: &str) -> Result<u64, Error> {
        self.enter("expire-backup", id)?;
        let before = self.backups.published.len();
        self.backups.published.retain(|backup| backup.id != id);
        if self.backups.published.len() == before {
            return Err(Error::NotFound(id.to_owned()));
        }
        Ok(1_000)
    }

    fn sweep_backups(&mut self, database: &str, _storage: &str) -> Result<u64, Error> {
        self.enter("sweep-backups", database)?;
        Ok(std::mem::take(&mut self.backups.leftovers))
    }
}
