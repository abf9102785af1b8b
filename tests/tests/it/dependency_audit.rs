//! Whole runs of `dependency-audit` against a real server that answers as OSV does: what is asked, and how each end exits.
//!
//! What is made of the answers is tested natively in the plugin; the offline database is a scenario.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value as Json, json};
use sereno_core::report::{Report, Severity};
use sereno_core::run::Mode;
use sereno_tests::house::House;
use sereno_tests::web::{Asked, Told, Web};

const LODASH: &str = r#"{"id": "GHSA-35jh-r3h4-6jhm", "summary": "Command injection", "database_specific": {"severity": "HIGH"},
    "affected": [{"package": {"name": "lodash", "ecosystem": "npm"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "4.17.21"}]}]}]}"#;

/// Answers as OSV does, of one advisory.
fn osv(asked: &Asked) -> Told {
    match asked.line.as_str() {
        "POST /v1/querybatch" => {
            let batch: Json = serde_json::from_slice(&asked.body).unwrap();
            let results: Vec<Json> = batch["queries"]
                .as_array()
                .unwrap()
                .iter()
                .map(|query| {
                    if query["package"]["name"] == "lodash" && query["version"] == "4.17.20" {
                        json!({ "vulns": [{ "id": "GHSA-35jh-r3h4-6jhm" }] })
                    } else {
                        json!({})
                    }
                })
                .collect();
            Told::json(json!({ "results": results }).to_string())
        }
        "GET /v1/vulns/GHSA-35jh-r3h4-6jhm" => Told::json(LODASH),
        _ => Told::Whole(404, String::new(), Vec::new()),
    }
}

/// A lock file of npm, larger than the host gives at once, with `lodash` of this version at its end.
fn lock(lodash: &str) -> String {
    let mut packages: serde_json::Map<String, Json> = (0..2_500)
        .map(|nth| {
            let name = format!("node_modules/package-{nth}");
            let from = format!(
                "https://registry.npmjs.org/package-{nth}/-/package-{nth}-1.0.0.tgz?{}",
                "x".repeat(60)
            );
            (name, json!({ "version": "1.0.0", "resolved": from }))
        })
        .collect();
    packages.insert("node_modules/lodash".to_owned(), json!({ "version": lodash }));
    json!({ "lockfileVersion": 3, "packages": packages }).to_string()
}

async fn audit(url: &str, lock: Option<String>, mode: Mode) -> Report {
    let configuration = r#"
version = 1
[directory.app]
path = "."
[origin.osv]
url = "${env:OSV}"
allow_private = true
query = true
[job.audit]
plugin = "dependency-audit"
params = { directory = "app", origin = "osv" }
grant = { directory.app = ["read", "read-content"], origin.osv = ["get", "post"] }
"#;
    let folder = tempfile::tempdir().unwrap();
    if let Some(lock) = lock {
        fs::write(folder.path().join("package-lock.json"), lock).unwrap();
    }
    let environment = BTreeMap::from([("OSV".to_owned(), url.to_owned())]);
    let house = House::with_environment(configuration, folder.path(), environment).unwrap();
    house.submit(House::request("audit", mode)).await.unwrap()
}

fn vulnerable(report: &Report) -> Option<f64> {
    let mut readings = report.measurements.iter();
    readings
        .find(|reading| reading.name == "dependencies.vulnerable")
        .unwrap()
        .value
}

#[tokio::test]
async fn four_ends_have_four_exits() {
    let web = Web::new(osv);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = format!("http://{free}");
    let ends = [
        (web.url(), Some(lock("4.17.21")), 0, Some(0.0)),
        (web.url(), Some(lock("4.17.20")), 6, Some(1.0)),
        (web.url(), None, 1, None),
        (gone, Some(lock("4.17.20")), 7, None),
    ];
    for (url, lock, exit, found) in ends {
        for mode in [Mode::Plan, Mode::Apply] {
            let report = audit(&url, lock.clone(), mode).await;
            assert_eq!(
                (report.exit_code(Some(Severity::Critical)), vulnerable(&report)),
                (exit, found),
                "{mode:?} {report:#?}"
            );
            assert_eq!(report.effects().count(), 0, "it only asks");
        }
    }
    let asked = web.asked();
    let queries: usize = asked
        .iter()
        .filter(|asked| asked.line.starts_with("POST"))
        .map(|asked| serde_json::from_slice::<Json>(&asked.body).unwrap())
        .map(|batch| batch["queries"].as_array().unwrap().len())
        .sum();
    assert_eq!(queries, 4 * 2_501, "every package once a run, in batches");
    let largest = asked.iter().map(|asked| asked.body.len()).max();
    assert!(largest < Some(1 << 20), "{largest:?}");
}
