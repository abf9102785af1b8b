//! A good configuration, a terrible one, and what is made from the tables of keys.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use super::*;
use crate::grant::{Path, Verb};
use crate::guard::Guards;
use crate::job::{DirectoryTarget, FenceKind, Limits, Scope, TimeFormat, UPKEEP_WALL_DEFAULT};
use crate::manifest::Manifest;
use crate::name::{JobName, TableName};

const FOLDER: &str = "/srv/facturapi/sereno";

fn good(text: &str) -> Config {
    parse(text, FilePath::new(FOLDER))
        .unwrap_or_else(|mistakes| panic!("{}", list(text, &mistakes).join("\n")))
}

/// `code: underlined text`, one line each.
fn list(text: &str, mistakes: &[Diagnostic]) -> Vec<String> {
    mistakes
        .iter()
        .map(|mistake| {
            let found = mistake.span.clone().map_or("(the whole)", |span| &text[span]);
            format!("{}: {found}", mistake.code)
        })
        .collect()
}

fn table(database: &str, name: &str) -> Path {
    Path::Table(database.parse().expect("a name"), name.parse().expect("a table"))
}

const GOOD: &str = r#"
version = 1
timezone = "America/Mexico_City"

[ledger]
url = "${env:SERENO_LEDGER:-sqlite://sereno.db}"

[database.app]
url = "${env:DATABASE_URL}"
upkeep_url = "${env:UPKEEP_URL:-}"
protected = ["tenant_invoices", "public.tenant_payments"]
queries.active = { sql = "SELECT count(*) FROM user_sessions WHERE last_used_at > $1", params = { since = "timestamp" } }

[database.local]
url = "sqlite://app.db"
time_format = "epoch-ms"
timezone = "Europe/Madrid"

[directory.temp]
path = "../temp"

[directory.files]
path = "/mnt/efs/files"
scope = "shared"

[plugin.special]
path = "plugins/special.wasm"

[job.expired-sessions]
plugin = "row-retention"
params = { database = "app", table = "user_sessions", column = "updated_at", keep = "7 days" }
grant = { database.app.tables.user_sessions = ["read", "delete"] }
guard = { max_rows_percent = 35.5, retention_floor = "2 days", accept = ["trigger:audit", "row-security"] }

[job.upkeep]
plugin = "table-upkeep"
schedule = "0 4 * * SUN#1"
params = { database = "app" }
fence = "ledger only"
retries = 0
wait = "90s"
[job.upkeep.grant.database.app.tables]
"*" = ["read"]
"public.audit_logs" = ["vacuum"]
"billing.rows" = ["vacuum", "analyze"]
[job.upkeep.grant.database.local]
whole = ["read"]
tables."main.notes" = ["read"]

[job.temp-files]
plugin = "temp-files"
schedule = "0 */6 * * *"
grant = { directory.temp = ["read", "remove"] }
limits = { memory = "128 MiB", cpu = "10s", host_calls = 5 }
"#;

#[test]
fn a_good_configuration_is_read_with_its_defaults() {
    let config = good(GOOD);
    assert_eq!(config.timezone.name(), "America/Mexico_City");
    assert_eq!(
        config.ledger_url.reference(),
        "${env:SERENO_LEDGER:-sqlite://sereno.db}"
    );
    let directory = |name: &str| config.directories.get(&name.parse().expect("a name")).cloned();
    let path = "/srv/facturapi/temp".into();
    assert_eq!(
        directory("temp"),
        Some(DirectoryTarget {
            path,
            scope: Scope::Host
        })
    );
    assert_eq!(
        directory("files").map(|directory| directory.scope),
        Some(Scope::Shared)
    );
    let database = |name: &str| {
        config
            .databases
            .get(&name.parse().expect("a name"))
            .expect("a database")
    };
    assert_eq!(
        database("app")
            .upkeep_url
            .as_ref()
            .map(crate::job::SecretText::reference),
        Some("${env:UPKEEP_URL:-}")
    );
    assert_eq!(database("app").dialect(), Dialect::Postgres);
    assert_eq!(database("local").dialect(), Dialect::Sqlite);
    assert_eq!(database("local").time_format, TimeFormat::EpochMs);
    assert_eq!(database("local").timezone.name(), "Europe/Madrid");
    let query = &database("app").queries[&"active".parse().expect("a name")];
    assert_eq!(query.params, [("since".to_owned(), "timestamp".to_owned())]);
    assert_eq!(query.max_rows, 1_000);
    let plugin = config.plugins.values().next().expect("a plugin");
    assert_eq!(
        plugin,
        FilePath::new("/srv/facturapi/sereno/plugins/special.wasm")
    );

    let job = |name: &str| {
        config
            .jobs
            .get(&name.parse::<JobName>().expect("a name"))
            .expect("a job")
    };
    let sessions = job("expired-sessions");
    assert!(sessions.schedule.is_none());
    assert_eq!(sessions.params["keep"], "7 days");
    assert_eq!(
        sessions.grants.0,
        BTreeMap::from([(table("app", "user_sessions"), [Verb::Read, Verb::Delete].into())])
    );
    assert_eq!(sessions.guards.max_rows_percent, Some(35.5));
    assert_eq!(sessions.guards.retention_floor.as_secs(), 2 * 86_400);
    assert_eq!(
        sessions.guards.accept,
        BTreeSet::from(["trigger:audit".to_owned(), "row-security".to_owned()])
    );
    assert_eq!(sessions.limits, Limits::default());
    assert_eq!(
        (sessions.retries, sessions.wait.as_secs(), sessions.fence),
        (2, 600, FenceKind::Database)
    );

    let upkeep = job("upkeep");
    assert_eq!(
        upkeep.schedule.as_ref().map(crate::schedule::Schedule::text),
        Some("0 4 * * SUN#1")
    );
    assert_eq!(upkeep.limits.wall, UPKEEP_WALL_DEFAULT);
    assert_eq!(
        (upkeep.retries, upkeep.wait.as_secs(), upkeep.fence),
        (0, 90, FenceKind::LedgerOnly)
    );

    let temp = job("temp-files");
    assert_eq!(
        temp.limits,
        Limits {
            memory_bytes: 128 << 20,
            cpu: std::time::Duration::from_secs(10),
            host_calls: 5,
            ..Limits::default()
        }
    );
    assert_eq!(temp.guards, Guards::default(), "no database, nothing protected");
}

#[test]
fn grants_name_tables_of_the_default_schema_without_it() {
    let config = good(GOOD);
    let grants = &config.jobs[&"upkeep".parse::<JobName>().expect("a name")].grants;
    let paths: Vec<String> = grants.0.keys().map(ToString::to_string).collect();
    assert_eq!(
        paths,
        [
            "database.app.tables.audit_logs",
            "database.app.tables.\"billing.rows\"",
            "database.local.tables.notes",
            "database.app.tables.\"*\"",
            "database.local.whole",
        ]
    );
}

#[test]
fn a_protected_table_is_protected_however_it_is_spelled() {
    let config = good(GOOD);
    let protected = &config.jobs[&"expired-sessions".parse::<JobName>().expect("a name")]
        .guards
        .protected;
    for name in [
        "tenant_invoices",
        "public.tenant_invoices",
        "tenant_payments",
        "public.tenant_payments",
    ] {
        assert!(
            protected.contains(&name.parse::<TableName>().expect("a table")),
            "{name}"
        );
    }
    // The URL is a reference: until it is resolved, the database may turn out to be SQLite.
    assert!(protected.contains(&"main.tenant_invoices".parse::<TableName>().expect("a table")));
    for name in ["user_sessions", "billing.tenant_invoices"] {
        assert!(
            !protected.contains(&name.parse::<TableName>().expect("a table")),
            "{name}"
        );
    }
}

const TERRIBLE: &str = r#"
version = 2
timezone = "America/Mexico-City"
colour = "blue"

[ledger]
url = "mysql://ledger"

[database.app]
url = "postgres://app:hunter2@db/app"
protected = ["tenant_invoices"]
time_fromat = "iso"
[database.App]
url = "${env:X"
[database.lite]
url = "sqlite://x.db"
protected = "tenants"
[database.empty]
[database.lite.queries]
recent = { sql = "SELECT $1", params = { a = "text", b = "txt" } }

[directory.root]
path = "/"
[directory.system]
path = "../../../etc/cron.d"
[directory.own]
path = ".."

[round.daily]
jobs = ["purge"]

[job.purge]
plugin = "row-retention"
schedule = "0 3 * * 1"
params = { database = "app", table = "tenant_invoices", column = "created_at", keep = "0 days", wher = [] }
grant = { database.app.tables = { "public.tenant_invoices" = ["read", "delete"], "*" = ["delete"], logs = ["remove"] } }
guard = { max_rows_percent = 120, max_bytes = 500, retention_floor = "0 days", max_files = 0, accept = ["everything"] }
limits = { wall = "30", memory = "1 GiB", cpu = "3 months" }

[job.clean]
plugin = "temp-files"
shedule = "@daily"
params = { directory = "tmep", when = 2026-01-01 }
grant = { directory.own = ["remove"], directory.tmp = ["read"], database.apps.whole = ["read"], storage.x = ["read"] }
retries = "two"
event_sources = ["arn:aws:x"]

[job.Bad]
plugin = "x"
[job.no-plugin]
schedule = "61 * * * *"
grant = { database.lite.tables.billing.rows = ["read"], database.lite.queries.recnt = ["query"] }
on = "lambda"
"#;

const TERRIBLE_LIST: &[&str] = &[
    "out-of-range: 2",
    "bad-zone: \"America/Mexico-City\"",
    "unknown-key: colour",
    "bad-url: \"mysql://ledger\"",
    "bad-url: \"postgres://app:hunter2@db/app\"",
    "unknown-key: time_fromat",
    "bad-name: App",
    "bad-url: \"${env:X\"",
    "wrong-type: \"tenants\"",
    "missing-key: [database.empty]",
    "unused-param: b",
    "bad-value: \"txt\"",
    "bad-root: \"/\"",
    "bad-root: \"../../../etc/cron.d\"",
    "bad-schedule: \"0 3 * * 1\"",
    "two-schedules: \"0 3 * * 1\"",
    "protected: \"delete\"",
    "wildcard-delete: \"delete\"",
    "bad-verb: \"remove\"",
    "out-of-range: 120",
    "bad-size: 500",
    "bad-duration: \"0 days\"",
    "out-of-range: 0",
    "bad-value: \"everything\"",
    "bad-duration: \"30\"",
    "out-of-range: \"1 GiB\"",
    "bad-duration: \"3 months\"",
    "unknown-key: shedule",
    "wrong-type: 2026-01-01",
    "bad-root: \"remove\"",
    "unknown-target: tmp",
    "unknown-target: apps",
    "unknown-target: x",
    "wrong-type: \"two\"",
    "bad-value: \"arn:aws:x\"",
    "bad-name: Bad",
    "missing-key: [job.no-plugin]",
    "bad-schedule: \"61 * * * *\"",
    "wrong-type: billing",
    "unknown-target: recnt",
    "not-yet: on",
];

#[test]
fn every_mistake_of_a_terrible_configuration_is_found_at_once_where_it_stands() {
    let mistakes = parse(TERRIBLE, FilePath::new(FOLDER)).expect_err("a terrible configuration");
    let found = list(TERRIBLE, &mistakes);
    assert_eq!(found, TERRIBLE_LIST, "\n{}", found.join("\n"));
    for mistake in &mistakes {
        assert!(
            !mistake.message.is_empty() && !mistake.message.ends_with('.'),
            "{mistake:?}"
        );
        assert!(!mistake.message.contains("hunter2"), "{mistake:?}");
    }
    let hint_at = |found: &str| {
        let mistake = mistakes
            .iter()
            .find(|mistake| mistake.span.clone().is_some_and(|span| &TERRIBLE[span] == found));
        mistake
            .and_then(|mistake| mistake.hint.clone())
            .unwrap_or_default()
    };
    assert_eq!(hint_at("shedule"), "did you mean `schedule`?");
    assert_eq!(hint_at("time_fromat"), "did you mean `time_format`?");
    assert_eq!(
        hint_at("\"America/Mexico-City\""),
        "did you mean `America/Mexico_City`?"
    );
    assert_eq!(hint_at("500"), "write the unit, in quotes: `\"500 MiB\"`");
    assert_eq!(hint_at("apps"), "did you mean `app`?");
    assert_eq!(
        hint_at("billing"),
        "a name with a dot in it is quoted: `\"billing.rows\" = ...`"
    );
    assert!(!masked(TERRIBLE).contains("hunter2"));
}

const MANIFEST: &str = r#"
[plugin]
name = "row-retention"
version = "0.1.0"
contract = "0.1.0"
summary = "Purges."
[params]
database = { type = "database", required = true }
table = { type = "table", required = true }
column = { type = "column", required = true }
keep = { type = "duration", required = true }
where = { type = "list", items = { type = "record", fields = { column = { type = "column", required = true }, source = { type = "database" } } } }
"#;

#[test]
fn a_jobs_params_are_held_against_the_manifest_at_their_place_in_the_text() {
    let manifest = Manifest::parse(MANIFEST).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let check = |text: &str, job: &str| {
        let reading = read(text, FilePath::new(FOLDER));
        let config = reading.draft();
        list(
            text,
            &check_job(
                config,
                &config.jobs[&job.parse::<JobName>().expect("a name")],
                &manifest,
                &reading.spans,
            ),
        )
    };
    assert_eq!(check(GOOD, "expired-sessions"), [""; 0]);
    // The other mistakes of the same job do not hide these.
    assert_eq!(
        check(TERRIBLE, "purge"),
        ["unknown-param: wher", "bad-param: \"0 days\""]
    );
    let text = r#"
version = 1
[database.app]
url = "sqlite://x.db"
[job.x]
plugin = "row-retention"
event_params = ["kep"]
[job.x.params]
database = "ap"
table = "t"
column = "c"
keep = 90
where = [{ column = "a", source = "app" }, { column = 7 }, { source = "nowhere" }]
"#;
    assert_eq!(
        check(text, "x"),
        [
            "bad-param: 90",
            "bad-param: 7",
            "bad-param: { source = \"nowhere\" }",
            "unknown-target: \"ap\"",
            "unknown-target: \"nowhere\"",
            "unknown-param: \"kep\"",
        ]
    );
}

#[test]
fn needs_and_grants_meet_in_one_form() {
    let manifest = format!(
        "{MANIFEST}[[needs]]\ninterface = \"database-read\"\nverbs = [\"read\"]\non = \"database.{{database}}.tables.{{table}}\"\n"
    );
    let manifest = Manifest::parse(&manifest).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let config = good(GOOD);
    let on = |database: &str, name: &str| {
        let params = serde_json::json!({ "database": database, "table": name });
        config.needs(&manifest, &params).expect("needs")[0].on.clone()
    };
    assert_eq!(on("app", "public.audit_logs"), table("app", "audit_logs"));
    assert_eq!(on("app", "main.audit_logs"), table("app", "main.audit_logs"));
    assert_eq!(on("local", "main.notes"), table("local", "notes"));
    assert_eq!(on("local", "notes"), table("local", "notes"));
}

#[test]
fn a_step_that_deletes_comes_after_every_earlier_backup_unless_it_says_otherwise() {
    let config = good(
        r#"version = 1
[directory.temp]
path = "temp"
[database.app]
url = "sqlite://app.db"
[job.backup]
plugin = "backup"
grant = { database.app.whole = ["backup"] }
[job.second-backup]
plugin = "backup"
grant = { database.app.whole = ["backup"] }
[job.look]
plugin = "capacity-check"
grant = { directory.temp = ["read"] }
[job.sweep]
plugin = "temp-files"
grant = { directory.temp = ["read", "remove"] }
[round.all]
jobs = ["backup", "look", "sweep", "second-backup"]
[round.own]
jobs = ["backup", "look", { job = "sweep", after = ["look"] }]
[round.late]
jobs = ["sweep", "backup"]
"#,
    );
    let after = |round: &str| -> Vec<(String, Vec<String>)> {
        let round = &config.rounds[&round.parse().unwrap()];
        let names = |step: &crate::round::Step| step.after.iter().map(ToString::to_string).collect();
        round
            .steps
            .iter()
            .map(|step| (step.job.to_string(), names(step)))
            .collect()
    };
    let is = |steps: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        steps
            .iter()
            .map(|(job, after)| ((*job).to_owned(), texts(after)))
            .collect()
    };
    assert_eq!(
        after("all"),
        is(&[
            ("backup", &[]),
            ("look", &[]),
            ("sweep", &["backup"]),
            ("second-backup", &[])
        ])
    );
    assert_eq!(
        after("own"),
        is(&[("backup", &[]), ("look", &[]), ("sweep", &["look"])])
    );
    assert_eq!(after("late"), is(&[("sweep", &[]), ("backup", &[])]));
}

#[test]
fn the_defaults_in_the_tables_are_the_ones_that_are_used() {
    let config = good(
        "version = 1\n[directory.d]\npath = \"x\"\n[database.b]\nurl = \"sqlite://x\"\n[job.j]\nplugin = \"p\"\n",
    );
    // The same, with every default of the tables written out.
    let mut text = String::from(
        "version = 1\n[directory.d]\npath = \"x\"\n[database.b]\nurl = \"sqlite://x\"\n[job.j]\nplugin = \"p\"\n",
    );
    let written = |path: &str, shape: &Shape| {
        let defaults = shape.keys.iter().filter_map(|key| match key.presence {
            Presence::Default(value) => Some(format!("{path}{} = {value}\n", key.name)),
            _ => None,
        });
        defaults.collect::<String>()
    };
    text += &written("", &job::JOB);
    text += &written("guard.", &guard::GUARD);
    text += &written("limits.", &limit::LIMITS);
    let text = text.replace(
        "[directory.d]\n",
        &format!("[directory.d]\n{}", written("", &directory::DIRECTORY)),
    );
    let text = text.replace(
        "[database.b]\n",
        &format!("[database.b]\n{}", written("", &database::DATABASE)),
    );
    let text = text.replace(
        "version = 1\n",
        &format!(
            "version = 1\n{}{}{}",
            written("", &ROOT),
            written("ledger.", &ledger::LEDGER),
            written("policy.", &policy::POLICY)
        ),
    );
    let explicit = good(&text);
    assert_eq!(format!("{config:?}"), format!("{explicit:?}"));
    assert_eq!(config.ledger_url, explicit.ledger_url);
}

#[test]
fn every_value_tells_where_it_comes_from() {
    let origins = origins(GOOD, FilePath::new(FOLDER)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let of = |key: &str| {
        let origin = origins.iter().find(|origin| origin.key == key);
        origin.map(|origin| {
            (
                origin.value.as_str(),
                origin
                    .line
                    .map(|line| GOOD.lines().nth(line - 1).unwrap_or_default()),
            )
        })
    };
    assert_eq!(
        of("timezone"),
        Some((
            "\"America/Mexico_City\"",
            Some("timezone = \"America/Mexico_City\"")
        ))
    );
    assert_eq!(
        of("database.app.url"),
        Some(("\"${env:DATABASE_URL}\"", Some("url = \"${env:DATABASE_URL}\"")))
    );
    assert_eq!(of("job.temp-files.guard.max_files"), Some(("100000", None)));
    assert_eq!(of("job.temp-files.limits.wall"), Some(("\"15m\"", None)));
    assert_eq!(of("job.upkeep.limits.wall"), Some(("\"2 h\"", None)));
    assert_eq!(
        of("job.upkeep.grant.database.app.tables.\"billing.rows\"").map(|(value, _)| value),
        Some("[\"vacuum\", \"analyze\"]")
    );
    assert_eq!(of("job.temp-files.max_event_age"), None);
}

#[test]
fn the_schema_and_the_reference_know_every_key() {
    fn keys(shape: &Shape, found: &mut BTreeSet<&'static str>) {
        for key in shape.keys.iter().filter(|key| !matches!(key.kind, Kind::Later)) {
            assert!(!key.doc.is_empty(), "{} is documented", key.name);
            found.insert(key.name);
            if let Kind::Table(inner)
            | Kind::Map {
                of: Kind::Table(inner),
                ..
            } = &key.kind
            {
                keys(inner, found);
            }
        }
    }
    let mut all = BTreeSet::new();
    keys(&ROOT, &mut all);
    let (schema, page) = (schema(), reference_markdown());
    for key in all {
        assert!(
            schema.to_string().contains(&format!("\"{key}\":")),
            "{key} is in the schema"
        );
        assert!(page.contains(key), "{key} is in the reference");
    }
    let job = &schema["properties"]["job"]["additionalProperties"];
    assert_eq!(job["additionalProperties"], false);
    assert_eq!(job["required"], serde_json::json!(["plugin"]));
    assert_eq!(job["properties"]["retries"]["default"], 2);
    assert_eq!(
        job["properties"]["guard"]["properties"]["max_rows_percent"]["maximum"],
        100.0
    );
    assert_eq!(schema["properties"]["version"]["const"], 1);
}

#[test]
fn no_text_makes_the_reader_panic() {
    let halves = TERRIBLE.char_indices().step_by(7).map(|(at, _)| &TERRIBLE[..at]);
    for text in halves.chain([
        "",
        "[",
        "job = 3",
        "job.x = 1",
        "[[job]]",
        "[job]\nx = []",
        "version = \"é",
        "= 1",
        "\u{feff}",
    ]) {
        let _ = read(text, FilePath::new(FOLDER));
        let _ = masked(text);
    }
    assert!(
        parse("", FilePath::new(FOLDER)).is_err(),
        "the version is missing"
    );
}
