//! Keys that lead out of a storage, other storages, objects in the way, pages and parts without end; then more bytes and
//! more objects than a run may put.

use kit::{Answer, Context, Error, Finding, storage};

fn answer<T>(call: &str, result: Result<T, Error>) -> Finding {
    kit::finding(
        &call.escape_debug().to_string(),
        match result {
            Ok(_) => "done".to_owned(),
            Err(Error::Denied(line)) => format!("denied: {line}"),
            Err(Error::Invalid(_)) => "invalid".to_owned(),
            Err(error) => format!("{error:?}"),
        },
    )
}

/// Puts objects of so many bytes until it may not.
fn flood(bytes: usize) -> Vec<Finding> {
    let content = vec![b'x'; bytes];
    let mut objects = 0;
    loop {
        match storage::put("reports", &format!("flood/{objects}"), &content) {
            Ok(_) => objects += 1,
            Err(error) => {
                return vec![
                    kit::finding("objects", objects.to_string()),
                    kit::finding("end", format!("{error:?}")),
                ];
            }
        }
    }
}

fn run(context: &Context) -> Answer {
    match kit::param(context, "how") {
        "bytes" => return kit::done_with(flood(900_000)),
        "objects" => return kit::done_with(flood(1)),
        _ => {}
    }
    let mut findings = Vec::new();
    for key in [
        "../x",
        "/x",
        "a//b",
        "a/../../x",
        ".",
        "x\n",
        ".sereno-x",
        &"x".repeat(2_000),
    ] {
        let shown: String = key.chars().take(12).collect();
        findings.push(answer(
            &format!("put {shown}"),
            storage::put("reports", key, b"x"),
        ));
        findings.push(answer(
            &format!("get {shown}"),
            storage::get("reports", key, 0, 1),
        ));
        findings.push(answer(
            &format!("remove {shown}"),
            storage::remove("reports", key),
        ));
    }
    for other in ["others", "../reports", "reports\0"] {
        findings.push(answer(
            &format!("put into {other}"),
            storage::put(other, "x", b"x"),
        ));
        findings.push(answer(
            &format!("list {other}"),
            storage::list(other, "", None, 10),
        ));
    }
    findings.push(answer("put taken", storage::put("reports", "taken", b"mine")));
    findings.push(answer("list none", storage::list("reports", "", None, 0)));
    findings.push(answer("list all", storage::list("reports", "", None, u32::MAX)));
    findings.push(answer("get all", storage::get("reports", "taken", 0, u32::MAX)));
    findings.push(answer("remove young", storage::remove("reports", "taken")));
    kit::done_with(findings)
}

kit::guest!(run);
