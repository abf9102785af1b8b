//! Collects, compares, reckons, draws, and puts the report into its storage.
//!
//! It changes nothing but its own reports.

use sereno_plugin::{
    Context, DatabaseRead, Error, Failure, Files, Finding, Measurement, Measurements, Outcome, Report,
    Storage, Unit, text,
};

use crate::report::{Capacity, CapacityState, Moment, SCHEMA_VERSION, UsageReport};
use crate::shelf::{Shelf, younger_stay};
use crate::{Formats, Params, collect, page};

/// The JSON object, within the default limit on a call's bytes.
const JSON_BYTES_MAX: usize = 768 << 10;

/// Seconds.
const DAY: f64 = 86_400.0;

/// Makes one report.
pub(crate) fn run(
    context: &Context,
    params: &Params,
    host: &mut (impl DatabaseRead + Files + Storage + Measurements),
) -> Result<Outcome, Failure> {
    check(params)?;
    let at = Moment::from(context.scheduled_at);
    let shelf = Shelf::new(&params.storage, &params.prefix, &context.job);
    let (last, unread) = shelf.last(at, host)?;
    let mut usage = UsageReport {
        schema_version: SCHEMA_VERSION,
        job: context.job.clone(),
        run: context.run_id.clone(),
        at,
        ..UsageReport::default()
    };
    collect::collect(params, host, &mut usage)?;
    usage.carry_on(last.as_ref());
    if let Some(last) = &last {
        usage.compare(last);
    }
    usage.capacity = limits(params, &usage);

    let mut report = Report::new();
    let on = format!("storage.{}", params.storage);
    for why in unread {
        report.add(
            Finding::warn(
                "report-unread",
                &on,
                format!("an earlier report could not be read: {why}"),
            )
            .next("changes are reckoned from an older one; remove it, or bring it back from a backup"),
        );
    }
    tell(&usage, &mut report, host);
    let stem = shelf.stem(at, &context.run_id);
    put(params, &shelf, &stem, &mut usage, host)?;
    let page = page_of(params, &stem);
    report.add(Finding::info(
        "report-written",
        &on,
        format!("the report is {page}"),
    ));
    tidy(context, params, &shelf, &on, &mut report, host)?;
    Ok(Outcome::Done(report))
}

fn check(params: &Params) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::InvalidParams(text));
    if params.databases.is_empty() && params.directories.is_empty() {
        return refuse("there is nothing to report: name `databases` or `directories`".to_owned());
    }
    for (place, tenants) in params.tenants.iter().enumerate() {
        if tenants.schemas.is_some() == tenants.query.is_some() {
            return refuse(format!(
                "`tenants[{place}]` says how tenants are told apart: give it either `schemas` or `query`"
            ));
        }
        if !params.databases.contains(&tenants.database) {
            return refuse(format!(
                "`tenants[{place}]` is of {}, which is not among `databases`",
                tenants.database
            ));
        }
    }
    match params
        .limits
        .iter()
        .find(|limit| !params.databases.contains(&limit.database))
    {
        Some(limit) => refuse(format!(
            "`limits` has {}, which is not among `databases`",
            limit.database
        )),
        None => Ok(()),
    }
}

/// Every limit with what is known of it.
fn limits(params: &Params, usage: &UsageReport) -> Vec<Capacity> {
    let mut found = Vec::new();
    for database in &usage.databases {
        let target = format!("database.{}", database.name);
        for limit in params
            .limits
            .iter()
            .filter(|limit| limit.database == database.name)
        {
            let is = "set by the job".to_owned();
            found.extend(usage.until(&target, "size", "bytes", limit.size as f64, is));
        }
        if let Some(most) = database.connections_limit {
            let share = params.connections_limit;
            let is = format!(
                "{share} % of {}",
                text::counted(most, "connection", "connections")
            );
            let limit = most as f64 * share / 100.0;
            found.extend(usage.until(&target, "connections", "connections", limit, is));
        }
    }
    for disk in &usage.disks {
        if let Some(total) = disk.bytes_total {
            let share = params.disk_limit;
            let is = format!("{share} % of {}", text::bytes(total));
            let limit = total as f64 * share / 100.0;
            found.extend(usage.until(&format!("directory.{}", disk.name), "used", "bytes", limit, is));
        }
    }
    let soon = params.warn_within.as_secs_f64() / DAY;
    for capacity in &mut found {
        capacity.near = capacity.days_left.is_some_and(|days| days <= soon);
    }
    found
}

/// Measures how long each limit lasts, and tells of those that are near and of what is unknown.
fn tell(usage: &UsageReport, report: &mut Report, host: &mut impl Measurements) {
    for capacity in &usage.capacity {
        let name = format!("capacity.{}_time_left", capacity.what);
        let unknown = format!(
            "{} over less than a week, or fewer than three",
            text::counted(capacity.samples, "report", "reports")
        );
        host.measure(Measurement::new(
            &name,
            &capacity.target,
            Unit::Seconds,
            capacity.days_left.map(|days| days.floor() * DAY),
            &unknown,
        ));
        if capacity.near {
            let line = page::words::capacity(capacity);
            let code = match capacity.state {
                CapacityState::Passed => "limit-passed",
                _ => "limit-near",
            };
            report.add(
                Finding::warn(code, &capacity.target, line)
                    .next("make room, raise the limit, or move what grows"),
            );
        }
    }
    for unknown in &usage.unknown {
        report.add(Finding::warn(
            "not-measured",
            &unknown.target,
            format!("it could not be found out: {}", unknown.why),
        ));
    }
}

/// The pages first, and the JSON object last: with it the report is there.
fn put(
    params: &Params,
    shelf: &Shelf<'_>,
    stem: &str,
    usage: &mut UsageReport,
    host: &mut impl Storage,
) -> Result<(), Failure> {
    let json = json(usage)?;
    let top = usize::try_from(params.top).unwrap_or(usize::MAX);
    for format in &params.formats {
        let (extension, content) = match format {
            Formats::Html => ("html", page::html::page(usage, top)),
            Formats::Markdown => ("md", page::markdown::page(usage, top)),
            Formats::Text => ("txt", page::text::page(usage, top)),
        };
        shelf.put(&format!("{stem}.{extension}"), content.as_bytes(), host)?;
    }
    shelf.put(&format!("{stem}.json"), &json, host)?;
    Ok(())
}

/// The object, with as many of the smaller tables left out as it takes to stay within its size.
fn json(usage: &mut UsageReport) -> Result<Vec<u8>, Failure> {
    loop {
        let json = serde_json::to_vec(usage).map_err(|error| Failure::Permanent(error.to_string()))?;
        if json.len() <= JSON_BYTES_MAX {
            return Ok(json);
        }
        let mut cut = false;
        for database in &mut usage.databases {
            let half = database.tables.len() / 2;
            cut |= half > 0;
            database.tables_left_out += (database.tables.len() - half) as u64;
            database.tables.truncate(half);
            let half = database.indexes.len() / 2;
            database.indexes.truncate(half);
            for tenants in &mut database.tenants {
                let half = tenants.list.len() / 2;
                cut |= half > 0;
                tenants.list.truncate(half);
            }
        }
        if !cut {
            return Err(Failure::Permanent(format!(
                "the report has {} bytes; a job may put {JSON_BYTES_MAX}: report on fewer databases",
                json.len()
            )));
        }
    }
}

/// The object that a person opens.
fn page_of(params: &Params, stem: &str) -> String {
    let extension = match params.formats.first() {
        _ if params.formats.contains(&Formats::Html) => "html",
        Some(Formats::Markdown) => "md",
        Some(Formats::Text) => "txt",
        _ => "json",
    };
    format!("{stem}.{extension}")
}

/// Old reports go; without the grant they stay, which is told once they are too many.
fn tidy(
    context: &Context,
    params: &Params,
    shelf: &Shelf<'_>,
    on: &str,
    report: &mut Report,
    host: &mut impl Storage,
) -> Result<(), Failure> {
    let keep = usize::try_from(params.keep).unwrap_or(usize::MAX);
    match shelf.tidy(keep, younger_stay(context.scheduled_at, params.keep_for), host) {
        Ok(_) => Ok(()),
        Err(Error::Denied(line)) => {
            let text = format!("there are more than {keep} reports, and the old ones may not be removed");
            report.add(
                Finding::info("reports-kept", on, text)
                    .next(format!("add `{line}` to the job's grants, or raise `keep`")),
            );
            Ok(())
        }
        // The report is there; the next run tries again.
        Err(error) if error.is_local() => {
            let text = format!("old reports could not be removed: {error}");
            report.add(Finding::warn("reports-kept", on, text));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
