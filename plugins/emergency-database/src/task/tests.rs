//! Which steps are climbed, in which order, and where the ladder stops.

use std::time::Duration;

use sereno_plugin::testing::{FakeHost, context, days};
use sereno_plugin::{Activity, DatabaseStatistics};

use super::*;
use crate::state::tests::{ago, connection, now, params};

fn host(connections: Vec<Connection>) -> FakeHost {
    let mut host = FakeHost::new();
    let database = host.database("app");
    database.statistics = DatabaseStatistics {
        connections: Some(50),
        connections_limit: Some(100),
        ..DatabaseStatistics::default()
    };
    database.connections = connections;
    for (name, dead, analyzed) in [
        ("a", 0, 1),
        ("b", 5_000, 30),
        ("c", 9_000, 1),
        ("d", 2_000, 20),
        ("e", 10, 10),
    ] {
        database.grant(name, &["read", "vacuum", "analyze"]);
        database.table(name).statistics = TableStatistics {
            rows_estimate: Some(5_000),
            dead_rows_estimate: Some(dead),
            last_analyze: Some(now() - days(analyzed)),
            ..TableStatistics::default()
        };
    }
    host
}

fn done(params: &Params, host: &mut FakeHost) -> Vec<Finding> {
    match run(&context(now()), params, host) {
        Ok(Outcome::Done(report)) => report.findings,
        other => panic!("{other:?}"),
    }
}

/// The changing calls, in order.
fn steps(host: &FakeHost) -> Vec<&str> {
    let changing = ["terminate", "analyze", "vacuum", "vacuum_full"];
    let is_step = |call: &&str| changing.contains(&call.split(' ').next().unwrap_or(""));
    host.calls.iter().map(String::as_str).filter(is_step).collect()
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn the_ladder_stops_as_soon_as_the_targets_are_reached() {
    let mut host = host(vec![
        connection(1, "idle in transaction", 200, &[]),
        connection(2, "active", 90, &[1]),
        connection(3, "idle in transaction", 300, &[]),
        connection(4, "idle", 9_000, &[]),
    ]);
    // Ending the first one lets the second go on, which the fake does not know.
    host.database("app").connections[1].query_started = Some(ago(90));
    let findings = done(&params(), &mut host);
    assert_eq!(
        steps(&host),
        [
            "terminate terminate 1",
            "terminate terminate 3",
            "analyze b",
            "analyze d",
            "vacuum c",
            "vacuum b"
        ],
        "who waits still waits here, so the other idle one goes too"
    );
    assert_eq!(
        codes(&findings),
        [
            "blocked",
            "step-1-end",
            "step-1-end",
            "step-4-analyze",
            "step-4-analyze",
            "tables-left",
            "step-5-vacuum",
            "step-5-vacuum",
            "tables-left",
            "above-target"
        ]
    );
    assert!(
        findings[1].text.ends_with("and lets 1 connection go on"),
        "{}",
        findings[1].text
    );
    // Two are old; with the first the target is reached.
    let mut host = self::host(vec![
        connection(1, "idle in transaction", 700, &[]),
        connection(2, "idle in transaction", 300, &[]),
    ]);
    let findings = done(&params(), &mut host);
    assert_eq!(steps(&host)[..2], ["terminate terminate 1", "analyze b"]);
    assert_eq!(
        findings.last().map(|finding| &*finding.code),
        Some("below-target")
    );
}

#[test]
fn calm_is_left_alone_and_measured() {
    let mut host = host(vec![
        connection(1, "idle in transaction", 300, &[]),
        connection(2, "active", 30, &[1]),
    ]);
    let params = Params {
        dead_under: 90.0,
        analyzed_within: days(90),
        ..params()
    };
    assert_eq!(codes(&done(&params, &mut host)), ["below-target"]);
    assert!(steps(&host).is_empty());
    assert_eq!(
        host.measured("connections.used_percent", "database.app"),
        Some(50.0)
    );
    assert_eq!(host.measured("transactions.oldest", "database.app"), Some(300.0));
    assert_eq!(
        host.measured("connections.waiting_for_long", "database.app"),
        Some(0.0)
    );
}

#[test]
fn statements_are_cancelled_and_idle_ones_go_when_asked_for_and_no_more_than_allowed() {
    let mut host = host(vec![
        connection(1, "active", 400, &[]),
        connection(2, "active", 90, &[1]),
        connection(3, "idle", 50, &[]),
        connection(4, "idle", 60, &[]),
        connection(5, "idle", 70, &[]),
    ]);
    host.database("app").statistics.connections = Some(95);
    let params = Params {
        cancel_over: Some(Duration::from_secs(300)),
        idle_users: vec!["app".to_owned()],
        connections_at_most: 3,
        ..params()
    };
    let findings = done(&params, &mut host);
    assert_eq!(
        steps(&host)[..3],
        [
            "terminate cancel 1",
            "terminate terminate 5",
            "terminate terminate 4"
        ]
    );
    let last = findings.last().expect("an end");
    assert!(
        last.code == "above-target" && last.text.contains("used up"),
        "{last:?}"
    );
}

#[test]
fn vacuum_waits_for_whoever_holds_the_horizon() {
    let mut host = host(Vec::new());
    host.database("app").activities.push(Activity {
        kind: "horizon".to_owned(),
        what: "the prepared transaction x".to_owned(),
        since: Some(ago(5_000)),
        ..Activity::default()
    });
    let findings = done(&params(), &mut host);
    assert_eq!(steps(&host), ["analyze b", "analyze d"]);
    assert!(codes(&findings).contains(&"horizon-held"));
}

#[test]
fn a_rewrite_is_of_the_named_table_alone_and_a_refusal_of_the_guard_is_passed_on() {
    let mut host = host(Vec::new());
    let params = Params {
        full_table: Some("c".to_owned()),
        ..params()
    };
    let findings = done(&params, &mut host);
    assert_eq!(steps(&host).last(), Some(&"vacuum_full c"));
    assert!(codes(&findings).contains(&"step-6-vacuum-full"));
    let guard = Error::Guard("a rewrite needs room".to_owned());
    host.fail("vacuum_full", 1, guard.clone());
    assert_eq!(
        run(&context(now()), &params, &mut host),
        Err(Failure::PassedOn(guard))
    );
}

#[test]
fn what_is_not_granted_is_told_and_the_rest_done() {
    let mut host = host(vec![connection(1, "idle in transaction", 700, &[])]);
    host.fail_on("granted_tables", "analyze", Error::Denied("x".to_owned()));
    host.fail_on(
        "terminate",
        "terminate 1",
        Error::Denied("database.app.whole = [\"terminate\"]".to_owned()),
    );
    let findings = done(&params(), &mut host);
    let not_granted: Vec<_> = findings
        .iter()
        .filter(|finding| finding.code == "step-not-granted")
        .filter_map(|finding| finding.next.as_deref())
        .collect();
    assert_eq!(
        not_granted,
        [
            "add `database.app.whole = [\"terminate\"]` to the job's grants",
            "add `database.app.tables.NAME = [\"read\", \"analyze\"]` to the job's grants"
        ]
    );
    assert!(steps(&host).contains(&"vacuum c"));
}

#[test]
fn time_that_runs_out_goes_on_at_the_same_table_and_never_for_ever() {
    let mut host = host(Vec::new());
    host.fail_on("vacuum", "c", Error::Deadline);
    let mut context = context(now());
    let Ok(Outcome::More(first, cursor)) = run(&context, &params(), &mut host) else {
        panic!("time is over")
    };
    assert_eq!(
        codes(&first.findings),
        ["step-4-analyze", "step-4-analyze", "tables-left"]
    );
    context.cursor = Some(cursor);
    let Ok(Outcome::Done(rest)) = run(&context, &params(), &mut host) else {
        panic!("the rest")
    };
    assert!(
        codes(&rest.findings).contains(&"step-no-time"),
        "{:?}",
        rest.findings
    );
    assert_eq!(
        steps(&host),
        ["analyze b", "analyze d", "vacuum c", "vacuum c", "vacuum b"]
    );
}

#[test]
fn a_file_has_no_ladder() {
    let mut host = host(Vec::new());
    host.database("app").statistics.connections = None;
    assert_eq!(codes(&done(&params(), &mut host)), ["no-server"]);
    assert!(steps(&host).is_empty() && host.measurements.is_empty());
}
