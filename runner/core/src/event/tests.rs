//! Every shape, one file each as AWS sends it, and what is refused of them.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::run::{Mode, Reason, Work};

const CONFIGURATION: &str = r#"
version = 1
[database.app]
url = "sqlite://app.db"
[job.expired-sessions]
plugin = "row-retention"
params = { database = "app", table = "user_sessions", column = "updated_at", keep = "7 days" }
event_sources = ["rule/expired-sessions-nightly", "schedule/default/expired-sessions"]
[job.other]
plugin = "row-retention"
[round.nightly]
jobs = ["other"]
event_sources = ["schedule/default/nightly"]
"#;

fn config() -> Config {
    crate::config::parse(CONFIGURATION, std::path::Path::new("/srv")).expect("a configuration")
}

fn arrive(event: &Json) -> Arrival {
    read(event, &config(), "request-1")
}

/// The one thing that the event asks for.
fn meaning(event: &Json) -> Result<Meaning, EventError> {
    let mut arrival = arrive(event);
    assert_eq!(arrival.records.len(), 1, "{event}");
    arrival.records.remove(0).meaning
}

fn refusal(event: &Json) -> EventError {
    match meaning(event) {
        Err(error) => error,
        Ok(meaning) => panic!("{event} was taken as {meaning:?}"),
    }
}

/// What is told apart of a request: work, reason, time, key.
fn told(meaning: &Meaning) -> (String, String, Option<String>, String) {
    let Meaning::Run(requests) = meaning else {
        panic!("no run: {meaning:?}");
    };
    let [request] = requests.as_slice() else {
        panic!("not one run: {requests:?}");
    };
    assert_eq!(request.mode, Mode::Apply);
    (
        request.work.text(),
        request.reason.label(),
        request.scheduled_at.map(crate::value::rfc3339),
        request.key.clone().unwrap_or_default(),
    )
}

const AT: &str = "2026-11-24T02:30:00Z";

#[test]
fn every_shape_means_its_job_at_its_time_under_a_key_that_a_second_delivery_has_too() {
    let of_time = &*format!("at:{AT}");
    let cases = [
        (
            include_str!("fixtures/a-rule.json"),
            "event(eventbridge-rule)",
            of_time,
        ),
        (
            include_str!("fixtures/b-rule-input.json"),
            "event(schedule)",
            of_time,
        ),
        (
            include_str!("fixtures/c-scheduler.json"),
            "event(eventbridge-scheduler)",
            of_time,
        ),
        (
            include_str!("fixtures/d-scheduler-input.json"),
            "event(schedule)",
            of_time,
        ),
        (
            include_str!("fixtures/e-sqs.json"),
            "event(sqs)",
            "delivery:059f36b4-87a3-44ab-83d2-661975830a7d",
        ),
        (include_str!("fixtures/e-sqs-fifo.json"), "event(sqs)", of_time),
        (
            include_str!("fixtures/e-sqs-dead-letter.json"),
            "event(sqs)",
            of_time,
        ),
        (
            include_str!("fixtures/e-destination.json"),
            "event(destination)",
            of_time,
        ),
        (
            include_str!("fixtures/f-messages.json"),
            "event(messages)",
            of_time,
        ),
        (include_str!("fixtures/f-items.json"), "event(items)", of_time),
    ];
    for (text, reason, key) in cases {
        let event: Json = serde_json::from_str(text).expect("JSON");
        let meaning = meaning(&event).expect(text);
        let expected = (
            "expired-sessions".to_owned(),
            reason.to_owned(),
            Some(AT.to_owned()),
            key.to_owned(),
        );
        assert_eq!(told(&meaning), expected, "{text}");
    }
    let direct: Json = serde_json::from_str(include_str!("fixtures/g-direct.json")).expect("JSON");
    assert_eq!(
        told(&meaning(&direct).expect("a direct invocation")),
        (
            "expired-sessions".to_owned(),
            "invoke".to_owned(),
            None,
            "delivery:request-1".to_owned()
        )
    );
    let batch: Json = serde_json::from_str(include_str!("fixtures/h-batch.json")).expect("JSON");
    let arrival = arrive(&batch);
    assert_eq!((arrival.carrier, arrival.records.len()), (Carrier::Batch, 2));
    for record in arrival.records {
        let (work, reason, at, key) = told(&record.meaning.expect("an event of a batch"));
        assert_eq!(
            (&*work, &*reason, at.as_deref(), &*key),
            ("expired-sessions", "event(batch)", Some(AT), of_time)
        );
    }
}

#[test]
fn messages_keep_their_ids_and_only_an_ordered_queue_has_groups() {
    for (text, id, group) in [
        (
            include_str!("fixtures/e-sqs.json"),
            "059f36b4-87a3-44ab-83d2-661975830a7d",
            None,
        ),
        (
            include_str!("fixtures/e-sqs-fifo.json"),
            "11d6ee51-4cc7-4302-9e22-7cd8afdaadf5",
            Some("app"),
        ),
        (
            include_str!("fixtures/f-messages.json"),
            "58ba3ad5-b27b-4ded-9a42-9a4ef6d7f4ae",
            None,
        ),
    ] {
        let arrival = arrive(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(arrival.carrier, Carrier::Queue);
        let record = &arrival.records[0];
        assert_eq!((record.id.as_deref(), record.group.as_deref()), (Some(id), group));
    }
}

#[test]
fn a_schedules_attempt_is_a_number_or_a_text_and_its_detail_an_object_a_text_or_nothing() {
    let mut event: Json =
        serde_json::from_str(include_str!("fixtures/d-scheduler-input.json")).expect("JSON");
    for attempt in [json!("1"), json!(1), Json::Null] {
        event["attempt"] = attempt;
        meaning(&event).expect("a schedule's");
    }
    let mut event: Json = serde_json::from_str(include_str!("fixtures/c-scheduler.json")).expect("JSON");
    for detail in [
        json!({}),
        json!("{}"),
        json!(""),
        Json::Null,
        json!("{\"job\":\"expired-sessions\"}"),
    ] {
        event["detail"] = detail;
        assert_eq!(
            told(&meaning(&event).expect("a schedule's")).0,
            "expired-sessions"
        );
    }
    event["resources"] = json!(["arn:aws:scheduler:eu-central-1:123456789012:schedule/default/nightly"]);
    event["detail"] = json!("{}");
    // EventBridge adds keys; an envelope is not ours to be strict about.
    event["trace-header"] = json!("Root=1");
    assert_eq!(told(&meaning(&event).expect("a round's")).0, "round:nightly");
}

#[test]
fn an_event_of_a_bus_of_ones_own_is_known_by_its_id() {
    let mut event: Json = serde_json::from_str(include_str!("fixtures/h-batch.json")).expect("JSON");
    let mut event = event[0].take();
    event["detail"] = json!({ "job": "other", "mode": "plan", "params": { "keep": "9 days" } });
    let Ok(Meaning::Run(requests)) = meaning(&event) else {
        panic!("no run");
    };
    let request = &requests[0];
    assert_eq!(
        request.key.as_deref(),
        Some("delivery:6a7e8feb-b491-4cf7-a9f1-bf3703467718")
    );
    assert_eq!(request.mode, Mode::Plan);
    assert_eq!(
        request.scheduled_at.map(crate::value::rfc3339).as_deref(),
        Some(AT)
    );
    assert_eq!(request.reason, Reason::Event("eventbridge-bus".to_owned()));
    assert_eq!(request.params["keep"], "9 days");
}

#[test]
fn what_is_not_known_is_refused_with_its_keys_and_never_with_a_value() {
    let secret = "hunter2";
    let cases = [
        (json!(null), "names neither a job nor a round"),
        (json!({}), "names neither a job nor a round"),
        (json!(7), "names neither a job nor a round"),
        (json!(secret), "names neither a job nor a round"),
        (
            json!({ "password": secret }),
            "\"password\" is no key of an event",
        ),
        (
            json!({ "job": "expired-sessions", "grant": secret }),
            "\"grant\" is no key of an event",
        ),
        (
            json!({ "task": "expired-sessions" }),
            "\"task\" is no key of an event",
        ),
        (
            json!({ "job": "expired-session" }),
            "there is no job `expired-session`",
        ),
        (
            json!({ "job": secret.to_uppercase() }),
            "calls a job name is none",
        ),
        (
            json!({ "job": "other", "round": "nightly" }),
            "names a job and a round",
        ),
        (
            json!({ "job": 7 }),
            "`job` must be a text, and what came is of type number",
        ),
        (json!({ "v": 2, "job": "other" }), "`v` must be 1"),
        (json!({ "job": "other", "mode": secret }), "`mode` is neither"),
        (
            json!({ "job": "other", "scheduled_at": secret }),
            "`scheduled_at` is no time",
        ),
        (
            json!({ "job": "other", "scheduled_at": 1_795_487_400 }),
            "`scheduled_at` must be a text",
        ),
        (json!({ "job": "other", "key": "" }), "`key` is empty"),
        (
            json!({ "job": "other", "params": [secret] }),
            "`params` must be an object",
        ),
        (json!({ "job": "other", "shards": ["tenant-1"] }), "has no shards"),
        (
            json!({ "job": "other", "attempt": [1] }),
            "`attempt` must be a number",
        ),
        (
            json!({ "job": "other", "schedule_arn": "<aws.scheduler.schedule-arn>" }),
            "still holds a placeholder",
        ),
        (
            json!({ "job": "other", "params": { "keep": "<aws.scheduler.attempt-number>" } }),
            "placeholder",
        ),
        (
            json!({ "continue": { "key": "k" } }),
            "`continue` must be an object with",
        ),
        (json!({ "command": secret }), "`command` is none that there is"),
        (json!({ "Records": secret }), "`Records` is no list"),
        (
            json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Message": secret } }] }),
            "`Records` are of SNS",
        ),
        (
            json!({ "Records": [{ "eventSource": "aws:s3", "s3": {} }] }),
            "`Records` are of S3",
        ),
        (json!({ "Records": [{}] }), "something else than SQS"),
        (
            json!({ "source": "aws.ec2", "detail-type": "EC2 Instance State-change", "detail": { "state": secret } }),
            "of a service of AWS",
        ),
        (
            json!({ "source": "shop", "detail-type": "x", "detail": { "a": secret } }),
            "\"a\" is no key",
        ),
        (
            json!({ "source": "shop", "detail-type": "x", "detail": "{" }),
            "a text that is no JSON",
        ),
        (
            json!({ "source": "shop", "detail-type": "x" }),
            "`detail` names no work",
        ),
        (
            json!({ "source": "aws.events", "detail-type": "x" }),
            "name no rule and no schedule",
        ),
        (
            json!({ "source": "aws.events", "detail-type": "x", "time": AT,
                    "resources": ["arn:aws:events:us-east-1:1:rule/expired-sessions-night"] }),
            "no job lists `rule/expired-sessions-night`",
        ),
        (
            json!({ "source": "aws.events", "detail-type": "x",
                    "resources": ["arn:aws:events:us-east-1:1:rule/expired-sessions-nightly"] }),
            "has no `time`",
        ),
    ];
    for (event, expected) in cases {
        let error = refusal(&event);
        assert!(error.message.contains(expected), "{event}: {error}");
        let text = format!("{error} {:?} {error:?}", error.hint);
        assert!(!text.to_lowercase().contains(secret), "{event}: {text}");
    }
    assert_eq!(
        refusal(&json!({ "job": "other", "scheduled_time": AT }))
            .hint
            .as_deref(),
        Some("it is `scheduled_at` here")
    );
    assert_eq!(
        refusal(&json!({ "a\nb": 1, "c": [] })).seen,
        "it has \"a\\nb\": number, \"c\": list"
    );
    let hint = refusal(&json!({})).hint.unwrap_or_default();
    assert!(
        hint.contains("`expired-sessions`, `other`, round `nightly`"),
        "{hint}"
    );
}

#[test]
fn one_bad_message_spoils_no_other() {
    let mut event: Json = serde_json::from_str(include_str!("fixtures/e-sqs.json")).expect("JSON");
    let good = event["Records"][0].clone();
    let bad = |body: Json| {
        let mut record = good.clone();
        record["body"] = body;
        record
    };
    event["Records"] = json!([
        bad(json!("no JSON")),
        good,
        bad(json!("[{\"job\":\"other\"}]")),
        bad(json!(7)),
        bad(json!(format!(
            "{{\"job\":\"other\",\"key\":\"{}\"}}",
            "k".repeat(70_000)
        ))),
        bad(json!("{\"command\":\"plan-all\"}")),
    ]);
    let is_good = |record: &Record| record.meaning.is_ok();
    let records = arrive(&event).records;
    assert_eq!(
        records.iter().map(is_good).collect::<Vec<_>>(),
        [false, true, false, false, false, false]
    );
    assert!(records.iter().all(|record| record.id.is_some()));
}

#[test]
fn an_event_has_a_size_and_a_depth() {
    let within = json!({ "job": "other", "params": { "text": "x".repeat(60 << 10) } });
    meaning(&within).expect("it is within its size");
    let beyond = json!({ "job": "other", "params": { "text": "x".repeat(1 << 20) } });
    assert!(refusal(&beyond).message.contains("larger than 64 KiB"));
    let deep = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    meaning(&json!({ "job": "other", "params": deep(30) })).expect("it is within its depth");
    assert!(
        refusal(&json!({ "job": "other", "params": deep(31) }))
            .message
            .contains("deeper than 32")
    );
    let many = Json::Array(vec![json!({ "job": "other" }); RECORDS_MAX + 1]);
    assert!(refusal(&many).message.contains("more than 10000"));
}

#[test]
fn commands_come_from_whoever_invokes_directly_and_from_nobody_else() {
    let work = |name: &str| Scope::One(name.parse::<Work>().expect("a name"));
    let allow = crate::guard::Allowances([("max_rows_percent".to_owned(), 92.0)].into());
    let cases = [
        (
            json!({ "v": 1, "command": "apply", "run": "k3v9", "allow": { "max_rows_percent": 92 } }),
            Command::Apply {
                run: "k3v9".to_owned(),
                allow,
            },
        ),
        (json!({ "command": "plan-all" }), Command::PlanAll),
        (
            json!({ "command": "cancel", "run": "k3v9" }),
            Command::Cancel {
                run: "k3v9".to_owned(),
            },
        ),
        (
            json!({ "command": "pause", "job": "other" }),
            Command::Pause(work("other")),
        ),
        (
            json!({ "command": "pause", "all": true }),
            Command::Pause(Scope::All),
        ),
        (
            json!({ "command": "resume", "round": "nightly" }),
            Command::Resume(work("round:nightly")),
        ),
        (
            json!({ "command": "runs" }),
            Command::Runs {
                of: Scope::All,
                run: None,
                limit: 20,
            },
        ),
        (
            json!({ "command": "runs", "job": "other", "limit": 3 }),
            Command::Runs {
                of: work("other"),
                run: None,
                limit: 3,
            },
        ),
    ];
    for (event, expected) in cases {
        assert_eq!(meaning(&event), Ok(Meaning::Command(expected)), "{event}");
        let from_schedule = {
            let mut event = event.clone();
            event["execution_id"] = json!("d32c5kddcf5bb8c3");
            event
        };
        let elsewhere = [
            from_schedule,
            json!([event]),
            json!({ "Items": [event] }),
            json!({ "Messages": [{ "MessageId": "m", "Body": event.to_string() }] }),
            json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "m", "body": event.to_string() }] }),
            json!({ "source": "shop", "detail-type": "x", "detail": event }),
            json!({ "source": "aws.scheduler", "detail-type": "x", "detail": event.to_string() }),
            json!({ "requestContext": {}, "requestPayload": event, "responsePayload": {} }),
        ];
        for event in elsewhere {
            assert!(
                refusal(&event).message.contains("only from whoever invokes"),
                "{event}"
            );
        }
    }
    for (event, expected) in [
        (json!({ "command": "apply" }), "needs a `run`"),
        (
            json!({ "command": "cancel", "run": "k", "job": "other" }),
            "\"job\" is no key of this command",
        ),
        (json!({ "command": "pause" }), "does not say what of"),
        (
            json!({ "command": "pause", "job": "other", "all": true }),
            "one job and `all`",
        ),
        (json!({ "command": "runs", "limit": 0 }), "a whole number from 1"),
        (
            json!({ "command": "apply", "run": "k", "allow": { "max_rows": "9" } }),
            "guards with numbers",
        ),
    ] {
        assert!(
            refusal(&event).message.contains(expected),
            "{event}: {}",
            refusal(&event)
        );
    }
}

#[test]
fn a_continuation_is_what_its_own_event_says() {
    let more = Continuation {
        key: "k".to_owned(),
        attempt: 3,
    };
    assert_eq!(meaning(&more.event()), Ok(Meaning::Continue(more.clone())));
    let message = json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "m", "body": more.event().to_string() }] });
    assert_eq!(meaning(&message), Ok(Meaning::Continue(more)));
}

/// JSON with the keys that matter in it more often than chance would have them.
fn json_like() -> impl Strategy<Value = Json> {
    let keys = prop::sample::select(vec![
        "v",
        "job",
        "round",
        "params",
        "key",
        "scheduled_at",
        "shards",
        "command",
        "continue",
        "attempt",
        "Records",
        "Messages",
        "Items",
        "Body",
        "body",
        "messageId",
        "MessageId",
        "eventSource",
        "attributes",
        "detail",
        "detail-type",
        "source",
        "resources",
        "time",
        "requestContext",
        "requestPayload",
        "other",
    ]);
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::String),
        prop::sample::select(vec![
            "other",
            "aws:sqs",
            "aws.events",
            "aws.scheduler",
            AT,
            "{}",
            "{\"job\":\"other\"}",
            "plan-all",
            "apply",
            "arn:aws:events:us-east-1:1:rule/x",
            "arn:",
            "::::::",
            "1795487400000",
        ])
        .prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            prop::collection::vec((keys.clone(), inner), 0..8).prop_map(|pairs| {
                Json::Object(
                    pairs
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_event_panics_or_names_work_that_is_not_configured(event in json_like()) {
        let config = config();
        for record in read(&event, &config, "request-1").records {
            if let Ok(Meaning::Run(requests)) = record.meaning {
                for request in requests {
                    prop_assert!(request.allow.0.is_empty());
                    prop_assert!(request.key.is_some());
                    prop_assert!(["expired-sessions", "other", "round:nightly"].contains(&request.work.text().as_str()));
                }
            }
        }
    }
}
