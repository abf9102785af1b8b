//! 40: requests to origins that it was not granted and to addresses, paths that leave their origin, and headers that say
//! who asks; reports each answer.

use kit::http::{Response, get, post};
use kit::{Answer, Context, Error, Finding};

fn answer(call: &str, result: Result<Response, Error>) -> Finding {
    kit::finding(
        call,
        match result {
            Ok(response) => format!("{} {}", response.status, String::from_utf8_lossy(&response.body)),
            Err(Error::Denied(line)) => format!("denied: {line}"),
            Err(Error::Invalid(_)) => "invalid".to_owned(),
            Err(error) => format!("{error:?}"),
        },
    )
}

fn run(_context: &Context) -> Answer {
    let mut findings = vec![
        answer("get web", get("web", "/ok", &[])),
        answer("post web", post("web", "/ok", &[], b"x")),
    ];
    for origin in ["other", "http://169.254.169.254", "127.0.0.1:9001"] {
        findings.push(answer(&format!("get {origin}"), get(origin, "/", &[])));
    }
    for path in [
        "http://169.254.169.254/",
        "//169.254.169.254/",
        "@169.254.169.254/",
        ".evil.example/",
        "/../2018-06-01/runtime",
        "/a\r\nHost: evil",
    ] {
        findings.push(answer(&format!("path {path}"), get("web", path, &[])));
    }
    for name in [
        "Host",
        "Authorization",
        "X-aws-ec2-metadata-token",
        "Transfer-Encoding",
    ] {
        let headers = [(name.to_owned(), "x".to_owned())];
        findings.push(answer(&format!("header {name}"), get("web", "/", &headers)));
    }
    let long = format!("/{}", "a".repeat(100_000));
    findings.push(answer("a long path", get("web", &long, &[])));
    kit::done_with(findings)
}

kit::guest!(run);
