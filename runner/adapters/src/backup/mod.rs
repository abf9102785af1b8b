//! Backups: drives PostgreSQL's own tools and SQLite's own copy, and streams what they write into a storage.
//!
//! - **Published last.** Files first, then the manifest with a hash of each; an id without a manifest is a leftover.
//! - **Nothing whole in memory**, nothing of a server's URL in a list of processes.
//! - Which backup may go, and what is told of one, is core's to say.

mod child;
mod connection;
mod feed;
mod logical;
mod physical;
mod shelf;
mod sqlite;
mod tools;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use sereno_core::backup::{Kind, Level, Manifest, ManifestError, Stored, StoredFile, Verified};
use sereno_core::job::{BackupSettings, DatabaseTarget, SecretText};
use sereno_core::name::TargetName;
use sereno_core::ports::backup::{BackupError, Backups, Gone, Pace, Place, Told, Verification, Wish};
use sereno_core::ports::plugins::Targets as _;
use sereno_core::ports::storage::Put;
use sereno_core::value::Instant;

use crate::targets::ConfiguredTargets;
use physical::Bench;
use shelf::{MANIFEST, ReadError, Shelf, VERIFIED, stored};
use tools::Search;

/// The backups of one configuration's databases in its storages.
pub struct ConfiguredBackups {
    targets: ConfiguredTargets,
    search: Search,
    work: PathBuf,
}

/// Which programs would make backups of a server of version `server`, in words.
///
/// # Errors
/// There are none that fit; with what to install.
pub async fn client_programs(settings: &BackupSettings, server: u32) -> Result<String, BackupError> {
    let tools = Search::new(settings.tools.as_deref()).for_server(server).await?;
    Ok(format!("client programs of PostgreSQL {} are there", tools.major))
}

impl ConfiguredBackups {
    /// The backups of `targets`.
    pub fn new(targets: ConfiguredTargets, settings: &BackupSettings) -> Self {
        Self {
            targets,
            search: Search::new(settings.tools.as_deref()),
            work: settings.work.clone().unwrap_or_else(std::env::temp_dir),
        }
    }

    async fn shelf(&self, place: &Place) -> Result<Shelf, BackupError> {
        let storage = self.targets.storage(&place.storage).await;
        let storage = storage.map_err(|error| stored(&error))?;
        Ok(Shelf::new(storage, place.database.clone()))
    }

    fn database(&self, name: &TargetName) -> Result<&DatabaseTarget, BackupError> {
        let found = self.targets.target(name);
        found.ok_or_else(|| {
            BackupError::NotFound(format!("there is no [database.{name}] in the configuration"))
        })
    }

    /// Where the whole of it may be read: by its owner, and not through a pooler.
    async fn url(&self, name: &TargetName) -> Result<String, BackupError> {
        let target = self.database(name)?;
        let resolve = async |text: &SecretText| {
            let resolved = self.targets.resolve(text).await;
            resolved.map_err(|error| BackupError::Invalid(format!("[database.{name}]: {error}")))
        };
        let upkeep = match &target.upkeep_url {
            Some(text) => resolve(text).await?,
            None => String::new(),
        };
        if upkeep.is_empty() {
            resolve(&target.url).await
        } else {
            Ok(upkeep)
        }
    }

    /// The URL of a scratch database that is none of the databases that backups are made of.
    async fn scratch(&self, place: &Place, into: &TargetName) -> Result<String, BackupError> {
        if !self.database(into)?.scratch {
            return Err(BackupError::Invalid(format!(
                "database.{into} is not marked `scratch = true`, and nothing is restored into it"
            )));
        }
        let (url, of) = (self.url(into).await?, self.url(&place.database).await?);
        if *into == place.database || of == url {
            return Err(BackupError::Invalid(format!(
                "database.{into} is the very database that the backup is of"
            )));
        }
        if is_sqlite(&url) != is_sqlite(&of) {
            return Err(BackupError::Invalid(format!(
                "database.{into} is of another kind than database.{}",
                place.database
            )));
        }
        Ok(url)
    }

    async fn manifest(
        &self,
        shelf: &Shelf,
        place: &Place,
        id: &str,
    ) -> Result<Result<Manifest, ManifestError>, BackupError> {
        match shelf.small(id, MANIFEST).await? {
            Some(text) => Ok(Manifest::unseal(&text).and_then(|manifest| {
                let is_own = manifest.id == id && manifest.database == place.database.as_str();
                is_own.then_some(manifest).ok_or_else(|| {
                    ManifestError::Damaged("it is another backup's, under this one's name".to_owned())
                })
            })),
            None => Err(BackupError::NotFound(format!(
                "there is no backup {id} of {} in storage.{}",
                place.database, place.storage
            ))),
        }
    }

    async fn verified(shelf: &Shelf, id: &str) -> Result<Verified, BackupError> {
        let text = shelf.small(id, VERIFIED).await?;
        // What cannot be read verifies nothing.
        Ok(text
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default())
    }

    async fn look_at(
        &self,
        shelf: &Shelf,
        place: &Place,
        id: &str,
        level: Level,
        told: Told<'_>,
    ) -> Result<Verification, BackupError> {
        let manifest = match self.manifest(shelf, place, id).await? {
            Ok(manifest) => manifest,
            Err(error) => return Ok(bad(error.to_string())),
        };
        let mut all = shelf.all().await?;
        let there = all.remove(id).unwrap_or_default();
        let mut problems = present(&manifest.files, &there);
        let mut chain = vec![manifest];
        // What it builds on must be there as well.
        while problems.is_empty()
            && let Some(parent) = chain[0].parent.clone()
        {
            match self.manifest(shelf, place, &parent).await {
                Ok(Ok(manifest)) => {
                    // Each of them goes out of the list, so that no circle is walked twice.
                    let there = all.remove(&parent).unwrap_or_default();
                    let missing = present(&manifest.files, &there).into_iter();
                    problems.extend(missing.map(|problem| format!("it builds on {parent}: {problem}")));
                    chain.insert(0, manifest);
                }
                Ok(Err(error)) => problems.push(format!("it builds on {parent}: {error}")),
                Err(BackupError::NotFound(_)) => {
                    problems.push(format!("it builds on {parent}, which is not there"));
                }
                Err(error) => return Err(error),
            }
        }
        let manifest = &chain[chain.len() - 1];
        let mut found = Verification {
            files: manifest.files.len() as u64,
            problems,
            ..Verification::default()
        };
        if !found.problems.is_empty() || level == Level::Present {
            return Ok(found);
        }
        if level == Level::Readable {
            match manifest.kind {
                Kind::Logical => return logical::read(shelf, &self.search, manifest, told).await,
                Kind::Sqlite => return sqlite::read(shelf, &self.work, manifest, told).await,
                Kind::Physical | Kind::Incremental => {
                    return physical::read(shelf, &self.search, &self.work, &chain, told).await;
                }
            }
        }
        for file in &manifest.files {
            match read_all(shelf, id, file, told).await {
                Ok(bytes) => found.bytes += bytes,
                Err(ReadError::Bad(problem)) => found.problems.push(problem),
                Err(ReadError::Failed(error)) => return Err(error),
            }
        }
        Ok(found)
    }

    fn bench<'a>(&'a self, shelf: &'a Shelf, url: &'a str, database: &'a str) -> Bench<'a> {
        Bench {
            shelf,
            search: &self.search,
            work: &self.work,
            url,
            database,
        }
    }

    /// What an incremental backup would hold the changes to: the newest copy of the whole that is not known to be bad.
    async fn parent(&self, place: &Place, kind: Kind) -> Result<Option<Manifest>, BackupError> {
        if kind != Kind::Incremental {
            return Ok(None);
        }
        let all = self.list(place).await?;
        let good = all
            .into_iter()
            .rev()
            .filter(|stored| stored.verified.failed.is_none());
        let mut manifests = good.filter_map(|stored| stored.manifest.ok());
        let parent = manifests.find(|manifest| matches!(manifest.kind, Kind::Physical | Kind::Incremental));
        parent.map(Some).ok_or_else(|| {
            BackupError::Invalid(format!(
                "there is no physical backup of {} in storage.{} that an incremental one could build on: make one with \
                 `kind = \"physical\"` first",
                place.database, place.storage
            ))
        })
    }

    async fn keep(
        shelf: &Shelf,
        id: &str,
        level: Level,
        at: Instant,
        found: &Verification,
    ) -> Result<(), BackupError> {
        let mut verified = Self::verified(shelf, id).await?;
        verified.add(level, at, found.problems.first().map(String::as_str));
        let text = serde_json::to_vec_pretty(&verified).unwrap_or_default();
        shelf.put(id, VERIFIED, text, Put::Replace).await
    }

    /// What was published, and what never was.
    async fn all(shelf: &Shelf) -> Result<(Objects, Objects), BackupError> {
        let all = shelf.all().await?;
        Ok(all
            .into_iter()
            .partition(|(_, objects)| objects.contains_key(MANIFEST)))
    }
}

fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

fn bad(problem: String) -> Verification {
    Verification {
        problems: vec![problem],
        ..Verification::default()
    }
}

fn present(files: &[StoredFile], there: &BTreeMap<String, u64>) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        match there.get(&file.name) {
            None => problems.push(format!("{} is missing", file.name)),
            Some(bytes) if *bytes != file.bytes => {
                problems.push(format!(
                    "{} has {bytes} bytes, and {} were written",
                    file.name, file.bytes
                ));
            }
            Some(_) => {}
        }
    }
    problems
}

async fn read_all(shelf: &Shelf, id: &str, file: &StoredFile, told: Told<'_>) -> Result<u64, ReadError> {
    let mut source = shelf.open(id, file).await?;
    while source.next().await?.is_some() {
        told(&format!("reading {}", file.name));
    }
    Ok(source.bytes())
}

async fn within<T>(
    limit: Duration,
    operation: impl FnOnce() -> String,
    work: impl Future<Output = Result<T, BackupError>>,
) -> Result<T, BackupError> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer,
        Err(_) => Err(BackupError::Timeout {
            operation: operation(),
            limit,
        }),
    }
}

fn not_of_sqlite() -> BackupError {
    BackupError::Invalid("of a SQLite database there are no physical backups: leave `kind` out".to_owned())
}

#[async_trait]
impl Backups for ConfiguredBackups {
    async fn list(&self, place: &Place) -> Result<Vec<Stored>, BackupError> {
        let shelf = self.shelf(place).await?;
        let mut backups = Vec::new();
        for (id, objects) in shelf.all().await? {
            if !objects.contains_key(MANIFEST) {
                continue;
            }
            let verified = if objects.contains_key(VERIFIED) {
                Self::verified(&shelf, &id).await?
            } else {
                Verified::default()
            };
            backups.push(Stored {
                manifest: self.manifest(&shelf, place, &id).await?,
                id,
                verified,
            });
        }
        Ok(backups)
    }

    async fn create(&self, place: &Place, wish: &Wish, pace: Pace<'_>) -> Result<Manifest, BackupError> {
        let shelf = self.shelf(place).await?;
        let url = self.url(&place.database).await?;
        let name = place.database.as_str();
        let begun = std::time::Instant::now();
        let work = async {
            let mut manifest = match (is_sqlite(&url), wish.kind) {
                (true, Kind::Logical | Kind::Sqlite) => {
                    sqlite::create(&shelf, &self.work, &url, name, wish, pace).await?
                }
                (true, _) => return Err(not_of_sqlite()),
                (false, Kind::Logical) => {
                    logical::create(&shelf, &self.search, &url, name, wish, pace).await?
                }
                (false, kind) => {
                    let parent = self.parent(place, kind).await?;
                    let bench = self.bench(&shelf, &url, name);
                    physical::create(&bench, wish, parent.as_ref(), pace).await?
                }
            };
            manifest.ended = manifest.started + begun.elapsed();
            // Whoever took this run for dead may have swept its files away.
            let there = shelf.all().await?.remove(&wish.id).unwrap_or_default();
            if let Some(problem) = present(&manifest.files, &there).first() {
                return Err(BackupError::Failed(format!(
                    "the backup was disturbed while it was made: {problem}"
                )));
            }
            shelf
                .put(&wish.id, MANIFEST, manifest.seal(), Put::Create)
                .await?;
            Ok(manifest)
        };
        within(pace.limit, || format!("back up {name}"), work).await
    }

    async fn preview_create(&self, place: &Place, wish: &Wish, at: Instant) -> Result<Manifest, BackupError> {
        let shelf = self.shelf(place).await?;
        let url = self.url(&place.database).await?;
        let name = place.database.as_str();
        if !is_sqlite(&url) && wish.kind != Kind::Logical {
            let parent = self.parent(place, wish.kind).await?;
            let bench = self.bench(&shelf, &url, name);
            return physical::preview(&bench, wish, parent.as_ref(), at).await;
        }
        let (bytes, tool, server, kind) = if is_sqlite(&url) {
            if !matches!(wish.kind, Kind::Logical | Kind::Sqlite) {
                return Err(not_of_sqlite());
            }
            let (bytes, server) = sqlite::look(&url).await?;
            (bytes, String::new(), server, Kind::Sqlite)
        } else {
            let (_, identity, tools) = logical::reach(&url, &self.search).await?;
            let tool = format!("pg_dump {}", tools.major);
            tools.program("pg_dump")?;
            (
                identity.bytes.unwrap_or_default(),
                tool,
                logical::server(&identity),
                wish.kind,
            )
        };
        let mut manifest = logical::begun(wish, at, name, kind, tool, server);
        manifest.files = vec![StoredFile {
            name: "estimate".to_owned(),
            bytes,
            sha256: String::new(),
            raw_bytes: bytes,
            compression: None,
        }];
        Ok(manifest)
    }

    async fn verify(
        &self,
        place: &Place,
        id: &str,
        level: Level,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError> {
        let found = self.preview_verify(place, id, level, pace).await?;
        let shelf = self.shelf(place).await?;
        Self::keep(&shelf, id, level, pace.at, &found).await?;
        Ok(found)
    }

    async fn preview_verify(
        &self,
        place: &Place,
        id: &str,
        level: Level,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError> {
        let shelf = self.shelf(place).await?;
        let work = self.look_at(&shelf, place, id, level, pace.told);
        within(pace.limit, || format!("verify the backup {id}"), work).await
    }

    async fn restore(
        &self,
        place: &Place,
        id: &str,
        into: &TargetName,
        keep: bool,
        pace: Pace<'_>,
    ) -> Result<Verification, BackupError> {
        let url = self.scratch(place, into).await?;
        let shelf = self.shelf(place).await?;
        let work = async {
            let mut found = self.look_at(&shelf, place, id, Level::Present, pace.told).await?;
            if found.problems.is_empty() {
                let manifest = self.manifest(&shelf, place, id).await?;
                let manifest = manifest.map_err(|error| BackupError::Failed(error.to_string()))?;
                found = match manifest.kind {
                    Kind::Sqlite => {
                        sqlite::restore(&shelf, &manifest, &url, into.as_str(), keep, pace.told).await?
                    }
                    Kind::Logical => {
                        let name = into.as_str();
                        logical::restore(&shelf, &self.search, &manifest, &url, name, keep, pace.told).await?
                    }
                    Kind::Physical | Kind::Incremental => return Err(of_a_cluster()),
                };
            }
            Ok(found)
        };
        let found = within(
            pace.limit,
            || format!("restore the backup {id} into database.{into}"),
            work,
        )
        .await?;
        Self::keep(&shelf, id, Level::Restored, pace.at, &found).await?;
        Ok(found)
    }

    async fn preview_restore(
        &self,
        place: &Place,
        id: &str,
        into: &TargetName,
    ) -> Result<Verification, BackupError> {
        let url = self.scratch(place, into).await?;
        let shelf = self.shelf(place).await?;
        let mut found = self.look_at(&shelf, place, id, Level::Present, &|_| {}).await?;
        if !found.problems.is_empty() {
            return Ok(found);
        }
        let kind = self
            .manifest(&shelf, place, id)
            .await?
            .map(|manifest| manifest.kind);
        if matches!(kind, Ok(Kind::Physical | Kind::Incremental)) {
            return Err(of_a_cluster());
        }
        if is_sqlite(&url) {
            sqlite::look_for_room(&url, into.as_str()).await?;
        } else {
            logical::look_for_room(&url, into.as_str()).await?;
        }
        if let Ok(manifest) = self.manifest(&shelf, place, id).await? {
            let rows = manifest.rows.unwrap_or_default();
            (found.tables, found.rows) = (rows.len() as u64, rows.values().sum());
        }
        Ok(found)
    }

    async fn expire(&self, place: &Place, id: &str) -> Result<Gone, BackupError> {
        let gone = self.preview_expire(place, id).await?;
        let shelf = self.shelf(place).await?;
        // From here on it is a leftover, which a later sweep ends if this does not.
        shelf.remove(id, MANIFEST).await?;
        for name in shelf.all().await?.remove(id).unwrap_or_default().keys() {
            shelf.remove(id, name).await?;
        }
        Ok(gone)
    }

    async fn preview_expire(&self, place: &Place, id: &str) -> Result<Gone, BackupError> {
        let shelf = self.shelf(place).await?;
        let objects = shelf.all().await?.remove(id).unwrap_or_default();
        if !objects.contains_key(MANIFEST) {
            return Err(BackupError::NotFound(format!(
                "there is no backup {id} of {} in storage.{}",
                place.database, place.storage
            )));
        }
        Ok(Gone {
            backups: 1,
            bytes: objects.values().sum(),
        })
    }

    async fn sweep(&self, place: &Place) -> Result<Gone, BackupError> {
        let shelf = self.shelf(place).await?;
        let (published, leftovers) = Self::all(&shelf).await?;
        for (id, objects) in &leftovers {
            for name in objects.keys() {
                shelf.remove(id, name).await?;
            }
        }
        Ok(swept(&published, &leftovers, &shelf.unfinished(true).await?))
    }

    async fn preview_sweep(&self, place: &Place) -> Result<Gone, BackupError> {
        let shelf = self.shelf(place).await?;
        let (published, leftovers) = Self::all(&shelf).await?;
        Ok(swept(&published, &leftovers, &shelf.unfinished(false).await?))
    }
}

/// The objects of every backup, by its id.
type Objects = BTreeMap<String, BTreeMap<String, u64>>;

/// What goes with leftovers and with what was never even an object.
fn swept(published: &Objects, leftovers: &Objects, unfinished: &BTreeMap<String, u64>) -> Gone {
    let of_none = |id: &&String| !leftovers.contains_key(*id) && !published.contains_key(*id);
    Gone {
        backups: (leftovers.len() + unfinished.keys().filter(of_none).count()) as u64,
        bytes: leftovers
            .values()
            .flat_map(BTreeMap::values)
            .chain(unfinished.values())
            .sum(),
    }
}

fn of_a_cluster() -> BackupError {
    BackupError::Invalid(
        "it is a copy of a whole cluster, which no database can take: `level = \"readable\"` puts it together and verifies it, \
         and the page of the plugin `backup` says how to start it"
            .to_owned(),
    )
}
