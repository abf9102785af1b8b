//! Every shape, through the real AWS command line: its job runs once, however often it is delivered.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value as Json, json};
use sereno_tests::lambda::{Emulator, Function};

use super::{World, done, rfc3339};

/// As core's own tests have them.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runner/core/src/event/fixtures");

/// The time in them, which is long gone by now.
const AT: &str = "2026-11-24T02:30:00Z";

/// The same in milliseconds.
const SENT: &str = "1795487400000";

/// A fixture as if it were sent now, `minutes` ago.
fn fixture(name: &str, at: DateTime<Utc>) -> Json {
    let text = std::fs::read_to_string(format!("{FIXTURES}/{name}.json")).unwrap();
    let text = text
        .replace(AT, &rfc3339(at))
        .replace(SENT, &at.timestamp_millis().to_string());
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_purges_once_and_its_second_delivery_answers_what_the_first_did() {
    let world = World::new("").await;
    let emulator = Emulator::start().unwrap();
    let function = Function::start(world.path(), &emulator.runtime_api()).unwrap();
    let shapes = [
        "a-rule",
        "b-rule-input",
        "c-scheduler",
        "d-scheduler-input",
        "e-sqs",
        "e-sqs-fifo",
        "e-sqs-dead-letter",
        "e-destination",
        "f-messages",
        "f-items",
        "h-batch",
    ];
    let now = Utc::now();
    let kept = (1..=7).collect();
    for (minutes, shape) in (1..).zip(shapes) {
        // Each at a time of its own: two shapes of one tick are one run.
        let event = fixture(shape, now - TimeDelta::minutes(minutes));
        world.fill().await;
        let first = emulator.invoke(&event).unwrap();
        assert!(!first.is_error, "{shape}: {first:?}\n{}", function.log());
        assert_eq!(world.ids().await, kept, "{shape}: {first:?}\n{}", function.log());
        world.fill().await;
        let second = emulator.invoke(&event).unwrap();
        assert_eq!(world.ids().await.len(), 20, "{shape}: {second:?}");
        if shape.starts_with("e-sqs") || shape == "f-messages" {
            for answer in [first, second] {
                assert_eq!(answer.payload, json!({ "batchItemFailures": [] }), "{shape}");
            }
            continue;
        }
        let one = |answer: Json| match answer.get("records") {
            Some(records) => records[0].clone(),
            None => answer,
        };
        let (first, second) = (one(first.payload), one(second.payload));
        assert_eq!(
            (&first["outcome"], &first["exit"], done(&first)),
            (&json!("succeeded"), &json!(0), 13),
            "{shape}"
        );
        assert_eq!(first["duplicate"], false, "{shape}");
        assert_eq!(second["duplicate"], true, "{shape}");
        for same in ["run", "key", "targets", "scheduled_at", "outcome"] {
            assert_eq!(first[same], second[same], "{shape}: {same}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_invokes_a_job_a_plan_and_nothing_that_is_not_allowed() {
    let world = World::new(
        "[job.kept-as-told]\nplugin = \"row-retention\"\nevent_params = [\"keep\"]\n\
         params = { database = \"app\", table = \"user_sessions\", column = \"updated_at\", keep = \"30 days\" }\n\
         grant = { database.app.tables.user_sessions = [\"read\", \"delete\"] }\nguard = { max_rows_percent = 100 }\n",
    )
    .await;
    world.fill().await;
    let emulator = Emulator::start().unwrap();
    let function = Function::start(world.path(), &emulator.runtime_api()).unwrap();
    let invoke = |event: Json| {
        let answer = emulator.invoke(&event).unwrap();
        assert!(!answer.is_error, "{answer:?}\n{}", function.log());
        answer.payload
    };
    let all = world.ids().await;

    // Dated tomorrow, by a schedule or by hand.
    let tomorrow = rfc3339(Utc::now() + TimeDelta::days(1));
    for event in [
        fixture("a-rule", Utc::now() + TimeDelta::days(1)),
        json!({ "v": 1, "job": "expired-sessions", "scheduled_at": tomorrow }),
    ] {
        let refused = invoke(event);
        assert_eq!(
            (&refused["outcome"], &refused["exit"]),
            (&json!("refused(future)"), &json!(3)),
            "{refused}"
        );
    }
    // A day old.
    let stale = invoke(fixture("c-scheduler", Utc::now() - TimeDelta::days(1)));
    assert_eq!(
        (&stale["outcome"], &stale["exit"]),
        (&json!("skipped(stale)"), &json!(5)),
        "{stale}"
    );
    // A param that is not listed, by hand and by a schedule.
    for event in [
        json!({ "v": 1, "job": "expired-sessions", "params": { "keep": "1 day" } }),
        json!({ "v": 1, "job": "kept-as-told", "params": { "keep": "9 days", "table": "pg_authid" } }),
        json!({ "v": 1, "job": "expired-sessions", "execution_id": "1", "params": { "keep": "1 day" },
                "scheduled_at": rfc3339(Utc::now()) }),
    ] {
        let refused = invoke(event);
        assert_eq!(
            (&refused["outcome"], &refused["exit"]),
            (&json!("usage"), &json!(2)),
            "{refused}"
        );
        let problem = &refused["problems"][0];
        assert!(
            problem["message"]
                .as_str()
                .unwrap()
                .starts_with("an event may not set the param"),
            "{refused}"
        );
    }
    let plan = invoke(json!({ "v": 1, "job": "expired-sessions", "mode": "plan" }));
    assert_eq!(
        (&plan["outcome"], &plan["mode"], done(&plan)),
        (&json!("succeeded"), &json!("plan"), 0),
        "{plan}"
    );
    assert_eq!(world.ids().await, all, "nothing was deleted");

    let told = invoke(json!({ "v": 1, "job": "kept-as-told", "params": { "keep": "9 days" } }));
    assert_eq!((&told["reason"], done(&told)), (&json!("invoke"), 11), "{told}");
    assert_eq!(world.ids().await, (1..=9).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_mixed_batch_exactly_the_bad_messages_come_again() {
    let world = World::new("").await;
    world.fill().await;
    let emulator = Emulator::start().unwrap();
    let function = Function::start(world.path(), &emulator.runtime_api()).unwrap();
    let good = fixture("e-sqs", Utc::now() - TimeDelta::minutes(1));
    let record = |id: &str, body: &str| {
        let mut record = good["Records"][0].clone();
        record["messageId"] = id.into();
        record["body"] = body.into();
        record
    };
    let batch = |records: &[Json]| json!({ "Records": records });
    let purge = r#"{"v":1,"job":"expired-sessions"}"#;
    let away = r#"{"v":1,"job":"out-of-reach"}"#;
    let mixed = [
        record("good-1", purge),
        record("no-json", "purge the sessions"),
        record("out-of-reach", away),
        record("no-such-job", r#"{"v":1,"job":"expired-session"}"#),
        record("good-1", purge),
        record("a-command", r#"{"v":1,"command":"plan-all"}"#),
        record("good-2", r#"{"v":1,"job":"expired-sessions","mode":"plan"}"#),
    ];
    let answer = emulator.invoke(&batch(&mixed)).unwrap();
    assert_eq!(
        answer.payload["batchItemFailures"],
        json!([
            { "itemIdentifier": "no-json" },
            { "itemIdentifier": "out-of-reach" },
            { "itemIdentifier": "no-such-job" },
            { "itemIdentifier": "a-command" },
        ]),
        "{}",
        function.log()
    );
    assert_eq!(world.ids().await, (1..=7).collect());

    // A job's two retries are over after three tries: then its message is done with, and its alert is out.
    for failures in [1, 0] {
        let answer = emulator.invoke(&batch(&[record("out-of-reach", away)])).unwrap();
        let failed = answer.payload["batchItemFailures"].as_array().unwrap().len();
        assert_eq!(failed, failures, "{}", function.log());
    }

    // In order: what follows a failure in its group waits for it, and other groups do not.
    let in_order = |id: &str, group: &str, body: &str| {
        let mut record = record(id, body);
        record["eventSourceARN"] = "arn:aws:sqs:us-west-2:123456789012:jobs.fifo".into();
        record["attributes"]["MessageGroupId"] = group.into();
        record
    };
    let ordered = [
        in_order("a-1", "a", r#"{"v":1,"job":"expired-sessions"}"#),
        in_order("a-2", "a", "no JSON"),
        in_order("b-1", "b", r#"{"v":1,"job":"expired-sessions"}"#),
        in_order("a-3", "a", r#"{"v":1,"job":"expired-sessions"}"#),
    ];
    let answer = emulator.invoke(&batch(&ordered)).unwrap();
    assert_eq!(
        answer.payload,
        json!({ "batchItemFailures": [{ "itemIdentifier": "a-2" }, { "itemIdentifier": "a-3" }] }),
        "{}",
        function.log()
    );
}
