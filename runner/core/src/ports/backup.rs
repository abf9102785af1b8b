//! Backups of databases in storages: made, listed, verified, restored, and let go.
//!
//! An adapter drives the real tools and streams: a backup of any size passes through a bounded memory. A backup is there
//! once its manifest is, which is written last; whatever lies under an id without one is a leftover of a run that died.
//! **Dropping a future ends the tools it started** and leaves at most a leftover.

use std::time::Duration;

use async_trait::async_trait;

use crate::backup::{Kind, Level, Manifest, Stored};
use crate::name::TargetName;
use crate::value::Instant;

/// Why a backup did not go as asked. Texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No such backup, database, storage or tool.
    #[error("{0}")]
    NotFound(String),
    /// The arguments, the configuration or the server's settings make no sense together.
    #[error("{0}")]
    Invalid(String),
    /// Nobody answers; trying again later may work.
    #[error("{0}")]
    Unreachable(String),
    /// A tool, the server or the storage refused, and would again.
    #[error("{0}")]
    Failed(String),
    /// It took longer than it could.
    #[error("could not {operation} in the {} that were left", crate::units::show_duration(*.limit))]
    Timeout {
        /// What was attempted.
        operation: String,
        /// How long it could take.
        limit: Duration,
    },
}

/// Which backups are meant: those of one database in one storage, by their configured names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of what.
    pub database: TargetName,
    /// Where.
    pub storage: TargetName,
}

/// A backup that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The id it shall have.
    pub id: String,
    /// How it shall be made; [`Kind::Logical`] of a SQLite database is a copy of its file.
    pub kind: Kind,
    /// The run that makes it.
    pub run: String,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Why the backup is bad; empty: it passed.
    pub problems: Vec<String>,
    /// Files looked at.
    pub files: u64,
    /// Bytes read from the storage.
    pub bytes: u64,
    /// Tables whose rows were compared.
    pub tables: u64,
    /// Rows that were found in them.
    pub rows: u64,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone {
    /// Backups, or leftovers of ones that never were.
    pub backups: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

/// Is told how far a long work is.
pub type Told<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// What a long work goes by.
#[derive(Clone, Copy)]
pub struct Pace<'a> {
    /// When it begins, by the host's clock.
    pub at: Instant,
    /// How long it may take.
    pub limit: Duration,
    /// Who is told how far it is.
    pub told: Told<'a>,
}

/// Makes and keeps backups. Implementations pass `backup::` of the integration tests.
#[async_trait]
pub trait Backups: Send + Sync {
    /// Every published backup, the oldest first.
    async fn list(&self, place: &Place) -> Result<Vec<Stored>, BackupError>;

    /// Makes a backup and publishes it.
    async fn create(&self, place: &Place, wish: &Wish, pace: Pace<'_>) -> Result<Manifest, BackupError>;

    /// What [`Self::create`] would make: everything is looked at that it would need, its sizes are estimates.
    async fn preview_create(&self, place: &Place, wish: &Wish, at: Instant) -> Result<Manifest, BackupError>;

    /// Looks at a backup and keeps what it found beside it. `level` is below [`Level::Restored`].
    async fn verify(
        &self,
        place: &Place,
        id: &str,
        level: Level,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError>;

    /// What [`Self::verify`] would find; nothing is kept.
    async fn preview_verify(
        &self,
        place: &Place,
        id: &str,
        level: Level,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError>;

    /// Restores a backup into `into`, which is empty and marked `scratch = true`, counts its rows, keeps what it found
    /// beside the backup, and empties `into` again unless `keep`.
    async fn restore(
        &self,
        place: &Place,
        id: &str,
        into: &TargetName,
        keep: bool,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError>;

    /// Looks whether [`Self::restore`] could begin. Rows and tables are those that it should find.
    async fn preview_restore(
        &self,
        place: &Place,
        id: &str,
        into: &TargetName,
    ) -> Result<Verification, BackupError>;

    /// Removes a backup, its manifest first.
    async fn expire(&self, place: &Place, id: &str) -> Result<Gone, BackupError>;

    /// What [`Self::expire`] would remove.
    async fn preview_expire(&self, place: &Place, id: &str) -> Result<Gone, BackupError>;

    /// Removes what runs that died left behind.
    async fn sweep(&self, place: &Place) -> Result<Gone, BackupError>;

    /// What [`Self::sweep`] would remove.
    async fn preview_sweep(&self, place: &Place) -> Result<Gone, BackupError>;
}
