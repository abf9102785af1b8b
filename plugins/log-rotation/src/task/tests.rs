//! Which logs are rotated, compressed and removed, what their writer hears, and what is told of them.

use sereno_plugin::testing::{FakeHost, at, context, days, hours};

use super::*;

fn now() -> Instant {
    at("2026-11-24 02:30")
}

fn params() -> Params {
    Params {
        directory: "logs".to_owned(),
        include: vec!["**/*.log".to_owned()],
        exclude: Vec::new(),
        rotate: Some(Rotate::Rename),
        writer: Some("app".to_owned()),
        rotate_after: days(1),
        max_size: 10_000_000,
        r#do: vec![Do::Compress, Do::Remove],
        compress_after: hours(1),
        keep: days(30),
        keep_at_least: 1,
        keep_at_most: None,
        expect_within: days(3),
    }
}

/// Files by name, bytes and hours since they were last written; and a writer.
fn host(files: &[(&str, u64, u64)]) -> FakeHost {
    let mut host = FakeHost::new();
    host.directory("logs");
    for (name, bytes, age) in files {
        host.directory("logs").file(name, *bytes, now() - hours(*age));
    }
    host.writer("app");
    host
}

/// Runs once at `at`; the codes of its findings.
fn run_at(at: Instant, params: &Params, host: &mut FakeHost) -> Vec<String> {
    match run(&context(at), params, host).expect("no failure") {
        Outcome::Done(report) => report.findings.into_iter().map(|finding| finding.code).collect(),
        Outcome::More(..) => panic!("there was time"),
    }
}

fn names(host: &mut FakeHost) -> Vec<String> {
    let names = host.directory("logs").names();
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_log_is_rotated_once_a_day_however_often_the_job_runs() {
    let mut host = host(&[("app.log", 50, 0), ("sub/other.log", 5, 0), ("empty.log", 0, 0)]);
    assert_eq!(run_at(now(), &params(), &mut host), [""; 0]);
    let rotated = [
        "app.log-2026-11-24T023000Z",
        "empty.log",
        "sub/other.log-2026-11-24T023000Z",
    ];
    assert_eq!(names(&mut host), rotated);
    assert_eq!(host.writer("app").told, 1, "once for all logs");
    // The writer has opened them anew. The same delivery again, and a second run of the day.
    host.directory("logs")
        .file("app.log", 7, now())
        .file("sub/other.log", 7, now());
    for later in [now(), now() + hours(12)] {
        assert_eq!(run_at(later, &params(), &mut host), [""; 0]);
        assert_eq!(host.writer("app").told, 1);
        assert!(names(&mut host).contains(&"app.log".to_owned()));
    }
    // A day of 23 hours.
    run_at(now() + hours(23), &params(), &mut host);
    assert_eq!(host.writer("app").told, 2);
    assert_eq!(
        names(&mut host),
        [
            "app.log-2026-11-24T023000Z.gz",
            "app.log-2026-11-25T013000Z",
            "empty.log",
            "sub/other.log-2026-11-24T023000Z.gz",
            "sub/other.log-2026-11-25T013000Z",
        ]
    );
}

#[test]
fn a_large_log_is_rotated_whatever_its_age_and_never_onto_another_file() {
    let mut host = host(&[
        ("app.log", 10_000_000, 0),
        ("app.log-2026-11-24T023000Z", 9, 1),
        ("app.log-2026-11-24T023000Z-2.gz", 9, 1),
        ("small.log", 9_999_999, 0),
        ("small.log-2026-11-24T013000Z", 9, 1),
    ]);
    assert_eq!(run_at(now(), &params(), &mut host), [""; 0]);
    assert_eq!(
        names(&mut host),
        [
            "app.log-2026-11-24T023000Z",
            "app.log-2026-11-24T023000Z-2.gz",
            "app.log-2026-11-24T023000Z-3",
            "small.log",
            "small.log-2026-11-24T013000Z",
        ]
    );
}

#[test]
fn what_the_program_rotates_by_itself_is_compressed_when_its_day_is_over_and_nobody_writes_it() {
    let mut host = host(&[
        ("app-2026-11-24.log", 50, 2),
        ("app-2026-11-23.log", 50, 3),
        ("app-2026-11-22.log", 50, 26),
        ("app-2026-11-21.log", 50, 0),
        ("app-2026-11-20.log.gz", 5, 99),
        ("other.log", 50, 0),
        ("other.log.1", 50, 30),
    ]);
    host.directory("logs").written("app-2026-11-22.log");
    let own = Params {
        rotate: None,
        writer: None,
        ..params()
    };
    assert_eq!(run_at(now(), &own, &mut host), ["still-written"]);
    assert_eq!(
        names(&mut host),
        [
            "app-2026-11-20.log.gz",
            "app-2026-11-21.log",
            "app-2026-11-22.log",
            "app-2026-11-23.log.gz",
            "app-2026-11-24.log",
            "other.log",
            "other.log.1.gz",
        ]
    );
    assert_eq!(host.writer("app").told, 0);
}

#[test]
fn old_files_go_by_their_date_and_so_many_stay() {
    let files = [
        ("app.log", 5, 0),
        ("app.log-2026-11-23T120000Z.gz", 5, 15),
        ("app.log-2026-10-01T000000Z.gz", 5, 24 * 54),
        // Written lately, as by a restore: its name knows better.
        ("app.log-2026-09-01T000000Z.gz", 5, 30),
        // Gone too, were it not for being written in this very day.
        ("app.log-2026-08-01T000000Z.gz", 5, 2),
        ("old.log.3.gz", 5, 24 * 40),
        ("old.log.2.gz", 5, 24 * 39),
        ("old.log.1", 5, 24 * 38),
    ];
    let mut host = host(&files);
    run_at(now(), &params(), &mut host);
    assert_eq!(
        names(&mut host),
        [
            "app.log",
            "app.log-2026-08-01T000000Z.gz",
            "app.log-2026-11-23T120000Z.gz",
            "old.log.1.gz"
        ]
    );
    let mut host = self::host(&files);
    let kept = Params {
        r#do: vec![Do::Compress],
        ..params()
    };
    run_at(now(), &kept, &mut host);
    assert_eq!(
        names(&mut host).len(),
        files.len(),
        "nothing goes that is not asked to"
    );
}

#[test]
fn more_files_than_may_be_go_oldest_first_but_none_of_today() {
    let mut host = host(&[
        ("app.log.5", 5, 120),
        ("app.log.4", 5, 90),
        ("app.log.3", 5, 60),
        ("app.log.2", 5, 20),
        ("app.log.1", 5, 10),
    ]);
    let few = Params {
        keep_at_most: Some(1),
        ..params()
    };
    run_at(now(), &few, &mut host);
    assert_eq!(names(&mut host), ["app.log.1.gz", "app.log.2.gz"]);
}

#[test]
fn a_log_stays_where_it_is_when_its_writer_would_not_hear_of_it() {
    let mut host = host(&[("app.log", 50, 0), ("app.log.1", 5, 30)]);
    host.fail_on("look", "app", Error::Fault("does not handle SIGHUP".to_owned()));
    assert_eq!(run_at(now(), &params(), &mut host), ["writer-not-told"]);
    assert_eq!(names(&mut host), ["app.log", "app.log.1.gz"], "the rest goes on");
    // One that does not run has nothing open.
    let mut host = self::host(&[("app.log", 50, 0)]);
    host.fail_on("look", "app", Error::NotFound("gone".to_owned()));
    host.fail_on("notify", "app", Error::NotFound("gone".to_owned()));
    assert_eq!(run_at(now(), &params(), &mut host), [""; 0]);
    assert_eq!(names(&mut host), ["app.log-2026-11-24T023000Z"]);
}

#[test]
fn a_notice_that_an_attempt_died_before_is_sent_by_the_next() {
    // Renamed, and nobody told: the writer has not made the log again.
    let mut host = host(&[("app.log-2026-11-24T020000Z", 50, 0)]);
    assert_eq!(run_at(now(), &params(), &mut host), [""; 0]);
    assert_eq!(host.writer("app").told, 1);
    host.directory("logs").file("app.log", 5, now());
    run_at(now(), &params(), &mut host);
    assert_eq!(host.writer("app").told, 1, "it has");
    // One that ended days ago missed nothing.
    let mut host = self::host(&[("app.log-2026-11-20T020000Z", 50, 99)]);
    run_at(now(), &params(), &mut host);
    assert_eq!(host.writer("app").told, 0);
}

#[test]
fn out_of_time_after_a_rename_the_next_attempt_tells_the_writer() {
    let mut host = host(&[("a.log", 50, 0), ("b.log", 50, 0)]);
    host.fail("rename", 2, Error::Deadline);
    let mut context = context(now());
    let Ok(Outcome::More(_, cursor)) = run(&context, &params(), &mut host) else {
        panic!("its time was over");
    };
    assert_eq!((cursor.as_str(), host.writer("app").told), (TELL, 0));
    context.cursor = Some(cursor);
    host.fail("compress", 1, Error::Deadline)
        .directory("logs")
        .file("old.log.1", 5, now() - hours(9));
    let Ok(Outcome::More(_, cursor)) = run(&context, &params(), &mut host) else {
        panic!("its time was over");
    };
    assert_eq!((cursor.as_str(), host.writer("app").told), ("tidy.1", 1));
    context.cursor = Some(cursor);
    assert!(matches!(
        run(&context, &params(), &mut host),
        Ok(Outcome::Done(_))
    ));
    assert_eq!(host.writer("app").told, 1);
    assert_eq!(
        names(&mut host),
        [
            "a.log-2026-11-24T023000Z",
            "b.log-2026-11-24T023000Z",
            "old.log.1.gz"
        ]
    );
}

#[test]
fn a_log_that_is_emptied_where_it_is_comes_with_a_warning() {
    let mut host = host(&[("app.log", 50, 0)]);
    let truncate = Params {
        rotate: Some(Rotate::Truncate),
        writer: None,
        ..params()
    };
    assert_eq!(run_at(now(), &truncate, &mut host), ["lines-may-be-lost"]);
    assert_eq!(names(&mut host), ["app.log", "app.log-2026-11-24T023000Z"]);
    assert_eq!(run_at(now(), &truncate, &mut host), [""; 0], "it is empty");
    host.fail("copy_truncate", 1, Error::Fault("no space left".to_owned()));
    host.directory("logs").file("app.log", 50, now());
    let later = run_at(now() + days(1), &truncate, &mut host);
    assert_eq!(later, ["rotation-failed"]);
}

#[test]
fn what_is_not_rotated_or_written_on_is_told() {
    let own = Params {
        rotate: None,
        writer: None,
        r#do: vec![Do::Compress],
        ..params()
    };
    for (files, expected) in [
        (vec![], vec!["nothing-found"]),
        (vec![("app.log", 50, 0)], vec![]),
        (vec![("app.log", 10_000_000, 0)], vec!["not-rotated"]),
        (
            vec![("app.log", 50, 0), ("app.log.1.gz", 5, 73)],
            vec!["not-rotated"],
        ),
        (vec![("app.log", 50, 0), ("app.log.1.gz", 5, 71)], vec![]),
        (vec![("app.log", 0, 0), ("app.log.1.gz", 5, 99)], vec![]),
        (vec![("app-2026-11-19.log.gz", 5, 99)], vec!["not-rotated"]),
        (
            vec![("app-2026-11-24.log", 5, 0), ("app-2026-11-19.log.gz", 5, 99)],
            vec![],
        ),
        // It ended long ago.
        (vec![("app-2026-09-19.log.gz", 5, 24 * 60)], vec![]),
        (
            vec![("app.log", 5, 0), ("app.log-2026-11-23T023000Z", 5, 0)],
            vec!["still-written"],
        ),
    ] {
        let mut host = host(&files);
        assert_eq!(run_at(now(), &own, &mut host), expected, "{files:?}");
    }
}

#[test]
fn files_bytes_and_the_age_of_the_last_rotation_are_measured() {
    let mut host = host(&[
        ("app.log", 50, 0),
        ("app.log.1.gz", 5, 48),
        ("b.log", 7, 0),
        ("notes.txt", 9, 0),
    ]);
    let own = Params {
        rotate: None,
        writer: None,
        ..params()
    };
    run_at(now(), &own, &mut host);
    let on = "directory.logs";
    assert_eq!(host.measured("logs.count", on), Some(3.0));
    assert_eq!(host.measured("logs.bytes", on), Some(62.0));
    assert_eq!(host.measured("logs.rotation_age", on), Some(48.0 * 3_600.0));
}
