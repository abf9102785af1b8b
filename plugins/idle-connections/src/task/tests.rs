//! Which connections go and which stay, and what is told of both.

use sereno_plugin::testing::{FakeHost, context};

use super::*;
use crate::judge::tests::{connection, now, params};

fn host(connections: Vec<Connection>) -> FakeHost {
    let mut host = FakeHost::new();
    let database = host.database("app");
    database.statistics = DatabaseStatistics {
        connections: Some(80),
        connections_limit: Some(100),
        ..DatabaseStatistics::default()
    };
    database.connections = connections;
    host
}

fn done(params: &Params, host: &mut FakeHost) -> Vec<Finding> {
    match run(&context(now()), params, host) {
        Ok(Outcome::Done(report)) => report.findings,
        other => panic!("{other:?}"),
    }
}

fn pids(host: &mut FakeHost) -> Vec<i64> {
    host.database("app")
        .connections
        .iter()
        .map(|one| one.pid)
        .collect()
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn what_is_idle_in_a_transaction_goes_and_everybody_else_stays() {
    let mut host = host(vec![
        connection(1, "idle in transaction", 700),
        connection(2, "idle in transaction", 500),
        connection(3, "idle in transaction (aborted)", 100),
        connection(4, "idle", 900_000),
        connection(5, "active", 900_000),
        Connection {
            kept: Some("a superuser".to_owned()),
            ..connection(6, "idle in transaction", 900)
        },
    ]);
    let findings = done(&params(), &mut host);
    assert_eq!(pids(&mut host), [2, 4, 5, 6]);
    assert_eq!(
        codes(&findings),
        ["connections-kept", "connection-idle", "connection-idle"]
    );
    assert_eq!(
        findings[0].text,
        "kept, though idle for too long: process 6 (app from 10.0.0.7, \"web\") idle in an open transaction for 15 min [a superuser]"
    );
    assert_eq!(
        findings[1].text,
        "process 3 (app from 10.0.0.7, \"web\") was idle in a transaction that failed for 100 s"
    );
    assert_eq!(
        host.measured("connections.idle_in_transaction", "database.app"),
        Some(4.0)
    );
    assert_eq!(
        host.measured("connections.longest_idle_in_transaction", "database.app"),
        Some(900.0)
    );
    assert_eq!(host.measured("connections.blocked", "database.app"), Some(0.0));
}

#[test]
fn one_run_ends_no_more_than_its_share_also_when_it_goes_on() {
    let many = || {
        (1..=9)
            .map(|pid| connection(pid, "idle in transaction", 600 + pid.unsigned_abs()))
            .collect()
    };
    let mut host = host(many());
    let findings = done(&params(), &mut host);
    assert_eq!(pids(&mut host), [1, 2, 3, 4], "the oldest five went");
    assert_eq!(
        findings.last().map(|finding| &*finding.code),
        Some("connections-left")
    );

    let mut host = self::host(many());
    host.fail("terminate", 4, Error::Deadline);
    let Ok(Outcome::More(_, cursor)) = run(&context(now()), &params(), &mut host) else {
        panic!("time is over")
    };
    assert_eq!((&*cursor, pids(&mut host)), ("3", vec![1, 2, 3, 4, 5, 6]));
    let mut context = context(now());
    context.cursor = Some(cursor);
    run(&context, &params(), &mut host).expect("it goes on");
    assert_eq!(pids(&mut host), [1, 2, 3, 4]);
    assert_eq!(host.measurements.len(), 3, "measured once");
}

#[test]
fn a_missing_right_is_told_and_counts() {
    let mut host = host(vec![
        connection(1, "idle in transaction", 700),
        connection(2, "idle in transaction", 800),
        connection(3, "idle in transaction", 900),
    ]);
    host.fail_on(
        "terminate",
        "terminate 2",
        Error::Fault("permission denied".to_owned()),
    );
    let params = Params {
        at_most: 2,
        ..params()
    };
    let findings = done(&params, &mut host);
    assert_eq!(pids(&mut host), [1, 2]);
    assert_eq!(
        codes(&findings),
        ["connection-idle", "connection-not-ended", "connections-left"]
    );
    let next = findings[1].next.as_deref().expect("a next step");
    assert!(next.contains("pg_signal_backend"), "{next}");
}

#[test]
fn plainly_idle_ones_go_only_by_name() {
    let plain = Params {
        states: vec![States::Idle],
        ..params()
    };
    let refused = run(&context(now()), &plain, &mut host(vec![]));
    assert!(matches!(refused, Err(Failure::InvalidParams(_))), "{refused:?}");
    let named = Params {
        applications: vec!["old-worker*".to_owned()],
        ..plain
    };
    let mut host = host(vec![
        connection(1, "idle", 100_000),
        Connection {
            application: "old-worker-3".to_owned(),
            ..connection(2, "idle", 100_000)
        },
    ]);
    done(&named, &mut host);
    assert_eq!(pids(&mut host), [1]);
}

#[test]
fn nothing_is_ended_while_there_are_enough() {
    for (used_over, left) in [(80.0, 1), (79.0, 0)] {
        let mut host = host(vec![connection(1, "idle in transaction", 700)]);
        let params = Params {
            used_over,
            ..params()
        };
        done(&params, &mut host);
        assert_eq!(pids(&mut host).len(), left, "{used_over}");
    }
}

#[test]
fn what_is_not_seen_is_told_and_measured_as_unknown_and_a_file_has_none() {
    let mut host = host(vec![Connection {
        state: None,
        ..connection(1, "", 0)
    }]);
    let findings = done(&params(), &mut host);
    assert_eq!(codes(&findings), ["states-unseen"]);
    assert_eq!(host.measured("connections.blocked", "database.app"), None);
    host.database("app").statistics.connections = None;
    let findings = done(&params(), &mut host);
    assert_eq!(codes(&findings), ["no-connections"]);
}

#[test]
fn a_guard_and_a_cancel_are_passed_on() {
    for error in [Error::Guard("max_connections".to_owned()), Error::Cancelled] {
        let mut host = host(vec![connection(1, "idle in transaction", 700)]);
        host.fail("terminate", 1, error.clone());
        assert_eq!(
            run(&context(now()), &params(), &mut host),
            Err(Failure::PassedOn(error))
        );
        assert_eq!(pids(&mut host), [1]);
    }
}
