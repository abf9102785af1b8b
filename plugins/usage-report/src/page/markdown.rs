//! The report as Markdown, with the tables that most readers of it know.

use std::fmt::Write as _;

use sereno_plugin::text;

use super::words::{self, plain};
use crate::report::{DatabaseUse, UsageReport};

/// The whole page.
pub(crate) fn page(report: &UsageReport, top: usize) -> String {
    let mut page = format!(
        "# Usage report of {}\n\n{}; {}.\n",
        escaped(&report.job),
        report.at.shown(),
        words::period(report)
    );
    if !report.capacity.is_empty() {
        page.push_str("\n## Limits\n");
        let rows = report.capacity.iter().map(|capacity| {
            [
                escaped(&words::subject(capacity)),
                words::amount(&capacity.unit, capacity.now),
                words::amount(&capacity.unit, capacity.limit),
                words::days_left(capacity),
                words::pace(capacity),
            ]
        });
        table(&mut page, ["of", "now", "limit", "reached in", "pace"], rows);
    }
    if !report.disks.is_empty() {
        page.push_str("\n## File systems\n");
        let rows = report.disks.iter().map(|disk| {
            [
                escaped(&disk.name),
                words::bytes(disk.bytes_used),
                words::bytes(disk.bytes_total),
                words::percent(disk.used_percent),
                words::change(disk.change),
            ]
        });
        table(
            &mut page,
            ["directory", "used", "of", "used share", "change"],
            rows,
        );
    }
    for database in &report.databases {
        of_database(&mut page, database, top);
    }
    if !report.unknown.is_empty() {
        page.push_str("\n## Unknown\n\n");
        for unknown in &report.unknown {
            let _ = writeln!(page, "- {}: {}", escaped(&unknown.target), escaped(&unknown.why));
        }
    }
    page
}

fn of_database(page: &mut String, database: &DatabaseUse, top: usize) {
    let _ = writeln!(page, "\n## Database {}\n", escaped(&database.name));
    let change = database
        .change
        .map(|change| format!(" ({})", words::change(Some(change))))
        .unwrap_or_default();
    let _ = write!(page, "{}{change}", words::bytes(database.bytes));
    if let Some(free) = database.free_bytes {
        let _ = write!(page, ", of which {} are free inside the file", text::bytes(free));
    }
    let _ = writeln!(
        page,
        "; {} neither in tables nor free.",
        words::bytes(database.other_bytes)
    );
    if let Some(connections) = database.connections {
        let of = database
            .connections_limit
            .map(|limit| format!(" of {}", text::count(limit)));
        let _ = writeln!(
            page,
            "\n{}{} connections.",
            text::count(connections),
            of.unwrap_or_default()
        );
    }
    let _ = writeln!(
        page,
        "\n### Tables\n\nThe largest {} of {}.",
        text::count(database.tables.len().min(top) as u64),
        text::count(database.tables_total)
    );
    let rows = database.tables.iter().take(top).map(|table| {
        [
            escaped(&words::table_name(table)),
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
        "total",
        "rows",
        "indexes",
        "TOAST",
        "about rows",
        "change",
    ];
    table(page, head, rows);
    for gone in &database.gone {
        let _ = writeln!(
            page,
            "\nGone: {} ({}).",
            escaped(&gone.table),
            words::bytes(gone.bytes)
        );
    }
    if database.schemas.len() > 1 {
        page.push_str("\n### Schemas\n");
        let rows = database.schemas.iter().take(top).map(|schema| {
            [
                escaped(&schema.schema),
                text::bytes(schema.bytes),
                text::count(schema.tables),
                words::change(schema.change),
            ]
        });
        table(page, ["schema", "total", "tables", "change"], rows);
    }
    if !database.indexes.is_empty() {
        page.push_str("\n### Indexes\n");
        let rows = database.indexes.iter().take(top).map(|index| {
            [
                escaped(&index.index),
                escaped(&index.table),
                words::bytes(index.bytes),
                words::change(index.change),
            ]
        });
        table(page, ["index", "table", "total", "change"], rows);
    }
    for tenants in &database.tenants {
        let more = if tenants.capped {
            " There are more than the query lets through."
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "\n### Tenants by {}\n\n{}.{more}",
            escaped(&tenants.by),
            text::counted(tenants.total, "tenant", "tenants")
        );
        let rows = tenants.list.iter().take(top).map(|tenant| {
            [
                escaped(&tenant.name),
                tenant.bytes.map(text::bytes).unwrap_or_default(),
                words::change(tenant.change),
                tenant.rows.map(text::count).unwrap_or_default(),
                words::count_change(tenant.rows_change),
            ]
        });
        table(
            page,
            ["tenant", "total", "change", "rows", "change in rows"],
            rows,
        );
    }
}

fn table<const N: usize>(page: &mut String, head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let line = |cells: &[String; N]| format!("| {} |\n", cells.join(" | "));
    page.push('\n');
    page.push_str(&line(&head.map(str::to_owned)));
    page.push_str(&line(&std::array::from_fn(|place| {
        if place == 0 { "---" } else { "---:" }.to_owned()
    })));
    rows.for_each(|row| page.push_str(&line(&row)));
}

/// A name stays a name: nothing in it is markup, a cell's end or a line's.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in plain(name).chars() {
        match c {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '\\' | '`' | '*' | '[' | ']' | '(' | ')' | '#' | '|' | '!' | '~' | '_' => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_no_markup() {
        assert_eq!(
            super::escaped("a|b<img>[x](y)\n# z"),
            r"a\|b&lt;img&gt;\[x\]\(y\)�\# z"
        );
    }
}
