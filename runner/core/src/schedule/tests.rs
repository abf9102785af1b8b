//! What schedules mean: against tables, and against a walker that looks at every minute.

use chrono::{Datelike, NaiveDateTime, TimeDelta, Timelike};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Instant {
    text.parse().expect("a timestamp")
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).expect("a zone")
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error} ({:?})", error.hint))
}

/// The next `count` runs as local times.
fn runs(text: &str, zone: &Zone, from: &str, count: usize) -> Vec<String> {
    let schedule = schedule(text);
    std::iter::successors(schedule.next_after(at(from), zone), |run| {
        schedule.next_after(*run, zone)
    })
    .take(count)
    .map(|run| zone.local(run).format("%a %Y-%m-%d %H:%M").to_string())
    .collect()
}

#[test]
fn the_first_sundays_of_a_year() {
    for text in ["0 4 * * SUN#1", "cron(0 4 ? * 1#1 *)", "cron(0 4 ? * SUN#1 *)"] {
        assert_eq!(
            runs(text, &zone("America/Mexico_City"), "2027-01-01T00:00:00Z", 12),
            [
                "Sun 2027-01-03 04:00",
                "Sun 2027-02-07 04:00",
                "Sun 2027-03-07 04:00",
                "Sun 2027-04-04 04:00",
                "Sun 2027-05-02 04:00",
                "Sun 2027-06-06 04:00",
                "Sun 2027-07-04 04:00",
                "Sun 2027-08-01 04:00",
                "Sun 2027-09-05 04:00",
                "Sun 2027-10-03 04:00",
                "Sun 2027-11-07 04:00",
                "Sun 2027-12-05 04:00",
            ],
            "{text}"
        );
    }
}

#[test]
fn both_dialects_mean_what_their_documents_say() {
    let utc = Zone::utc();
    let next = |text: &str| runs(text, &utc, "2026-11-24T12:00:00Z", 2);
    let table: [(&str, [&str; 2]); 19] = [
        ("0 */6 * * *", ["Tue 2026-11-24 18:00", "Wed 2026-11-25 00:00"]),
        ("@hourly", ["Tue 2026-11-24 13:00", "Tue 2026-11-24 14:00"]),
        ("@daily", ["Wed 2026-11-25 00:00", "Thu 2026-11-26 00:00"]),
        ("@weekly", ["Sun 2026-11-29 00:00", "Sun 2026-12-06 00:00"]),
        ("@monthly", ["Tue 2026-12-01 00:00", "Fri 2027-01-01 00:00"]),
        (
            "30 2 * * MON-FRI",
            ["Wed 2026-11-25 02:30", "Thu 2026-11-26 02:30"],
        ),
        (
            "0 1 * * SAT-SUN",
            ["Sat 2026-11-28 01:00", "Sun 2026-11-29 01:00"],
        ),
        ("0 1 * * FRI#L", ["Fri 2026-11-27 01:00", "Fri 2026-12-25 01:00"]),
        ("0 1 L * *", ["Mon 2026-11-30 01:00", "Thu 2026-12-31 01:00"]),
        (
            "15 3 1 JAN,JUL *",
            ["Fri 2027-01-01 03:15", "Thu 2027-07-01 03:15"],
        ),
        (
            "cron(0/10 * ? * MON-FRI *)",
            ["Tue 2026-11-24 12:10", "Tue 2026-11-24 12:20"],
        ),
        (
            "cron(0 9 ? * 2#1 *)",
            ["Mon 2026-12-07 09:00", "Mon 2027-01-04 09:00"],
        ),
        (
            "cron(0 2 ? * 6L *)",
            ["Fri 2026-11-27 02:00", "Fri 2026-12-25 02:00"],
        ),
        (
            "cron(0 2 ? * L *)",
            ["Sat 2026-11-28 02:00", "Sat 2026-12-05 02:00"],
        ),
        (
            "cron(0 2 L * ? *)",
            ["Mon 2026-11-30 02:00", "Thu 2026-12-31 02:00"],
        ),
        (
            "cron(15 10 ? * 6L 2027-2028)",
            ["Fri 2027-01-29 10:15", "Fri 2027-02-26 10:15"],
        ),
        ("rate(1 day)", ["Wed 2026-11-25 00:00", "Thu 2026-11-26 00:00"]),
        (
            "rate(15 minutes)",
            ["Tue 2026-11-24 12:15", "Tue 2026-11-24 12:30"],
        ),
        (
            "cron(0 2 1W * ? *)",
            ["Tue 2026-12-01 02:00", "Fri 2027-01-01 02:00"],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(next(text), expected, "{text}");
    }
    assert_eq!(next("at(2026-12-31T04:00:00)"), ["Thu 2026-12-31 04:00"]);
    assert_eq!(next("at(2025-12-31T04:00:00)"), [""; 0]);
    assert_eq!(next("cron(0 0 1 1 ? 2020)"), [""; 0]);
}

#[test]
fn a_skipped_time_is_skipped_and_told_and_a_repeated_one_runs_once() {
    let madrid = zone("Europe/Madrid");
    assert_eq!(
        runs("30 2 * * *", &madrid, "2027-03-26T12:00:00Z", 3),
        [
            "Sat 2027-03-27 02:30",
            "Mon 2027-03-29 02:30",
            "Tue 2027-03-30 02:30"
        ]
    );
    let skipped = schedule("30 2 * * *").skipped_between(
        at("2027-03-01T00:00:00Z"),
        at("2027-04-01T00:00:00Z"),
        &madrid,
    );
    assert_eq!(
        skipped,
        ["2027-03-28T02:30:00"
            .parse::<NaiveDateTime>()
            .expect("a local time")]
    );
    assert_eq!(
        schedule("30 3 * * *").skipped_between(
            at("2027-03-01T00:00:00Z"),
            at("2027-04-01T00:00:00Z"),
            &madrid
        ),
        []
    );
    // 2026-10-25: 02:30 comes at 00:30 and at 01:30 UTC.
    let daily = schedule("30 2 * * *");
    let first = daily.next_after(at("2026-10-24T12:00:00Z"), &madrid);
    assert_eq!(first, Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(
        daily.next_after(at("2026-10-25T00:30:00Z"), &madrid),
        Some(at("2026-10-26T01:30:00Z"))
    );
    assert_eq!(
        daily.latest_at_or_before(at("2026-10-25T01:10:00Z"), &madrid),
        first,
        "in the second pass, before it"
    );
    assert_eq!(
        daily.latest_at_or_before(at("2026-10-25T01:40:00Z"), &madrid),
        first,
        "in the second pass, after it"
    );
}

#[test]
fn what_means_different_things_is_refused_with_the_reason() {
    let table: [(&str, &str); 27] = [
        ("", "has 0 fields"),
        ("daily", "has 1 field instead"),
        ("@dayly", "no schedule `@dayly`"),
        ("@reboot", "no schedule `@reboot`"),
        ("0 3 * *", "has 4 fields"),
        ("0 0 3 * * *", "has 6 fields"),
        ("0 3 * * 1", "different day to cron and to EventBridge"),
        ("0 3 * * 1-5", "different day"),
        ("0 3 15 * MON", "`or` to some schedulers"),
        ("0 3 ? * MON", "dialect of EventBridge"),
        ("60 3 * * *", "`60` is no minute"),
        ("0 25 * * *", "`25` is no hour"),
        ("0 3 0 * *", "`0` is no day of the month"),
        ("0 3 * 13 *", "`13` is no month"),
        ("0 3 * * FUN", "is no weekday"),
        ("0 3 * * SUN#6", "no weekday number `6`"),
        ("*/0 * * * *", "a step of `0`"),
        ("*/90 * * * *", "a step of `90`"),
        ("0 22-2 * * *", "runs backwards"),
        ("5/10 * * * *", "different things to different schedulers"),
        ("0 0 31 2 *", "never comes"),
        ("cron(0 3 * * *)", "has 5 fields instead of six"),
        ("cron(0 3 ? * ? *)", "both days"),
        ("cron(0 3 * * * *)", "`?` for the other"),
        ("rate(1 days)", "EventBridge refuses"),
        ("rate(0 minutes)", "never comes"),
        ("at(tomorrow)", "not a time"),
    ];
    for (text, reason) in table {
        let error = Schedule::parse(text).expect_err(text);
        assert!(error.message.contains(reason), "{text}: {}", error.message);
        assert!(
            error.hint.as_deref().is_some_and(|hint| !hint.is_empty()),
            "{text} has a hint"
        );
    }
}

#[test]
fn the_shortest_distance_is_the_period() {
    let hours = |text: &str| {
        schedule(text)
            .period_estimate()
            .map(|period| period.as_secs() / 3_600)
    };
    assert_eq!(hours("0 */6 * * *"), Some(6));
    assert_eq!(hours("@daily"), Some(24));
    assert_eq!(hours("@weekly"), Some(24 * 7));
    assert_eq!(hours("@monthly"), Some(24 * 28));
    assert_eq!(hours("0 2,23 * * *"), Some(3));
    assert_eq!(hours("rate(12 hours)"), Some(12));
    assert_eq!(hours("at(2026-12-31T04:00:00)"), None);
}

/// A pattern that the walker understands: a set of minutes, of hours, and of weekdays counted from Sunday.
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    minutes: Vec<u32>,
    hours: Vec<u32>,
    weekdays: Vec<u32>,
}

fn patterns() -> impl Strategy<Value = Pattern> {
    let minutes = prop_oneof![
        Just(("*/30".to_owned(), vec![0, 30])),
        Just(("*".to_owned(), (0..60).collect::<Vec<_>>())),
        (0_u32..60).prop_map(|minute| (minute.to_string(), vec![minute])),
    ];
    let hours = prop_oneof![
        Just(("*".to_owned(), (0..24).collect::<Vec<_>>())),
        Just(("*/6".to_owned(), vec![0, 6, 12, 18])),
        (0_u32..4).prop_map(|hour| (hour.to_string(), vec![hour])),
        (0_u32..4).prop_map(|hour| (format!("{hour}-{}", hour + 1), vec![hour, hour + 1])),
    ];
    let weekdays = prop_oneof![
        Just(("*".to_owned(), (0..7).collect::<Vec<_>>())),
        Just(("SUN".to_owned(), vec![0])),
        Just(("MON-FRI".to_owned(), vec![1, 2, 3, 4, 5])),
        Just(("SAT-SUN".to_owned(), vec![0, 6])),
    ];
    (minutes, hours, weekdays).prop_map(
        |((minute, minutes), (hour, hours), (weekday, weekdays))| Pattern {
            text: format!("{minute} {hour} * * {weekday}"),
            minutes,
            hours,
            weekdays,
        },
    )
}

/// Every minute of a window, by the clock on the wall; the second time that a wall clock time comes is left out.
fn walk(pattern: &Pattern, zone: &Zone, from: Instant, to: Instant) -> Vec<Instant> {
    let mut seen = std::collections::HashSet::new();
    let mut runs = Vec::new();
    // The walk starts a day early, so that it knows of the first pass of whatever comes twice in the window.
    let mut minute = from - TimeDelta::days(1);
    while minute <= to {
        let local = zone.local(minute);
        let matches = pattern.minutes.contains(&local.minute())
            && pattern.hours.contains(&local.hour())
            && pattern.weekdays.contains(&local.weekday().num_days_from_sunday());
        if matches && seen.insert(local) && minute > from {
            runs.push(minute);
        }
        minute += TimeDelta::minutes(1);
    }
    runs
}

/// Days of 2026 to 2030 around which clocks change in one of the zones, and two on which none does.
const DAYS: [&str; 12] = [
    "2026-03-08",
    "2026-03-29",
    "2026-10-25",
    "2026-11-01",
    "2027-03-14",
    "2027-03-28",
    "2028-10-29",
    "2028-11-05",
    "2029-06-15",
    "2030-03-10",
    "2030-10-27",
    "2026-12-31",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn runs_are_those_that_a_walk_over_every_minute_finds(
        pattern in patterns(),
        zone_name in prop::sample::select(vec!["Europe/Madrid", "America/Mexico_City", "America/New_York"]),
        day in prop::sample::select(DAYS.to_vec()),
        offset in 0_i64..600,
    ) {
        let zone = zone(zone_name);
        let from = at(&format!("{day}T00:00:00Z")) - TimeDelta::minutes(offset);
        let to = from + TimeDelta::hours(30);
        let expected = walk(&pattern, &zone, from, to);
        let schedule = schedule(&pattern.text);
        let found: Vec<Instant> =
            std::iter::successors(schedule.next_after(from, &zone), |run| schedule.next_after(*run, &zone))
                .take_while(|run| *run <= to)
                .collect();
        prop_assert_eq!(&found, &expected, "{} in {}", pattern.text, zone_name);
        // Looking back from any minute finds the run that is the last one then.
        for hours in [1, 2, 3, 7, 25, 30] {
            let then = from + TimeDelta::hours(hours) + TimeDelta::seconds(30);
            if let Some(last) = expected.iter().rev().find(|run| **run <= then) {
                prop_assert_eq!(schedule.latest_at_or_before(then, &zone), Some(*last), "{} at {}", pattern.text, then);
            }
        }
    }
}
