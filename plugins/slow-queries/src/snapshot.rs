//! The counters of one look at the statements, how they are kept, and what was counted between two looks.
//!
//! It asks nobody. Counters begin anew when somebody resets them or the server forgets a statement for want of room: what is
//! smaller than it was is taken as all new, never as less than nothing.

use std::collections::BTreeMap;

use sereno_plugin::params::Json;
use sereno_plugin::{Instant, Queries, QueryStatistics};

/// The form of what is kept; another one is not read.
const VERSION: i64 = 1;

/// Counters at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) queries: Queries,
}

/// What was counted from `since` on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Between {
    /// None: nobody knows since when.
    pub(crate) since: Option<Instant>,
    /// In no order.
    pub(crate) queries: Vec<QueryStatistics>,
    /// Statements that the server forgot meanwhile.
    pub(crate) forgotten: u64,
    /// The counters were set to 0 after the earlier look.
    pub(crate) was_reset: bool,
}

impl Snapshot {
    /// As one JSON object.
    pub(crate) fn write(&self) -> String {
        let micros = |at: Option<Instant>| at.map_or(Json::Null, |at| Json::from(at.micros()));
        let queries = self.queries.queries.iter().map(|query| {
            let numbers = [
                query.calls,
                query.rows,
                query.blocks_hit,
                query.blocks_read,
                query.blocks_temp,
            ];
            let mut fields = vec![Json::from(query.id.as_str()), Json::from(query.total_ms)];
            fields.extend(numbers.map(Json::from));
            fields.push(micros(query.since));
            Json::Array(fields)
        });
        let fields = [
            ("version", Json::from(VERSION)),
            ("at", Json::from(self.at.micros())),
            ("since", micros(self.queries.since)),
            (
                "deallocated",
                self.queries.deallocated.map_or(Json::Null, Json::from),
            ),
            ("queries", Json::Array(queries.collect())),
        ];
        Json::Object(
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect(),
        )
        .to_string()
    }

    /// None: it is not what this version writes.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let whole = text.parse::<Json>().ok()?;
        if whole.get("version")?.as_i64()? != VERSION {
            return None;
        }
        let instant = |value: &Json| value.as_i64().map(Instant::from_micros);
        let query = |fields: &Json| {
            let number = |place: usize| fields.get(place)?.as_u64();
            Some(QueryStatistics {
                id: fields.get(0)?.as_str()?.to_owned(),
                user: None,
                total_ms: fields.get(1)?.as_f64()?,
                calls: number(2)?,
                rows: number(3)?,
                blocks_hit: number(4)?,
                blocks_read: number(5)?,
                blocks_temp: number(6)?,
                since: instant(fields.get(7)?),
            })
        };
        let queries = whole.get("queries")?.as_array()?.iter().map(query);
        Some(Self {
            at: instant(whole.get("at")?)?,
            queries: Queries {
                queries: queries.collect::<Option<_>>()?,
                capped: false,
                since: instant(whole.get("since")?),
                deallocated: whole.get("deallocated")?.as_u64(),
            },
        })
    }

    /// What `now` counted after `self`.
    pub(crate) fn until(&self, now: &Queries) -> Between {
        if now.since > self.queries.since {
            return Between {
                was_reset: true,
                ..since_the_beginning(now)
            };
        }
        let earlier: BTreeMap<&str, &QueryStatistics> = self
            .queries
            .queries
            .iter()
            .map(|query| (query.id.as_str(), query))
            .collect();
        let queries = now.queries.iter().filter_map(|query| {
            let new = match earlier.get(query.id.as_str()) {
                // PostgreSQL 17 says when a statement began to be counted; before, a smaller number does.
                Some(before) if before.calls <= query.calls && before.since == query.since => {
                    less(query, before)
                }
                _ => query.clone(),
            };
            (new.calls > 0).then_some(new)
        });
        Between {
            since: Some(self.at),
            queries: queries.collect(),
            forgotten: now
                .deallocated
                .zip(self.queries.deallocated)
                .map_or(0, |(now, then)| now.saturating_sub(then)),
            was_reset: false,
        }
    }
}

/// All that the server has counted.
pub(crate) fn since_the_beginning(now: &Queries) -> Between {
    Between {
        since: now.since,
        queries: now
            .queries
            .iter()
            .filter(|query| query.calls > 0)
            .cloned()
            .collect(),
        forgotten: now.deallocated.unwrap_or(0),
        was_reset: false,
    }
}

fn less(query: &QueryStatistics, before: &QueryStatistics) -> QueryStatistics {
    QueryStatistics {
        calls: query.calls - before.calls,
        total_ms: (query.total_ms - before.total_ms).max(0.0),
        rows: query.rows.saturating_sub(before.rows),
        blocks_hit: query.blocks_hit.saturating_sub(before.blocks_hit),
        blocks_read: query.blocks_read.saturating_sub(before.blocks_read),
        blocks_temp: query.blocks_temp.saturating_sub(before.blocks_temp),
        ..query.clone()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sereno_plugin::testing::at;

    use super::*;

    pub(crate) fn query(id: &str, calls: u64, total_ms: f64) -> QueryStatistics {
        QueryStatistics {
            id: id.to_owned(),
            user: Some("app".to_owned()),
            calls,
            total_ms,
            rows: calls * 2,
            blocks_hit: calls * 10,
            blocks_read: calls,
            ..QueryStatistics::default()
        }
    }

    pub(crate) fn queries(since: &str, queries: Vec<QueryStatistics>) -> Queries {
        Queries {
            queries,
            capped: false,
            since: Some(at(since)),
            deallocated: Some(0),
        }
    }

    #[test]
    fn what_is_written_is_read_back_without_the_users() {
        let mut found = queries(
            "2026-11-01 00:00",
            vec![query("1/10/true", 7, 12.5), query("2/10/true", 1, 0.25)],
        );
        found.queries[1].since = Some(at("2026-11-02 00:00"));
        let snapshot = Snapshot {
            at: at("2026-11-24 02:30"),
            queries: found,
        };
        let mut expected = snapshot.clone();
        for query in &mut expected.queries.queries {
            query.user = None;
        }
        assert_eq!(Snapshot::read(&snapshot.write()), Some(expected));
        for foreign in [
            "",
            "[]",
            "{\"version\":2,\"at\":0,\"since\":0,\"deallocated\":0,\"queries\":[]}",
        ] {
            assert_eq!(Snapshot::read(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn only_what_came_between_the_looks_counts() {
        let before = Snapshot {
            at: at("2026-11-23 02:30"),
            queries: queries(
                "2026-11-01 00:00",
                vec![
                    query("grew", 100, 1_000.0),
                    query("same", 5, 50.0),
                    query("forgotten", 900, 9_000.0),
                ],
            ),
        };
        let mut now = queries(
            "2026-11-01 00:00",
            vec![
                query("grew", 110, 1_500.0),
                query("same", 5, 50.0),
                query("forgotten", 3, 30.0),
                query("new", 2, 8.0),
            ],
        );
        now.deallocated = Some(12);
        let between = before.until(&now);
        assert_eq!(
            (between.since, between.forgotten, between.was_reset),
            (Some(before.at), 12, false)
        );
        let told: Vec<_> = between
            .queries
            .iter()
            .map(|query| (query.id.as_str(), query.calls, query.total_ms, query.rows))
            .collect();
        assert_eq!(
            told,
            [
                ("grew", 10, 500.0, 20),
                ("forgotten", 3, 30.0, 6),
                ("new", 2, 8.0, 4)
            ]
        );
    }

    #[test]
    fn counters_that_began_anew_are_not_held_against_the_old_ones() {
        let before = Snapshot {
            at: at("2026-11-23 02:30"),
            queries: queries("2026-11-01 00:00", vec![query("a", 100, 1_000.0)]),
        };
        let reset = queries("2026-11-24 00:00", vec![query("a", 200, 300.0)]);
        let between = before.until(&reset);
        assert_eq!((between.since, between.was_reset), (reset.since, true));
        assert_eq!(between.queries, reset.queries);
        // One statement alone, as PostgreSQL 17 tells.
        let mut alone = queries("2026-11-01 00:00", vec![query("a", 200, 300.0)]);
        alone.queries[0].since = Some(at("2026-11-24 01:00"));
        assert_eq!(before.until(&alone).queries, alone.queries);
    }
}
