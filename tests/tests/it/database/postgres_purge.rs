//! Purges of PostgreSQL beside others at work on the same rows, and over long ranges where little matches.

use std::time::Duration;

use sereno_core::ports::database::DeleteBatch;
use sereno_core::value::{Operator, Value};
use sereno_tests::postgres::shared;

use super::postgres::wait_for_number;
use super::world::World;
use super::{CUTOFF, NO_INDEX, before, condition, ids, purge, twenty_sessions, unfenced};

/// Statements of the adapter that stand at a gate.
const AT_GATE: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name = 'sereno' AND wait_event = 'PgSleep'";

/// A function at which a statement of any role stands until [`OPEN_GATE`].
const GATE: &str = "CREATE TABLE opened (id integer); CREATE FUNCTION gate() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS \
    'BEGIN WHILE NOT EXISTS (SELECT FROM public.opened) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN true; END'";

const OPEN_GATE: &str = "INSERT INTO opened VALUES (1)";

#[tokio::test]
async fn a_row_without_a_key_that_changes_under_every_batch_is_taken_in_the_end() {
    let world = World::postgres().await;
    twenty_sessions(&world, NO_INDEX).await;
    world.run(GATE).await;
    world
        .run(
            "ALTER TABLE user_sessions DROP CONSTRAINT user_sessions_pkey; \
             CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.gate(); RETURN OLD; END'; \
             CREATE TRIGGER wait BEFORE DELETE ON user_sessions FOR EACH ROW EXECUTE FUNCTION wait()",
        )
        .await;
    // Its batches lock nothing before they delete it.
    let cluster = shared().expect("a server");
    cluster
        .execute("CREATE ROLE locks_nothing LOGIN")
        .await
        .expect("a role");
    world
        .run("GRANT SELECT, DELETE ON user_sessions TO locks_nothing")
        .await;
    let narrow = world.as_role("locks_nothing").await;

    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let fence = unfenced();
    let (mut cursor, mut rows) = (None::<String>, Vec::new());
    for changed in ["id IN (7, 8)", "id = 8", "false"] {
        world.run("DELETE FROM opened").await;
        let meanwhile = async {
            wait_for_number(&world, AT_GATE, 1).await;
            world
                .run(&format!(
                    "UPDATE user_sessions SET status = 'seen' WHERE {changed}"
                ))
                .await;
            world.run(OPEN_GATE).await;
        };
        let batch = narrow.delete_batch(&purge, cursor.as_deref(), 100, &fence);
        let (batch, ()) = tokio::join!(batch, meanwhile);
        let batch = batch.expect("a batch");
        assert_eq!(batch.locked, 0, "{changed}: {batch:?}");
        rows.push(batch.rows);
        cursor = batch.cursor;
    }
    assert_eq!((rows.as_slice(), cursor), ([8, 1, 1].as_slice(), None));
    assert_eq!(ids(&world).await, (11..=20).collect::<Vec<_>>());
}

/// More rows than are looked at in one go, of which only the last matches, and a role that stands at the gate at the first.
#[tokio::test]
async fn a_long_walk_without_a_match_comes_back_before_its_end() {
    for preview in [true, false] {
        let world = World::postgres().await;
        world.run(GATE).await;
        world
            .run(
                "CREATE TABLE t (id integer PRIMARY KEY, at timestamptz, status text); \
                 INSERT INTO t SELECT i, '2026-01-01', CASE i WHEN 60000 THEN 'sent' ELSE 'failed' END FROM generate_series(1, 60000) AS i; \
                 CREATE INDEX ON t (at, id); ANALYZE t; ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
                 CREATE POLICY slow ON t USING (CASE id WHEN 1 THEN public.gate() ELSE true END)",
            )
            .await;
        let cluster = shared().expect("a server");
        let role = if preview { "walks_in_a_plan" } else { "walks" };
        cluster
            .execute(&format!("CREATE ROLE {role} LOGIN"))
            .await
            .expect("a role");
        world.run(&format!("GRANT SELECT, DELETE ON t TO {role}")).await;
        let walker = world.as_role(role).await;
        let mut filter = before("at", CUTOFF);
        filter.0.push(condition(
            "status",
            Operator::Equal,
            Value::Text("sent".to_owned()),
        ));
        let purge = purge("t", "at", filter);
        let fence = unfenced();
        let batch = async |cursor: Option<String>| {
            let batch = if preview {
                walker
                    .preview_delete_batch(&purge, &[], cursor.as_deref(), 100, &fence)
                    .await
            } else {
                walker.delete_batch(&purge, cursor.as_deref(), 100, &fence).await
            };
            batch.expect("a batch")
        };
        let a_while = async {
            wait_for_number(&world, AT_GATE, 1).await;
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(6)).await;
            tokio::time::resume();
            world.run(OPEN_GATE).await;
        };
        let (first, ()) = tokio::join!(batch(None), a_while);
        assert_eq!((first.rows, first.locked), (0, 0), "preview: {preview}");
        let cursor = first.cursor.expect("it has not come to the end");
        let last = batch(Some(cursor)).await;
        let expected = DeleteBatch {
            rows: 1,
            cursor: None,
            locked: 0,
        };
        assert_eq!(last, expected, "preview: {preview}");
    }
}
