//! What a backup says of itself, how far it was verified, and which one must never go.
//!
//! Pure: where the bytes are and how they were made is the business of the `backup` port. A backup without a manifest
//! that can be read whole is none.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::run::digest;
use crate::value::Instant;

/// The version of the format that is written.
const SCHEMA_VERSION: u32 = 1;

/// How a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `pg_dump`: one database, readable by newer servers.
    Logical,
    /// `pg_basebackup`: the whole cluster, for the same major version.
    Physical,
    /// What changed since another physical or incremental one.
    Incremental,
    /// A consistent copy of a SQLite file.
    Sqlite,
}

impl Kind {
    /// Every kind with its text.
    pub const ALL: [(&'static str, Self); 4] = [
        ("logical", Self::Logical),
        ("physical", Self::Physical),
        ("incremental", Self::Incremental),
        ("sqlite", Self::Sqlite),
    ];

    /// The kind called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| kind)
    }

    /// Its text.
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(_, kind)| *kind == self);
        found.map_or("?", |(name, _)| name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a backup was looked at. Each level holds what the one before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Its manifest is whole, and every file is there with its size.
    Present,
    /// Every byte was read and has the SHA-256 that was written down.
    Checksums,
    /// The tool that would restore it reads it to its end.
    Readable,
    /// It was restored, and has the rows that were counted when it was made.
    Restored,
}

impl Level {
    /// Every level with its text, the lowest first.
    pub const ALL: [(&'static str, Self); 4] = [
        ("present", Self::Present),
        ("checksums", Self::Checksums),
        ("readable", Self::Readable),
        ("restored", Self::Restored),
    ];

    /// The level called `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, level)| level)
    }

    /// Its text.
    pub fn as_str(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(_, level)| *level == self);
        found.map_or("?", |(name, _)| name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a backup came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `PostgreSQL 15.18` or `SQLite 3.50.4`.
    pub version: String,
    /// PostgreSQL's own number of the cluster.
    pub system_identifier: Option<String>,
    /// The database's name on the server, or the file's.
    pub database: String,
}

/// One object of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFile {
    /// Beside the manifest.
    pub name: String,
    /// As it is stored.
    pub bytes: u64,
    /// Of the bytes as they are stored, lower-case hexadecimal.
    pub sha256: String,
    /// Unpacked.
    pub raw_bytes: u64,
    /// `zstd`, or none.
    pub compression: Option<String>,
}

/// What a backup is, written last: before it is there, there is no backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format.
    pub schema_version: u32,
    /// Its name below its database's.
    pub id: String,
    /// The configured name of the database.
    pub database: String,
    /// How it was made.
    pub kind: Kind,
    /// The backup that it only holds the changes to.
    pub parent: Option<String>,
    /// The run that made it.
    pub run: String,
    /// When it was begun: it holds the database as it was then.
    pub started: Instant,
    /// When its last byte was stored.
    pub ended: Instant,
    /// With its version.
    pub tool: String,
    /// Of what.
    pub server: Server,
    /// Every object but this one.
    pub files: Vec<StoredFile>,
    /// Rows of each table at the moment that it holds; none where nobody could count.
    pub rows: Option<BTreeMap<String, u64>>,
}

/// A manifest with the hash of its own text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    manifest: Manifest,
    sha256: String,
}

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A later sereno wrote it.
    #[error("its manifest is of format {0}, which this version of sereno does not know")]
    Later(u64),
    /// It was cut, changed or never one.
    #[error("its manifest is damaged: {0}")]
    Damaged(String),
}

impl Manifest {
    /// The version that new manifests have.
    pub const fn schema_version() -> u32 {
        SCHEMA_VERSION
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Its text, with a hash that a changed byte breaks.
    pub fn seal(&self) -> Vec<u8> {
        let sealed = Sealed {
            sha256: self.hash(),
            manifest: self.clone(),
        };
        serde_json::to_vec_pretty(&sealed).unwrap_or_default()
    }

    fn hash(&self) -> String {
        digest(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads what [`Self::seal`] wrote.
    ///
    /// # Errors
    /// It is not whole, or of a later version.
    pub fn unseal(text: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |error: serde_json::Error| ManifestError::Damaged(error.to_string());
        let json: serde_json::Value = serde_json::from_slice(text).map_err(damaged)?;
        let version = json["manifest"]["schema_version"].as_u64();
        if let Some(later) = version.filter(|version| *version > u64::from(SCHEMA_VERSION)) {
            return Err(ManifestError::Later(later));
        }
        let sealed: Sealed = serde_json::from_value(json).map_err(damaged)?;
        if sealed.manifest.hash() != sealed.sha256 {
            return Err(ManifestError::Damaged("its hash is another".to_owned()));
        }
        Ok(sealed.manifest)
    }
}

/// What verifications of one backup came to, kept beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When each level was last passed.
    pub passed: BTreeMap<Level, Instant>,
    /// The last verification, if it failed: at which level, when, and why.
    pub failed: Option<(Level, Instant, String)>,
}

impl Verified {
    /// Adds one verification.
    pub fn add(&mut self, level: Level, at: Instant, problem: Option<&str>) {
        match problem {
            Some(problem) => self.failed = Some((level, at, problem.to_owned())),
            None => {
                for (_, passed) in Level::ALL.into_iter().filter(|(_, passed)| *passed <= level) {
                    self.passed.insert(passed, at);
                }
                // A look at less than what failed says nothing of it.
                if self.failed.as_ref().is_some_and(|(failed, ..)| *failed <= level) {
                    self.failed = None;
                }
            }
        }
    }

    /// The highest level it passed; none when it failed since, or nobody looked.
    pub fn level(&self) -> Option<Level> {
        let highest = self.passed.keys().next_back().copied();
        highest.filter(|_| self.failed.is_none())
    }
}

/// A published backup with what is known of it. One whose manifest is damaged is known by its id alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name below its database's; ids sort by the time they were begun.
    pub id: String,
    /// Or why it cannot be read.
    pub manifest: Result<Manifest, ManifestError>,
    /// What verifications came to.
    pub verified: Verified,
}

impl Stored {
    /// How good it is: bad ones, those that nobody read, and the levels.
    fn standing(&self) -> Option<Option<Level>> {
        if self.manifest.is_err() || self.verified.failed.is_some() {
            return None;
        }
        // That it is there was said by its listing too.
        Some(self.verified.level().filter(|level| *level > Level::Present))
    }
}

/// Why `id` must stay; none when it may go.
///
/// The best backup of a database stays whatever a plugin says: the newest of those that were verified furthest, or where
/// none was, the newest that is not known to be bad. So does every one that another holds only the changes to.
pub fn must_stay(all: &[Stored], id: &str) -> Option<String> {
    let manifests = all.iter().filter_map(|stored| stored.manifest.as_ref().ok());
    let child = manifests
        .clone()
        .find(|other| other.parent.as_deref() == Some(id));
    if let Some(child) = child {
        return Some(format!("{} holds only the changes since {id}", child.id));
    }
    let best = all
        .iter()
        .max_by(|a, b| (a.standing(), &a.id).cmp(&(b.standing(), &b.id)))?;
    (best.id == id).then(|| match best.standing() {
        Some(Some(level)) => format!("{id} is the last one that was verified ({level})"),
        _ => format!("{id} is the newest one, and none was verified"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: u32) -> Instant {
        format!("2026-11-{day:02}T03:00:00Z").parse().expect("a time")
    }

    fn manifest(day: u32, parent: Option<u32>) -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            id: format!("{day:02}"),
            database: "app".to_owned(),
            kind: if parent.is_some() {
                Kind::Incremental
            } else {
                Kind::Physical
            },
            parent: parent.map(|day| format!("{day:02}")),
            run: "0123456789".to_owned(),
            started: at(day),
            ended: at(day),
            tool: "pg_basebackup (PostgreSQL) 18.6".to_owned(),
            server: Server::default(),
            files: vec![StoredFile {
                name: "base.tar.zst".to_owned(),
                bytes: 10,
                sha256: "00".to_owned(),
                raw_bytes: 20,
                compression: Some("zstd".to_owned()),
            }],
            rows: Some([("public.t".to_owned(), 3)].into()),
        }
    }

    fn stored(day: u32, parent: Option<u32>, level: Option<Level>) -> Stored {
        let mut verified = Verified::default();
        if let Some(level) = level {
            verified.add(level, at(day), None);
        }
        Stored {
            id: format!("{day:02}"),
            manifest: Ok(manifest(day, parent)),
            verified,
        }
    }

    #[test]
    fn a_manifest_is_read_back_and_no_changed_byte_passes() {
        let manifest = manifest(1, None);
        let text = manifest.seal();
        assert_eq!(Manifest::unseal(&text).as_ref(), Ok(&manifest));
        for place in 0..text.len() {
            for bit in [0, 3, 5] {
                let mut changed = text.clone();
                changed[place] ^= 1 << bit;
                // White space, and the case of a letter in a time, may change without a change of meaning.
                let read = Manifest::unseal(&changed);
                let same = read.as_ref() == Ok(&manifest);
                assert!(read.is_err() || same, "byte {place}, bit {bit}");
            }
        }
        assert!(Manifest::unseal(&text[..text.len() / 2]).is_err());
        assert!(Manifest::unseal(b"").is_err());
    }

    #[test]
    fn a_later_format_is_told_from_a_damaged_one() {
        let later = Manifest {
            schema_version: 2,
            ..manifest(1, None)
        };
        assert_eq!(Manifest::unseal(&later.seal()), Err(ManifestError::Later(2)));
    }

    #[test]
    fn the_last_verified_one_stays() {
        let all = [
            stored(1, None, Some(Level::Restored)),
            stored(2, None, Some(Level::Restored)),
            stored(3, None, Some(Level::Checksums)),
            stored(4, None, None),
        ];
        let stays: Vec<&str> = all
            .iter()
            .filter(|stored| must_stay(&all, &stored.id).is_some())
            .map(|stored| stored.id.as_str())
            .collect();
        assert_eq!(stays, ["02"]);
    }

    #[test]
    fn the_newest_stays_where_none_was_verified_and_a_bad_one_never_stands_for_it() {
        let mut all = vec![
            stored(1, None, None),
            stored(2, None, Some(Level::Present)),
            stored(3, None, None),
        ];
        all[2]
            .verified
            .add(Level::Checksums, at(4), Some("a byte was flipped"));
        assert_eq!(must_stay(&all, "03"), None);
        assert!(must_stay(&all, "02").is_some());
        all[1].manifest = Err(ManifestError::Damaged(String::new()));
        assert!(must_stay(&all, "01").is_some());
        assert_eq!(must_stay(&all, "02"), None);
        let only = [stored(1, None, None)];
        assert!(must_stay(&only, "01").is_some(), "the last one of all");
    }

    #[test]
    fn a_parent_stays_as_long_as_a_child() {
        let all = [
            stored(1, None, None),
            stored(2, Some(1), None),
            stored(3, Some(2), None),
            stored(4, None, Some(Level::Restored)),
        ];
        assert!(must_stay(&all, "01").is_some() && must_stay(&all, "02").is_some());
        assert_eq!(must_stay(&all, "03"), None);
    }

    #[test]
    fn a_failure_takes_the_level_until_as_much_is_passed_again() {
        let mut verified = Verified::default();
        verified.add(Level::Readable, at(1), None);
        assert_eq!(verified.level(), Some(Level::Readable));
        verified.add(Level::Checksums, at(2), Some("a file is missing"));
        assert_eq!(verified.level(), None);
        verified.add(Level::Present, at(3), None);
        assert_eq!(verified.level(), None);
        verified.add(Level::Checksums, at(4), None);
        assert_eq!(verified.level(), Some(Level::Readable));
    }
}
