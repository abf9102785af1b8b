//! Guards: the blast-radius rules that bound a run's effects, whatever its plugin does.
//!
//! Only arithmetic lives here. The capabilities hold every changing call against it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::TableName;

/// A share of a table at which a purge looks like a mistake.
pub const MAX_ROWS_PERCENT_DEFAULT: f64 = 20.0;
/// Below this many rows a percentage says nothing.
pub const MAX_ROWS_PERCENT_FROM_ROWS: u64 = 1_000;
/// More files than a day of any temp directory that is still in order.
pub const MAX_FILES_DEFAULT: u64 = 100_000;
/// More than a night's clean-up frees unless something is wrong.
pub const MAX_BYTES_DEFAULT: u64 = 10 << 30;
/// More connections than this at once look like an outage of our own making.
pub const MAX_CONNECTIONS_DEFAULT: u64 = 10;
/// A share of the server's connections at which the application would notice.
pub const MAX_CONNECTIONS_PERCENT_DEFAULT: f64 = 50.0;
/// Below this many connections a percentage says nothing.
pub const MAX_CONNECTIONS_PERCENT_FROM: u64 = 20;
/// No cutoff may come nearer to now than this.
pub const RETENTION_FLOOR_DEFAULT: Duration = Duration::from_hours(24);

/// One job's guards, defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guards {
    /// Rows over the whole key; none by default.
    pub max_rows: Option<u64>,
    /// Share of each table, in percent of exact counts, on tables of [`MAX_ROWS_PERCENT_FROM_ROWS`] and more.
    pub max_rows_percent: Option<f64>,
    /// Files over the whole key.
    pub max_files: Option<u64>,
    /// Share of the directory's files; none by default.
    pub max_files_percent: Option<f64>,
    /// Bytes of files over the whole key.
    pub max_bytes: Option<u64>,
    /// Connections ended over the whole key.
    #[serde(default = "max_connections_default")]
    pub max_connections: Option<u64>,
    /// Share of the server's connections, in percent, on servers with [`MAX_CONNECTIONS_PERCENT_FROM`] and more.
    #[serde(default = "max_connections_percent_default")]
    pub max_connections_percent: Option<f64>,
    /// The youngest that anything removed may be.
    pub retention_floor: Duration,
    /// Tables in which nothing may be deleted.
    pub protected: BTreeSet<TableName>,
    /// Hazards that the operator has looked at: `trigger:NAME`, `cascade:TABLE`, `row-security`.
    pub accept: BTreeSet<String>,
}

/// What was recorded before there was such a guard has its default.
#[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn max_connections_default() -> Option<u64> {
    Some(MAX_CONNECTIONS_DEFAULT)
}

#[expect(clippy::unnecessary_wraps, reason = "serde asks for the field's type")]
fn max_connections_percent_default() -> Option<f64> {
    Some(MAX_CONNECTIONS_PERCENT_DEFAULT)
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            max_rows: None,
            max_rows_percent: Some(MAX_ROWS_PERCENT_DEFAULT),
            max_files: Some(MAX_FILES_DEFAULT),
            max_files_percent: None,
            max_bytes: Some(MAX_BYTES_DEFAULT),
            max_connections: max_connections_default(),
            max_connections_percent: max_connections_percent_default(),
            retention_floor: RETENTION_FLOOR_DEFAULT,
            protected: BTreeSet::new(),
            accept: BTreeSet::new(),
        }
    }
}

/// A guard as it stands on an effect: its limit, what was found, and whether that is too much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardState {
    /// Its key in the configuration, such as `max_rows_percent`.
    pub name: String,
    /// What it allows.
    pub limit: f64,
    /// What the run would do.
    pub found: f64,
    /// True when `found` is beyond `limit`.
    pub exceeded: bool,
}

impl GuardState {
    /// Holds `found` against `limit`.
    pub fn new(name: &str, limit: f64, found: f64) -> Self {
        Self {
            name: name.to_owned(),
            limit,
            found,
            exceeded: found > limit,
        }
    }

    /// How much of its limit is used up: 1 is all of it.
    pub(crate) fn strain(&self) -> f64 {
        if self.limit > 0.0 {
            self.found / self.limit
        } else {
            f64::INFINITY
        }
    }
}

/// Guards that one `apply --allow NAME=VALUE` lifts, each up to its value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Allowances(pub std::collections::BTreeMap<String, f64>);

impl Guards {
    /// The guards that `--allow` can lift.
    pub const LIFTABLE: [&'static str; 7] = [
        "max_rows",
        "max_rows_percent",
        "max_files",
        "max_files_percent",
        "max_bytes",
        "max_connections",
        "max_connections_percent",
    ];

    /// These guards with each allowance in place; an allowance never narrows.
    ///
    /// # Errors
    /// The name of an allowance that no guard has.
    pub fn lifted(&self, allow: &Allowances) -> Result<Self, String> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts given by a person"
        )]
        fn count(guard: &mut Option<u64>, value: f64) {
            *guard = guard.map(|limit| limit.max(value as u64));
        }
        let percent = |guard: &mut Option<f64>, value: f64| *guard = guard.map(|limit| limit.max(value));
        let mut lifted = self.clone();
        for (name, value) in &allow.0 {
            match name.as_str() {
                "max_rows" => count(&mut lifted.max_rows, *value),
                "max_files" => count(&mut lifted.max_files, *value),
                "max_bytes" => count(&mut lifted.max_bytes, *value),
                "max_connections" => count(&mut lifted.max_connections, *value),
                "max_connections_percent" => percent(&mut lifted.max_connections_percent, *value),
                "max_rows_percent" => percent(&mut lifted.max_rows_percent, *value),
                "max_files_percent" => percent(&mut lifted.max_files_percent, *value),
                other => return Err(other.to_owned()),
            }
        }
        Ok(lifted)
    }

    /// Holds a purge of `matching` of `total` rows, after `before` rows under the same key, against the row guards.
    pub fn judge_rows(
        &self,
        matching: u64,
        total: u64,
        before: u64,
        before_all_tables: u64,
    ) -> Vec<GuardState> {
        let of_key = self
            .max_rows
            .map(|limit| GuardState::new("max_rows", limit as f64, (before_all_tables + matching) as f64));
        // The total is the table's as the key's first attempt found it.
        let whole = total + before;
        let share = self
            .max_rows_percent
            .filter(|_| whole >= MAX_ROWS_PERCENT_FROM_ROWS)
            .map(|limit| GuardState::new("max_rows_percent", limit, percent(before + matching, whole)));
        of_key.into_iter().chain(share).collect()
    }

    /// How many more rows may go from a table that had `whole`, when `before` of them and `before_all_tables` went under
    /// the same key; none: no guard bounds them.
    pub fn rows_left(&self, whole: u64, before: u64, before_all_tables: u64) -> Option<u64> {
        let of_key = self.max_rows.map(|limit| limit.saturating_sub(before_all_tables));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a row count"
        )]
        let share = self.max_rows_percent.map(|percent| {
            // A table too small for a share may yet grow while it is purged.
            let limit = if whole < MAX_ROWS_PERCENT_FROM_ROWS {
                MAX_ROWS_PERCENT_FROM_ROWS
            } else {
                // A hair more, so that rounding does not take back what was judged to be within the guard.
                (whole as f64 * percent / 100.0 + 1e-6) as u64
            };
            limit.saturating_sub(before)
        });
        of_key.into_iter().chain(share).min()
    }

    /// Holds one more connection, of `total` that the server had, after `before` under the same key, against the guards.
    pub fn judge_connections(&self, total: Option<u64>, before: u64) -> Vec<GuardState> {
        let count = self
            .max_connections
            .map(|limit| GuardState::new("max_connections", limit as f64, (before + 1) as f64));
        let share = self
            .max_connections_percent
            .zip(total)
            .filter(|(_, total)| *total >= MAX_CONNECTIONS_PERCENT_FROM)
            .map(|(limit, total)| {
                GuardState::new("max_connections_percent", limit, percent(before + 1, total))
            });
        count.into_iter().chain(share).collect()
    }

    /// The same for files: `matching` of `total`, after `before` under the same key.
    pub fn judge_files(
        &self,
        matching: u64,
        total: Option<u64>,
        bytes: u64,
        before: u64,
        bytes_before: u64,
    ) -> Vec<GuardState> {
        let files = self
            .max_files
            .map(|limit| GuardState::new("max_files", limit as f64, (before + matching) as f64));
        let share = self.max_files_percent.zip(total).map(|(limit, total)| {
            GuardState::new(
                "max_files_percent",
                limit,
                percent(before + matching, total + before),
            )
        });
        let size = self
            .max_bytes
            .map(|limit| GuardState::new("max_bytes", limit as f64, (bytes_before + bytes) as f64));
        files.into_iter().chain(share).chain(size).collect()
    }
}

/// `part` of `whole` in percent; 0 of nothing.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_judged_only_on_tables_that_are_large_enough() {
        let guards = Guards::default();
        assert_eq!(guards.judge_rows(999, 999, 0, 0), []);
        let share = |found| GuardState::new("max_rows_percent", 20.0, found);
        assert_eq!(guards.judge_rows(200, 1_000, 0, 0), [share(20.0)]);
        assert_eq!(guards.judge_rows(201, 1_000, 0, 0), [share(20.1)]);
        assert_eq!(
            [share(20.0).exceeded, share(20.1).exceeded],
            [false, true],
            "20 % of 1,000 is allowed"
        );
    }

    #[test]
    fn a_key_cannot_slip_past_a_guard_in_parts() {
        let guards = Guards::default();
        // 1,000 rows at first, 150 gone already: 60 more are 21 %.
        let states = guards.judge_rows(60, 850, 150, 150);
        assert!(states[0].exceeded, "{states:?}");
    }

    #[test]
    fn an_allowance_lifts_one_guard_and_never_narrows() {
        let guards = Guards::default();
        let allow = Allowances(
            [
                ("max_rows_percent".to_owned(), 92.0),
                ("max_files".to_owned(), 1.0),
            ]
            .into(),
        );
        let lifted = guards.lifted(&allow).expect("known guards");
        assert_eq!(lifted.max_rows_percent, Some(92.0));
        assert_eq!(lifted.max_files, guards.max_files);
        assert_eq!(lifted.max_bytes, guards.max_bytes);
        assert_eq!(
            guards.lifted(&Allowances([("retention_floor".to_owned(), 0.0)].into())),
            Err("retention_floor".into())
        );
    }
}
