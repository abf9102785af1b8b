//! The HTTP API over a real socket: who may do what, runs from their beginning to their end, and clients that take their time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sereno_core::run::digest;
use sereno_core::serve::Role;
use sereno_tests::wait::wait_for;
use sereno_triggers::http::{Listener, answer};
use sereno_triggers::serve::{KnownToken, Order, Rejected};

use super::{LIMIT, Running, Script, World, configuration};

const READER: &str = "reader-reader-reader-reader";
const OPERATOR: &str = "operator-operator-operator";
const EACH_HOUR: &str = "schedule = \"0 * * * *\"";

/// An answer: status, headers in lower case, body.
struct Answer {
    status: u16,
    head: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// One request over a connection of its own.
fn ask(address: SocketAddr, method: &str, path: &str, token: Option<&str>, body: Option<&Json>) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if let Some(token) = token {
        request += &format!("Authorization: Bearer {token}\r\n");
    }
    let body = body.map(Json::to_string).unwrap_or_default();
    if !body.is_empty() {
        request += "Content-Type: application/json\r\n";
    }
    request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    raw(address, &request)
}

fn raw(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        text: body.to_owned(),
    }
}

fn tokens() -> Vec<KnownToken> {
    [(READER, Role::Read), (OPERATOR, Role::Operate)]
        .map(|(token, role)| KnownToken {
            name: role.to_string(),
            hash: digest(token.as_bytes()),
            role,
        })
        .into()
}

/// The host's API on a port of its own.
fn listen(running: &Running) -> SocketAddr {
    let host = Arc::clone(&running.host);
    let runtime = running.runtime.as_ref().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        tell.send(listener.address().unwrap()).unwrap();
        answer(&host, listener).await;
    });
    told.recv_timeout(LIMIT).unwrap()
}

struct Api {
    world: World,
    host: Running,
    address: SocketAddr,
}

impl Api {
    fn new(jobs: usize) -> Self {
        let world = World::new(&configuration("", "shared", jobs, EACH_HOUR));
        let host = world.start_with("a", tokens());
        let address = listen(&host);
        world.rest(&[&host]);
        Self { world, host, address }
    }

    fn get(&self, path: &str) -> Answer {
        ask(self.address, "GET", path, Some(READER), None)
    }

    fn post(&self, path: &str, body: Json) -> Answer {
        let body = (!body.is_null()).then_some(body);
        ask(self.address, "POST", path, Some(OPERATOR), body.as_ref())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_wrong_tokens_get_401_and_read_only_ones_403() {
    let api = Api::new(1);
    let status = |method: &str, path: &str, token: Option<&str>| {
        let answer = ask(api.address, method, path, token, None);
        if answer.status >= 400 {
            assert!(
                answer.head.contains("application/problem+json"),
                "{}",
                answer.head
            );
            assert_eq!(answer.json()["status"], answer.status);
        }
        if answer.status == 401 {
            assert!(
                answer.head.contains("www-authenticate: bearer"),
                "{}",
                answer.head
            );
        }
        answer.status
    };
    for path in ["/api/v1/jobs", "/api/v1/runs", "/api/v1/gauges", "/metrics"] {
        assert_eq!(status("GET", path, None), 401, "{path}");
        assert_eq!(
            status("GET", path, Some("operator-operator-operatoR")),
            401,
            "{path}"
        );
        assert_eq!(status("GET", path, Some(READER)), 200, "{path}");
        assert_eq!(status("GET", path, Some(OPERATOR)), 200, "{path}");
    }
    for path in [
        "/api/v1/jobs/j0/run",
        "/api/v1/jobs/j0/plan",
        "/api/v1/jobs/j0/pause",
        "/api/v1/jobs/j0/resume",
        "/api/v1/pause",
        "/api/v1/resume",
        "/api/v1/reload",
        "/api/v1/runs/k3v9x2m4qd/cancel",
        "/api/v1/runs/k3v9x2m4qd/apply",
    ] {
        assert_eq!(status("POST", path, None), 401, "{path}");
        assert_eq!(status("POST", path, Some("wrong")), 401, "{path}");
        assert_eq!(status("POST", path, Some(READER)), 403, "{path}");
    }
    // Nothing of it was done.
    assert_eq!(api.world.told().await, [""; 0]);
    assert_eq!(status("GET", "/healthz", None), 200);
    assert_eq!(status("GET", "/readyz", None), 200);
    assert_eq!(status("GET", "/api/v1/openapi.json", None), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_begun_looked_at_planned_and_applied() {
    let api = Api::new(2);
    let begun = api.post("/api/v1/jobs/j0/run", json!({ "key": "once" }));
    assert_eq!(begun.status, 202, "{}", begun.text);
    let run = begun.json()["run"].as_str().unwrap().to_owned();
    assert!(
        begun.head.contains(&format!("location: /api/v1/runs/{run}")),
        "{}",
        begun.head
    );
    let ended = || api.get(&format!("/api/v1/runs/{run}")).json()["outcome"] == "succeeded";
    assert!(wait_for(ended, LIMIT));
    let again = api.post("/api/v1/jobs/j0/run", json!({ "key": "once" }));
    assert_eq!((again.status, &again.json()["duplicate"]), (200, &json!(true)));
    let events = api.get(&format!("/api/v1/runs/{run}/events")).json();
    assert_eq!(events["events"][0]["event"]["kind"], "started");
    assert_eq!(api.get(&format!("/api/v1/runs/{run}/logs")).status, 200);

    let plan = api.post("/api/v1/jobs/j1/plan?wait=30s", Json::Null);
    assert_eq!(
        (plan.status, &plan.json()["mode"]),
        (200, &json!("plan")),
        "{}",
        plan.text
    );
    let plan = plan.json()["run"].as_str().unwrap().to_owned();
    let applied = api.post(&format!("/api/v1/runs/{plan}/apply?wait=30s"), Json::Null);
    assert_eq!(applied.json()["outcome"], "succeeded", "{}", applied.text);
    let twice = api.post(&format!("/api/v1/runs/{plan}/apply?wait=30s"), Json::Null);
    assert_eq!(
        (twice.status, &twice.json()["code"]),
        (409, &json!("refused")),
        "{}",
        twice.text
    );

    let runs = api.get("/api/v1/runs?job=j1&mode=apply").json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    let jobs = api.get("/api/v1/jobs").json();
    assert_eq!(jobs["jobs"][0]["last"]["id"], run.as_str());
    assert_eq!(jobs["jobs"][0]["next"], "2026-11-20T04:00:00Z");
    let metrics = api.get("/metrics").text;
    let counted = "sereno_runs_total{job=\"j0\",mode=\"apply\",outcome=\"succeeded\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_as_problems() {
    let api = Api::new(1);
    let code = |answer: &Answer| {
        (
            answer.status,
            answer.json()["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let is = |answer: Answer, status: u16, expected: &str| {
        assert_eq!(code(&answer), (status, expected.to_owned()), "{}", answer.text)
    };
    is(api.post("/api/v1/jobs/nobody/run", Json::Null), 404, "no-job");
    is(api.post("/api/v1/rounds/nobody/run", Json::Null), 404, "no-round");
    is(api.get("/api/v1/runs/zzzzzzzzzz"), 404, "no-run");
    is(
        api.post("/api/v1/jobs/j0/run", json!({ "parms": {} })),
        400,
        "bad-request",
    );
    is(
        api.post("/api/v1/jobs/j0/run", json!({ "params": { "older": "1h" } })),
        400,
        "usage",
    );
    is(
        api.post("/api/v1/jobs/j0/run?wait=soon", Json::Null),
        400,
        "bad-request",
    );
    is(
        api.post("/api/v1/jobs/j0/run?wait=1h", Json::Null),
        400,
        "bad-request",
    );
    is(api.get("/api/v1/runs?limit=0"), 400, "bad-request");
    is(api.get("/api/v1/nothing"), 404, "not-found");
    is(
        ask(api.address, "GET", "/api/v1/jobs/j0/run", Some(OPERATOR), None),
        405,
        "method",
    );
    let form = format!(
        "POST /api/v1/jobs/j0/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {OPERATOR}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n\r\na=b&c"
    );
    is(raw(api.address, &form), 415, "no-json");
    is(
        api.post("/api/v1/jobs/j0/run", json!({ "key": "k".repeat(70_000) })),
        413,
        "too-large",
    );
    assert_eq!(api.world.told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_is_cancelled_and_work_is_paused_and_resumed() {
    let api = Api::new(2);
    api.world.scripts.push(Script::Stay);
    let begun = api.post("/api/v1/jobs/j0/run", Json::Null);
    assert_eq!(begun.status, 202, "{}", begun.text);
    let run = begun.json()["run"].as_str().unwrap().to_owned();
    assert!(api.get(&format!("/api/v1/runs/{run}")).json()["row"]["outcome"].is_null());
    assert_eq!(
        api.post(&format!("/api/v1/runs/{run}/cancel"), Json::Null).status,
        202
    );
    let cancelled = || {
        api.world.house.clock.advance(Duration::from_secs(1));
        api.get(&format!("/api/v1/runs/{run}")).json()["outcome"] == "cancelled"
    };
    assert!(wait_for(cancelled, LIMIT));
    assert_eq!(
        api.post(&format!("/api/v1/runs/{run}/cancel"), Json::Null).status,
        409
    );

    let paused = api.post("/api/v1/jobs/j1/pause", Json::Null).json();
    assert_eq!(paused["paused"][0]["on"], "j1");
    assert_eq!(api.get("/api/v1/jobs/j1").json()["paused"], true);
    let skipped = api.post("/api/v1/jobs/j1/run?wait=30s", Json::Null).json();
    assert_eq!(skipped["outcome"], "skipped(paused)");
    assert_eq!(
        api.post("/api/v1/jobs/j1/resume", Json::Null).json()["paused"],
        json!([])
    );
    assert_eq!(
        api.post("/api/v1/pause", Json::Null).json()["paused"][0]["on"],
        "*"
    );
    let skipped = api.post("/api/v1/jobs/j1/run?wait=30s", Json::Null).json();
    assert_eq!(skipped["outcome"], "skipped(paused)");
    api.post("/api/v1/resume", Json::Null);
    let done = api.post("/api/v1/jobs/j1/run?wait=30s", Json::Null).json();
    assert_eq!(done["outcome"], "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_read_anew_and_its_tokens_with_it() {
    let api = Api::new(1);
    *api.host.offered.0.lock().unwrap() = Some(Err(Rejected("3 mistakes".to_owned())));
    let rejected = api.post("/api/v1/reload", Json::Null);
    assert_eq!(
        (rejected.status, &rejected.json()["detail"]),
        (422, &json!("3 mistakes"))
    );
    assert_eq!(
        api.get("/api/v1/jobs").json()["jobs"].as_array().unwrap().len(),
        1
    );
    let mut changed = api.world.with(&configuration("", "shared", 2, EACH_HOUR));
    changed.tokens = tokens()
        .into_iter()
        .filter(|token| token.role == Role::Read)
        .collect();
    *api.host.offered.0.lock().unwrap() = Some(Ok(changed));
    assert_eq!(api.post("/api/v1/reload", Json::Null).status, 200);
    assert_eq!(
        api.get("/api/v1/jobs").json()["jobs"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        api.post("/api/v1/reload", Json::Null).status,
        401,
        "its token is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_is_not_ready_and_takes_no_run_and_still_answers() {
    let api = Api::new(1);
    api.world.scripts.push(Script::Stay);
    assert_eq!(api.post("/api/v1/jobs/j0/run", Json::Null).status, 202);
    api.host.orders.send(Order::Stop).await.unwrap();
    assert!(wait_for(|| api.host.host.is_draining(), LIMIT));
    assert_eq!(api.get("/readyz").status, 503);
    assert_eq!(api.get("/healthz").status, 200);
    assert_eq!(api.get("/api/v1/runs").status, 200);
    let refused = api.post("/api/v1/jobs/j0/run", Json::Null);
    assert_eq!(refused.status, 503, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_this_machine_may_look_and_nobody_may_operate() {
    let world = World::new(&configuration("", "shared", 1, EACH_HOUR));
    let host = world.start("a");
    let address = listen(&host);
    world.rest(&[&host]);
    assert_eq!(ask(address, "GET", "/api/v1/jobs", None, None).status, 200);
    assert_eq!(
        ask(address, "POST", "/api/v1/jobs/j0/run", None, None).status,
        403
    );
    let by_name = "GET /api/v1/jobs HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(address, by_name).status, 403);
}

/// 100 that never finish their headers, 100 that never finish their body, and one that is well.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_do_not_keep_a_good_one_waiting() {
    let api = Api::new(1);
    let slow = |text: &str| -> Vec<TcpStream> {
        let stream = |_| {
            let mut stream = TcpStream::connect(api.address).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream
        };
        (0..100).map(stream).collect()
    };
    let mut headers = slow("GET /api/v1/jobs HTTP/1.1\r\nHost: local");
    let bodies = slow(&format!(
        "POST /api/v1/jobs/j0/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OPERATOR}\r\nContent-Length: 60000\r\n\r\n{{"
    ));
    let mut took: Vec<Duration> = (0..100)
        .map(|place: usize| {
            // They go on, a byte at a time.
            let _ = headers[place].write_all(b"h");
            let asked = Instant::now();
            assert_eq!(api.get("/api/v1/jobs").status, 200);
            asked.elapsed()
        })
        .collect();
    took.sort();
    assert!(took[98] < Duration::from_millis(200), "{took:?}");
    // And they are gone in the end.
    let gone = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut answer = [0; 512];
        loop {
            match (&*stream).read(&mut answer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    };
    assert!(
        wait_for(|| headers.iter().all(gone), LIMIT),
        "slow headers are cut off"
    );
    drop(bodies);
}
