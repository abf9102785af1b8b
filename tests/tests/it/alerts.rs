//! Gauges, alerts and the outbox from end to end: real plugins measure real directories, and a real HTTP server takes
//! the messages.
//!
//! What ledgers promise for them is `ledger::watch`; when a gauge fires is `core::gauge`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value as Json;
use sereno_core::dispatch::deliver;
use sereno_core::gauge::{GaugeState, Level};
use sereno_core::ports::watch::{LetterState, OutboxQuery};
use sereno_core::report::Severity;
use sereno_core::run::{Reason, RunRequest, Work};
use sereno_tests::house::{House, plugins_folder, program};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What a server was asked.
#[derive(Debug, Clone)]
struct Asked {
    /// `POST /hook`.
    line: String,
    headers: String,
    body: String,
}

/// An HTTP server that keeps what it is asked and answers with one status.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    status: Arc<Mutex<u16>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap().to_string(),
            asked: Arc::default(),
            status: Arc::new(Mutex::new(200)),
        };
        let (asked, status) = (Arc::clone(&server.asked), Arc::clone(&server.status));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (asked, status) = (Arc::clone(&asked), Arc::clone(&status));
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let request = loop {
                        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(request) = whole(&bytes) {
                            break request;
                        }
                    };
                    asked.lock().unwrap().push(request);
                    let status = *status.lock().unwrap();
                    let answer = format!(
                        "HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        server
    }

    fn answer(&self, status: u16) {
        *self.status.lock().unwrap() = status;
    }

    /// All that it was asked since the last time.
    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn messages(&self) -> Vec<Json> {
        let asked = self.take();
        asked
            .iter()
            .map(|one| serde_json::from_str(&one.body).unwrap())
            .collect()
    }
}

/// The request, once all of it has come.
fn whole(bytes: &[u8]) -> Option<Asked> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (line, headers) = head.split_once("\r\n")?;
    let length = headers
        .lines()
        .filter_map(|header| header.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.trim().parse().unwrap());
    (body.len() >= length).then(|| Asked {
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        headers: headers.to_owned(),
        body: body.to_owned(),
    })
}

const TOKEN: &str = "123:secret-token";

const CONFIGURATION: &str = r#"
version = 1
[directory.temp]
path = "temp"
[alerts]
sinks = ["ops"]
[sink.ops.webhook]
url = "${env:OPS}"
headers = { Authorization = "Bearer ${env:TOKEN}" }
[job.capacity]
plugin = "capacity-check"
params = { directories = ["temp"] }
grant = { directory.temp = ["read"] }
[gauge.temp-files]
of = "files.count"
on = "directory.temp"
target = "< 2"
alert = "> 3"
"#;

fn house(configuration: &str, folder: &Path, server: &Server) -> House {
    fs::create_dir_all(folder.join("temp")).unwrap();
    let environment = BTreeMap::from([
        ("OPS".to_owned(), format!("http://{}/hook", server.address)),
        ("API".to_owned(), format!("http://{}", server.address)),
        ("TOKEN".to_owned(), TOKEN.to_owned()),
    ]);
    House::with_environment(configuration, folder, environment).unwrap()
}

/// Measures the directory with so many files in it.
async fn measure(house: &House, folder: &Path, files: usize) {
    let temp = folder.join("temp");
    fs::remove_dir_all(&temp).unwrap();
    fs::create_dir(&temp).unwrap();
    for file in 0..files {
        fs::write(temp.join(format!("{file}.tmp")), "x").unwrap();
    }
    house.clock.advance(Duration::from_mins(1));
    let report = house.run("capacity").await.unwrap();
    assert_eq!(report.outcome.label(), "succeeded", "{report:#?}");
}

fn brief(messages: &[Json]) -> Vec<(String, String)> {
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    messages
        .iter()
        .map(|one| (text(&one["kind"]), text(&one["subject"])))
        .collect()
}

#[tokio::test]
async fn a_gauge_fires_once_and_resolves_once_whatever_swings_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let house = house(CONFIGURATION, folder.path(), &server);
    measure(&house, folder.path(), 1).await;
    assert_eq!(server.messages(), [] as [Json; 0]);
    measure(&house, folder.path(), 4).await;
    let fired = server.take();
    assert_eq!(fired.len(), 1);
    assert!(
        fired[0].headers.contains(&format!("Bearer {TOKEN}")),
        "{}",
        fired[0].headers
    );
    let message: Json = serde_json::from_str(&fired[0].body).unwrap();
    assert_eq!(message["kind"], "firing");
    assert_eq!(message["subject"], "gauge.temp-files");
    assert_eq!(message["title"], "temp-files is at 4 files");
    assert_eq!(
        (&message["value"], &message["threshold"]),
        (&Json::from(4.0), &Json::from("> 3 files"))
    );
    for files in [3, 2, 3, 4, 5, 2] {
        measure(&house, folder.path(), files).await;
    }
    assert_eq!(server.messages(), [] as [Json; 0]);
    measure(&house, folder.path(), 1).await;
    let resolved = server.messages();
    assert_eq!(
        brief(&resolved),
        [("resolved".to_owned(), "gauge.temp-files".to_owned())]
    );
    assert_eq!(resolved[0]["since"], message["at"]);
    let standing = &house
        .services
        .ledger
        .standings(&["gauge.temp-files".to_owned()])
        .await
        .unwrap()[0];
    let state: GaugeState = serde_json::from_value(standing.body.clone()).unwrap();
    assert_eq!(
        (state.level, state.value, state.on_target),
        (Level::Ok, Some(1.0), Some(true))
    );
}

#[tokio::test]
async fn a_sink_that_is_down_delays_and_loses_nothing_and_no_secret_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let house = house(CONFIGURATION, folder.path(), &server);
    server.answer(503);
    measure(&house, folder.path(), 4).await;
    assert_eq!(server.take().len(), 1);
    // It resolves while nobody has heard that it fired: both are told, in order.
    measure(&house, folder.path(), 1).await;
    let waiting = OutboxQuery {
        state: Some(LetterState::Waiting),
        ..OutboxQuery::default()
    };
    let outbox = house.services.ledger.outbox(&waiting).await.unwrap();
    assert_eq!(outbox.len(), 2);
    let first = &outbox[1];
    assert_eq!(first.last_error.as_deref(), Some("the server answered 503"));
    let all = format!("{outbox:?}");
    assert!(!all.contains(TOKEN) && !all.contains(&server.address), "{all}");

    // A redirect is not followed, and is no success.
    server.take();
    server.answer(302);
    assert_eq!(deliver(&house.services, true).await.put_off.len(), 1);
    assert_eq!(server.take().len(), 1);
    server.answer(200);
    let delivery = deliver(&house.services, true).await;
    assert_eq!(
        (delivery.sent.len(), delivery.put_off.len()),
        (2, 0),
        "{delivery:?}"
    );
    let kinds: Vec<String> = brief(&server.messages())
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, ["firing", "resolved"]);
    assert_eq!(
        deliver(&house.services, true).await,
        sereno_core::dispatch::Delivery::default()
    );
    assert_eq!(house.services.ledger.outbox(&waiting).await.unwrap(), []);
}

#[tokio::test]
async fn what_no_sink_takes_for_a_week_is_given_up_with_a_finding() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let house = house(CONFIGURATION, folder.path(), &server);
    server.answer(500);
    measure(&house, folder.path(), 4).await;
    house.clock.advance(Duration::from_hours(7 * 24));
    let report = house.run("capacity").await.unwrap();
    let finding = report
        .findings()
        .find(|finding| finding.code == "alert-given-up")
        .unwrap();
    assert_eq!(
        (finding.severity, finding.target.as_str()),
        (Severity::Warn, "sink.ops")
    );
    assert!(
        finding.text.contains("temp-files is at 4 files"),
        "{}",
        finding.text
    );
    let again = house.run("capacity").await.unwrap();
    assert!(again.findings().all(|finding| finding.code != "alert-given-up"));
}

#[tokio::test]
async fn a_job_that_fails_again_and_again_is_told_once_and_once_more_when_it_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let text = format!(
        "{CONFIGURATION}
[directory.gone]
path = \"gone\"
[sink.beat.heartbeat]
url = \"${{env:API}}/ping/abc\"
[job.clean]
plugin = \"temp-files\"
params = {{ directory = \"gone\", older_than = \"1h\" }}
grant = {{ directory.gone = [\"read\", \"remove\"] }}
guard = {{ max_files = 1, retention_floor = \"30m\" }}
heartbeat = \"beat\"
"
    );
    let house = house(&text, folder.path(), &server);
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let old = |name: &str| {
        let file = fs::File::create(gone.join(name)).unwrap();
        let time = std::time::SystemTime::now() - Duration::from_hours(48);
        file.set_modified(time).unwrap();
    };
    for name in ["a", "b"] {
        old(name);
    }
    house.clock.advance(Duration::from_hours(3));
    for night in 0..3 {
        house.clock.advance(Duration::from_mins(1));
        let report = house.run("clean").await.unwrap();
        assert_eq!(report.outcome.label(), "refused(guard)", "{report:#?}");
        let asked = server.take();
        let pings: Vec<&str> = asked
            .iter()
            .map(|one| one.line.as_str())
            .filter(|line| line.starts_with("GET"))
            .collect();
        assert_eq!(pings, ["GET /ping/abc/start", "GET /ping/abc/fail"]);
        let told: Vec<Json> = asked
            .iter()
            .filter(|one| one.line == "POST /hook")
            .map(|one| serde_json::from_str(&one.body).unwrap())
            .collect();
        assert_eq!(told.len(), usize::from(night == 0), "{told:#?}");
        if night == 0 {
            assert_eq!(brief(&told), [("firing".to_owned(), "job.clean".to_owned())]);
            assert_eq!(told[0]["about"], "refused(guard)");
        }
    }
    // A plan by hand is read by whoever made it.
    house.plan("clean").await.unwrap();
    assert_eq!(server.take().len(), 0);
    fs::remove_file(gone.join("b")).unwrap();
    house.clock.advance(Duration::from_mins(1));
    let report = house.run("clean").await.unwrap();
    assert_eq!(report.outcome.label(), "succeeded", "{report:#?}");
    let asked = server.take();
    let lines: Vec<&str> = asked.iter().map(|one| one.line.as_str()).collect();
    assert_eq!(lines[0], "GET /ping/abc/start");
    assert!(
        lines.contains(&"GET /ping/abc") && lines.contains(&"POST /hook"),
        "{lines:?}"
    );
    let told = asked.iter().find(|one| one.line == "POST /hook").unwrap();
    let told: Json = serde_json::from_str(&told.body).unwrap();
    assert_eq!(brief(&[told]), [("resolved".to_owned(), "job.clean".to_owned())]);
}

#[tokio::test]
async fn a_round_tells_which_of_its_jobs_it_did_not_start_and_nothing_that_they_tell() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let text = format!(
        "{CONFIGURATION}
[policy]
plan_first = false
[directory.gone]
path = \"gone\"
[job.clean]
plugin = \"temp-files\"
params = {{ directory = \"gone\", older_than = \"48h\" }}
grant = {{ directory.gone = [\"read\", \"remove\"] }}
[round.nightly]
schedule = \"0 4 * * *\"
window = \"1h\"
jobs = [\"clean\", {{ job = \"capacity\", after = [\"clean\"] }}]
"
    );
    let house = house(&text, folder.path(), &server);
    house.advance_to_next(6);
    let late = async |hours| {
        house.clock.advance(Duration::from_mins(1));
        let request = RunRequest {
            reason: Reason::Tick,
            scheduled_at: Some(house.services.clock.now() - chrono::TimeDelta::hours(hours)),
            ..RunRequest::manual("round:nightly".parse::<Work>().unwrap())
        };
        house.submit(request).await.unwrap().outcome.label()
    };
    let told = || {
        let mut told = brief(&server.messages());
        told.sort_unstable();
        let owned = |(kind, subject): (String, String)| format!("{kind} {subject}");
        told.into_iter().map(owned).collect::<Vec<_>>()
    };
    // Two nights without a window: one message.
    assert_eq!(late(2).await, "skipped(stale)");
    let messages = server.messages();
    assert_eq!(
        brief(&messages),
        [("firing".to_owned(), "round.nightly".to_owned())]
    );
    let text = messages[0]["text"].as_str().unwrap();
    assert!(text.contains("its window ended"), "{text}");
    assert_eq!(late(2).await, "skipped(stale)");
    assert_eq!(told(), Vec::<String>::new());
    // The first job fails and says so itself; the round says what that kept from starting.
    assert_eq!(late(0).await, "usage");
    assert_eq!(told(), ["firing job.clean", "firing round.nightly"]);
    fs::create_dir(folder.path().join("gone")).unwrap();
    assert_eq!(late(0).await, "succeeded");
    assert_eq!(told(), ["resolved job.clean", "resolved round.nightly"]);
}

#[tokio::test]
async fn slack_telegram_and_a_template_are_spoken_to_as_they_want() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    let text = CONFIGURATION.replace(
        "sinks = [\"ops\"]",
        "sinks = [\"ops\", \"chat\", \"bot\", \"night\"]\n\
         [sink.chat.slack]\nurl = \"${env:API}/services/T0/B0\"\n\
         [sink.bot.telegram]\ntoken = \"${env:TOKEN}\"\nchat = \"-100\"\napi = \"${env:API}\"\n\
         [sink.night.log]",
    );
    let text = text.replace(
        "headers = {",
        "body = '{\"content\": {{ title }}, \"about\": {{subject}}}'\nheaders = {",
    );
    let house = house(&text, folder.path(), &server);
    measure(&house, folder.path(), 4).await;
    let asked: BTreeMap<String, Json> = server
        .take()
        .into_iter()
        .map(|one| (one.line, serde_json::from_str(&one.body).unwrap()))
        .collect();
    let lines: Vec<&str> = asked.keys().map(String::as_str).collect();
    assert_eq!(
        lines,
        [
            "POST /bot123:secret-token/sendMessage",
            "POST /hook",
            "POST /services/T0/B0"
        ]
    );
    assert_eq!(
        asked["POST /hook"],
        serde_json::json!({ "content": "temp-files is at 4 files", "about": "gauge.temp-files" })
    );
    let said = asked["POST /services/T0/B0"]["text"].as_str().unwrap();
    assert!(said.starts_with("[firing] temp-files is at 4 files\n"), "{said}");
    assert_eq!(asked["POST /bot123:secret-token/sendMessage"]["chat_id"], "-100");
    let sent = OutboxQuery {
        state: Some(LetterState::Sent),
        ..OutboxQuery::default()
    };
    assert_eq!(house.services.ledger.outbox(&sent).await.unwrap().len(), 4);
}

/// The server holds the request of the first process, which is killed meanwhile; the next command sends it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_a_process_that_was_killed_is_sent_by_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hole.local_addr().unwrap().to_string();
    fs::create_dir(folder.path().join("temp")).unwrap();
    for file in 0..4 {
        fs::write(folder.path().join(format!("temp/{file}")), "x").unwrap();
    }
    std::os::unix::fs::symlink(plugins_folder().unwrap(), folder.path().join("plugins")).unwrap();
    let configuration = folder.path().join("sereno.toml");
    fs::write(&configuration, CONFIGURATION).unwrap();
    let sereno = |address: &str, args: &[&str]| {
        let mut command = Command::new(program().unwrap());
        command
            .args(args)
            .arg("--config")
            .arg(&configuration)
            .env("OPS", format!("http://{address}/hook"))
            .env("TOKEN", TOKEN)
            .env("SERENO_CACHE_DIR", folder.path().join("cache"));
        command
    };
    let mut first = sereno(&address, &["run", "capacity"]).spawn().unwrap();
    // Once it is connected, its run has ended and the message is on its way.
    let (_held, _) = hole.accept().await.unwrap();
    first.kill().unwrap();
    first.wait().unwrap();

    let server = Server::start().await;
    let output = sereno(&server.address, &["alerts", "send"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        brief(&server.messages()),
        [("firing".to_owned(), "gauge.temp-files".to_owned())]
    );
    let output = sereno(&server.address, &["gauges", "--fail-on", "firing", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let shown: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["gauges"][0]["state"], "firing");
    let output = sereno(&server.address, &["alerts", "test", "ops"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        brief(&server.messages()),
        [("test".to_owned(), "test.ops".to_owned())]
    );
    let output = sereno(&server.address, &["alerts", "list", "--json"])
        .output()
        .unwrap();
    let listed: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        listed["messages"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] == "sent"),
        "{listed:#}"
    );
}
