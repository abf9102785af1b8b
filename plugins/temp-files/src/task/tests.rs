//! Which files go, in which order, and where a run goes on.

use std::time::Duration;

use sereno_plugin::testing::{FakeHost, at, context, days, hours};
use sereno_plugin::{DiskUsage, Severity};

use super::*;

fn now() -> Instant {
    at("2026-11-24 02:30")
}

fn params() -> Params {
    Params {
        directory: "temp".to_owned(),
        older_than: hours(24),
        age_by: vec![AgeBy::Mtime],
        include: Vec::new(),
        exclude: Vec::new(),
        recursive: true,
        directory_as_unit: false,
        remove_emptied: true,
        max_total: None,
        max_total_keep: days(1),
    }
}

/// Files by name, bytes and age in hours.
fn host(files: &[(&str, u64, u64)]) -> FakeHost {
    let mut host = FakeHost::new();
    for (name, bytes, age) in files {
        host.directory("temp").file(name, *bytes, now() - hours(*age));
    }
    host
}

/// Runs to the end, however many attempts it takes; answers their number and every finding.
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
                assert_ne!(context.cursor.as_ref(), Some(&cursor), "every attempt moves on");
                context.cursor = Some(cursor);
            }
        }
    }
    panic!("it never ends");
}

#[test]
fn old_files_go_and_younger_ones_stay_and_one_exactly_at_the_cutoff_stays_too() {
    let mut host = host(&[
        ("old", 1, 25),
        ("sub/older", 1, 99),
        ("exact", 1, 24),
        ("new", 1, 1),
        (".hidden", 1, 48),
    ]);
    host.directory("temp").folder("sub/empty");
    assert_eq!(to_the_end(&params(), &mut host), (1, vec![]));
    assert_eq!(host.directory("temp").names(), ["exact", "new"]);
    assert_eq!(host.directory("temp").folders(), [""; 0]);
    assert_eq!(to_the_end(&params(), &mut host), (1, vec![]));
    assert_eq!(
        host.directory("temp").names(),
        ["exact", "new"],
        "the second run finds nothing"
    );
}

#[test]
fn include_and_exclude_and_depth_say_which_files_are_meant() {
    let files = [
        ("a.tmp", 1, 99),
        ("a.log", 1, 99),
        ("keep.tmp", 1, 99),
        ("sub/b.tmp", 1, 99),
    ];
    let mut host = host(&files);
    let params = Params {
        include: vec!["**/*.tmp".to_owned()],
        exclude: vec!["keep.*".to_owned()],
        recursive: false,
        ..params()
    };
    to_the_end(&params, &mut host);
    assert_eq!(host.directory("temp").names(), ["a.log", "keep.tmp", "sub/b.tmp"]);
    to_the_end(
        &Params {
            recursive: true,
            ..params
        },
        &mut host,
    );
    assert_eq!(host.directory("temp").names(), ["a.log", "keep.tmp"]);
}

#[test]
fn the_newest_of_the_named_stamps_decides() {
    let (old, new) = (now() - hours(99), now() - hours(1));
    let mut host = FakeHost::new();
    host.directory("temp")
        .stamped("moved-here", 1, [old, new, old])
        .stamped("old", 1, [old; 3]);
    to_the_end(
        &Params {
            age_by: vec![AgeBy::Mtime, AgeBy::Ctime, AgeBy::Btime],
            ..params()
        },
        &mut host,
    );
    assert_eq!(host.directory("temp").names(), ["moved-here"], "its ctime is new");
    to_the_end(
        &Params {
            age_by: vec![AgeBy::Mtime, AgeBy::Btime],
            ..params()
        },
        &mut host,
    );
    assert_eq!(host.directory("temp").names(), [""; 0]);
}

#[test]
fn a_directory_as_a_unit_goes_whole_or_stays_whole() {
    let mut host = host(&[
        ("done/a", 1, 99),
        ("done/b", 1, 50),
        ("busy/a", 1, 99),
        ("busy/b", 1, 1),
        ("c", 1, 99),
    ]);
    to_the_end(
        &Params {
            directory_as_unit: true,
            ..params()
        },
        &mut host,
    );
    assert_eq!(host.directory("temp").names(), ["busy/a", "busy/b"]);
    assert_eq!(host.directory("temp").folders(), ["busy"]);
}

#[test]
fn over_its_size_the_oldest_go_first_and_no_more_than_needed() {
    let mut host = host(&[
        ("a", 100, 60),
        ("b", 100, 50),
        ("c", 100, 40),
        ("d", 100, 30),
        ("e", 100, 2),
    ]);
    let params = Params {
        older_than: days(30),
        max_total: Some(300),
        ..params()
    };
    assert_eq!(to_the_end(&params, &mut host).1, []);
    assert_eq!(host.directory("temp").names(), ["c", "d", "e"]);
    assert_eq!(
        host.measured("files.bytes", "directory.temp"),
        Some(300.0),
        "at the limit is under it"
    );
    let calls = host
        .calls
        .iter()
        .filter(|call| call.starts_with("age_histogram"))
        .count();
    assert_eq!(calls, 2, "one coarse pass and one fine one");
}

#[test]
fn the_size_is_reached_among_thousands_of_files_within_one_file() {
    let mut host = FakeHost::new();
    for number in 0..5_000_u64 {
        // A minute apart, the first the oldest.
        let stamp = now() - days(10) + Duration::from_secs(60 * number);
        host.directory("temp").file(&format!("{number:04}"), 1_000, stamp);
    }
    let params = Params {
        older_than: days(30),
        max_total: Some(1_234_567),
        ..params()
    };
    assert_eq!(to_the_end(&params, &mut host).1, []);
    let names = host.directory("temp").names();
    assert_eq!(names.len(), 1_234, "as many as fit");
    assert_eq!(names.first(), Some(&"3766"), "and the youngest of them");
}

#[test]
fn what_is_too_young_never_goes_for_the_size_and_the_rest_is_a_finding() {
    let mut host = host(&[("old", 100, 30), ("young", 600 << 20, 20), ("new", 100, 1)]);
    let params = Params {
        older_than: days(30),
        max_total: Some(500 << 20),
        ..params()
    };
    let (_, findings) = to_the_end(&params, &mut host);
    assert_eq!(host.directory("temp").names(), ["new", "young"]);
    let [finding] = findings.as_slice() else {
        panic!("{findings:#?}")
    };
    assert_eq!(
        (finding.code.as_str(), finding.severity),
        ("over-budget", Severity::Warn)
    );
    assert_eq!(finding.target, "directory.temp");
    assert_eq!(
        finding.text,
        "600 MiB in 2 files are left, more than the 500 MiB of `max_total`: none of them that may go is older than \
         1 day"
    );
}

#[test]
fn excluded_files_neither_go_for_the_size_nor_count_against_it() {
    let mut host = host(&[("a.tmp", 100, 60), ("b.tmp", 100, 50), ("big.log", 9_000, 99)]);
    let exclude = vec!["*.log".to_owned()];
    let params = Params {
        older_than: days(30),
        max_total: Some(200),
        exclude,
        ..params()
    };
    assert_eq!(to_the_end(&params, &mut host).1, []);
    assert_eq!(host.directory("temp").names(), ["a.tmp", "b.tmp", "big.log"]);
}

#[test]
fn a_file_that_cannot_be_removed_stays_and_the_others_go() {
    let mut host = host(&[("a", 1, 99), ("b", 1, 99), ("c", 1, 99)]);
    host.directory("temp").pin("b");
    // That it stays is counted and told by the host.
    assert_eq!(to_the_end(&params(), &mut host).1, []);
    assert_eq!(host.directory("temp").names(), ["b"]);
}

#[test]
fn a_deadline_in_any_step_ends_in_order_and_the_next_attempt_goes_on() {
    let files = [
        ("a", 100, 999),
        ("b", 100, 60),
        ("c", 100, 50),
        ("d", 100, 40),
        ("e", 100, 1),
    ];
    let params = Params {
        older_than: days(30),
        max_total: Some(200),
        ..params()
    };
    for (call, nth) in [
        ("remove_batch", 2),
        ("summarize", 1),
        ("age_histogram", 2),
        ("remove_batch", 4),
        ("summarize", 2),
        ("usage", 1),
    ] {
        let mut host = host(&files);
        host.batch_max = Some(2);
        host.fail(call, nth, Error::Deadline);
        let (attempts, findings) = to_the_end(&params, &mut host);
        assert_eq!((attempts, findings), (2, vec![]), "{call} {nth}");
        assert_eq!(host.directory("temp").names(), ["d", "e"], "{call} {nth}");
        host.measured("files.count", "directory.temp");
    }
}

#[test]
fn every_cursor_is_read_back_and_a_foreign_one_is_refused() {
    let inner = || Some("a:b/ü".to_owned());
    for step in [
        Step::Age(None),
        Step::Age(inner()),
        Step::Search,
        Step::Budget(now(), None),
        Step::Budget(Instant::from_micros(-5), inner()),
        Step::Measure,
    ] {
        assert_eq!(Step::read(Some(&step.write())), Ok(step));
    }
    for foreign in ["", "budget:", "budget:x:y", "rows:7"] {
        assert!(
            matches!(Step::read(Some(foreign)), Err(Failure::Permanent(_))),
            "{foreign}"
        );
    }
}

#[test]
fn what_the_host_refuses_is_passed_on() {
    let mut host = host(&[("a", 1, 99)]);
    host.fail("remove_batch", 1, Error::Guard("max_files".to_owned()));
    let refused = run(&context(now()), &params(), &mut host);
    assert_eq!(
        refused,
        Err(Failure::PassedOn(Error::Guard("max_files".to_owned())))
    );
    assert_eq!(host.directory("temp").names(), ["a"]);
}

#[test]
fn the_measurements_are_of_what_is_left_and_the_unknown_is_not_0() {
    let mut host = host(&[("old", 7, 99), ("new", 5, 1)]);
    host.directory("temp").usage = DiskUsage {
        bytes_total: Some(1_000),
        bytes_free: Some(150),
        ..DiskUsage::default()
    };
    to_the_end(&params(), &mut host);
    assert_eq!(host.measured("files.count", "directory.temp"), Some(1.0));
    assert_eq!(host.measured("files.bytes", "directory.temp"), Some(5.0));
    // The 7 bytes that went are free again.
    assert_eq!(host.measured("disk.used_percent", "directory.temp"), Some(84.3));

    let mut host = self::host(&[]);
    host.directory("temp");
    to_the_end(&params(), &mut host);
    assert_eq!(host.measured("files.count", "directory.temp"), Some(0.0));
    assert_eq!(host.measured("disk.used_percent", "directory.temp"), None);
}
