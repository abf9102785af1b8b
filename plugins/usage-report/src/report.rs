//! What a report says: the one source of the JSON object and of every page, so that they tell the same.
//!
//! It asks nobody and draws nothing. None is unknown, never 0.

use serde::{Deserialize, Serialize};
use sereno_plugin::Instant;

/// The shape of the JSON object.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// One report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct UsageReport {
    pub(crate) schema_version: u32,
    pub(crate) job: String,
    pub(crate) run: String,
    pub(crate) at: Moment,
    /// The report that changes are reckoned from.
    pub(crate) since: Option<Moment>,
    pub(crate) capacity: Vec<Capacity>,
    pub(crate) databases: Vec<DatabaseUse>,
    pub(crate) disks: Vec<DiskUse>,
    /// What could not be found out, and why.
    pub(crate) unknown: Vec<Unknown>,
    /// What the limits are reckoned from; carried on from report to report.
    pub(crate) series: Vec<Series>,
}

/// A point in time in seconds, which is what a JSON object can be compared by; shown as people read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub(crate) struct Moment(pub(crate) i64);

impl From<i64> for Moment {
    fn from(seconds: i64) -> Self {
        Self(seconds)
    }
}

impl From<Moment> for i64 {
    fn from(moment: Moment) -> Self {
        moment.0
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        Self(at.micros().div_euclid(1_000_000))
    }
}

impl Moment {
    /// `2026-11-24 02:30 UTC`.
    pub(crate) fn shown(self) -> String {
        Instant::from_micros(self.0.saturating_mul(1_000_000)).to_string()
    }

    /// `2026-11-24`.
    pub(crate) fn day(self) -> String {
        self.shown().chars().take(10).collect()
    }

    /// `20261124T023000Z`: sorts as time goes.
    pub(crate) fn stamp(self) -> String {
        let digits: String = self.shown().chars().filter(char::is_ascii_digit).collect();
        let (date, time) = digits.split_at(digits.len().min(8));
        format!("{date}T{time:0<6}Z")
    }
}

/// One thing that could not be found out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Unknown {
    pub(crate) target: String,
    pub(crate) why: String,
}

/// One database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DatabaseUse {
    pub(crate) name: String,
    pub(crate) bytes: Option<u64>,
    pub(crate) change: Option<i64>,
    /// Pages inside the file that hold nothing (SQLite).
    pub(crate) free_bytes: Option<u64>,
    /// What is neither in a table nor free: the catalogue, maps, what others keep. None where a table's size is unknown.
    pub(crate) other_bytes: Option<u64>,
    pub(crate) connections: Option<u64>,
    pub(crate) connections_limit: Option<u64>,
    /// Tables, a partitioned one with all its partitions as one.
    pub(crate) tables_total: u64,
    /// Smaller ones that are not listed here.
    pub(crate) tables_left_out: u64,
    /// The largest first, those of unknown size last.
    pub(crate) tables: Vec<TableUse>,
    /// Those that are gone since the last report.
    pub(crate) gone: Vec<Gone>,
    pub(crate) schemas: Vec<SchemaUse>,
    /// The largest of the listed tables that may be read.
    pub(crate) indexes: Vec<IndexUse>,
    /// Of how many tables the indexes are.
    pub(crate) indexes_of: u64,
    pub(crate) tenants: Vec<Tenants>,
}

/// One table, with its partitions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TableUse {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) partitions: u64,
    /// Estimated by the database's own statistics.
    pub(crate) rows: Option<u64>,
    /// All of it.
    pub(crate) bytes: Option<u64>,
    pub(crate) row_bytes: Option<u64>,
    pub(crate) index_bytes: Option<u64>,
    pub(crate) toast_bytes: Option<u64>,
    pub(crate) change: Option<i64>,
    /// It was not in the last report.
    pub(crate) new: bool,
}

impl TableUse {
    /// `audit.logs`.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }
}

/// A table that is no more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Gone {
    pub(crate) table: String,
    pub(crate) bytes: Option<u64>,
}

/// The tables of one schema.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SchemaUse {
    pub(crate) schema: String,
    pub(crate) tables: u64,
    /// Of those whose size is known.
    pub(crate) bytes: u64,
    pub(crate) unknown_tables: u64,
    pub(crate) change: Option<i64>,
}

/// One index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct IndexUse {
    pub(crate) table: String,
    pub(crate) index: String,
    pub(crate) bytes: Option<u64>,
    pub(crate) change: Option<i64>,
}

/// The tenants of a database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Tenants {
    /// `schemas tenant_*`, `query tenant_sizes`.
    pub(crate) by: String,
    /// The largest first.
    pub(crate) list: Vec<TenantUse>,
    /// Tenants there are.
    pub(crate) total: u64,
    /// The query has more rows than its `max_rows`.
    pub(crate) capped: bool,
}

/// One tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TenantUse {
    pub(crate) name: String,
    pub(crate) bytes: Option<u64>,
    pub(crate) rows: Option<u64>,
    pub(crate) change: Option<i64>,
    pub(crate) rows_change: Option<i64>,
}

/// One file system.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DiskUse {
    /// Of the directory on it.
    pub(crate) name: String,
    pub(crate) bytes_total: Option<u64>,
    pub(crate) bytes_used: Option<u64>,
    pub(crate) used_percent: Option<f64>,
    pub(crate) inodes_used_percent: Option<f64>,
    pub(crate) change: Option<i64>,
}

/// Numbers over time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Series {
    pub(crate) target: String,
    /// `size`, `connections`, `used`.
    pub(crate) what: String,
    pub(crate) points: Vec<(Moment, f64)>,
}

/// One limit and when it is reached.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Capacity {
    pub(crate) target: String,
    pub(crate) what: String,
    /// `bytes` or `connections`.
    pub(crate) unit: String,
    pub(crate) now: f64,
    pub(crate) limit: f64,
    /// How the limit was given: `85 % of the file system`.
    pub(crate) limit_is: String,
    pub(crate) state: CapacityState,
    /// It is reached within the time that the job warns of.
    pub(crate) near: bool,
    /// Until the limit, at the pace that reaches it sooner; as far as it is looked ahead where nothing grows.
    pub(crate) days_left: Option<f64>,
    pub(crate) reached_on: Option<Moment>,
    /// The pace over the whole window.
    pub(crate) per_day: Option<f64>,
    /// The pace over the last week.
    pub(crate) per_day_last_week: Option<f64>,
    pub(crate) samples: u64,
    pub(crate) window_from: Option<Moment>,
}

/// What is known of when a limit is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CapacityState {
    /// Too few reports, or over too short a time.
    #[default]
    InsufficientData,
    Growing,
    NotGrowing,
    /// The limit is passed already.
    Passed,
}

/// The difference of two sizes.
pub(crate) fn difference(now: Option<u64>, before: Option<u64>) -> Option<i64> {
    let (now, before) = now.zip(before)?;
    let signed = i128::from(now) - i128::from(before);
    i64::try_from(signed).ok()
}

#[cfg(test)]
mod tests {
    use sereno_plugin::testing::at;

    use super::*;

    #[test]
    fn a_stamp_sorts_as_time_goes_and_always_has_seconds() {
        let minute = Moment::from(at("2026-11-24 02:30"));
        assert_eq!(minute.stamp(), "20261124T023000Z");
        assert_eq!(Moment(minute.0 + 7).stamp(), "20261124T023007Z");
        assert_eq!(minute.day(), "2026-11-24");
    }

    #[test]
    fn differences_are_signed_and_unknown_where_a_side_is() {
        assert_eq!(difference(Some(5), Some(7)), Some(-2));
        assert_eq!(difference(Some(5), None), None);
        assert_eq!(difference(Some(u64::MAX), Some(0)), None);
    }

    #[test]
    fn an_older_report_with_fewer_fields_is_read() {
        let read: UsageReport =
            serde_json::from_str(r#"{"schema_version": 1, "at": 5, "later": true}"#).expect("a report");
        assert_eq!(read.at, Moment(5));
        assert!(read.databases.is_empty());
    }
}
