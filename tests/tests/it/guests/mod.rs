//! Hostile and probing guests: each ends as it must, and nobody beside it suffers.
//!
//! Every folder of `tests/guests` is named by a test in here; the first test holds that.

mod artefacts;
mod connections;
mod stage;
mod storage;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sereno_adapters::clock::SeededEntropy;
use sereno_adapters::http;
use sereno_adapters::secrets::Secret;
use sereno_core::job::Limits;
use sereno_core::ports::clock::Entropy;
use sereno_core::ports::plugins::{CallError, GuestEnd, PluginError, Plugins};
use sereno_engine::{Allocation, Options, PluginHost};
use sereno_tests::guests::guests;
use sereno_tests::web::{Asked, Told, Web};
use tokio::sync::watch;

use stage::{Bottomless, Broken, Missing, Run, Still, label, options, plugin};

#[test]
fn every_guest_is_paired_with_a_test() {
    let tests = concat!(
        include_str!("mod.rs"),
        include_str!("artefacts.rs"),
        include_str!("connections.rs"),
        include_str!("storage.rs"),
        include_str!("writer.rs"),
        include_str!("../backup/jobs.rs"),
        include_str!("../http.rs")
    );
    let unpaired: Vec<_> = guests()
        .manifests
        .keys()
        .filter(|name| !tests.contains(&format!("\"{name}\"")))
        .collect();
    assert!(unpaired.is_empty(), "no test runs {unpaired:?}");
}

/// A guest, how it is to behave, and how it ends.
const HOSTILE: &[(&str, &str, &str)] = &[
    ("endless-loop", "", "limit(cpu)"),
    ("endless-calls", "", "limit(calls)"),
    ("memory-bomb", "", "limit(memory)"),
    ("memory-minimum", "", "limit(memory)"),
    ("recursion", "", "limit(stack)"),
    ("table-hoard", "", "limit(memory)"),
    ("large-values", "list", "limit(bytes)"),
    ("large-values", "empty-lists", "limit(bytes)"),
    ("large-values", "text", "limit(bytes)"),
    ("large-values", "answer", "limit(bytes)"),
    ("large-values", "error", "limit(bytes)"),
    ("log-flood", "lines", "done"),
    ("log-flood", "bytes", "done"),
    ("log-flood", "fields", "done"),
    ("log-flood", "print", "done"),
    ("log-flood", "one-line", "done"),
    ("handle-hoard", "", "limit(handles)"),
    ("trap", "panic", "trap"),
    ("trap", "unreachable", "trap"),
    ("trap", "divide", "trap"),
    ("trap", "read", "trap"),
    ("trap", "call", "trap"),
    ("trap", "exit-0", "trap"),
    ("trap", "exit-7", "trap"),
    ("raw-values", "utf-8", "trap"),
    ("raw-values", "beyond", "trap"),
    ("raw-values", "wrapping", "trap"),
    ("raw-values", "list", "trap"),
    ("raw-values", "unaligned", "trap"),
    ("raw-values", "case", "trap"),
    ("raw-values", "answer", "trap"),
    ("forger", "guard", "invalid"),
    ("forger", "cancelled", "invalid"),
    ("forger", "outcome", "invalid"),
    ("forger", "findings", "limit(output)"),
    ("forger", "measurements", "limit(output)"),
];

/// Printing ten thousand lines takes an unoptimised host longer than the other guests may have.
fn patient(run: Run) -> Run {
    Run {
        limits: Limits {
            cpu: Duration::from_secs(60),
            ..run.limits
        },
        ..run
    }
}

fn hostile((guest, how, _): (&'static str, &'static str, &str)) -> Run {
    let run = Run::of(guest).how(how);
    if guest == "endless-loop" {
        run
    } else {
        patient(run)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hostile_guest_ends_as_its_own_outcome_and_the_next_run_is_well() {
    let host = PluginHost::new(options());
    let mut wrong = Vec::new();
    for &case in HOSTILE {
        let ended = hostile(case).go(&host).await;
        if label(&ended.end) != case.2 {
            wrong.push(format!("{case:?} ended as {:?}", ended.end));
        }
        let next = Run::of("noop").go(&host).await;
        assert_eq!(next.end, GuestEnd::Done, "after {case:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn hostile_guests_end_the_same_in_a_pool() {
    let host = PluginHost::new(Options {
        allocation: Allocation::Pool(2),
        ..options()
    });
    for &case in HOSTILE {
        if case.0 == "table-hoard" {
            // No slot could ever hold it, so it is not even loaded.
            let refused = host.prepare(&plugin(case.0)).await;
            assert!(matches!(refused, Err(PluginError::Invalid { .. })), "{refused:?}");
            continue;
        }
        let ended = hostile(case).go(&host).await;
        assert_eq!(label(&ended.end), case.2, "{case:?}: {:?}", ended.end);
    }
    assert_eq!(Run::of("noop").go(&host).await.end, GuestEnd::Done);
}

/// A guest at its worst. A flood of lines is not the guest's end: what is too much is dropped.
fn busy(guest: &'static str) -> Run {
    match guest {
        "log-flood" => Run::of(guest).how("lines"),
        "sleep-in-call" => Run {
            time_left: Duration::from_millis(200),
            ..Run::of(guest).on(Arc::new(Still::default()))
        },
        _ => Run::of(guest),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_of_busy_guests_is_not_held_up() {
    const RUNS: usize = 15;
    /// What a scheduler may add on a loaded machine; a guest that was not interrupted would add seconds.
    const SLACK: Duration = Duration::from_millis(100);
    async fn median_noop(host: &PluginHost) -> Duration {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let began = Instant::now();
            assert_eq!(Run::of("noop").go(host).await.end, GuestEnd::Done);
            times.push(began.elapsed());
        }
        times.sort();
        times[RUNS / 2]
    }
    let host = Arc::new(PluginHost::new(options()));
    host.prepare(&plugin("noop")).await.unwrap();
    let alone = median_noop(&host).await;
    for guest in [
        "endless-loop",
        "endless-calls",
        "memory-bomb",
        "recursion",
        "handle-hoard",
        "log-flood",
        "sleep-in-call",
    ] {
        host.prepare(&plugin(guest)).await.unwrap();
        // One for each worker, again and again, until the neighbour is done.
        let (stop, stopped) = watch::channel(false);
        let hostiles: Vec<_> = (0..2)
            .map(|_| {
                let (host, stopped) = (Arc::clone(&host), stopped.clone());
                tokio::spawn(async move {
                    while !*stopped.borrow() {
                        let ended = busy(guest).go(&host).await.end;
                        let as_expected = match guest {
                            "log-flood" => ended == GuestEnd::Done,
                            "sleep-in-call" => ended == GuestEnd::PassedOn(CallError::Deadline),
                            _ => matches!(ended, GuestEnd::Limit(..)),
                        };
                        assert!(as_expected, "{guest}: {ended:?}");
                    }
                })
            })
            .collect();
        let host_of_noop = Arc::clone(&host);
        let beside = tokio::spawn(async move { median_noop(&host_of_noop).await })
            .await
            .unwrap();
        stop.send(true).unwrap();
        for hostile in hostiles {
            hostile.await.unwrap();
        }
        assert!(
            beside <= (alone * 2).max(alone + SLACK),
            "a run took {alone:?} alone and {beside:?} beside {guest}"
        );
    }
}

#[tokio::test]
async fn what_a_guest_used_is_told() {
    let host = PluginHost::new(options());
    let computed = Run::of("endless-loop").go(&host).await.used;
    assert!((290..2_000).contains(&computed.cpu_ms), "{computed:?}");
    assert!(computed.wall_ms >= computed.cpu_ms, "{computed:?}");
    let called = patient(Run::of("endless-calls")).go(&host).await.used;
    assert_eq!((called.host_calls, called.log_lines), (100_000, 4_000));
    assert_eq!(called.log_lines_dropped, 96_000);
    let took = patient(Run::of("memory-bomb")).go(&host).await.used;
    assert!((60 << 20..=64 << 20).contains(&took.memory_bytes), "{took:?}");
}

#[tokio::test]
async fn a_component_of_more_parts_than_allowed_is_refused() {
    let host = PluginHost::new(options());
    let run = Run::of("noop");
    let limits = Limits {
        instances: 1,
        ..run.limits
    };
    let ended = Run { limits, ..run }.go(&host).await;
    assert_eq!(label(&ended.end), "limit(handles)", "{:?}", ended.end);
}

#[tokio::test]
async fn a_flood_is_kept_up_to_the_limits_and_the_rest_is_counted() {
    let host = PluginHost::new(options());
    let limits = Limits::default();
    for (how, written) in [
        ("lines", 10_000),
        ("bytes", 10_000),
        ("fields", 1_000),
        ("print", 10_000),
        ("one-line", 1),
    ] {
        let ended = patient(Run::of("log-flood").how(how)).go(&host).await;
        let kept = ended.lines.len() as u64;
        let bytes: usize = ended
            .lines
            .iter()
            .map(|(_, message, fields)| {
                message.len()
                    + fields
                        .iter()
                        .map(|(key, value)| key.len() + value.len())
                        .sum::<usize>()
            })
            .sum();
        assert_eq!(ended.used.log_lines, kept, "{how}");
        assert_eq!(
            ended.used.log_lines + ended.used.log_lines_dropped,
            written,
            "{how}"
        );
        assert!(
            kept <= limits.log_lines && bytes as u64 <= limits.log_bytes,
            "{how}: {kept} lines, {bytes} bytes"
        );
        let line_max = limits.log_line_bytes as usize;
        assert!(
            ended
                .lines
                .iter()
                .all(|(_, message, _)| message.len() <= line_max),
            "{how}"
        );
    }
}

#[tokio::test]
async fn nothing_in_a_guests_words_moves_a_terminal_or_starts_a_line() {
    let host = PluginHost::new(options());
    let ended = Run::of("log-escapes").go(&host).await;
    assert_eq!(ended.end, GuestEnd::Done);
    assert_eq!(ended.lines.len(), 1, "{:?}", ended.lines);
    let (level, message, fields) = &ended.lines[0];
    assert_eq!(level, "info");
    assert_eq!(
        message,
        r#"a\u{1b}[2J\u{1b}]0;title\u{7}b\r\nlevel=error\u{0}\u{202e}c{"level":"error"}\u{200b}\u{2028}d"#
    );
    assert_eq!(fields, &[(message.clone(), message.clone())]);
    let finding = &ended.findings[0];
    for text in [
        &finding.code,
        &finding.target,
        &finding.text,
        finding.next.as_ref().unwrap(),
    ] {
        assert_eq!(text, message);
    }
    let measurement = &ended.measurements[0];
    assert_eq!(
        (&measurement.name, &measurement.unit, measurement.value),
        (message, message, None)
    );
}

#[tokio::test]
async fn a_traps_last_words_are_kept_short_and_clean() {
    let host = PluginHost::new(options());
    let ended = Run::of("trap").how("panic").go(&host).await;
    let GuestEnd::Trap(text) = &ended.end else {
        panic!("{:?}", ended.end);
    };
    assert!(
        text.starts_with("wasm trap: ") && text.contains("its last words: "),
        "{text}"
    );
    assert!(
        text.len() <= 4 << 10 && !text.contains(['\n', '\u{1b}']),
        "{text}"
    );
    assert!(
        ended
            .lines
            .iter()
            .any(|(level, message, _)| level == "warn" && message.contains("my last words"))
    );
    let exited = Run::of("trap").how("exit-0").go(&host).await.end;
    assert_eq!(
        exited,
        GuestEnd::Trap("it exited with status 0 instead of returning".to_owned())
    );
}

#[tokio::test]
async fn a_guest_sees_nothing_of_its_host() {
    let host = PluginHost::new(options());
    let ended = Run::of("look-around").go(&host).await;
    let seen: Vec<_> = ended
        .findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.text.as_str()))
        .collect();
    assert_eq!(
        seen[..3],
        [("args", "[]"), ("env", "[]"), ("stdin", "0 bytes, true")]
    );
    let context = seen[3].1;
    assert!(
        context.contains("time-left-ms: 120000") && context.contains("job: \"a-job\""),
        "{context}"
    );
    assert!(
        !context.contains("apply") && !context.contains("plan"),
        "the mode is nobody's business: {context}"
    );
}

#[tokio::test]
async fn an_import_without_a_need_is_refused_before_anything_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::new(stage::options_with_cache(&folder.path().join("cache")));
    let error = host.inspect(&plugin("undeclared")).await.unwrap_err();
    let PluginError::Undeclared { imports, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(imports, &["sereno:plugin/files@0.1.0"]);
    assert!(host.prepare(&plugin("undeclared")).await.is_err());
    assert!(!folder.path().join("cache").exists());
}

#[tokio::test]
async fn a_clock_of_wasi_is_refused_by_name() {
    let host = PluginHost::new(options());
    let error = host.prepare(&plugin("sleep-in-wasi")).await.unwrap_err();
    assert!(matches!(error, PluginError::Invalid { .. }), "{error:?}");
    assert!(
        error.to_string().contains("wasi:clocks/monotonic-clock@0.2"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_not_granted_is_denied_with_the_line_to_add() {
    let host = PluginHost::new(options());
    let ended = Run::of("beyond-grants").without_grants().go(&host).await;
    assert_eq!(ended.end, GuestEnd::Done);
    let answers: Vec<_> = ended
        .findings
        .iter()
        .map(|finding| format!("{} → {}", finding.code, finding.text))
        .collect();
    assert_eq!(
        answers,
        [
            r#"usage temp → denied: directory.temp = ["read"]"#,
            r#"remove-batch temp → denied: directory.temp = ["remove"]"#,
            r#"usage other → denied: directory.other = ["read"]"#,
            r#"remove-batch other → denied: directory.other = ["remove"]"#,
            "usage ../temp → invalid",
            "remove-batch ../temp → invalid",
            "usage / → invalid",
            "remove-batch / → invalid",
            r"usage temp\u{0} → invalid",
            r"remove-batch temp\u{0} → invalid",
            r#"count sessions → denied: database.app.tables.sessions = ["read"]"#,
            r#"delete-batch sessions → denied: database.app.tables.sessions = ["delete"]"#,
            r#"vacuum sessions → denied: database.app.tables.sessions = ["vacuum"]"#,
            r#"count other → denied: database.app.tables.other = ["read"]"#,
            r#"delete-batch other → denied: database.app.tables.other = ["delete"]"#,
            r#"vacuum other → denied: database.app.tables.other = ["vacuum"]"#,
            r#"count pg_catalog.pg_class → denied: database.app.tables."pg_catalog.pg_class" = ["read"]"#,
            r#"delete-batch pg_catalog.pg_class → denied: database.app.tables."pg_catalog.pg_class" = ["delete"]"#,
            r#"vacuum pg_catalog.pg_class → denied: database.app.tables."pg_catalog.pg_class" = ["vacuum"]"#,
            r#"count x"; drop table y; -- → invalid"#,
            r#"delete-batch x"; drop table y; -- → invalid"#,
            r#"vacuum x"; drop table y; -- → invalid"#,
            "count * → invalid",
            "delete-batch * → invalid",
            "vacuum * → invalid",
            r#"describe-database app → denied: database.app.whole = ["read"]"#,
            r#"query app → denied: database.app.queries.secrets = ["query"]"#,
            "granted-tables app → done",
            r#"granted-tables other → denied: database.other.tables."*" = ["delete"]"#,
            r#"tables app → denied: database.app.whole = ["read"]"#,
            r#"slow-queries app → denied: database.app.whole = ["read"]"#,
            r#"query-texts app → denied: database.app.whole = ["read"]"#,
            r#"connections app → denied: database.app.whole = ["read"]"#,
            r#"activities app → denied: database.app.whole = ["read"]"#,
            r#"index-details other → denied: database.app.tables.other = ["read"]"#,
            r#"foreign-keys other → denied: database.app.tables.other = ["read"]"#,
            r#"terminate app → denied: database.app.whole = ["terminate"]"#,
            r#"vacuum-full other → denied: database.app.tables.other = ["vacuum-full"]"#,
        ]
    );
}

#[tokio::test]
async fn a_look_that_does_not_answer_is_given_up_while_the_guest_can_still_end() {
    let host = PluginHost::new(options());
    let directory = Arc::new(Still::default());
    let run = Run::of("sleep-in-call").on(directory.clone());
    let ended = Run {
        time_left: Duration::from_secs(2),
        ..run
    }
    .go(&host)
    .await;
    assert_eq!(ended.end, GuestEnd::PassedOn(CallError::Deadline));
    assert!(directory.dropped.load(Ordering::SeqCst));
    assert!(
        ended.used.cpu_ms < 200,
        "waiting is not computing: {:?}",
        ended.used
    );
}

#[tokio::test]
async fn a_change_under_way_is_given_up_by_the_wall_alone() {
    let host = PluginHost::new(options());
    let directory = Arc::new(Still::default());
    let run = Run::of("step-by-step").on(directory.clone());
    let ended = Run {
        time_left: Duration::from_millis(500),
        ..run
    }
    .go(&host)
    .await;
    // It may have been done: only an end that the guest did not choose is held against what is recorded.
    assert_eq!(label(&ended.end), "limit(wall)", "{:?}", ended.end);
    assert!(directory.dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_cancel_gives_up_the_host_call_and_is_what_the_guest_is_told() {
    let host = PluginHost::new(options());
    let directory = Arc::new(Still::default());
    let (cancel, cancelled) = watch::channel(false);
    let run = Run::of("sleep-in-call").on(directory.clone()).until(cancelled);
    let (ended, ()) = tokio::join!(run.go(&host), async {
        directory.entered.notified().await;
        cancel.send(true).unwrap();
    });
    assert_eq!(ended.end, GuestEnd::Cancelled);
    assert!(directory.dropped.load(Ordering::SeqCst));
    assert!(
        ended.used.wall_ms < 4_000,
        "its own answer was not waited for: {:?}",
        ended.used
    );
}

#[tokio::test]
async fn a_guest_that_goes_on_after_a_cancel_is_ended_where_it_stands() {
    let host = PluginHost::new(options());
    let (cancel, cancelled) = watch::channel(false);
    cancel.send(true).unwrap();
    let run = Run::of("ignore-cancel")
        .on(Arc::new(Bottomless::default()))
        .until(cancelled);
    let limits = Limits {
        cpu: Duration::from_secs(60),
        host_calls: u64::MAX,
        ..run.limits
    };
    let ended = Run { limits, ..run }.go(&host).await;
    assert_eq!(ended.end, GuestEnd::Cancelled);
    assert!((5_000..15_000).contains(&ended.used.wall_ms), "{:?}", ended.used);
}

#[tokio::test]
async fn a_guest_is_told_in_time_that_its_time_is_over() {
    let host = PluginHost::new(options());
    let directory = Arc::new(Bottomless::default());
    let run = Run::of("step-by-step").on(directory.clone());
    let ended = Run {
        time_left: Duration::from_secs(2),
        limits: Limits {
            host_calls: u64::MAX,
            cpu: Duration::from_secs(60),
            ..run.limits
        },
        ..run
    }
    .go(&host)
    .await;
    let removals = directory.removals.load(Ordering::SeqCst);
    assert_eq!(ended.end, GuestEnd::More(removals.to_string()));
    assert!(
        (1_500..2_000).contains(&ended.used.wall_ms),
        "a quarter is kept back: {:?}",
        ended.used
    );
}

#[tokio::test]
async fn a_guest_begins_so_many_removals_and_no_more() {
    let host = PluginHost::new(options());
    let directory = Arc::new(Bottomless::default());
    let run = patient(Run::of("filter-hoard").on(directory.clone()));
    let ended = run.go(&host).await;
    assert!(
        matches!(&ended.end, GuestEnd::PassedOn(CallError::Limit(text)) if text.contains("at most 256 removals")),
        "{:?}",
        ended.end
    );
    assert_eq!(directory.removals.load(Ordering::SeqCst), 256);
}

fn origin(web: &Web) -> Arc<dyn sereno_core::ports::http::HttpOrigin> {
    let options = http::Options {
        url: Secret::from(web.url()),
        allow_private: true,
        headers: vec![(
            "Authorization".to_owned(),
            Secret::from("Bearer hidden".to_owned()),
        )],
    };
    http::open(&options).unwrap()
}

#[tokio::test]
async fn a_guest_asks_its_origin_and_no_other_and_says_nothing_of_who_asks() {
    let host = PluginHost::new(options());
    let web = Web::new(|asked| Told::json(format!("{} {}", asked.line, asked.header("host"))));
    let run = Run {
        origin: Some(origin(&web)),
        ..Run::of("beyond-origin")
    };
    let ended = run.go(&host).await;
    assert_eq!(ended.end, GuestEnd::Done);
    let answers: Vec<_> = ended
        .findings
        .iter()
        .map(|finding| format!("{} → {}", finding.code, finding.text))
        .collect();
    let port = web.port();
    assert_eq!(
        answers,
        [
            format!("get web → 200 GET /ok 127.0.0.1:{port}"),
            r#"post web → denied: origin.web = ["get", "post"]"#.to_owned(),
            r#"get other → denied: origin.other = ["get"]"#.to_owned(),
            "get http://169.254.169.254 → invalid".to_owned(),
            "get 127.0.0.1:9001 → invalid".to_owned(),
            "path http://169.254.169.254/ → invalid".to_owned(),
            "path //169.254.169.254/ → invalid".to_owned(),
            "path @169.254.169.254/ → invalid".to_owned(),
            "path .evil.example/ → invalid".to_owned(),
            "path /../2018-06-01/runtime → invalid".to_owned(),
            r"path /a\r\nHost: evil → invalid".to_owned(),
            "header Host → invalid".to_owned(),
            "header Authorization → invalid".to_owned(),
            "header X-aws-ec2-metadata-token → invalid".to_owned(),
            "header Transfer-Encoding → invalid".to_owned(),
            "a long path → invalid".to_owned(),
        ]
    );
    let lines: Vec<String> = web.asked().into_iter().map(|asked: Asked| asked.line).collect();
    assert_eq!(lines, ["GET /ok"]);
}

#[tokio::test]
async fn a_guest_sends_so_many_requests_and_no_more() {
    let host = PluginHost::new(options());
    let web = Web::new(|_| Told::json("{}"));
    let run = patient(Run::of("request-flood"));
    let ended = Run {
        origin: Some(origin(&web)),
        ..run
    }
    .go(&host)
    .await;
    assert!(
        matches!(&ended.end, GuestEnd::PassedOn(CallError::Limit(text)) if text.contains("at most 1000 requests")),
        "{:?}",
        ended.end
    );
    assert_eq!(web.asked().len(), 1_000);
}

#[tokio::test]
async fn what_a_guest_is_answered_has_an_end_in_bytes_and_in_time() {
    let host = PluginHost::new(options());
    for endless in [Told::Long as fn(u64, bool) -> Told, |_, _| Told::Drip] {
        let web = Web::new(move |_| endless(10 << 30, false));
        let run = Run {
            origin: Some(origin(&web)),
            time_left: Duration::from_secs(4),
            ..Run::of("request-flood")
        };
        let ended = run.go(&host).await;
        assert!(
            matches!(
                &ended.end,
                GuestEnd::PassedOn(CallError::Limit(_) | CallError::Deadline)
            ),
            "{:?}",
            ended.end
        );
        assert!(ended.used.wall_ms < 4_000, "{:?}", ended.used);
    }
}

#[tokio::test]
async fn an_error_that_was_answered_is_believed_in_the_hosts_words() {
    let host = PluginHost::new(options());
    let ended = Run::of("sleep-in-call").on(Arc::new(Missing)).go(&host).await;
    let answered = CallError::NotFound("/nowhere does not exist".to_owned());
    assert_eq!(ended.end, GuestEnd::PassedOn(answered));
}

#[tokio::test]
async fn a_fault_of_the_host_is_not_blamed_on_the_guest_and_ends_nothing_else() {
    let host = PluginHost::new(options());
    let ended = Run::of("sleep-in-call").on(Arc::new(Broken)).go(&host).await;
    assert_eq!(
        ended.end,
        GuestEnd::Host("the host panicked: an adapter's own fault".to_owned())
    );
    assert_eq!(Run::of("noop").go(&host).await.end, GuestEnd::Done);
}

#[tokio::test]
async fn a_guest_without_params_for_its_needs_can_do_nothing_and_says_nothing() {
    let host = PluginHost::new(options());
    let ended = Run::of("two-pass").go(&host).await;
    assert_eq!((ended.end, ended.findings), (GuestEnd::Done, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_given_up_at_any_moment_leave_nothing_broken() {
    const STORM: u64 = 300;
    let seed = 0x5e7e_4001;
    let random = SeededEntropy::new(seed);
    let host = Arc::new(PluginHost::new(Options {
        allocation: Allocation::Pool(4),
        ..options()
    }));
    let directory = Arc::new(Bottomless::default());
    for _ in 0..STORM {
        let (host, directory) = (Arc::clone(&host), directory.clone());
        let task = tokio::spawn(async move { Run::of("step-by-step").on(directory).go(&host).await });
        for _ in 0..random.next() % 64 {
            tokio::task::yield_now().await;
        }
        task.abort();
        if let Err(error) = task.await {
            assert!(error.is_cancelled(), "seed {seed:#x}: {error}");
        }
    }
    assert_eq!(Run::of("noop").go(&host).await.end, GuestEnd::Done);
}
