//! Whole runs of the plugins `backup` and `backup-check`: planned, run, damaged, and let go.
//!
//! What each level finds is told in the module above; here it is told that a run fails by it, and which backups stay.

use std::time::Duration;

use chrono::Utc;
use sereno_core::backup::Level;
use sereno_core::capability::MADE_MAX;
use sereno_core::report::Report;
use sereno_core::run::Outcome;
use sereno_tests::house::{House, amounts};

use super::world::{Server, World};

const JOBS: &str = r#"
[job.backup]
plugin = "backup"
params = { database = "app", storage = "backups", keep_last = 2, keep_for = "1h" }
[job.backup.grant]
database.app.whole = ["backup"]
storage.backups = ["read", "write", "remove"]

[job.check]
plugin = "backup-check"
params = { database = "app", storage = "backups" }
grant = { storage.backups = ["read", "write"] }

[job.drill]
plugin = "backup-check"
params = { database = "app", storage = "backups", level = "restored", into = "scratch" }
[job.drill.grant]
database.scratch.whole = ["restore"]
storage.backups = ["read", "write"]

[job.present]
plugin = "backup-check"
params = { database = "app", storage = "backups", level = "present" }
grant = { storage.backups = ["read", "write"] }

[job.checksums]
plugin = "backup-check"
params = { database = "app", storage = "backups", level = "checksums" }
grant = { storage.backups = ["read", "write"] }
"#;

fn findings(report: &Report) -> Vec<String> {
    let found = report.findings();
    found
        .map(|finding| format!("{:?} {} {}", finding.severity, finding.code, finding.target))
        .collect()
}

async fn succeeds(house: &House, job: &str) -> Report {
    let report = house.run(job).await.unwrap();
    assert_eq!(report.outcome, Outcome::Succeeded, "{job}: {report:#?}");
    report
}

/// Runs `job`, which must fail; its message.
async fn fails(house: &House, job: &str) -> (String, Report) {
    let report = house.run(job).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{job}: {report:#?}");
    let message = report.outcome.message().unwrap_or_default().to_owned();
    (message, report)
}

async fn made_checked_and_let_go(server: Server) {
    let world = World::new(server).await;
    let house = world.house(JOBS);
    let before = world.fingerprint("app").await;
    house.clock.set(Utc::now() - Duration::from_secs(24 * 3_600));

    let plan = house.plan("backup").await.unwrap();
    assert_eq!(plan.outcome, Outcome::Succeeded, "{plan:#?}");
    assert_eq!(world.ids().await, Vec::<String>::new(), "a plan makes nothing");
    let (message, _) = fails(&house, "check").await;
    assert_eq!(message, "there is no backup");

    let done = house.apply(&plan, &[]).await.unwrap();
    assert_eq!(done.outcome, Outcome::Succeeded, "{done:#?}");
    assert_eq!(amounts(&done), amounts(&plan));
    assert_eq!(amounts(&done)[0].1, "database.app.whole");
    let first = world.ids().await;
    assert_eq!(first.len(), 1);

    let checked = succeeds(&house, "check").await;
    assert_eq!(findings(&checked), ["Warn never-restored database.app"]);
    let planned = house.plan("drill").await.unwrap();
    assert_eq!(planned.outcome, Outcome::Succeeded, "{planned:#?}");
    let drilled = succeeds(&house, "drill").await;
    assert_eq!(amounts(&drilled), amounts(&planned));
    assert_eq!(findings(&drilled), Vec::<String>::new());
    assert_eq!(world.fingerprint("scratch").await, Vec::<String>::new());
    assert_eq!(world.fingerprint("app").await, before, "nobody touched it");

    // The one that was restored stays, though three newer ones are there.
    let mut ids = first;
    for _ in 0..3 {
        house.clock.advance(Duration::from_secs(7_200));
        let planned = house.plan("backup").await.unwrap();
        let done = succeeds(&house, "backup").await;
        assert_eq!(amounts(&done), amounts(&planned));
        ids = world.ids().await;
    }
    assert_eq!(ids.len(), 3, "the drilled one and the newest two");
    let restored = world.list().await.remove(0);
    assert!(restored.verified.failed.is_none() && restored.verified.level().is_some());
}

#[tokio::test]
async fn made_checked_and_let_go_sqlite() {
    made_checked_and_let_go(Server::Sqlite).await;
}

#[tokio::test]
async fn made_checked_and_let_go_postgres() {
    made_checked_and_let_go(Server::Postgres).await;
}

#[tokio::test]
async fn made_checked_and_let_go_postgres_18() {
    made_checked_and_let_go(Server::Postgres18).await;
}

/// What each level of `backup-check` says of a backup whose one file was changed by `breaking`.
async fn said_of(server: Server, breaking: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> [Option<String>; 4] {
    let world = World::new(server).await;
    let house = world.house(JOBS);
    succeeds(&house, "backup").await;
    let id = world.ids().await.remove(0);
    let file = world.stored_file(&id);
    match breaking(std::fs::read(&file).unwrap()) {
        Some(bytes) => std::fs::write(&file, bytes).unwrap(),
        None => std::fs::remove_file(&file).unwrap(),
    }
    let mut said = Vec::new();
    for job in ["present", "checksums", "check", "drill"] {
        let report = house.run(job).await.unwrap();
        let message = match &report.outcome {
            Outcome::Succeeded => None,
            Outcome::Failed(message) => {
                assert!(
                    findings(&report).contains(&"Critical backup-bad storage.backups".to_owned()),
                    "{report:#?}"
                );
                Some(message.clone())
            }
            other => panic!("{other:?}"),
        };
        said.push(message);
    }
    said.try_into().unwrap()
}

async fn damage_fails_the_check(server: Server) {
    let half = said_of(server, |bytes| Some(bytes[..bytes.len() / 2].to_vec())).await;
    assert!(
        half.iter().flatten().all(|said| said.contains("bytes, and")),
        "{half:?}"
    );
    assert_eq!(half.iter().flatten().count(), 4, "from `present` on: {half:?}");
    let missing = said_of(server, |_| None).await;
    assert!(
        missing.iter().flatten().all(|said| said.contains("is missing")),
        "{missing:?}"
    );
    assert_eq!(
        missing.iter().flatten().count(),
        4,
        "from `present` on: {missing:?}"
    );
    let flipped = said_of(server, |mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Some(bytes)
    })
    .await;
    assert_eq!(flipped[0], None, "its size is what it was");
    assert_eq!(
        flipped.iter().flatten().count(),
        3,
        "from `checksums` on: {flipped:?}"
    );
}

#[tokio::test]
async fn damage_fails_the_check_sqlite() {
    damage_fails_the_check(Server::Sqlite).await;
}

#[tokio::test]
async fn damage_fails_the_check_postgres() {
    damage_fails_the_check(Server::Postgres).await;
}

#[tokio::test]
async fn damage_fails_the_check_postgres_18() {
    damage_fails_the_check(Server::Postgres18).await;
}

/// The guest's answers, as `CALL: ANSWER`.
async fn hoard(world: &World, how: &str) -> Vec<String> {
    let house = world.house(&format!(
        r#"
[job.hoard]
plugin = "backup-hoard"
params = {{ how = "{how}" }}
[job.hoard.grant]
database.app.whole = ["backup"]
storage.backups = ["read", "write", "remove"]
"#
    ));
    let report = house.run("hoard").await.unwrap();
    let found = report.findings();
    found
        .map(|finding| format!("{}: {}", finding.code, finding.text))
        .collect()
}

#[tokio::test]
async fn a_guest_that_lets_every_backup_go_keeps_the_best_one() {
    let world = World::new(Server::Sqlite).await;
    for id in ["1", "2", "3"] {
        world.create(id).await.unwrap();
    }
    assert!(
        world
            .verify("2", Level::Checksums)
            .await
            .unwrap()
            .problems
            .is_empty()
    );
    let said = hoard(&world, "expire").await;
    assert_eq!(world.ids().await, ["2"], "{said:?}");
    assert!(said[1].contains("the last one that was verified"), "{said:?}");
}

#[tokio::test]
async fn a_guest_makes_so_many_backups_and_reaches_no_other_storage_or_key() {
    let world = World::new(Server::Sqlite).await;
    let said = hoard(&world, "make").await;
    assert_eq!(world.ids().await.len(), MADE_MAX as usize, "{said:?}");
    assert!(said[0].contains("at most 16 backups"), "{said:?}");
    let said = hoard(&world, "beyond").await;
    assert_eq!(world.ids().await.len(), MADE_MAX as usize, "{said:?}");
    assert!(said.iter().all(|answer| !answer.ends_with("done")), "{said:?}");
    let denied = said.iter().filter(|answer| answer.contains("Denied"));
    assert_eq!(denied.count(), 2, "{said:?}");
}

#[tokio::test]
async fn an_old_backup_fails_the_check_and_a_scratch_database_that_is_used_is_left_alone() {
    let world = World::new(Server::Postgres).await;
    let house = world.house(JOBS);
    succeeds(&house, "backup").await;
    world
        .execute(
            "scratch",
            "CREATE TABLE somebodys (id integer PRIMARY KEY); INSERT INTO somebodys VALUES (1)",
        )
        .await;
    let theirs = world.fingerprint("scratch").await;
    for mode in ["plan", "run"] {
        let report = match mode {
            "plan" => house.plan("drill").await.unwrap(),
            _ => house.run("drill").await.unwrap(),
        };
        let message = report.outcome.message().unwrap_or_default();
        assert!(message.contains("is not empty"), "{mode}: {report:#?}");
    }
    assert_eq!(world.fingerprint("scratch").await, theirs);
    house.clock.set(Utc::now() + Duration::from_secs(27 * 3_600));
    let (message, _) = fails(&house, "check").await;
    assert!(message.contains("`max_age` allows"), "{message}");
}

#[tokio::test]
async fn a_job_that_was_not_granted_the_backup_is_told_what_to_add() {
    let world = World::new(Server::Sqlite).await;
    let jobs = JOBS.replace("database.app.whole = [\"backup\"]\n", "");
    let house = world.house(&jobs);
    let text = match house.run("backup").await {
        Ok(report) => report.outcome.message().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(
        text.contains("database.app.whole") && text.contains("backup"),
        "{text}"
    );
    assert_eq!(world.ids().await, Vec::<String>::new());
}
