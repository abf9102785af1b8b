//! What is told of which indexes, and what is not.

use sereno_plugin::testing::{at, days};

use super::*;
use crate::Purges;

pub(crate) fn now() -> Instant {
    at("2026-11-24 02:30")
}

pub(crate) fn params() -> Params {
    Params {
        bytes_from: 1 << 20,
        database: "app".to_owned(),
        purges: Vec::new(),
        rows_from: 1_000,
        tables: None,
        unused_after: days(30),
        unused_scans: 50,
    }
}

pub(crate) fn index(name: &str, columns: &[&str]) -> IndexDetail {
    IndexDetail {
        index: name.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        ordering: columns.iter().map(|_| "int8_ops".to_owned()).collect(),
        method: "btree".to_owned(),
        valid: true,
        bytes: Some(5 << 20),
        scans: Some(1_000),
        counted_since: Some(at("2026-01-01 00:00")),
        ..IndexDetail::default()
    }
}

fn key(columns: &[&str], indexed: bool) -> ForeignKey {
    ForeignKey {
        name: "orders_fk".to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        refers_to: "public.owners".to_owned(),
        indexed,
    }
}

fn table(indexes: Vec<IndexDetail>) -> Table<'static> {
    Table {
        name: "orders",
        on: "database.app.tables.orders".to_owned(),
        dialect: Dialect::Concurrent,
        rows: Some(50_000),
        indexes,
        keys: Vec::new(),
        is_building: false,
    }
}

/// Each finding as `code: what to type`.
fn told(table: &Table<'_>, params: &Params) -> Vec<String> {
    let advice = advise(table, params, now() - params.unused_after);
    advice
        .findings
        .iter()
        .map(|finding| format!("{}: {}", finding.code, finding.next.as_deref().unwrap_or("")))
        .collect()
}

#[test]
fn what_nothing_used_for_long_goes_unless_something_stands_on_it() {
    let unused = |name: &str| IndexDetail {
        scans: Some(3),
        ..index(name, &[name])
    };
    let free = table(vec![
        index("used", &["used"]),
        unused("lazy"),
        IndexDetail {
            unique: true,
            ..unused("unique")
        },
        IndexDetail {
            constraint: true,
            ..unused("constraint")
        },
        IndexDetail {
            bytes: Some(8_192),
            ..unused("small")
        },
        IndexDetail {
            scans: None,
            ..unused("uncounted")
        },
    ]);
    assert_eq!(
        told(&free, &params()),
        ["index-unused: DROP INDEX CONCURRENTLY \"lazy\";"]
    );
    let advice = advise(&free, &params(), now() - days(30));
    assert_eq!(advice.unneeded, (5 << 20) + 8_192);
    assert_eq!(
        advice.findings[0].text,
        "lazy (5.0 MiB) was used 3 times since 2026-01-01 00:00 UTC on this server; look at every standby too, which counts \
         for itself"
    );
    let mut for_key = table(vec![unused("owner")]);
    for_key.keys.push(key(&["owner"], true));
    assert!(
        told(&for_key, &params()).is_empty(),
        "the only one for a foreign key"
    );
}

#[test]
fn young_counters_call_nothing_unused_and_the_last_use_decides_where_it_is_kept() {
    let young = table(vec![IndexDetail {
        scans: Some(0),
        counted_since: Some(at("2026-11-20 00:00")),
        ..index("lazy", &["a"])
    }]);
    let advice = advise(&young, &params(), now() - days(30));
    assert_eq!(
        (advice.findings.len(), advice.counted_since),
        (0, Some(at("2026-11-20 00:00")))
    );
    for (last, unused) in [("2026-10-01 00:00", true), ("2026-11-20 00:00", false)] {
        let table = table(vec![IndexDetail {
            scans: Some(if unused { 100_000 } else { 1 }),
            last_scan: Some(at(last)),
            ..index("lazy", &["a"])
        }]);
        assert_eq!(told(&table, &params()).len(), usize::from(unused), "{last}");
    }
}

#[test]
fn of_two_that_do_the_same_the_weaker_goes() {
    let ordered = |name: &str, ordering: &str| IndexDetail {
        ordering: vec![ordering.to_owned()],
        ..index(name, &["a"])
    };
    let unique = |name: &str, columns: &[&str]| IndexDetail {
        unique: true,
        ..index(name, columns)
    };
    let partial = IndexDetail {
        predicate: Some("(a > 5)".to_owned()),
        ..index("partial", &["a"])
    };
    let carrying = IndexDetail {
        included: vec!["z".to_owned()],
        ..index("carrying", &["a"])
    };
    let constraint = IndexDetail {
        constraint: true,
        ..unique("b_constraint", &["a"])
    };
    for (indexes, gone) in [
        (vec![index("a1", &["a"]), index("a2", &["a"])], vec!["a2"]),
        (vec![index("a", &["a"]), index("ab", &["a", "b"])], vec!["a"]),
        (vec![index("b", &["b"]), index("ab", &["a", "b"])], vec![]),
        (vec![unique("a", &["a"]), index("ab", &["a", "b"])], vec![]),
        (vec![unique("z", &["a"]), index("a", &["a"])], vec!["a"]),
        (vec![unique("a_free", &["a"]), constraint], vec!["a_free"]),
        (
            vec![ordered("up", "int8_ops"), ordered("down", "int8_ops desc")],
            vec![],
        ),
        (vec![partial, index("a", &["a"])], vec![]),
        (vec![carrying, index("ab", &["a", "b"])], vec![]),
    ] {
        let names: Vec<_> = indexes.iter().map(|index| index.index.clone()).collect();
        let gone: Vec<_> = gone
            .into_iter()
            .map(|name| format!("index-redundant: DROP INDEX CONCURRENTLY \"{name}\";"))
            .collect();
        assert_eq!(told(&table(indexes), &params()), gone, "{names:?}");
    }
}

#[test]
fn one_that_takes_over_anothers_work_is_not_unused() {
    let lazy = IndexDetail {
        scans: Some(0),
        ..index("ab", &["a", "b"])
    };
    let both = table(vec![index("a", &["a"]), lazy.clone()]);
    assert_eq!(
        told(&both, &params()),
        ["index-redundant: DROP INDEX CONCURRENTLY \"a\";"]
    );
    assert_eq!(
        told(&table(vec![lazy]), &params()),
        ["index-unused: DROP INDEX CONCURRENTLY \"ab\";"]
    );
}

#[test]
fn an_invalid_index_is_built_again_or_dropped_and_left_while_it_is_built() {
    let invalid = |name: &str| IndexDetail {
        valid: false,
        ..index(name, &["a"])
    };
    let mut found = table(vec![invalid("by_age"), invalid("by_age_ccnew1")]);
    assert_eq!(
        told(&found, &params()),
        [
            "index-invalid: REINDEX INDEX CONCURRENTLY \"by_age\";",
            "index-invalid: DROP INDEX CONCURRENTLY \"by_age_ccnew1\";"
        ]
    );
    found.is_building = true;
    assert!(told(&found, &params()).is_empty());
}

#[test]
fn foreign_keys_and_purges_need_an_index_on_tables_that_are_not_small() {
    let mut params = params();
    for column in ["created_at", "owner", "seen_at"] {
        params.purges.push(Purges {
            table: "orders".to_owned(),
            column: column.to_owned(),
        });
    }
    let partial = IndexDetail {
        predicate: Some("(seen_at IS NOT NULL)".to_owned()),
        ..index("seen", &["seen_at"])
    };
    let mut found = table(vec![index("age", &["created_at", "id"]), partial]);
    found.keys = vec![
        key(&["owner"], false),
        key(&["owner"], false),
        key(&["maker"], true),
    ];
    assert_eq!(
        told(&found, &params),
        [
            "index-missing-for-key: CREATE INDEX CONCURRENTLY ON \"orders\" (\"owner\");",
            "index-missing-for-purge: CREATE INDEX CONCURRENTLY ON \"orders\" (\"seen_at\");"
        ]
    );
    found.rows = Some(999);
    assert!(told(&found, &params).is_empty(), "a small one");
}
