//! Schedules in the words of other schedulers: EventBridge, and whatever reads plain cron (Kubernetes, a crontab).
//!
//! What another scheduler cannot say exactly is said by an expression that comes at least as often: the tick that a run
//! takes is the schedule's own, so that what comes too often runs nothing twice. Texts and files are not made here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, Timelike};

use super::{Dialect, Rule, Schedule};

/// An expression of another scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// In its words.
    pub text: String,
    /// It is read in UTC, and not in the configuration's zone.
    pub is_utc: bool,
    /// It comes exactly when the schedule does. Otherwise plain cron comes more often, and EventBridge's `rate` counts
    /// from another time.
    pub is_exact: bool,
}

/// The names of weekdays, from Sunday.
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];

const MINUTES_PER_DAY: u32 = 1_440;
const MINUTES_PER_WEEK: i64 = 7 * 1_440;

/// A schedule that would need more expressions than this is better left to the clock of the other side.
const EXPRESSIONS_MAX: usize = 12;

/// What the fields of cron say.
struct Fields {
    minutes: BTreeSet<u32>,
    hours: BTreeSet<u32>,
    days: Days,
    months: BTreeSet<u32>,
    years: String,
}

/// Which days.
enum Days {
    Every,
    /// Days of the month, and `L`, `LW`, `15W`.
    OfMonth(BTreeSet<u32>, Vec<String>),
    /// Weekdays from Sunday, and the ones that come once a month.
    OfWeek(BTreeSet<u32>, Vec<(u32, Which)>),
}

/// Which one of a month.
#[derive(Clone, Copy)]
enum Which {
    Nth(u32),
    Last,
}

impl Schedule {
    /// This schedule for EventBridge. All expressions together are the schedule.
    pub fn for_eventbridge(&self) -> Vec<Expression> {
        let one = |text: String| vec![Expression::exact(text)];
        match &self.rule {
            Rule::At(_) => one(self.text.clone()),
            Rule::Rate(period) => match of_rate(*period) {
                Some(all) => all.iter().map(|fields| fields.aws().remove(0).in_utc()).collect(),
                None => vec![Expression {
                    is_exact: false,
                    ..Expression::exact(self.text.clone())
                }],
            },
            Rule::Cron { .. } => match self.dialect() {
                Dialect::EventBridgeCron => one(format!("cron({})", self.field_texts().join(" "))),
                _ => self.fields().aws(),
            },
        }
    }

    /// This schedule for whatever reads five fields of plain cron. All expressions together come at least whenever the
    /// schedule does.
    pub fn for_plain_cron(&self) -> Vec<Expression> {
        match &self.rule {
            Rule::At(local) => vec![Expression {
                is_exact: false,
                ..Expression::exact(format!(
                    "{} {} {} {} *",
                    local.minute(),
                    local.hour(),
                    local.day(),
                    local.month()
                ))
            }],
            Rule::Rate(period) => {
                // What is not the same every day is within what is: the greatest common part of both periods.
                let exact = of_rate(*period);
                let is_exact = exact.is_some();
                let fields = exact.unwrap_or_else(|| {
                    let minutes = u32::try_from(period / 60_000).unwrap_or(u32::MAX);
                    daily(greatest_common(minutes, MINUTES_PER_DAY))
                });
                let plain = fields.iter().map(|fields| fields.plain().in_utc());
                plain
                    .map(|expression| Expression {
                        is_exact,
                        ..expression
                    })
                    .collect()
            }
            Rule::Cron { .. } => vec![self.fields().plain()],
        }
    }

    /// The fields as they are written, nicknames spelled out.
    fn field_texts(&self) -> Vec<String> {
        let nickname = super::NICKNAMES.iter().find(|(name, _)| *name == self.text);
        let text = nickname.map_or(self.text.as_str(), |(_, fields)| fields);
        let inside = text
            .strip_prefix("cron")
            .map_or(text, |rest| rest.trim_matches(['(', ')']));
        inside
            .to_uppercase()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    /// What the fields say. Parsing has checked them.
    fn fields(&self) -> Fields {
        let texts = self.field_texts();
        let is_aws = self.dialect() == Dialect::EventBridgeCron;
        let text = |place: usize| texts.get(place).map_or("*", String::as_str);
        let plain = |place: usize, min, max, names: &[&str]| {
            let mut all = BTreeSet::new();
            for item in text(place).split(',') {
                all.extend(values(item, min, max, &|text| value(text, min, names)));
            }
            all
        };
        let days = match (text(2), text(4)) {
            ("*" | "?", "*" | "?") => Days::Every,
            (days, "*" | "?") => {
                let is_special = |item: &&str| item.ends_with(['L', 'W']);
                let (special, usual): (Vec<&str>, Vec<&str>) = days.split(',').partition(is_special);
                let usual = usual
                    .into_iter()
                    .flat_map(|item| values(item, 1, 31, &|text| value(text, 1, &[])));
                Days::OfMonth(usual.collect(), special.into_iter().map(str::to_owned).collect())
            }
            (_, weekdays) => of_week(weekdays, is_aws),
        };
        Fields {
            minutes: plain(0, 0, 59, &[]),
            hours: plain(1, 0, 23, &[]),
            days,
            months: plain(3, 1, 12, &MONTHS),
            years: texts.get(5).cloned().unwrap_or_else(|| "*".to_owned()),
        }
    }
}

impl Expression {
    fn exact(text: String) -> Self {
        Self {
            text,
            is_utc: false,
            is_exact: true,
        }
    }

    fn in_utc(self) -> Self {
        Self { is_utc: true, ..self }
    }
}

impl Fields {
    /// For EventBridge, which takes only one special day in an expression.
    fn aws(&self) -> Vec<Expression> {
        let minutes = aws_field(&self.minutes, 0, 59);
        let hours = aws_field(&self.hours, 0, 23);
        let months = aws_field(&self.months, 1, 12);
        let write = |day: &str, weekday: &str| {
            Expression::exact(format!(
                "cron({minutes} {hours} {day} {months} {weekday} {})",
                self.years
            ))
        };
        match &self.days {
            Days::Every => vec![write("*", "?")],
            Days::OfMonth(usual, special) => {
                let usual = (!usual.is_empty()).then(|| aws_field(usual, 1, 31));
                let all = usual.iter().chain(special);
                all.map(|day| write(day, "?")).collect()
            }
            Days::OfWeek(usual, special) => {
                let names = |days: &BTreeSet<u32>| {
                    let name = |day: &u32| DAYS[*day as usize % 7];
                    match (days.first(), days.last()) {
                        (Some(first), Some(last)) if days.len() > 2 && is_range(days) => {
                            format!("{}-{}", name(first), name(last))
                        }
                        _ => days.iter().map(name).collect::<Vec<_>>().join(","),
                    }
                };
                let usual = (!usual.is_empty()).then(|| names(usual));
                let special = special.iter().map(|(day, which)| match which {
                    Which::Nth(nth) => format!("{}#{nth}", day + 1),
                    Which::Last => format!("{}L", day + 1),
                });
                let all = usual.into_iter().chain(special);
                all.map(|weekday| write("?", &weekday)).collect()
            }
        }
    }

    /// For plain cron, which knows neither special days nor years: with every day that one of those can be.
    fn plain(&self) -> Expression {
        let mut is_exact = self.years == "*";
        let (day, weekday) = match &self.days {
            Days::Every => ("*".to_owned(), "*".to_owned()),
            Days::OfMonth(usual, special) => {
                is_exact &= special.is_empty();
                let mut days = usual.clone();
                days.extend(special.iter().flat_map(|special| possible_days(special)));
                (plain_field(&days, 1, 31), "*".to_owned())
            }
            Days::OfWeek(usual, special) => {
                is_exact &= special.is_empty();
                let mut days = usual.clone();
                days.extend(special.iter().map(|(day, _)| *day));
                ("*".to_owned(), plain_field(&days, 0, 6))
            }
        };
        Expression {
            is_exact,
            ..Expression::exact(format!(
                "{} {} {day} {} {weekday}",
                plain_field(&self.minutes, 0, 59),
                plain_field(&self.hours, 0, 23),
                plain_field(&self.months, 1, 12),
            ))
        }
    }
}

fn of_week(text: &str, is_aws: bool) -> Days {
    // EventBridge counts Sunday as 1; the names of cron here have no numbers.
    let number = |text: &str| {
        let place = DAYS.iter().position(|day| *day == text);
        let place = place.and_then(|place| u32::try_from(place).ok());
        place.or_else(|| text.parse::<u32>().ok()?.checked_sub(u32::from(is_aws)))
    };
    let mut usual = BTreeSet::new();
    let mut special = Vec::new();
    for item in text.split(',') {
        if let Some((day, nth)) = item.split_once('#') {
            let which = nth.parse().map_or(Which::Last, Which::Nth);
            special.extend(number(day).map(|day| (day, which)));
        } else if item == "L" {
            usual.insert(6);
        } else if let Some(day) = item.strip_suffix('L') {
            special.extend(number(day).map(|day| (day, Which::Last)));
        } else if let Some((from, "SUN")) = item.split_once('-') {
            // A week may end on Sunday.
            let from = number(from).unwrap_or(0);
            usual.extend((from..=if from == 0 { 0 } else { 7 }).map(|day| day % 7));
        } else {
            usual.extend(values(item, 0, 6, &number));
        }
    }
    if usual.len() == 7 {
        return Days::Every;
    }
    Days::OfWeek(usual, special)
}

fn value(text: &str, min: u32, names: &[&str]) -> Option<u32> {
    let named = names.iter().position(|name| *name == text);
    let named = named.and_then(|place| u32::try_from(place).ok());
    named.map(|place| place + min).or_else(|| text.parse().ok())
}

/// The values of `*`, `5`, `1-5`, each with `/step` or without.
fn values(item: &str, min: u32, max: u32, value: &dyn Fn(&str) -> Option<u32>) -> Vec<u32> {
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, step.parse::<usize>().ok().filter(|step| *step > 0)),
        None => (item, None),
    };
    let range = match base.split_once('-') {
        _ if base == "*" => Some((min, max)),
        Some((from, to)) => value(from).zip(value(to)),
        None => value(base).map(|from| (from, if step.is_some() { max } else { from })),
    };
    range.map_or_else(Vec::new, |(from, to)| {
        (from..=to.min(max)).step_by(step.unwrap_or(1)).collect()
    })
}

/// The days that `L`, `LW` or `15W` can be.
fn possible_days(special: &str) -> BTreeSet<u32> {
    match special.strip_suffix('W') {
        None => (28..=31).collect(),
        Some("L") => (26..=31).collect(),
        Some(day) => {
            let day: u32 = day.parse().unwrap_or(1);
            (day.saturating_sub(2).max(1)..=(day + 2).min(31)).collect()
        }
    }
}

fn is_range(values: &BTreeSet<u32>) -> bool {
    values
        .iter()
        .zip(values.iter().skip(1))
        .all(|(one, next)| one + 1 == *next)
}

/// The step and the first of values that go on to the end of their field.
fn steps(values: &BTreeSet<u32>, max: u32) -> Option<(u32, u32)> {
    let mut all = values.iter();
    let (first, second) = (*all.next()?, *all.next()?);
    let step = second - first;
    let goes_on = (first..=max).step_by(step as usize).eq(values.iter().copied());
    (goes_on && values.len() > 2 && step > 1).then_some((first, step))
}

fn aws_field(values: &BTreeSet<u32>, min: u32, max: u32) -> String {
    match steps(values, max) {
        Some((first, step)) => format!("{first}/{step}"),
        None => range_or_list(values, min, max),
    }
}

fn plain_field(values: &BTreeSet<u32>, min: u32, max: u32) -> String {
    match steps(values, max) {
        Some((first, step)) if first == min => format!("*/{step}"),
        Some((first, step)) => format!("{first}-{max}/{step}"),
        None => range_or_list(values, min, max),
    }
}

fn range_or_list(values: &BTreeSet<u32>, min: u32, max: u32) -> String {
    match (values.first(), values.last()) {
        (Some(first), Some(last)) if is_range(values) && (*first, *last) == (min, max) => "*".to_owned(),
        (Some(first), Some(last)) if is_range(values) && values.len() > 2 => format!("{first}-{last}"),
        _ => values.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    }
}

/// A rate, which counts from 1970 in UTC, as fields; none where its times are not the same every day or every week.
fn of_rate(period: i64) -> Option<Vec<Fields>> {
    let minutes = period / 60_000;
    if minutes == MINUTES_PER_WEEK {
        // 1970 began on a Thursday.
        let mut all = daily(MINUTES_PER_DAY);
        for fields in &mut all {
            fields.days = Days::OfWeek(BTreeSet::from([4]), Vec::new());
        }
        return Some(all);
    }
    let minutes = u32::try_from(minutes).ok()?;
    if minutes == 0 || !MINUTES_PER_DAY.is_multiple_of(minutes) {
        return None;
    }
    Some(daily(minutes)).filter(|all| all.len() <= EXPRESSIONS_MAX)
}

/// Every `minutes` of a day, from midnight: one pattern for all minutes that have the same hours.
fn daily(minutes: u32) -> Vec<Fields> {
    let mut hours_of = BTreeMap::<u32, BTreeSet<u32>>::new();
    for time in (0..MINUTES_PER_DAY).step_by(minutes as usize) {
        hours_of.entry(time % 60).or_default().insert(time / 60);
    }
    let mut minutes_of = BTreeMap::<BTreeSet<u32>, BTreeSet<u32>>::new();
    for (minute, hours) in hours_of {
        minutes_of.entry(hours).or_default().insert(minute);
    }
    let fields = minutes_of.into_iter().map(|(hours, minutes)| Fields {
        minutes,
        hours,
        days: Days::Every,
        months: (1..=12).collect(),
        years: "*".to_owned(),
    });
    fields.collect()
}

fn greatest_common(one: u32, another: u32) -> u32 {
    if another == 0 {
        one
    } else {
        greatest_common(another, one % another)
    }
}
