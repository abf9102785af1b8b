//! 44: writers that it was not granted, process numbers, pidfiles and commands in a name's place, and a storm of notices;
//! reports each answer.

use kit::notify_writer::{look, notify};
use kit::{Answer, Context, Error};

/// Far more than any bound.
const STORM: u32 = 1_000;

fn words(result: Result<String, Error>) -> String {
    match result {
        Ok(how) => how,
        Err(Error::Denied(line)) => format!("denied: {line}"),
        Err(Error::Invalid(_)) => "invalid".to_owned(),
        Err(Error::Limit(text)) => format!("limit: {text}"),
        Err(error) => format!("{error:?}"),
    }
}

fn run(_context: &Context) -> Answer {
    let mut findings = vec![kit::finding("look app", words(look("app")))];
    for writer in [
        "other",
        "1",
        "/run/app.pid",
        "../app",
        "app\0",
        "app; kill -9 1",
        "",
    ] {
        findings.push(kit::finding(
            &format!("notify {}", writer.escape_debug()),
            words(notify(writer)),
        ));
    }
    let refused = (0..STORM).find_map(|_| notify("app").err());
    findings.push(kit::finding(
        "storm",
        refused.map_or_else(|| "never refused".to_owned(), |error| words(Err(error))),
    ));
    kit::done_with(findings)
}

kit::guest!(run);
