//! Opens the databases, directories, origins, storages and writers of a configuration, each when it is first wanted.
//!
//! Secrets are resolved here and not before: a job that uses one database needs only that database's secrets. Nothing
//! connects yet; a database does that at its first call. That a SQLite file is there is looked at.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sereno_core::job::{
    BackupSettings, Config, DatabaseTarget, DirectoryTarget, OriginTarget, SecretText, StoragePlace,
    StorageTarget, WriterTarget,
};
use sereno_core::name::TargetName;
use sereno_core::ports::backup::Backups;
use sereno_core::ports::database::{Database, DatabaseError};
use sereno_core::ports::files::{Directory, FilesError};
use sereno_core::ports::http::{HttpError, HttpOrigin};
use sereno_core::ports::plugins::Targets;
use sereno_core::ports::storage::{Storage, StorageError};
use sereno_core::ports::writer::{Writer, WriterError};
use sqlx::sqlite::SqliteConnectOptions;

use crate::backup::ConfiguredBackups;
use crate::database::look::{Looked, look};
use crate::secrets::{SecretError, Secrets};
use crate::{database, files, http, storage, writers};

/// The targets of one configuration.
pub struct ConfiguredTargets {
    secrets: Secrets,
    databases: BTreeMap<TargetName, DatabaseTarget>,
    directories: BTreeMap<TargetName, DirectoryTarget>,
    origins: BTreeMap<TargetName, OriginTarget>,
    storages: BTreeMap<TargetName, StorageTarget>,
    writers: BTreeMap<TargetName, WriterTarget>,
    backup: BackupSettings,
    /// Once opened, a database is the same for all runs of the process, with its connections and its pace.
    opened: Mutex<BTreeMap<TargetName, Arc<dyn Database>>>,
}

impl ConfiguredTargets {
    /// The targets of `config`; `secrets` says where references are looked up and where relative paths start.
    pub fn new(config: &Config, secrets: Secrets) -> Self {
        Self {
            secrets,
            databases: config.databases.clone(),
            directories: config.directories.clone(),
            origins: config.origins.clone(),
            storages: config.storages.clone(),
            writers: config.writers.clone(),
            backup: config.backup.clone(),
            opened: Mutex::default(),
        }
    }

    /// The same targets, with nothing of them opened.
    fn anew(&self) -> Self {
        Self {
            secrets: self.secrets.clone(),
            databases: self.databases.clone(),
            directories: self.directories.clone(),
            origins: self.origins.clone(),
            storages: self.storages.clone(),
            writers: self.writers.clone(),
            backup: self.backup.clone(),
            opened: Mutex::default(),
        }
    }

    /// What the configuration says of a database.
    pub(crate) fn target(&self, name: &TargetName) -> Option<&DatabaseTarget> {
        self.databases.get(name)
    }

    /// A value of [database.NAME], references resolved, a relative path started from the configuration's folder.
    pub(crate) async fn resolve(&self, text: &SecretText) -> Result<String, SecretError> {
        let secret = self.secrets.resolve(text.reference()).await?;
        Ok(in_folder(secret.expose(), self.secrets.folder()))
    }

    /// A look at the database behind a URL of the configuration; none where that is left blank.
    ///
    /// # Errors
    /// It is out of reach, refuses us, or its URL cannot be resolved.
    pub async fn look(&self, url: &SecretText) -> Result<Option<Looked>, DatabaseError> {
        let url = self.resolve(url).await;
        let url = url.map_err(|error| DatabaseError::Invalid(format!("its URL: {error}")))?;
        if let Some(path) = missing_file(&url) {
            return Err(DatabaseError::NotFound {
                what: format!("the file {}", path.display()),
            });
        }
        if url.is_empty() {
            return Ok(None);
        }
        look(&url).await.map(Some)
    }

    async fn open(&self, target: &DatabaseTarget) -> Result<Arc<dyn Database>, DatabaseError> {
        let resolve = async |key: &str, text: &SecretText| {
            let url = self.resolve(text).await;
            url.map_err(|error| DatabaseError::Invalid(format!("its {key}: {error}")))
        };
        let upkeep_url = match &target.upkeep_url {
            Some(text) => Some(resolve("upkeep_url", text).await?),
            None => None,
        };
        let url = resolve("url", &target.url).await?;
        if let Some(path) = missing_file(&url) {
            return Err(DatabaseError::NotFound {
                what: format!("the file {}", path.display()),
            });
        }
        database::open(&database::Options {
            url,
            // `${env:UPKEEP_URL:-}` is how a configuration leaves it to the deployment.
            upkeep_url: upkeep_url.filter(|url| !url.is_empty()),
            timezone: target.timezone.clone(),
            time_format: target.time_format,
        })
    }
}

#[async_trait]
impl Targets for ConfiguredTargets {
    fn backups(&self) -> Option<Arc<dyn Backups>> {
        Some(Arc::new(ConfiguredBackups::new(self.anew(), &self.backup)))
    }

    async fn database(&self, name: &TargetName) -> Result<Arc<dyn Database>, DatabaseError> {
        let opened = || self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = opened().get(name) {
            return Ok(Arc::clone(database));
        }
        let target = self.databases.get(name).ok_or_else(|| DatabaseError::NotFound {
            what: format!("[database.{name}] in the configuration"),
        })?;
        let database = self.open(target).await?;
        // Of two that open it at once the first is everybody's.
        Ok(Arc::clone(opened().entry(name.clone()).or_insert(database)))
    }

    /// Opened anew each time, so that a directory that was replaced or mounted over is never swept by its old self.
    async fn directory(&self, name: &TargetName) -> Result<Arc<dyn Directory>, FilesError> {
        let target = self.directories.get(name).ok_or_else(|| FilesError::NotFound {
            path: format!("[directory.{name}] in the configuration"),
        })?;
        let path: PathBuf = self.secrets.folder().join(&target.path);
        // A network file system may let its caller wait.
        let opening = tokio::task::spawn_blocking(move || files::open(&path));
        opening.await.map_err(|error| FilesError::Io {
            operation: "open",
            path: target.path.display().to_string(),
            source: error.into(),
        })?
    }

    /// Opened anew each time, so that a rotated token is the new one.
    async fn origin(&self, name: &TargetName) -> Result<Arc<dyn HttpOrigin>, HttpError> {
        let target = self
            .origins
            .get(name)
            .ok_or_else(|| HttpError::Invalid(format!("there is no [origin.{name}] in the configuration")))?;
        let resolve = async |key: &str, text: &SecretText| {
            let secret = self.secrets.resolve(text.reference()).await;
            secret.map_err(|error| HttpError::Invalid(format!("its {key}: {error}")))
        };
        let mut headers = Vec::new();
        for (name, text) in &target.headers {
            headers.push((name.clone(), resolve(&format!("header {name}"), text).await?));
        }
        http::open(&http::Options {
            url: resolve("url", &target.url).await?,
            allow_private: target.allow_private,
            headers,
        })
    }

    /// Opened anew each time, as a directory is.
    async fn storage(&self, name: &TargetName) -> Result<Arc<dyn Storage>, StorageError> {
        let target = self.storages.get(name).ok_or_else(|| StorageError::NotFound {
            what: format!("[storage.{name}] in the configuration"),
        })?;
        match &target.place {
            StoragePlace::Folder(path) => storage::local::open(self.secrets.folder().join(path)).await,
            StoragePlace::S3(place) => {
                let resolve = async |text: &SecretText| {
                    let secret = self.secrets.resolve(text.reference()).await;
                    secret.map_err(|error| {
                        StorageError::Invalid(format!("a value of [storage.{name}]: {error}"))
                    })
                };
                let optional = async |text: &Option<SecretText>| match text {
                    Some(text) => resolve(text).await.map(Some),
                    None => Ok(None),
                };
                storage::open_s3(&storage::S3Options {
                    url: resolve(&place.url).await?,
                    region: optional(&place.region).await?,
                    endpoint: optional(&place.endpoint).await?,
                    access_key_id: optional(&place.access_key_id).await?,
                    secret_access_key: optional(&place.secret_access_key).await?,
                })
            }
        }
    }

    async fn writer(&self, name: &TargetName) -> Result<Arc<dyn Writer>, WriterError> {
        let target = self.writers.get(name).ok_or_else(|| {
            WriterError::Invalid(format!("there is no [writer.{name}] in the configuration"))
        })?;
        Ok(writers::open(target, self.secrets.folder()))
    }
}

/// The file of a SQLite database that is not there. Told here, where it can be told with its path: the path of a
/// configuration is no secret, a URL may hold one.
fn missing_file(url: &str) -> Option<PathBuf> {
    let is_file = url.starts_with("sqlite:") && !url.contains(":memory:") && !url.contains("mode=memory");
    let options = url.parse::<SqliteConnectOptions>().ok().filter(|_| is_file)?;
    let path = options.get_filename();
    let found = path.symlink_metadata();
    matches!(found, Err(error) if error.kind() == ErrorKind::NotFound).then(|| path.to_owned())
}

/// The URL, with the relative path of a SQLite file started from `folder`.
fn in_folder(url: &str, folder: &Path) -> String {
    let Some(path) = url.strip_prefix("sqlite:") else {
        return url.to_owned();
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.starts_with(['/', ':']) || path.is_empty() {
        return url.to_owned();
    }
    // What a URL would read as something else in a folder's name.
    let folder = folder
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    format!("sqlite://{folder}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_sqlite_path_starts_from_the_configurations_folder() {
        for (url, found) in [
            ("sqlite://app.db", "sqlite:///srv/50%25 off/app.db"),
            (
                "sqlite:state/app.db?mode=ro",
                "sqlite:///srv/50%25 off/state/app.db?mode=ro",
            ),
            ("sqlite:///var/app.db", "sqlite:///var/app.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("postgres://app@db/app", "postgres://app@db/app"),
        ] {
            assert_eq!(in_folder(url, Path::new("/srv/50% off")), found);
        }
    }
}
