//! Backups, as a plugin sees them: when, of what kind, how far to look, and which may go.
//!
//! The host makes and reads them, counts and words what it did, and never lets the best one go.

use crate::{Error, Instant};

/// One published backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Sorts by the time it was begun.
    pub id: String,
    /// `logical`, `physical`, `incremental`, `sqlite`; blank when its manifest is damaged.
    pub kind: String,
    /// The backup that this one only holds the changes to.
    pub parent: Option<String>,
    /// It holds the database as it was then.
    pub started: Option<Instant>,
    /// When it was published.
    pub ended: Option<Instant>,
    /// As stored.
    pub bytes: u64,
    /// The highest level it passed: `present`, `checksums`, `readable`, `restored`; none when it is bad, or nobody looked.
    pub level: Option<String>,
    /// When it was last looked at.
    pub verified: Option<Instant>,
    /// When it was last restored and counted.
    pub restored: Option<Instant>,
    /// Why it is bad.
    pub bad: Option<String>,
}

/// What a look at a backup found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Why it is bad; empty: it passed.
    pub problems: Vec<String>,
    /// Files looked at.
    pub files: u64,
    /// Bytes read from the storage.
    pub bytes: u64,
    /// Tables whose rows were compared.
    pub tables: u64,
    /// Rows found in them.
    pub rows: u64,
}

/// Backups of one granted database in one granted storage.
pub trait Backups {
    /// The published ones, the oldest first.
    fn backups(&mut self, database: &str, storage: &str) -> Result<Vec<Backup>, Error>;

    /// Makes one: `logical`, `physical` or `incremental`; of a SQLite database always a copy of its file.
    fn create_backup(&mut self, database: &str, storage: &str, kind: &str) -> Result<Backup, Error>;

    /// Looks at one: `present`, `checksums` or `readable`.
    fn verify_backup(
        &mut self,
        database: &str,
        storage: &str,
        id: &str,
        level: &str,
    ) -> Result<Verification, Error>;

    /// Restores one into an empty scratch database, counts, and empties that again unless `keep`.
    fn restore_backup(
        &mut self,
        database: &str,
        storage: &str,
        id: &str,
        into: &str,
        keep: bool,
    ) -> Result<Verification, Error>;

    /// Removes one; how many bytes that freed.
    fn expire_backup(&mut self, database: &str, storage: &str, id: &str) -> Result<u64, Error>;

    /// Removes what runs that died left unpublished; how many there were.
    fn sweep_backups(&mut self, database: &str, storage: &str) -> Result<u64, Error>;
}

#[cfg(target_family = "wasm")]
mod imports {
    //! The real host.
    use super::{Backup, Backups, Verification};
    use crate::glue::Imports;
    use crate::glue::bindings::sereno::plugin::backup as wit;
    use crate::{Error, Instant};

    fn backup(info: wit::BackupInfo) -> Backup {
        Backup {
            id: info.id,
            kind: info.kind,
            parent: info.parent,
            started: info.started.map(Instant::from_micros),
            ended: info.ended.map(Instant::from_micros),
            bytes: info.bytes,
            level: info.level,
            verified: info.verified.map(Instant::from_micros),
            restored: info.restored.map(Instant::from_micros),
            bad: info.bad,
        }
    }

    fn verification(found: wit::Verification) -> Verification {
        Verification {
            problems: found.problems,
            files: found.files,
            bytes: found.bytes,
            tables: found.tables,
            rows: found.rows,
        }
    }

    impl Backups for Imports {
        fn backups(&mut self, database: &str, storage: &str) -> Result<Vec<Backup>, Error> {
            let found = wit::backups(database, storage)?;
            Ok(found.into_iter().map(backup).collect())
        }

        fn create_backup(&mut self, database: &str, storage: &str, kind: &str) -> Result<Backup, Error> {
            Ok(backup(wit::create(database, storage, kind)?))
        }

        fn verify_backup(
            &mut self,
            database: &str,
            storage: &str,
            id: &str,
            level: &str,
        ) -> Result<Verification, Error> {
            Ok(verification(wit::verify(database, storage, id, level)?))
        }

        fn restore_backup(
            &mut self,
            database: &str,
            storage: &str,
            id: &str,
            into: &str,
            keep: bool,
        ) -> Result<Verification, Error> {
            Ok(verification(wit::restore(database, storage, id, into, keep)?))
        }

        fn expire_backup(&mut self, database: &str, storage: &str, id: &str) -> Result<u64, Error> {
            Ok(wit::expire(database, storage, id)?)
        }

        fn sweep_backups(&mut self, database: &str, storage: &str) -> Result<u64, Error> {
            Ok(wit::sweep(database, storage)?)
        }
    }
}
