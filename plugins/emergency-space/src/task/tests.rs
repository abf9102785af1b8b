//! How far the ladder is climbed, which files each step takes, and what is told of it.

use sereno_plugin::testing::{FakeHost, context, hours};
use sereno_plugin::{Activity, Outcome};

use super::*;
use crate::room::tests::params as no_steps;
use crate::step::tests::{now, step};

/// Temporary files, then compression of logs, then the oldest logs.
fn params() -> Params {
    let remove_temp = Steps {
        first: StepsFirst::Largest,
        ..step("temp", StepsDo::Remove, StepsWhat::Files)
    };
    Params {
        steps: vec![
            remove_temp,
            step("logs", StepsDo::Compress, StepsWhat::RotatedLogs),
            step("logs", StepsDo::Remove, StepsWhat::RotatedLogs),
        ],
        ..no_steps()
    }
}

const FILES: [(&str, &str, u64, u64); 9] = [
    ("temp", "a.tmp", 100, 30),
    ("temp", "b.tmp", 300, 40),
    ("temp", "young.tmp", 900, 3),
    ("logs", "app.log", 500, 90),
    ("logs", "app.log.1", 200, 30),
    ("logs", "app.log.2", 100, 60),
    ("logs", "app.log.3", 50, 80),
    ("logs", "app.log.4.gz", 20, 100),
    ("logs", "notes.txt", 900, 900),
];

/// Directories on file systems of 10,000 bytes each, of which so many are free.
fn host(temp_free: u64, logs_free: u64) -> FakeHost {
    let mut host = FakeHost::new();
    for (directory, name, bytes, age) in FILES {
        host.directory(directory).file(name, bytes, now() - hours(age));
    }
    for (directory, free) in [("temp", temp_free), ("logs", logs_free)] {
        host.directory(directory).usage = DiskUsage {
            bytes_total: Some(10_000),
            bytes_free: Some(free),
            ..DiskUsage::default()
        };
    }
    host
}

fn climb(params: &Params, host: &mut FakeHost) -> Report {
    match run(&context(now()), params, host).expect("no failure") {
        Outcome::Done(report) => report,
        Outcome::More(..) => panic!("there was time"),
    }
}

fn codes(report: &Report) -> Vec<String> {
    let findings = report.findings.iter();
    findings
        .map(|finding| format!("{} {}", finding.code, finding.target))
        .collect()
}

fn names(host: &mut FakeHost, directory: &str) -> Vec<String> {
    let names = host.directory(directory).names();
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn below_the_target_nothing_is_even_looked_at() {
    let mut host = host(2_001, 9_000);
    let report = climb(&params(), &mut host);
    assert_eq!(
        codes(&report),
        ["below-target directory.temp", "below-target directory.logs"]
    );
    assert!(
        !host.calls.iter().any(|call| call.starts_with("entries")),
        "{:?}",
        host.calls
    );
    let readings: Vec<_> = host
        .measurements
        .iter()
        .map(|one| (one.name.as_str(), one.target.as_str(), one.value))
        .collect();
    assert_eq!(readings[0], ("disk.used_percent", "directory.temp", Some(79.99)));
    assert_eq!(readings[1], ("disk.free_bytes", "directory.temp", Some(2_001.0)));
}

#[test]
fn each_step_takes_no_more_than_its_own_file_system_needs() {
    // 100 too much here, and 180 there.
    let mut host = host(1_901, 1_821);
    let report = climb(&params(), &mut host);
    assert_eq!(
        names(&mut host, "temp"),
        ["a.tmp", "young.tmp"],
        "the largest, of which one is enough"
    );
    assert_eq!(
        names(&mut host, "logs"),
        [
            "app.log",
            "app.log.1.gz",
            "app.log.2.gz",
            "app.log.3.gz",
            "app.log.4.gz",
            "notes.txt"
        ],
        "compressed, and none removed"
    );
    assert_eq!(
        codes(&report),
        [
            "full directory.temp",
            "full directory.logs",
            "step-remove directory.temp",
            "step-compress directory.logs",
            "below-target directory.temp",
            "below-target directory.logs",
        ]
    );
}

#[test]
fn what_no_step_names_stays_even_when_all_of_it_is_not_enough() {
    let mut host = host(0, 0);
    let report = climb(&params(), &mut host);
    assert_eq!(names(&mut host, "temp"), ["young.tmp"]);
    assert_eq!(
        names(&mut host, "logs"),
        ["app.log", "app.log.1.gz", "notes.txt"],
        "the last rotated file of a log stays"
    );
    let last = report.findings.last().expect("a finding");
    assert_eq!(
        (last.code.as_str(), last.severity.as_str()),
        ("above-target", "critical")
    );
    assert!(
        report.findings[2]
            .text
            .contains("removes 2 files with 400 B, the largest first")
    );
    assert!(
        report.findings[3]
            .text
            .contains("compresses 3 rotated logs with 350 B to 35 B")
    );
}

#[test]
fn a_step_that_fails_or_finds_nothing_is_told_and_the_next_is_taken() {
    let mut params = params();
    params.steps[1].older_than = hours(24_000);
    let mut host = host(0, 0);
    host.fail_on("entries", "temp", Error::Fault("no".to_owned()));
    let report = climb(&params, &mut host);
    assert_eq!(
        codes(&report),
        [
            "full directory.temp",
            "full directory.logs",
            "step-failed directory.temp",
            "step-empty directory.logs",
            "step-remove directory.logs",
            "above-target directory.temp",
            "above-target directory.logs",
        ]
    );
    assert_eq!(names(&mut host, "temp").len(), 3);
}

#[test]
fn files_that_give_nothing_back_end_their_step() {
    let mut host = host(0, 9_000);
    let temp = host.directory("temp");
    for name in ["x", "y", "z"] {
        temp.file(name, 40 << 20, now() - hours(50));
    }
    temp.held("x");
    temp.usage.bytes_total = Some(100 << 20);
    let mut params = params();
    params.used_under = 90.0;
    let report = climb(&params, &mut host);
    let codes = codes(&report);
    assert!(
        codes.contains(&"step-freed-nothing directory.temp".to_owned()),
        "{codes:?}"
    );
    assert_eq!(
        names(&mut host, "temp"),
        ["a.tmp", "b.tmp", "y", "young.tmp", "z"],
        "no second one goes in vain"
    );
}

#[test]
fn files_that_cannot_go_are_counted_and_do_not_keep_it_for_ever() {
    let mut host = host(0, 9_000);
    host.directory("temp").pin("a.tmp").pin("b.tmp");
    let report = climb(&params(), &mut host);
    let left = report.findings.iter().find(|finding| finding.code == "step-left");
    assert!(left.expect("a finding").text.contains("2 files were left"));
    host.directory("logs").written("app.log.1");
    host.directory("logs").usage.bytes_free = Some(0);
    let report = climb(&params(), &mut host);
    assert!(codes(&report).contains(&"step-left directory.logs".to_owned()));
    assert!(names(&mut host, "logs").contains(&"app.log.1".to_owned()));
}

#[test]
fn used_up_inodes_are_freed_by_removing_alone() {
    let mut host = host(9_000, 9_000);
    for name in ["temp", "logs"] {
        let usage = &mut host.directory(name).usage;
        (usage.inodes_total, usage.inodes_free) = (Some(100), Some(10));
    }
    let report = climb(&params(), &mut host);
    assert_eq!(
        names(&mut host, "temp"),
        ["a.tmp", "young.tmp"],
        "one inode is enough"
    );
    assert_eq!(names(&mut host, "logs").len(), 5, "and one here");
    assert!(!codes(&report).contains(&"step-compress directory.logs".to_owned()));
}

#[test]
fn an_attempt_that_runs_out_of_time_is_gone_on_with_at_its_step() {
    let mut host = host(0, 0);
    host.fail("compress", 1, Error::Deadline);
    let (report, cursor) = match run(&context(now()), &params(), &mut host).expect("no failure") {
        Outcome::More(report, cursor) => (report, cursor),
        Outcome::Done(report) => panic!("{report:?}"),
    };
    assert_eq!(cursor, "1.1");
    assert_eq!(
        codes(&report),
        [
            "full directory.temp",
            "full directory.logs",
            "step-remove directory.temp"
        ]
    );
    let again = Context {
        cursor: Some(cursor),
        ..context(now())
    };
    let Ok(Outcome::Done(report)) = run(&again, &params(), &mut host) else {
        panic!("there was time");
    };
    assert_eq!(
        codes(&report)[..2],
        ["step-compress directory.logs", "step-remove directory.logs"]
    );
    let foreign = Context {
        cursor: Some("x".to_owned()),
        ..context(now())
    };
    assert!(matches!(
        run(&foreign, &params(), &mut host),
        Err(Failure::Permanent(_))
    ));
    assert!(matches!(
        run(&context(now()), &no_steps(), &mut host),
        Err(Failure::InvalidParams(_))
    ));
}

#[test]
fn slots_that_hold_back_much_are_told_and_a_database_out_of_reach_stops_nothing() {
    let mut host = host(0, 9_000);
    let slot = |what: &str, amount| Activity {
        kind: "slot".to_owned(),
        what: what.to_owned(),
        amount: Some(amount),
        note: Some("extended".to_owned()),
        ..Activity::default()
    };
    host.database("app").activities = vec![
        slot("the replication slot young", 1 << 20),
        slot("the replication slot old", 5 << 30),
    ];
    let params = Params {
        database: Some("app".to_owned()),
        ..params()
    };
    let report = climb(&params, &mut host);
    let told: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.code == "slot-holds")
        .map(|finding| finding.text.as_str())
        .collect();
    assert_eq!(
        told,
        ["the replication slot old holds back 5.0 GiB of WAL (extended)"]
    );
    let mut host = self::host(0, 9_000);
    host.database("app");
    host.fail_on("activities", "app", Error::Unreachable("no".to_owned()));
    let report = climb(&params, &mut host);
    assert_eq!(
        codes(&report)[1..3],
        ["not-looked-at database.app", "step-remove directory.temp"]
    );
}
