//! What is told of which statements, and what is kept for the next look.

use std::time::Duration;

use sereno_plugin::testing::{FakeHost, at, context, days};
use sereno_plugin::{DatabaseStatistics, Severity};

use super::*;
use crate::snapshot::tests::{queries, query};

fn params() -> Params {
    Params {
        calls_from: 20,
        database: "app".to_owned(),
        ignore_users: Vec::new(),
        keep: days(30),
        mean_over: Duration::from_millis(100),
        share_over: 10.0,
        storage: Some("looks".to_owned()),
        top: 10,
    }
}

fn host(found: Vec<QueryStatistics>) -> FakeHost {
    let mut host = FakeHost::new();
    let database = host.database("app");
    database.statistics = DatabaseStatistics {
        connections: Some(3),
        ..DatabaseStatistics::default()
    };
    database.slow_queries = Some(queries("2026-11-01 00:00", found));
    for id in ["slow", "busy", "rare", "quick"] {
        database
            .query_texts
            .insert(id.to_owned(), format!("SELECT {id} FROM t WHERE id = ?"));
    }
    host.storage("looks").now = Some(at("2026-11-24 02:30"));
    host
}

fn found() -> Vec<QueryStatistics> {
    vec![
        query("slow", 100, 20_000.0),
        query("busy", 1_000_000, 10_000.0),
        query("rare", 2, 3_000.0),
        query("quick", 5_000, 100.0),
    ]
}

fn look(at: Instant, params: &Params, host: &mut FakeHost) -> Vec<Finding> {
    match run(&context(at), params, host) {
        Ok(Outcome::Done(report)) => report.findings,
        other => panic!("{other:?}"),
    }
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code.as_str()).collect()
}

#[test]
fn those_that_took_the_most_are_told_with_their_text_and_share() {
    let mut host = host(found());
    let mut params = params();
    params.storage = None;
    let findings = look(at("2026-11-24 02:30"), &params, &mut host);
    assert_eq!(codes(&findings), ["slow-query", "busy-query"]);
    assert_eq!(
        findings[0].text,
        "60 % of the time of all statements since 2026-11-01 00:00 UTC: 20.0 s in 100 calls, 200 ms each, 2.0 rows a call, by app: \
         SELECT slow FROM t WHERE id = ?"
    );
    assert_eq!(
        (findings[0].severity, findings[1].severity),
        (Severity::Warn, Severity::Info)
    );
    assert_eq!(host.measured("queries.slow", "database.app"), Some(1.0));
    assert_eq!(host.measured("queries.seconds", "database.app"), Some(33.1));
    params.top = 1;
    assert_eq!(
        codes(&look(at("2026-11-24 02:30"), &params, &mut host)),
        ["slow-query"]
    );
    params.ignore_users.push("app".to_owned());
    assert_eq!(
        codes(&look(at("2026-11-24 02:30"), &params, &mut host)),
        ["no-slow-queries"]
    );
}

#[test]
fn a_second_look_tells_only_what_came_after_the_first() {
    let mut host = host(found());
    let first = look(at("2026-11-23 02:30"), &params(), &mut host);
    assert_eq!(codes(&first), ["first-look", "slow-query", "busy-query"]);
    assert_eq!(host.storage("looks").keys().len(), 1);
    let none = look(at("2026-11-24 02:30"), &params(), &mut host);
    assert_eq!(codes(&none), ["no-slow-queries"]);
    let mut later = found();
    later[3] = query("quick", 5_030, 100.0 + 30.0 * 150.0);
    host.database("app").slow_queries = Some(queries("2026-11-01 00:00", later));
    let second = look(at("2026-11-25 02:30"), &params(), &mut host);
    assert_eq!(codes(&second), ["slow-query"]);
    assert!(
        second[0].text.starts_with(
            "100 % of the time of all statements since 2026-11-24 02:30 UTC: 4.5 s in 30 calls, 150 ms each"
        ),
        "{}",
        second[0].text
    );
    // The same time again: what is kept stays, and the same is told.
    assert_eq!(look(at("2026-11-25 02:30"), &params(), &mut host), second);
    assert_eq!(host.storage("looks").keys().len(), 3);
}

#[test]
fn old_looks_go_and_foreign_ones_are_not_used() {
    let mut host = host(found());
    let storage = host.storage("looks");
    storage.object(
        "slow-queries/app/00000000000000000007.json",
        b"{}",
        at("2026-01-01 00:00"),
    );
    storage.object("slow-queries/other/x", b"{}", at("2026-01-01 00:00"));
    let newest = format!("slow-queries/app/{:020}.json", at("2026-11-20 00:00").micros());
    storage.object(&newest, b"no look", at("2026-11-20 00:00"));
    let findings = look(at("2026-11-24 02:30"), &params(), &mut host);
    assert_eq!(codes(&findings)[..2], ["look-unreadable", "first-look"]);
    let written = format!("slow-queries/app/{:020}.json", at("2026-11-24 02:30").micros());
    assert_eq!(
        host.storage("looks").keys(),
        [&*newest, &*written, "slow-queries/other/x"]
    );
}

#[test]
fn without_the_extension_and_on_a_file_one_finding_says_so() {
    let mut host = host(vec![]);
    host.database("app").slow_queries = None;
    let findings = look(at("2026-11-24 02:30"), &params(), &mut host);
    assert_eq!(codes(&findings), ["statements-not-counted"]);
    assert!(
        findings[0]
            .next
            .as_deref()
            .is_some_and(|next| next.contains("CREATE EXTENSION"))
    );
    assert!(host.storage("looks").keys().is_empty() && host.measurements.is_empty());
    host.database("app").statistics.connections = None;
    assert_eq!(
        codes(&look(at("2026-11-24 02:30"), &params(), &mut host)),
        ["no-statements"]
    );
}

#[test]
fn the_advice_follows_from_the_blocks() {
    let mut one = query("slow", 10, 1_000.0);
    assert!(advice(&one).starts_with("`EXPLAIN"), "{}", advice(&one));
    one.blocks_hit = 20_000_000;
    assert!(
        advice(&one).contains("2,000,001 blocks a call"),
        "{}",
        advice(&one)
    );
    one.blocks_temp = 128;
    assert!(advice(&one).starts_with("it wrote 1.0 MiB"), "{}", advice(&one));
}

#[test]
fn a_deadline_comes_again_and_a_cancel_is_passed_on() {
    let mut host = host(found());
    host.fail("query_texts", 1, Error::Deadline);
    let again = run(&context(at("2026-11-24 02:30")), &params(), &mut host);
    assert!(matches!(again, Ok(Outcome::More(..))), "{again:?}");
    let findings = look(at("2026-11-24 02:30"), &params(), &mut host);
    assert_eq!(codes(&findings), ["first-look", "slow-query", "busy-query"]);
    host.fail("slow_queries", 1, Error::Cancelled);
    let cancelled = run(&context(at("2026-11-24 02:30")), &params(), &mut host);
    assert_eq!(cancelled, Err(Failure::PassedOn(Error::Cancelled)));
}
