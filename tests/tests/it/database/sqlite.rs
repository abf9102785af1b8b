//! What only SQLite can get wrong: values of any type in any column, four ways to keep time, one file and one writer.

use std::time::Duration;

use sereno_adapters::database::open;
use sereno_core::job::TimeFormat;
use sereno_core::ports::database::{DatabaseError, UpkeepTask};
use sereno_core::value::{Filter, Operator, Value};
use sqlx::Connection;

use super::world::{World, options};
use super::{at, before, condition, delete_all, purge, table, total, unfenced};

/// Deletes before 2026-01-15 from a column that holds `values`, numbered from 1; answers what stayed.
async fn survivors(format: TimeFormat, declared: &str, values: &[&str]) -> Vec<i64> {
    let world = World::sqlite_file_with(format).await;
    world
        .run(&format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, seen_at {declared}); CREATE INDEX t_seen ON t (seen_at)"
        ))
        .await;
    for (place, value) in values.iter().enumerate() {
        world
            .run(&format!("INSERT INTO t VALUES ({}, {value})", place + 1))
            .await;
    }
    let doomed = purge("t", "seen_at", before("seen_at", "2026-01-15T00:00:00.5Z"));
    delete_all(&world, &doomed, 2, &unfenced()).await;
    world.numbers("SELECT id FROM t ORDER BY id").await
}

#[tokio::test]
async fn text_of_another_type_or_shape_never_matches() {
    let values = [
        "'2026-01-14 23:59:59'",
        "'2026-01-15 00:00:00.499'",
        "'2026-01-15 00:00:00.500'",
        "'2026-01-15 00:00:00.5'",
        "'2025-01-01T00:00:00Z'",
        "'2025-01-01'",
        "'0000-00-00 00:00:00'",
        "'2025-01-01 00:00:00 and more'",
        "'2025-01-01 00:00:00.'",
        "'2025-13-01 00:00:00'",
        "1",
        "1.5",
        "x'00'",
        "NULL",
        "''",
        "'2025-01-01 00:00:00.25'",
    ];
    assert_eq!(
        survivors(TimeFormat::Text, "", &values).await,
        (3..=15).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn iso_text_is_compared_as_time_and_not_as_text() {
    let values = [
        "'2026-01-14T23:59:59Z'",
        "'2026-01-15T00:00:00Z'",
        "'2026-01-15T00:00:00.499Z'",
        "'2026-01-15T00:00:00.500Z'",
        "'2026-01-15T00:00:00.75Z'",
        "'2026-01-15T00:00:01Z'",
        "'2025-01-01 00:00:00'",
        "'2025-01-01T00:00:00'",
        "'2025-01-01T00:00:00+02:00'",
        "5",
    ];
    assert_eq!(
        survivors(TimeFormat::Iso, "DATETIME", &values).await,
        (4..=10).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn epochs_round_the_cutoff_the_safe_way() {
    // 2026-01-15T00:00:00Z is 1768435200; the cutoff is half a second later.
    let values = [
        "1768435199",
        "1768435200",
        "1768435201",
        "1768435200000",
        "'1'",
        "1.5",
        "NULL",
    ];
    assert_eq!(
        survivors(TimeFormat::Epoch, "", &values).await,
        (3..=7).collect::<Vec<_>>()
    );
    let values = [
        "1768435200499",
        "1768435200500",
        "1768435100",
        "0",
        "'2025-01-01 00:00:00'",
        "1768435200000",
    ];
    assert_eq!(
        survivors(TimeFormat::EpochMs, "INTEGER", &values).await,
        [2, 3, 4, 5],
        "seconds are no milliseconds"
    );
}

#[tokio::test]
async fn every_comparison_of_text_is_one_of_time() {
    let world = World::sqlite_file_with(TimeFormat::Iso).await;
    world
        .run("CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT)")
        .await;
    for (id, value) in [
        "2026-01-15T00:00:00Z",
        "2026-01-15T00:00:00.50Z",
        "2026-01-15T00:00:01Z",
    ]
    .iter()
    .enumerate()
    {
        world
            .run(&format!("INSERT INTO t VALUES ({}, '{value}')", id + 1))
            .await;
    }
    for (op, expected) in [
        (Operator::Less, 1),
        (Operator::LessOrEqual, 2),
        (Operator::Equal, 1),
        (Operator::NotEqual, 2),
        (Operator::GreaterOrEqual, 2),
        (Operator::Greater, 1),
    ] {
        let filter = Filter(vec![condition(
            "at",
            op,
            Value::Instant(at("2026-01-15T00:00:00.5Z")),
        )]);
        assert_eq!(
            world
                .database
                .count(&table("t"), &filter, &[])
                .await
                .expect("a count"),
            expected,
            "{op:?}"
        );
    }
}

#[tokio::test]
async fn walks_a_table_without_rowid_and_one_whose_columns_hide_it() {
    let world = World::sqlite_file().await;
    world
        .run(
            "CREATE TABLE pairs (a TEXT, b BLOB, at TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID; \
             CREATE TABLE hidden (rowid TEXT, oid TEXT, at TEXT)",
        )
        .await;
    for number in 0..10 {
        let day = number + 10;
        world
            .run(&format!(
                "INSERT INTO pairs VALUES ('k', x'0{number}', '2026-01-{day} 00:00:00')"
            ))
            .await;
        world
            .run(&format!(
                "INSERT INTO hidden VALUES ('same', '{number}', '2026-01-{day} 00:00:00')"
            ))
            .await;
    }
    for name in ["pairs", "hidden"] {
        let doomed = purge(name, "at", before("at", "2026-01-15T00:00:00Z"));
        assert_eq!(
            total(&delete_all(&world, &doomed, 2, &unfenced()).await),
            5,
            "{name}"
        );
    }
    assert_eq!(
        world.texts("SELECT hex(b) FROM pairs ORDER BY b").await,
        ["05", "06", "07", "08", "09"]
    );
    assert_eq!(
        world.texts("SELECT oid FROM hidden ORDER BY oid").await,
        ["5", "6", "7", "8", "9"]
    );
}

#[tokio::test]
async fn a_missing_file_is_unreachable_and_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("nowhere.db");
    let database =
        open(&options(&format!("sqlite://{}?mode=rwc", path.display()))).expect("nothing is opened yet");
    let result = database.now().await;
    assert!(
        matches!(result, Err(DatabaseError::Unreachable { .. })),
        "{result:?}"
    );
    assert!(!path.exists());
}

#[tokio::test]
async fn another_writer_makes_it_busy_and_changes_nothing() {
    let world = World::sqlite_file().await;
    world.run("CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT); INSERT INTO t VALUES (1, '2025-01-01 00:00:00')").await;
    world.run("BEGIN IMMEDIATE").await;
    let doomed = purge("t", "at", before("at", "2026-01-15T00:00:00Z"));
    let result = world.database.delete_batch(&doomed, None, 10, &unfenced()).await;
    assert!(matches!(result, Err(DatabaseError::Busy { .. })), "{result:?}");
    let vacuum = UpkeepTask::Vacuum {
        table: table("t"),
        analyze: false,
    };
    let skipped = world
        .database
        .upkeep(&vacuum, Duration::from_secs(60), &unfenced())
        .await
        .expect("an answer");
    assert!(
        !skipped.done
            && skipped
                .note
                .is_some_and(|note| note.contains("another connection"))
    );
    world.run("COMMIT").await;
    assert_eq!(world.numbers("SELECT id FROM t").await, [1]);
}

#[tokio::test]
async fn vacuum_gives_back_what_was_deleted_once_for_a_run() {
    let world = World::sqlite_file().await;
    world
        .run(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, filler TEXT); \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
             INSERT INTO t SELECT i, hex(zeroblob(200)) FROM n; DELETE FROM t WHERE id > 100",
        )
        .await;
    let vacuum = UpkeepTask::Vacuum {
        table: table("t"),
        analyze: false,
    };
    let limit = Duration::from_secs(60);
    let planned = world
        .database
        .preview_upkeep(&vacuum, limit, &unfenced())
        .await
        .expect("a preview");
    let done = world
        .database
        .upkeep(&vacuum, limit, &unfenced())
        .await
        .expect("upkeep");
    assert!(
        done.bytes > Some(400_000) && planned.bytes > Some(400_000),
        "{planned:?} {done:?}"
    );
    let again = world
        .database
        .upkeep(&vacuum, limit, &unfenced())
        .await
        .expect("upkeep");
    assert_eq!((again.done, again.bytes), (true, Some(0)));
    assert!(again.note.is_some());
    assert_eq!(
        world.database.statistics().await.expect("statistics").free_bytes,
        Some(0)
    );
}

#[tokio::test]
async fn dropping_a_future_interrupts_the_statement_and_keeps_every_row() {
    let world = World::sqlite_file().await;
    world
        .run(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT, x INTEGER); \
             INSERT INTO t VALUES (1, '2025-01-01 00:00:00', 0); \
             CREATE TRIGGER slow BEFORE DELETE ON t BEGIN \
               INSERT INTO t SELECT 1000 + max(i), '2999-01-01 00:00:00', 0 FROM ( \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000000000) SELECT i FROM n); \
             END",
        )
        .await;
    let doomed = purge("t", "at", before("at", "2026-01-15T00:00:00Z"));
    let fence = unfenced();
    let batch = world.database.delete_batch(&doomed, None, 10, &fence);
    let cut = tokio::time::timeout(Duration::from_millis(300), batch).await;
    assert!(cut.is_err(), "the trigger counts for minutes");
    // The next call has to wait for the connection: it comes back because the statement was interrupted.
    let answered = tokio::time::timeout(Duration::from_secs(20), world.database.now()).await;
    assert!(answered.expect("the connection is free again").is_ok());
    let mut other = world.second_sqlite().await;
    sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK")
        .execute(&mut other)
        .await
        .expect("the write lock is free");
    other.close().await.expect("closes");
    assert_eq!(world.numbers("SELECT id FROM t").await, [1]);
}

#[tokio::test]
async fn a_statement_stops_at_its_limit() {
    let world = World::sqlite_file().await;
    world.run("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    for _ in 0..2 {
        world
            .run(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) \
                 INSERT INTO t SELECT (SELECT coalesce(max(id), 0) FROM t) + i FROM n",
            )
            .await;
    }
    world.run("CREATE INDEX t_id ON t (id)").await;
    let reindex = UpkeepTask::Reindex {
        table: table("t"),
        index: "t_id".to_owned(),
    };
    let cut = world
        .database
        .upkeep(&reindex, Duration::from_millis(1), &unfenced())
        .await
        .expect("an answer");
    assert!(!cut.done, "{cut:?}");
    assert!(
        cut.note
            .as_deref()
            .is_some_and(|note| note.contains("nothing was changed")),
        "{cut:?}"
    );
    let done = world
        .database
        .upkeep(&reindex, Duration::from_secs(60), &unfenced())
        .await
        .expect("upkeep");
    assert!(done.done, "{done:?}");
    assert_eq!(world.numbers("SELECT count(*) FROM t").await, [600_000]);
}
