//! What a delete would take along, beyond the first foreign key.

use super::world::World;
use super::{INDEX, table, twenty_sessions};

async fn names(world: &World, name: &str) -> Vec<String> {
    let hazards = world.database.hazards(&table(name)).await.expect("an answer");
    let mut names: Vec<_> = hazards.into_iter().map(|hazard| hazard.name).collect();
    names.sort();
    names
}

pub(super) async fn what_follows_what_follows_is_a_hazard(world: World) {
    twenty_sessions(&world, INDEX).await;
    let references = |name: &str, to: &str, action: &str| {
        format!(
            "CREATE TABLE {name} (id integer PRIMARY KEY, up integer REFERENCES {to} (id) ON DELETE {action})"
        )
    };
    for statement in [
        references("carts", "user_sessions", "CASCADE"),
        references("items", "carts", "CASCADE"),
        references("notes", "items", "SET NULL"),
        references("untouched", "notes", "CASCADE"),
        "CREATE TABLE tree (id integer PRIMARY KEY, up integer REFERENCES tree (id) ON DELETE CASCADE)"
            .to_owned(),
    ] {
        world.run(&statement).await;
    }
    for (trigger, event, table) in [
        ("counts", "DELETE", "items"),
        ("never", "UPDATE", "items"),
        ("stamps", "UPDATE", "notes"),
        ("neither", "DELETE", "notes"),
        ("far", "DELETE", "untouched"),
    ] {
        world.create_trigger(trigger, event, table).await;
    }
    assert_eq!(
        names(&world, "user_sessions").await,
        [
            "cascade:carts",
            "cascade:items",
            "cascade:notes",
            "trigger:items.counts",
            "trigger:notes.stamps"
        ]
    );
    assert_eq!(names(&world, "tree").await, ["cascade:tree"]);
}

#[tokio::test]
async fn heirs_and_keys_of_one_partition_are_hazards() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE parent (id integer PRIMARY KEY); CREATE TABLE heir () INHERITS (parent); \
             CREATE SCHEMA shop; CREATE TABLE shop.grandchild () INHERITS (heir); \
             CREATE TABLE orders (id integer, parent integer) PARTITION BY RANGE (id); \
             CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (1) TO (10); \
             CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (10) TO (20); \
             ALTER TABLE orders_2 ADD FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE",
        )
        .await;
    world.create_trigger("on_heir", "DELETE", "heir").await;
    assert_eq!(
        names(&world, "parent").await,
        [
            "cascade:heir",
            "cascade:orders_2",
            "cascade:shop.grandchild",
            "trigger:on_heir"
        ]
    );
}

#[tokio::test]
async fn a_key_of_a_partitioned_table_is_one_hazard_and_its_trigger_another() {
    let world = World::postgres().await;
    world
        .run(
            "CREATE TABLE parent (id integer PRIMARY KEY) PARTITION BY RANGE (id); \
             CREATE TABLE parent_1 PARTITION OF parent FOR VALUES FROM (1) TO (10); \
             CREATE TABLE orders (id integer, parent integer REFERENCES parent (id) ON DELETE CASCADE) PARTITION BY RANGE (id); \
             CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (1) TO (10); \
             CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (10) TO (20)",
        )
        .await;
    world.create_trigger("audit", "DELETE", "orders").await;
    for name in ["parent", "parent_1"] {
        assert_eq!(
            names(&world, name).await,
            ["cascade:orders", "trigger:orders.audit"],
            "{name}"
        );
    }
}
