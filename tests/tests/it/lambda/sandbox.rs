//! Ends of sandboxes: killed in the middle, told to stop, started where it cannot work.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use sereno_tests::lambda::{Function, Stub};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::{World, done};

const TIME: Duration = Duration::from_secs(120);

/// Sessions of which the youngest is held by somebody else, so that the purge waits with its earlier batches committed.
async fn held(world: &World) -> PgConnection {
    world.fill().await;
    world
        .execute(
            "INSERT INTO user_sessions SELECT i, now() - interval '90 days' - make_interval(secs => i)
             FROM generate_series(100000, 159999) i",
        )
        .await;
    let mut other = world.app().await;
    sqlx::raw_sql("BEGIN; SELECT 1 FROM user_sessions WHERE id = 8 FOR UPDATE")
        .execute(&mut other)
        .await
        .unwrap();
    other
}

/// Waits until the purge has committed a batch.
async fn first_batch(world: &World, function: &Function) {
    let started = Instant::now();
    let mut connection = world.app().await;
    let count = "SELECT count(*) FROM user_sessions";
    while sqlx::query(count)
        .fetch_one(&mut connection)
        .await
        .unwrap()
        .get::<i64, _>(0)
        == 60_020
    {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no batch: {}",
            function.log()
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_was_killed_is_delivered_again_and_finishes() {
    let world = World::new("").await;
    let mut other = held(&world).await;
    let event = json!({ "v": 1, "job": "expired-sessions", "key": "killed" });
    let stub = Stub::start();
    let mut function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    stub.send("killed", &event, TIME);
    first_batch(&world, &function).await;
    function.kill().unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();

    let stub = Stub::start();
    let function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    // Its lease lives on for a minute: nobody can tell that its host died.
    let early = stub.invoke("early", &event, TIME).unwrap();
    assert_eq!(
        (early.is_error, &early.payload["errorType"]),
        (true, &json!("at-work")),
        "{early:?}"
    );
    world.leases_run_out().await;
    let answer = stub.invoke("late", &event, TIME).unwrap();
    assert!(!answer.is_error, "{answer:?}\n{}", function.log());
    let report = answer.payload;
    assert_eq!(
        (&report["outcome"], &report["attempt"]),
        (&json!("succeeded"), &json!(2)),
        "{report:#}"
    );
    let earlier = report["earlier"].as_array().unwrap();
    let before: u64 = earlier
        .iter()
        .map(|effect| effect["done"].as_u64().unwrap())
        .sum();
    assert!(before > 0, "{report:#}");
    assert_eq!(before + done(&report), 60_013, "{report:#}");
    assert_eq!(world.ids().await, (1..=7).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_told_to_stop_gives_its_leases_back_and_one_at_rest_just_ends() {
    let world = World::new("").await;
    let _other = held(&world).await;
    let stub = Stub::start();
    let mut function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    stub.send(
        "stopped",
        &json!({ "v": 1, "job": "expired-sessions", "key": "stopped" }),
        TIME,
    );
    first_batch(&world, &function).await;
    assert_eq!(
        stub.extensions(),
        ["_lambda-rust-runtime-no-op-graceful-shutdown-helper"]
    );
    function.terminate().unwrap();
    assert_eq!(function.ended().unwrap(), Some(0), "{}", function.log());
    let mut ledger = PgConnection::connect(&world.ledger.url).await.unwrap();
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM sereno.lease WHERE holder IS NOT NULL), outcome FROM sereno.run",
    )
    .fetch_one(&mut ledger)
    .await
    .unwrap();
    assert_eq!(
        (row.get::<i64, _>(0), row.get::<Option<&str>, _>(1)),
        (0, Some("interrupted")),
        "{}",
        function.log()
    );

    let stub = Stub::start();
    let mut idle = Function::start(world.path(), &stub.runtime_api()).unwrap();
    let answer = stub.invoke("nothing", &json!({}), TIME).unwrap();
    assert_eq!(
        (answer.is_error, &answer.payload["errorType"]),
        (true, &json!("event")),
        "{answer:?}"
    );
    idle.terminate().unwrap();
    assert_eq!(idle.ended().unwrap(), Some(0), "{}", idle.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_opened_before_an_event_needs_it_and_a_panic_or_an_outage_is_only_that_events() {
    let world = World::new("").await;
    let configuration = fs::read_to_string(world.path().join("sereno.toml")).unwrap();
    let away = configuration.replace(&world.ledger.url, "postgres://nobody@127.0.0.1:1/gone");
    fs::write(world.path().join("sereno.toml"), away).unwrap();
    let stub = Stub::start();
    let function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    // It starts, and an event that means nothing asks for no ledger.
    let nothing = stub.invoke("nothing", &json!([]), TIME).unwrap();
    assert_eq!(
        (nothing.is_error, nothing.payload),
        (false, json!({ "records": [] })),
        "{}",
        function.log()
    );
    let event = json!({ "v": 1, "job": "expired-sessions" });
    for id in ["one", "two"] {
        let away = stub.invoke(id, &event, TIME).unwrap();
        assert_eq!(
            (away.is_error, &away.payload["errorType"]),
            (true, &json!("ledger")),
            "{away:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_or_is_out_of_reach_is_an_error_and_never_a_quiet_success() {
    let world = World::new("").await;
    let stub = Stub::start();
    let function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    let wrong = stub
        .invoke("wrong", &json!({ "password": "hunter2" }), TIME)
        .unwrap();
    assert_eq!(
        (wrong.is_error, &wrong.payload["errorType"]),
        (true, &json!("event")),
        "{wrong:?}"
    );
    let message = wrong.payload["errorMessage"].as_str().unwrap();
    assert!(
        message.contains("\"password\" is no key of an event"),
        "{message}"
    );
    assert!(
        !message.contains("hunter2") && !function.log().contains("hunter2"),
        "{message}"
    );
    // Three tries of one event: then it is done with, and answers what became of it.
    let event = json!({ "v": 1, "job": "out-of-reach", "key": "away" });
    for (id, is_error) in [("one", true), ("two", true), ("three", false)] {
        let answer = stub.invoke(id, &event, TIME).unwrap();
        assert_eq!(answer.is_error, is_error, "{answer:?}");
        let told = if is_error {
            &answer.payload["errorType"]
        } else {
            &answer.payload["outcome"]
        };
        assert_eq!(told, "unreachable", "{answer:?}");
    }
    // A list fails as a whole, with what of it failed.
    let list = json!([{ "v": 1, "job": "expired-sessions" }, { "v": 1, "job": "out-of-reach" }]);
    let list = stub.invoke("list", &list, TIME).unwrap();
    assert_eq!(
        (list.is_error, &list.payload["errorType"]),
        (true, &json!("batch")),
        "{list:?}"
    );
    let message = list.payload["errorMessage"].as_str().unwrap();
    assert!(
        message.starts_with("1 of 2 events failed: [1] unreachable: "),
        "{message}"
    );
}

#[test]
fn a_ledger_in_a_file_and_a_machine_that_is_no_function_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sereno.toml"), "version = 1\n").unwrap();
    let run = |variables: &[(&str, &str)], arguments: &[&str]| {
        let output = Command::new(sereno_tests::house::program().unwrap())
            .args(arguments)
            .current_dir(folder.path())
            .env_remove("SERENO_LEDGER")
            .env("SERENO_CACHE_DIR", folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let lambda = [
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "_"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ];
    let (code, said) = run(&lambda, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("a ledger in a file is lost with the sandbox"),
        "{said}"
    );
    let (code, said) = run(&[], &["lambda"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("this is no function of AWS Lambda"), "{said}");
    assert!(!folder.path().join("sereno.db").exists());
}
