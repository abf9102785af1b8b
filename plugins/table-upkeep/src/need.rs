//! Decides what a table needs, by its statistics alone.
//!
//! Asks nobody and does nothing: every threshold is a param, every answer says why.

use std::time::Duration;

use sereno_plugin::{DatabaseStatistics, IndexStatistics, Instant, TableStatistics, text};

use crate::Params;

/// Fewer dead rows than this fit into a page or two, whatever share of a small table they are.
const DEAD_ROWS_MIN: u64 = 50;

/// Whether something is to be done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It needs it.
    Do(String),
    /// It does not.
    Leave(String),
    /// Nobody knows: the database keeps no such statistics.
    Unknown,
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

fn ago(now: Instant, then: Instant) -> String {
    let hours = now.since(then).as_secs() / 3_600;
    match hours {
        0 => "less than an hour ago".to_owned(),
        1..48 => format!("{} ago", text::counted(hours, "hour", "hours")),
        _ => format!("{} days ago", hours / 24),
    }
}

/// VACUUM: for many dead rows, for the age of the oldest row, or because it has never been done.
pub(crate) fn vacuum(table: &TableStatistics, params: &Params) -> Verdict {
    if table.partitioned {
        return Verdict::Leave("its partitions hold the rows, and are vacuumed by themselves".to_owned());
    }
    let freeze_age_over = u64::try_from(params.freeze_age_over).unwrap_or(0);
    if let Some(age) = table.freeze_age.filter(|age| *age >= freeze_age_over) {
        return Verdict::Do(format!("its oldest row is {} transactions old", text::count(age)));
    }
    let Some(dead) = table.dead_rows_estimate else {
        return match table.last_vacuum {
            Some(_) => Verdict::Leave("how many of its rows are dead is not known".to_owned()),
            None => Verdict::Unknown,
        };
    };
    let rows = table.rows_estimate.unwrap_or(0).saturating_add(dead);
    let share = percent(dead, rows);
    let found = format!(
        "{} of {} rows dead ({share:.1} %)",
        text::count(dead),
        text::count(rows)
    );
    if dead > DEAD_ROWS_MIN && share > params.dead_over {
        Verdict::Do(found)
    } else if table.last_vacuum.is_none() {
        Verdict::Do("it has never been vacuumed".to_owned())
    } else {
        Verdict::Leave(found)
    }
}

/// VACUUM of a database that keeps no statistics of its tables (SQLite): by what its file holds for nothing.
pub(crate) fn vacuum_whole(database: Option<&DatabaseStatistics>, params: &Params) -> Verdict {
    let known = database.and_then(|database| database.free_bytes.zip(database.bytes));
    let Some((free, bytes)) = known else {
        return Verdict::Do("nothing tells how much of the database is free".to_owned());
    };
    let share = percent(free, bytes);
    let found = format!(
        "{} of {} free ({share:.1} %)",
        text::bytes(free),
        text::bytes(bytes)
    );
    if share > params.dead_over {
        Verdict::Do(found)
    } else {
        Verdict::Leave(found)
    }
}

/// ANALYZE: when it has not been done for long. Partitioned parents need it most: autovacuum never does it there.
pub(crate) fn analyze(table: &TableStatistics, params: &Params, now: Instant) -> Verdict {
    match table.last_analyze {
        None => Verdict::Do("it has never been analyzed".to_owned()),
        Some(last) if now.since(last) > params.analyze_after => {
            Verdict::Do(format!("analyzed {}", ago(now, last)))
        }
        Some(last) => Verdict::Leave(format!("analyzed {}", ago(now, last))),
    }
}

/// REINDEX: for bloat, or where nobody knows it for an index that the operator named.
pub(crate) fn reindex(index: &IndexStatistics, named: bool, params: &Params) -> Verdict {
    match index.bloat_percent {
        Some(bloat) if bloat > params.bloat_over => Verdict::Do(format!("{bloat:.0} % bloat")),
        Some(bloat) => Verdict::Leave(format!("{bloat:.0} % bloat")),
        None if named => Verdict::Do("named in `indexes`, bloat unknown".to_owned()),
        None => Verdict::Unknown,
    }
}

/// The index that a leftover (`NAME_ccnew`, `NAME_ccold1`) is of.
pub(crate) fn leftover_of(leftover: &str) -> &str {
    let stem = leftover.trim_end_matches(|c: char| c.is_ascii_digit());
    stem.strip_suffix("_ccnew")
        .or_else(|| stem.strip_suffix("_ccold"))
        .unwrap_or(leftover)
}

/// Shares of `total` by size, in milliseconds, so that they never add up to more. There is no clock here: this is
/// how the work on one table keeps to its time.
pub(crate) fn shares(total: Duration, sizes: &[Option<u64>]) -> Vec<u64> {
    /// Small or unknown sizes count as this, so that nothing starts without a moment to do it in.
    const SIZE_MIN: u64 = 1 << 20;
    let total = total.as_millis();
    let weights: Vec<u128> = sizes
        .iter()
        .map(|size| u128::from(size.unwrap_or(0).max(SIZE_MIN)))
        .collect();
    let sum: u128 = weights.iter().sum::<u128>().max(1);
    weights
        .iter()
        .map(|weight| u64::try_from(total * weight / sum).unwrap_or(u64::MAX))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use sereno_plugin::testing::{at, days};

    use super::*;
    use crate::Do;

    pub(crate) fn params() -> Params {
        Params {
            analyze_after: days(7),
            bloat_over: 30.0,
            database: "app".to_owned(),
            dead_over: 5.0,
            r#do: vec![Do::Vacuum, Do::Analyze, Do::Reindex],
            freeze_age_over: 150_000_000,
            indexes: Vec::new(),
            tables: None,
            time_per_table: Duration::from_secs(600),
        }
    }

    fn now() -> Instant {
        at("2026-11-22 02:00")
    }

    fn table(rows: u64, dead: u64) -> TableStatistics {
        TableStatistics {
            rows_estimate: Some(rows),
            dead_rows_estimate: Some(dead),
            freeze_age: Some(1_000),
            last_vacuum: Some(now() - days(1)),
            last_analyze: Some(now() - days(1)),
            ..TableStatistics::default()
        }
    }

    fn does(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Do(_))
    }

    #[test]
    fn a_table_is_vacuumed_just_above_both_thresholds() {
        for (rows, dead, expected) in [
            (950, 50, false),
            (949, 51, true),
            (10_000, 51, false),
            (9_500, 500, false),
            (9_499, 501, true),
            (0, 0, false),
        ] {
            let verdict = vacuum(&table(rows, dead), &params());
            assert_eq!(does(&verdict), expected, "{dead} dead of {rows}: {verdict:?}");
        }
        assert_eq!(
            vacuum(&table(9_000, 1_000), &params()),
            Verdict::Do("1,000 of 10,000 rows dead (10.0 %)".to_owned())
        );
    }

    #[test]
    fn old_rows_and_a_first_time_are_reasons_too_and_a_partitioned_parent_is_none() {
        let old = TableStatistics {
            freeze_age: Some(150_000_000),
            ..table(10, 0)
        };
        assert_eq!(
            vacuum(&old, &params()),
            Verdict::Do("its oldest row is 150,000,000 transactions old".to_owned())
        );
        let first = TableStatistics {
            last_vacuum: None,
            ..table(10, 0)
        };
        assert_eq!(
            vacuum(&first, &params()),
            Verdict::Do("it has never been vacuumed".to_owned())
        );
        let parent = TableStatistics {
            partitioned: true,
            ..old
        };
        assert!(matches!(vacuum(&parent, &params()), Verdict::Leave(_)));
        assert_eq!(
            vacuum(&TableStatistics::default(), &params()),
            Verdict::Unknown,
            "SQLite"
        );
    }

    #[test]
    fn a_database_without_such_statistics_is_judged_by_its_free_bytes() {
        let with = |free| DatabaseStatistics {
            bytes: Some(1_000),
            free_bytes: free,
            ..DatabaseStatistics::default()
        };
        assert!(does(&vacuum_whole(Some(&with(Some(51))), &params())));
        assert!(!does(&vacuum_whole(Some(&with(Some(50))), &params())));
        assert!(
            does(&vacuum_whole(Some(&with(None)), &params())),
            "unknown is not 0"
        );
        assert!(does(&vacuum_whole(None, &params())));
    }

    #[test]
    fn a_table_is_analyzed_when_it_has_not_been_for_longer_than_it_may() {
        let last = |last_analyze| TableStatistics {
            last_analyze,
            partitioned: true,
            ..table(10, 0)
        };
        assert_eq!(
            analyze(&last(None), &params(), now()),
            Verdict::Do("it has never been analyzed".to_owned())
        );
        assert!(!does(&analyze(&last(Some(now() - days(7))), &params(), now())));
        assert_eq!(
            analyze(&last(Some(now() - days(8))), &params(), now()),
            Verdict::Do("analyzed 8 days ago".to_owned())
        );
    }

    #[test]
    fn an_index_is_rebuilt_for_bloat_above_the_limit_or_when_named_and_unknown() {
        let index = |bloat_percent| IndexStatistics {
            bloat_percent,
            ..IndexStatistics::default()
        };
        assert!(
            !does(&reindex(&index(Some(30.0)), true, &params())),
            "known and low, though named"
        );
        assert!(does(&reindex(&index(Some(30.1)), false, &params())));
        assert!(does(&reindex(&index(None), true, &params())));
        assert_eq!(reindex(&index(None), false, &params()), Verdict::Unknown);
    }

    #[test]
    fn a_leftover_names_its_index() {
        assert_eq!(leftover_of("sessions_pkey_ccnew"), "sessions_pkey");
        assert_eq!(leftover_of("r_2_ccold1"), "r_2");
        assert_eq!(leftover_of("odd"), "odd");
    }

    #[test]
    fn shares_follow_the_sizes_and_never_exceed_the_whole() {
        let whole = Duration::from_secs(100);
        assert_eq!(
            shares(whole, &[Some(300 << 20), Some(100 << 20)]),
            [75_000, 25_000]
        );
        assert_eq!(shares(whole, &[None, Some(0)]), [50_000, 50_000]);
        assert_eq!(shares(whole, &[]), [0_u64; 0]);
        let three = shares(Duration::from_millis(100), &[None, None, None]);
        assert_eq!(three, [33, 33, 33]);
    }
}
