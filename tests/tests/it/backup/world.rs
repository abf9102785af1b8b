//! A database, a scratch database and a folder for backups, and the port that works on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use sereno_adapters::secrets::Secrets;
use sereno_adapters::targets::ConfiguredTargets;
use sereno_core::backup::{Kind, Level, Manifest, Stored};
use sereno_core::ports::backup::{BackupError, Backups, Pace, Place, Verification, Wish};
use sereno_core::ports::plugins::Targets as _;
use sereno_tests::house::House;
use sereno_tests::postgres::{self, Cluster};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::LIMIT;

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up, from constants")]
fn sql(text: impl Into<String>) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text.into())
}

/// What holds the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Sqlite,
    Postgres,
    Postgres18,
}

pub(super) struct World {
    home: TempDir,
    server: Server,
    /// Of the databases `app` and `scratch`, as the superuser.
    urls: [String; 2],
    pub(super) backups: Arc<dyn Backups>,
    pub(super) place: Place,
    marker: String,
    configuration: String,
    environment: BTreeMap<String, String>,
    _cluster: Option<Cluster>,
}

/// A process of somebody's.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) arguments: String,
}

/// The processes of that name whose environment holds `marker`.
pub(super) fn processes(name: &str, marker: &str) -> Vec<Process> {
    let read = |path: &Path, file: &str| {
        let bytes = std::fs::read(path.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    all.map(|path| (read(&path, "cmdline"), read(&path, "environ")))
        .filter(|(arguments, environment)| {
            let program = arguments.split(' ').next().unwrap_or_default();
            program.ends_with(name) && environment.contains(marker)
        })
        .map(|(arguments, _)| Process { arguments })
        .collect()
}

impl World {
    pub(super) async fn new(server: Server) -> Self {
        Self::build(server, "").await
    }

    pub(super) async fn with_tools(server: Server, tools: &Path) -> Self {
        Self::build(
            server,
            &format!("[backup]\ntools = {:?}\n", tools.display().to_string()),
        )
        .await
    }

    async fn build(server: Server, more: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let urls = match server {
            Server::Sqlite => ["app", "scratch"].map(|name| {
                let file = home.path().join(format!("{name}.db"));
                std::fs::write(&file, "").unwrap();
                format!("sqlite://{}", file.display())
            }),
            Server::Postgres | Server::Postgres18 => {
                let cluster = match server {
                    Server::Postgres18 => postgres::shared_18().unwrap(),
                    _ => postgres::shared().unwrap(),
                };
                let app = cluster.database("backup").await.unwrap();
                [app.url, cluster.database("scratch").await.unwrap().url]
            }
        };
        let tools = if more.is_empty() {
            tools(server)
        } else {
            more.to_owned()
        };
        Self::of(home, server, urls.clone(), &urls[0], &tools, None).await
    }

    /// Of a server of its own, of which physical backups can be made.
    pub(super) async fn of_cluster(server: Server, cluster: Cluster) -> Self {
        let home = tempfile::tempdir().unwrap();
        let app = cluster.database("backup").await.unwrap();
        let scratch = cluster.database("scratch").await.unwrap();
        let url = app.url.clone();
        let tools = tools(server);
        Self::of(home, server, [app.url, scratch.url], &url, &tools, Some(cluster)).await
    }

    /// Of a server of its own that asks the role `keeper` for the password `right-hunter2`.
    pub(super) async fn with_password(password: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let cluster = Cluster::backed_up().unwrap();
        let hba = cluster.folder().join("data/pg_hba.conf");
        cluster
            .execute(&format!(
                "CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'right-hunter2';
                 COPY (VALUES ('local all keeper scram-sha-256'), ('local all all trust')) TO '{}';
                 SELECT pg_reload_conf();",
                hba.display()
            ))
            .await
            .unwrap();
        let app = cluster.database("backup").await.unwrap();
        let scratch = cluster.database("scratch").await.unwrap();
        let url = cluster.url_for(&app.name, &format!("keeper:{password}"));
        Self::of(
            home,
            Server::Postgres,
            [app.url, scratch.url],
            &url,
            "",
            Some(cluster),
        )
        .await
    }

    async fn of(
        home: TempDir,
        server: Server,
        urls: [String; 2],
        url: &str,
        more: &str,
        cluster: Option<Cluster>,
    ) -> Self {
        std::fs::create_dir(home.path().join("backups")).unwrap();
        let configuration = format!(
            "version = 1\n{more}\n[database.app]\nurl = \"${{env:APP}}\"\n[database.twin]\nurl = \"${{env:APP}}\"\nscratch = true\n\
             [database.scratch]\nurl = \"${{env:SCRATCH}}\"\nscratch = true\n[storage.backups]\nurl = \"file://backups\"\n"
        );
        let config = sereno_core::config::parse(&configuration, home.path()).unwrap();
        let environment = [("APP", url), ("SCRATCH", &urls[1]), ("BUCKET_SECRET", "test")];
        let environment: BTreeMap<String, String> = environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let secrets = Secrets::new(home.path()).with_environment(environment.clone());
        let marker = url.split_once("?host=").map_or("", |(_, host)| host).to_owned();
        let world = Self {
            backups: ConfiguredTargets::new(&config, secrets).backups().unwrap(),
            place: Place {
                database: "app".parse().unwrap(),
                storage: "backups".parse().unwrap(),
            },
            home,
            server,
            urls,
            marker,
            configuration,
            environment,
            _cluster: cluster,
        };
        world
            .execute(
                "app",
                "CREATE TABLE invoices (id integer PRIMARY KEY, total text NOT NULL)",
            )
            .await;
        world
            .execute(
                "app",
                "CREATE TABLE \"Odd \"\"Name\" (id integer PRIMARY KEY, note text)",
            )
            .await;
        world
            .execute(
                "app",
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                 INSERT INTO invoices SELECT i, 'total ' || i * 7919 % 10007 FROM n",
            )
            .await;
        world
            .execute(
                "app",
                "INSERT INTO \"Odd \"\"Name\" VALUES (1, NULL), (2, ''), (3, 'ñ')",
            )
            .await;
        world
    }

    /// The house with the world's databases and storage, and with `jobs`.
    pub(super) fn house(&self, jobs: &str) -> House {
        let configuration = format!("{}{jobs}", self.configuration);
        House::with_environment(&configuration, self.home.path(), self.environment.clone()).unwrap()
    }

    /// The folder that the configuration's paths start at.
    pub(super) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Writes down what [`Self::house`] reads, for the program.
    pub(super) fn write_configuration(&self, jobs: &str) {
        let configuration = format!("{}{jobs}", self.configuration);
        std::fs::write(self.home.path().join("sereno.toml"), configuration).unwrap();
    }

    /// What the configuration refers to.
    pub(super) fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    pub(super) fn url(&self, name: &str) -> &str {
        &self.urls[usize::from(name == "scratch")]
    }

    pub(super) async fn execute(&self, name: &str, text: &str) {
        let url = self.url(name);
        if self.server == Server::Sqlite {
            let mut session = SqliteConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql(text)).execute(&mut session).await.unwrap();
            session.close().await.unwrap();
        } else {
            let mut session = PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sql(text)).execute(&mut session).await.unwrap();
        }
    }

    /// Every table with its number of rows and, on PostgreSQL, the MD5 of its rows in order.
    pub(super) async fn fingerprint(&self, name: &str) -> Vec<String> {
        self.fingerprint_of(self.url(name)).await
    }

    /// The same of whichever database of this server is at `url`.
    pub(super) async fn fingerprint_of(&self, url: &str) -> Vec<String> {
        let mut prints = Vec::new();
        if self.server == Server::Sqlite {
            let mut session = SqliteConnection::connect(url).await.unwrap();
            let tables: Vec<String> = sqlx::query_scalar(
                "SELECT replace(name, '\"', '\"\"') FROM sqlite_master WHERE type = 'table' ORDER BY 1",
            )
            .fetch_all(&mut session)
            .await
            .unwrap();
            for table in tables {
                let second = if table == "invoices" { "total" } else { "note" };
                let rows: Vec<String> = sqlx::query_scalar(sql(format!(
                    "SELECT id || ' ' || quote({second}) FROM \"{table}\" ORDER BY id"
                )))
                .fetch_all(&mut session)
                .await
                .unwrap();
                let digest = sereno_core::run::digest(rows.join("\n").as_bytes());
                prints.push(format!("{table} {} {digest}", rows.len()));
            }
            session.close().await.unwrap();
            return prints;
        }
        let mut session = PgConnection::connect(url).await.unwrap();
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1",
        )
        .fetch_all(&mut session)
        .await
        .unwrap();
        for table in tables {
            let text = format!(
                "SELECT '{table} ' || count(*) || ' ' || md5(coalesce(string_agg(t::text, E'\\n' ORDER BY id), '')) FROM {table} t"
            );
            prints.push(
                sqlx::query_scalar(sql(text))
                    .fetch_one(&mut session)
                    .await
                    .unwrap(),
            );
        }
        prints
    }

    /// Another session that holds a table as altering it does.
    pub(super) async fn lock(&self, table: &str) -> PgConnection {
        let mut session = PgConnection::connect(self.url("app")).await.unwrap();
        let text = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
        sqlx::raw_sql(sql(text)).execute(&mut session).await.unwrap();
        session
    }

    /// What stands in the environment of the tools of this world alone.
    pub(super) fn marker(&self) -> &str {
        &self.marker
    }

    pub(super) async fn create(&self, id: &str) -> Result<Manifest, BackupError> {
        self.create_within(id, LIMIT).await
    }

    pub(super) async fn create_within(&self, id: &str, limit: Duration) -> Result<Manifest, BackupError> {
        self.create_of(id, Kind::Logical, limit).await
    }

    pub(super) async fn create_of(
        &self,
        id: &str,
        kind: Kind,
        limit: Duration,
    ) -> Result<Manifest, BackupError> {
        self.backups
            .create(&self.place, &wish(id, kind), pace(limit))
            .await
    }

    pub(super) async fn preview(&self, id: &str) -> Result<Manifest, BackupError> {
        self.backups
            .preview_create(&self.place, &wish(id, Kind::Logical), Utc::now())
            .await
    }

    pub(super) async fn verify(&self, id: &str, level: Level) -> Result<Verification, BackupError> {
        self.backups.verify(&self.place, id, level, pace(LIMIT)).await
    }

    pub(super) async fn restore(&self, id: &str, keep: bool) -> Result<Verification, BackupError> {
        let into = "scratch".parse().unwrap();
        self.backups
            .restore(&self.place, id, &into, keep, pace(LIMIT))
            .await
    }

    pub(super) async fn restore_into(&self, id: &str, into: &str) -> Result<Verification, BackupError> {
        let into = into.parse().unwrap();
        self.backups
            .restore(&self.place, id, &into, false, pace(LIMIT))
            .await
    }

    pub(super) async fn list(&self) -> Vec<Stored> {
        self.backups.list(&self.place).await.unwrap()
    }

    pub(super) async fn ids(&self) -> Vec<String> {
        self.list().await.into_iter().map(|stored| stored.id).collect()
    }

    pub(super) fn folder(&self, id: &str) -> PathBuf {
        self.home.path().join("backups/app").join(id)
    }

    pub(super) fn stored_file(&self, id: &str) -> PathBuf {
        let name = match self.server {
            Server::Sqlite => "database.sqlite.zst",
            Server::Postgres | Server::Postgres18 => "dump.pgc.zst",
        };
        self.folder(id).join(name)
    }
}

/// The machine's usual places may not have 18.
fn tools(server: Server) -> String {
    match server {
        Server::Postgres18 => {
            let programs = postgres::find_programs_18().unwrap();
            format!("[backup]\ntools = {:?}\n", programs.display().to_string())
        }
        Server::Sqlite | Server::Postgres => String::new(),
    }
}

fn wish(id: &str, kind: Kind) -> Wish {
    Wish {
        id: id.to_owned(),
        kind,
        run: "0123456789".to_owned(),
    }
}

fn pace(limit: Duration) -> Pace<'static> {
    Pace {
        at: Utc::now(),
        limit,
        told: &|_| {},
    }
}
