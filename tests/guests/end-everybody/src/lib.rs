//! Ends every connection that it is told of, those that are kept too, then processes that it makes up, and in ways that
//! there are not. It reports each answer.

use kit::{Answer, Context, Error, Failure, Finding, database_read, database_upkeep};

fn answer(what: &str, result: Result<database_upkeep::UpkeepResult, Error>) -> Finding {
    kit::finding(
        what,
        match result {
            Ok(did) if did.done => "ended".to_owned(),
            Ok(did) => format!("left: {}", did.note.unwrap_or_default()),
            Err(Error::Guard(text)) => format!("guard: {text}"),
            Err(Error::Invalid(text)) => format!("invalid: {text}"),
            Err(error) => format!("{error:?}"),
        },
    )
}

fn run(context: &Context) -> Answer {
    let mut findings = Vec::new();
    let page = database_read::connections("app", None, 500).map_err(Failure::PassedOn)?;
    let all = page.connections;
    let end =
        |pid, started, changed, mode: &str| database_upkeep::terminate("app", pid, started, changed, mode);
    for one in &all {
        let as_before = Some(one.state_changed.unwrap_or(one.started) - 1);
        let name = &one.application;
        findings.push(answer(
            &format!("kill {name}"),
            end(one.pid, one.started, one.state_changed, "kill"),
        ));
        findings.push(answer(
            &format!("earlier {name}"),
            end(one.pid, one.started, as_before, "terminate"),
        ));
        findings.push(answer(
            &format!("other {name}"),
            end(one.pid, one.started - 1, one.state_changed, "terminate"),
        ));
    }
    for one in &all {
        findings.push(answer(
            &format!("end {}", one.application),
            end(one.pid, one.started, one.state_changed, "terminate"),
        ));
    }
    for pid in [0, 1, -1, i64::MAX] {
        findings.push(answer(
            &format!("made up {pid}"),
            end(pid, context.scheduled_at, None, "terminate"),
        ));
    }
    kit::done_with(findings)
}

kit::guest!(run);
