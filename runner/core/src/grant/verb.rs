//! The capabilities of the contract, and what each lets a plugin do: a grant's verbs.
//!
//! What they are granted on is `path`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A capability: one interface of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Typed reads and named queries.
    DatabaseRead,
    /// Changes to rows.
    DatabaseWrite,
    /// VACUUM, ANALYZE, REINDEX, and ends of connections.
    DatabaseUpkeep,
    /// Files below a directory.
    Files,
    /// Requests to an origin of the web.
    Http,
    /// Whole objects in a storage.
    Storage,
    /// Telling the programs that write files.
    NotifyWriter,
    /// Backups of databases in storages.
    Backup,
}

impl Interface {
    /// Every interface that needs a grant, with its name in `wit/`.
    pub const ALL: [(&'static str, Self); 8] = [
        ("backup", Self::Backup),
        ("database-read", Self::DatabaseRead),
        ("database-write", Self::DatabaseWrite),
        ("database-upkeep", Self::DatabaseUpkeep),
        ("files", Self::Files),
        ("http", Self::Http),
        ("storage", Self::Storage),
        ("notify-writer", Self::NotifyWriter),
    ];

    /// The interface called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, interface)| interface)
    }

    /// Its name in `wit/`.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, interface)| *interface == self)
            .map_or("?", |(name, _)| name)
    }

    /// The verbs it offers.
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Self::DatabaseRead => &[Verb::Read, Verb::Query],
            Self::DatabaseWrite => &[Verb::Delete, Verb::Detach, Verb::Drop],
            Self::Files => &[
                Verb::Read,
                Verb::ReadContent,
                Verb::Remove,
                Verb::Rename,
                Verb::Compress,
                Verb::Truncate,
            ],
            Self::Http => &[Verb::Get, Verb::Post],
            Self::Storage => &[Verb::Read, Verb::Write, Verb::Remove],
            Self::NotifyWriter => &[Verb::Notify],
            Self::DatabaseUpkeep => &[
                Verb::Vacuum,
                Verb::Analyze,
                Verb::Reindex,
                Verb::Terminate,
                Verb::VacuumFull,
            ],
            Self::Backup => &[Verb::Read, Verb::Write, Verb::Remove, Verb::Backup, Verb::Restore],
        }
    }
}

/// What may be done with a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Look at sizes, statistics, counts, names.
    Read,
    /// Call a named query.
    Query,
    /// Delete rows.
    Delete,
    /// Take partitions out of a table.
    Detach,
    /// Drop partitions that were taken out and archived.
    Drop,
    /// VACUUM.
    Vacuum,
    /// ANALYZE.
    Analyze,
    /// REINDEX.
    Reindex,
    /// End connections.
    Terminate,
    /// VACUUM FULL.
    VacuumFull,
    /// Remove files or objects.
    Remove,
    /// Read what is in files.
    ReadContent,
    /// Give files other names.
    Rename,
    /// Put compressed files in the place of files.
    Compress,
    /// Copy files and empty them where they are.
    Truncate,
    /// Ask an origin.
    Get,
    /// Ask an origin with a body, or tell it something.
    Post,
    /// Put new objects into a storage.
    Write,
    /// Tell a writer to open its files anew.
    Notify,
    /// Make backups of a database.
    Backup,
    /// Restore backups into a scratch database.
    Restore,
}

impl Verb {
    /// Every verb with its text.
    pub const ALL: [(&'static str, Self); 21] = [
        ("backup", Self::Backup),
        ("restore", Self::Restore),
        ("read", Self::Read),
        ("query", Self::Query),
        ("delete", Self::Delete),
        ("detach", Self::Detach),
        ("drop", Self::Drop),
        ("vacuum", Self::Vacuum),
        ("analyze", Self::Analyze),
        ("reindex", Self::Reindex),
        ("terminate", Self::Terminate),
        ("vacuum-full", Self::VacuumFull),
        ("remove", Self::Remove),
        ("read-content", Self::ReadContent),
        ("rename", Self::Rename),
        ("compress", Self::Compress),
        ("truncate", Self::Truncate),
        ("get", Self::Get),
        ("post", Self::Post),
        ("write", Self::Write),
        ("notify", Self::Notify),
    ];

    /// The verb called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, verb)| verb)
    }

    /// Its text.
    pub fn as_str(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(_, verb)| *verb == self)
            .map_or("?", |(name, _)| name)
    }

    /// True when something is gone afterwards: such a job needs guards and, on a schedule, an approval.
    pub fn is_destructive(self) -> bool {
        matches!(
            self,
            Self::Delete
                | Self::Detach
                | Self::Drop
                | Self::Remove
                | Self::Truncate
                | Self::Terminate
                | Self::VacuumFull
        )
    }

    /// True when the world differs afterwards: such a job holds leases on what it changes. An origin or a writer is nothing
    /// that one job could hold against another, so a POST or a notice is none of these.
    pub fn is_changing(self) -> bool {
        !matches!(
            self,
            Self::Read | Self::ReadContent | Self::Query | Self::Get | Self::Post | Self::Notify
        )
    }

    /// True when a change of a database is held against the fence in it. Backups change nothing there, and a restore wants it
    /// empty: their tools end with the host that started them.
    pub fn is_fenced(self) -> bool {
        self.is_changing() && !matches!(self, Self::Backup | Self::Restore)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
