//! What becomes of a connection to PostgreSQL: statements that end too late, are stopped, fail or are never answered.

use std::time::Duration;

use sereno_adapters::database::open;
use sereno_core::ports::database::{DatabaseError, UpkeepTask};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::postgres::wait_for_number;
use super::world::{World, options};
use super::{CUTOFF, INDEX, before, fence, ids, purge, table, twenty_sessions, unfenced};

/// Statements that sleep.
const SLEEPING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";

#[tokio::test]
async fn a_timeout_is_told_by_its_code_in_any_language() {
    let world = World::postgres().await;
    // A server of another language says it in its own words.
    world
        .run(
            "CREATE FUNCTION slow(n integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN n; END'; \
             CREATE TABLE t (id integer); INSERT INTO t VALUES (1); CREATE INDEX ON t (slow(id)); \
             CREATE OR REPLACE FUNCTION slow(n integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ \
             BEGIN PERFORM pg_catalog.pg_sleep(60); RETURN n; EXCEPTION WHEN query_canceled THEN \
             RAISE EXCEPTION 'storniere Anfrage wegen Zeitüberschreitung der Anfrage' USING ERRCODE = 'query_canceled'; END $$",
        )
        .await;
    let task = UpkeepTask::Analyze { table: table("t") };
    let cut = world
        .database
        .upkeep(&task, Duration::from_millis(500), &unfenced())
        .await
        .expect("an answer");
    assert_eq!(
        (cut.done, cut.note.as_deref()),
        (false, Some("stopped after its 500 ms; nothing was changed"))
    );
}

#[tokio::test]
async fn a_statement_that_a_person_cancels_has_not_timed_out() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    world
        .run(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN OLD; END'; \
             CREATE TRIGGER slow BEFORE DELETE ON user_sessions FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let fence = unfenced();
    let cancel = async {
        wait_for_number(&world, SLEEPING, 1).await;
        world
            .run("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
            .await;
    };
    let (batch, ()) = tokio::join!(world.database.delete_batch(&purge, None, 10, &fence), cancel);
    assert!(
        matches!(&batch, Err(DatabaseError::Fault { reason, .. }) if reason.contains("57014")),
        "{batch:?}"
    );
    assert_eq!(ids(&world).await, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_that_fails_leaves_no_lock_behind() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let (old, new, newer) = (fence(1, 1), fence(2, 2), fence(3, 3));
    world.database.take_fence(&old).await.expect("nobody had it");
    world.database.take_fence(&new).await.expect("a newer token");
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let late = world.database.delete_batch(&purge, None, 10, &old).await;
    assert!(matches!(late, Err(DatabaseError::Fenced { .. })), "{late:?}");
    // The batch had the fence's row locked. The next run is another process, and does not wait for this one's transaction.
    let next = open(&options(&world.url)).expect("a PostgreSQL URL");
    next.take_fence(&newer)
        .await
        .expect("nobody holds the fence's row");
}

/// A way to a server on which nothing arrives any more once it is cut, as behind a firewall that dropped it.
struct Wire {
    url: String,
    cut: watch::Sender<bool>,
    _folder: TempDir,
}

impl Wire {
    fn to(url: &str) -> Self {
        let (before, folder) = url.split_once("?host=").expect("the socket's folder");
        let server = format!("{folder}/.s.PGSQL.5432");
        // Not TMPDIR: the path of a unix socket has at most 107 bytes.
        let folder = tempfile::tempdir_in("/tmp").expect("a folder");
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).expect("a socket");
        let (cut, is_cut) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = UnixStream::connect(&server).await.expect("the server");
                let mut is_cut = is_cut.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = is_cut.wait_for(|cut| *cut) => {}
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    }
                    // Both ends stay open, and hear nothing.
                    std::future::pending::<()>().await;
                    drop((client, server));
                });
            }
        });
        Self {
            url: format!("{before}?host={}", folder.path().display()),
            cut,
            _folder: folder,
        }
    }
}

#[tokio::test]
async fn a_server_that_answers_no_more_is_out_of_reach() {
    let world = World::postgres().await;
    let wire = Wire::to(&world.url);
    let database = open(&options(&wire.url)).expect("a PostgreSQL URL");
    database.now().await.expect("a clock");
    wire.cut.send_replace(true);
    // From here on time passes as soon as nothing else happens.
    tokio::time::pause();
    let lost = database.now().await;
    assert!(
        matches!(&lost, Err(DatabaseError::Unreachable { reason, .. }) if reason == "no answer in 10 s"),
        "{lost:?}"
    );
    let still = database.now().await;
    assert!(
        matches!(&still, Err(DatabaseError::Unreachable { reason, .. }) if reason == "no answer in 10 s"),
        "nor does it let anybody in: {still:?}"
    );
}

#[tokio::test]
async fn a_connection_that_lay_and_answers_no_ping_is_replaced() {
    let world = World::postgres().await;
    let wire = Wire::to(&world.url);
    let database = open(&options(&wire.url)).expect("a PostgreSQL URL");
    database.now().await.expect("a clock");
    wire.cut.send_replace(true);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    let began = tokio::time::Instant::now();
    let lost = database.now().await;
    assert!(matches!(lost, Err(DatabaseError::Unreachable { .. })), "{lost:?}");
    assert_eq!(
        began.elapsed().as_secs(),
        12,
        "two for the ping, ten for a connection in its place"
    );
}
