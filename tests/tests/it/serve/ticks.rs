//! Which ticks are run: each once, whoever of several hosts is first; one of those that went by; those of a new configuration.

use std::sync::Arc;
use std::time::Duration;

use sereno_adapters::ledger as ledgers;
use sereno_tests::postgres;
use sereno_triggers::serve::Rejected;

use super::{World, configuration};

const MINUTE: Duration = Duration::from_mins(1);
const EACH_MINUTE: &str = "schedule = \"* * * * *\"";

/// 25 jobs for 20 minutes are 500 ticks.
#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_on_one_ledger_run_each_of_500_ticks_once() {
    let mut world = World::new(&configuration("", "shared", 25, EACH_MINUTE));
    let database = postgres::shared().unwrap().database("serve_ticks").await.unwrap();
    world.house.services.ledger = ledgers::open(&database.url, world.folder.path()).await.unwrap();
    let (a, b) = (world.start("a"), world.start("b"));
    World::rest(&[&a, &b]);
    for _ in 0..20 {
        world.pass(&[&a, &b], MINUTE);
    }
    let successes = world.successes().await;
    assert_eq!(successes.len(), 500);
    assert!(successes.values().all(|count| *count == 1), "{successes:#?}");
    assert_eq!(world.runs().await.len(), 500, "and nothing else is in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_each_machine_is_cleaned_once_by_each() {
    let world = World::new(&configuration("", "host", 2, EACH_MINUTE));
    let (a, b) = (world.start("a"), world.start("b"));
    World::rest(&[&a, &b]);
    for _ in 0..3 {
        world.pass(&[&a, &b], MINUTE);
    }
    let successes = world.successes().await;
    assert_eq!(successes.len(), 6);
    assert!(successes.values().all(|count| *count == 2), "{successes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_times_that_went_by_while_nobody_was_there_the_latest_is_run_once() {
    let world = World::new(&configuration("", "shared", 1, "schedule = \"*/10 * * * *\""));
    let first = world.start("a");
    World::rest(&[&first]);
    world.pass(&[&first], 10 * MINUTE);
    first.kill();
    // Four times go by; the last of them less than half a period ago.
    world.house.clock.advance(42 * MINUTE);
    let again = world.start("a");
    World::rest(&[&again]);
    assert_eq!(
        world.told().await,
        ["j0 03:10 #1 succeeded", "j0 03:50 #1 succeeded"]
    );
    again.kill();
    // Another start finds nothing missed; nor does one when the latest is too old.
    let third = world.start("a");
    World::rest(&[&third]);
    third.kill();
    world.house.clock.advance(16 * MINUTE);
    let fourth = world.start("a");
    World::rest(&[&fourth]);
    assert_eq!(world.told().await.len(), 2, "{:?}", world.told().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_new_has_missed_nothing() {
    let world = World::new(&configuration("", "shared", 1, "schedule = \"0 3 * * *\""));
    let host = world.start("a");
    World::rest(&[&host]);
    assert_eq!(world.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_makes_one_tick_of_what_it_jumped_over_and_none_twice() {
    let world = World::new(&configuration("", "shared", 1, EACH_MINUTE));
    let host = world.start("a");
    World::rest(&[&host]);
    world.pass(&[&host], MINUTE);
    let before = world.now();
    world.house.clock.set(before + chrono::TimeDelta::hours(5));
    world.pass(&[&host], Duration::from_secs(2));
    world.house.clock.set(before);
    world.pass(&[&host], Duration::from_secs(2));
    // What is due again within the minute it was put back to has been run before.
    world.pass(&[&host], MINUTE);
    assert_eq!(
        world.told().await,
        [
            "j0 03:01 #1 succeeded",
            "j0 08:01 #1 succeeded",
            "j0 03:02 #1 succeeded"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_is_taken_and_one_with_mistakes_is_not() {
    let world = World::new(&configuration("", "shared", 1, EACH_MINUTE));
    let host = world.start("a");
    World::rest(&[&host]);
    *host.offered.0.lock().unwrap() = Some(Err(Rejected("3 mistakes".to_owned())));
    assert_eq!(host.host.reload().await, Err(Rejected("3 mistakes".to_owned())));
    world.pass(&[&host], MINUTE);
    let changed = world.with(&configuration("", "shared", 2, "schedule = \"*/2 * * * *\""));
    *host.offered.0.lock().unwrap() = Some(Ok(changed));
    host.host.reload().await.unwrap();
    let config = Arc::clone(&host.host.services().config);
    assert_eq!(config.jobs.len(), 2);
    for _ in 0..2 {
        world.pass(&[&host], MINUTE);
    }
    let mut told = world.told().await;
    told.sort();
    assert_eq!(
        told,
        [
            "j0 03:01 #1 succeeded",
            "j0 03:02 #1 succeeded",
            "j1 03:02 #1 succeeded"
        ]
    );
}
