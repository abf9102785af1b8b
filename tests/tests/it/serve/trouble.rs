//! What becomes of work when a host dies, a run fails, the next tick comes too soon, or the process is told to go.

use std::time::Duration;

use sereno_core::ports::ledger::Flag;
use sereno_tests::wait::wait_for;
use sereno_triggers::serve::{Ended, Order};

use super::{LIMIT, Running, Script, World, configuration};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const EACH_MINUTE: &str = "schedule = \"* * * * *\"";
const EACH_HOUR: &str = "schedule = \"0 * * * *\"";

/// Lets the tick come and waits until its guest, which stays, is at work.
fn begin(world: &World, hosts: &[&Running], until: Duration) {
    world.scripts.push(Script::Stay);
    world.house.clock.advance(until);
    let began =
        || world.scripts.0.lock().unwrap().is_empty() && hosts.iter().any(|host| host.host.at_work() == 1);
    assert!(wait_for(began, LIMIT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_host_dies_is_closed_and_delivered_again_by_another_though_its_time_is_over() {
    let world = World::new(&configuration("", "shared", 1, EACH_MINUTE));
    let a = world.start("a");
    World::rest(&[&a]);
    begin(&world, &[&a], 50 * SECOND);
    a.kill();
    let b = world.start("b");
    // The next tick meets the dead one's lease, waits until that is over, and is run.
    for _ in 0..100 {
        world.house.clock.advance(SECOND);
        assert!(wait_for(|| b.host.since_looked() == Some(Duration::ZERO), LIMIT));
    }
    World::rest(&[&b]);
    world.pass(&[&b], 30 * SECOND);
    let told = world.told().await;
    assert_eq!(told[0], "j0 03:01 #1 lost");
    let successes = world.successes().await;
    let times: Vec<String> = successes
        .keys()
        .map(|(_, at)| at.format("%H:%M").to_string())
        .collect();
    // Of the second attempt and the next tick, which are due at once, the later one meets the other at work.
    let is_overlapped = told.iter().any(|told| told == "j0 03:02 #1 skipped(overlap)");
    let expected: &[&str] = if is_overlapped {
        &["03:01", "03:03"]
    } else {
        &["03:01", "03:02", "03:03"]
    };
    assert_eq!(times, expected, "{told:#?}");
    assert!(successes.values().all(|count| *count == 1), "{told:#?}");
    // A second attempt that met the tick of its own job at work was made again; the tick is over.
    let others = told
        .iter()
        .filter(|told| !told.ends_with("succeeded") && !told.ends_with("lost"));
    assert!(
        others.into_iter().all(
            |told| ["j0 03:01 #2 skipped(overlap)", "j0 03:02 #1 skipped(overlap)"].contains(&told.as_str())
        ),
        "{told:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_succeed_later_is_tried_again_within_its_retries_rarer_each_time() {
    let world = World::new(&configuration(
        "",
        "shared",
        1,
        &format!("{EACH_HOUR}\nretries = 2"),
    ));
    let host = world.start("a");
    World::rest(&[&host]);
    (0..4).for_each(|_| world.scripts.push(Script::Fail));
    world.house.clock.set("2026-11-20T03:59:59Z".parse().unwrap());
    let mut tried = Vec::new();
    for second in 0..300 {
        world.pass(&[&host], SECOND);
        let runs = world.runs().await.len();
        if runs > tried.len() {
            tried.push(second);
        }
    }
    assert_eq!(
        world.told().await,
        [
            "j0 04:00 #1 failed(retryable)",
            "j0 04:00 #2 failed(retryable)",
            "j0 04:00 #3 failed(retryable)"
        ]
    );
    let [first, second, third] = tried[..] else {
        panic!("{tried:?}")
    };
    assert!(
        (30..=60).contains(&(second - first)) && (60..=90).contains(&(third - second)),
        "{tried:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_that_meets_the_one_before_it_at_work_is_skipped_and_recorded() {
    let world = World::new(&configuration("", "shared", 1, EACH_MINUTE));
    let host = world.start("a");
    World::rest(&[&host]);
    begin(&world, &[&host], 50 * SECOND);
    // Second by second, so that the lease is renewed as it is in life.
    for _ in 0..60 {
        world.house.clock.advance(SECOND);
        let beat = || host.host.since_looked() == Some(Duration::ZERO) && world.house.clock.sleepers() >= 2;
        assert!(wait_for(beat, LIMIT));
    }
    assert!(wait_for(|| host.host.at_work() == 1, LIMIT));
    assert_eq!(
        world.told().await,
        ["j0 03:01 #1 at work", "j0 03:02 #1 skipped(overlap)"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_takes_nothing_new_and_interrupts_after_the_grace_and_another_host_goes_on() {
    let world = World::new(&configuration("drain = \"20s\"", "shared", 1, EACH_HOUR));
    let a = world.start("a");
    World::rest(&[&a]);
    world.house.clock.set("2026-11-20T03:59:59Z".parse().unwrap());
    begin(&world, &[&a], SECOND);
    a.orders.send(Order::Stop).await.unwrap();
    assert!(wait_for(|| a.host.is_draining(), LIMIT));
    assert!(
        wait_for(|| a.keeping.is_finished(), LIMIT),
        "it keeps no schedule any more"
    );
    assert!(!a.ended.is_finished(), "what runs may end");
    let asleep = world.house.clock.sleepers();
    assert!(asleep > 0);
    let gone = || {
        world.house.clock.advance(SECOND);
        a.ended.is_finished()
    };
    assert!(wait_for(gone, LIMIT));
    assert_eq!(world.told().await, ["j0 04:00 #1 interrupted"]);
    let b = world.start("b");
    World::rest(&[&b]);
    assert_eq!(
        world.told().await,
        ["j0 04:00 #1 interrupted", "j0 04:00 #2 succeeded"]
    );
    b.orders.send(Order::Stop).await.unwrap();
    assert!(wait_for(|| b.ended.is_finished(), LIMIT));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_twice_it_stops_at_once() {
    let world = World::new(&configuration("", "shared", 1, EACH_HOUR));
    let mut host = world.start("a");
    World::rest(&[&host]);
    world.house.clock.set("2026-11-20T03:59:59Z".parse().unwrap());
    begin(&world, &[&host], SECOND);
    for _ in 0..2 {
        host.orders.send(Order::Stop).await.unwrap();
    }
    assert_eq!((&mut host.ended).await.unwrap(), Ended::AtOnce);
    assert_eq!(world.told().await, ["j0 04:00 #1 at work"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_is_skipped_and_recorded() {
    let world = World::new(&configuration("", "shared", 2, EACH_MINUTE));
    let host = world.start("a");
    World::rest(&[&host]);
    let now = world.now();
    world
        .house
        .services
        .ledger
        .set_flag("j1", Flag::Pause, true, now)
        .await
        .unwrap();
    world.pass(&[&host], MINUTE);
    let mut told = world.told().await;
    told.sort();
    assert_eq!(told, ["j0 03:01 #1 succeeded", "j1 03:01 #1 skipped(paused)"]);
}
