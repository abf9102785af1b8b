//! What every ledger promises of the operator's word: all flags that stand, that those on a run go with it, and approvals.
//!
//! Raising and reading one flag is `runs`'.

use sereno_core::approval::Approval;
use sereno_core::ports::ledger::Flag;
use sereno_core::ports::orders::Raised;
use sereno_core::ports::watch::Aftermath;
use sereno_core::run::Outcome;

use super::{Home, begun, end, ended, every_home, id, measurement, midnight, new_run};

every_home! {
    of_a_jobs_approvals_the_last_is_kept
    all_flags_that_stand_are_told_with_their_first_time
    a_flag_on_a_run_goes_with_it
}

fn raised(on: &str, flag: Flag) -> Raised {
    Raised {
        on: on.to_owned(),
        flag,
        at: midnight(),
    }
}

async fn all_flags_that_stand_are_told_with_their_first_time(home: Home) {
    let ledger = home.open().await;
    assert_eq!(ledger.raised().await.unwrap(), []);
    let later = midnight() + chrono::TimeDelta::seconds(7);
    for (on, flag, at) in [
        ("purge", Flag::Pause, midnight()),
        ("*", Flag::Pause, midnight()),
        ("purge", Flag::Cancel, midnight()),
        ("purge", Flag::Pause, later),
        ("Sweep", Flag::Pause, midnight()),
    ] {
        ledger.set_flag(on, flag, true, at).await.unwrap();
    }
    let all = [
        raised("*", Flag::Pause),
        raised("Sweep", Flag::Pause),
        raised("purge", Flag::Cancel),
        raised("purge", Flag::Pause),
    ];
    assert_eq!(ledger.raised().await.unwrap(), all);
    ledger.set_flag("*", Flag::Pause, false, later).await.unwrap();
    assert_eq!(ledger.raised().await.unwrap(), all[1..]);
}

async fn a_flag_on_a_run_goes_with_it(home: Home) {
    let ledger = home.open().await;
    let runs = [id("a"), id("b"), id("c")];
    for (run, key) in runs.iter().zip(["k", "l", "m"]) {
        begun(&ledger, new_run(run, key, "purge", midnight()), &[]).await;
        ledger
            .set_flag(run.as_str(), Flag::Cancel, true, midnight())
            .await
            .unwrap();
    }
    ledger
        .set_flag("purge", Flag::Pause, true, midnight())
        .await
        .unwrap();
    end(&ledger, &runs[0]).await;
    // An end with all that comes after it is written by another statement.
    let after = Aftermath {
        measurements: vec![measurement("rows", Some(1.0))],
        ..Aftermath::default()
    };
    let last = ended(&runs[1], Outcome::Cancelled, midnight());
    ledger
        .settle(&runs[1], midnight(), &[last], &after)
        .await
        .unwrap();
    assert_eq!(
        ledger.raised().await.unwrap(),
        [
            raised(runs[2].as_str(), Flag::Cancel),
            raised("purge", Flag::Pause)
        ]
    );
}

async fn of_a_jobs_approvals_the_last_is_kept(home: Home) {
    let ledger = home.open().await;
    let approval = |job: &str, consent: &str, seconds| Approval {
        job: job.parse().unwrap(),
        consent: consent.to_owned(),
        terms: serde_json::json!({ "params": { "keep": "NUL \0, \u{1f319}" }, "guard": null }),
        plan: id("a"),
        at: midnight() + chrono::TimeDelta::seconds(seconds),
        host: "night".to_owned(),
    };
    let of = async |job: &str| ledger.approval(&job.parse().unwrap()).await.unwrap();
    assert_eq!(of("purge").await, None);
    for one in [
        approval("purge", "x", 0),
        approval("sweep", "y", 0),
        approval("purge", "z", 9),
    ] {
        ledger.approve(&one).await.unwrap();
    }
    assert_eq!(of("purge").await, Some(approval("purge", "z", 9)));
    assert_eq!(of("sweep").await, Some(approval("sweep", "y", 0)));
    assert_eq!(of("swee").await, None);
}
