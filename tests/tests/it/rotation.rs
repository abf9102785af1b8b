//! Rotations by the program itself, of logs that a real process writes meanwhile: no line is lost and none is doubled.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sereno_tests::house::{plugins_folder, reported};
use sereno_tests::tmpfs::{Tmpfs, age, names, noise};
use sereno_tests::wait::wait_for;

const PATIENCE: Duration = Duration::from_secs(60);

const CONFIGURATION: &str = r#"
version = 1
[directory.logs]
path = "logs"
[writer.app]
pidfile = "app.pid"
[job.rotation]
plugin = "log-rotation"
params = { directory = "logs", rotate = "rename", writer = "app", rotate_after = "1 min", compress_after = "1 min" }
grant = { directory.logs = ["read", "rename", "compress", "remove"], writer.app = ["notify"] }
"#;

/// Writes numbers, a line each, and opens its log anew when it is told. Told to end, it first writes the number it is at: a
/// trap runs between any two commands.
const WRITER: &str = r#"
trap 'exec 3>>logs/app.log' HUP
trap 'stop=1' TERM
n=0
exec 3>>logs/app.log
echo $$ > app.pid.new; mv app.pid.new app.pid
while [ -z "$stop" ]; do n=$((n+1)); echo $n >&3; done
echo $n > last
"#;

struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stage(home: &Path) {
    fs::write(home.join("sereno.toml"), CONFIGURATION).unwrap();
    symlink(plugins_folder().unwrap(), home.join("plugins")).unwrap();
    fs::create_dir_all(home.join("logs")).unwrap();
}

fn content(path: &Path) -> String {
    let mut text = String::new();
    if path.extension().is_some_and(|ending| ending == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return String::from_utf8(output.stdout).unwrap();
    }
    File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_line_that_is_written_during_a_rotation_is_neither_lost_nor_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    stage(home);
    let logs = home.join("logs");
    let mut writer = Writer(
        Command::new("sh")
            .args(["-c", WRITER])
            .current_dir(home)
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let live = logs.join("app.log");
    let has_written = || {
        wait_for(
            || fs::metadata(&live).is_ok_and(|found| found.len() > 0),
            PATIENCE,
        )
    };
    assert!(wait_for(|| home.join("app.pid").exists(), PATIENCE) && has_written());
    let plan = reported(home, &["plan", "rotation"]);
    assert_eq!(plan["outcome"], "succeeded", "{plan:#}");
    assert_eq!(
        names(&logs),
        ["app.log"],
        "a plan renames nothing and tells nobody"
    );
    // An hour between two of them, while the writer goes on.
    for hour in ["01", "02", "03", "04", "05"] {
        assert!(has_written(), "it opened its log anew");
        let at = format!("2026-11-20T{hour}:00:00Z");
        for again in [false, true] {
            let report = reported(home, &["run", "rotation", "--at", &at]);
            assert_eq!(report["outcome"], "succeeded", "{report:#}");
            let rotated = names(&logs).iter().filter(|name| name.contains("log-")).count();
            assert_eq!(
                rotated.to_string(),
                hour.trim_start_matches('0'),
                "again: {again}"
            );
        }
    }
    assert!(has_written());
    // What nobody writes any more, and is old enough, is compressed on the way.
    for name in names(&logs).iter().filter(|name| name.contains("log-")) {
        age(&logs.join(name), Duration::from_secs(3 * 365 * 86_400));
    }
    let report = reported(home, &["run", "rotation", "--at", "2026-11-20T06:00:00Z"]);
    assert_eq!(report["outcome"], "succeeded", "{report:#}");
    let pid = rustix::process::Pid::from_child(&writer.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    writer.0.wait().unwrap();
    let last: u64 = content(&home.join("last")).trim().parse().unwrap();
    let all = names(&logs);
    assert_eq!(
        all,
        [
            "app.log",
            "app.log-2026-11-20T010000Z.gz",
            "app.log-2026-11-20T020000Z.gz",
            "app.log-2026-11-20T030000Z.gz",
            "app.log-2026-11-20T040000Z.gz",
            "app.log-2026-11-20T050000Z.gz",
            "app.log-2026-11-20T060000Z",
        ]
    );
    // In the order of their names, the live one last.
    let files = all[1..].iter().chain(&all[..1]);
    let found: Vec<u64> = files
        .flat_map(|name| {
            let text = content(&logs.join(name));
            let numbers: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
            numbers
        })
        .collect();
    let expected: Vec<u64> = (1..=last).collect();
    assert!(last > 1_000, "{last} lines");
    let odd = found
        .iter()
        .zip(&expected)
        .find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} lines of {last}, the first other one {odd:?}",
        found.len()
    );
}

#[test]
fn a_log_is_copied_and_emptied_only_where_that_is_asked_for_and_the_run_warns() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    stage(home);
    let configuration = CONFIGURATION
        .replace("rotate = \"rename\", writer = \"app\"", "rotate = \"truncate\"")
        .replace("\"rename\", ", "\"truncate\", ")
        .replace(", writer.app = [\"notify\"]", "");
    fs::write(home.join("sereno.toml"), &configuration).unwrap();
    let logs = home.join("logs");
    let live = logs.join("app.log");
    // A program that never opens its log anew, and appends.
    let mut writer = File::options().create(true).append(true).open(&live).unwrap();
    writer.write_all(b"one\ntwo\n").unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&live);
    let warned = |report: &serde_json::Value| {
        assert_eq!(report["outcome"], "succeeded", "{report:#}");
        let text = report["targets"].to_string();
        text.contains("lines-may-be-lost") && text.contains("use `rotate = \\\"rename\\\"`")
    };
    let plan = reported(home, &["plan", "rotation"]);
    assert!(warned(&plan), "{plan:#}");
    assert_eq!(
        (names(&logs), content(&live)),
        (vec!["app.log".to_owned()], "one\ntwo\n".to_owned())
    );
    let report = reported(home, &["run", "rotation", "--at", "2026-11-20T01:00:00Z"]);
    assert!(warned(&report), "{report:#}");
    writer.write_all(b"three\n").unwrap();
    let rotated = logs.join("app.log-2026-11-20T010000Z");
    assert_eq!(names(&logs), ["app.log", "app.log-2026-11-20T010000Z"]);
    assert_eq!(
        (content(&rotated), content(&live)),
        ("one\ntwo\n".to_owned(), "three\n".to_owned())
    );
    assert_eq!(inode(&live), before, "the program writes on in the same file");
    // Nothing is due, so nothing is emptied and there is nothing to warn of.
    let again = reported(home, &["run", "rotation", "--at", "2026-11-20T01:00:30Z"]);
    assert!(!warned(&again), "{again:#}");
    assert_eq!(content(&live), "three\n");
    // The grant to rename is none to empty.
    let ungranted = configuration.replace("\"truncate\", \"compress\"", "\"rename\", \"compress\"");
    fs::write(home.join("sereno.toml"), ungranted).unwrap();
    let refused = reported(home, &["run", "rotation", "--at", "2026-11-20T02:00:00Z"]);
    assert!(refused.to_string().contains("truncate"), "{refused:#}");
    assert_eq!((names(&logs).len(), content(&live)), (2, "three\n".to_owned()));
}

#[test]
fn a_run_that_meets_a_full_file_system_leaves_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    stage(home);
    let logs = home.join("logs");
    let _tmpfs = Tmpfs::over(&logs, 4);
    // The copy of random bytes is as large, and 3 MiB twice are more than 4.
    let noise = noise(3 << 20);
    fs::write(logs.join("noise.log.1"), &noise).unwrap();
    fs::write(logs.join("small.log.1"), "a line\n".repeat(10_000)).unwrap();
    for name in ["noise.log.1", "small.log.1"] {
        age(&logs.join(name), Duration::from_secs(86_400));
    }
    for command in ["plan", "run"] {
        let report = reported(home, &[command, "rotation"]);
        assert_eq!(report["outcome"], "succeeded", "{report:#}");
        let findings = report["targets"].to_string();
        assert!(
            findings.contains("noise.log.1") && findings.contains("no-space"),
            "{report:#}"
        );
    }
    assert_eq!(
        names(&logs),
        ["noise.log.1", "small.log.1.gz"],
        "and no partial file"
    );
    assert!(fs::read(logs.join("noise.log.1")).unwrap() == noise);
    assert_eq!(content(&logs.join("small.log.1.gz")), "a line\n".repeat(10_000));
}
