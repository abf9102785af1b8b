//! What every ledger promises of leases: all or none, tokens that only grow, orphans that are taken over once, and races.

use futures::future::join_all;
use sereno_adapters::clock::FakeClock;
use sereno_adapters::ledger::MemoryLedger;
use sereno_core::name::RunId;
use sereno_core::ports::clock::Clock;
use sereno_core::ports::ledger::{Flag, Held, Lease, Ledger, LedgerError, Past, RunQuery, Start};
use sereno_core::run::{Outcome, RunEvent};
use sereno_core::value::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Home, NEARLY_TTL, TTL, begun, end, ended, every_home, id, ids, job, log, midnight, new_run, report,
    scopes, start,
};

every_home! {
    scopes_are_taken_all_or_none
    a_lease_ends_with_its_time_and_its_token_grows_for_ever
    a_new_ledger_is_not_shut_out_by_the_fences_of_an_older_one
    the_end_of_a_run_gives_its_leases_back
    a_run_learns_that_its_lease_went_to_another
    an_orphan_is_taken_over_once_and_learns_of_it
    an_attempt_begins_only_after_all_that_its_caller_has_seen
    all_that_was_before_is_told_at_once
    a_running_run_without_a_lease_is_an_orphan
    of_many_that_take_one_scope_one_wins
    of_many_that_take_overlapping_scopes_each_gets_all_or_none
    of_many_that_start_one_attempt_one_begins
    many_that_append_to_one_run_leave_no_gap
}

/// A run of its own key, that wants `names`.
async fn wish(ledger: &Arc<dyn Ledger>, run: &str, name: &str, names: &[&str], now: Instant) -> Start {
    start(ledger, new_run(&id(run), run, name, now), names).await
}

fn leases(start: Start) -> Vec<Lease> {
    match start {
        Start::Begun(_, leases) => leases,
        other => panic!("{other:?}"),
    }
}

fn holders(start: Start) -> Vec<RunId> {
    match start {
        Start::Held(held) => held.into_iter().map(|held| held.run).collect(),
        other => panic!("{other:?}"),
    }
}

async fn scopes_are_taken_all_or_none(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let now = clock.now();
    let taken = leases(wish(&ledger, "a", "purge", &["y", "x", "y"], now).await);
    assert_eq!(
        taken
            .iter()
            .map(|lease| (lease.scope.as_str(), &lease.run, lease.until))
            .collect::<Vec<_>>(),
        [("x", &id("a"), now + TTL), ("y", &id("a"), now + TTL)]
    );

    clock.advance(Duration::from_secs(59));
    let refused = wish(&ledger, "b", "sweep", &["w", "x", "y", "z"], clock.now()).await;
    let holds = |scope: &str| Held {
        scope: scope.to_owned(),
        run: id("a"),
        work: job("purge"),
        until: now + TTL,
    };
    assert_eq!(refused, Start::Held(vec![holds("x"), holds("y")]));
    // Nothing of the refused wish is there: no run, and what was free still is.
    assert!(matches!(ledger.run("b").await, Err(LedgerError::NoRun(_))));
    let third = leases(wish(&ledger, "c", "sweep", &["z", "w"], clock.now()).await);
    assert_eq!(third.len(), 2);
    assert_eq!(leases(wish(&ledger, "d", "sweep", &[], clock.now()).await), []);
}

async fn a_lease_ends_with_its_time_and_its_token_grows_for_ever(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let first = leases(wish(&ledger, "a", "purge", &["x"], clock.now()).await)[0].token;
    clock.advance(NEARLY_TTL);
    let held = wish(&ledger, "b", "purge", &["x"], clock.now()).await;
    assert_eq!(holders(held), [id("a")]);
    clock.advance(Duration::from_micros(1));
    // At the very end of its time it is over.
    let second = leases(wish(&ledger, "b", "purge", &["x"], clock.now()).await)[0].token;
    end(&ledger, &id("b")).await;
    // The same moment, or an earlier one: somebody's clock is late.
    let third = leases(wish(&ledger, "c", "purge", &["x"], clock.now()).await)[0].token;
    end(&ledger, &id("c")).await;
    let fourth = leases(wish(&ledger, "d", "purge", &["x"], midnight()).await)[0].token;
    assert!(
        first < second && second < third && third < fourth,
        "{first} {second} {third} {fourth}"
    );
}

/// Fences stay in the targets when a ledger is lost or replaced.
async fn a_new_ledger_is_not_shut_out_by_the_fences_of_an_older_one(home: Home) {
    let ledger = home.open().await;
    let older: Arc<dyn Ledger> = Arc::new(MemoryLedger::default());
    let clock = FakeClock::at(midnight());
    let mut token = 0;
    for run in ["a", "b", "c"] {
        token = leases(wish(&older, run, "purge", &["x"], clock.now()).await)[0].token;
        end(&older, &id(run)).await;
    }
    clock.advance(Duration::from_millis(1));
    assert!(leases(wish(&ledger, "a", "purge", &["x"], clock.now()).await)[0].token > token);
}

async fn the_end_of_a_run_gives_its_leases_back(home: Home) {
    let ledger = home.open().await;
    leases(wish(&ledger, "a", "purge", &["x", "y"], midnight()).await);
    leases(wish(&ledger, "b", "purge", &["z"], midnight()).await);
    ledger.append(&id("a"), midnight(), &[log("line")]).await.unwrap();
    assert_eq!(
        holders(wish(&ledger, "c", "purge", &["x"], midnight()).await),
        [id("a")]
    );
    end(&ledger, &id("a")).await;
    leases(wish(&ledger, "c", "purge", &["x", "y"], midnight()).await);
    // What was refused gives nothing back.
    let late = ended(&id("b"), Outcome::Succeeded, midnight());
    let refused = ledger.append(&id("b"), midnight(), &[late, log("after")]).await;
    assert!(matches!(refused, Err(LedgerError::Illegal { .. })));
    assert_eq!(
        holders(wish(&ledger, "d", "purge", &["z"], midnight()).await),
        [id("b")]
    );
}

async fn a_run_learns_that_its_lease_went_to_another(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let renew = async |run: &str| ledger.renew(&id(run), clock.now(), TTL).await.unwrap();
    assert!(!renew("a").await, "it holds nothing");
    leases(wish(&ledger, "a", "purge", &["x", "y"], clock.now()).await);
    clock.advance(Duration::from_secs(45));
    assert!(renew("a").await);
    clock.advance(Duration::from_secs(45));
    // A renewed lease holds for its whole time again.
    assert_eq!(
        holders(wish(&ledger, "b", "purge", &["x"], clock.now()).await),
        [id("a")]
    );
    clock.advance(TTL);
    leases(wish(&ledger, "b", "purge", &["x"], clock.now()).await);
    assert!(!renew("a").await);
    // Even when the other is done and a third one has come and gone.
    end(&ledger, &id("b")).await;
    assert!(!renew("a").await);
    leases(wish(&ledger, "c", "purge", &["x"], clock.now()).await);
    end(&ledger, &id("c")).await;
    assert!(!renew("a").await);
    // Its other lease goes on; who took over never lost anything.
    assert_eq!(
        holders(wish(&ledger, "d", "purge", &["y"], clock.now()).await),
        [id("a")]
    );
    leases(wish(&ledger, "d", "purge", &["x"], clock.now()).await);
    assert!(renew("d").await);
}

async fn a_running_run_without_a_lease_is_an_orphan(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    for (run, names) in [("a", &["x"] as &[&str]), ("b", &[]), ("c", &["z"]), ("d", &["w"])] {
        leases(wish(&ledger, run, "purge", names, clock.now()).await);
    }
    end(&ledger, &id("d")).await;
    let orphans = async || ids(&ledger.orphans(clock.now()).await.unwrap()).join(" ");
    assert_eq!(orphans().await, "b000000000");
    clock.advance(NEARLY_TTL);
    assert_eq!(orphans().await, "b000000000");
    ledger.renew(&id("c"), clock.now(), TTL).await.unwrap();
    clock.advance(Duration::from_micros(1));
    assert_eq!(orphans().await, "a000000000 b000000000");
    let orphan = ledger.orphans(clock.now()).await.unwrap().remove(0);
    assert_eq!(orphan, ledger.run("a").await.unwrap());
}

async fn an_orphan_is_taken_over_once_and_learns_of_it(home: Home) {
    let ledger = home.open().await;
    let clock = FakeClock::at(midnight());
    let run = id("a");
    let own = leases(wish(&ledger, "a", "purge", &["key", "x", "y"], clock.now()).await);
    let take_over = async |run: &RunId| ledger.take_over(run, clock.now(), TTL).await.unwrap();
    assert_eq!(take_over(&run).await, None, "it lives");
    clock.advance(TTL);
    // One of its scopes has gone to another run already.
    leases(wish(&ledger, "b", "sweep", &["x"], clock.now()).await);
    let taken = take_over(&run).await.unwrap();
    assert_eq!(
        taken
            .iter()
            .map(|lease| (lease.scope.as_str(), &lease.run, lease.until))
            .collect::<Vec<_>>(),
        [("key", &run, clock.now() + TTL), ("y", &run, clock.now() + TTL)]
    );
    assert!(taken[0].token > own[0].token && taken[1].token > own[2].token);
    assert_eq!(take_over(&run).await, None, "somebody is at it");
    assert!(!ledger.renew(&run, clock.now(), TTL).await.unwrap());
    // Whoever was at it died as well.
    clock.advance(TTL);
    assert_eq!(ids(&ledger.orphans(clock.now()).await.unwrap()).len(), 2);
    assert_eq!(take_over(&run).await.unwrap().len(), 2);
    let lost = report(&run, Outcome::Lost("gone".to_owned()), clock.now());
    let rescued = RunEvent::Rescued {
        report: Box::new(lost),
    };
    ledger.append(&run, clock.now(), &[rescued]).await.unwrap();
    assert_eq!(take_over(&run).await, None, "it has ended");
    leases(wish(&ledger, "c", "purge", &["key", "y"], clock.now()).await);
    // One that holds nothing any more can be closed all the same.
    leases(wish(&ledger, "d", "purge", &[], clock.now()).await);
    assert_eq!(take_over(&id("d")).await, Some(vec![]));
    assert!(matches!(
        ledger.take_over(&id("e"), clock.now(), TTL).await,
        Ok(None) | Err(LedgerError::NoRun(_))
    ));
}

async fn an_attempt_begins_only_after_all_that_its_caller_has_seen(home: Home) {
    let ledger = home.open().await;
    let attempt = async |run: &str, attempt: u32, names: &[&str]| {
        let mut new = new_run(&id(run), "key", "purge", midnight());
        new.row.attempt = attempt;
        ledger.start(new, &scopes(names), TTL).await.unwrap()
    };
    assert_eq!(attempt("a", 2, &["x"]).await, Start::Overtaken);
    let Start::Begun(first, _) = attempt("a", 1, &["x"]).await else {
        panic!("there was none before");
    };
    assert_eq!(first.attempt, 1);
    // At work: that is told first, whatever the caller knew.
    assert_eq!(holders(attempt("b", 1, &["x"]).await), [id("a")]);
    end(&ledger, &id("a")).await;
    assert_eq!(attempt("b", 1, &["x"]).await, Start::Overtaken);
    assert!(matches!(ledger.run("b").await, Err(LedgerError::NoRun(_))));
    // Nothing was taken by it either.
    leases(wish(&ledger, "c", "purge", &["x"], midnight()).await);
    assert!(matches!(attempt("b", 2, &["y"]).await, Start::Begun(row, _) if row.attempt == 2));
}

async fn all_that_was_before_is_told_at_once(home: Home) {
    let ledger = home.open().await;
    let past = async |name: &str, key: &str, now: Instant| ledger.past(&job(name), key, now).await.unwrap();
    assert_eq!(past("purge", "key", midnight()).await, Past::default());
    let (first, _) = begun(&ledger, new_run(&id("b"), "key", "purge", midnight()), &[]).await;
    let (second, _) = begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &["x"]).await;
    let (other, _) = begun(&ledger, new_run(&id("c"), "other", "sweep", midnight()), &["y"]).await;
    ledger
        .set_flag("sweep", Flag::Pause, true, midnight())
        .await
        .unwrap();
    assert_eq!(
        past("purge", "key", midnight()).await,
        Past {
            orphans: vec![first.clone()],
            attempts: vec![second.clone(), first.clone()],
            paused: false
        }
    );
    assert_eq!(
        past("sweep", "nothing", midnight() + TTL).await,
        Past {
            orphans: vec![first, second, other],
            attempts: vec![],
            paused: true
        }
    );
    ledger.set_flag("*", Flag::Pause, true, midnight()).await.unwrap();
    assert!(past("purge", "key", midnight()).await.paused);
}

/// As many as race for one thing.
const RACERS: u32 = 8;

/// Runs `f` once for each racer, on handles of their own, all at once.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    home: &Home,
    f: impl Fn(Arc<dyn Ledger>, RunId) -> F,
) -> Vec<T> {
    let handles = home.open_many(RACERS.try_into().unwrap()).await;
    let racers = handles
        .into_iter()
        .zip(0..)
        .map(|(ledger, place)| tokio::spawn(f(ledger, RunId::from_entropy(place))));
    join_all(racers.collect::<Vec<_>>())
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

async fn of_many_that_take_one_scope_one_wins(home: Home) {
    let ledger = home.open().await;
    let mut last = 0;
    for round in 1..=5 {
        // A new scope, one that was given back, and ones that ran out.
        let now = midnight() + TTL * round;
        let answers = race(&home, move |ledger, racer| async move {
            let run = format!("{}{round}", &racer.as_str()[..1]);
            (wish(&ledger, &run, "purge", &["x"], now).await, id(&run))
        })
        .await;
        let (winners, losers): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .partition(|(answer, _)| matches!(answer, Start::Begun(..)));
        assert_eq!(winners.len(), 1, "round {round}");
        let (won, winner) = winners.into_iter().next().unwrap();
        let token = leases(won)[0].token;
        assert!(token > last, "round {round}");
        last = token;
        for (lost, _) in losers {
            assert_eq!(holders(lost), std::slice::from_ref(&winner));
        }
        if round == 2 {
            end(&ledger, &winner).await;
        }
    }
}

async fn of_many_that_take_overlapping_scopes_each_gets_all_or_none(home: Home) {
    let now = midnight();
    let answers = race(&home, move |ledger, run| async move {
        let place = u32::from(run.as_str().as_bytes()[0] - b'0');
        let names = [format!("s{place}"), format!("s{}", (place + 1) % RACERS)];
        let names = names.each_ref().map(String::as_str);
        let new = new_run(&run, run.as_str(), "purge", now);
        (start(&ledger, new, &names).await, run)
    })
    .await;
    let mut winners = BTreeMap::new();
    for (answer, run) in answers {
        if let Start::Begun(_, leases) = answer {
            assert_eq!(leases.len(), 2);
            for lease in leases {
                assert_eq!(
                    winners.insert(lease.scope, run.clone()),
                    None,
                    "one scope, two holders"
                );
            }
        }
    }
    assert!(!winners.is_empty());
    // What the losers wanted and nobody got is free.
    let ledger = home.open().await;
    for place in 0..RACERS {
        let scope = format!("s{place}");
        let answer = wish(&ledger, &format!("z{place}"), "purge", &[&scope], now).await;
        match (answer, winners.get(&scope)) {
            (Start::Begun(..), None) => {}
            (held, Some(holder)) => assert_eq!(holders(held), std::slice::from_ref(holder)),
            other => panic!("{other:?}"),
        }
    }
}

async fn of_many_that_start_one_attempt_one_begins(home: Home) {
    let answers = race(&home, |ledger, run| async move {
        let new = new_run(&run, "key", "purge", midnight());
        ledger.start(new, &[], TTL).await.unwrap()
    })
    .await;
    let begun = answers
        .iter()
        .filter(|answer| matches!(answer, Start::Begun(row, _) if row.attempt == 1));
    assert_eq!(begun.count(), 1);
    let overtaken = answers.iter().filter(|answer| **answer == Start::Overtaken);
    assert_eq!(overtaken.count(), answers.len() - 1);
    assert_eq!(
        home.open().await.runs(&RunQuery::default()).await.unwrap().len(),
        1
    );
}

async fn many_that_append_to_one_run_leave_no_gap(home: Home) {
    let ledger = home.open().await;
    begun(&ledger, new_run(&id("a"), "key", "purge", midnight()), &[]).await;
    race(&home, |ledger, racer| async move {
        for part in 0..5 {
            let batch = [
                log(&format!("{racer} {part} first")),
                log(&format!("{racer} {part} second")),
            ];
            ledger.append(&id("a"), midnight(), &batch).await.unwrap();
        }
    })
    .await;
    let events = ledger.events(&id("a")).await.unwrap();
    let total = u64::from(RACERS) * 10 + 1;
    assert_eq!(
        events.iter().map(|stored| stored.seq).collect::<Vec<_>>(),
        (1..=total).collect::<Vec<_>>()
    );
    for pair in events[1..].chunks(2) {
        let [
            RunEvent::Log { message: first, .. },
            RunEvent::Log { message: second, .. },
        ] = [&pair[0].event, &pair[1].event]
        else {
            panic!("{pair:?}");
        };
        assert_eq!(first.replace("first", "second"), *second, "batches stay together");
    }
}
