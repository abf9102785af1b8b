//! The conformance suite of the database port: one meaning, held against SQLite in a file, SQLite in memory and
//! PostgreSQL.
//!
//! What only one of them can show is in `postgres` and `sqlite`.

mod connections;
mod hazards;
mod insight;
mod postgres;
mod postgres_purge;
mod postgres_sessions;
mod sqlite;
mod upkeep;
mod world;

use std::time::Duration;

use sereno_core::job::NamedQuery;
use sereno_core::name::{RunId, TableName};
use sereno_core::ports::database::{DatabaseError, DeleteBatch, Fence, Purge, UpkeepTask, Wanted};
use sereno_core::value::{Condition, Filter, Instant, Operator, Value};

use hazards::what_follows_what_follows_is_a_hazard;
use insight::{
    every_table_is_told_once_with_its_sizes, indexes_and_foreign_keys_are_told_as_they_are_defined,
};
use upkeep::upkeep_that_would_not_fit_is_not_begun;
use world::World;

/// Runs every test of the suite in every world.
macro_rules! conformance {
    ($($test:ident)*) => {
        mod sqlite_file {
            $(#[tokio::test] async fn $test() { super::$test(super::World::sqlite_file().await).await; })*
        }
        mod sqlite_memory {
            $(#[tokio::test] async fn $test() { super::$test(super::World::sqlite_memory().await).await; })*
        }
        mod postgresql {
            $(#[tokio::test] async fn $test() { super::$test(super::World::postgres().await).await; })*
        }
    };
}

conformance! {
    deletes_exactly_the_rows_that_match
    walks_a_table_without_an_index_on_the_ageing_column
    deletes_up_to_the_limit_then_the_remainder_then_nothing
    refuses_a_foreign_cursor
    refuses_an_empty_filter
    a_preview_changes_nothing_and_says_what_the_apply_does
    a_preview_knows_what_was_planned_away
    null_matches_no_comparison
    a_value_that_does_not_fit_its_column_is_refused
    an_older_token_changes_nothing
    what_is_recorded_is_what_is_gone
    without_a_fence_in_the_database_nothing_is_left_there
    everything_that_is_missing_is_named_at_once
    odd_names_are_taken_byte_for_byte
    counts_rows_less_those_planned_away
    a_query_is_capped_typed_and_cannot_write
    triggers_and_cascades_are_hazards
    what_follows_what_follows_is_a_hazard
    the_clock_is_right_and_sizes_are_known
    upkeep_says_that_it_was_done_and_its_preview_agrees
    upkeep_that_would_not_fit_is_not_begun
    every_table_is_told_once_with_its_sizes
    indexes_and_foreign_keys_are_told_as_they_are_defined
}

pub(crate) fn at(text: &str) -> Instant {
    text.parse().expect("a timestamp")
}

pub(crate) fn table(name: &str) -> TableName {
    name.parse().expect("a table name")
}

pub(crate) fn condition(column: &str, op: Operator, value: Value) -> Condition {
    Condition {
        column: column.to_owned(),
        op,
        value,
    }
}

pub(crate) fn before(column: &str, cutoff: &str) -> Filter {
    Filter(vec![condition(
        column,
        Operator::Less,
        Value::Instant(at(cutoff)),
    )])
}

pub(crate) fn purge(name: &str, order_by: &str, filter: Filter) -> Purge {
    Purge {
        table: table(name),
        filter,
        order_by: order_by.to_owned(),
    }
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::from_entropy(number)
}

pub(crate) fn fence(run: u64, token: i64) -> Fence {
    Fence {
        run: run_id(run),
        attempt: 1,
        scope: "database.app.tables.user_sessions".to_owned(),
        token,
        in_database: true,
    }
}

pub(crate) fn unfenced() -> Fence {
    Fence {
        in_database: false,
        ..fence(99, 0)
    }
}

/// Deletes until there is no cursor; answers the batches.
pub(crate) async fn delete_all(world: &World, purge: &Purge, max: u32, fence: &Fence) -> Vec<DeleteBatch> {
    let mut batches: Vec<DeleteBatch> = Vec::new();
    loop {
        let cursor = batches.last().and_then(|batch| batch.cursor.clone());
        let batch = world
            .database
            .delete_batch(purge, cursor.as_deref(), max, fence)
            .await
            .expect("a batch");
        assert!(batch.rows <= u64::from(max), "{batch:?}");
        let is_last = batch.cursor.is_none();
        batches.push(batch);
        if is_last {
            return batches;
        }
    }
}

/// Previews until there is no cursor; answers the rows.
pub(crate) async fn preview_all(world: &World, purge: &Purge, without: &[Filter], max: u32) -> u64 {
    let (mut cursor, mut rows) = (None::<String>, 0);
    loop {
        let batch = world
            .database
            .preview_delete_batch(purge, without, cursor.as_deref(), max, &unfenced())
            .await
            .expect("a preview");
        rows += batch.rows;
        cursor = batch.cursor;
        if cursor.is_none() {
            return rows;
        }
    }
}

pub(crate) fn total(batches: &[DeleteBatch]) -> u64 {
    batches.iter().map(|batch| batch.rows).sum()
}

const CUTOFF: &str = "2026-01-15T00:00:00Z";

/// Ten rows a day apart, 1 to 10 before the cutoff's midnight, 11 exactly at it, 12 to 20 after.
async fn twenty_sessions(world: &World, index: &str) {
    world
        .run(&format!(
            "CREATE TABLE user_sessions (id integer PRIMARY KEY, updated_at {}, status text)",
            world.timestamp()
        ))
        .await;
    for id in 1..=20 {
        let status = if id % 2 == 0 { "'sent'" } else { "'failed'" };
        world
            .run(&format!(
                "INSERT INTO user_sessions VALUES ({id}, '2026-01-{:02} 00:00:00', {status})",
                id + 4
            ))
            .await;
    }
    world.run(index).await;
}

const INDEX: &str = "CREATE INDEX user_sessions_age ON user_sessions (updated_at)";
const NO_INDEX: &str = "SELECT 1";
const DUMP: &str = "SELECT CAST(id AS text) || ' ' || CAST(updated_at AS text) || ' ' || status FROM user_sessions ORDER BY id";

async fn ids(world: &World) -> Vec<i64> {
    world
        .numbers("SELECT CAST(id AS bigint) FROM user_sessions ORDER BY id")
        .await
}

async fn deletes_exactly_the_rows_that_match(world: World) {
    twenty_sessions(&world, INDEX).await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let batches = delete_all(&world, &purge, 3, &unfenced()).await;
    assert_eq!(total(&batches), 10);
    assert_eq!(
        ids(&world).await,
        (11..=20).collect::<Vec<_>>(),
        "the row exactly at the cutoff stays"
    );
}

async fn walks_a_table_without_an_index_on_the_ageing_column(world: World) {
    twenty_sessions(&world, NO_INDEX).await;
    let mut filter = before("updated_at", CUTOFF);
    filter.0.push(condition(
        "status",
        Operator::Equal,
        Value::Text("sent".to_owned()),
    ));
    let purge = purge("user_sessions", "updated_at", filter);
    assert_eq!(preview_all(&world, &purge, &[], 2).await, 5);
    assert_eq!(total(&delete_all(&world, &purge, 2, &unfenced()).await), 5);
    assert_eq!(
        ids(&world).await,
        [1, 3, 5, 7, 9].into_iter().chain(11..=20).collect::<Vec<_>>()
    );
}

async fn deletes_up_to_the_limit_then_the_remainder_then_nothing(world: World) {
    twenty_sessions(&world, INDEX).await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let first = world
        .database
        .delete_batch(&purge, None, 4, &unfenced())
        .await
        .expect("a batch");
    assert_eq!(first.rows, 4);
    assert_eq!(
        ids(&world).await,
        (5..=20).collect::<Vec<_>>(),
        "the oldest go first"
    );
    let mut cursor = first.cursor;
    let mut rows = 0;
    while let Some(at) = cursor {
        let batch = world
            .database
            .delete_batch(&purge, Some(&at), 100, &unfenced())
            .await
            .expect("a batch");
        rows += batch.rows;
        cursor = batch.cursor;
    }
    assert_eq!(rows, 6);
    let again = world
        .database
        .delete_batch(&purge, None, 100, &unfenced())
        .await
        .expect("a batch");
    assert_eq!(
        again,
        DeleteBatch {
            rows: 0,
            cursor: None,
            locked: 0
        }
    );
    let preview = world
        .database
        .preview_delete_batch(&purge, &[], None, 1, &unfenced())
        .await
        .expect("a preview");
    assert_eq!(
        preview,
        DeleteBatch {
            rows: 0,
            cursor: None,
            locked: 0
        }
    );
}

async fn refuses_a_foreign_cursor(world: World) {
    twenty_sessions(&world, INDEX).await;
    let mine = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    world
        .run("CREATE TABLE other (id integer PRIMARY KEY, updated_at text)")
        .await;
    let first = world
        .database
        .delete_batch(&mine, None, 1, &unfenced())
        .await
        .expect("a batch");
    let cursor = first.cursor.expect("nine rows are left");
    let filter = Filter(vec![condition("id", Operator::Greater, Value::Integer(0))]);
    let other = purge("other", "id", filter);
    for (purge, cursor) in [
        (&mine, "elsewhere"),
        (&mine, "{\"version\":1}"),
        (&other, cursor.as_str()),
    ] {
        for result in [
            world
                .database
                .delete_batch(purge, Some(cursor), 10, &unfenced())
                .await,
            world
                .database
                .preview_delete_batch(purge, &[], Some(cursor), 10, &unfenced())
                .await,
        ] {
            assert!(
                matches!(result, Err(DatabaseError::Invalid(_))),
                "{cursor}: {result:?}"
            );
        }
    }
    assert_eq!(ids(&world).await, (2..=20).collect::<Vec<_>>());
}

async fn refuses_an_empty_filter(world: World) {
    twenty_sessions(&world, INDEX).await;
    let all = purge("user_sessions", "updated_at", Filter::default());
    for result in [
        world.database.delete_batch(&all, None, 10, &unfenced()).await,
        world
            .database
            .preview_delete_batch(&all, &[], None, 10, &unfenced())
            .await,
    ] {
        assert!(matches!(result, Err(DatabaseError::Invalid(_))), "{result:?}");
    }
    assert_eq!(ids(&world).await, (1..=20).collect::<Vec<_>>());
}

async fn a_preview_changes_nothing_and_says_what_the_apply_does(world: World) {
    for index in [INDEX, "DROP INDEX user_sessions_age"] {
        if index == INDEX {
            twenty_sessions(&world, INDEX).await;
        } else {
            world.run(index).await;
        }
        let cutoff = if index == INDEX {
            "2026-01-10T12:00:00Z"
        } else {
            CUTOFF
        };
        let purge = purge("user_sessions", "updated_at", before("updated_at", cutoff));
        let was = world.texts(DUMP).await;
        let planned = preview_all(&world, &purge, &[], 3).await;
        assert_eq!(world.texts(DUMP).await, was);
        assert_eq!(planned, total(&delete_all(&world, &purge, 3, &unfenced()).await));
        assert!(planned > 0);
    }
    assert_eq!(ids(&world).await, (11..=20).collect::<Vec<_>>());
}

async fn a_preview_knows_what_was_planned_away(world: World) {
    twenty_sessions(&world, INDEX).await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let gone = [
        Filter(vec![condition(
            "status",
            Operator::Equal,
            Value::Text("sent".to_owned()),
        )]),
        before("updated_at", "2026-01-06T00:00:00Z"),
    ];
    assert_eq!(
        preview_all(&world, &purge, &gone, 2).await,
        4,
        "of 1 to 10 less the even ones and 1"
    );
}

async fn null_matches_no_comparison(world: World) {
    twenty_sessions(&world, INDEX).await;
    world
        .run("INSERT INTO user_sessions VALUES (100, NULL, NULL)")
        .await;
    for op in [
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::Equal,
        Operator::NotEqual,
    ] {
        let filter = Filter(vec![condition("updated_at", op, Value::Instant(at(CUTOFF)))]);
        let with_null = world
            .database
            .count(&table("user_sessions"), &filter, &[])
            .await
            .expect("a count");
        let expected = match op {
            Operator::Less | Operator::GreaterOrEqual => 10,
            Operator::LessOrEqual => 11,
            Operator::Greater => 9,
            Operator::Equal => 1,
            _ => 19,
        };
        assert_eq!(with_null, expected, "{op:?}");
    }
    let null = Filter(vec![condition("updated_at", Operator::IsNull, Value::Null)]);
    let doomed = purge("user_sessions", "updated_at", null);
    assert_eq!(total(&delete_all(&world, &doomed, 10, &unfenced()).await), 1);
    assert_eq!(ids(&world).await, (1..=20).collect::<Vec<_>>());
}

async fn a_value_that_does_not_fit_its_column_is_refused(world: World) {
    twenty_sessions(&world, INDEX).await;
    for (column, value) in [
        ("id", Value::Text("1".to_owned())),
        ("status", Value::Integer(1)),
        ("updated_at", Value::Null),
        ("updated_at", Value::Integer(0)),
    ] {
        let doomed = purge(
            "user_sessions",
            "updated_at",
            Filter(vec![condition(column, Operator::LessOrEqual, value)]),
        );
        let result = world.database.delete_batch(&doomed, None, 10, &unfenced()).await;
        let Err(DatabaseError::Invalid(text)) = result else {
            panic!("{column}: {result:?}")
        };
        assert!(text.contains(column), "{text}");
    }
    assert_eq!(ids(&world).await, (1..=20).collect::<Vec<_>>());
}

async fn an_older_token_changes_nothing(world: World) {
    twenty_sessions(&world, INDEX).await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let (old, new) = (fence(1, 1), fence(2, 2));
    world.database.take_fence(&old).await.expect("nobody had it");
    world.database.take_fence(&old).await.expect("its own again");
    assert_eq!(
        world
            .database
            .delete_batch(&purge, None, 2, &old)
            .await
            .expect("a batch")
            .rows,
        2
    );
    world.database.take_fence(&new).await.expect("a newer token");
    for result in [
        world.database.take_fence(&old).await,
        world.database.delete_batch(&purge, None, 2, &old).await.map(drop),
    ] {
        assert!(
            matches!(&result, Err(DatabaseError::Fenced { scope }) if *scope == old.scope),
            "{result:?}"
        );
    }
    assert_eq!(ids(&world).await, (3..=20).collect::<Vec<_>>());
    assert_eq!(
        world
            .database
            .delete_batch(&purge, None, 2, &new)
            .await
            .expect("a batch")
            .rows,
        2
    );
    assert_eq!(ids(&world).await, (5..=20).collect::<Vec<_>>());
    let rows: Vec<_> = world
        .database
        .recorded(&old.run)
        .await
        .expect("a record")
        .iter()
        .map(|batch| batch.rows)
        .collect();
    assert_eq!(rows, [2]);
}

async fn what_is_recorded_is_what_is_gone(world: World) {
    twenty_sessions(&world, INDEX).await;
    assert_eq!(world.database.recorded(&run_id(7)).await.expect("a record"), []);
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    let fence = fence(7, 1);
    world.database.take_fence(&fence).await.expect("nobody had it");
    let batches = delete_all(&world, &purge, 3, &fence).await;
    let recorded = world.database.recorded(&fence.run).await.expect("a record");
    assert_eq!(
        recorded.iter().map(|batch| batch.rows).sum::<u64>(),
        20 - ids(&world).await.len() as u64
    );
    let did: Vec<_> = batches.iter().filter(|batch| batch.rows > 0).collect();
    assert_eq!(recorded.len(), did.len());
    for (place, (written, batch)) in recorded.iter().zip(did).enumerate() {
        assert_eq!((written.rows, &written.cursor), (batch.rows, &batch.cursor));
        assert_eq!(
            (written.batch as usize, written.attempt, written.scope.as_str()),
            (place + 1, 1, fence.scope.as_str())
        );
    }
    assert_eq!(world.database.recorded(&run_id(8)).await.expect("a record"), []);
}

async fn without_a_fence_in_the_database_nothing_is_left_there(world: World) {
    twenty_sessions(&world, INDEX).await;
    let was = world.texts(world.tables()).await;
    let purge = purge("user_sessions", "updated_at", before("updated_at", CUTOFF));
    world
        .database
        .take_fence(&unfenced())
        .await
        .expect("nothing to do");
    delete_all(&world, &purge, 100, &unfenced()).await;
    assert_eq!(world.texts(world.tables()).await, was);
}

async fn everything_that_is_missing_is_named_at_once(world: World) {
    twenty_sessions(&world, INDEX).await;
    world
        .run("CREATE VIEW recent AS SELECT id FROM user_sessions")
        .await;
    let sessions = table("user_sessions");
    let wanted = [
        Wanted::Table(sessions.clone()),
        Wanted::Column(sessions.clone(), "updated_at".to_owned()),
        Wanted::Index(sessions.clone(), "user_sessions_age".to_owned()),
        Wanted::Table(table("user_session")),
        Wanted::Column(sessions.clone(), "updated_att".to_owned()),
        Wanted::Column(sessions.clone(), "UPDATED_AT".to_owned()),
        Wanted::Index(sessions.clone(), "user_sessions_ago".to_owned()),
        Wanted::Table(table("recent")),
        Wanted::Table(table("nowhere.user_sessions")),
    ];
    let missing = world.database.missing(&wanted).await.expect("an answer");
    let whats: Vec<_> = missing.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(
        whats,
        [
            "table user_session",
            "column updated_att of table user_sessions",
            "column UPDATED_AT of table user_sessions",
            "index user_sessions_ago of table user_sessions",
            "table recent",
            "table nowhere.user_sessions",
        ]
    );
    assert_eq!(missing[0].hint, "did you mean user_sessions?");
    assert_eq!(missing[1].hint, "did you mean updated_at?");
    assert_eq!(missing[2].hint, "did you mean updated_at?");
    assert_eq!(missing[3].hint, "did you mean user_sessions_age?");
    assert_eq!(missing[4].hint, "it is a view, and only tables can be worked on");
}

async fn odd_names_are_taken_byte_for_byte(world: World) {
    let odd = "Weird Name; DROP TABLE user_sessions";
    twenty_sessions(&world, INDEX).await;
    world
        .run(&format!(
            "CREATE TABLE \"{odd}\" (\"Id \"\"x\"\"\" integer PRIMARY KEY, \"At\" {})",
            world.timestamp()
        ))
        .await;
    world
        .run(&format!(
            "INSERT INTO \"{odd}\" VALUES (1, '2026-01-01 00:00:00'), (2, '2026-02-01 00:00:00')"
        ))
        .await;
    let doomed = purge(odd, "At", before("At", CUTOFF));
    assert_eq!(total(&delete_all(&world, &doomed, 10, &unfenced()).await), 1);
    assert_eq!(
        world
            .numbers(&format!("SELECT CAST(\"Id \"\"x\"\"\" AS bigint) FROM \"{odd}\""))
            .await,
        [2]
    );
    let by_id = purge(
        odd,
        "Id \"x\"",
        Filter(vec![condition("Id \"x\"", Operator::Equal, Value::Integer(2))]),
    );
    assert_eq!(total(&delete_all(&world, &by_id, 10, &unfenced()).await), 1);

    // PostgreSQL cuts names at 63 bytes: a longer one must not reach the table that has its first 63.
    let long = "l".repeat(63);
    world
        .run(&format!(
            "CREATE TABLE {long} (id integer PRIMARY KEY, at {})",
            world.timestamp()
        ))
        .await;
    let longer = table(&format!("{long}l"));
    let missing = world
        .database
        .missing(&[Wanted::Table(longer.clone())])
        .await
        .expect("an answer");
    assert_eq!(missing.len(), 1);
    let doomed = Purge {
        table: longer,
        filter: before("at", CUTOFF),
        order_by: "at".to_owned(),
    };
    let result = world.database.delete_batch(&doomed, None, 10, &unfenced()).await;
    assert!(
        matches!(result, Err(DatabaseError::NotFound { .. })),
        "{result:?}"
    );
    assert_eq!(ids(&world).await, (1..=20).collect::<Vec<_>>());
}

async fn counts_rows_less_those_planned_away(world: World) {
    twenty_sessions(&world, INDEX).await;
    let sessions = table("user_sessions");
    let gone = [before("updated_at", CUTOFF)];
    let sent = Filter(vec![condition(
        "status",
        Operator::Equal,
        Value::Text("sent".to_owned()),
    )]);
    for (filter, without, expected) in [
        (&Filter::default(), &[][..], 20),
        (&Filter::default(), &gone[..], 10),
        (&sent, &[][..], 10),
        (&sent, &gone[..], 5),
    ] {
        let counted = world
            .database
            .count(&sessions, filter, without)
            .await
            .expect("a count");
        assert_eq!(counted, expected, "{filter} without {without:?}");
    }
}

async fn a_query_is_capped_typed_and_cannot_write(world: World) {
    twenty_sessions(&world, INDEX).await;
    let sessions = world.qualified("user_sessions");
    let query = |sql: String, params: &[(&str, &str)], max_rows| NamedQuery {
        sql,
        params: params
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned()))
            .collect(),
        max_rows,
    };
    let newest = query(
        format!(
            "SELECT id, status, NULL AS nil, 1.5 AS half FROM {sessions} WHERE id > $1 AND updated_at > $2 ORDER BY id -- end"
        ),
        &[("id", "integer"), ("since", "timestamp")],
        2,
    );
    let rows = world
        .database
        .query(&newest, &[Value::Integer(3), Value::Instant(at(CUTOFF))])
        .await
        .expect("an answer");
    assert_eq!(rows.columns, ["id", "status", "nil", "half"]);
    let row = |id, status: &str| {
        vec![
            Value::Integer(id),
            Value::Text(status.to_owned()),
            Value::Null,
            Value::Real(1.5),
        ]
    };
    assert_eq!(rows.rows, [row(12, "sent"), row(13, "failed")]);
    assert!(rows.capped);

    let wrong = world
        .database
        .query(
            &newest,
            &[Value::Text("3".to_owned()), Value::Instant(at(CUTOFF))],
        )
        .await;
    assert!(matches!(wrong, Err(DatabaseError::Invalid(_))), "{wrong:?}");
    let few = world.database.query(&newest, &[]).await;
    assert!(matches!(few, Err(DatabaseError::Invalid(_))), "{few:?}");

    let all = query(format!("SELECT id FROM {sessions};"), &[], 20);
    let rows = world.database.query(&all, &[]).await.expect("an answer");
    assert_eq!((rows.rows.len(), rows.capped), (20, false));

    let write = query(format!("DELETE FROM {sessions} RETURNING id"), &[], 20);
    let refused = world.database.query(&write, &[]).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(ids(&world).await, (1..=20).collect::<Vec<_>>());
}

async fn triggers_and_cascades_are_hazards(world: World) {
    twenty_sessions(&world, INDEX).await;
    let sessions = table("user_sessions");
    assert_eq!(world.database.hazards(&sessions).await.expect("an answer"), []);
    world.run("CREATE TABLE carts (id integer PRIMARY KEY, session integer REFERENCES user_sessions (id) ON DELETE CASCADE)").await;
    world.run("CREATE TABLE visits (id integer PRIMARY KEY, session integer REFERENCES user_sessions (id) ON DELETE SET NULL)").await;
    world
        .run("CREATE TABLE harmless (id integer PRIMARY KEY, session integer REFERENCES user_sessions (id))")
        .await;
    world
        .create_trigger("audit_delete", "DELETE", "user_sessions")
        .await;
    world
        .create_trigger("audit_insert", "INSERT", "user_sessions")
        .await;
    let mut names: Vec<_> = world
        .database
        .hazards(&sessions)
        .await
        .expect("an answer")
        .into_iter()
        .map(|hazard| hazard.name)
        .collect();
    names.sort();
    assert_eq!(names, ["cascade:carts", "cascade:visits", "trigger:audit_delete"]);
}

async fn the_clock_is_right_and_sizes_are_known(world: World) {
    twenty_sessions(&world, INDEX).await;
    let now = world.database.now().await.expect("a clock");
    let apart = (chrono::Utc::now() - now).abs();
    assert!(apart < chrono::TimeDelta::seconds(5), "{apart}");
    let statistics = world.database.statistics().await.expect("statistics");
    assert!(
        statistics.bytes.is_some_and(|bytes| bytes > 4_096),
        "{statistics:?}"
    );
    let sessions = world
        .database
        .table_statistics(&table("user_sessions"))
        .await
        .expect("statistics");
    assert!(
        sessions.bytes > sessions.index_bytes && sessions.index_bytes > Some(0),
        "{sessions:?}"
    );
    assert!(!sessions.partitioned);
    let indexes = world
        .database
        .indexes(&table("user_sessions"))
        .await
        .expect("indexes");
    let index = indexes
        .iter()
        .find(|index| index.index == "user_sessions_age")
        .expect("it is listed");
    assert!(
        index.valid && !index.leftover && index.bytes > Some(0),
        "{index:?}"
    );
    let missing = world.database.table_statistics(&table("nowhere")).await;
    assert!(
        matches!(missing, Err(DatabaseError::NotFound { .. })),
        "{missing:?}"
    );
}

async fn upkeep_says_that_it_was_done_and_its_preview_agrees(world: World) {
    twenty_sessions(&world, INDEX).await;
    let was = world.texts(DUMP).await;
    let sessions = table("user_sessions");
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
        let limit = Duration::from_secs(60);
        let planned = world
            .database
            .preview_upkeep(&task, limit, &unfenced())
            .await
            .expect("a preview");
        let done = world
            .database
            .upkeep(&task, limit, &unfenced())
            .await
            .expect("upkeep");
        assert!(done.done, "{task:?}: {done:?}");
        assert_eq!((planned.done, planned.note), (done.done, done.note), "{task:?}");
    }
    assert_eq!(
        world
            .database
            .table_statistics(&sessions)
            .await
            .expect("statistics")
            .rows_estimate,
        Some(20)
    );
    let nowhere = UpkeepTask::Reindex {
        table: sessions,
        index: "nowhere".to_owned(),
    };
    let result = world
        .database
        .upkeep(&nowhere, Duration::from_secs(60), &unfenced())
        .await;
    assert!(
        matches!(result, Err(DatabaseError::NotFound { .. })),
        "{result:?}"
    );
    assert_eq!(world.texts(DUMP).await, was);
}
