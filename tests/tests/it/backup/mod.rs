//! Backups by the real tools of real servers: what comes back is what was there, and what is broken is found to be.
//!
//! The same on SQLite, on the machine's own PostgreSQL and on 18; which backup may go is core's own test.

mod bucket;
mod by_hand;
mod jobs;
mod killed;
mod physical;
mod world;

use std::path::Path;
use std::time::Duration;

use sereno_core::backup::{Kind, Level};
use sereno_core::ports::backup::BackupError;
use sereno_tests::postgres;
use sereno_tests::wait::wait_for;

use world::{Server, World};

const LIMIT: Duration = Duration::from_secs(120);

async fn comes_back(server: Server) {
    let world = World::new(server).await;
    let before = world.fingerprint("app").await;
    let made = world.create("a").await.unwrap();
    assert_eq!(made.rows.as_ref().unwrap().values().sum::<u64>(), 5_003);
    assert_eq!(made.id, "a");
    for level in [Level::Present, Level::Checksums, Level::Readable] {
        let found = world.verify("a", level).await.unwrap();
        assert_eq!(found.problems, Vec::<String>::new(), "{level}");
    }
    world.execute("app", "DROP TABLE invoices").await;
    world.execute("app", "DROP TABLE \"Odd \"\"Name\"").await;
    let found = world.restore("a", false).await.unwrap();
    assert_eq!(
        (found.problems.len(), found.tables, found.rows),
        (0, 2, 5_003),
        "{:?}",
        found.problems
    );
    assert_eq!(
        world.fingerprint("scratch").await,
        Vec::<String>::new(),
        "it is empty again"
    );
    let found = world.restore("a", true).await.unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(
        world.fingerprint("scratch").await,
        before,
        "every row is what it was"
    );
    let again = world.restore("a", false).await.unwrap_err();
    assert!(
        matches!(&again, BackupError::Invalid(text) if text.contains("is not empty")),
        "{again}"
    );
    let stored = world.list().await;
    assert_eq!(stored[0].verified.level(), Some(Level::Restored));
}

#[tokio::test]
async fn what_comes_back_is_what_was_there_sqlite() {
    comes_back(Server::Sqlite).await;
}

#[tokio::test]
async fn what_comes_back_is_what_was_there_postgres() {
    comes_back(Server::Postgres).await;
}

#[tokio::test]
async fn what_comes_back_is_what_was_there_postgres_18() {
    comes_back(Server::Postgres18).await;
}

/// Breaks the one file of backup `a` in a way; every level that reads it must find it out.
async fn broken(server: Server, what: &str, lowest: Level, breaking: impl Fn(&Path)) {
    let world = World::new(server).await;
    world.create("a").await.unwrap();
    breaking(&world.stored_file("a"));
    for level in [Level::Present, Level::Checksums, Level::Readable] {
        let found = world.verify("a", level).await.unwrap();
        assert_eq!(
            !found.problems.is_empty(),
            level >= lowest,
            "{what} at {level}: {:?}",
            found.problems
        );
    }
    let found = world.restore("a", false).await.unwrap();
    assert!(
        !found.problems.is_empty(),
        "{what} is restored as if nothing were"
    );
    assert_eq!(world.list().await[0].verified.level(), None);
    assert_eq!(
        world.fingerprint("scratch").await,
        Vec::<String>::new(),
        "the scratch database is empty again"
    );
}

async fn broken_in_every_way(server: Server) {
    broken(server, "a file cut to half", Level::Present, |file| {
        let bytes = std::fs::read(file).unwrap();
        std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    })
    .await;
    broken(server, "a missing file", Level::Present, |file| {
        std::fs::remove_file(file).unwrap();
    })
    .await;
    for share in [1, 10, 50, 90, 99] {
        broken(server, "a flipped bit", Level::Checksums, |file| {
            let mut bytes = std::fs::read(file).unwrap();
            let place = bytes.len() * share / 100;
            bytes[place] ^= 0x10;
            std::fs::write(file, bytes).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_broken_is_found_out_sqlite() {
    broken_in_every_way(Server::Sqlite).await;
}

#[tokio::test]
async fn what_is_broken_is_found_out_postgres() {
    broken_in_every_way(Server::Postgres).await;
}

#[tokio::test]
async fn what_is_broken_is_found_out_postgres_18() {
    broken_in_every_way(Server::Postgres18).await;
}

#[tokio::test]
async fn a_backup_under_anothers_name_is_bad() {
    let world = World::new(Server::Sqlite).await;
    world.create("a").await.unwrap();
    std::fs::rename(world.folder("a"), world.folder("b")).unwrap();
    let found = world.verify("b", Level::Present).await.unwrap();
    assert!(
        found.problems[0].contains("another backup's"),
        "{:?}",
        found.problems
    );
}

#[tokio::test]
async fn what_was_never_published_is_no_backup_and_is_swept() {
    let world = World::new(Server::Sqlite).await;
    world.create("a").await.unwrap();
    world.create("b").await.unwrap();
    std::fs::remove_file(world.folder("b").join("manifest.json")).unwrap();
    assert_eq!(world.ids().await, ["a"]);
    let planned = world.backups.preview_sweep(&world.place).await.unwrap();
    assert!(world.stored_file("b").exists(), "a plan changes nothing");
    let gone = world.backups.sweep(&world.place).await.unwrap();
    assert_eq!((gone, gone.backups), (planned, 1));
    assert!(!world.stored_file("b").exists() && world.stored_file("a").exists());
}

#[tokio::test]
async fn an_expired_one_goes_with_its_files_and_no_other_does() {
    let world = World::new(Server::Sqlite).await;
    world.create("a").await.unwrap();
    world.create("b").await.unwrap();
    let gone = world.backups.expire(&world.place, "a").await.unwrap();
    assert!(gone.bytes > 0);
    assert!(!world.stored_file("a").exists() && world.stored_file("b").exists());
    assert_eq!(world.ids().await, ["b"]);
}

#[tokio::test]
async fn a_scratch_database_is_marked_and_is_not_the_one_backed_up() {
    let world = World::new(Server::Sqlite).await;
    world.create("a").await.unwrap();
    let refused = world.restore_into("a", "app").await.unwrap_err();
    assert!(refused.to_string().contains("scratch = true"), "{refused}");
    let refused = world.restore_into("a", "twin").await.unwrap_err();
    assert!(refused.to_string().contains("the very database"), "{refused}");
}

#[tokio::test]
async fn a_wrong_password_fails_clearly_and_leaves_nothing() {
    let world = World::with_password("wrong").await;
    let error = world.create("a").await.unwrap_err().to_string();
    assert!(
        error.contains("password authentication failed") && !error.contains("wrong"),
        "{error}"
    );
    assert_eq!(world.ids().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_older_client_is_refused_with_what_to_install() {
    let old = postgres::find_programs().unwrap();
    let world = World::with_tools(Server::Postgres18, &old).await;
    let error = world.create("a").await.unwrap_err().to_string();
    assert!(
        error.contains("PostgreSQL 18") && error.contains("postgresql-client-18"),
        "{error}"
    );
    let planned = world.preview("a").await.unwrap_err().to_string();
    assert_eq!(planned, error, "a plan says so too");
}

#[tokio::test]
async fn no_password_stands_in_a_list_of_processes_and_a_dropped_run_leaves_no_tool() {
    let world = World::with_password("right-hunter2").await;
    // Somebody alters a table: the dump waits for it, and can be looked at.
    let held = world.lock("invoices").await;
    let mut making = Box::pin(world.create("a"));
    let dumps = || world::processes("pg_dump", world.marker());
    let seen = loop {
        tokio::select! {
            made = &mut making => panic!("nothing was in its way: {made:?}"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        if let [seen] = dumps().as_slice() {
            break seen.clone();
        }
    };
    assert!(!seen.arguments.contains("right-hunter2"), "{}", seen.arguments);
    drop(making);
    assert!(
        wait_for(|| dumps().is_empty(), Duration::from_secs(10)),
        "the tool outlived its run"
    );
    drop(held);
    assert_eq!(world.ids().await, Vec::<String>::new());
    world.create("b").await.unwrap();
    assert_eq!(world.ids().await, ["b"]);
}

#[tokio::test]
async fn too_little_time_is_told_as_that() {
    let world = World::with_password("right-hunter2").await;
    let _held = world.lock("invoices").await;
    let error = world
        .create_within("a", Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(matches!(error, BackupError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_plan_of_a_backup_tells_its_size_and_makes_nothing() {
    for server in [Server::Sqlite, Server::Postgres] {
        let world = World::new(server).await;
        let planned = world.preview("a").await.unwrap();
        assert!(planned.bytes() > 0);
        assert_eq!(world.ids().await, Vec::<String>::new());
        assert!(!world.folder("a").exists());
    }
}

#[tokio::test]
async fn of_a_sqlite_database_there_is_only_a_copy() {
    let world = World::new(Server::Sqlite).await;
    assert_eq!(world.create("a").await.unwrap().kind, Kind::Sqlite);
    let error = world.create_of("b", Kind::Incremental, LIMIT).await.unwrap_err();
    assert!(matches!(error, BackupError::Invalid(_)), "{error}");
}
