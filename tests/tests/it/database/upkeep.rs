//! Upkeep that would not fit, that others hold back, and whose tables share names.

use std::time::Duration;

use sereno_core::ports::database::{Upkeep, UpkeepTask};

use super::postgres::{say, wait_for_number};
use super::world::World;
use super::{INDEX, table, twenty_sessions, unfenced};

/// Room for all upkeep of these tests.
const LIMIT: Duration = Duration::from_secs(60);

/// Plans a task and does it; the answer, which is the same for both.
pub(super) async fn as_planned(world: &World, task: &UpkeepTask, limit: Duration) -> Upkeep {
    let planned = world.database.preview_upkeep(task, limit, &unfenced()).await;
    let did = world.database.upkeep(task, limit, &unfenced()).await;
    let did = did.expect("an answer");
    assert_eq!(planned.expect("a preview"), did, "{task:?}");
    did
}

pub(super) async fn upkeep_that_would_not_fit_is_not_begun(world: World) {
    twenty_sessions(&world, INDEX).await;
    let filler = "x".repeat(1_000);
    world
        .run("CREATE TABLE wide (id integer PRIMARY KEY, filler text)")
        .await;
    for first in [0, 100, 200, 300] {
        let rows: Vec<_> = (first..first + 100)
            .map(|id| format!("({id}, '{filler}')"))
            .collect();
        world
            .run(&format!("INSERT INTO wide VALUES {}", rows.join(", ")))
            .await;
    }
    let task = UpkeepTask::Vacuum {
        table: table("wide"),
        analyze: false,
    };
    let small = Duration::from_millis(2);
    let did = as_planned(&world, &task, small).await;
    let note = did.note.as_deref().unwrap_or_default();
    assert!(
        !did.done && note.starts_with("skipped: it would not fit into the time left: about "),
        "{did:?}"
    );
    for done in [
        world.database.preview_upkeep(&task, LIMIT, &unfenced()).await,
        world.database.upkeep(&task, LIMIT, &unfenced()).await,
    ] {
        assert!(done.expect("an answer").done);
    }
}

#[tokio::test]
async fn a_rebuild_that_would_not_fit_leaves_nothing_behind() {
    let world = World::postgres().await;
    world
        .run("CREATE TABLE t (id integer, filler text); INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 5000) AS i; CREATE INDEX t_id ON t (id)")
        .await;
    let task = UpkeepTask::Reindex {
        table: table("t"),
        index: "t_id".to_owned(),
    };
    let small = Duration::from_millis(50);
    let did = as_planned(&world, &task, small).await;
    assert!(
        !did.done
            && did
                .note
                .as_deref()
                .is_some_and(|note| note.contains("would not fit")),
        "{did:?}"
    );
    let indexes = world.database.indexes(&table("t")).await.expect("indexes");
    assert_eq!(indexes.len(), 1, "{indexes:?}");
}

#[tokio::test]
async fn leaves_of_one_name_are_told_apart() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE SCHEMA archive; CREATE TABLE logs (id integer) PARTITION BY RANGE (id); \
             CREATE TABLE part PARTITION OF logs FOR VALUES FROM (1) TO (10); \
             CREATE TABLE archive.part PARTITION OF logs FOR VALUES FROM (10) TO (20)",
        )
        .await;
    let mut other = world.second_postgres().await;
    say(
        &mut other,
        "BEGIN; LOCK TABLE archive.part IN SHARE UPDATE EXCLUSIVE MODE",
    )
    .await;
    let task = UpkeepTask::Vacuum {
        table: table("logs"),
        analyze: false,
    };
    let did = as_planned(&world, &task, LIMIT).await;
    assert_eq!(
        did.note.as_deref(),
        Some("1 of 2 partitions were locked and skipped: archive.part")
    );
}

#[tokio::test]
async fn a_foreign_partition_has_no_age_and_needs_no_vacuum() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; \
             CREATE TABLE logs (id integer) PARTITION BY RANGE (id); \
             CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (10); \
             CREATE FOREIGN TABLE logs_2 PARTITION OF logs FOR VALUES FROM (10) TO (20) SERVER nowhere",
        )
        .await;
    world.run("VACUUM logs_1").await;
    // Statistics of a finished VACUUM come late from servers before 15.
    wait_for_number(
        &world,
        "SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'logs_1'",
        1,
    )
    .await;
    let statistics = world
        .database
        .table_statistics(&table("logs"))
        .await
        .expect("statistics");
    assert!(
        statistics.freeze_age.is_some_and(|age| age < 1_000_000),
        "{statistics:?}"
    );
    assert!(statistics.last_vacuum.is_some(), "{statistics:?}");
}

#[tokio::test]
async fn what_a_rebuild_left_on_a_partition_is_reported() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE SCHEMA archive; CREATE TABLE logs (id integer) PARTITION BY RANGE (id); \
             CREATE TABLE archive.part PARTITION OF logs FOR VALUES FROM (1) TO (10); CREATE INDEX logs_id ON logs (id)",
        )
        .await;
    let task = UpkeepTask::Reindex {
        table: table("logs"),
        index: "logs_id".to_owned(),
    };
    let mut other = world.second_postgres().await;
    // A rebuild waits for every older snapshot: it starts, and its time runs out.
    say(
        &mut other,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM logs",
    )
    .await;
    let cut = world
        .database
        .upkeep(&task, Duration::from_millis(500), &unfenced())
        .await
        .expect("an answer");
    say(&mut other, "COMMIT").await;
    let drops = "part_id_idx_ccnew behind; run: DROP INDEX CONCURRENTLY \"archive\".\"part_id_idx_ccnew\";";
    assert_eq!(
        cut.note,
        Some(format!("stopped after its 500 ms; it left {drops}"))
    );
    for again in [
        world.database.preview_upkeep(&task, LIMIT, &unfenced()).await,
        world.database.upkeep(&task, LIMIT, &unfenced()).await,
    ] {
        let again = again.expect("an answer");
        assert_eq!(
            (again.done, again.note),
            (false, Some(format!("an earlier rebuild left {drops}")))
        );
    }
}

#[tokio::test]
async fn whoever_keeps_dead_rows_is_named() {
    for (holds, ends, who) in [
        // It has no snapshot between two statements, but has written.
        (
            "BEGIN; INSERT INTO other VALUES (1)",
            "ROLLBACK",
            "the transaction of process ",
        ),
        (
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t",
            "ROLLBACK",
            "the transaction of process ",
        ),
        (
            "BEGIN; INSERT INTO other VALUES (1); PREPARE TRANSACTION 'kept'",
            "ROLLBACK PREPARED 'kept'",
            "the prepared transaction kept",
        ),
    ] {
        let world = World::postgres().await;
        world
            .run("CREATE TABLE other (id integer); CREATE TABLE t (id integer); INSERT INTO t SELECT generate_series(1, 100)")
            .await;
        let mut holder = world.second_postgres().await;
        say(&mut holder, holds).await;
        world.run("DELETE FROM t WHERE id > 10").await;
        let dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 't'";
        wait_for_number(&world, dead, 90).await;
        let task = UpkeepTask::Vacuum {
            table: table("t"),
            analyze: false,
        };
        let did = world
            .database
            .upkeep(&task, LIMIT, &unfenced())
            .await
            .expect("upkeep");
        let note = did.note.as_deref().unwrap_or_default();
        assert!(
            did.done && note.starts_with(&format!("90 dead rows stay: {who}")),
            "{holds}: {did:?}"
        );
        say(&mut holder, ends).await;
        let did = world
            .database
            .upkeep(&task, LIMIT, &unfenced())
            .await
            .expect("upkeep");
        assert_eq!((did.done, did.note), (true, None), "{holds}");
    }
}
