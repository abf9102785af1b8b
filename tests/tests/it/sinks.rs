//! Sinks that are no HTTP server of the operator's: mail, SNS and EventBridge, each spoken to by the program itself, on a
//! real mail server and on moto.
//!
//! What is told when, and what becomes of a message that no sink takes, is `alerts`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value as Json, json};
use sereno_tests::house::{plugins_folder, program};
use sereno_tests::mail::MailServer;
use sereno_tests::moto;
use sereno_tests::wait::wait_for;
use tempfile::TempDir;

const BASE: &str = r#"
version = 1
[directory.temp]
path = "temp"
[alerts]
sinks = ["ops"]
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

/// A folder with a configuration of `sink` and a directory that has too many files.
fn world(sink: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("temp")).unwrap();
    for file in 0..4 {
        fs::write(folder.path().join(format!("temp/{file}")), "x").unwrap();
    }
    std::os::unix::fs::symlink(plugins_folder().unwrap(), folder.path().join("plugins")).unwrap();
    fs::write(folder.path().join("sereno.toml"), format!("{BASE}{sink}")).unwrap();
    folder
}

fn sereno(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(program().unwrap())
        .args(args)
        .arg("--config")
        .arg(folder.join("sereno.toml"))
        .env("SERENO_CACHE_DIR", folder.join("cache"))
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn mail_sink(port: u16, security: &str, login: bool) -> String {
    let login = if login {
        "user = \"night\"\npassword = \"${env:PASSWORD}\"\n"
    } else {
        ""
    };
    format!(
        "[sink.ops.mail]\nserver = \"127.0.0.1:{port}\"\nsecurity = \"{security}\"\n\
         from = \"sereno <sereno@example.com>\"\nto = [\"ops@example.com\", \"Ana <ana@example.com>\"]\n{login}"
    )
}

#[test]
fn a_letter_says_what_fired_and_a_server_that_is_down_delays_it_only() {
    // A port that nobody listens on, until the server comes.
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("certificate");
    let port = MailServer::start(0, "none", &certificate, None).unwrap().port;
    let world = world(&mail_sink(port, "none", false));
    let output = sereno(world.path(), &["run", "capacity"], &[]);
    assert!(output.status.success(), "{}", said(&output));

    let server = MailServer::start(port, "none", &certificate, None).unwrap();
    let output = sereno(world.path(), &["alerts", "send"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(wait_for(|| !server.letters().is_empty(), Duration::from_secs(10)));
    let output = sereno(world.path(), &["alerts", "send"], &[]);
    assert!(output.status.success(), "{}", said(&output));
    let listed = sereno(world.path(), &["alerts", "list", "--json"], &[]);
    let listed: Json = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["messages"][0]["state"], "sent", "{listed:#}");

    let letters = server.letters();
    let [letter] = &letters[..] else {
        panic!("{letters:?}");
    };
    assert_eq!(letter.from, "sereno@example.com");
    assert_eq!(letter.to, ["ops@example.com", "ana@example.com"]);
    assert_eq!(letter.subject, "[firing] temp-files is at 4 files");
    assert!(letter.text.contains("gauge.temp-files on "), "{}", letter.text);
    let id = letter
        .id
        .trim_start_matches('<')
        .split('@')
        .next()
        .unwrap_or_default();
    assert!(!id.is_empty() && letter.text.contains(id), "{letter:?}");
}

#[test]
fn a_letter_goes_over_tls_to_a_server_that_is_trusted_and_to_no_other() {
    for security in ["starttls", "tls"] {
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("certificate");
        let server = MailServer::start(0, security, &certificate, Some(("night", "p4ssw0rd"))).unwrap();
        let world = world(&mail_sink(server.port, security, true));
        let test = |password: &str, trust: Option<&str>| {
            let mut environment = vec![("PASSWORD", password)];
            environment.extend(trust.map(|file| ("SSL_CERT_FILE", file)));
            sereno(world.path(), &["alerts", "test", "ops"], &environment)
        };
        let trusted = certificate.to_str();

        let output = test("p4ssw0rd", None);
        assert!(
            !output.status.success() && said(&output).contains("TLS"),
            "{security}: {}",
            said(&output)
        );
        let output = test("wr0ng", trusted);
        assert!(
            !output.status.success() && said(&output).contains("535"),
            "{security}: {}",
            said(&output)
        );
        assert!(!said(&output).contains("wr0ng"));
        let output = test("p4ssw0rd", trusted);
        assert!(output.status.success(), "{security}: {}", said(&output));

        // The two that were not taken before come now too.
        assert!(wait_for(|| server.letters().len() == 3, Duration::from_secs(10)));
        let letters = server.letters();
        let ids: BTreeSet<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
        assert_eq!(ids.len(), 3, "{letters:?}");
        for letter in &letters {
            assert_eq!(
                (letter.private, letter.user.as_deref()),
                (true, Some("night")),
                "{security}"
            );
        }
    }
}

/// A queue of moto, to which it delivers what comes to a topic or a bus.
struct Queue {
    url: String,
    arn: String,
}

impl Queue {
    fn make(name: &str) -> Self {
        let moto = moto::shared().unwrap();
        moto.call(
            "sqs",
            FORM,
            &format!("Action=CreateQueue&Version=2012-11-05&QueueName={name}"),
        )
        .unwrap();
        Self {
            url: format!("{}/123456789012/{name}", moto.endpoint()),
            arn: format!("arn:aws:sqs:us-east-1:123456789012:{name}"),
        }
    }

    /// The bodies of what is in it.
    fn bodies(&self) -> Vec<Json> {
        let asked = format!(
            "Action=ReceiveMessage&Version=2012-11-05&MaxNumberOfMessages=10&QueueUrl={}",
            self.url
        );
        let answer = moto::shared().unwrap().call("sqs", FORM, &asked).unwrap();
        let bodies = answer.split("<Body>").skip(1);
        bodies
            .map(|rest| {
                let text = rest.split("</Body>").next().unwrap();
                let text = text
                    .replace("&quot;", "\"")
                    .replace("&#34;", "\"")
                    .replace("&amp;", "&");
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
            })
            .collect()
    }
}

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "t3st"),
    ("AWS_REGION", "us-east-1"),
];

#[test]
fn a_topic_is_published_to_with_attributes_to_filter_by() {
    let moto = moto::shared().unwrap();
    let queue = Queue::make("of-a-topic");
    let call = |body: &str| moto.call("sns", FORM, body).unwrap();
    call("Action=CreateTopic&Version=2010-03-31&Name=ops");
    let topic = "arn:aws:sns:us-east-1:123456789012:ops";
    call(&format!(
        "Action=Subscribe&Version=2010-03-31&TopicArn={topic}&Protocol=sqs&Endpoint={}",
        queue.arn
    ));
    let sink = |topic: &str| {
        format!(
            "[sink.ops.sns]\ntopic = \"{topic}\"\nendpoint = \"{}\"\n",
            moto.endpoint()
        )
    };
    let told = world(&sink(topic));
    let output = sereno(told.path(), &["run", "capacity"], &KEYS);
    assert!(output.status.success(), "{}", said(&output));
    let bodies = queue.bodies();
    assert_eq!(bodies.len(), 1, "{bodies:#?}\n{}", said(&output));
    assert_eq!(bodies[0]["Subject"], "[firing] temp-files is at 4 files");
    let attributes = &bodies[0]["MessageAttributes"];
    let value = |name: &str| &attributes[name]["Value"];
    assert_eq!(
        [value("kind"), value("severity"), value("subject")],
        [&json!("firing"), &json!("critical"), &json!("gauge.temp-files")]
    );

    let nowhere = world(&sink("arn:aws:sns:us-east-1:123456789012:nowhere"));
    let output = sereno(nowhere.path(), &["alerts", "test", "ops"], &KEYS);
    assert!(
        !output.status.success() && said(&output).contains("404 (NotFound)"),
        "{}",
        said(&output)
    );
    assert!(!said(&output).contains("t3st"));
}

#[test]
fn a_bus_gets_an_event_that_a_rule_may_match() {
    let moto = moto::shared().unwrap();
    let queue = Queue::make("of-a-bus");
    let call = |action: &str, body: &Json| {
        let headers =
            format!("content-type: application/x-amz-json-1.1\r\nx-amz-target: AWSEvents.{action}\r\n");
        moto.call("events", &headers, &body.to_string()).unwrap()
    };
    let pattern = json!({ "source": ["sereno"], "detail": { "kind": ["firing"] } });
    call(
        "PutRule",
        &json!({ "Name": "night", "EventPattern": pattern.to_string(), "State": "ENABLED" }),
    );
    let targets = json!([{ "Id": "queue", "Arn": queue.arn }]);
    call("PutTargets", &json!({ "Rule": "night", "Targets": targets }));
    let sink = |bus: &str| {
        format!(
            "[sink.ops.eventbridge]\nbus = \"{bus}\"\nendpoint = \"{}\"\n",
            moto.endpoint()
        )
    };
    let told = world(&sink("default"));
    let output = sereno(told.path(), &["run", "capacity"], &KEYS);
    assert!(output.status.success(), "{}", said(&output));
    let bodies = queue.bodies();
    assert_eq!(bodies.len(), 1, "{bodies:#?}\n{}", said(&output));
    let detail = &bodies[0]["detail"];
    assert_eq!(
        [
            &bodies[0]["source"],
            &bodies[0]["detail-type"],
            &detail["subject"],
            &detail["value"]
        ],
        [
            &json!("sereno"),
            &json!("sereno alert"),
            &json!("gauge.temp-files"),
            &json!(4.0)
        ]
    );
}
