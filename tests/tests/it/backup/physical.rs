//! Copies of whole clusters, and of what changed in them: made, put together, verified, started.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::Utc;
use sereno_core::backup::{Kind, Level};
use sereno_core::run::Outcome;
use sereno_tests::postgres::{self, Cluster};

use super::LIMIT;
use super::by_hand::{block, types};
use super::world::{Server, World};

async fn chain() -> World {
    let world = World::of_cluster(Server::Postgres18, Cluster::backed_up_18().unwrap()).await;
    world.create_of("FULL", Kind::Physical, LIMIT).await.unwrap();
    world
        .execute(
            "app",
            "DELETE FROM invoices WHERE id % 3 = 0; CREATE TABLE later (id integer PRIMARY KEY)",
        )
        .await;
    world
        .execute("app", "INSERT INTO later SELECT generate_series(1, 2000)")
        .await;
    let made = world
        .create_of("INCREMENTAL", Kind::Incremental, LIMIT)
        .await
        .unwrap();
    assert_eq!(made.parent.as_deref(), Some("FULL"));
    world
}

fn bytes(world: &World, id: &str) -> u64 {
    fs::metadata(world.folder(id).join("base.tar.zst")).unwrap().len()
}

#[tokio::test]
async fn an_incremental_chain_restores_and_starts_on_18() {
    let world = chain().await;
    let before = world.fingerprint("app").await;
    // What comes after the last backup is not in it.
    world.execute("app", "DROP TABLE invoices").await;
    assert!(bytes(&world, "INCREMENTAL") * 2 < bytes(&world, "FULL"));
    let found = world.verify("INCREMENTAL", Level::Readable).await.unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.files, 4, "the copies and their lists");

    let programs = postgres::find_programs_18().unwrap();
    let folder = world.folder("FULL").parent().unwrap().to_owned();
    types(&block("pg_combinebackup"), &folder, &programs, &[]);
    let mut other = Cluster::backed_up_18().unwrap();
    other.crash().unwrap();
    put_in_place(&folder.join("restored"), &other.folder().join("data"));
    other.restart().unwrap();
    let name = world
        .url("app")
        .split('?')
        .next()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let after = world.fingerprint_of(&other.url_for(name, "postgres")).await;
    assert_eq!(after, before);
}

/// Gives a cluster another one's data, with its own settings.
fn put_in_place(restored: &Path, data: &Path) {
    for settings in ["postgresql.conf", "pg_hba.conf"] {
        fs::copy(data.join(settings), restored.join(settings)).unwrap();
    }
    let commands = [
        format!("chown -R --reference={0} {1}", data.display(), restored.display()),
        format!("chmod 700 {}", restored.display()),
        format!("rm -rf {}", data.display()),
        format!("mv {1} {0}", data.display(), restored.display()),
    ];
    for command in commands {
        assert!(
            Command::new("sh")
                .args(["-c", &command])
                .status()
                .unwrap()
                .success(),
            "{command}"
        );
    }
}

#[tokio::test]
async fn a_third_link_is_put_together_and_a_broken_one_breaks_all_after_it() {
    let world = chain().await;
    world.execute("app", "DELETE FROM later WHERE id > 1000").await;
    let made = world.create_of("NEXT", Kind::Incremental, LIMIT).await.unwrap();
    assert_eq!(made.parent.as_deref(), Some("INCREMENTAL"));
    let found = world.verify("NEXT", Level::Readable).await.unwrap();
    assert_eq!((found.problems, found.files), (Vec::new(), 6));

    let file = world.folder("INCREMENTAL").join("base.tar.zst");
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    fs::write(&file, flipped).unwrap();
    let found = world.verify("NEXT", Level::Readable).await.unwrap();
    assert!(found.problems[0].contains("INCREMENTAL"), "{:?}", found.problems);
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    for level in [Level::Present, Level::Checksums, Level::Readable] {
        let found = world.verify("NEXT", level).await.unwrap();
        assert!(
            found.problems[0].contains("it builds on INCREMENTAL"),
            "{:?}",
            found.problems
        );
    }
    fs::remove_dir_all(world.folder("INCREMENTAL")).unwrap();
    let found = world.verify("NEXT", Level::Present).await.unwrap();
    assert_eq!(found.problems, ["it builds on INCREMENTAL, which is not there"]);
}

#[tokio::test]
async fn of_the_machines_own_version_the_whole_is_copied_and_what_it_cannot_is_told() {
    let world = World::of_cluster(Server::Postgres, Cluster::backed_up().unwrap()).await;
    world.create_of("a", Kind::Physical, LIMIT).await.unwrap();
    let found = world.verify("a", Level::Readable).await.unwrap();
    assert_eq!((found.problems, found.files), (Vec::new(), 2));
    let error = world.restore("a", false).await.unwrap_err().to_string();
    assert!(error.contains("a whole cluster"), "{error}");
    let error = world
        .create_of("b", Kind::Incremental, LIMIT)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("PostgreSQL 17 or later"), "{error}");
    assert_eq!(world.ids().await, ["a"]);
}

#[tokio::test]
async fn a_server_without_summaries_is_told_how_to_keep_them() {
    let world = World::of_cluster(Server::Postgres18, Cluster::without_summaries_18().unwrap()).await;
    let error = world
        .create_of("a", Kind::Incremental, LIMIT)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no physical backup"), "{error}");
    world.create_of("a", Kind::Physical, LIMIT).await.unwrap();
    let error = world
        .create_of("b", Kind::Incremental, LIMIT)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("summarize_wal = on"), "{error}");
}

const JOBS: &str = r#"
[job.backup]
plugin = "backup"
params = { database = "app", storage = "backups", kind = "incremental", full_every = "3h", keep_last = 1, keep_for = "1h" }
[job.backup.grant]
database.app.whole = ["backup"]
storage.backups = ["read", "write", "remove"]

[job.check]
plugin = "backup-check"
params = { database = "app", storage = "backups" }
grant = { storage.backups = ["read", "write"] }
"#;

#[tokio::test]
async fn a_chain_is_made_begun_anew_and_let_go_as_a_whole() {
    let world = World::of_cluster(Server::Postgres18, Cluster::backed_up_18().unwrap()).await;
    let house = world.house(JOBS);
    house.clock.set(Utc::now() - Duration::from_secs(24 * 3_600));
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let planned = house.plan("backup").await.unwrap();
        assert_eq!(planned.outcome, Outcome::Succeeded, "{planned:#?}");
        let done = house.run("backup").await.unwrap();
        assert_eq!(done.outcome, Outcome::Succeeded, "{done:#?}");
        let stored = world.list().await;
        kinds.push(stored.last().unwrap().manifest.as_ref().unwrap().kind);
        house.clock.advance(Duration::from_secs(2 * 3_600));
    }
    assert_eq!(
        kinds,
        [
            Kind::Physical,
            Kind::Incremental,
            Kind::Physical,
            Kind::Incremental
        ]
    );
    let all = world.list().await;
    let left: Vec<Kind> = all
        .iter()
        .map(|stored| stored.manifest.as_ref().unwrap().kind)
        .collect();
    assert_eq!(
        left,
        [Kind::Physical, Kind::Incremental],
        "the newest with what it builds on"
    );
    house.clock.set(Utc::now());
    let checked = house.run("check").await.unwrap();
    assert_eq!(checked.outcome, Outcome::Succeeded, "{checked:#?}");
    assert_eq!(world.list().await[1].verified.level(), Some(Level::Readable));
}
