//! The demo's database in a throw-away PostgreSQL server: started, filled, read back, stopped and removed.
//!
//! The server has a folder and a unix socket of its own, and is gone with this process, however that ends. It is found,
//! never downloaded; one that is already there is never touched.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::sqlite::select_ids;
use super::world::{Table, Times, World};

/// Where `initdb` and its kin are looked for before anything else.
const PROGRAMS_VARIABLE: &str = "SERENO_PG_BIN";

/// Where Debian and Ubuntu keep them, off PATH, a folder for each version.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";

/// The role that owns the server.
const ROLE: &str = "postgres";

/// Quick, and not made to survive a power cut.
const SETTINGS: &str = "
listen_addresses = ''
port = 5432
unix_socket_permissions = 0700
timezone = 'UTC'
fsync = off
synchronous_commit = off
full_page_writes = off
";

/// Carries out orders until its input ends, then stops the server and removes the folder, unless it was told to keep
/// them. The kernel closes that pipe when this process dies, even by SIGKILL.
///
/// Arguments: the folder of PostgreSQL's programs, the server's folder, the settings.
const WATCHDOG: &str = r#"
trap '' PIPE
cd "$2" || exit
while read -r order; do
    # The server is the operator's from here on.
    [ "$order" != keep ] || { echo ok; exit; }
    case $order in
        start) "$1/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
                   --no-sync --no-instructions && printf '%s\n' "$3" >>data/postgresql.conf &&
               "$1/pg_ctl" start --pgdata=data --log=log --wait --timeout=60 --silent ;;
    esac </dev/null >>log 2>&1 && echo ok || echo failed
done
[ ! -e data/postmaster.pid ] || "$1/pg_ctl" stop --pgdata=data --mode=immediate --silent >>log 2>&1
cd / && rm -rf "$2"
"#;

/// The plan's schema.
const SCHEMA: &str = "
CREATE TABLE tenants (id bigint PRIMARY KEY, name text NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE user_sessions (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL, chat text NOT NULL, state text NOT NULL,
    updated_at timestamptz NOT NULL);
CREATE TABLE notifications (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL, status text NOT NULL, message text NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE audit_logs (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL, action text NOT NULL, detail text NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE tenant_invoices (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL, folio text NOT NULL, cents bigint NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE tenant_payments (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL, invoice_id bigint NOT NULL, cents bigint NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE tenant_subscriptions (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL, plan text NOT NULL, created_at timestamptz NOT NULL);
";

/// After the rows, because an index is made quicker than it is kept.
const INDEXES: &str = "
CREATE INDEX user_sessions_updated_at ON user_sessions (updated_at);
CREATE INDEX audit_logs_created_at ON audit_logs (created_at);
ANALYZE;
";

fn insert(table: Table) -> &'static str {
    match table {
        Table::Tenants => {
            "INSERT INTO tenants SELECT (r ->> 0)::bigint, r ->> 1, (r ->> 2)::timestamptz
             FROM jsonb_array_elements($1::jsonb) AS r"
        }
        Table::UserSessions => {
            "INSERT INTO user_sessions
             SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, r ->> 2, r ->> 3, (r ->> 4)::timestamptz
             FROM jsonb_array_elements($1::jsonb) AS r"
        }
        Table::Notifications => {
            "INSERT INTO notifications
             SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, r ->> 2, r ->> 3, (r ->> 4)::timestamptz
             FROM jsonb_array_elements($1::jsonb) AS r"
        }
        Table::AuditLogs => {
            "INSERT INTO audit_logs
             SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, r ->> 2, r ->> 3, (r ->> 4)::timestamptz
             FROM jsonb_array_elements($1::jsonb) AS r"
        }
        Table::TenantInvoices => {
            "INSERT INTO tenant_invoices
             SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, r ->> 2, (r ->> 3)::bigint, (r ->> 4)::timestamptz
             FROM jsonb_array_elements($1::jsonb) AS r"
        }
        Table::TenantPayments => {
            "INSERT INTO tenant_payments
             SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, (r ->> 2)::bigint, (r ->> 3)::bigint, (r ->> 4)::timestamptz
             FROM jsonb_array_elements($1::jsonb) AS r"
        }
        Table::TenantSubscriptions => {
            "INSERT INTO tenant_subscriptions
             SELECT (r ->> 0)::bigint, (r ->> 1)::bigint, r ->> 2, (r ->> 3)::timestamptz
             FROM jsonb_array_elements($1::jsonb) AS r"
        }
    }
}

/// A server of our own. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub(super) struct Server {
    programs: PathBuf,
    folder: PathBuf,
    watchdog: Child,
    orders: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Server {
    /// Starts one. `nonce` makes its folder's name.
    pub(super) fn start(nonce: u64) -> Result<Self> {
        let programs = find_programs()?;
        // Not TMPDIR: the path of a unix socket has at most 107 bytes.
        let folder = PathBuf::from(format!("/tmp/sereno-demo-pg-{nonce:016x}"));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
        let socket = format!("unix_socket_directories = '{}'", folder.display());
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG, "sh"])
            .args([&programs, &folder])
            .arg([SETTINGS, &socket].concat())
            // PG* variables of the caller would change the server.
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            // Ctrl-C is for the demo; the watchdog still has to clean up after it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // PostgreSQL refuses to run as root.
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = unprivileged_account()?;
            chown(&folder, Some(uid), Some(gid))
                .with_context(|| format!("could not give {} away", folder.display()))?;
            command.uid(uid).gid(gid);
        }
        let mut watchdog = command
            .spawn()
            .context("could not start a shell for PostgreSQL")?;
        let to = watchdog.stdin.take().context("the shell has no input")?;
        let from = BufReader::new(watchdog.stdout.take().context("the shell has no output")?);
        let mut server = Self {
            programs,
            folder,
            watchdog,
            orders: Some((to, from)),
        };
        server.order("start")?;
        Ok(server)
    }

    /// Where the demo's database is reached: any role gets in, without a password.
    pub(super) fn url(&self) -> String {
        format!(
            "postgres://{ROLE}@localhost:5432/{ROLE}?host={}",
            self.folder.display()
        )
    }

    /// Lets the server live on, and answers the commands that end it.
    pub(super) fn keep(mut self) -> Result<Vec<String>> {
        self.order("keep")?;
        let (programs, folder) = (self.programs.display(), self.folder.display());
        let as_owner = if rustix::process::geteuid().is_root() {
            format!("setpriv --reuid $(stat -c %u {folder}) --clear-groups ")
        } else {
            String::new()
        };
        Ok(vec![
            format!("{as_owner}{programs}/pg_ctl stop --pgdata={folder}/data"),
            format!("rm -r {folder}"),
        ])
    }

    fn order(&mut self, order: &str) -> Result<()> {
        let Some((to, from)) = &mut self.orders else {
            bail!("the server has been stopped")
        };
        let mut answer = String::new();
        writeln!(to, "{order}")
            .and_then(|()| from.read_line(&mut answer))
            .with_context(|| format!("the shell that watches over PostgreSQL ended before `{order}`"))?;
        if answer != "ok\n" {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            bail!("PostgreSQL failed to {order}; its log says:\n{log}");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its orders is the watchdog's sign to clean up.
        self.orders = None;
        let _ = self.watchdog.wait();
    }
}

/// Where [`build`] makes an empty database beside that of `url`.
pub(super) fn scratch(url: &str) -> String {
    url.replace(&format!("/{ROLE}?"), "/scratch?")
}

/// Fills the database, all in one transaction, and makes the empty one beside it.
pub(super) async fn build(url: &str, world: &World) -> Result<()> {
    let mut connection = PgConnection::connect(url)
        .await
        .context("could not reach the throw-away server")?;
    fill(&mut connection, world)
        .await
        .context("could not fill the demo's database")?;
    sqlx::query("CREATE DATABASE scratch")
        .execute(&mut connection)
        .await
        .context("could not make the database `scratch`")?;
    connection
        .close()
        .await
        .context("could not close the demo's database")
}

async fn fill(connection: &mut PgConnection, world: &World) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(SCHEMA).execute(&mut *transaction).await?;
    for table in Table::ALL {
        for rows in world.chunks(table, Times::Rfc3339) {
            sqlx::query(insert(table))
                .bind(rows)
                .execute(&mut *transaction)
                .await?;
        }
    }
    sqlx::raw_sql(INDEXES).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// The ids that a table holds now.
pub(super) async fn ids(url: &str, table: Table) -> Result<BTreeSet<i64>> {
    let mut connection = PgConnection::connect(url)
        .await
        .context("could not reach the throw-away server")?;
    let ids: Vec<i64> = sqlx::query_scalar(select_ids(table))
        .fetch_all(&mut connection)
        .await
        .with_context(|| format!("could not read {}", table.name()))?;
    connection
        .close()
        .await
        .context("could not close the demo's database")?;
    Ok(ids.into_iter().collect())
}

/// The folder of `initdb`, `pg_ctl` and `postgres`.
fn find_programs() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(PROGRAMS_VARIABLE) {
        return programs_in(Path::new(&folder)).with_context(|| {
            format!(
                "{PROGRAMS_VARIABLE} is {}, which has no PostgreSQL server",
                Path::new(&folder).display()
            )
        });
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(debian_folders()).find_map(|folder| programs_in(&folder)).with_context(|| {
        format!(
            "found no PostgreSQL server (initdb, pg_ctl, postgres); install one with \
             `sudo apt-get install --no-install-recommends postgresql`, or set {PROGRAMS_VARIABLE} to the folder that \
             has them; `sereno demo` without --postgres needs no server"
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
