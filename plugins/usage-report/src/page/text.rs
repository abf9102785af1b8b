//! The report as plain text: aligned columns, for a terminal and for mail.

use std::fmt::Write as _;

use sereno_plugin::text;

use super::words::{self, plain};
use crate::report::{DatabaseUse, UsageReport};

/// Names longer than this are cut, so that a line stays a line.
const NAME_MAX: usize = 48;

/// The whole page.
pub(crate) fn page(report: &UsageReport, top: usize) -> String {
    let mut page = format!(
        "Usage report of {}, {}\n{}\n",
        plain(&report.job),
        report.at.shown(),
        words::period(report)
    );
    if !report.capacity.is_empty() {
        page.push_str("\nLIMITS\n");
        for capacity in &report.capacity {
            let _ = writeln!(
                page,
                "  {}\n    {}",
                words::capacity(capacity),
                words::pace(capacity)
            );
        }
    }
    if !report.disks.is_empty() {
        page.push_str("\nFILE SYSTEMS\n");
        let rows = report.disks.iter().map(|disk| {
            [
                plain(&disk.name),
                words::bytes(disk.bytes_used),
                words::bytes(disk.bytes_total),
                words::percent(disk.used_percent),
                words::change(disk.change),
            ]
        });
        table(&mut page, ["directory", "used", "of", "", "change"], rows);
    }
    for database in &report.databases {
        of_database(&mut page, database, top);
    }
    if !report.unknown.is_empty() {
        page.push_str("\nUNKNOWN\n");
        for unknown in &report.unknown {
            let _ = writeln!(page, "  {}: {}", plain(&unknown.target), plain(&unknown.why));
        }
    }
    page
}

fn of_database(page: &mut String, database: &DatabaseUse, top: usize) {
    let _ = write!(
        page,
        "\nDATABASE {}: {}",
        plain(&database.name),
        words::bytes(database.bytes)
    );
    if let Some(change) = database.change {
        let _ = write!(page, " ({})", words::change(Some(change)));
    }
    page.push('\n');
    if let Some(free) = database.free_bytes {
        let _ = writeln!(page, "  free inside the file: {}", text::bytes(free));
    }
    let _ = writeln!(
        page,
        "  neither in tables nor free: {}",
        words::bytes(database.other_bytes)
    );
    if let Some(connections) = database.connections {
        let of = database
            .connections_limit
            .map(|limit| format!(" of {}", text::count(limit)));
        let _ = writeln!(
            page,
            "  connections: {}{}",
            text::count(connections),
            of.unwrap_or_default()
        );
    }
    let shown = database.tables.len().min(top);
    let _ = writeln!(
        page,
        "\n  {} of {}",
        text::count(shown as u64),
        text::counted(database.tables_total, "table", "tables")
    );
    let rows = database.tables.iter().take(top).map(|table| {
        [
            plain(&words::table_name(table)),
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
            "  gone: {} ({})",
            plain(&gone.table),
            words::bytes(gone.bytes)
        );
    }
    if database.schemas.len() > 1 {
        page.push_str("\n  schemas\n");
        let rows = database.schemas.iter().take(top).map(|schema| {
            [
                plain(&schema.schema),
                text::bytes(schema.bytes),
                text::counted(schema.tables, "table", "tables"),
                words::change(schema.change),
            ]
        });
        table(page, ["schema", "total", "", "change"], rows);
    }
    if !database.indexes.is_empty() {
        let _ = writeln!(
            page,
            "\n  indexes of {}",
            text::counted(database.indexes_of, "table", "tables")
        );
        let rows = database.indexes.iter().take(top).map(|index| {
            [
                plain(&index.index),
                plain(&index.table),
                words::bytes(index.bytes),
                words::change(index.change),
            ]
        });
        table(page, ["index", "table", "total", "change"], rows);
    }
    for tenants in &database.tenants {
        let _ = writeln!(
            page,
            "\n  {} by {}{}",
            text::counted(tenants.total, "tenant", "tenants"),
            plain(&tenants.by),
            if tenants.capped {
                ", and more than the query lets through"
            } else {
                ""
            }
        );
        let rows = tenants.list.iter().take(top).map(|tenant| {
            [
                plain(&tenant.name),
                tenant.bytes.map(text::bytes).unwrap_or_default(),
                words::change(tenant.change),
                tenant.rows.map(text::count).unwrap_or_default(),
                words::count_change(tenant.rows_change),
            ]
        });
        table(page, ["tenant", "total", "change", "rows", "change"], rows);
    }
}

/// Columns as wide as what is in them: names to the left, numbers to the right.
fn table<const N: usize>(page: &mut String, head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let mut lines: Vec<[String; N]> = vec![head.map(str::to_owned)];
    lines.extend(rows.map(|row| row.map(|cell| cut(&cell))));
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for line in &lines {
        let mut text = String::from("  ");
        for (place, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = if place == 0 {
                write!(text, "{cell:<width$}")
            } else {
                write!(text, "  {cell:>width$}")
            };
        }
        page.push_str(text.trim_end());
        page.push('\n');
    }
}

fn cut(cell: &str) -> String {
    match cell.char_indices().nth(NAME_MAX) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}
