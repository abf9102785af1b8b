//! The real program, killed while `pg_dump` runs: nothing counts that was not finished, and nothing of it stays.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sereno_core::run::Outcome;
use sereno_tests::wait::wait_for;

use super::world::{World, processes};

/// A dump of what the world holds takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

const JOBS: &str = r#"
[ledger]
url = "sqlite://ledger.db"

[job.backup]
plugin = "backup"
params = { database = "app", storage = "backups" }
[job.backup.grant]
database.app.whole = ["backup"]
storage.backups = ["read", "write", "remove"]
"#;

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            match entry.metadata() {
                Ok(looks) if looks.is_dir() => open.push(entry.path()),
                Ok(looks) => found.push((entry.path(), looks.len())),
                Err(_) => {}
            }
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = files(folder)
        .into_iter()
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_backup_that_is_killed_counts_for_nothing_and_the_next_one_takes_away_what_it_left() {
    // A server of its own: its tools are told from all others.
    let world = World::with_password("right-hunter2").await;
    // Enough that the dump is still at work when it is looked at.
    world
        .execute(
            "app",
            "CREATE TABLE pages (id integer PRIMARY KEY, body text);
             INSERT INTO pages SELECT i, (SELECT string_agg(md5(i::text || ' ' || j), '') FROM generate_series(1, 32) j)
             FROM generate_series(1, 60000) i",
        )
        .await;
    let home = world.home();
    let stored = home.join("backups");
    world.write_configuration(JOBS);
    let plugins = sereno_tests::house::plugins_folder().unwrap();
    std::os::unix::fs::symlink(plugins, home.join("plugins")).unwrap();
    let mut run = Command::new(sereno_tests::house::program().unwrap())
        .args(["run", "backup"])
        .current_dir(home)
        .envs(world.environment())
        .env("SERENO_CACHE_DIR", &sereno_tests::guests::guests().cache)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let dumps = || processes("pg_dump", world.marker());
    let is_at_work = || files(&stored).iter().any(|(_, bytes)| *bytes > 0) && !dumps().is_empty();
    assert!(
        wait_for(|| is_at_work() || run.try_wait().unwrap().is_some(), PATIENCE),
        "the dump never began"
    );
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(
        wait_for(|| dumps().is_empty(), PATIENCE),
        "the tool outlived its host"
    );
    let left = names(&stored);
    assert!(
        left.len() == 1 && left[0].starts_with(".sereno-"),
        "only what was not finished is there: {left:?}"
    );
    assert_eq!(world.ids().await, Vec::<String>::new(), "and no manifest of it");

    let mut house = world.house(JOBS);
    let ledger = format!("sqlite://{}/ledger.db", home.display());
    house.services.ledger = sereno_adapters::ledger::open(&ledger, home).await.unwrap();
    // Its lease has run out.
    house.clock.advance(Duration::from_secs(120));
    let lost = sereno_core::dispatch::rescue(&house.services).await.unwrap();
    assert_eq!(lost.len(), 1, "{lost:#?}");
    house.clock.set(chrono::Utc::now());
    let planned = house.plan("backup").await.unwrap();
    assert_eq!(planned.outcome, Outcome::Succeeded, "{planned:#?}");
    assert_eq!(names(&stored), left, "a plan removes nothing");
    let done = house.run("backup").await.unwrap();
    assert_eq!(done.outcome, Outcome::Succeeded, "{done:#?}");
    assert!(
        done.findings().any(|finding| finding.code == "leftovers-removed"),
        "{done:#?}"
    );
    assert_eq!(names(&stored), ["dump.pgc.zst", "manifest.json"]);
    let manifest = world.list().await.remove(0).manifest.unwrap();
    assert_eq!(manifest.rows.as_ref().unwrap().values().sum::<u64>(), 65_003);
}
