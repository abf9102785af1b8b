//! What upkeep is done, in which order, and what is told of the rest.

use sereno_plugin::testing::{FakeHost, at, context, days};
use sereno_plugin::{Instant, Severity};

use super::*;
use crate::Indexes;
use crate::need::tests::params;

fn now() -> Instant {
    at("2026-11-22 02:00")
}

/// A PostgreSQL table with this share of dead rows, vacuumed and analyzed yesterday.
fn table(host: &mut FakeHost, name: &str, dead: u64) {
    let database = host.database("app");
    database.grant(name, &["read", "vacuum", "analyze", "reindex"]);
    database.table(name).statistics = TableStatistics {
        bytes: Some(10 << 20),
        rows_estimate: Some(1_000 - dead),
        dead_rows_estimate: Some(dead),
        freeze_age: Some(1_000),
        last_vacuum: Some(now() - days(1)),
        last_analyze: Some(now() - days(1)),
        ..TableStatistics::default()
    };
}

fn index(host: &mut FakeHost, table: &str, name: &str, bloat_percent: Option<f64>) {
    host.database("app").table(table).indexes.push(IndexStatistics {
        index: name.to_owned(),
        bytes: Some(1 << 20),
        bloat_percent,
        valid: true,
        leftover: name.ends_with("_ccnew"),
    });
}

/// The changing calls, in order.
fn done(host: &FakeHost) -> Vec<&str> {
    let changing = |call: &&str| {
        ["vacuum", "analyze", "reindex", "with"].contains(&call.split(' ').next().unwrap_or(""))
    };
    host.calls.iter().map(String::as_str).filter(changing).collect()
}

fn codes(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.target.as_str()))
        .collect()
}

fn to_the_end(params: &Params, host: &mut FakeHost) -> (usize, Vec<Finding>) {
    let mut context = context(now());
    let mut findings = Vec::new();
    for attempt in 1..100 {
        match run(&context, params, host).expect("no failure") {
            Outcome::Done(report) => {
                findings.extend(report.findings);
                return (attempt, findings);
            }
            Outcome::More(report, cursor) => {
                findings.extend(report.findings);
                context.cursor = Some(cursor);
            }
        }
    }
    panic!("it never ends");
}

#[test]
fn only_tables_that_need_it_are_worked_on_and_the_others_are_told_with_their_reason() {
    let mut host = FakeHost::new();
    table(&mut host, "calm", 10);
    table(&mut host, "dirty", 200);
    table(&mut host, "stale", 10);
    host.database("app").table("stale").statistics.last_analyze = Some(now() - days(30));
    host.database("app").table("parent").statistics = TableStatistics {
        partitioned: true,
        ..TableStatistics::default()
    };
    host.database("app")
        .grant("parent", &["read", "vacuum", "analyze"]);
    let (_, findings) = to_the_end(&params(), &mut host);
    assert_eq!(done(&host), ["vacuum dirty", "analyze parent", "analyze stale"]);
    let texts: Vec<_> = findings
        .iter()
        .map(|finding| (finding.severity, finding.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            (
                Severity::Info,
                "analyze not needed by calm (analyzed 24 hours ago), dirty (analyzed 24 hours ago)"
            ),
            (
                Severity::Info,
                "vacuum not needed by calm (10 of 1,000 rows dead (1.0 %)), parent (its partitions hold the rows, \
                 and are vacuumed by themselves), stale (10 of 1,000 rows dead (1.0 %))"
            ),
        ]
    );
}

#[test]
fn a_vacuum_takes_the_analyze_with_it_when_both_are_needed() {
    let mut host = FakeHost::new();
    table(&mut host, "t", 200);
    host.database("app").table("t").statistics.last_analyze = None;
    to_the_end(&params(), &mut host);
    assert_eq!(done(&host), ["vacuum t", "with analyze t"]);

    let mut host = FakeHost::new();
    table(&mut host, "t", 200);
    host.database("app").table("t").statistics.last_analyze = None;
    to_the_end(
        &Params {
            r#do: vec![Do::Vacuum],
            ..params()
        },
        &mut host,
    );
    assert_eq!(done(&host), ["vacuum t"], "what `do` does not name is not done");
}

#[test]
fn listed_tables_alone_are_looked_at() {
    let mut host = FakeHost::new();
    table(&mut host, "a", 200);
    table(&mut host, "b", 200);
    to_the_end(
        &Params {
            tables: Some(vec!["b".to_owned()]),
            ..params()
        },
        &mut host,
    );
    assert_eq!(done(&host), ["vacuum b"]);
    host.calls.clear();
    to_the_end(
        &Params {
            tables: Some(vec!["*".to_owned()]),
            ..params()
        },
        &mut host,
    );
    assert_eq!(done(&host), ["vacuum a", "vacuum b"]);
}

#[test]
fn indexes_are_rebuilt_by_bloat_and_the_unknown_ones_are_told() {
    let mut host = FakeHost::new();
    table(&mut host, "t", 0);
    for (name, bloat) in [
        ("t_a", Some(31.0)),
        ("t_b", Some(30.0)),
        ("t_c", None),
        ("t_d", Some(80.0)),
    ] {
        index(&mut host, "t", name, bloat);
    }
    let params = Params {
        r#do: vec![Do::Reindex],
        ..params()
    };
    let (_, findings) = to_the_end(&params, &mut host);
    assert_eq!(done(&host), ["reindex t_a", "reindex t_d"]);
    assert_eq!(
        codes(&findings),
        [
            ("upkeep-not-needed", "database.app"),
            ("bloat-unknown", "database.app")
        ]
    );
    assert_eq!(findings[1].text, "not rebuilt, as nobody knows their bloat: t_c");

    host.calls.clear();
    let named = |index: &str| Indexes {
        table: "t".to_owned(),
        index: index.to_owned(),
    };
    to_the_end(
        &Params {
            indexes: vec![named("t_c"), named("t_b")],
            ..params
        },
        &mut host,
    );
    assert_eq!(
        done(&host),
        ["reindex t_c"],
        "t_a and t_d are not named, and t_b does not need it"
    );
}

#[test]
fn a_leftover_and_an_invalid_index_are_told_with_the_statement_to_run_and_not_rebuilt() {
    let mut host = FakeHost::new();
    table(&mut host, "s.t", 0);
    for (name, bloat) in [
        ("a", Some(50.0)),
        ("a_ccnew", None),
        ("b", Some(50.0)),
        ("c", Some(50.0)),
    ] {
        index(&mut host, "s.t", name, bloat);
    }
    host.database("app").table("s.t").indexes[2].valid = false;
    let (_, findings) = to_the_end(
        &Params {
            r#do: vec![Do::Reindex],
            ..params()
        },
        &mut host,
    );
    assert_eq!(done(&host), ["reindex c"]);
    let on = r#"database.app.tables."s.t""#;
    assert_eq!(
        codes(&findings),
        [("reindex-leftover", on), ("index-invalid", on)]
    );
    let next: Vec<_> = findings
        .iter()
        .filter_map(|finding| finding.next.as_deref())
        .collect();
    assert_eq!(
        next,
        [
            r#"DROP INDEX CONCURRENTLY "s"."a_ccnew";"#,
            r#"REINDEX INDEX CONCURRENTLY "s"."b";"#
        ]
    );
}

#[test]
fn an_index_of_a_table_that_is_not_looked_at_is_told() {
    let mut host = FakeHost::new();
    table(&mut host, "t", 0);
    let indexes = vec![Indexes {
        table: "other".to_owned(),
        index: "o".to_owned(),
    }];
    let (_, findings) = to_the_end(
        &Params {
            r#do: vec![Do::Reindex],
            indexes,
            ..params()
        },
        &mut host,
    );
    assert_eq!(
        codes(&findings),
        [("index-not-covered", "database.app.tables.other")]
    );
}

#[test]
fn what_the_database_skipped_is_never_called_done() {
    let mut host = FakeHost::new();
    for name in ["a", "b", "c"] {
        table(&mut host, name, 200);
    }
    let skipped = Upkeep {
        done: false,
        bytes: None,
        note: Some("lock not available".to_owned()),
    };
    host.database("app").table("a").answers("vacuum", skipped);
    host.fail_on(
        "vacuum",
        "b",
        Error::Busy("vacuum took longer than 10 min".to_owned()),
    );
    let (_, findings) = to_the_end(
        &Params {
            r#do: vec![Do::Vacuum],
            ..params()
        },
        &mut host,
    );
    assert_eq!(done(&host), ["vacuum a", "vacuum b", "vacuum c"]);
    assert_eq!(
        codes(&findings),
        [
            ("upkeep-skipped", "database.app.tables.a"),
            ("upkeep-skipped", "database.app.tables.b")
        ]
    );
    assert_eq!(
        findings[0].text,
        "vacuum on a was skipped by the database: lock not available"
    );
    assert_eq!(
        findings[1].text,
        "vacuum on b was skipped: vacuum took longer than 10 min"
    );
    assert_eq!(host.lines, ["info upkeep done table=c what=vacuum"]);
}

#[test]
fn a_table_that_may_not_be_looked_at_is_told_with_the_line_to_add() {
    let mut host = FakeHost::new();
    table(&mut host, "a", 200);
    table(&mut host, "b", 200);
    let line = "database.app.tables.a = [\"read\", \"vacuum\"]";
    host.fail_on("table_statistics", "a", Error::Denied(line.to_owned()));
    let (_, findings) = to_the_end(
        &Params {
            r#do: vec![Do::Vacuum],
            ..params()
        },
        &mut host,
    );
    assert_eq!(done(&host), ["vacuum b"]);
    assert_eq!(codes(&findings), [("upkeep-skipped", "database.app.tables.a")]);
    assert_eq!(
        findings[0].next.as_deref(),
        Some(&*format!("add `{line}` to the job's grants"))
    );
}

#[test]
fn a_database_that_is_gone_or_a_cancel_ends_the_run() {
    for error in [
        Error::Unreachable("connection refused".to_owned()),
        Error::Cancelled,
    ] {
        let mut host = FakeHost::new();
        table(&mut host, "a", 200);
        host.fail("vacuum", 1, error.clone());
        assert_eq!(
            run(&context(now()), &params(), &mut host),
            Err(Failure::PassedOn(error))
        );
    }
}

#[test]
fn without_statistics_one_vacuum_serves_all_tables_and_free_bytes_decide() {
    let sqlite = |free| {
        let mut host = FakeHost::new();
        for name in ["a", "b"] {
            host.database("app").grant(name, &["read", "vacuum"]).table(name);
        }
        host.database("app").statistics = DatabaseStatistics {
            bytes: Some(1_000),
            free_bytes: free,
            ..DatabaseStatistics::default()
        };
        host
    };
    let params = Params {
        r#do: vec![Do::Vacuum],
        ..params()
    };
    let mut host = sqlite(Some(100));
    to_the_end(&params, &mut host);
    assert_eq!(done(&host), ["vacuum a"]);
    let mut host = sqlite(Some(10));
    to_the_end(&params, &mut host);
    assert_eq!(done(&host), [""; 0]);
    let mut host = sqlite(Some(10));
    host.fail_on(
        "database_statistics",
        "app",
        Error::Denied("database.app.whole = [\"read\"]".to_owned()),
    );
    to_the_end(&params, &mut host);
    assert_eq!(done(&host), ["vacuum a"], "nobody may know, so it is done");
    let mut host = sqlite(Some(100));
    host.fail("vacuum", 1, Error::Deadline);
    to_the_end(&params, &mut host);
    assert_eq!(
        done(&host),
        ["vacuum a", "vacuum a"],
        "what met the deadline is not done"
    );
}

#[test]
fn a_deadline_ends_in_order_and_nothing_is_done_twice() {
    let all = ["vacuum a", "reindex a_x", "reindex a_y", "vacuum b"];
    for (call, nth) in [
        ("granted_tables", 2),
        ("table_statistics", 1),
        ("indexes", 1),
        ("vacuum", 1),
        ("reindex", 1),
        ("reindex", 2),
        ("table_statistics", 2),
        ("vacuum", 2),
    ] {
        let mut host = FakeHost::new();
        table(&mut host, "a", 200);
        table(&mut host, "b", 200);
        index(&mut host, "a", "a_x", Some(50.0));
        index(&mut host, "a", "a_y", Some(60.0));
        host.fail(call, nth, Error::Deadline);
        let (attempts, findings) = to_the_end(&params(), &mut host);
        assert_eq!(attempts, 2, "{call} {nth}");
        assert!(
            findings.iter().all(|finding| finding.severity == Severity::Info),
            "{findings:#?}"
        );
        let mut done = done(&host);
        // The call that met the deadline is the only one made twice.
        let place = done.windows(2).position(|pair| pair[0] == pair[1]);
        place.map(|place| done.remove(place));
        assert_eq!(done, all, "{call} {nth}");
    }
}

#[test]
fn what_never_fits_into_an_attempt_is_told_and_does_not_hold_up_the_rest() {
    let mut host = FakeHost::new();
    table(&mut host, "a", 200);
    table(&mut host, "b", 200);
    host.fail_on("vacuum", "a", Error::Deadline);
    let (attempts, findings) = to_the_end(
        &Params {
            r#do: vec![Do::Vacuum],
            ..params()
        },
        &mut host,
    );
    assert_eq!(attempts, 2);
    assert_eq!(done(&host), ["vacuum a", "vacuum a", "vacuum b"]);
    assert_eq!(codes(&findings), [("upkeep-no-time", "database.app.tables.a")]);
}

#[test]
fn without_any_table_the_run_says_so() {
    let mut host = FakeHost::new();
    host.database("app");
    let (_, findings) = to_the_end(&params(), &mut host);
    assert_eq!(codes(&findings), [("no-tables", "database.app")]);
}
