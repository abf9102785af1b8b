//! Audits against a host in memory: four ends, and what is told of each vulnerability.

use sereno_plugin::testing::{FakeHost, at, context, days};

use super::*;
use crate::Ignore;

const NPM: &str = r#"{"lockfileVersion": 3, "packages": {
    "": {"name": "app", "version": "1.0.0"},
    "node_modules/lodash": {"version": "4.17.20", "resolved": "https://registry.npmjs.org/lodash/-/lodash-4.17.20.tgz"},
    "node_modules/left-pad": {"version": "1.3.0", "resolved": "https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz"},
    "node_modules/own": {"version": "1.0.0", "resolved": "git+ssh://git@example.com/own.git#abc"}}}"#;

const CARGO: &str = r#"
[[package]]
name = "app"
version = "0.1.0"

[[package]]
name = "time"
version = "0.1.42"
source = "registry+https://github.com/rust-lang/crates.io-index"
"#;

const LODASH: &str = r#"{"id": "GHSA-35jh-r3h4-6jhm", "modified": "2026-11-20T00:00:00Z", "aliases": ["CVE-2021-23337"],
    "summary": "Command injection in lodash", "database_specific": {"severity": "HIGH"},
    "affected": [{"package": {"name": "lodash", "ecosystem": "npm"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "4.17.21"}]}]}]}"#;

const TIME: &str = r#"{"id": "RUSTSEC-2020-0071", "modified": "2026-11-01T00:00:00Z", "summary": "Potential segfault in the time crate",
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H"}],
    "affected": [{"package": {"name": "time", "ecosystem": "crates.io"},
        "ranges": [{"type": "SEMVER", "events": [{"introduced": "0.1.0"}, {"fixed": "0.2.23"}]}]}]}"#;

fn now() -> Instant {
    at("2026-11-24 05:00")
}

fn params() -> Params {
    Params {
        directory: "app".to_owned(),
        lock_files: vec!["**/package-lock.json".to_owned(), "**/Cargo.lock".to_owned()],
        exclude: vec!["**/node_modules/**".to_owned()],
        origin: Some("osv".to_owned()),
        advisories: None,
        advisories_file: "osv.ndjson".to_owned(),
        advisories_max_age: days(14),
        severity: Severity::High,
        ignore: vec![],
    }
}

/// Both lock files, and an origin that knows one advisory for each. Packages are asked for in the order of their ecosystem
/// and name: time, left-pad, lodash.
fn host() -> FakeHost {
    let mut host = FakeHost::new();
    host.directory("app")
        .holding("web/package-lock.json", NPM.as_bytes(), now())
        .holding("Cargo.lock", CARGO.as_bytes(), now())
        .holding("web/node_modules/x/package-lock.json", b"{", now());
    host.origin("osv")
        .answer(
            "/v1/querybatch",
            200,
            r#"{"results": [{"vulns": [{"id": "RUSTSEC-2020-0071"}]}, {}, {"vulns": [{"id": "GHSA-35jh-r3h4-6jhm"}]}]}"#,
        )
        .answer("/v1/vulns/GHSA-35jh-r3h4-6jhm", 200, LODASH)
        .answer("/v1/vulns/RUSTSEC-2020-0071", 200, TIME);
    host
}

fn audit(host: &mut FakeHost, params: &Params) -> Report {
    match run(&context(now()), params, host) {
        Ok(Outcome::Done(report)) => report,
        other => panic!("{other:?}"),
    }
}

fn told(report: &Report) -> Vec<(&str, &str, &str)> {
    report
        .findings
        .iter()
        .map(|finding| {
            (
                finding.severity.as_str(),
                finding.code.as_str(),
                finding.text.as_str(),
            )
        })
        .collect()
}

fn measured(host: &FakeHost) -> Vec<Option<f64>> {
    host.measurements.iter().map(|reading| reading.value).collect()
}

/// The same two advisories in a file.
fn offline(host: &mut FakeHost, content: &str) -> Params {
    host.directory("osv")
        .holding("osv.ndjson", content.as_bytes(), now());
    Params {
        origin: None,
        advisories: Some("osv".to_owned()),
        ..params()
    }
}

fn line(advisory: &str) -> String {
    advisory.replace('\n', " ")
}

#[test]
fn what_is_vulnerable_is_told_with_what_mends_it_the_worst_first() {
    let mut host = host();
    let report = audit(&mut host, &params());
    assert_eq!(
        told(&report),
        [
            (
                "info",
                "not-scanned",
                "1 package comes from repositories, paths or archives: no advisory knows those"
            ),
            (
                "critical",
                "vulnerable",
                "lodash 4.17.20 (npm) has GHSA-35jh-r3h4-6jhm, high: Command injection in lodash"
            ),
            (
                "warn",
                "vulnerable",
                "time 0.1.42 (crates.io) has RUSTSEC-2020-0071, moderate: Potential segfault in the time crate"
            ),
        ]
    );
    assert_eq!(
        report.findings[1].next.as_deref(),
        Some("update lodash to 4.17.21 or later")
    );
    assert_eq!(measured(&host), [Some(3.0), Some(2.0), Some(1.0), Some(0.0)]);
    let asked: Vec<_> = host
        .origin("osv")
        .asked
        .iter()
        .map(|(line, _)| line.clone())
        .collect();
    assert_eq!(
        asked,
        [
            "POST /v1/querybatch",
            "GET /v1/vulns/GHSA-35jh-r3h4-6jhm",
            "GET /v1/vulns/RUSTSEC-2020-0071"
        ],
        "it asks, and nothing else"
    );
}

#[test]
fn an_offline_database_says_the_same() {
    let mut online = host();
    let expected = audit(&mut online, &params());
    let one_list = format!("[{LODASH},{TIME}]");
    let lines = format!("{}\n{}\n", line(LODASH), line(TIME));
    // Longer than what is read at once, so that a line lies across two reads.
    let padded = format!(
        "{{\"id\": \"X\", \"details\": \"{}\"}}\n{lines}",
        "x".repeat(300 << 10)
    );
    for content in [one_list, lines, padded] {
        let mut host = host();
        let params = offline(&mut host, &content);
        let report = audit(&mut host, &params);
        assert_eq!(told(&report), told(&expected));
        assert_eq!(measured(&host), measured(&online));
        assert!(host.origin("osv").asked.is_empty());
    }
}

#[test]
fn none_is_another_end_than_vulnerable() {
    let mut host = host();
    host.directory("app").holding("Cargo.lock", b"", now()).holding(
        "web/package-lock.json",
        NPM.replace("4.17.20", "4.17.21").as_bytes(),
        now(),
    );
    let params = offline(&mut host, &line(LODASH));
    let report = audit(&mut host, &params);
    let codes: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    assert_eq!(codes, ["not-scanned"]);
    assert_eq!(measured(&host), [Some(2.0), Some(0.0), Some(0.0), Some(0.0)]);
}

#[test]
fn nothing_scanned_is_an_end_of_its_own_and_nothing_is_known() {
    for (lock, said) in [
        (None, "nothing was scanned"),
        (Some(&b"{\"lockfileVersion\": 3}"[..]), "nothing was scanned"),
        (Some(b"not JSON"), "could not be read"),
    ] {
        let mut host = FakeHost::new();
        host.directory("app");
        host.origin("osv");
        if let Some(lock) = lock {
            host.directory("app").holding("package-lock.json", lock, now());
        }
        let ended = run(&context(now()), &params(), &mut host);
        let Err(Failure::Permanent(text)) = &ended else {
            panic!("{ended:?}")
        };
        assert!(
            text.starts_with("nothing was scanned") && text.contains(said),
            "{text}"
        );
        assert_eq!(measured(&host), [Some(0.0), None, None, None]);
        assert!(host.origin("osv").asked.is_empty());
    }
}

#[test]
fn who_cannot_be_asked_has_not_said_none() {
    let gone = Error::Unreachable("connection refused".to_owned());
    let mut host = self::host();
    host.fail_on("post", "osv", gone.clone());
    assert_eq!(
        run(&context(now()), &params(), &mut host),
        Err(Failure::PassedOn(gone))
    );
    assert_eq!(measured(&host), [None; 4]);
    for (status, retry) in [(503, true), (429, true), (403, false)] {
        let mut host = FakeHost::new();
        host.directory("app")
            .holding("Cargo.lock", CARGO.as_bytes(), now());
        host.origin("osv").answer("/v1/querybatch", status, "");
        let ended = run(&context(now()), &params(), &mut host);
        assert_eq!(
            matches!(ended, Err(Failure::Retryable(_))),
            retry,
            "{status}: {ended:?}"
        );
        assert!(ended.is_err(), "{status}");
        assert_eq!(measured(&host), [None; 4]);
    }
    for body in ["<html>", "{\"results\": []}", "{}"] {
        let mut host = FakeHost::new();
        host.directory("app")
            .holding("Cargo.lock", CARGO.as_bytes(), now());
        host.origin("osv").answer("/v1/querybatch", 200, body);
        let ended = run(&context(now()), &params(), &mut host);
        assert!(matches!(ended, Err(Failure::Permanent(_))), "{body}: {ended:?}");
    }
}

#[test]
fn what_is_ignored_is_counted_until_its_day_and_told_after_it() {
    let ignore = |id: &str, until: &str| Ignore {
        id: id.to_owned(),
        until: until.to_owned(),
        reason: "only in tests".to_owned(),
    };
    let mut host = host();
    let params = Params {
        ignore: vec![
            ignore("CVE-2021-23337", "2026-11-24"),
            ignore("RUSTSEC-2020-0071", "2026-11-23"),
            ignore("GHSA-gone", "2027-01-01"),
        ],
        ..params()
    };
    let report = audit(&mut host, &params);
    let codes: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.severity.as_str(), finding.code.as_str()))
        .collect();
    assert_eq!(
        codes,
        [
            ("info", "not-scanned"),
            ("warn", "vulnerable"),
            ("warn", "ignore-expired"),
            ("info", "ignore-unused")
        ]
    );
    assert_eq!(measured(&host), [Some(3.0), Some(1.0), Some(0.0), Some(1.0)]);
}

#[test]
fn an_old_or_broken_offline_database_is_told() {
    let mut host = host();
    let old = line(LODASH).replace("2026-11-20", "2026-10-01");
    let params = offline(&mut host, &format!("{old}\n{{\"broken\n"));
    let report = audit(&mut host, &params);
    let codes: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect();
    assert_eq!(
        codes,
        ["not-scanned", "advisories-old", "advisories-unread", "vulnerable"]
    );
    let mut empty = self::host();
    let params = offline(&mut empty, "\n");
    let ended = run(&context(now()), &params, &mut empty);
    assert!(
        matches!(ended, Err(Failure::PassedOn(Error::NotFound(_)))),
        "{ended:?}"
    );
}

#[test]
fn one_lock_file_that_cannot_be_read_is_critical_and_the_others_are_audited() {
    let mut host = host();
    host.directory("app").holding("a/package-lock.json", b"[]", now());
    let report = audit(&mut host, &params());
    let [unread, ..] = report.findings.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!(
        (unread.code.as_str(), unread.severity.as_str()),
        ("lock-file-unread", "critical")
    );
    assert_eq!(report.findings.len(), 4);
}

#[test]
fn who_is_asked_must_be_said_once() {
    for (origin, advisories) in [(None, None), (Some("osv"), Some("osv"))] {
        let params = Params {
            origin: origin.map(str::to_owned),
            advisories: advisories.map(str::to_owned),
            ..params()
        };
        let refused = run(&context(now()), &params, &mut host());
        assert!(matches!(refused, Err(Failure::InvalidParams(_))), "{refused:?}");
    }
}
