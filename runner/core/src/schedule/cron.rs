//! Cron expressions: checked field by field here, so that a refusal names the field; searched by croner.
//!
//! Croner searches the wall clock alone. Which instant a wall clock time is, if any, is decided by the zone.

use chrono::{NaiveDateTime, Timelike};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::time::{CivilDate, CivilDateTime, CivilTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;

use super::ScheduleError;
use super::zone::{civil, naive};

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// The texts that stand for `min`, `min + 1`, ...
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const MINUTE: Field = Field {
    name: "minute",
    min: 0,
    max: 59,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    min: 0,
    max: 23,
    names: &[],
};
const DAY: Field = Field {
    name: "day of the month",
    min: 1,
    max: 31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &MONTHS,
};
/// EventBridge counts Sunday as 1.
const AWS_WEEKDAY: Field = Field {
    name: "weekday",
    min: 1,
    max: 7,
    names: &DAYS,
};
/// The years that EventBridge takes.
const YEAR: Field = Field {
    name: "year",
    min: 1970,
    max: 2199,
    names: &[],
};

/// Reads the five fields of cron.
pub(super) fn five_fields(text: &str) -> Result<Cron, ScheduleError> {
    let upper = text.to_uppercase();
    let fields: Vec<&str> = upper.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(field_count(text, fields.len()));
    };
    if let Some(question) = [minute, hour, day, month, weekday]
        .iter()
        .find(|field| field.contains('?'))
    {
        return Err(ScheduleError::new(
            format!("`{question}` belongs to the dialect of EventBridge"),
            format!("write `*`, or wrap six fields: `cron({text} *)`"),
        ));
    }
    check(&MINUTE, minute, Extras::None)?;
    check(&HOUR, hour, Extras::None)?;
    check(&DAY, day, Extras::LastAndNearest)?;
    check(&MONTH, month, Extras::None)?;
    let weekday = named_weekdays(weekday)?;
    if day != "*" && weekday != "*" {
        return Err(ScheduleError::new(
            "a day of the month together with a weekday means `or` to some schedulers and `and` to others"
                .to_owned(),
            "write `*` for one of the two; the first Sunday of a month is `0 4 * * SUN#1`".to_owned(),
        ));
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    compile(parser, text, &format!("{minute} {hour} {day} {month} {weekday}"))
}

fn field_count(text: &str, count: usize) -> ScheduleError {
    let hint = match count {
        6 => format!("cron has no seconds here; six fields of EventBridge are written `cron({text})`"),
        _ => "write minute, hour, day of the month, month and weekday: `0 3 * * *`".to_owned(),
    };
    let fields = if count == 1 { "field" } else { "fields" };
    ScheduleError::new(format!("`{text}` has {count} {fields} instead of five"), hint)
}

/// Reads what stands in `cron(...)`: the six fields of EventBridge.
pub(super) fn aws(text: &str) -> Result<Cron, ScheduleError> {
    let upper = text.to_uppercase();
    let fields: Vec<&str> = upper.split_whitespace().collect();
    let [minute, hour, day, month, weekday, year] = fields[..] else {
        return Err(ScheduleError::new(
            format!("`cron({text})` has {} fields instead of six", fields.len()),
            "write minute, hour, day of the month, month, weekday and year: `cron(0 3 * * ? *)`".to_owned(),
        ));
    };
    check(&MINUTE, minute, Extras::Start)?;
    check(&HOUR, hour, Extras::Start)?;
    check(&MONTH, month, Extras::Start)?;
    check(&YEAR, year, Extras::Start)?;
    match (day, weekday) {
        ("?", "?") => {
            return Err(ScheduleError::new(
                "`?` stands for both days, so that no day is meant".to_owned(),
                "write `*` for one of the two".to_owned(),
            ));
        }
        ("?", weekday) => check(&AWS_WEEKDAY, weekday, Extras::AwsWeekday)?,
        (day, "?") => check(&DAY, day, Extras::AwsDay)?,
        _ => {
            return Err(ScheduleError::new(
                "EventBridge takes a day of the month or a weekday, and `?` for the other".to_owned(),
                format!("for example `cron({minute} {hour} {day} {month} ? {year})`"),
            ));
        }
    }
    // Croner reads a weekday of `L` alone as a day that never comes; EventBridge means Saturday.
    let weekday = if weekday == "L" { "7" } else { weekday };
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .sloppy_ranges(true)
        .build();
    compile(
        parser,
        &format!("cron({text})"),
        &format!("0 {minute} {hour} {day} {month} {weekday} {year}"),
    )
}

fn compile(parser: CronParser, text: &str, fields: &str) -> Result<Cron, ScheduleError> {
    let cron = parser.parse(fields).map_err(|error| {
        let hint = "minute, hour, day of the month, month, weekday: `0 3 * * *`".to_owned();
        ScheduleError::new(format!("`{text}` is not a schedule: {error}"), hint)
    })?;
    let start = chrono::DateTime::UNIX_EPOCH.naive_utc() - chrono::TimeDelta::minutes(1);
    if next(&cron, start).is_none() {
        return Err(ScheduleError::new(
            format!("`{text}` never comes"),
            "no month has such a day; look at the day of the month and the month".to_owned(),
        ));
    }
    Ok(cron)
}

/// What a field may hold besides values, ranges, lists and steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extras {
    None,
    /// `L`, `LW`, `15W`.
    LastAndNearest,
    /// `5/10`: from 5 on, every 10.
    Start,
    /// Those two.
    AwsDay,
    /// `L`, `6L`, `2#1`.
    AwsWeekday,
}

fn check(field: &Field, text: &str, extras: Extras) -> Result<(), ScheduleError> {
    text.split(',')
        .try_for_each(|item| check_item(field, item, extras))
}

fn check_item(field: &Field, item: &str, extras: Extras) -> Result<(), ScheduleError> {
    if matches!(extras, Extras::LastAndNearest | Extras::AwsDay) {
        let nearest = item
            .strip_suffix('W')
            .is_some_and(|day| day == "L" || value(field, day).is_some());
        if item == "L" || nearest {
            return Ok(());
        }
    }
    if extras == Extras::AwsWeekday {
        let nth = item.split_once('#').is_some_and(|(day, nth)| {
            value(field, day).is_some() && matches!(nth, "1" | "2" | "3" | "4" | "5")
        });
        let last = item
            .strip_suffix('L')
            .is_some_and(|day| day.is_empty() || value(field, day).is_some());
        if nth || last {
            return Ok(());
        }
    }
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (item, None),
    };
    if let Some(step) = step {
        let span = field.max - field.min + 1;
        if !step.parse::<u32>().is_ok_and(|step| (1..span).contains(&step)) {
            return Err(ScheduleError::new(
                format!(
                    "`{item}`: a step of `{step}` makes no sense for the {}",
                    field.name
                ),
                format!("steps of the {} go from 1 to {}", field.name, span - 1),
            ));
        }
    }
    if base == "*" {
        return Ok(());
    }
    let parse = |text: &str| value(field, text).ok_or_else(|| no_value(field, text, item));
    if let Some((from, to)) = base.split_once('-') {
        let (from_value, to_value) = (parse(from)?, parse(to)?);
        if from_value > to_value {
            return Err(ScheduleError::new(
                format!("`{base}` runs backwards"),
                format!("write two ranges: `{from}-{},{}-{to}`", last(field), first(field)),
            ));
        }
        return Ok(());
    }
    parse(base)?;
    if step.is_some() && !matches!(extras, Extras::Start | Extras::AwsDay | Extras::AwsWeekday) {
        return Err(ScheduleError::new(
            format!("`{item}` means different things to different schedulers"),
            format!(
                "write a range: `{base}-{}/{}`",
                last(field),
                step.unwrap_or_default()
            ),
        ));
    }
    Ok(())
}

fn first(field: &Field) -> String {
    field
        .names
        .first()
        .map_or_else(|| field.min.to_string(), |name| (*name).to_owned())
}

fn last(field: &Field) -> String {
    field
        .names
        .last()
        .map_or_else(|| field.max.to_string(), |name| (*name).to_owned())
}

fn value(field: &Field, text: &str) -> Option<u32> {
    if let Some(place) = field.names.iter().position(|name| *name == text) {
        return u32::try_from(place).ok().map(|place| field.min + place);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (field.min..=field.max).contains(number))
}

fn no_value(field: &Field, text: &str, item: &str) -> ScheduleError {
    let found = if text.is_empty() { item } else { text };
    let range = match field.names {
        [] => format!("from {} to {}", field.min, field.max),
        names => format!(
            "from {} to {}, or {} to {}",
            field.min,
            field.max,
            names[0],
            names[names.len() - 1]
        ),
    };
    ScheduleError::new(
        format!("`{found}` is no {}", field.name),
        format!("it goes {range}"),
    )
}

/// The weekday field with its names as croner's numbers. Bare digits are refused: 1 is Sunday to EventBridge and
/// Monday to cron.
fn named_weekdays(text: &str) -> Result<String, ScheduleError> {
    if text == "*" {
        return Ok("*".to_owned());
    }
    let items: Result<Vec<String>, ScheduleError> = text.split(',').map(named_weekday).collect();
    items.map(|items| items.join(","))
}

fn named_weekday(item: &str) -> Result<String, ScheduleError> {
    let (base, suffix) = match item.split_once('#') {
        Some((base, nth)) => (base, Some(nth)),
        None => (item, None),
    };
    let number = |name: &str| -> Result<usize, ScheduleError> {
        if let Some(place) = DAYS.iter().position(|day| *day == name) {
            return Ok(place);
        }
        Err(match name.parse::<usize>() {
            Ok(digit) => ScheduleError::new(
                format!("`{name}` in the weekday field is a different day to cron and to EventBridge"),
                match DAYS.get(digit % 7) {
                    Some(day) if digit <= 7 => {
                        format!("write the name: `{day}` if you mean cron's `{name}`")
                    }
                    _ => "write a name: `SUN`, `MON`, ... `SAT`".to_owned(),
                },
            ),
            Err(_) => ScheduleError::new(
                format!("`{item}` is no weekday"),
                "write `SUN`, `MON-FRI`, `SUN#1` (the first Sunday) or `FRI#L` (the last Friday)".to_owned(),
            ),
        })
    };
    if let Some(nth) = suffix {
        if !matches!(nth, "1" | "2" | "3" | "4" | "5" | "L") {
            return Err(ScheduleError::new(
                format!("`{item}`: there is no weekday number `{nth}` in a month"),
                "write `#1` to `#5`, or `#L` for the last".to_owned(),
            ));
        }
        return Ok(format!("{}#{nth}", number(base)?));
    }
    let (range, step) = match base.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (base, None),
    };
    if let Some(step) = step
        && (!range.contains(['-', '*']) || !matches!(step, "1" | "2" | "3" | "4" | "5" | "6"))
    {
        return Err(ScheduleError::new(
            format!("`{item}` is no step of weekdays"),
            "list the days: `MON,WED,FRI`".to_owned(),
        ));
    }
    let step = step.map_or(String::new(), |step| format!("/{step}"));
    match range.split_once('-') {
        Some((from, to)) => {
            let (from_number, to_number) = (number(from)?, number(to)?);
            // A week may end on Sunday.
            let to_number = if to_number == 0 { 7 } else { to_number };
            if from_number > to_number {
                return Err(ScheduleError::new(
                    format!("`{range}` runs backwards"),
                    format!("write two ranges: `{from}-SAT,SUN-{to}`"),
                ));
            }
            Ok(format!("{from_number}-{to_number}{step}"))
        }
        None if range == "*" => Ok(format!("*{step}")),
        None => Ok(number(range)?.to_string()),
    }
}

/// The first wall clock time of `cron` after `local`.
pub(super) fn next(cron: &Cron, local: NaiveDateTime) -> Option<NaiveDateTime> {
    cron.find_next_occurrence(&Wall(civil(local)?), false)
        .ok()
        .and_then(|wall| naive(wall.0))
}

/// The last wall clock time of `cron` at or before `local`.
pub(super) fn latest(cron: &Cron, local: NaiveDateTime) -> Option<NaiveDateTime> {
    // A part of a second makes no difference to a pattern of minutes.
    let local = local.with_nanosecond(0)?;
    cron.find_previous_occurrence(&Wall(civil(local)?), true)
        .ok()
        .and_then(|wall| naive(wall.0))
}

/// A wall clock without a zone.
#[derive(Debug, Clone, Copy)]
struct Wall(DateTime);

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        let part = |part: i8| u32::try_from(part).expect("jiff's parts of a time are never negative");
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(
                i32::from(self.0.year()),
                part(self.0.month()),
                part(self.0.day()),
            ),
            CivilTime::from_parts_unchecked(
                part(self.0.hour()),
                part(self.0.minute()),
                part(self.0.second()),
            ),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        let days = u32::try_from(self.0.weekday().to_sunday_zero_offset()).expect("0 to 6");
        Weekday::from_days_from_sunday(days)
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        DateTime::new(
            i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        )
        .map(|civil| Resolution::Single(Self(civil)))
        .map_err(|_| CronError::InvalidDate)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .ok()
            .map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
