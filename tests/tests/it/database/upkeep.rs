//! Upkeep that would not fit, that others hold back, and whose tables share names.

use std::time::Duration;

use sereno_core::ports::database::UpkeepTask;

use super::world::World;
use super::{INDEX, table, twenty_sessions, unfenced};

/// Room for all upkeep of these tests.
const LIMIT: Duration = Duration::from_secs(60);

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
    let planned = world
        .database
        .preview_upkeep(&task, small, &unfenced())
        .await
        .expect("a preview");
    let did = world
        .database
        .upkeep(&task, small, &unfenced())
        .await
        .expect("an answer");
    let note = did.note.as_deref().unwrap_or_default();
    assert!(
        !did.done && note.starts_with("skipped: it would not fit into the time left: about "),
        "{did:?}"
    );
    assert_eq!(planned, did);
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
    let planned = world
        .database
        .preview_upkeep(&task, small, &unfenced())
        .await
        .expect("a preview");
    let did = world
        .database
        .upkeep(&task, small, &unfenced())
        .await
        .expect("an answer");
    assert!(
        !did.done
            && did
                .note
                .as_deref()
                .is_some_and(|note| note.contains("would not fit")),
        "{did:?}"
    );
    assert_eq!(planned, did);
    let indexes = world.database.indexes(&table("t")).await.expect("indexes");
    assert_eq!(indexes.len(), 1, "{indexes:?}");
}
