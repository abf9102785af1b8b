//! The report as one HTML page: style and pictures inside, no script, and nothing that is fetched.
//!
//! Every text that comes from a database, a configuration or a host's answer is escaped where it is written.

use std::fmt::Write as _;

use sereno_plugin::text;

use super::picture::{self, Line};
use super::words::{self, plain};
use crate::report::{Capacity, CapacityState, DatabaseUse, DiskUse, TableUse, Tenants, UsageReport};

/// What a browser may do with the page: draw it. A name that got past the escaping could fetch and run nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The whole page.
pub(crate) fn page(report: &UsageReport, top: usize) -> String {
    let title = format!("Usage report of {}", report.job);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}, {day}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"soft\">{at}; {period}</p>\n",
        title = escaped(&title),
        day = report.at.day(),
        style = include_str!("style.css"),
        at = report.at.shown(),
        period = escaped(&words::period(report)),
    );
    if !report.unknown.is_empty() {
        page.push_str("<h2>Unknown</h2>\n<ul>\n");
        for unknown in &report.unknown {
            let _ = writeln!(
                page,
                "<li class=\"bad\">{}: {}</li>",
                name(&unknown.target),
                escaped(&unknown.why)
            );
        }
        page.push_str("</ul>\n");
    }
    if !report.capacity.is_empty() {
        page.push_str("<h2>Limits</h2>\n");
        limits(&mut page, &report.capacity);
    }
    if !report.disks.is_empty() {
        page.push_str("<h2>File systems</h2>\n");
        disks(&mut page, report);
    }
    for database in &report.databases {
        of_database(&mut page, report, database, top);
    }
    let _ = write!(
        page,
        "<footer>Sizes are what the database and the file system say of themselves; numbers of rows are the database's own \
         estimates. When a limit is reached is a straight line through earlier reports, at the faster of two paces: over all \
         reports of the last 90 days, and over the last week. The same numbers, and more tables, are in the JSON object beside \
         this page. Run {}.</footer>\n</main>\n</body>\n</html>\n",
        name(&report.run)
    );
    page
}

fn limits(page: &mut String, limits: &[Capacity]) {
    let rows = limits.iter().map(|limit| {
        let class = match limit.state {
            _ if limit.near => "bad",
            CapacityState::NotGrowing => "good",
            _ => "",
        };
        let unit = limit.unit.as_str();
        let share = limit.now * 100.0 / limit.limit.max(1.0);
        vec![
            name(&words::subject(limit)),
            picture::share(
                share,
                100.0,
                &format!("{} of the limit", words::percent(Some(share))),
            ),
            words::amount(unit, limit.now),
            words::amount(unit, limit.limit),
            format!(
                "<span class=\"{class}\">{}</span>",
                escaped(&words::days_left(limit))
            ),
            format!(
                "{}. The limit: {}.",
                escaped(&words::pace(limit)),
                escaped(&limit.limit_is)
            ),
        ]
    });
    table(
        page,
        &["of", "|", "now", "limit", "reached in", "'how that is known"],
        rows,
    );
}

fn disks(page: &mut String, report: &UsageReport) {
    let limit = |disk: &DiskUse| {
        let target = format!("directory.{}", disk.name);
        let capacity = report
            .capacity
            .iter()
            .find(|capacity| capacity.target == target)?;
        let total = disk.bytes_total.filter(|total| *total > 0)? as f64;
        Some(capacity.limit * 100.0 / total)
    };
    let rows = report.disks.iter().map(|disk| {
        let label = format!("{} used", words::percent(disk.used_percent));
        vec![
            name(&disk.name),
            match disk.used_percent {
                Some(used) => picture::share(used, limit(disk).unwrap_or(100.0), &label),
                None => String::new(),
            },
            words::percent(disk.used_percent),
            words::bytes(disk.bytes_used),
            words::bytes(disk.bytes_total),
            words::change(disk.change),
            words::percent(disk.inodes_used_percent),
        ]
    });
    table(
        page,
        &["directory", "|", "used", "bytes", "of", "change", "inodes used"],
        rows,
    );
    for disk in &report.disks {
        over_time(
            page,
            report,
            &format!("directory.{}", disk.name),
            "used",
            &disk.name,
        );
    }
}

/// The picture of a series, where there are reports enough to draw one.
fn over_time(page: &mut String, report: &UsageReport, target: &str, what: &str, of: &str) {
    let capacity = report
        .capacity
        .iter()
        .find(|capacity| capacity.target == target && capacity.what == what);
    let show = |value: f64| words::amount("bytes", value);
    let points = report.points(target, what);
    let line = Line {
        points,
        limit: capacity.map(|capacity| capacity.limit),
        per_day: capacity.and_then(|capacity| capacity.per_day),
        show: &show,
        label: format!("{of} over time, as of {} reports", points.len()),
    };
    if let Some(picture) = line.draw() {
        let _ = writeln!(
            page,
            "<h3>{} over time</h3>\n{picture}",
            name(if what == "used" { of } else { "Size" })
        );
    }
}

fn fact(page: &mut String, term: &str, value: &str, small: &str) {
    let small = if small.is_empty() {
        String::new()
    } else {
        format!(" <small>{}</small>", escaped(small))
    };
    let _ = write!(
        page,
        "<div><dt>{}</dt><dd>{}{small}</dd></div>",
        escaped(term),
        escaped(value)
    );
}

fn of_database(page: &mut String, report: &UsageReport, database: &DatabaseUse, top: usize) {
    let _ = write!(
        page,
        "<h2>Database {}</h2>\n<dl class=\"facts\">",
        name(&database.name)
    );
    fact(
        page,
        "size",
        &words::bytes(database.bytes),
        &words::change(database.change),
    );
    let left_out = match database.tables_left_out {
        0 => String::new(),
        more => format!("{} only counted", text::count(more)),
    };
    fact(page, "tables", &text::count(database.tables_total), &left_out);
    if let Some(connections) = database.connections {
        let of = database
            .connections_limit
            .map(|limit| format!("of {}", text::count(limit)))
            .unwrap_or_default();
        fact(page, "connections", &text::count(connections), &of);
    }
    page.push_str("</dl>\n");
    whole(page, database);
    over_time(
        page,
        report,
        &format!("database.{}", database.name),
        "size",
        &database.name,
    );
    tables(page, database, top);
    schemas(page, database, top);
    indexes(page, database, top);
    for tenants in &database.tenants {
        of_tenants(page, tenants, top);
    }
}

/// Where all bytes of a database are, in one bar.
fn whole(page: &mut String, database: &DatabaseUse) {
    let (Some(bytes), Some(other)) = (database.bytes, database.other_bytes) else {
        return;
    };
    // With the tables that were left out of the list nobody knows which part of them is what.
    if database.tables_left_out > 0 {
        return;
    }
    let sum = |part: fn(&TableUse) -> Option<u64>| -> u64 { database.tables.iter().filter_map(part).sum() };
    let pieces = [
        ("rows", "rows", sum(|table| table.row_bytes)),
        ("index", "indexes", sum(|table| table.index_bytes)),
        ("toast", "TOAST", sum(|table| table.toast_bytes)),
        ("other", "catalogue and other", other),
        (
            "free",
            "free inside the file",
            database.free_bytes.unwrap_or_default(),
        ),
    ];
    let bars: Vec<_> = pieces.iter().map(|(class, _, bytes)| (*class, *bytes)).collect();
    let all = bytes.max(pieces.iter().map(|(.., bytes)| bytes).sum());
    let words: Vec<_> = pieces
        .iter()
        .filter(|(.., bytes)| *bytes > 0)
        .map(|(_, what, bytes)| format!("{what} {}", text::bytes(*bytes)))
        .collect();
    let _ = write!(
        page,
        "<div class=\"whole\">{}</div>\n<ul class=\"key\">",
        picture::bar(&bars, all, &words.join(", "))
    );
    for (class, what, bytes) in pieces.iter().filter(|(.., bytes)| *bytes > 0) {
        let _ = write!(
            page,
            "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"10\" height=\"10\" rx=\"2\"/></svg>\
             {what} {}</li>",
            text::bytes(*bytes)
        );
    }
    page.push_str("</ul>\n");
}

fn tables(page: &mut String, database: &DatabaseUse, top: usize) {
    let shown = database.tables.len().min(top);
    let _ = writeln!(
        page,
        "<h3>The largest {} of {}</h3>",
        text::count(shown as u64),
        text::counted(database.tables_total, "table", "tables")
    );
    let largest = database
        .tables
        .first()
        .and_then(|table| table.bytes)
        .unwrap_or_default();
    let rows = database.tables.iter().take(top).map(|table| {
        let pieces = [
            ("rows", table.row_bytes),
            ("index", table.index_bytes),
            ("toast", table.toast_bytes),
        ]
        .map(|(class, bytes)| (class, bytes.unwrap_or_default()));
        let label = format!(
            "rows {}, indexes {}, TOAST {}",
            words::bytes(table.row_bytes),
            words::bytes(table.index_bytes),
            words::bytes(table.toast_bytes)
        );
        vec![
            name(&words::table_name(table)),
            picture::bar(&pieces, largest, &label),
            words::bytes(table.bytes),
            words::bytes(table.row_bytes),
            words::bytes(table.index_bytes),
            words::bytes(table.toast_bytes),
            words::count(table.rows),
            words::table_change(table),
        ]
    });
    let head = [
        "table",
        "|",
        "total",
        "rows",
        "indexes",
        "TOAST",
        "about rows",
        "change",
    ];
    self::table(page, &head, rows);
    if !database.gone.is_empty() {
        let gone: Vec<_> = database
            .gone
            .iter()
            .map(|gone| format!("{} ({})", name(&gone.table), words::bytes(gone.bytes)))
            .collect();
        let _ = writeln!(
            page,
            "<p class=\"soft\">Gone since the last report: {}.</p>",
            gone.join(", ")
        );
    }
}

fn schemas(page: &mut String, database: &DatabaseUse, top: usize) {
    if database.schemas.len() < 2 {
        return;
    }
    page.push_str("<h3>Schemas</h3>\n");
    let largest = database.schemas.first().map_or(0, |schema| schema.bytes);
    let rows = database.schemas.iter().take(top).map(|schema| {
        let at_least = if schema.unknown_tables > 0 {
            "at least "
        } else {
            ""
        };
        let total = format!("{at_least}{}", text::bytes(schema.bytes));
        vec![
            name(&schema.schema),
            picture::bar(&[("rows", schema.bytes)], largest, &total),
            total,
            text::count(schema.tables),
            words::change(schema.change),
        ]
    });
    table(page, &["schema", "|", "total", "tables", "change"], rows);
}

fn indexes(page: &mut String, database: &DatabaseUse, top: usize) {
    if database.indexes.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<h3>The largest indexes of {}</h3>",
        text::counted(database.indexes_of, "table", "tables")
    );
    let largest = database
        .indexes
        .first()
        .and_then(|index| index.bytes)
        .unwrap_or_default();
    let rows = database.indexes.iter().take(top).map(|index| {
        let total = words::bytes(index.bytes);
        vec![
            name(&index.index),
            picture::bar(&[("index", index.bytes.unwrap_or_default())], largest, &total),
            total,
            words::change(index.change),
            name(&index.table),
        ]
    });
    table(page, &["index", "|", "total", "change", "'of"], rows);
}

fn of_tenants(page: &mut String, tenants: &Tenants, top: usize) {
    let more = if tenants.capped {
        ", and more than the query lets through"
    } else {
        ""
    };
    let _ = writeln!(
        page,
        "<h3>{} by {}{more}</h3>",
        text::counted(tenants.total, "tenant", "tenants"),
        name(&tenants.by)
    );
    let by_bytes = tenants.list.iter().any(|tenant| tenant.bytes.is_some());
    let measure = |tenant: &crate::report::TenantUse| {
        if by_bytes { tenant.bytes } else { tenant.rows }.unwrap_or_default()
    };
    let largest = tenants.list.first().map_or(0, &measure);
    let rows = tenants.list.iter().take(top).map(|tenant| {
        let (total, change) = if by_bytes {
            (words::bytes(tenant.bytes), words::change(tenant.change))
        } else {
            (words::count(tenant.rows), words::count_change(tenant.rows_change))
        };
        let bar = picture::bar(&[("rows", measure(tenant))], largest, &total);
        vec![
            name(&tenant.name),
            bar,
            total,
            change,
            tenant.rows.map(text::count).unwrap_or_default(),
            words::count_change(tenant.rows_change),
        ]
    });
    let by_both = by_bytes && tenants.list.iter().any(|tenant| tenant.rows.is_some());
    let head = [
        "tenant",
        "|",
        if by_bytes { "total" } else { "rows" },
        "change",
        "rows",
        "change in rows",
    ];
    let shown = if by_both { head.len() } else { 4 };
    table(page, &head[..shown], rows);
}

/// Rows under their heads. A head of `|` is a picture's; one that begins with `'` is a note's; cells are HTML already.
fn table(page: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let class = |head: &str| match head.chars().next() {
        Some('|') => " class=\"bars\"",
        Some('\'') => " class=\"note\"",
        _ => "",
    };
    page.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    for head in head {
        let text = head.trim_start_matches(['|', '\'']);
        let _ = write!(page, "<th scope=\"col\"{}>{}</th>", class(head), escaped(text));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (cell, head) in row.iter().zip(head) {
            let _ = write!(page, "<td{}>{cell}</td>", class(head));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

/// A name, kept from turning the line around it.
fn name(name: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(&plain(name)))
}

/// Text as HTML, between tags or quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}
