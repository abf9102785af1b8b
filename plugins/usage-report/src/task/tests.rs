//! Whole reports against a host in memory: what is in the objects, what is compared, what is kept.

use serde_json::Value as Json;
use sereno_plugin::testing::{FakeHost, at, context, days};
use sereno_plugin::{DatabaseStatistics, DiskUsage, IndexDetail, Instant, Rows, TableSize, Value};

use super::*;
use crate::{Limits, Tenants};

const FIRST: &str = "2026-11-01 02:00";

fn params() -> Params {
    Params {
        databases: vec!["app".to_owned()],
        directories: vec!["data".to_owned()],
        storage: "reports".to_owned(),
        prefix: "usage".to_owned(),
        formats: vec![Formats::Html, Formats::Markdown, Formats::Text],
        top: 20,
        tenants: vec![
            Tenants {
                database: "app".to_owned(),
                schemas: Some("tenant_*".to_owned()),
                query: None,
            },
            Tenants {
                database: "app".to_owned(),
                schemas: None,
                query: Some("by_tenant".to_owned()),
            },
        ],
        limits: vec![Limits {
            database: "app".to_owned(),
            size: 10_000_000,
        }],
        disk_limit: 85.0,
        connections_limit: 80.0,
        warn_within: days(30),
        keep: 3,
        keep_for: days(2),
    }
}

fn size(schema: &str, table: &str, bytes: u64) -> TableSize {
    TableSize {
        schema: schema.to_owned(),
        table: table.to_owned(),
        bytes: Some(bytes),
        index_bytes: Some(bytes / 2),
        toast_bytes: Some(bytes / 4),
        rows_estimate: Some(bytes / 100),
        ..TableSize::default()
    }
}

/// A world in which everything has grown by `grown` bytes.
fn grow(host: &mut FakeHost, grown: u64) {
    let database = host.database("app");
    database.statistics = DatabaseStatistics {
        bytes: Some(4_000_000 + grown),
        connections: Some(7),
        connections_limit: Some(100),
        ..DatabaseStatistics::default()
    };
    database.sizes = vec![
        size("public", "orders", 400_000 + grown),
        size("tenant_1", "notes", 100_000),
        size("tenant_2", "notes", 200_000),
    ];
    database.query(
        "by_tenant",
        Rows {
            columns: vec!["tenant".to_owned(), "rows".to_owned()],
            rows: vec![
                vec![Value::Text("<b>acme</b>".to_owned()), Value::Integer(500)],
                vec![Value::Integer(7), Value::Other("900.0".to_owned())],
            ],
            capped: false,
        },
    );
    host.directory("data").usage = DiskUsage {
        bytes_total: Some(1_000_000_000),
        bytes_free: Some(500_000_000 - grown),
        ..DiskUsage::default()
    };
}

fn host() -> FakeHost {
    let mut host = FakeHost::new();
    grow(&mut host, 0);
    let app = host.database("app");
    app.grant("orders", &["read"]);
    app.table("orders").index_details = vec![IndexDetail {
        index: "orders_pkey".to_owned(),
        bytes: Some(150_000),
        ..IndexDetail::default()
    }];
    host.storage("reports");
    host
}

/// One report at `when`, and its JSON object.
fn report(host: &mut FakeHost, params: &Params, when: Instant) -> (Report, Json) {
    host.storage("reports").now = Some(when);
    let context = Context {
        run_id: format!("run{}", host.storage("reports").keys().len()),
        ..context(when)
    };
    let Ok(Outcome::Done(found)) = run(&context, params, host) else {
        panic!("it makes a report")
    };
    let stem = format!("usage/test/{}-{}", Moment::from(when).stamp(), context.run_id);
    let json = host.storage("reports").content(&format!("{stem}.json"));
    let json = serde_json::from_slice(json.expect("the object")).expect("JSON");
    (found, json)
}

fn codes(report: &Report) -> Vec<(&str, &str)> {
    report
        .findings
        .iter()
        .map(|finding| (finding.code.as_str(), finding.target.as_str()))
        .collect()
}

#[test]
fn the_first_report_has_sizes_and_no_changes() {
    let mut host = host();
    let (found, json) = report(&mut host, &params(), at(FIRST));
    assert_eq!(codes(&found), [("report-written", "storage.reports")]);
    assert_eq!(
        host.storage("reports").keys(),
        ["html", "json", "md", "txt"].map(|end| format!("usage/test/20261101T020000Z-run0.{end}"))
    );
    let app = &json["databases"][0];
    assert_eq!(app["bytes"], 4_000_000);
    assert_eq!(app["change"], Json::Null);
    assert_eq!(app["other_bytes"], 4_000_000 - 700_000 - 175_000 - 350_000);
    let tables = app["tables"].as_array().expect("tables");
    let names: Vec<_> = tables
        .iter()
        .map(|table| (&table["schema"], &table["table"], &table["bytes"], &table["new"]))
        .map(|(schema, table, bytes, new)| format!("{schema}.{table} {bytes} {new}").replace('"', ""))
        .collect();
    assert_eq!(
        names,
        [
            "public.orders 700000 false",
            "tenant_2.notes 350000 false",
            "tenant_1.notes 175000 false"
        ]
    );
    assert_eq!(app["indexes"][0]["index"], "orders_pkey");
    assert_eq!(app["tenants"][0]["list"][0]["name"], "tenant_2");
    assert_eq!(app["tenants"][1]["list"][0]["name"], "7");
    assert_eq!(app["tenants"][1]["list"][0]["rows"], 900);
    assert_eq!(json["since"], Json::Null);
    assert_eq!(
        host.measured("capacity.size_time_left", "database.app"),
        None,
        "one report says nothing of what is to come"
    );
}

#[test]
fn later_reports_tell_what_changed_and_when_the_limit_is_reached() {
    let mut host = host();
    let (mut found, mut json) = report(&mut host, &params(), at(FIRST));
    for day in 1..=10 {
        grow(&mut host, 500_000 * day);
        host.measurements.clear();
        (found, json) = report(&mut host, &params(), at(FIRST) + days(day));
    }
    // 9,000,000 of 10,000,000, and 500,000 more a day.
    let left = host
        .measured("capacity.size_time_left", "database.app")
        .expect("known");
    assert!(
        left == 2.0 * DAY || left == DAY,
        "{left}: rounded down to whole days"
    );
    let app = &json["databases"][0];
    assert_eq!(app["change"], 500_000);
    assert_eq!(app["tables"][0]["change"], 875_000);
    let disk_limit = json["capacity"]
        .as_array()
        .expect("limits")
        .iter()
        .find(|limit| limit["target"] == "directory.data")
        .expect("the disk's");
    assert_eq!(disk_limit["state"], "growing");
    assert_eq!(
        host.measured("capacity.connections_time_left", "database.app"),
        Some(3_650.0 * DAY),
        "what does not grow is as far away as is looked"
    );
    assert!(
        codes(&found).contains(&("limit-near", "database.app")),
        "{found:?}"
    );
    assert!(
        !codes(&found).contains(&("limit-near", "directory.data")),
        "{found:?}"
    );
    let page = page_text(&mut host, ".html");
    assert!(page.contains("2 days, on 2026-11-13"), "the page says it too");
    assert_eq!(
        page.matches("class=\"ahead\"").count(),
        2,
        "a picture of each series"
    );
}

fn is_json(key: &str) -> bool {
    key.rsplit_once('.').is_some_and(|(_, end)| end == "json")
}

/// The newest page of a kind.
fn page_text(host: &mut FakeHost, end: &str) -> String {
    let storage = host.storage("reports");
    let key = storage
        .keys()
        .into_iter()
        .rfind(|key| key.ends_with(end))
        .expect("a page")
        .to_owned();
    String::from_utf8(storage.content(&key).expect("there").to_vec()).expect("text")
}

#[test]
fn the_pages_escape_what_names_hold_and_fetch_nothing() {
    let mut host = host();
    let evil = "\"><script>alert('x')</script><img src=http://e.example/>";
    host.database("app").sizes.push(size("public", evil, 50));
    report(&mut host, &params(), at(FIRST));
    let html = page_text(&mut host, ".html");
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<b>"));
    assert!(html.contains("&lt;b&gt;acme&lt;/b&gt;") && html.contains("&lt;script&gt;"));
    // What the name says is text; besides it nothing names anything elsewhere.
    let page = html.replace("&lt;img src=http://e.example/", "");
    for fetched in [
        "src=", "href=", "url(", "@import", "<link", "<iframe", "http:", "https:",
    ] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    assert!(html.contains("default-src 'none'"));
    let markdown = page_text(&mut host, ".md");
    assert!(!markdown.contains("<script") && !markdown.contains("<b>"));
}

#[test]
fn every_page_has_the_numbers_of_the_object() {
    let mut host = host();
    report(&mut host, &params(), at(FIRST));
    grow(&mut host, 1_048_576);
    let (_, json) = report(&mut host, &params(), at(FIRST) + days(1));
    let shown = |bytes: &Json| text::bytes(bytes.as_u64().expect("a size"));
    for end in [".html", ".md", ".txt"] {
        let page = page_text(&mut host, end);
        for table in json["databases"][0]["tables"].as_array().expect("tables") {
            for part in ["bytes", "row_bytes", "index_bytes", "toast_bytes"] {
                assert!(page.contains(&shown(&table[part])), "{end} {part} {table}");
            }
        }
        assert!(page.contains("+1.0 MiB"), "{end}");
        assert!(page.contains("changes since 2026-11-01 02:00 UTC"), "{end}");
    }
}

#[test]
fn old_reports_go_and_what_others_put_there_stays() {
    let mut host = host();
    let storage = host.storage("reports");
    for foreign in [
        "usage/test/notes.html",
        "usage/other/20200101T000000Z-x.json",
        "usage/test/20200101T000000Z-x.csv",
    ] {
        storage.object(foreign, b"mine", at("2020-01-01 00:00"));
    }
    // An attempt that died before its JSON object.
    storage.object(
        "usage/test/20200101T000000Z-dead.html",
        b"half",
        at("2020-01-01 00:00"),
    );
    for day in 0..6 {
        report(&mut host, &params(), at(FIRST) + days(day));
    }
    let storage = host.storage("reports");
    let stamps: Vec<_> = storage
        .keys()
        .into_iter()
        .filter(|key| is_json(key) || key.contains("2020"))
        .collect();
    let (mine, ours): (Vec<_>, Vec<_>) = stamps.into_iter().partition(|key| key.contains("2020"));
    assert_eq!(
        mine,
        [
            "usage/other/20200101T000000Z-x.json",
            "usage/test/20200101T000000Z-x.csv"
        ]
    );
    let days: Vec<_> = ours.iter().map(|key| &key[11..19]).collect();
    assert_eq!(days, ["20261104", "20261105", "20261106"]);
    assert!(storage.content("usage/test/notes.html").is_some());
}

#[test]
fn young_reports_stay_and_without_the_grant_old_ones_do_too() {
    let mut host = host();
    for hour in 0..6 {
        report(
            &mut host,
            &params(),
            at(FIRST) + std::time::Duration::from_secs(3_600 * hour),
        );
    }
    let reports = |host: &mut FakeHost| {
        let keys = host.storage("reports").keys();
        keys.iter().filter(|key| is_json(key)).count()
    };
    assert_eq!(reports(&mut host), 6, "none is older than two days");
    host.fail_on(
        "remove_object",
        "reports",
        Error::Denied("storage.reports = [\"remove\"]".to_owned()),
    );
    let (found, _) = report(&mut host, &params(), at(FIRST) + days(20));
    assert_eq!(
        codes(&found),
        [
            ("report-written", "storage.reports"),
            ("reports-kept", "storage.reports")
        ]
    );
    assert_eq!(reports(&mut host), 7);
}

#[test]
fn a_report_that_cannot_be_read_is_told_and_the_one_before_it_counts() {
    let mut host = host();
    report(&mut host, &params(), at(FIRST));
    host.storage("reports").object(
        "usage/test/20261102T020000Z-x.json",
        b"{\"databases\": 1}",
        at("2026-11-02 02:00"),
    );
    let (found, json) = report(&mut host, &params(), at(FIRST) + days(2));
    assert_eq!(
        codes(&found),
        [
            ("report-unread", "storage.reports"),
            ("report-written", "storage.reports")
        ]
    );
    assert_eq!(json["since"], at(FIRST).micros() / 1_000_000);
}

#[test]
fn a_target_that_fails_is_unknown_on_every_page_and_hides_no_other() {
    let mut host = host();
    host.fail_on(
        "tables",
        "app",
        Error::Busy("the list took longer than 30 s".to_owned()),
    );
    let (found, json) = report(&mut host, &params(), at(FIRST));
    assert_eq!(
        codes(&found),
        [
            ("not-measured", "database.app"),
            ("report-written", "storage.reports")
        ]
    );
    assert_eq!(json["databases"].as_array().map(Vec::len), Some(0));
    assert_eq!(json["disks"][0]["bytes_used"], 500_000_000);
    for end in [".html", ".md", ".txt"] {
        assert!(
            page_text(&mut host, end).contains("the list took longer than 30 s"),
            "{end}"
        );
    }
}

#[test]
fn when_nothing_answers_there_is_no_report() {
    let mut host = host();
    let gone = Error::Unreachable("connection refused".to_owned());
    host.fail_on("database_statistics", "app", gone.clone());
    let params = Params {
        directories: vec![],
        ..params()
    };
    assert_eq!(
        run(&context(at(FIRST)), &params, &mut host),
        Err(Failure::PassedOn(gone))
    );
    assert!(host.storage("reports").keys().is_empty());
}

#[test]
fn params_that_make_no_sense_together_are_refused() {
    let nothing = Params {
        databases: vec![],
        directories: vec![],
        ..params()
    };
    let mut both = params();
    both.tenants[0].query = Some("q".to_owned());
    let mut stranger = params();
    stranger.tenants.clear();
    stranger.limits[0].database = "other".to_owned();
    for wrong in [nothing, both, stranger] {
        let refused = run(&context(at(FIRST)), &wrong, &mut host());
        assert!(matches!(refused, Err(Failure::InvalidParams(_))), "{refused:?}");
    }
}

#[test]
fn a_huge_database_is_cut_to_what_a_call_carries_and_says_so() {
    let mut host = host();
    let long = "t".repeat(600);
    host.database("app").sizes = (0..3_000)
        .map(|nth| size("public", &format!("{long}{nth}"), nth))
        .collect();
    let (_, json) = report(&mut host, &params(), at(FIRST));
    let app = &json["databases"][0];
    let listed = app["tables"].as_array().expect("tables").len() as u64;
    assert_eq!(app["tables_total"], 3_000);
    assert_eq!(app["tables_left_out"].as_u64(), Some(3_000 - listed));
    assert!(listed < 2_000, "{listed}");
}
