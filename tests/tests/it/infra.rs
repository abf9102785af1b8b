//! `infra/`: what repeats the configuration is what the program writes, and what is written is what its readers take.
//!
//! Templates and manifests are read by their own linters (Python packages that `scripts/setup test` installs), systemd's units
//! by systemd, and the image is built and its program run from the image's own root, where this machine can.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sereno_core::event::{self, Meaning};
use sereno_core::run::{Reason, Work};
use sereno_core::schedule::{Schedule, Zone};
use sereno_tests::house::{plugins_folder, program};

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("infra")
}

/// The program, with the configuration that all of `infra` is made for.
fn sereno(words: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    // Plugins are looked for beside the configuration.
    fs::copy(infra().join("sereno.toml"), folder.path().join("sereno.toml")).unwrap();
    std::os::unix::fs::symlink(plugins_folder().unwrap(), folder.path().join("plugins")).unwrap();
    Command::new(program().unwrap())
        .arg("--config")
        .arg(folder.path().join("sereno.toml"))
        .args(words)
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails with all that a program said.
fn well(name: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{name}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn what_repeats_the_configuration_is_what_the_program_writes() {
    let bless = env::var_os("SERENO_BLESS").is_some();
    for (to, folder) in [("eventbridge", "lambda"), ("kubernetes", "kubernetes")] {
        let folder = infra().join(folder);
        let mut words = vec![
            "schedule",
            "export",
            "--to",
            to,
            "--output",
            folder.to_str().unwrap(),
        ];
        if !bless {
            words.push("--check");
        }
        well(to, &sereno(&words));
    }
    for database in ["app", "scratch"] {
        let output = sereno(&["roles", "--database", database]);
        well(database, &output);
        let file = infra().join(format!("database/{database}.sql"));
        if bless {
            fs::write(&file, &output.stdout).unwrap();
        }
        assert_eq!(
            text(&output.stdout),
            fs::read_to_string(&file).unwrap_or_default(),
            "{} is not what `sereno roles --database {database}` prints",
            file.display()
        );
    }
    let doubts = sereno(&["schedule", "lint"]);
    well("lint", &doubts);
}

/// What stands behind `key` in a template, without quotes.
fn values<'a>(template: &'a str, key: &str) -> Vec<&'a str> {
    template
        .lines()
        .filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
        .map(|value| value.trim_matches(['"', '\'']))
        .collect()
}

#[test]
fn exported_schedules_come_when_the_configuration_says_and_their_events_are_ours() {
    let template = fs::read_to_string(infra().join("lambda/schedules.yaml")).unwrap();
    let source = fs::read_to_string(infra().join("sereno.toml")).unwrap();
    let config = sereno_core::config::parse(&source, &infra()).unwrap();
    let from = "2026-11-24T00:00:00Z".parse().unwrap();
    let times = |schedule: &Schedule, zone: &Zone| -> Vec<_> {
        std::iter::successors(schedule.next_after(from, zone), |at| {
            schedule.next_after(*at, zone)
        })
        .take(60)
        .collect()
    };
    let expressions = values(&template, "ScheduleExpression");
    let inputs = values(&template, "Input");
    let zones = values(&template, "ScheduleExpressionTimezone");
    assert_eq!(expressions.len(), inputs.len());
    let mut seen = Vec::new();
    for ((expression, input), zone) in expressions.iter().zip(&inputs).zip(&zones) {
        // What the Scheduler fills in.
        let event = input
            .replace("<aws.scheduler.scheduled-time>", "2026-11-24T10:00:00Z")
            .replace(
                "<aws.scheduler.schedule-arn>",
                "arn:aws:scheduler:us-east-1:123456789012:schedule/sereno/x",
            )
            .replace("<aws.scheduler.execution-id>", "d-1")
            .replace("<aws.scheduler.attempt-number>", "1");
        let event = serde_json::from_str(&event).unwrap();
        let arrival = event::read(&event, &config, "invocation");
        let Ok(Meaning::Run(requests)) = &arrival.records[0].meaning else {
            panic!("{input}: {arrival:?}");
        };
        let [request] = &requests[..] else {
            panic!("{input}: one run");
        };
        assert_eq!(request.reason, Reason::Event("schedule".to_owned()));
        assert_eq!(
            request.scheduled_at,
            Some("2026-11-24T10:00:00Z".parse().unwrap())
        );
        let schedule = match &request.work {
            Work::Job(name) => config.jobs[name].schedule.as_ref(),
            Work::Round(name) => config.rounds[name].schedule.as_ref(),
        };
        let exported = Schedule::parse(expression).unwrap();
        assert_eq!(
            times(&exported, &Zone::parse(zone).unwrap()),
            times(schedule.unwrap(), &config.timezone),
            "{expression}"
        );
        seen.push(request.work.name().to_owned());
    }
    assert_eq!(seen, ["daily", "monthly", "weekly", "capacity-check"]);
}

/// Where `scripts/setup test` put the linters: a folder for Python's path.
fn linters() -> PathBuf {
    if let Some(folder) = env::var_os("SERENO_LINTERS") {
        return folder.into();
    }
    let test = env::current_exe().unwrap();
    test.ancestors()
        .map(|folder| folder.join("infra-linters"))
        .find(|folder| folder.join("complete").exists())
        .expect("the linters are not installed: run `scripts/setup test`, or set SERENO_LINTERS")
}

/// A linter, by the name that its package installs it under.
fn python(program: &str, words: &[&str]) -> Output {
    Command::new("python3")
        .arg(linters().join("bin").join(program))
        .args(words)
        .env("PYTHONPATH", linters())
        // It asks nobody: a region that is never called, and no news about itself.
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("SAM_CLI_TELEMETRY", "0")
        .env("__SAM_CLI_APP_DIR", env::temp_dir())
        .output()
        .unwrap()
}

#[test]
fn cfn_lint_and_sam_take_the_templates() {
    let file = |name: &str| infra().join("lambda").join(name).display().to_string();
    let (template, schedules) = (file("template.yaml"), file("schedules.yaml"));
    well("cfn-lint", &python("cfn-lint", &[&template, &schedules]));
    for file in [&template, &schedules] {
        well("sam", &python("sam", &["validate", "--lint", "--template", file]));
    }
    // The linter sees what is wrong.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("schedules.yaml");
    let text = fs::read_to_string(&schedules).unwrap();
    fs::write(
        &broken,
        text.replace("RoleArn: !Ref RoleArn", "RolArn: !Ref RoleArn"),
    )
    .unwrap();
    assert!(!python("cfn-lint", &[broken.to_str().unwrap()]).status.success());
}

#[test]
fn kubernetes_takes_the_manifests() {
    let file = |name: &str| infra().join("kubernetes").join(name).display().to_string();
    let files = ["cronjobs.yaml", "serve.yaml", "volumes.yaml", "namespace.yaml"].map(file);
    let mut words = vec!["--strict"];
    words.extend(files.iter().map(String::as_str));
    well("kubernetes-validate", &python("kubernetes-validate", &words));
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("cronjobs.yaml");
    let text = fs::read_to_string(&files[0]).unwrap();
    fs::write(&broken, text.replace("backoffLimit: 2", "backoffLimits: 2")).unwrap();
    assert!(
        !python("kubernetes-validate", &["--strict", broken.to_str().unwrap()])
            .status
            .success()
    );
}

#[test]
fn systemd_takes_the_units() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        // A container without systemd: its units are for machines that have it.
        return;
    };
    well("systemd-analyze", &version);
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for name in ["sereno.service", "sereno-round@.service", "sereno-round@.timer"] {
        let unit = fs::read_to_string(infra().join("systemd").join(name)).unwrap();
        // systemd looks whether the program is there; on this machine it is somewhere else.
        let here = program().unwrap().display().to_string();
        // A template is looked at as one of its own.
        let file = folder.path().join(name.replace('@', "@daily"));
        fs::write(&file, unit.replace("/usr/local/bin/sereno", &here)).unwrap();
        files.push(file);
    }
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(&files)
        .output()
        .unwrap();
    well("systemd-analyze verify", &output);
    // It warns about keys that it does not know and goes well all the same.
    let said = text(&output.stderr);
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(folder.path().to_str().unwrap()))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

/// The image of `FROM scratch`: put together, built without a daemon where buildah is, and its program run from its root.
#[test]
fn the_program_runs_from_the_root_of_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("rootfs");
    let output = Command::new(infra().join("container/rootfs"))
        .args([program().unwrap(), plugins_folder().unwrap(), root.clone()])
        .arg(infra().join("sereno.toml"))
        .output()
        .unwrap();
    well("rootfs", &output);
    let root = built(folder.path()).unwrap_or(root);
    if !rustix::process::geteuid().is_root() {
        // Only root may change its root.
        return;
    }
    for words in [
        &["--version"][..],
        &["validate"],
        &["schedule", "lint"],
        &["plugin", "inspect", "row-retention"],
    ] {
        let output = Command::new("chroot")
            .args(["--userspec=65532:65532"])
            .arg(&root)
            .arg("/usr/local/bin/sereno")
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SERENO_CONFIG", "/etc/sereno/sereno.toml")
            .env("SERENO_CACHE_DIR", "/var/cache/sereno")
            .output()
            .unwrap();
        well(&words.join(" "), &output);
    }
}

/// The root of the image that buildah built out of `folder`, where there is a buildah.
fn built(folder: &Path) -> Option<PathBuf> {
    let buildah = |words: &[&str]| {
        Command::new("buildah")
            .args(["--storage-driver", "vfs"])
            .arg("--root")
            .arg(folder.join("images"))
            .arg("--runroot")
            .arg(folder.join("run"))
            .args(words)
            .current_dir(folder)
            .output()
            .ok()
    };
    buildah(&["--version"])?;
    let file = infra().join("container/Dockerfile");
    let build = buildah(&[
        "bud",
        "--isolation",
        "chroot",
        "--target",
        "runner",
        "--file",
        file.to_str().unwrap(),
        "--tag",
        "sereno",
        ".",
    ])?;
    well("buildah bud", &build);
    let container = buildah(&["from", "--pull-never", "sereno"])?;
    well("buildah from", &container);
    let name = text(&container.stdout);
    let mounted = buildah(&["mount", name.trim()])?;
    well("buildah mount", &mounted);
    Some(PathBuf::from(text(&mounted.stdout).trim()))
}
