//! What only PostgreSQL can show: rows that others hold, partitions, zones, roles, interrupted work.

use std::sync::Arc;
use std::time::Duration;

use sereno_adapters::database::{Options, open};
use sereno_core::grant::Verb;
use sereno_core::ports::database::{Database, DatabaseError, DeleteBatch, UpkeepTask, Wanted};
use sereno_core::schedule::Zone;
use sereno_core::value::{Filter, Operator, Value};
use sereno_tests::postgres::shared;
use sqlx::PgConnection;

use super::upkeep::as_planned;
use super::world::{World, options};
use super::{
    CUTOFF, INDEX, NO_INDEX, at, before, condition, delete_all, fence, ids, preview_all, purge, run_id,
    table, total, twenty_sessions, unfenced,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Runs statements on a connection that stays as they leave it.
pub(super) async fn say(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql)
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Looks again and again until `sql` answers `expected`.
pub(super) async fn wait_for_number(world: &World, sql: &str, expected: i64) {
    for _ in 0..1_000 {
        if world.numbers(sql).await == [expected] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{sql} is not {expected} after ten seconds");
}

/// Statements of the adapter that run now.
const RUNNING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name = 'sereno' AND state <> 'idle'";

/// Statements of the adapter that wait for a row.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
    AND application_name = 'sereno' AND wait_event_type = 'Lock'";

#[tokio::test]
async fn a_locked_row_is_skipped_and_deleted_in_the_final_pass() {
    for index in [INDEX, NO_INDEX] {
        let world = World::postgres().await;
        twenty_sessions(&world, index).await;
        let mut other = world.second_postgres().await;
        say(
            &mut other,
            "BEGIN; SELECT FROM user_sessions WHERE id = 3 FOR UPDATE",
        )
        .await;
        let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
        let first = world
            .database
            .delete_batch(&purge, None, 100, &unfenced())
            .await
            .expect("a batch");
        assert_eq!((first.rows, first.locked), (9, 0));
        assert_eq!(
            ids(&world).await,
            [3].into_iter().chain(11..=20).collect::<Vec<_>>()
        );
        say(&mut other, "COMMIT").await;
        let cursor = first.cursor.expect("the final pass is left");
        let last = world
            .database
            .delete_batch(&purge, Some(&cursor), 100, &unfenced())
            .await
            .expect("a batch");
        assert_eq!(
            last,
            DeleteBatch {
                rows: 1,
                cursor: None,
                locked: 0
            }
        );
        assert_eq!(ids(&world).await, (11..=20).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_row_that_stays_locked_is_counted_at_the_end() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let mut other = world.second_postgres().await;
    say(
        &mut other,
        "BEGIN; SELECT FROM user_sessions WHERE id IN (3, 7) FOR UPDATE",
    )
    .await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let batches = delete_all(&world, &purge, 4, &unfenced()).await;
    assert_eq!(total(&batches), 8);
    let locked: Vec<_> = batches.iter().map(|batch| batch.locked).collect();
    assert_eq!(locked.last(), Some(&2), "{locked:?}");
    assert_eq!(locked.iter().sum::<u64>(), 2, "only the last batch says so");
    assert_eq!(
        ids(&world).await,
        [3, 7].into_iter().chain(11..=20).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_role_that_may_only_delete_goes_around_a_locked_row_too() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let cluster = shared().expect("a server");
    cluster
        .execute("CREATE ROLE only_deletes LOGIN")
        .await
        .expect("a role");
    world
        .run("GRANT SELECT, DELETE ON user_sessions TO only_deletes")
        .await;
    let narrow = world.as_role("only_deletes").await;
    let mut other = world.second_postgres().await;
    say(
        &mut other,
        "BEGIN; SELECT FROM user_sessions WHERE id = 3 FOR UPDATE",
    )
    .await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let (mut cursor, mut rows, mut locked) = (None::<String>, 0, 0);
    loop {
        let batch = narrow
            .delete_batch(&purge, cursor.as_deref(), 100, &unfenced())
            .await
            .expect("a batch");
        rows += batch.rows;
        locked += batch.locked;
        cursor = batch.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((rows, locked), (9, 1));
    assert_eq!(
        ids(&world).await,
        [3].into_iter().chain(11..=20).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_session_refreshed_during_the_purge_survives() {
    for (index, key) in [
        (INDEX, "PRIMARY KEY (id)"),
        (NO_INDEX, "PRIMARY KEY (id)"),
        (NO_INDEX, "CHECK (true)"),
    ] {
        let world = World::postgres().await;
        twenty_sessions(&world, index).await;
        world.run(&format!("ALTER TABLE user_sessions DROP CONSTRAINT user_sessions_pkey; ALTER TABLE user_sessions ADD {key}")).await;
        let mut other = world.second_postgres().await;
        say(
            &mut other,
            "BEGIN; UPDATE user_sessions SET updated_at = '2026-06-01' WHERE id = 3",
        )
        .await;
        let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
        let fence = unfenced();
        let batch = world.database.delete_batch(&purge, None, 100, &fence);
        // Without a key nothing waits; with one the batch waits for a moment, and is met there unless it was quicker.
        tokio::pin!(batch);
        let early = tokio::select! {
            batch = &mut batch => Some(batch),
            () = wait_for_number(&world, WAITING, 1) => None,
        };
        say(&mut other, "COMMIT").await;
        let batch = match early {
            Some(batch) => batch,
            None => batch.await,
        };
        let mut cursor = batch.expect("a batch").cursor;
        while let Some(at) = cursor {
            cursor = world
                .database
                .delete_batch(&purge, Some(&at), 100, &fence)
                .await
                .expect("a batch")
                .cursor;
        }
        assert_eq!(
            ids(&world).await,
            [3].into_iter().chain(11..=20).collect::<Vec<_>>(),
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_partitioned_table_loses_only_the_rows_that_match() {
    for key in ["PRIMARY KEY (id, at)", "CHECK (id > 0)"] {
        let world = World::postgres().await;
        world
            .run(&format!(
                "CREATE TABLE logs (id bigint NOT NULL, at timestamptz NOT NULL, {key}) PARTITION BY RANGE (at); \
                 CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); \
                 CREATE TABLE logs_2 PARTITION OF logs FOR VALUES FROM ('2026-02-01') TO ('2026-03-01'); \
                 INSERT INTO logs SELECT i, '2026-01-01'::timestamptz + i * interval '1 day' FROM generate_series(1, 50) AS i; \
                 CREATE INDEX logs_at ON logs (at)"
            ))
            .await;
        let mut other = world.second_postgres().await;
        say(&mut other, "BEGIN; SELECT FROM logs WHERE id = 2 FOR UPDATE").await;
        let doomed = purge("logs", "at", before("at", "2026-02-10T00:00:00Z"));
        assert_eq!(preview_all(&world, &doomed, &[], 7).await, 39);
        let batches = delete_all(&world, &doomed, 7, &unfenced()).await;
        assert_eq!(
            (total(&batches), batches.last().map(|batch| batch.locked)),
            (38, Some(1)),
            "{key}"
        );
        say(&mut other, "COMMIT").await;
        assert_eq!(total(&delete_all(&world, &doomed, 7, &unfenced()).await), 1);
        assert_eq!(
            world.numbers("SELECT id FROM logs ORDER BY id").await,
            (40..=50).collect::<Vec<_>>()
        );
        let statistics = world
            .database
            .table_statistics(&table("logs"))
            .await
            .expect("statistics");
        assert!(
            statistics.partitioned && statistics.bytes > Some(0),
            "{statistics:?}"
        );
        assert!(
            statistics.freeze_age.is_some_and(|age| age < 1_000_000),
            "{statistics:?}"
        );
    }
}

#[tokio::test]
async fn inherited_tables_are_not_walked_by_a_key_that_they_do_not_share() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE parent (id integer PRIMARY KEY, at timestamptz); CREATE INDEX ON parent (at); \
             CREATE TABLE child () INHERITS (parent); \
             INSERT INTO parent SELECT i, '2026-01-01' FROM generate_series(1, 5) AS i; \
             INSERT INTO child SELECT 1, '2026-01-01' FROM generate_series(1, 5)",
        )
        .await;
    let doomed = purge("parent", "at", before("at", CUTOFF));
    let batches = delete_all(&world, &doomed, 2, &unfenced()).await;
    assert_eq!(total(&batches), 10);
    assert_eq!(world.numbers("SELECT count(*) FROM parent").await, [0]);
}

#[tokio::test]
async fn infinite_and_unknown_times_never_match() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE t (id integer PRIMARY KEY, tz timestamptz, ts timestamp, d date); \
             INSERT INTO t VALUES (1, '-infinity', '-infinity', '-infinity'), (2, 'infinity', 'infinity', 'infinity'), \
             (3, NULL, NULL, NULL), (4, '294276-01-01', '294276-01-01', '5000000-01-01'), \
             (5, '4713-01-01 BC', '4713-01-01 BC', '4713-01-01 BC'); \
             CREATE INDEX ON t (tz); CREATE INDEX ON t (ts)",
        )
        .await;
    for column in ["tz", "ts", "d"] {
        let sure = before(column, CUTOFF);
        assert_eq!(
            world
                .database
                .count(&table("t"), &sure, &[])
                .await
                .expect("a count"),
            1,
            "{column}"
        );
        let later = Filter(vec![condition(
            column,
            Operator::Greater,
            Value::Instant(at(CUTOFF)),
        )]);
        assert_eq!(
            world
                .database
                .count(&table("t"), &later, &[])
                .await
                .expect("a count"),
            1,
            "{column}"
        );
    }
    assert_eq!(
        total(&delete_all(&world, &purge("t", "tz", before("tz", CUTOFF)), 10, &unfenced()).await),
        1
    );
    assert_eq!(
        world.numbers("SELECT id::int8 FROM t ORDER BY id").await,
        [1, 2, 3, 4]
    );
}

#[tokio::test]
async fn times_without_zone_are_read_in_the_databases_own() {
    let zone = |url: &str| Options {
        timezone: Zone::parse("America/Mexico_City").expect("a zone"),
        ..options(url)
    };
    let world = World::postgres_with(zone).await;
    // The cutoff is 2026-01-14 18:00 in Mexico City.
    world
        .run(
            "CREATE TABLE t (id integer PRIMARY KEY, ts timestamp, d date); \
             INSERT INTO t VALUES (1, '2026-01-14 17:59:59', '2026-01-13'), (2, '2026-01-14 18:00:00', '2026-01-14'), \
             (3, '2026-01-14 23:00:00', '2026-01-15'); CREATE INDEX ON t (ts)",
        )
        .await;
    for (column, expected) in [("ts", 1), ("d", 1)] {
        let counted = world
            .database
            .count(&table("t"), &before(column, CUTOFF), &[])
            .await
            .expect("a count");
        assert_eq!(counted, expected, "{column}");
    }
    assert_eq!(
        total(&delete_all(&world, &purge("t", "d", before("d", CUTOFF)), 10, &unfenced()).await),
        1
    );
    assert_eq!(world.numbers("SELECT id::int8 FROM t ORDER BY id").await, [2, 3]);
    let query = sereno_core::job::NamedQuery {
        sql: "SELECT ts, 'infinity'::timestamptz, d, 1.5::numeric FROM public.t WHERE id = 2".to_owned(),
        params: Vec::new(),
        max_rows: 5,
    };
    let rows = world.database.query(&query, &[]).await.expect("an answer");
    let expected = [
        Value::Instant(at("2026-01-15T00:00:00Z")),
        Value::Null,
        Value::Text("2026-01-14".to_owned()),
        Value::Real(1.5),
    ];
    assert_eq!(rows.rows, [expected]);
}

#[tokio::test]
async fn text_compares_with_whatever_is_like_text_and_nothing_else() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TYPE state AS ENUM ('pending', 'sent'); CREATE DOMAIN short AS varchar(9); \
             CREATE TABLE t (id uuid PRIMARY KEY, state state, code char(4), label short, n smallint, x float8, \
                ok boolean, at timestamptz, doc jsonb); \
             INSERT INTO t VALUES ('00000000-0000-0000-0000-000000000001', 'sent', 'ab', 'one', 1, 1.5, true, '2026-01-01', '{}'), \
                ('00000000-0000-0000-0000-000000000002', 'pending', 'cd', 'two', 2, 2.5, false, '2026-01-01', '{}'); \
             CREATE INDEX ON t (at)",
        )
        .await;
    let text = |value: &str| Value::Text(value.to_owned());
    for (column, value) in [
        ("state", text("sent")),
        ("code", text("ab")),
        ("label", text("one")),
        ("id", text("00000000-0000-0000-0000-000000000001")),
        ("n", Value::Integer(1)),
        ("n", Value::Real(1.0)),
        ("x", Value::Real(1.5)),
        ("ok", Value::Boolean(true)),
    ] {
        let mut filter = before("at", CUTOFF);
        filter.0.push(condition(column, Operator::Equal, value.clone()));
        assert_eq!(
            preview_all(&world, &purge("t", "at", filter), &[], 1).await,
            1,
            "{column} {value}"
        );
    }
    for (column, value) in [
        ("doc", text("{}")),
        ("at", text("2026")),
        ("n", text("1")),
        ("ok", Value::Integer(1)),
        ("state", Value::Instant(at(CUTOFF))),
    ] {
        let filter = Filter(vec![condition(column, Operator::Equal, value)]);
        let result = world.database.count(&table("t"), &filter, &[]).await;
        assert!(
            matches!(&result, Err(DatabaseError::Invalid(text)) if text.contains(column)),
            "{result:?}"
        );
    }
    let mut filter = before("at", CUTOFF);
    filter.0.push(condition("state", Operator::Equal, text("sent")));
    assert_eq!(
        total(&delete_all(&world, &purge("t", "at", filter), 1, &unfenced()).await),
        1
    );
    assert_eq!(world.texts("SELECT label::text FROM t").await, ["two"]);
}

#[tokio::test]
async fn rules_row_security_and_triggers_of_partitions_are_hazards() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE logs (id integer, at timestamptz) PARTITION BY RANGE (id); \
             CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (10); \
             CREATE TABLE ruled (id integer); CREATE RULE keep AS ON DELETE TO ruled DO INSTEAD NOTHING; \
             CREATE TABLE secured (id integer, owner text); ALTER TABLE secured ENABLE ROW LEVEL SECURITY",
        )
        .await;
    world.create_trigger("on_leaf", "DELETE", "logs_1").await;
    world.create_trigger("switched_off", "DELETE", "logs_1").await;
    world.run("ALTER TABLE logs_1 DISABLE TRIGGER switched_off").await;
    let cluster = shared().expect("a server");
    cluster
        .execute("CREATE ROLE sees_little LOGIN")
        .await
        .expect("a role");
    world.run("GRANT SELECT, DELETE ON secured TO sees_little").await;
    let names = |hazards: Result<Vec<sereno_core::ports::database::Hazard>, DatabaseError>| {
        hazards
            .expect("an answer")
            .into_iter()
            .map(|hazard| hazard.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(world.database.hazards(&table("logs")).await),
        ["trigger:on_leaf"]
    );
    assert_eq!(
        names(world.database.hazards(&table("ruled")).await),
        ["rule:keep"]
    );
    assert_eq!(
        names(world.database.hazards(&table("secured")).await),
        [""; 0],
        "the superuser sees all rows"
    );
    let narrow = world.as_role("sees_little").await;
    assert_eq!(names(narrow.hazards(&table("secured")).await), ["row-security"]);
}

#[tokio::test]
async fn a_read_only_database_is_told_before_the_first_effect() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let cluster = shared().expect("a server");
    cluster
        .execute("CREATE ROLE reads_only LOGIN")
        .await
        .expect("a role");
    cluster
        .execute("ALTER ROLE reads_only SET default_transaction_read_only = on")
        .await
        .expect("a setting");
    world
        .run("GRANT SELECT, DELETE ON user_sessions TO reads_only")
        .await;
    let narrow = world.as_role("reads_only").await;
    let hazards = narrow.hazards(&table("user_sessions")).await;
    assert!(
        matches!(hazards, Err(DatabaseError::Forbidden { .. })),
        "{hazards:?}"
    );
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let result = narrow.delete_batch(&purge, None, 10, &unfenced()).await;
    assert!(
        matches!(result, Err(DatabaseError::Forbidden { .. })),
        "{result:?}"
    );
    let preview = narrow
        .preview_delete_batch(&purge, &[], None, 100, &unfenced())
        .await
        .expect("a preview");
    assert_eq!(preview.rows, 10, "a plan writes nothing");
}

#[tokio::test]
async fn a_narrow_role_is_told_every_right_it_lacks() {
    let world = World::postgres().await;
    world
        .run("CREATE SCHEMA shop; CREATE TABLE shop.\"Order\" (id integer PRIMARY KEY, at timestamptz)")
        .await;
    let cluster = shared().expect("a server");
    cluster
        .execute("CREATE ROLE \"Narrow\" LOGIN")
        .await
        .expect("a role");
    let narrow = world.as_role("Narrow").await;
    let orders = table("shop.Order");
    let verbs = [Verb::Read, Verb::Delete, Verb::Reindex];
    let missing = narrow.rights_missing(&orders, &verbs).await.expect("an answer");
    let hints: Vec<_> = missing.iter().map(|missing| missing.hint.as_str()).collect();
    assert_eq!(hints.len(), 4, "{missing:?}");
    assert_eq!(
        hints[..3],
        [
            "run: GRANT USAGE ON SCHEMA \"shop\" TO \"Narrow\";",
            "run: GRANT SELECT ON \"shop\".\"Order\" TO \"Narrow\";",
            "run: GRANT DELETE ON \"shop\".\"Order\" TO \"Narrow\";",
        ]
    );
    assert!(
        hints[3].contains("MAINTAIN") || hints[3].contains("upkeep_url"),
        "{}",
        hints[3]
    );
    assert_eq!(narrow.rights_missing(&orders, &[]).await.expect("an answer"), []);
    assert_eq!(
        world
            .database
            .rights_missing(&orders, &verbs)
            .await
            .expect("an answer"),
        []
    );

    world
        .run("GRANT USAGE ON SCHEMA shop TO \"Narrow\"; GRANT SELECT, DELETE ON shop.\"Order\" TO \"Narrow\"")
        .await;
    assert_eq!(
        narrow
            .rights_missing(&orders, &[Verb::Read, Verb::Delete])
            .await
            .expect("an answer"),
        []
    );
    let refused = narrow
        .take_fence(&fence(1, 1))
        .await
        .expect_err("it may not create a schema");
    assert!(refused.to_string().contains("ledger only"), "{refused}");
    assert!(matches!(refused, DatabaseError::Forbidden { .. }));
}

#[tokio::test]
async fn tables_of_the_system_are_not_there() {
    let world = World::postgres().await;
    world.database.take_fence(&fence(1, 1)).await.expect("a fence");
    for name in [
        "pg_catalog.pg_class",
        "information_schema.sql_features",
        "sereno.fence",
    ] {
        let missing = world
            .database
            .missing(&[Wanted::Table(table(name))])
            .await
            .expect("an answer");
        assert_eq!(missing.len(), 1, "{name}");
        assert!(missing[0].hint.contains("never worked on"), "{}", missing[0].hint);
    }
}

#[tokio::test]
async fn first_fences_taken_at_once_do_not_meet() {
    let world = World::postgres().await;
    let taken = futures::future::join_all((1..=8).map(|token| {
        let database: Arc<dyn Database> = open(&options(&world.url)).expect("a PostgreSQL URL");
        async move {
            database
                .take_fence(&fence(token, i64::try_from(token).expect("small")))
                .await
        }
    }))
    .await;
    for result in taken {
        assert!(
            matches!(result, Ok(()) | Err(DatabaseError::Fenced { .. })),
            "{result:?}"
        );
    }
    assert_eq!(world.numbers("SELECT token FROM sereno.fence").await, [8]);
}

#[tokio::test]
async fn a_new_fence_waits_for_the_batch_in_flight() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let (old, new) = (fence(1, 1), fence(2, 2));
    world.database.take_fence(&old).await.expect("a fence");
    world
        .run(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END'; \
             CREATE TRIGGER slow BEFORE DELETE ON user_sessions FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let take = async {
        wait_for_number(&world, RUNNING, 1).await;
        wait_for_number(&world, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'", 1).await;
        world.database.take_fence(&new).await.expect("a fence");
        world.numbers("SELECT sum(rows)::int8 FROM sereno.effect").await
    };
    let (batch, recorded) = tokio::join!(world.database.delete_batch(&purge, None, 10, &old), take);
    assert_eq!(batch.expect("it came first").rows, 10);
    assert_eq!(
        recorded,
        [10],
        "the older batch was committed before the new token was"
    );
}

#[tokio::test]
async fn dropping_a_future_cancels_the_statement_and_keeps_every_row() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let fence = fence(3, 1);
    world.database.take_fence(&fence).await.expect("a fence");
    world
        .run(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(20); RETURN OLD; END'; \
             CREATE TRIGGER slow BEFORE DELETE ON user_sessions FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    {
        let batch = world.database.delete_batch(&purge, None, 10, &fence);
        let running = wait_for_number(
            &world,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
            1,
        );
        tokio::select! {
            batch = batch => panic!("the trigger sleeps: {batch:?}"),
            () = running => {}
        }
    }
    wait_for_number(&world, RUNNING, 0).await;
    assert_eq!(ids(&world).await, (1..=20).collect::<Vec<_>>());
    assert_eq!(world.database.recorded(&run_id(3)).await.expect("a record"), []);
    world.run("DROP TRIGGER slow ON user_sessions").await;
    assert_eq!(total(&delete_all(&world, &purge, 4, &fence).await), 10);
    let recorded = world.database.recorded(&run_id(3)).await.expect("a record");
    assert_eq!(recorded.iter().map(|batch| batch.rows).sum::<u64>(), 10);
}

#[tokio::test]
async fn a_table_that_somebody_holds_is_not_vacuumed_and_says_so() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let sessions = table("user_sessions");
    for lock in [
        "BEGIN; LOCK TABLE user_sessions IN SHARE UPDATE EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE user_sessions IN ACCESS EXCLUSIVE MODE",
    ] {
        let mut other = world.second_postgres().await;
        say(&mut other, lock).await;
        for task in [
            UpkeepTask::Vacuum {
                table: sessions.clone(),
                analyze: true,
            },
            UpkeepTask::Analyze {
                table: sessions.clone(),
            },
            UpkeepTask::Reindex {
                table: sessions.clone(),
                index: "user_sessions_age".to_owned(),
            },
        ] {
            let did = as_planned(&world, &task, LIMIT).await;
            assert!(
                !did.done && did.note.as_deref().is_some_and(|note| note.contains("holds")),
                "{task:?} {did:?}"
            );
        }
        say(&mut other, "ROLLBACK").await;
    }
    assert_eq!(
        world
            .numbers("SELECT vacuum_count + analyze_count FROM pg_stat_user_tables")
            .await,
        [0]
    );
}

#[tokio::test]
async fn a_locked_partition_is_named_and_the_others_are_vacuumed() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE logs (id integer) PARTITION BY RANGE (id); \
             CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (10); \
             CREATE TABLE logs_2 PARTITION OF logs FOR VALUES FROM (10) TO (20); \
             INSERT INTO logs SELECT * FROM generate_series(1, 19)",
        )
        .await;
    let mut other = world.second_postgres().await;
    say(
        &mut other,
        "BEGIN; LOCK TABLE logs_2 IN SHARE UPDATE EXCLUSIVE MODE",
    )
    .await;
    let task = UpkeepTask::Vacuum {
        table: table("logs"),
        analyze: false,
    };
    let did = as_planned(&world, &task, LIMIT).await;
    assert_eq!(
        did.note.as_deref(),
        Some("1 of 2 partitions were locked and skipped: logs_2")
    );
    let vacuumed = "SELECT relname::text FROM pg_stat_user_tables WHERE vacuum_count > 0";
    assert_eq!(world.texts(vacuumed).await, ["logs_1"]);
    say(&mut other, "ROLLBACK").await;
    let parent = UpkeepTask::Analyze { table: table("logs") };
    assert!(
        world
            .database
            .upkeep(&parent, LIMIT, &unfenced())
            .await
            .expect("an answer")
            .done
    );
    let statistics = world
        .database
        .table_statistics(&table("logs"))
        .await
        .expect("statistics");
    assert_eq!(statistics.rows_estimate, Some(19));
    assert!(
        statistics.last_analyze.is_some() && statistics.last_vacuum.is_none(),
        "{statistics:?}"
    );
}

#[tokio::test]
async fn vacuum_makes_dead_rows_reusable_and_counts_their_bytes() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE t (id integer PRIMARY KEY, filler text); \
             INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 5000) AS i",
        )
        .await;
    world.run("DELETE FROM t WHERE id > 1000").await;
    wait_for_number(
        &world,
        "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 't'",
        4_000,
    )
    .await;
    let before = world
        .database
        .table_statistics(&table("t"))
        .await
        .expect("statistics");
    assert_eq!(
        (before.dead_rows_estimate, before.last_vacuum),
        (Some(4_000), None)
    );
    let task = UpkeepTask::Vacuum {
        table: table("t"),
        analyze: true,
    };
    let did = as_planned(&world, &task, LIMIT).await;
    assert!(did.done && did.note.is_none(), "{did:?}");
    assert!(did.bytes.is_some_and(|bytes| bytes > 700_000), "{did:?}");
    let after = world
        .database
        .table_statistics(&table("t"))
        .await
        .expect("statistics");
    assert_eq!(after.dead_rows_estimate, Some(0));
    assert!(after.last_vacuum.is_some());
}

#[tokio::test]
async fn what_an_interrupted_rebuild_left_is_reported_with_the_way_to_drop_it() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let sessions = table("user_sessions");
    let task = UpkeepTask::Reindex {
        table: sessions.clone(),
        index: "user_sessions_age".to_owned(),
    };
    let mut other = world.second_postgres().await;
    // A rebuild waits for every older snapshot: it starts, and its time runs out.
    say(
        &mut other,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM user_sessions",
    )
    .await;
    let cut = world
        .database
        .upkeep(&task, Duration::from_millis(500), &unfenced())
        .await
        .expect("an answer");
    assert!(!cut.done, "{cut:?}");
    let note = cut.note.expect("it says why");
    let statement = "DROP INDEX CONCURRENTLY \"public\".\"user_sessions_age_ccnew\";";
    assert!(
        note.contains("stopped after its 500 ms") && note.contains(statement),
        "{note}"
    );
    say(&mut other, "COMMIT").await;

    let leftovers = world.database.indexes(&sessions).await.expect("indexes");
    let leftover = leftovers
        .iter()
        .find(|index| index.leftover)
        .expect("it is listed");
    assert_eq!(
        (leftover.index.as_str(), leftover.valid),
        ("user_sessions_age_ccnew", false)
    );
    for stopped in [
        world.database.preview_upkeep(&task, LIMIT, &unfenced()).await,
        world.database.upkeep(&task, LIMIT, &unfenced()).await,
    ] {
        let stopped = stopped.expect("an answer");
        assert!(
            !stopped.done
                && stopped
                    .note
                    .as_deref()
                    .is_some_and(|note| note.contains(statement)),
            "{stopped:?}"
        );
    }
    world.run(statement).await;
    assert!(
        world
            .database
            .upkeep(&task, LIMIT, &unfenced())
            .await
            .expect("an answer")
            .done
    );
    let indexes = world.database.indexes(&sessions).await.expect("indexes");
    assert!(
        indexes.iter().all(|index| index.valid && !index.leftover),
        "{indexes:?}"
    );
}

#[tokio::test]
async fn dropping_a_rebuild_cancels_it() {
    let world = World::postgres().await;
    twenty_sessions(&world, INDEX).await;
    let task = UpkeepTask::Reindex {
        table: table("user_sessions"),
        index: "user_sessions_age".to_owned(),
    };
    let mut other = world.second_postgres().await;
    say(
        &mut other,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM user_sessions",
    )
    .await;
    {
        let fence = unfenced();
        let rebuild = world.database.upkeep(&task, LIMIT, &fence);
        let building =
            "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()";
        tokio::select! {
            done = rebuild => panic!("it waits for the other transaction: {done:?}"),
            () = wait_for_number(&world, building, 1) => {}
        }
    }
    wait_for_number(&world, RUNNING, 0).await;
}

#[tokio::test]
async fn an_index_of_deleted_rows_is_seen_as_bloated_until_it_is_rebuilt() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE t (id integer PRIMARY KEY, at timestamptz); \
             INSERT INTO t SELECT i, '2026-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(1, 50000) AS i; \
             CREATE INDEX t_at ON t (at); ANALYZE t",
        )
        .await;
    let bloat = async || {
        let indexes = world.database.indexes(&table("t")).await.expect("indexes");
        indexes
            .into_iter()
            .find(|index| index.index == "t_at")
            .expect("it is listed")
    };
    let fresh = bloat().await;
    assert!(
        fresh.bloat_percent.is_some_and(|percent| percent < 10.0),
        "{fresh:?}"
    );
    world.run("DELETE FROM t WHERE id % 10 <> 0").await;
    world.run("VACUUM ANALYZE t").await;
    let bloated = bloat().await;
    assert!(
        bloated.bloat_percent.is_some_and(|percent| percent > 70.0),
        "{bloated:?}"
    );
    let task = UpkeepTask::Reindex {
        table: table("t"),
        index: "t_at".to_owned(),
    };
    let planned = world
        .database
        .preview_upkeep(&task, LIMIT, &unfenced())
        .await
        .expect("a preview");
    let did = world
        .database
        .upkeep(&task, LIMIT, &unfenced())
        .await
        .expect("upkeep");
    let (planned, really) = (planned.bytes.expect("an estimate"), did.bytes.expect("a size"));
    assert!(
        planned.abs_diff(really) < really / 5,
        "estimated {planned}, really {really}"
    );
}

#[tokio::test]
async fn nothing_of_a_url_is_ever_shown() {
    let options = options("postgres://someone:hunter2@localhost:1/secret_name?host=/nowhere/at/all");
    assert!(!format!("{options:?}").contains("hunter2"));
    let database = open(&options).expect("nothing is opened yet");
    let error = database.now().await.expect_err("nobody listens");
    assert!(matches!(error, DatabaseError::Unreachable { .. }), "{error:?}");
    let bad = open(&super::world::options(
        "postgres://user:hunter2@[::1/x?sslmode=nonsense",
    ))
    .map(drop);
    for text in [format!("{error} {error:?}"), format!("{bad:?}")] {
        assert!(
            !text.contains("hunter2") && !text.contains("secret_name"),
            "{text}"
        );
    }
    assert!(bad.is_err());
}

#[tokio::test]
async fn a_count_of_connections_is_the_whole_servers() {
    let world = World::postgres().await;
    world.run("SELECT 1").await;
    let statistics = world.database.statistics().await.expect("statistics");
    assert_eq!(statistics.connections_limit, Some(200));
    assert!(
        statistics.connections.is_some_and(|connections| connections >= 2),
        "{statistics:?}"
    );
}

#[tokio::test]
async fn a_thousand_batches_grow_to_a_quarter_of_a_second() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz, filler text); \
             INSERT INTO t SELECT i, '2026-01-01'::timestamptz + i * interval '1 second', 'x' FROM generate_series(1, 120000) AS i; \
             CREATE INDEX t_at ON t (at, id); ANALYZE t",
        )
        .await;
    let doomed = purge("t", "at", before("at", "2026-01-02T00:00:00Z"));
    let batches = delete_all(&world, &doomed, 1_000_000, &unfenced()).await;
    assert_eq!(total(&batches), 86_399);
    assert_eq!(batches[0].rows, 5_000);
    assert!(
        batches.len() < 18,
        "batches did not grow: {:?}",
        batches.iter().map(|batch| batch.rows).collect::<Vec<_>>()
    );
    assert_eq!(world.numbers("SELECT min(id) FROM t").await, [86_400]);
}
