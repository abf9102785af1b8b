//! The process's own log in JSON: every line of a run says whose it is, and what its plugin logs is among them.

use std::fs;
use std::process::Command;

use serde_json::Value as Json;
use sereno_tests::house::{plugins_folder, program};

const CONFIGURATION: &str = r#"
version = 1
[directory.temp]
path = "temp"
[job.sweep]
plugin = "temp-files"
params = { directory = "temp", older_than = "24h" }
grant = { directory.temp = ["read", "remove"] }
"#;

#[test]
fn every_line_of_a_run_has_its_id_job_and_targets() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("temp")).unwrap();
    std::os::unix::fs::symlink(plugins_folder().unwrap(), folder.path().join("plugins")).unwrap();
    let configuration = folder.path().join("sereno.toml");
    fs::write(&configuration, CONFIGURATION).unwrap();
    let run = |format: &str| {
        let output = Command::new(program().unwrap())
            .args(["run", "sweep", "--json", "--log-format", format, "--config"])
            .arg(&configuration)
            .env("SERENO_CACHE_DIR", folder.path().join("cache"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    };
    let output = run("json");
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text.lines().map(serde_json::from_str::<Json>);
    let lines = lines
        .collect::<Result<Vec<_>, _>>()
        .unwrap_or_else(|error| panic!("{error}: {text}"));
    for line in &lines {
        let span = &line["span"];
        assert_eq!(span["run"], report["run"], "{line}");
        assert_eq!(
            (&span["job"], &span["targets"]),
            (&"sweep".into(), &"directory.temp".into()),
            "{line}"
        );
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    let said: Vec<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    assert_eq!(
        (said.first(), said.last()),
        (Some(&"the run begins"), Some(&"the run has ended")),
        "{said:?}"
    );
    assert_eq!(lines.last().unwrap()["outcome"], "succeeded");

    // For people nothing of that is written.
    assert_eq!(String::from_utf8(run("text").stderr).unwrap(), "");
}
