//! What becomes of a connection to PostgreSQL: statements that end too late, are stopped, fail or are never answered.

use std::time::Duration;

use sereno_core::ports::database::{DatabaseError, UpkeepTask};

use super::postgres::wait_for_number;
use super::world::World;
use super::{CUTOFF, INDEX, before, ids, purge, table, twenty_sessions, unfenced};

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
