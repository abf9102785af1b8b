//! Holds the usage report that the weekly round wrote against what the demo itself counts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value as Json;

/// The folder of its storage.
pub(super) const REPORTS: &str = "reports";

/// A database says about how many rows a table has; after ANALYZE it is this close.
const TOLERANCE: f64 = 0.02;

/// The newest report's page, and what in the report is not as it must be.
///
/// `rows`: how many each table has now, by name. `bytes`: how large the database is, where it is one file.
pub(super) fn check(
    folder: &Path,
    rows: &[(&str, usize)],
    bytes: Option<u64>,
) -> anyhow::Result<(PathBuf, Vec<String>)> {
    let path = newest(&folder.join(REPORTS), "json")?.context("the weekly round wrote no usage report")?;
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()));
    let report: Json =
        serde_json::from_str(&read(&path)?).with_context(|| format!("{} is no JSON", path.display()))?;
    let page = path.with_extension("html");
    let mut mistakes = Vec::new();
    if !read(&page)?.contains("<svg") {
        mistakes.push("the usage report's page has no picture".to_owned());
    }
    let database = &report["databases"][0];
    if bytes.is_some_and(|bytes| database["bytes"] != bytes) {
        mistakes.push(format!(
            "the usage report says that the database has {} bytes",
            database["bytes"]
        ));
    }
    let tables = database["tables"].as_array().map_or(&[][..], Vec::as_slice);
    for (name, counted) in rows {
        let told = tables.iter().find(|table| table["table"] == *name);
        let Some(told) = told else {
            mistakes.push(format!("the usage report has no table {name}"));
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let counted = *counted as f64;
        // Without statistics it is unknown, which is no lie.
        let is_off = |told: f64| (told - counted).abs() > counted * TOLERANCE;
        if told["rows"].as_f64().is_some_and(is_off) {
            mistakes.push(format!(
                "the usage report says {} rows of {name}; there are {counted}",
                told["rows"]
            ));
        }
    }
    Ok((page, mistakes))
}

/// The last file with this ending below `folder`, by name: names of reports begin with their time.
fn newest(folder: &Path, ending: &str) -> anyhow::Result<Option<PathBuf>> {
    let mut newest = None;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                newest = newest.max(Some(path));
            }
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_lies_is_found_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let reports = folder.path().join("reports/usage/job");
        fs::create_dir_all(&reports).expect("folders");
        let told = r#"{ "databases": [{ "bytes": 8192, "tables": [
            { "table": "a", "rows": 101 }, { "table": "b", "rows": 110 }, { "table": "c", "rows": null }] }] }"#;
        fs::write(reports.join("20260101T000000Z-x.json"), "{}").expect("an older one");
        fs::write(reports.join("20261124T000000Z-a.json"), told).expect("a report");
        fs::write(reports.join("20261124T000000Z-a.html"), "<svg>").expect("a page");
        let rows = [("a", 100), ("b", 100), ("c", 100), ("d", 100)];
        let (page, mistakes) = check(folder.path(), &rows, Some(4096)).expect("it is there");
        assert!(page.ends_with("20261124T000000Z-a.html"));
        assert_eq!(
            mistakes,
            [
                "the usage report says that the database has 8192 bytes",
                "the usage report says 110 rows of b; there are 100",
                "the usage report has no table d"
            ]
        );
        assert_eq!(
            check(folder.path(), &[("a", 100)], None).expect("the same").1,
            [""; 0]
        );
    }
}
