//! Invocations with little time: a purge goes on over several of them, by a queue or by what they answer.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sereno_tests::lambda::{Function, Stub};
use sereno_tests::moto;

use super::{World, done};

/// Too many for one of the invocations below, on however quick a machine: see [`SLOW`].
const DOOMED: i64 = 60_000;

/// A database as busy as can be: a millisecond, the shortest that it sleeps, for every tenth row.
const SLOW: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                    $$ BEGIN IF OLD.id % 10 = 0 THEN PERFORM pg_sleep(0.001); END IF; RETURN OLD; END $$;
                    CREATE TRIGGER slow BEFORE DELETE ON user_sessions FOR EACH ROW EXECUTE FUNCTION slow();";

/// Real, and short, so that the test is.
const TIME: Duration = Duration::from_secs(5);

/// More than it can take: attempts of one key are at most 15.
const INVOCATIONS_MAX: usize = 15;

async fn doom(world: &World) {
    world.fill().await;
    let more = format!(
        "INSERT INTO user_sessions SELECT i, now() - interval '90 days' - make_interval(secs => i)
         FROM generate_series(1000, {}) i; ANALYZE user_sessions",
        999 + DOOMED
    );
    world.execute(&more).await;
    world.execute(SLOW).await;
}

/// Delivers what each answer says is next, until nothing is. `next` finds it.
async fn to_the_end(world: &World, stub: &Stub, function: &Function, mut next: impl FnMut(&Json) -> Json) {
    let mut event = json!({ "v": 1, "job": "expired-sessions", "key": "the-big-purge" });
    let mut reports = Vec::new();
    loop {
        let id = format!("request-{}", reports.len());
        let answer = stub.invoke(&id, &event, TIME).unwrap();
        assert!(!answer.is_error, "{answer:?}\n{}", function.log());
        let report = answer.payload;
        let is_continued = report["continued"] == true;
        if is_continued {
            event = next(&report);
        }
        reports.push(report);
        if !is_continued {
            break;
        }
        assert!(reports.len() < INVOCATIONS_MAX, "{reports:#?}");
    }
    let last = reports.last().unwrap();
    assert_eq!(last["outcome"], "succeeded", "{last:#}\n{}", function.log());
    assert!(reports.len() > 1, "one invocation was enough: {last:#}");
    let gone: u64 = reports.iter().map(done).sum();
    assert_eq!(
        gone,
        DOOMED.unsigned_abs() + 13,
        "the sum of effects is what is gone"
    );
    assert_eq!(world.ids().await, (1..=7).collect(), "what was to stay is there");
    for (attempt, report) in (1..).zip(&reports) {
        assert_eq!(
            (&report["key"], &report["attempt"]),
            (&last["key"], &json!(attempt))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_longer_than_its_time_goes_on_by_what_each_answer_says_is_next() {
    let world = World::new("").await;
    doom(&world).await;
    let stub = Stub::start();
    let function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    to_the_end(&world, &stub, &function, |report| report["next"].clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_longer_than_its_time_goes_on_by_the_messages_that_it_sends() {
    let moto = moto::shared().unwrap();
    let headers = |target: &str| {
        format!("content-type: application/x-amz-json-1.0\r\nx-amz-target: AmazonSQS.{target}\r\n")
    };
    let ask = |target: &str, body: Json| {
        let reply = moto.call("sqs", &headers(target), &body.to_string()).unwrap();
        let body = reply.split_once("\r\n\r\n").unwrap().1.to_owned();
        serde_json::from_str::<Json>(&body).unwrap()
    };
    let made = ask("CreateQueue", json!({ "QueueName": "more-of-the-purge" }));
    let queue = made["QueueUrl"].as_str().unwrap().to_owned();
    let world = World::new(&format!(
        "[lambda]\ncontinue_queue = \"{queue}\"\nendpoint = \"{}\"\n",
        moto.endpoint()
    ))
    .await;
    doom(&world).await;
    let stub = Stub::start();
    let function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    to_the_end(&world, &stub, &function, |report| {
        assert!(report.get("next").is_none(), "the queue does that: {report:#}");
        let got = ask("ReceiveMessage", json!({ "QueueUrl": queue }));
        let [message] = got["Messages"].as_array().unwrap().as_slice() else {
            panic!("not one message: {got}");
        };
        let delete = json!({ "QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"] });
        moto.call("sqs", &headers("DeleteMessage"), &delete.to_string())
            .unwrap();
        let body: Json = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
        let attempt = &report["attempt"];
        assert_eq!(
            body,
            json!({ "v": 1, "continue": { "key": report["key"], "attempt": attempt } })
        );
        body
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuation_that_comes_twice_is_done_once() {
    let world = World::new("").await;
    doom(&world).await;
    let stub = Stub::start();
    let function = Function::start(world.path(), &stub.runtime_api()).unwrap();
    let event = json!({ "v": 1, "job": "expired-sessions", "key": "the-big-purge" });
    let first = stub.invoke("first", &event, TIME).unwrap().payload;
    assert_eq!(first["outcome"], "continued", "{first:#}\n{}", function.log());
    let second = stub
        .invoke("second", &first["next"], Duration::from_secs(120))
        .unwrap()
        .payload;
    assert_eq!(
        (&second["outcome"], &second["attempt"]),
        (&json!("succeeded"), &json!(2)),
        "{second:#}"
    );
    let again = stub.invoke("again", &first["next"], TIME).unwrap().payload;
    assert_eq!(
        (&again["run"], &again["duplicate"]),
        (&second["run"], &json!(true)),
        "{again:#}"
    );
    let unknown = json!({ "v": 1, "continue": { "key": "nobodys", "attempt": 1 } });
    let unknown = stub.invoke("unknown", &unknown, TIME).unwrap().payload;
    assert_eq!(
        (&unknown["outcome"], &unknown["exit"]),
        (&json!("usage"), &json!(2)),
        "{unknown:#}"
    );
}
