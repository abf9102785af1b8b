//! `sereno roles` on real servers: the SQL that it prints is run, the jobs of the configuration work with those roles and
//! no others, and what was not granted is refused by the server itself.
//!
//! On PostgreSQL 15, where upkeep belongs to owners, and on 18, where it is a right of its own.

use std::fs;
use std::process::Command;

use sereno_core::run::{Mode, Outcome};
use sereno_tests::house::{House, plugins_folder, program};
use sereno_tests::postgres::{self, Cluster};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

/// The application's own, made by its own role, with a trigger that would take what the runner has.
const SCHEMA: &str = "
CREATE TABLE user_sessions (id bigint PRIMARY KEY, updated_at timestamptz NOT NULL);
CREATE INDEX ON user_sessions (updated_at);
CREATE TABLE audit_logs (id bigint NOT NULL, created_at timestamptz NOT NULL, PRIMARY KEY (id, created_at))
    PARTITION BY RANGE (created_at);
CREATE TABLE audit_logs_old PARTITION OF audit_logs FOR VALUES FROM (MINVALUE) TO (now() - interval '100 days');
CREATE TABLE audit_logs_new PARTITION OF audit_logs FOR VALUES FROM (now() - interval '100 days') TO (MAXVALUE);
CREATE TABLE tenant_invoices (id bigint PRIMARY KEY, total bigint NOT NULL);
CREATE TABLE tenants (id bigint PRIMARY KEY, name text NOT NULL);
INSERT INTO user_sessions SELECT n, now() - n * interval '1 hour' + interval '30 minutes' FROM generate_series(1, 200) AS n;
INSERT INTO audit_logs SELECT n, now() - n * interval '1 day' + interval '12 hours' FROM generate_series(1, 120) AS n;
INSERT INTO tenant_invoices SELECT n, n FROM generate_series(1, 5) AS n;
INSERT INTO tenants SELECT n, 'tenant' FROM generate_series(1, 5) AS n;
";

const CONFIGURATION: &str = r#"
version = 1
[ledger]
url = "sqlite://ledger.db"
[database.app]
url = "{url}"
upkeep_url = "{upkeep_url}"
protected = ["tenant_invoices"]
[job.sessions]
plugin = "row-retention"
params = { database = "app", table = "user_sessions", column = "updated_at", keep = "7 days" }
grant = { database.app.tables.user_sessions = ["read", "delete"] }
guard = { max_rows_percent = 50 }
[job.audit]
plugin = "row-retention"
params = { database = "app", table = "audit_logs", column = "created_at", keep = "90 days" }
grant = { database.app.tables.audit_logs = ["read", "delete"] }
guard = { max_rows_percent = 50 }
[job.upkeep]
plugin = "table-upkeep"
params = { database = "app", do = ["vacuum", "analyze"] }
[job.upkeep.grant.database.app]
whole = ["read"]
tables.user_sessions = ["read", "vacuum", "analyze"]
tables.audit_logs = ["read", "vacuum", "analyze"]
tables.tenant_invoices = ["vacuum", "analyze"]
[job.idle]
plugin = "idle-connections"
params = { database = "app" }
grant = { database.app.whole = ["read", "terminate"] }
guard = { max_connections = 5 }
"#;

#[expect(clippy::disallowed_methods, reason = "the tests' own set-up")]
async fn run(url: &str, sql: &str) -> Result<(), String> {
    let mut connection = PgConnection::connect(url)
        .await
        .map_err(|error| error.to_string())?;
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await;
    let said = match done {
        Ok(_) => Ok(()),
        // The code alone: words differ by version.
        Err(sqlx::Error::Database(error)) => Err(error.code().unwrap_or_default().into_owned()),
        Err(error) => Err(error.to_string()),
    };
    connection.close().await.unwrap();
    said
}

async fn number(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let found: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    found
}

/// A database of the application's own role, with the roles that the program prints.
struct Stage {
    folder: TempDir,
    configuration: String,
    admin: String,
    rows: String,
    upkeep: String,
    names: [String; 2],
}

async fn stage(cluster: &Cluster, hint: &str) -> Stage {
    let made = cluster.database(hint).await.unwrap();
    let owner = format!("{}_owner", made.name);
    cluster
        .execute(&format!("CREATE ROLE {owner} LOGIN"))
        .await
        .unwrap();
    run(
        &made.url,
        &format!(
            "ALTER DATABASE {} OWNER TO {owner}; ALTER SCHEMA public OWNER TO pg_database_owner",
            made.name
        ),
    )
    .await
    .unwrap();
    run(&cluster.url_for(&made.name, &owner), SCHEMA).await.unwrap();
    let names = [format!("{}_rows", made.name), format!("{}_upkeep", made.name)];
    let (rows, upkeep) = (
        cluster.url_for(&made.name, &names[0]),
        cluster.url_for(&made.name, &names[1]),
    );
    let configuration = CONFIGURATION
        .replace("{url}", &rows)
        .replace("{upkeep_url}", &upkeep);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sereno.toml"), &configuration).unwrap();
    std::os::unix::fs::symlink(plugins_folder().unwrap(), folder.path().join("plugins")).unwrap();
    let stage = Stage {
        folder,
        configuration,
        admin: made.url,
        rows,
        upkeep,
        names,
    };
    let sql = stage.statements();
    run(&stage.admin, &sql)
        .await
        .unwrap_or_else(|code| panic!("{code}: {sql}"));
    stage
}

impl Stage {
    fn statements(&self) -> String {
        let output = Command::new(program().unwrap())
            .args(["roles", "--role", &self.names[0], "--upkeep-role", &self.names[1]])
            .current_dir(self.folder.path())
            .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
            .env_remove("SERENO_CONFIG")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn house(&self) -> House {
        House::new(&self.configuration, self.folder.path()).unwrap()
    }
}

async fn jobs_work_and_nothing_else_does(cluster: &Cluster, hint: &str, has_maintain: bool) {
    let stage = stage(cluster, hint).await;
    let house = stage.house();
    for (job, verbs) in [("sessions", 1), ("audit", 1), ("upkeep", 0), ("idle", 0)] {
        for mode in [Mode::Plan, Mode::Apply] {
            let report = house.submit(House::request(job, mode)).await.unwrap();
            assert_eq!(
                report.outcome,
                Outcome::Succeeded,
                "{hint} {job} {mode:?}: {report:#?}"
            );
            assert!(report.effects().count() >= verbs, "{hint} {job}");
            let undone: Vec<_> = report
                .findings()
                .filter(|finding| finding.text.contains("right"))
                .collect();
            assert!(undone.is_empty(), "{hint} {job}: {undone:?}");
        }
    }
    // Seven days of hours were kept, and 90 days of days.
    let url = &stage.admin;
    assert_eq!(number(url, "SELECT count(*) FROM user_sessions").await, 168);
    assert_eq!(number(url, "SELECT count(*) FROM audit_logs").await, 90);
    assert!(
        number(url, "SELECT count(*) FROM sereno.effect").await > 0,
        "the fence recorded them"
    );
    // Which of the two a table needs is the plugin's to say; both take the same right.
    let vacuumed = "SELECT count(*) FROM pg_stat_user_tables WHERE (last_vacuum IS NOT NULL OR last_analyze IS NOT NULL) \
         AND relname IN ('user_sessions', 'tenant_invoices', 'audit_logs_old', 'audit_logs_new')";
    assert_eq!(number(url, vacuumed).await, 4, "{hint}");

    // The second wall: each of these is beyond what was granted, and the server says so.
    let denied = Err("42501".to_owned());
    for sql in [
        "SELECT * FROM public.tenants",
        "SELECT * FROM public.tenant_invoices",
        "DELETE FROM public.tenant_invoices",
        "DELETE FROM public.tenants",
        "UPDATE public.user_sessions SET id = id",
        "INSERT INTO public.user_sessions VALUES (0, now())",
        "TRUNCATE public.user_sessions",
        "DROP TABLE public.user_sessions",
        "ALTER TABLE public.user_sessions ADD COLUMN x int",
        "CREATE TABLE public.mine (id int)",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "CREATE TABLE sereno.mine (id int)",
        "DROP TABLE sereno.effect",
        "UPDATE sereno.effect SET rows = 0",
        "CREATE ROLE another",
        "ALTER ROLE postgres NOLOGIN",
        "GRANT SELECT ON public.user_sessions TO PUBLIC",
        "COPY public.user_sessions TO PROGRAM 'true'",
        "SELECT pg_catalog.pg_read_file('postgresql.conf')",
    ] {
        let said = run(&stage.rows, sql).await;
        // A grant that it cannot give is a warning, and gives nothing.
        if sql.starts_with("GRANT") && said.is_ok() {
            let public = "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = 'PUBLIC' \
                 AND table_schema IN ('public', 'sereno')";
            assert_eq!(number(url, public).await, 0);
        } else {
            assert_eq!(said, denied, "{hint}: {sql}");
        }
    }
    // Upkeep sees no rows where it has a right of its own to what it does.
    if has_maintain {
        for sql in [
            "SELECT * FROM public.user_sessions",
            "DELETE FROM public.user_sessions",
            "VACUUM public.tenants",
            "CREATE TABLE public.mine (id int)",
            "DROP TABLE public.user_sessions",
        ] {
            let said = run(&stage.upkeep, sql).await;
            // VACUUM leaves out with a warning what it may not touch.
            if sql.starts_with("VACUUM") {
                let vacuumed = "SELECT count(*) FROM pg_stat_user_tables WHERE last_vacuum IS NOT NULL AND relname = 'tenants'";
                assert_eq!(number(url, vacuumed).await, 0, "{hint}");
            } else {
                assert_eq!(said, denied, "{hint}: {sql}");
            }
        }
    }
    // It may be run again, and gives the same.
    run(&stage.admin, &stage.statements()).await.unwrap();
}

/// A tenant who owns a table can have a trigger run as whoever deletes there. It must gain nothing from that.
async fn a_tenants_trigger_gains_nothing(cluster: &Cluster, hint: &str) {
    let stage = stage(cluster, hint).await;
    let name = stage.names[0].trim_end_matches("_rows").to_owned();
    let tenant = cluster.url_for(&name, &format!("{name}_owner"));
    let trojan = format!(
        "CREATE TABLE loot (at timestamptz DEFAULT now(), what text);
         GRANT INSERT ON loot TO PUBLIC;
         CREATE FUNCTION trojan() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             BEGIN EXECUTE 'ALTER ROLE {name}_owner SUPERUSER'; INSERT INTO public.loot (what) VALUES ('superuser');
             EXCEPTION WHEN insufficient_privilege THEN NULL; END;
             BEGIN EXECUTE 'GRANT {name}_rows TO {name}_owner'; INSERT INTO public.loot (what) VALUES ('member');
             EXCEPTION WHEN insufficient_privilege THEN NULL; END;
             BEGIN EXECUTE 'RESET ROLE; ALTER ROLE {name}_owner CREATEROLE'; INSERT INTO public.loot (what) VALUES ('createrole');
             EXCEPTION WHEN insufficient_privilege THEN NULL; END;
             RETURN OLD;
         END $$;
         CREATE TRIGGER trojan BEFORE DELETE ON user_sessions FOR EACH ROW EXECUTE FUNCTION trojan();"
    );
    run(&tenant, &trojan).await.unwrap();
    // sereno itself refuses a table with a trigger that nobody accepted.
    let refused = stage.house().run("sessions").await.unwrap();
    assert!(!matches!(refused.outcome, Outcome::Succeeded), "{refused:#?}");
    // And if it ever did not, the role has nothing that the trigger could take.
    run(&stage.rows, "DELETE FROM public.user_sessions WHERE id > 190")
        .await
        .unwrap();
    assert_eq!(
        number(&stage.admin, "SELECT count(*) FROM user_sessions").await,
        190
    );
    assert_eq!(
        number(&stage.admin, "SELECT count(*) FROM loot").await,
        0,
        "{hint}"
    );
}

/// What `doctor` says of a configuration: its exit code, and what is not well.
fn doctor(stage: &Stage, configuration: &str) -> (Option<i32>, Vec<(String, String, String)>) {
    fs::write(stage.folder.path().join("sereno.toml"), configuration).unwrap();
    let output = Command::new(program().unwrap())
        .args(["doctor", "--json"])
        .current_dir(stage.folder.path())
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .env_remove("SERENO_CONFIG")
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let found = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["state"] != "ok")
        .map(|finding| (text(finding, "state"), text(finding, "at"), text(finding, "next")))
        .collect();
    (output.status.code(), found)
}

#[tokio::test]
async fn doctor_sees_roles_that_can_too_much_or_too_little_and_servers_out_of_reach() {
    let stage = stage(postgres::shared().unwrap(), "doctor").await;
    let good = stage.configuration.clone();
    assert_eq!(doctor(&stage, &good), (Some(0), Vec::new()));
    let wrong = |at: &str, next: &str| ("wrong".to_owned(), at.to_owned(), next.to_owned());
    assert_eq!(
        doctor(
            &stage,
            &good.replace(
                &format!("url = \"{}\"\nupkeep", stage.rows),
                &format!("url = \"{}\"\nupkeep", stage.admin)
            )
        ),
        (
            Some(1),
            vec![wrong(
                "database.app.url",
                "make the roles that `sereno roles --database app` prints"
            )]
        )
    );
    run(
        &stage.admin,
        &format!("REVOKE DELETE ON user_sessions FROM {}", stage.names[0]),
    )
    .await
    .unwrap();
    let (code, found) = doctor(&stage, &good);
    assert_eq!(code, Some(1));
    let nexts: Vec<&str> = found.iter().map(|(_, _, next)| next.as_str()).collect();
    assert_eq!(
        nexts,
        [format!(
            "run: GRANT DELETE ON \"public\".\"user_sessions\" TO {};",
            stage.names[0]
        )]
    );
    let (code, found) = doctor(
        &stage,
        &good
            .replace(&stage.rows, "postgres://nobody@127.0.0.1:1/app")
            .replace(&stage.upkeep, ""),
    );
    assert_eq!(code, Some(7), "{found:?}");
    assert_eq!(found[0].0, "unreachable");
}

#[tokio::test]
async fn jobs_work_with_the_roles_and_the_roles_can_do_no_more_on_this_machines_postgresql() {
    jobs_work_and_nothing_else_does(postgres::shared().unwrap(), "roles", false).await;
}

#[tokio::test]
async fn jobs_work_with_the_roles_and_the_roles_can_do_no_more_on_postgresql_18() {
    jobs_work_and_nothing_else_does(postgres::shared_18().unwrap(), "roles", true).await;
}

#[tokio::test]
async fn a_tenant_gains_nothing_from_the_role_that_deletes_its_rows() {
    a_tenants_trigger_gains_nothing(postgres::shared().unwrap(), "trojan").await;
    a_tenants_trigger_gains_nothing(postgres::shared_18().unwrap(), "trojan").await;
}
