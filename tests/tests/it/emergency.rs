//! A disk without room, which also holds the ledger: space is freed, no more than is needed, and the run is recorded.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use sereno_tests::house::{plugins_folder, reported};
use sereno_tests::tmpfs::{Tmpfs, age, names, noise};

const CONFIGURATION: &str = r#"
version = 1
[ledger]
url = "sqlite://sereno.db"
[directory.temp]
path = "temp"
[directory.logs]
path = "logs"
[job.space]
plugin = "emergency-space"
grant = { directory.temp = ["read", "remove"], directory.logs = ["read", "compress", "remove"] }
[job.space.params]
used_under = 75.0
steps = [
    { directory = "temp", do = "remove", include = ["*.tmp"], age_by = ["mtime"], first = "largest" },
    { directory = "logs", do = "compress", what = "rotated-logs" },
    { directory = "logs", do = "remove", what = "rotated-logs", keep_at_least = 1 },
]
"#;

const MIB: u64 = 1 << 20;

const DAY: Duration = Duration::from_secs(86_400);

fn lines(bytes: u64) -> Vec<u8> {
    b"GET /invoices/4711 200 12 ms\n"
        .iter()
        .copied()
        .cycle()
        .take(usize::try_from(bytes).unwrap())
        .collect()
}

/// Puts a file there that was last written so many days ago.
fn put(path: &Path, content: &[u8], days: u32) {
    fs::write(path, content).unwrap();
    age(path, DAY * days);
}

/// `VERB TARGET: DONE of PLANNED`, of what did or would do anything.
fn effects(report: &Json) -> Vec<String> {
    let of = |target: &Json| target["effects"].as_array().cloned().unwrap_or_default();
    let targets = report["targets"].as_array().unwrap();
    let all = targets.iter().flat_map(of);
    all.filter(|effect| effect["planned"] != 0)
        .map(|effect| {
            let text = |key: &str| effect[key].as_str().unwrap_or_default().to_owned();
            let (done, planned) = (&effect["done"], &effect["planned"]);
            format!("{} {}: {done} of {planned}", text("verb"), text("on"))
        })
        .collect()
}

fn codes(report: &Json) -> Vec<String> {
    let of = |target: &Json| target["findings"].as_array().cloned().unwrap_or_default();
    let all = report["targets"].as_array().unwrap().iter().flat_map(of);
    all.map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect()
}

fn free(home: &Path) -> u64 {
    let disk = rustix::fs::statvfs(home).unwrap();
    disk.f_bavail * disk.f_frsize
}

#[test]
fn a_full_disk_that_holds_the_ledger_is_freed_and_the_run_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let tmpfs = Tmpfs::over(home, 64);
    fs::write(home.join("sereno.toml"), CONFIGURATION).unwrap();
    symlink(plugins_folder().unwrap(), home.join("plugins")).unwrap();
    let (temp, logs, ballast) = (
        home.join("temp"),
        home.join("logs"),
        home.join("sereno.db.ballast"),
    );
    fs::create_dir(&temp).unwrap();
    fs::create_dir(&logs).unwrap();

    // Nothing needs doing yet, and nothing is done.
    put(&temp.join("first.tmp"), &noise(12 * MIB), 2);
    let report = reported(home, &["run", "space"]);
    assert_eq!(report["outcome"], "succeeded", "{report:#}");
    assert_eq!(
        (effects(&report), codes(&report)),
        (vec![], vec!["below-target".to_owned(); 2])
    );
    assert_eq!(names(&temp), ["first.tmp"]);
    assert_eq!(fs::metadata(&ballast).unwrap().len(), 8 * MIB);

    put(&temp.join("second.tmp"), &noise(MIB), 2);
    put(&temp.join("young.tmp"), &noise(4 * MIB), 0);
    put(&temp.join("notes.txt"), &noise(2 * MIB), 900);
    put(&logs.join("app.log"), &lines(MIB), 5);
    put(&logs.join("app.log.1"), &lines(3 * MIB), 2);
    put(&logs.join("app.log.2"), &lines(2 * MIB), 3);
    put(&logs.join("app.log.3"), &lines(2 * MIB), 4);
    put(&logs.join("app.log.4.gz"), &noise(MIB / 2), 5);
    tmpfs.fill("everything-else");
    let all_else = fs::metadata(home.join("everything-else")).unwrap().len();
    assert!(free(home) < 64 << 10, "{} free", free(home));
    let before = (names(&temp), names(&logs));

    let plan = reported(home, &["plan", "space"]);
    assert_eq!(plan["outcome"], "succeeded", "{plan:#}");
    assert_eq!((names(&temp), names(&logs)), before, "a plan frees nothing");
    assert_eq!(
        effects(&plan),
        ["remove directory.temp: 0 of 1"],
        "what goes from one directory is room for the other's step"
    );
    assert!(!ballast.exists(), "it was given up to record the plan");
    assert!(
        plan["targets"].to_string().contains("removes 1 file with 12 MiB"),
        "{plan:#}"
    );

    let report = reported(home, &["run", "space"]);
    assert_eq!(report["outcome"], "succeeded", "{report:#}");
    assert_eq!(names(&temp), ["notes.txt", "young.tmp"]);
    // The smallest are compressed first, and with two of them there is room enough.
    assert_eq!(
        names(&logs),
        [
            "app.log",
            "app.log.1",
            "app.log.2.gz",
            "app.log.3.gz",
            "app.log.4.gz"
        ]
    );
    assert_eq!(fs::metadata(logs.join("app.log")).unwrap().len(), MIB);
    assert_eq!(
        fs::metadata(home.join("everything-else")).unwrap().len(),
        all_else
    );
    let done = ["compress directory.logs: 2 of 2", "remove directory.temp: 2 of 2"];
    assert_eq!(effects(&report), done, "{report:#}");
    let told = codes(&report);
    assert!(told.contains(&"step-compress".to_owned()), "{told:?}");
    assert!(!told.contains(&"above-target".to_owned()), "{told:?}");
    assert_eq!(
        fs::metadata(&ballast).unwrap().len(),
        8 * MIB,
        "there is room for it again"
    );
    assert!(free(home) > 16 * MIB, "{} free", free(home));

    // What was done is in the history, under the run's own id.
    let stored = reported(home, &["runs", "show", report["run"].as_str().unwrap()]);
    assert_eq!(stored["outcome"], "succeeded", "{stored:#}");
    assert_eq!(effects(&stored), done, "{stored:#}");
    let listed = reported(home, &["runs", "list"]);
    assert!(
        listed.to_string().contains(report["run"].as_str().unwrap()),
        "{listed:#}"
    );

    let again = reported(home, &["run", "space"]);
    assert_eq!(
        (effects(&again), again["outcome"].as_str()),
        (vec![], Some("succeeded")),
        "{again:#}"
    );
}
