//! What schedules mean from 2026 to 2030, held against a walk over every minute of those years, in both dialects and in
//! the expressions that are exported.

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta};

use super::*;

const ZONES: [&str; 3] = ["Europe/Madrid", "America/Mexico_City", "America/New_York"];

/// Offsets change on whole hours in these zones; a quarter of one is more than close enough.
const BLOCK_MINUTES: i64 = 15;

/// One meaning in words that the walker understands, and the texts that must have it.
struct Meaning {
    texts: &'static [&'static str],
    day: fn(NaiveDate) -> bool,
    /// Of a minute of the day.
    time: fn(u32) -> bool,
}

fn days_of_month(date: NaiveDate) -> u32 {
    u32::from(date.num_days_in_month())
}

fn is_nth(date: NaiveDate, weekday: chrono::Weekday, nth: u32) -> bool {
    date.weekday() == weekday && (date.day() - 1) / 7 + 1 == nth
}

fn is_last(date: NaiveDate, weekday: chrono::Weekday) -> bool {
    date.weekday() == weekday && date.day() + 7 > days_of_month(date)
}

fn is_weekday(date: NaiveDate) -> bool {
    date.weekday().num_days_from_monday() < 5
}

/// The working day nearest to the 15th.
fn is_nearest_to_the_15th(date: NaiveDate) -> bool {
    let ideal = date.with_day(15).expect("every month has one");
    let nearest = match ideal.weekday() {
        chrono::Weekday::Sat => ideal - TimeDelta::days(1),
        chrono::Weekday::Sun => ideal + TimeDelta::days(1),
        _ => ideal,
    };
    date == nearest
}

const MEANINGS: [Meaning; 17] = [
    Meaning {
        texts: &["30 2 * * *", "cron(30 2 * * ? *)", "cron(30 2 ? * * *)"],
        day: |_| true,
        time: |at| at == 150,
    },
    Meaning {
        texts: &["0 2 * * SUN", "cron(0 2 ? * SUN *)", "cron(0 2 ? * 1 *)"],
        day: |date| date.weekday() == chrono::Weekday::Sun,
        time: |at| at == 120,
    },
    Meaning {
        texts: &["0 2 * * SUN#1", "cron(0 2 ? * 1#1 *)", "cron(0 2 ? * SUN#1 *)"],
        day: |date| is_nth(date, chrono::Weekday::Sun, 1),
        time: |at| at == 120,
    },
    Meaning {
        texts: &["0 4 * * FRI#L", "cron(0 4 ? * 6L *)", "cron(0 4 ? * FRIL *)"],
        day: |date| is_last(date, chrono::Weekday::Fri),
        time: |at| at == 240,
    },
    Meaning {
        texts: &["*/30 * * * *", "cron(0/30 * * * ? *)", "cron(0,30 * * * ? *)"],
        day: |_| true,
        time: |at| at % 30 == 0,
    },
    Meaning {
        texts: &[
            "15 1-3 * * MON-FRI",
            "cron(15 1-3 ? * MON-FRI *)",
            "cron(15 1-3 ? * 2-6 *)",
        ],
        day: is_weekday,
        time: |at| (1..=3).contains(&(at / 60)) && at % 60 == 15,
    },
    Meaning {
        texts: &["0 3 L * *", "cron(0 3 L * ? *)"],
        day: |date| date.day() == days_of_month(date),
        time: |at| at == 180,
    },
    Meaning {
        texts: &["5 3 15W * *", "cron(5 3 15W * ? *)"],
        day: is_nearest_to_the_15th,
        time: |at| at == 185,
    },
    Meaning {
        texts: &["0 0 1 JAN,JUL *", "cron(0 0 1 1,7 ? *)"],
        day: |date| date.day() == 1 && matches!(date.month(), 1 | 7),
        time: |at| at == 0,
    },
    Meaning {
        texts: &["10-50/20 */6 * * *", "cron(10-50/20 0/6 * * ? *)"],
        day: |_| true,
        time: |at| matches!(at % 60, 10 | 30 | 50) && (at / 60) % 6 == 0,
    },
    Meaning {
        texts: &["0 1 * * FRI-SUN", "cron(0 1 ? * FRI,SAT,SUN *)"],
        day: |date| date.weekday().num_days_from_monday() >= 4,
        time: |at| at == 60,
    },
    Meaning {
        texts: &["0 2 * * */2"],
        day: |date| date.weekday().num_days_from_sunday() % 2 == 0,
        time: |at| at == 120,
    },
    Meaning {
        texts: &["0 2 */10 * *", "cron(0 2 1/10 * ? *)"],
        day: |date| (date.day() - 1) % 10 == 0,
        time: |at| at == 120,
    },
    Meaning {
        texts: &["0 5 * * SUN#1,WED", "0 5 * * WED,SUN#1"],
        day: |date| is_nth(date, chrono::Weekday::Sun, 1) || date.weekday() == chrono::Weekday::Wed,
        time: |at| at == 300,
    },
    Meaning {
        texts: &["0 5 1,L * *"],
        day: |date| date.day() == 1 || date.day() == days_of_month(date),
        time: |at| at == 300,
    },
    Meaning {
        texts: &["@weekly", "cron(0 0 ? * SUN *)"],
        day: |date| date.weekday() == chrono::Weekday::Sun,
        time: |at| at == 0,
    },
    Meaning {
        texts: &["cron(0 2 ? * L 2027-2028)", "cron(0 2 ? * SAT 2027,2028)"],
        day: |date| date.weekday() == chrono::Weekday::Sat && (2027..=2028).contains(&date.year()),
        time: |at| at == 120,
    },
];

fn years() -> (Instant, Instant) {
    let at = |text: &str| text.parse().expect("a time");
    (at("2026-01-01T00:00:00Z"), at("2031-01-01T00:00:00Z"))
}

/// Every minute of the years by the clock on the wall, for all meanings at once. A local time that the clock shows
/// again counts the first time only.
fn walk(zone: &Zone) -> Vec<Vec<Instant>> {
    let (from, to) = years();
    let times: Vec<Vec<bool>> = MEANINGS
        .iter()
        .map(|meaning| (0..1_440).map(meaning.time).collect())
        .collect();
    let mut found = vec![Vec::new(); MEANINGS.len()];
    let mut today = None;
    let mut days = vec![false; MEANINGS.len()];
    // The walk starts a day early, so that it knows what was shown before.
    let mut block = from - TimeDelta::days(1);
    let mut shown = NaiveDateTime::MIN;
    while block <= to {
        let start = zone.local(block);
        for minute in 0..BLOCK_MINUTES {
            let at = block + TimeDelta::minutes(minute);
            let local = start + TimeDelta::minutes(minute);
            if local <= shown {
                continue;
            }
            shown = local;
            if today != Some(local.date()) {
                today = Some(local.date());
                days = MEANINGS
                    .iter()
                    .map(|meaning| (meaning.day)(local.date()))
                    .collect();
            }
            let of_day = (local - local.date().and_time(chrono::NaiveTime::MIN)).num_minutes();
            let of_day = usize::try_from(of_day).expect("within a day");
            for (place, runs) in found.iter_mut().enumerate() {
                if days[place] && times[place][of_day] && at > from && at <= to {
                    runs.push(at);
                }
            }
        }
        block += TimeDelta::minutes(BLOCK_MINUTES);
    }
    found
}

/// Every run of `text` in the years.
fn runs(text: &str, zone: &Zone) -> Vec<Instant> {
    let (from, to) = years();
    let schedule = Schedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    std::iter::successors(schedule.next_after(from, zone), |run| {
        schedule.next_after(*run, zone)
    })
    .take_while(|run| *run <= to)
    .collect()
}

fn all_runs(expressions: &[Expression], zone: &Zone) -> Vec<Instant> {
    let mut all: Vec<Instant> = expressions
        .iter()
        .flat_map(|one| runs(&one.text, if one.is_utc { zone_utc() } else { zone }))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn zone_utc() -> &'static Zone {
    static UTC: std::sync::OnceLock<Zone> = std::sync::OnceLock::new();
    UTC.get_or_init(Zone::utc)
}

#[test]
fn five_years_of_both_dialects_and_of_what_is_exported_are_those_of_a_walk_over_every_minute() {
    for name in ZONES {
        let zone = Zone::parse(name).expect("a zone");
        for (meaning, expected) in MEANINGS.iter().zip(walk(&zone)) {
            for text in meaning.texts {
                assert!(runs(text, &zone) == expected, "{text} in {name}");
                let exported = Schedule::parse(text).expect("checked").for_eventbridge();
                assert!(exported.iter().all(|one| one.is_exact), "{text}: {exported:?}");
                assert!(
                    all_runs(&exported, &zone) == expected,
                    "{text} in {name}, exported as {exported:?}"
                );
            }
        }
    }
}

#[test]
fn rates_are_exported_as_the_times_that_they_mean_here() {
    let table: [(&str, &[&str]); 7] = [
        ("rate(1 minute)", &["cron(* * * * ? *)"]),
        ("rate(15 minutes)", &["cron(0/15 * * * ? *)"]),
        (
            "rate(90 minutes)",
            &["cron(0 0/3 * * ? *)", "cron(30 1/3 * * ? *)"],
        ),
        ("rate(6 hours)", &["cron(0 0/6 * * ? *)"]),
        ("rate(12 hours)", &["cron(0 0,12 * * ? *)"]),
        ("rate(1 day)", &["cron(0 0 * * ? *)"]),
        ("rate(7 days)", &["cron(0 0 ? * THU *)"]),
    ];
    let madrid = Zone::parse("Europe/Madrid").expect("a zone");
    for (text, expected) in table {
        let found = Schedule::parse(text).expect(text).for_eventbridge();
        let texts: Vec<&str> = found.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(texts, expected, "{text}");
        assert!(found.iter().all(|one| one.is_utc && one.is_exact), "{text}");
        // Every minute of five years is too many to list.
        if text != "rate(1 minute)" {
            assert!(all_runs(&found, &madrid) == runs(text, &madrid), "{text}");
        }
    }
    for text in ["rate(7 minutes)", "rate(36 hours)", "rate(2 days)"] {
        let found = Schedule::parse(text).expect(text).for_eventbridge();
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!((found[0].text.as_str(), found[0].is_exact), (text, false));
    }
}

#[test]
fn plain_cron_comes_whenever_the_schedule_does_and_only_then_where_it_says_so() {
    let more = [
        "rate(90 minutes)",
        "rate(36 hours)",
        "rate(420 minutes)",
        "at(2028-02-29T02:30:00)",
    ];
    let texts = MEANINGS.iter().flat_map(|meaning| meaning.texts).chain(&more);
    let zone = Zone::parse("America/New_York").expect("a zone");
    for text in texts {
        let wanted = runs(text, &zone);
        let exported = Schedule::parse(text).expect("checked").for_plain_cron();
        // Plain cron counts weekdays from 0; here they have names.
        let named: Vec<Expression> = exported.iter().map(with_names).collect();
        let found = all_runs(&named, &zone);
        if exported.iter().all(|one| one.is_exact) {
            assert!(found == wanted, "{text}: {exported:?}");
        } else {
            assert!(found.len() >= wanted.len(), "{text}: {exported:?}");
            assert!(
                wanted.iter().all(|run| found.binary_search(run).is_ok()),
                "{text}: {exported:?}"
            );
        }
    }
    let texts = |text: &str| -> Vec<String> {
        let found = Schedule::parse(text).expect(text).for_plain_cron();
        found.into_iter().map(|one| one.text).collect()
    };
    assert_eq!(texts("0 5 * * SUN#1"), ["0 5 * * 0"]);
    assert_eq!(texts("cron(0 2 ? * 6L *)"), ["0 2 * * 5"]);
    assert_eq!(texts("15 1-3 * * MON-FRI"), ["15 1-3 * * 1-5"]);
    assert_eq!(texts("0 3 L * *"), ["0 3 28-31 * *"]);
    assert_eq!(texts("rate(36 hours)"), ["0 0,12 * * *"]);
}

fn with_names(expression: &Expression) -> Expression {
    let mut fields: Vec<String> = expression.text.split(' ').map(str::to_owned).collect();
    let weekday = fields.last_mut().expect("five fields");
    if weekday != "*" && !weekday.contains('/') {
        *weekday = weekday
            .split(',')
            .map(|item| {
                let days: Vec<&str> = item
                    .split('-')
                    .map(|day| {
                        ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
                            [day.parse::<usize>().expect("a digit")]
                    })
                    .collect();
                days.join("-")
            })
            .collect::<Vec<_>>()
            .join(",");
    }
    Expression {
        text: fields.join(" "),
        ..expression.clone()
    }
}
