//! What a database tells of itself as a whole.

use sereno_core::ports::insight::TableSize;

use super::table;
use super::world::World;

/// Every table, by pages of two.
async fn all_sizes(world: &World) -> Vec<TableSize> {
    let mut sizes = Vec::new();
    let mut cursor = None;
    loop {
        let page = world.database.sizes(cursor.as_deref(), 2).await.expect("a page");
        assert!(page.items.len() <= 2, "{page:?}");
        sizes.extend(page.items);
        cursor = page.cursor;
        if cursor.is_none() {
            sizes.sort_by(|a, b| (&a.schema, &a.table).cmp(&(&b.schema, &b.table)));
            return sizes;
        }
    }
}

fn names(sizes: &[TableSize]) -> Vec<&str> {
    sizes.iter().map(|size| size.table.as_str()).collect()
}

pub(super) async fn every_table_is_told_once_with_its_sizes(world: World) {
    for table in ["a", "b", "c", "d", "e"] {
        world
            .run(&format!(
                "CREATE TABLE {table} (id integer PRIMARY KEY, note text)"
            ))
            .await;
    }
    world.run("CREATE INDEX c_note ON c (note)").await;
    world.run("INSERT INTO c VALUES (1, 'x'), (2, 'y')").await;
    let sizes = all_sizes(&world).await;
    assert_eq!(names(&sizes), ["a", "b", "c", "d", "e"]);
    for size in &sizes {
        assert!(size.bytes.is_some() && size.toast_bytes.is_some(), "{size:?}");
        assert_eq!((size.partitioned, &size.partition_of), (false, &None), "{size:?}");
    }
    let index_bytes = sizes[2].index_bytes.expect("known");
    assert!(sizes[2].bytes > Some(0) && index_bytes > 0, "{:?}", sizes[2]);
    assert!(
        world
            .database
            .sizes(None, 5)
            .await
            .expect("a page")
            .cursor
            .is_none()
    );
}

#[tokio::test]
async fn partitions_long_values_and_other_schemas_are_told_apart() {
    let world = World::postgres().await;
    for sql in [
        "CREATE TABLE events (at date, note text) PARTITION BY RANGE (at)",
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "CREATE SCHEMA tenant_1",
        "CREATE TABLE tenant_1.long (id integer PRIMARY KEY, note text)",
        "ALTER TABLE tenant_1.long ALTER COLUMN note SET STORAGE EXTERNAL",
        "INSERT INTO tenant_1.long VALUES (1, repeat('x', 100000))",
        "CREATE VIEW seen AS SELECT 1 AS one",
    ] {
        world.run(sql).await;
    }
    let sizes = all_sizes(&world).await;
    assert_eq!(names(&sizes), ["events", "events_1", "long"]);
    assert_eq!((sizes[0].partitioned, &sizes[0].partition_of), (true, &None));
    assert_eq!(sizes[1].partition_of.as_deref(), Some("public.events"));
    let long = &sizes[2];
    assert_eq!(long.schema, "tenant_1");
    assert!(
        long.toast_bytes >= Some(100_000) && long.bytes == Some(8_192) && long.index_bytes > Some(0),
        "{long:?}"
    );
}

#[tokio::test]
async fn a_table_that_somebody_has_locked_is_told_without_its_size() {
    let world = World::postgres().await;
    world
        .run("CREATE TABLE free (id integer); CREATE TABLE held (id integer)")
        .await;
    world.run("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE").await;
    let sizes = all_sizes(&world).await;
    world.run("ROLLBACK").await;
    assert_eq!(names(&sizes), ["free", "held"]);
    assert_eq!((sizes[0].bytes, sizes[1].bytes), (Some(0), None));
}

#[tokio::test]
async fn a_cursor_of_something_else_is_refused() {
    let world = World::postgres().await;
    let answer = world.database.sizes(Some("1; DROP TABLE x"), 2).await;
    assert_eq!(
        answer.expect_err("refused").to_string(),
        "`1; DROP TABLE x` is not a cursor of a list of tables"
    );
}

pub(super) async fn indexes_and_foreign_keys_are_told_as_they_are_defined(world: World) {
    for sql in [
        "CREATE TABLE owners (id integer PRIMARY KEY, mail text UNIQUE)",
        "CREATE TABLE things (id integer PRIMARY KEY, owner integer REFERENCES owners (id), maker integer REFERENCES owners (id))",
        "CREATE INDEX things_owner ON things (owner, maker)",
        "CREATE INDEX things_some ON things (maker DESC) WHERE maker > 5",
    ] {
        world.run(sql).await;
    }
    let found = world
        .database
        .index_details(&table("things"))
        .await
        .expect("indexes");
    let of = |name: &str| found.iter().find(|index| index.index == name).expect("an index");
    let two = of("things_owner");
    assert_eq!(two.columns, ["owner", "maker"]);
    assert_eq!(two.ordering.len(), 2, "{two:?}");
    assert!(
        two.valid && !two.unique && !two.primary && !two.constraint,
        "{two:?}"
    );
    assert!(
        two.predicate.is_none() && two.method == "btree" && two.bytes > Some(0),
        "{two:?}"
    );
    let some = of("things_some");
    assert_eq!(some.columns, ["maker"]);
    assert!(
        some.predicate
            .as_deref()
            .is_some_and(|text| text.contains("maker > 5")),
        "{some:?}"
    );
    assert!(
        some.ordering[0].ends_with("desc") || some.ordering[0].contains(" desc"),
        "{some:?}"
    );
    let owners = world
        .database
        .index_details(&table("owners"))
        .await
        .expect("indexes");
    assert!(
        owners
            .iter()
            .any(|index| index.columns == ["mail"] && index.unique && index.constraint),
        "{owners:?}"
    );
    let keys = world.database.foreign_keys(&table("things")).await.expect("keys");
    let mut keys: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                key.columns.join(","),
                key.indexed,
                key.refers_to.rsplit('.').next(),
            )
        })
        .collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            ("maker".to_owned(), false, Some("owners")),
            ("owner".to_owned(), true, Some("owners"))
        ]
    );
}

#[tokio::test]
async fn sqlite_says_what_it_cannot_tell() {
    let world = World::sqlite_file().await;
    let error = world.database.connections(None, 5).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "listing connections is not possible on this database"
    );
    let error = world.database.queries(5).await.expect_err("refused");
    assert_eq!(
        error.to_string(),
        "counting statements is not possible on this database"
    );
}

#[tokio::test]
async fn statements_are_counted_and_told_without_their_literals() {
    let world = World::postgres().await;
    let error = world.database.queries(5).await.expect_err("no extension");
    assert!(
        error.to_string().contains("CREATE EXTENSION pg_stat_statements"),
        "{error}"
    );
    world.run("CREATE EXTENSION pg_stat_statements").await;
    world.run("CREATE TABLE counted (id integer, note text)").await;
    for _ in 0..3 {
        world
            .run("INSERT INTO counted SELECT i, 'secret' FROM generate_series(1, 10) AS i")
            .await;
    }
    let found = world.database.queries(5_000).await.expect("statements");
    assert!(found.since.is_some() && !found.capped, "{found:?}");
    let ids: Vec<String> = found.queries.iter().map(|query| query.id.clone()).collect();
    let texts = world.database.query_texts(&ids).await.expect("texts");
    let (id, text) = texts
        .iter()
        .find(|(_, text)| text.starts_with("INSERT INTO counted"))
        .expect("it is counted");
    assert!(!text.contains("secret"), "{text}");
    let query = found.queries.iter().find(|query| query.id == *id).expect("told");
    assert_eq!((query.calls, query.rows), (3, 30), "{query:?}");
    assert!(query.total_ms > 0.0 && query.user.is_some(), "{query:?}");
}
