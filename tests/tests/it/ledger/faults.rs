//! What a ledger that outlives its process does when something goes wrong: full disks, dead processes, other
//! versions, dropped futures.
//!
//! What it promises when nothing does is its neighbours.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::task::Poll;

use futures::future::join_all;
use sereno_adapters::ledger;
use sereno_core::name::RunId;
use sereno_core::ports::ledger::{Ledger, LedgerError, RunQuery, Start};
use sereno_core::run::{Outcome, RunEvent, RunState};
use sereno_tests::postgres::Cluster;
use sqlx::{Connection, PgConnection, SqliteConnection};

use super::{Home, at, begun, eprintln, id, log, new_run, open, report, start};

const BALLAST_BYTES: u64 = 8 << 20;

/// Each test for the two ledgers that outlive their process.
macro_rules! every_lasting_home {
    ($($test:ident)+) => {
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Home::sqlite_file().await).await; })+ }
        mod postgres { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Home::postgres().await).await; })+ }
    };
}

every_lasting_home! {
    opening_again_finds_everything
    many_may_create_it_at_once
    a_dropped_append_is_there_as_a_whole_or_not_at_all
}

#[tokio::test]
async fn a_dropped_append_costs_a_ledger_in_memory_nothing() {
    a_dropped_append_is_there_as_a_whole_or_not_at_all(Home::sqlite_in_memory().await).await;
}

async fn opening_again_finds_everything(home: Home) {
    let now = at("2026-11-24T02:30:00Z");
    let first = home.open().await;
    let (row, _) = begun(&first, new_run(&id("a"), "key", "purge", now), &["x"]).await;
    first.append(&id("a"), now, &[log("line")]).await.unwrap();
    let events = first.events(&id("a")).await.unwrap();
    drop(first);

    let second = home.open().await;
    assert_eq!(second.run("a").await.unwrap(), row);
    assert_eq!(second.events(&id("a")).await.unwrap(), events);
    match start(&second, new_run(&id("b"), "key", "purge", now), &["x"]).await {
        Start::Held(held) => assert_eq!(held[0].run, id("a")),
        other => panic!("{other:?}"),
    }
    let (row, _) = begun(&second, new_run(&id("b"), "key", "purge", now), &[]).await;
    assert_eq!(row.attempt, 2);
}

async fn many_may_create_it_at_once(home: Home) {
    let now = at("2026-11-24T02:30:00Z");
    let opened = join_all((0..8).map(|_| {
        let (url, folder) = (home.url.clone(), home.folder().to_owned());
        tokio::spawn(async move { open(&url, &folder).await })
    }))
    .await;
    for (ledger, place) in opened.into_iter().zip(1..) {
        let new = new_run(&RunId::from_entropy(place), "key", "purge", now);
        let (row, _) = begun(&ledger.unwrap(), new, &[]).await;
        assert_eq!(u64::from(row.attempt), place);
    }
}

/// Drops appends after any number of looks at them, as a cancelled run does.
async fn a_dropped_append_is_there_as_a_whole_or_not_at_all(home: Home) {
    const BATCH: usize = 3;
    let now = at("2026-11-24T02:30:00Z");
    let (ledger, other) = (home.open().await, home.open().await);
    let run = id("a");
    begun(&ledger, new_run(&run, "key", "purge", now), &[]).await;
    let (mut finished, mut dropped) = (0, 0);
    for looks in 0..60 {
        let batch: Vec<RunEvent> = (0..BATCH).map(|part| log(&format!("{looks} {part}"))).collect();
        let mut append = Box::pin(ledger.append(&run, now, &batch));
        let mut done = false;
        for _ in 0..looks / 3 {
            if let Poll::Ready(result) = futures::poll!(append.as_mut()) {
                result.unwrap();
                done = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(append);
        if done {
            finished += 1;
        } else {
            dropped += 1;
        }
        // Nobody is kept waiting by what was dropped.
        other
            .append(&run, now, &[log("between"), log("between"), log("between")])
            .await
            .unwrap();
    }
    eprintln(&format!("{finished} finished, {dropped} dropped"));
    assert!(dropped > 0);
    let events = other.events(&run).await.unwrap();
    assert_whole_batches(
        &events[1..]
            .iter()
            .map(|stored| stored.event.clone())
            .collect::<Vec<_>>(),
        BATCH,
    );
    assert!(events.len() > 60 * BATCH + finished * BATCH);
}

/// Batches of `size` log lines that begin alike.
fn assert_whole_batches(events: &[RunEvent], size: usize) {
    assert_eq!(events.len() % size, 0, "{} events", events.len());
    for batch in events.chunks(size) {
        let starts: Vec<&str> = batch
            .iter()
            .map(|event| match event {
                RunEvent::Log { message, .. } => message.split(' ').next().unwrap_or_default(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?}");
    }
}

/// Where the victim finds the ledger, and which run is its own. The test runs itself a second time, as the victim.
const VICTIM: &str = "SERENO_TEST_LEDGER_OF_THE_VICTIM";
const VICTIM_BATCH: usize = 7;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_whole_batches_in_sqlite() {
    if let Some(url) = env::var_os(VICTIM) {
        be_the_victim(url.to_str().unwrap()).await;
    }
    let home = Home::sqlite_file().await;
    let url = format!("sqlite://{}/state/sereno.db", home.folder().display());
    kill_victims(
        &home,
        &url,
        "ledger::faults::a_kill_leaves_whole_batches_in_sqlite",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_whole_batches_in_postgres() {
    if let Some(url) = env::var_os(VICTIM) {
        be_the_victim(url.to_str().unwrap()).await;
    }
    let home = Home::postgres().await;
    kill_victims(
        &home,
        &home.url,
        "ledger::faults::a_kill_leaves_whole_batches_in_postgres",
    )
    .await;
}

/// Appends until it is killed.
#[expect(clippy::print_stdout, reason = "the parent listens")]
async fn be_the_victim(url_and_run: &str) {
    let (run, url) = url_and_run.split_once(' ').unwrap();
    let ledger = open(url, Path::new("/")).await;
    let run = id(run);
    let now = at("2026-11-24T02:30:00Z");
    begun(&ledger, new_run(&run, run.as_str(), "purge", now), &[]).await;
    for number in 0_u64.. {
        let batch: Vec<RunEvent> = (0..VICTIM_BATCH)
            .map(|part| log(&format!("{number} {part}")))
            .collect();
        ledger.append(&run, now, &batch).await.unwrap();
        println!("\nappended={number}");
    }
}

async fn kill_victims(home: &Home, url: &str, test: &str) {
    for (run, kill_after) in [("a", 0), ("b", 1), ("c", 2), ("d", 5), ("e", 17), ("f", 50)] {
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(VICTIM, format!("{run} {url}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let last = format!("appended={kill_after}");
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.is_ok_and(|line| line == last)),
            "the victim ended by itself"
        );
        victim.kill().unwrap();
        victim.wait().unwrap();

        let ledger = home.open().await;
        let events: Vec<RunEvent> = ledger
            .events(&id(run))
            .await
            .unwrap()
            .into_iter()
            .map(|stored| stored.event)
            .collect();
        assert!(
            events.len() > (kill_after + 1) * VICTIM_BATCH,
            "what was answered is there"
        );
        assert_whole_batches(&events[1..], VICTIM_BATCH);
        assert_eq!(ledger.run(run).await.unwrap().state, RunState::Running);
        let orphans = ledger.orphans(at("2026-11-24T02:30:00Z")).await.unwrap();
        assert_eq!(orphans.iter().map(|row| &row.id).collect::<Vec<_>>(), [&id(run)]);
        let rescued = report(
            &id(run),
            Outcome::Lost("killed".to_owned()),
            at("2026-11-24T02:31:00Z"),
        );
        let rescued = RunEvent::Rescued {
            report: Box::new(rescued),
        };
        ledger
            .append(&id(run), at("2026-11-24T02:31:00Z"), &[rescued])
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_ledger_of_a_newer_sereno_is_left_alone() {
    let home = Home::sqlite_file().await;
    drop(home.open().await);
    let path = home.folder().join("state/sereno.db");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query("PRAGMA user_version = 99")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    assert_too_new(&home).await;

    let home = Home::postgres().await;
    drop(home.open().await);
    let mut connection = PgConnection::connect(&home.url).await.unwrap();
    sqlx::query("UPDATE sereno.schema_version SET version = 99")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_too_new(&home).await;
}

async fn assert_too_new(home: &Home) {
    match ledger::open(&home.url, home.folder()).await.err() {
        Some(LedgerError::TooNew { found: 99, known }) if known < 99 => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_programs_database_is_not_taken_for_a_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE run (id)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let error = ledger::open("sqlite://app.db", folder.path())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("another program's database"), "{error}");

    fs::write(
        folder.path().join("notes.txt"),
        "not a database at all, but long enough to be one".repeat(20),
    )
    .unwrap();
    let error = ledger::open("sqlite://notes.txt", folder.path())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, LedgerError::Fault { .. }), "{error}");
}

#[tokio::test]
async fn a_ledger_that_cannot_be_reached_is_told_without_its_password() {
    for url in [
        "postgres://app:hunter2@127.0.0.1:1/app",
        "postgres://app:hunter2@127.0.0.1:port/app",
        "mysql://app:hunter2@db/app",
        "hunter2",
        "sqlite:///proc/nowhere/hunter2/../sereno.db",
    ] {
        let error = ledger::open(url, Path::new("/")).await.err().unwrap();
        assert!(
            matches!(error, LedgerError::Unreachable { .. }),
            "{url}: {error:?}"
        );
        assert!(
            url.starts_with("sqlite") || !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn postgres_may_crash_and_come_back() {
    let mut cluster = Cluster::durable().unwrap();
    let database = cluster.database("ledger").await.unwrap();
    let now = at("2026-11-24T02:30:00Z");
    let ledger = open(&database.url, Path::new("/")).await;
    let row = begun(&ledger, new_run(&id("a"), "key", "purge", now), &[])
        .await
        .0;
    // Several connections rest in the pool when the server goes.
    let many = join_all((0..8).map(|_| ledger.run("a"))).await;
    assert!(many.into_iter().all(|found| found.unwrap() == row));
    cluster.crash().unwrap();
    let error = ledger.append(&id("a"), now, &[log("lost")]).await.unwrap_err();
    assert!(
        matches!(
            error,
            LedgerError::Unreachable {
                operation: "append events",
                ..
            }
        ),
        "{error:?}"
    );
    cluster.restart().unwrap();
    ledger.append(&id("a"), now, &[log("kept")]).await.unwrap();
    assert_eq!(ledger.run("a").await.unwrap(), row);
    assert_eq!(ledger.events(&id("a")).await.unwrap()[1].event, log("kept"));
}

#[tokio::test]
async fn the_application_and_its_narrow_role_are_left_alone() {
    let home = Home::postgres().await;
    let mut connection = PgConnection::connect(&home.url).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE run (n bigint); CREATE TABLE schema_version (n bigint); CREATE SCHEMA sereno",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let ledger = home.open().await;
    begun(
        &ledger,
        new_run(&id("a"), "key", "purge", at("2026-11-24T02:30:00Z")),
        &[],
    )
    .await;
    let theirs: i64 =
        sqlx::query_scalar("SELECT (SELECT count(*) FROM run) + (SELECT count(*) FROM schema_version)")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(theirs, 0);
    let outside: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(outside, ["run", "schema_version"]);
}

/// A file system of its own, small enough to be filled, gone at the end.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts it, which takes root: a test of full disks without a disk to fill has not passed.
    fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "sereno-test"])
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(
            mounted.status.success(),
            "could not mount a small disk to fill: {}; run this test as root (in a container is enough)",
            String::from_utf8_lossy(&mounted.stderr).trim()
        );
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves not one free block.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        let mut file = File::create(&path).unwrap();
        let mut size = 1 << 20;
        while size > 0 {
            if file.write_all(&vec![1; size]).is_err() {
                size /= 2;
            }
        }
        path
    }

    fn ballast_blocks(&self) -> Option<u64> {
        fs::metadata(self.path().join("sereno.db.ballast"))
            .ok()
            .map(|found| found.blocks() * 512)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a ledger that is still closing has its files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Larger than what SQLite's files have room for already.
fn large_batch(word: &str) -> Vec<RunEvent> {
    (0..4)
        .map(|_| log(&format!("{word} {}", "x".repeat(512 << 10))))
        .collect()
}

async fn lines(ledger: &Arc<dyn Ledger>, run: &RunId) -> Vec<String> {
    let stored = ledger.events(run).await.unwrap();
    let word = |event: RunEvent| match event {
        RunEvent::Log { message, .. } => message.split(' ').next().map(str::to_owned),
        _ => None,
    };
    let mut lines: Vec<String> = stored
        .into_iter()
        .filter_map(|stored| word(stored.event))
        .collect();
    lines.dedup();
    lines
}

#[tokio::test]
async fn a_full_disk_costs_the_ballast_and_not_the_record() {
    let disk = SmallDisk::mount("32m");
    let now = at("2026-11-24T02:30:00Z");
    let ledger = open("sqlite://sereno.db", disk.path()).await;
    let run = id("a");
    begun(&ledger, new_run(&run, "key", "purge", now), &[]).await;
    assert!(
        disk.ballast_blocks().is_some_and(|bytes| bytes >= BALLAST_BYTES),
        "{:?}",
        disk.ballast_blocks()
    );

    let filler = disk.fill("filler");
    ledger.append(&run, now, &large_batch("emergency")).await.unwrap();
    assert_eq!(disk.ballast_blocks(), None);
    assert_eq!(lines(&ledger, &run).await, ["emergency"]);

    // The second time there is nothing left to give up: the batch is refused as a whole, what was there stays.
    let second = disk.fill("second");
    match ledger.append(&run, now, &large_batch("beyond")).await {
        Err(LedgerError::Full(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(lines(&ledger, &run).await, ["emergency"]);
    assert_eq!(ledger.run("a").await.unwrap().state, RunState::Running);

    // As soon as there is room, it goes on by itself, and the ballast comes back.
    fs::remove_file(filler).unwrap();
    fs::remove_file(second).unwrap();
    ledger.append(&run, now, &large_batch("after")).await.unwrap();
    assert_eq!(lines(&ledger, &run).await, ["emergency", "after"]);
    assert!(
        disk.ballast_blocks().is_some_and(|bytes| bytes >= BALLAST_BYTES),
        "{:?}",
        disk.ballast_blocks()
    );
}

#[tokio::test]
async fn a_ledger_on_a_full_disk_can_be_opened_and_a_run_recorded() {
    let disk = SmallDisk::mount("32m");
    let now = at("2026-11-24T02:30:00Z");
    drop(open("sqlite://sereno.db", disk.path()).await);
    disk.fill("filler");

    let ledger = open("sqlite://sereno.db", disk.path()).await;
    let run = id("a");
    begun(&ledger, new_run(&run, "key", "sweep", now), &["x"]).await;
    let end = RunEvent::Ended {
        report: Box::new(report(&run, Outcome::Succeeded, now)),
    };
    ledger.append(&run, now, &[log("swept"), end]).await.unwrap();
    let rows = ledger.runs(&RunQuery::default()).await.unwrap();
    assert_eq!((rows.len(), rows[0].outcome.as_deref()), (1, Some("succeeded")));
}
