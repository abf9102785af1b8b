//! The world of a scenario: files in a folder of its own, rows in a database of its own, and how both look.
//!
//! It changes only what a scenario's data say, and judges nothing.

use std::collections::BTreeMap;
use std::fs::{self, FileTimes};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::Utc;
use sereno_core::backup::{Manifest, Verified};
use sereno_core::run::digest;
use sereno_core::units::parse_duration;
use sereno_tests::postgres;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::read::{Adapter, Change, Client, Damage, File, Files, Scenario};

/// Where a scenario plays.
pub(super) struct World {
    folder: TempDir,
    /// What the configuration's paths start at.
    pub(super) home: PathBuf,
    database: Option<(Adapter, String)>,
    /// An empty one of the same kind, where the configuration speaks of it.
    scratch: Option<String>,
    identity: BTreeMap<String, String>,
    clients: Vec<Connected>,
}

/// Everything that can be seen of a world.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Look {
    /// By path: inode, size, mode, time of the last write, and what is in it.
    pub(super) files: BTreeMap<String, String>,
    /// Every row of the operator's tables, by table, in order.
    pub(super) tables: BTreeMap<String, Vec<String>>,
    /// What else the database keeps: the host's own records, the catalogue, the file itself.
    pub(super) rest: BTreeMap<String, Vec<String>>,
    /// The operator's rows by their identity.
    pub(super) rows: BTreeMap<String, Vec<String>>,
    /// The published backups in `../backups`, in the order of their ids.
    pub(super) backups: Vec<String>,
    /// The scenario's clients that are still connected.
    pub(super) sessions: Vec<String>,
}

/// Another session with something open; dropping it takes it back.
pub(super) enum Held {
    Sqlite(#[expect(dead_code, reason = "held until it is dropped")] SqliteConnection),
    Postgres(#[expect(dead_code, reason = "held until it is dropped")] PgConnection),
}

/// A client of the scenario; dropping it disconnects it.
struct Connected {
    name: String,
    /// Its number and when it began, which together no other has.
    process: String,
    life: JoinHandle<()>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.life.abort();
    }
}

/// Beside the folder that the configuration's paths start at.
const BACKUPS: &str = "backups";

/// What the configuration calls the address of an empty database.
const SCRATCH: &str = "SCRATCH_URL";

/// How long the clients may take until they are as the scenario has them.
const WAIT_LIMIT: Duration = Duration::from_secs(10);

impl World {
    pub(super) async fn new(scenario: &Scenario, adapter: Option<Adapter>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let home = folder.path().canonicalize()?.join("home");
        fs::create_dir(&home)?;
        fs::create_dir(folder.path().join(BACKUPS))?;
        let database = match adapter {
            None => None,
            Some(Adapter::Sqlite) => {
                let file = folder.path().join("app.db");
                fs::write(&file, "")?;
                Some((Adapter::Sqlite, format!("sqlite://{}", file.display())))
            }
            Some(Adapter::Postgres) => {
                let database = postgres::shared()?.database("scenario").await?;
                Some((Adapter::Postgres, database.url))
            }
        };
        let wanted = adapter.filter(|_| scenario.configuration.contains(SCRATCH));
        let scratch = match wanted {
            None => None,
            Some(Adapter::Sqlite) => {
                let file = folder.path().join("scratch.db");
                fs::write(&file, "")?;
                Some(format!("sqlite://{}", file.display()))
            }
            Some(Adapter::Postgres) => Some(postgres::shared()?.database("scratch").await?.url),
        };
        let mut world = Self {
            scratch,
            folder,
            home,
            database,
            identity: scenario.script.identity.clone(),
            clients: Vec::new(),
        };
        if let Some(sql) = adapter.and_then(|adapter| scenario.sql.get(&adapter)) {
            world.execute(sql).await.context("the database before")?;
        }
        write(&world.home, &scenario.files).context("the files before")?;
        for client in &scenario.script.sessions {
            let connected = world.connect(client).await;
            world
                .clients
                .push(connected.with_context(|| format!("the session {}", client.name))?);
        }
        if !world.clients.is_empty() {
            // So that all of them have been as they are for longer than the millisecond that a job can ask for.
            world.becomes_true("SELECT bool_and(state_change < clock_timestamp() - interval '5 ms') FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()").await?;
        }
        Ok(world)
    }

    /// What the configuration may refer to.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let url = self.database.as_ref().map(|(_, url)| url.clone());
        let url = url.map(|url| ("DATABASE_URL".to_owned(), url));
        let scratch = self.scratch.clone().map(|url| (SCRATCH.to_owned(), url));
        url.into_iter().chain(scratch).collect()
    }

    pub(super) async fn change(&self, change: &Change) -> Result<()> {
        write(&self.home, &change.files)?;
        if let Some(damage) = change.damage {
            for path in list(&self.backups())?
                .into_keys()
                .filter(|path| Path::new(path).extension().is_some_and(|end| end == "zst"))
            {
                break_file(&self.backups().join(path), damage)?;
            }
        }
        match &change.sql {
            Some(sql) => self.execute(sql).await,
            None => Ok(()),
        }
    }

    /// Opens a transaction in another session, with `statement` in it.
    pub(super) async fn hold(&self, statement: &str) -> Result<Held> {
        let text = format!("BEGIN; {}", with_times(statement)?);
        Ok(match self.database()? {
            (Adapter::Sqlite, url) => {
                let mut session = SqliteConnection::connect(url).await?;
                sqlx::raw_sql(sql(text)).execute(&mut session).await?;
                Held::Sqlite(session)
            }
            (Adapter::Postgres, url) => {
                let mut session = PgConnection::connect(url).await?;
                sqlx::raw_sql(sql(text)).execute(&mut session).await?;
                Held::Postgres(session)
            }
        })
    }

    /// Connects a client, which says what it has to say.
    async fn connect(&self, client: &Client) -> Result<Connected> {
        let (Adapter::Postgres, url) = self.database()? else {
            bail!("only PostgreSQL has sessions");
        };
        let mut options: PgConnectOptions = url.parse()?;
        options = options.application_name(client.application.as_ref().unwrap_or(&client.name));
        if let Some(role) = &client.user {
            self.execute(&format!(
                "DO $$ BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; \
                 GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
            ))
            .await?;
            options = options.username(role);
        }
        let mut session = PgConnection::connect_with(&options).await?;
        let process = "SELECT pid || ' ' || backend_start FROM pg_stat_get_activity(pg_backend_pid())";
        let process: String = sqlx::query_scalar(process).fetch_one(&mut session).await?;
        if let Some(text) = &client.said {
            sqlx::raw_sql(sql(with_times(text)?))
                .execute(&mut session)
                .await?;
        }
        let text = client.waits.as_deref().map(with_times).transpose()?;
        let waits = text.is_some();
        let life = tokio::spawn(async move {
            if let Some(text) = text {
                // Whoever ends it is what the scenario is about.
                let _ = sqlx::raw_sql(sql(text)).execute(&mut session).await;
            }
            std::future::pending::<()>().await;
            drop(session);
        });
        let connected = Connected {
            name: client.name.clone(),
            process,
            life,
        };
        if waits {
            let pid = connected.process.split(' ').next().unwrap_or_default();
            let waiting = format!("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {pid}");
            self.becomes_true(&waiting).await.context("it waits for nobody")?;
        }
        Ok(connected)
    }

    /// Asks PostgreSQL until the answer is yes.
    async fn becomes_true(&self, question: &str) -> Result<()> {
        let mut session = PgConnection::connect(self.database()?.1).await?;
        let until = Instant::now() + WAIT_LIMIT;
        loop {
            let answer: Option<bool> = sqlx::query_scalar(sql(question.to_owned()))
                .fetch_one(&mut session)
                .await?;
            if answer == Some(true) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "it never becomes true: {question}");
            tokio::task::yield_now().await;
        }
    }

    async fn execute(&self, statements: &str) -> Result<()> {
        let text = with_times(statements)?;
        match self.database()? {
            (Adapter::Sqlite, url) => {
                let mut session = SqliteConnection::connect(url).await?;
                sqlx::raw_sql(sql(text)).execute(&mut session).await?;
            }
            (Adapter::Postgres, url) => {
                let mut session = PgConnection::connect(url).await?;
                sqlx::raw_sql(sql(text)).execute(&mut session).await?;
            }
        }
        Ok(())
    }

    fn backups(&self) -> PathBuf {
        self.folder.path().join(BACKUPS)
    }

    fn database(&self) -> Result<(Adapter, &str)> {
        let (adapter, url) = self.database.as_ref().context("there is no database here")?;
        Ok((*adapter, url))
    }

    pub(super) async fn look(&self) -> Result<Look> {
        let mut look = Look {
            files: list(&self.home)?,
            backups: published(&self.backups())?,
            ..Look::default()
        };
        let stored = list(&self.backups())?.into_iter();
        let stored = stored.map(|(path, looks)| format!("{path} {looks}"));
        look.rest.insert("the storage".into(), stored.collect());
        match &self.database {
            None => {}
            Some((Adapter::Sqlite, url)) => self.look_at_sqlite(url, &mut look).await?,
            Some((Adapter::Postgres, url)) => self.look_at_postgres(url, &mut look).await?,
        }
        Ok(look)
    }

    async fn look_at_sqlite(&self, url: &str, look: &mut Look) -> Result<()> {
        let mut session = SqliteConnection::connect(url).await?;
        let mut texts = async |text: String| -> Result<Vec<String>> {
            Ok(sqlx::query_scalar(sql(text)).fetch_all(&mut session).await?)
        };
        for table in texts("SELECT name FROM sqlite_master WHERE type = 'table'".into()).await? {
            let columns = format!(
                "SELECT group_concat('quote(\"' || name || '\")', ' || '','' || ') FROM pragma_table_info('{table}')"
            );
            let columns = texts(columns).await?.concat();
            let rows = texts(format!("SELECT {columns} FROM \"{table}\" ORDER BY 1")).await?;
            let own = table.starts_with("sqlite_") || table.starts_with("sereno_");
            let place = if own { &mut look.rest } else { &mut look.tables };
            place.insert(table, rows);
        }
        for (table, expression) in &self.identity {
            let rows = texts(format!("SELECT CAST({expression} AS text) FROM {table}")).await?;
            look.rows.insert(table.clone(), rows);
        }
        let file = fs::read(url.trim_start_matches("sqlite://"))?;
        look.rest.insert("the file".into(), vec![digest(&file)]);
        Ok(())
    }

    async fn look_at_postgres(&self, url: &str, look: &mut Look) -> Result<()> {
        let mut session = PgConnection::connect(url).await?;
        let mut texts = async |text: String| -> Result<Vec<String>> {
            Ok(sqlx::query_scalar(sql(text)).fetch_all(&mut session).await?)
        };
        let classes = "FROM pg_class c WHERE relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', \
                       'pg_toast')";
        for table in texts(format!(
            "SELECT relnamespace::regnamespace || '.' || quote_ident(relname) {classes} AND relkind = 'r'"
        ))
        .await?
        {
            // Where a row lies and who wrote it: a row that was written anew is not the row that was there.
            let rows = texts(format!(
                "SELECT ctid || ' ' || xmin || ' ' || t::text FROM {table} t ORDER BY 1"
            ))
            .await?;
            let place = if table.starts_with("sereno.") {
                &mut look.rest
            } else {
                &mut look.tables
            };
            place.insert(table, rows);
        }
        let there = texts("SELECT pid || ' ' || backend_start FROM pg_stat_activity".into()).await?;
        look.sessions = self
            .clients
            .iter()
            .filter(|client| there.contains(&client.process))
            .map(|client| client.name.clone())
            .collect();
        let catalogue = format!(
            "SELECT concat_ws(' ', oid::regclass, relfilenode, relpages, reltuples) {classes} ORDER BY 1"
        );
        look.rest.insert("the catalogue".into(), texts(catalogue).await?);
        for (table, expression) in &self.identity {
            let rows = texts(format!("SELECT CAST({expression} AS text) FROM {table}")).await?;
            look.rows.insert(table.clone(), rows);
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the SQL is the scenario's own")]
fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

/// Puts the time so long ago in the place of every `@{3 days}`, as a text that both databases read as UTC.
fn with_times(text: &str) -> Result<String> {
    let mut pieces = text.split("@{");
    let mut with = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (age, rest) = piece.split_once('}').context("`@{` without `}`")?;
        let then = Utc::now() - parse_duration(age)?;
        with.push_str(&then.format("'%Y-%m-%d %H:%M:%S'").to_string());
        with.push_str(rest);
    }
    Ok(with)
}

/// Writes files, then links to them, then the times of folders, which every file in them changes.
fn write(home: &Path, files: &Files) -> Result<()> {
    for (path, file) in files {
        let (path, folder) = (home.join(path), path.ends_with('/'));
        fs::create_dir_all(if folder { Some(&*path) } else { path.parent() }.context("a path")?)?;
        match file {
            _ if folder => {}
            File {
                link: None,
                same_as: None,
                ..
            } => {
                let content = match &file.content {
                    Some(content) => content.clone().into_bytes(),
                    None => vec![b'x'; usize::try_from(file.size()?)?],
                };
                fs::write(&path, content)?;
                set_age(&path, file)?;
            }
            _ => {}
        }
    }
    for (path, file) in files {
        match file {
            File {
                link: Some(to),
                same_as: None,
                ..
            } => std::os::unix::fs::symlink(to, home.join(path))?,
            File {
                link: None,
                same_as: Some(other),
                ..
            } => fs::hard_link(home.join(other), home.join(path))?,
            File { link: None, .. } => {}
            File { .. } => bail!("{path} is either a link or another name"),
        }
    }
    files
        .iter()
        .filter(|(path, _)| path.ends_with('/'))
        .try_for_each(|(path, folder)| set_age(&home.join(path), folder))
}

fn set_age(path: &Path, file: &File) -> Result<()> {
    let then = SystemTime::now() - file.age()?;
    let times = FileTimes::new().set_accessed(then).set_modified(then);
    fs::File::open(path)?.set_times(times)?;
    Ok(())
}

fn break_file(path: &Path, damage: Damage) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    match damage {
        Damage::Cut => bytes.truncate(middle),
        Damage::Flip => bytes[middle] ^= 1,
        Damage::Lose => return Ok(fs::remove_file(path)?),
    }
    Ok(fs::write(path, bytes)?)
}

/// The backups below a folder: how many rows they say that they hold, and how far they were verified.
fn published(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in list(folder)?
        .into_keys()
        .filter(|path| path.ends_with("/manifest.json"))
    {
        let path = folder.join(path);
        let manifest = Manifest::unseal(&fs::read(&path)?)?;
        let verified = fs::read(path.with_file_name("verified.json")).ok();
        let verified: Verified =
            verified.map_or(Ok(Verified::default()), |text| serde_json::from_slice(&text))?;
        let rows: u64 = manifest.rows.unwrap_or_default().values().sum();
        let level = match (&verified.failed, verified.level()) {
            (Some(_), _) => "bad",
            (None, Some(level)) => level.as_str(),
            (None, None) => "not looked at",
        };
        found.push(format!("{rows} rows, {level}"));
    }
    Ok(found)
}

/// Every file and folder below `home`; folders end in a slash.
fn list(home: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![home.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let known = fs::symlink_metadata(&path)?;
            let mut name = path.strip_prefix(home)?.display().to_string();
            let content = if known.is_dir() {
                name.push('/');
                open.push(path);
                String::new()
            } else if known.is_symlink() {
                fs::read_link(&path)?.display().to_string()
            } else {
                digest(&fs::read(&path)?)
            };
            let looks = format!(
                "inode {} size {} mode {:o} written {:?} {content}",
                known.ino(),
                known.len(),
                known.mode(),
                known.modified()?
            );
            found.insert(name, looks);
        }
    }
    Ok(found)
}
