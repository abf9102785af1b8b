//! Backups in a bucket, on a real server: the whole jobs, what lies there afterwards, and an object that is lost.

use sereno_core::report::Report;
use sereno_core::run::Outcome;
use sereno_tests::house::{House, amounts};
use sereno_tests::moto;

use super::world::{Server, World};

const BUCKET: &str = "backups-of-app";

fn jobs() -> String {
    format!(
        r#"
[storage.bucket]
url = "s3://{BUCKET}/nightly"
region = "us-east-1"
endpoint = "{endpoint}"
access_key_id = "test"
secret_access_key = "${{env:BUCKET_SECRET}}"

[job.backup]
plugin = "backup"
params = {{ database = "app", storage = "bucket", keep_last = 2, keep_for = "1h" }}
[job.backup.grant]
database.app.whole = ["backup"]
storage.bucket = ["read", "write", "remove"]

[job.check]
plugin = "backup-check"
params = {{ database = "app", storage = "bucket" }}
grant = {{ storage.bucket = ["read", "write"] }}

[job.drill]
plugin = "backup-check"
params = {{ database = "app", storage = "bucket", level = "restored", into = "scratch" }}
[job.drill.grant]
database.scratch.whole = ["restore"]
storage.bucket = ["read", "write"]
"#,
        endpoint = moto::shared().unwrap().endpoint()
    )
}

/// The keys of the bucket, and when each was put.
fn keys() -> Vec<(String, String)> {
    let listing = moto::shared()
        .unwrap()
        .ask("GET", &format!("/{BUCKET}?list-type=2"), "")
        .unwrap();
    let between = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once('<')?.0.to_owned())
    };
    listing
        .split("<Contents>")
        .skip(1)
        .map(|object| {
            (
                between(object, "Key").unwrap(),
                between(object, "LastModified").unwrap(),
            )
        })
        .collect()
}

async fn run(house: &House, job: &str) -> Report {
    house.run(job).await.unwrap()
}

async fn succeeds(house: &House, job: &str) -> Report {
    let report = run(house, job).await;
    assert_eq!(report.outcome, Outcome::Succeeded, "{job}: {report:#?}");
    report
}

#[tokio::test]
async fn a_backup_in_a_bucket_is_made_read_and_restored_and_a_lost_object_is_found_out() {
    moto::shared().unwrap().make_bucket(BUCKET).unwrap();
    let world = World::new(Server::Postgres).await;
    let before = world.fingerprint("app").await;
    let house = world.house(&jobs());
    let plan = house.plan("backup").await.unwrap();
    assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
    assert_eq!(keys(), [], "a plan puts nothing");

    let done = succeeds(&house, "backup").await;
    assert_eq!(amounts(&done), amounts(&plan));
    let there = keys();
    let names: Vec<_> = there
        .iter()
        .map(|(key, _)| key.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["dump.pgc.zst", "manifest.json"]);
    assert!(
        there.iter().all(|(key, _)| key.starts_with("nightly/app/")),
        "{there:?}"
    );
    assert!(there[0].1 <= there[1].1, "the manifest comes last: {there:?}");

    succeeds(&house, "check").await;
    let planned = house.plan("drill").await.unwrap();
    let drilled = succeeds(&house, "drill").await;
    assert_eq!(amounts(&drilled), amounts(&planned));
    let restored: u64 = drilled.effects().map(|effect| effect.done).sum();
    assert!(restored > 0, "{drilled:#?}");
    assert_eq!(
        world.fingerprint("scratch").await,
        Vec::<String>::new(),
        "it is empty again"
    );
    assert_eq!(world.fingerprint("app").await, before, "nobody touched it");

    let bucket = house
        .services
        .targets
        .storage(&"bucket".parse().unwrap())
        .await
        .unwrap();
    let key = there[0].0.trim_start_matches("nightly/").parse().unwrap();
    assert!(bucket.remove(&key).await.unwrap().is_some());
    let lost = run(&house, "check").await;
    let message = lost.outcome.message().unwrap_or_default();
    assert!(
        matches!(lost.outcome, Outcome::Failed(_)) && message.contains("dump.pgc.zst is missing"),
        "{lost:#?}"
    );
    let lost = run(&house, "drill").await;
    assert!(!matches!(lost.outcome, Outcome::Succeeded), "{lost:#?}");
}
