//! 16, 22, 37: calls on names that it was not granted, that do not exist, and that are no names, and reports each
//! answer.

use kit::{
    Answer, Condition, Context, Error, Finding, Value, database_read, database_upkeep, database_write, files,
};

fn answer<T>(call: &str, result: Result<T, Error>) -> Finding {
    kit::finding(
        call,
        match result {
            Ok(_) => "done".to_owned(),
            Err(Error::Denied(line)) => format!("denied: {line}"),
            Err(Error::Invalid(_)) => "invalid".to_owned(),
            Err(error) => format!("{error:?}"),
        },
    )
}

/// What a database tells of itself, and the harshest upkeep.
fn beyond_insight(context: &Context, findings: &mut Vec<Finding>) {
    findings.push(answer("tables app", database_read::tables("app", None, 10)));
    findings.push(answer("slow-queries app", database_read::slow_queries("app", 10)));
    let ids = ["1/1/true".to_owned()];
    findings.push(answer("query-texts app", database_read::query_texts("app", &ids)));
    findings.push(answer(
        "connections app",
        database_read::connections("app", None, 10),
    ));
    findings.push(answer("activities app", database_read::activities("app")));
    findings.push(answer(
        "index-details other",
        database_read::index_details("app", "other"),
    ));
    findings.push(answer(
        "foreign-keys other",
        database_read::foreign_keys("app", "other"),
    ));
    let at = context.scheduled_at;
    let ended = database_upkeep::terminate("app", 1, at, None, "terminate");
    findings.push(answer("terminate app", ended));
    let rewritten = database_upkeep::vacuum_full("app", "other", 1_000);
    findings.push(answer("vacuum-full other", rewritten));
}

fn run(context: &Context) -> Answer {
    let old = [Condition {
        column: "at".to_owned(),
        op: "<".to_owned(),
        value: Value::Instant(context.scheduled_at),
    }];
    let mut findings = Vec::new();
    for directory in ["temp", "other", "../temp", "/", "temp\0"] {
        findings.push(answer(&format!("usage {directory}"), files::usage(directory)));
        findings.push(answer(
            &format!("remove-batch {directory}"),
            files::remove_batch(directory, &kit::every_file(), None, 10),
        ));
    }
    for table in [
        "sessions",
        "other",
        "pg_catalog.pg_class",
        "x\"; drop table y; --",
        "*",
    ] {
        findings.push(answer(
            &format!("count {table}"),
            database_read::count("app", table, &old),
        ));
        findings.push(answer(
            &format!("delete-batch {table}"),
            database_write::delete_batch("app", table, &old, "at", None, 10),
        ));
        findings.push(answer(
            &format!("vacuum {table}"),
            database_upkeep::vacuum("app", table, false, 1_000),
        ));
    }
    findings.push(answer(
        "describe-database app",
        database_read::describe_database("app"),
    ));
    findings.push(answer("query app", database_read::query("app", "secrets", &[])));
    findings.push(answer(
        "granted-tables app",
        database_read::granted_tables("app", "delete"),
    ));
    findings.push(answer(
        "granted-tables other",
        database_read::granted_tables("other", "delete"),
    ));
    beyond_insight(context, &mut findings);
    kit::done_with(findings)
}

kit::guest!(run);
