//! Counts, removes what is old in two passes with different filters, and counts in between and at the end.
//!
//! A plan must answer it at every step as an apply does: it reports every number it is given.

use kit::{Answer, Condition, Context, Failure, Finding, Value, database_read, database_write, files};

const MICROSECONDS_A_DAY: i64 = 86_400_000_000;

fn run(context: &Context) -> Answer {
    let mut findings = Vec::new();
    let directory = kit::param(context, "directory");
    if !directory.is_empty() {
        sweep(context, directory, &mut findings).map_err(Failure::PassedOn)?;
    }
    let database = kit::param(context, "database");
    if !database.is_empty() {
        purge(context, database, &mut findings).map_err(Failure::PassedOn)?;
    }
    kit::done_with(findings)
}

/// Before the run's time by this many days.
fn days_before(context: &Context, days: i64) -> i64 {
    context.scheduled_at - days * MICROSECONDS_A_DAY
}

fn sweep(context: &Context, directory: &str, findings: &mut Vec<Finding>) -> Result<(), kit::Error> {
    let older_than = |days, include: &[&str]| files::FileFilter {
        older_than: Some(days_before(context, days)),
        age_by: vec!["mtime".to_owned()],
        include: include.iter().map(|&glob| glob.to_owned()).collect(),
        ..kit::every_file()
    };
    let every = older_than(0, &[]);
    let count = |when: &str, findings: &mut Vec<Finding>| {
        let found = files::summarize(directory, &every)?;
        let text = format!("{} files, {} bytes", found.files, found.bytes);
        findings.push(kit::finding(&format!("files-{when}"), text));
        Ok(())
    };
    count("before", findings)?;
    for (pass, filter) in [older_than(30, &[]), older_than(7, &["*.tmp", "**/*.tmp"])]
        .iter()
        .enumerate()
    {
        let mut cursor = None;
        let (mut files, mut bytes) = (0, 0);
        loop {
            let removal = files::remove_batch(directory, filter, cursor.as_deref(), 3)?;
            files += removal.files;
            bytes += removal.bytes;
            cursor = removal.cursor;
            if cursor.is_none() {
                break;
            }
        }
        findings.push(kit::finding(
            &format!("files-pass-{pass}"),
            format!("{files} files, {bytes} bytes"),
        ));
        count(&format!("after-{pass}"), findings)?;
    }
    Ok(())
}

fn purge(context: &Context, database: &str, findings: &mut Vec<Finding>) -> Result<(), kit::Error> {
    let table = kit::param(context, "table");
    let column = kit::param(context, "column");
    let older_than = |days| Condition {
        column: column.to_owned(),
        op: "<".to_owned(),
        value: Value::Instant(days_before(context, days)),
    };
    let count = |when: &str, findings: &mut Vec<Finding>| {
        let rows = database_read::count(database, table, &[])?;
        findings.push(kit::finding(&format!("rows-{when}"), format!("{rows} rows")));
        Ok(())
    };
    count("before", findings)?;
    for (pass, filter) in [[older_than(30)], [older_than(7)]].iter().enumerate() {
        let mut cursor = None;
        let mut rows = 0;
        loop {
            let batch = database_write::delete_batch(database, table, filter, column, cursor.as_deref(), 3)?;
            rows += batch.rows;
            cursor = batch.cursor;
            if cursor.is_none() {
                break;
            }
        }
        findings.push(kit::finding(&format!("rows-pass-{pass}"), format!("{rows} rows")));
        count(&format!("after-{pass}"), findings)?;
    }
    Ok(())
}

kit::guest!(run);
