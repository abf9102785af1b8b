//! A gauge: a measurement held against a target and a threshold, and the state that follows from its readings.
//!
//! It decides; it neither reads measurements nor sends messages. Between the alert's bound and the target's lies the
//! band in which nothing changes: a reading that swings there neither fires nor resolves.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::MessageKind;
use crate::name::{GaugeName, SinkName};
use crate::report::Severity;
use crate::units::{UnitError, parse_duration, parse_size, show_bytes, show_count, show_duration};
use crate::value::Instant;

/// `[gauge.NAME]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gauge {
    /// Its name.
    pub name: GaugeName,
    /// The measurement's name: `disk.used_percent`.
    pub of: String,
    /// The measurement's target, as a grant path: `directory.temp`.
    pub on: String,
    /// What is wished for: a firing gauge resolves when it is met. None: the alert's opposite.
    pub target: Option<Threshold>,
    /// What fires. None: the gauge is only shown.
    pub alert: Option<Threshold>,
    /// How long the alert must hold before it fires.
    pub hold_for: Duration,
    /// After so long without a known reading a message says so; none: never.
    pub unknown_after: Option<Duration>,
    /// Judge the growth over such a stretch of time instead of the reading.
    pub per: Option<Duration>,
    /// What "full" means, for days until; none: the alert's bound, else the target's.
    pub limit: Option<Amount>,
    /// How bad it is when it fires.
    pub severity: Severity,
    /// Where its messages go.
    pub sinks: Vec<SinkName>,
}

impl Gauge {
    /// What its messages and its stored state are about.
    pub fn subject(&self) -> String {
        format!("gauge.{}", self.name)
    }

    /// True when it judges this measurement.
    pub fn is_of(&self, name: &str, target: &str) -> bool {
        self.of == name && self.on == target
    }

    /// True when growth is judged in percent of what was there, not in the measurement's unit.
    pub fn is_relative(&self) -> bool {
        let mut thresholds = self.alert.iter().chain(&self.target);
        self.per.is_some() && thresholds.any(|threshold| threshold.bound.unit == AmountUnit::Percent)
    }

    /// The unit of what is judged, given the measurement's.
    pub fn unit(&self, measured: &str) -> String {
        if self.is_relative() {
            "percent".to_owned()
        } else {
            measured.to_owned()
        }
    }

    /// The bound that "days until" is reckoned to, when the gauge judges readings and not growth, or has a limit.
    pub fn capacity(&self) -> Option<Amount> {
        self.limit.or_else(|| {
            let bound = self.alert.as_ref().or(self.target.as_ref());
            bound
                .filter(|_| self.per.is_none())
                .map(|threshold| threshold.bound)
        })
    }

    fn clears(&self, value: f64) -> bool {
        match (&self.target, &self.alert) {
            (Some(target), _) => target.holds(value),
            (None, Some(alert)) => !alert.holds(value),
            (None, None) => true,
        }
    }
}

/// What a bound counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmountUnit {
    /// A bare number, in the measurement's own unit.
    Plain,
    /// `80 %`.
    Percent,
    /// `1 GiB`.
    Bytes,
    /// `3 days`.
    Seconds,
}

impl AmountUnit {
    /// As measurements call it; none for a bare number.
    pub fn measured(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Percent => Some("percent"),
            Self::Bytes => Some("bytes"),
            Self::Seconds => Some("seconds"),
        }
    }
}

/// A number and what it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Amount {
    /// In the base unit: percent, bytes, seconds.
    pub number: f64,
    /// What it counts.
    pub unit: AmountUnit,
}

impl Amount {
    /// Reads `80`, `80 %`, `1 GiB`, `3 days`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let number = |text: &str| {
            text.trim()
                .replace('_', "")
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite())
        };
        if let Some(number) = number(text) {
            return Ok(Self {
                number,
                unit: AmountUnit::Plain,
            });
        }
        if let Some(number) = text.strip_suffix('%').and_then(number) {
            return Ok(Self {
                number,
                unit: AmountUnit::Percent,
            });
        }
        if let Ok(bytes) = parse_size(text) {
            return Ok(Self {
                number: bytes as f64,
                unit: AmountUnit::Bytes,
            });
        }
        if let Ok(time) = parse_duration(text) {
            return Ok(Self {
                number: time.as_secs_f64(),
                unit: AmountUnit::Seconds,
            });
        }
        Err(UnitError {
            problem: format!("`{text}` is no amount"),
            hint: "write a number, alone or with a unit: `80`, `80 %`, `1 GiB`, `3 days`".to_owned(),
        })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_value(self.number, self.unit.measured().unwrap_or("")))
    }
}

/// Which side of a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `<`, `<=`.
    Below,
    /// `>`, `>=`.
    Above,
}

/// `< 80 %`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Which side holds.
    pub side: Side,
    /// The bound itself holds too.
    pub inclusive: bool,
    /// The bound.
    pub bound: Amount,
}

impl Threshold {
    /// Reads `< 80`, `>= 1 GiB`.
    ///
    /// # Errors
    /// No comparison, or no amount behind it.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        let (side, rest) = match (text.strip_prefix('<'), text.strip_prefix('>')) {
            (Some(rest), _) => (Side::Below, rest),
            (_, Some(rest)) => (Side::Above, rest),
            _ => {
                return Err(UnitError {
                    problem: format!("`{text}` compares with nothing"),
                    hint: "write `< 80 %`, `<= 100`, `> 1 GiB` or `>= 3 days`".to_owned(),
                });
            }
        };
        let (inclusive, rest) = match rest.strip_prefix('=') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        Ok(Self {
            side,
            inclusive,
            bound: Amount::parse(rest)?,
        })
    }

    /// True when `value` is on its side.
    pub fn holds(&self, value: f64) -> bool {
        match (self.side, self.inclusive) {
            (Side::Below, false) => value < self.bound.number,
            (Side::Below, true) => value <= self.bound.number,
            (Side::Above, false) => value > self.bound.number,
            (Side::Above, true) => value >= self.bound.number,
        }
    }

    /// With the measurement's unit where it has none of its own.
    pub fn show(&self, unit: &str) -> String {
        let sign = match (self.side, self.inclusive) {
            (Side::Below, false) => "<",
            (Side::Below, true) => "<=",
            (Side::Above, false) => ">",
            (Side::Above, true) => ">=",
        };
        let unit = self.bound.unit.measured().unwrap_or(unit);
        format!("{sign} {}", show_value(self.bound.number, unit))
    }
}

/// What a gauge was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A number.
    Known(f64),
    /// Nobody could tell, and why: never 0, and never well.
    Unknown(String),
    /// There is too little of a past to judge growth.
    Insufficient,
}

/// How a gauge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Well, or at least not beyond the alert.
    Ok,
    /// Beyond the alert, not for long enough yet.
    Pending,
    /// Beyond the alert for long enough, and not back at the target since.
    Firing,
    /// The last reading was none.
    Unknown,
    /// There is too little of a past.
    InsufficientData,
}

impl Level {
    /// As in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Unknown => "unknown",
            Self::InsufficientData => "insufficient-data",
        }
    }
}

/// What is kept of a gauge between readings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GaugeState {
    /// As the last reading left it.
    pub level: Level,
    /// Since when it is at that level.
    pub since: Instant,
    /// When the last reading was made.
    pub at: Instant,
    /// What was judged; none: unknown.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// Why there is no value.
    pub note: Option<String>,
    /// Whether the target is met; none when that is unknown or nothing is wished for.
    pub on_target: Option<bool>,
    /// Since when the alert has held without a known reading to the contrary, while it has not fired.
    pub beyond_since: Option<Instant>,
    /// Since when it fires. An unknown reading changes nothing about that.
    pub firing_since: Option<Instant>,
    /// Since when there was no known reading.
    pub unknown_since: Option<Instant>,
    /// That was said.
    pub unknown_told: bool,
}

/// The state after a reading, and what there is to tell.
pub fn step(
    gauge: &Gauge,
    before: Option<&GaugeState>,
    at: Instant,
    reading: &Reading,
    unit: &str,
) -> (GaugeState, Option<MessageKind>) {
    let mut state = GaugeState {
        level: Level::Ok,
        since: at,
        at,
        value: None,
        unit: unit.to_owned(),
        note: None,
        on_target: None,
        beyond_since: before.and_then(|before| before.beyond_since),
        firing_since: before.and_then(|before| before.firing_since),
        unknown_since: None,
        unknown_told: false,
    };
    let mut told = None;
    match reading {
        Reading::Known(value) => {
            state.value = Some(*value);
            state.on_target = gauge.target.as_ref().map(|target| target.holds(*value));
            told = judge(gauge, &mut state, at, *value);
            if told.is_none() && before.is_some_and(|before| before.unknown_told) {
                told = Some(MessageKind::Resolved);
            }
        }
        Reading::Insufficient => state.level = Level::InsufficientData,
        Reading::Unknown(note) => {
            state.level = Level::Unknown;
            state.note = Some(note.clone());
            let since = before.and_then(|before| before.unknown_since).unwrap_or(at);
            state.unknown_since = Some(since);
            state.unknown_told = before.is_some_and(|before| before.unknown_told);
            let long = gauge
                .unknown_after
                .is_some_and(|after| elapsed(since, at) >= after);
            if long && !state.unknown_told {
                state.unknown_told = true;
                told = Some(MessageKind::Unknown);
            }
        }
    }
    if let Some(before) = before.filter(|before| before.level == state.level) {
        state.since = before.since;
    }
    (state, told)
}

fn judge(gauge: &Gauge, state: &mut GaugeState, at: Instant, value: f64) -> Option<MessageKind> {
    if state.firing_since.is_some() {
        state.beyond_since = None;
        // An alert that was taken out of the configuration must not fire for ever.
        if gauge.clears(value) || gauge.alert.is_none() {
            state.firing_since = None;
            return Some(MessageKind::Resolved);
        }
        state.level = Level::Firing;
        return None;
    }
    if !gauge.alert.as_ref().is_some_and(|alert| alert.holds(value)) {
        state.beyond_since = None;
        return None;
    }
    let since = *state.beyond_since.get_or_insert(at);
    if elapsed(since, at) < gauge.hold_for {
        state.level = Level::Pending;
        return None;
    }
    state.level = Level::Firing;
    state.beyond_since = None;
    state.firing_since = Some(at);
    Some(MessageKind::Firing)
}

fn elapsed(since: Instant, at: Instant) -> Duration {
    (at - since).to_std().unwrap_or_default()
}

/// A number with its unit, as people read it.
pub fn show_value(value: f64, unit: &str) -> String {
    let (sign, size) = if value < 0.0 { ("-", -value) } else { ("", value) };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative; what is too large is the largest"
    )]
    let whole = size.round() as u64;
    match unit {
        "percent" => format!("{sign}{} %", number(size)),
        "bytes" => format!("{sign}{}", show_bytes(whole)),
        "seconds" => format!("{sign}{}", show_duration(Duration::from_secs(whole))),
        "" | "count" => format!("{sign}{}", number(size)),
        unit if whole == 1 && size.fract() == 0.0 => format!("{sign}1 {}", unit.trim_end_matches('s')),
        unit => format!("{sign}{} {unit}", number(size)),
    }
}

/// Whole numbers as counts, small ones with one or two places.
fn number(size: f64) -> String {
    if size >= 1_000.0 || size.fract() == 0.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is not negative; what is too large is the largest"
        )]
        return show_count(size.round() as u64);
    }
    let text = if size < 1.0 {
        format!("{size:.2}")
    } else {
        format!("{size:.1}")
    };
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gauge(target: &str, alert: &str, hold_for: u64) -> Gauge {
        let threshold = |text: &str| (!text.is_empty()).then(|| Threshold::parse(text).expect("a threshold"));
        Gauge {
            name: "disk".parse().expect("a name"),
            of: "disk.used_percent".to_owned(),
            on: "directory.temp".to_owned(),
            target: threshold(target),
            alert: threshold(alert),
            hold_for: Duration::from_secs(hold_for * 60),
            unknown_after: None,
            per: None,
            limit: None,
            severity: Severity::Critical,
            sinks: Vec::new(),
        }
    }

    fn minute(minute: u32) -> Instant {
        let start: Instant = "2026-11-24T00:00:00Z".parse().expect("a time");
        start + minute * Duration::from_secs(60)
    }

    /// One reading a minute; none is unknown.
    fn walk(
        gauge: &Gauge,
        readings: impl IntoIterator<Item = Option<f64>>,
    ) -> (Vec<(u32, MessageKind)>, Vec<Level>) {
        let (mut told, mut levels) = (Vec::new(), Vec::new());
        let mut state: Option<GaugeState> = None;
        for (at, reading) in (0..).zip(readings) {
            let reading = reading.map_or(Reading::Unknown("no permission".to_owned()), Reading::Known);
            let (next, message) = step(gauge, state.as_ref(), minute(at), &reading, "percent");
            told.extend(message.map(|message| (at, message)));
            levels.push(next.level);
            state = Some(next);
        }
        (told, levels)
    }

    #[test]
    fn ten_thousand_readings_that_swing_inside_the_band_fire_once_and_resolve_once() {
        let gauge = gauge("< 80", "> 85", 0);
        // Up to the alert, then to and fro between target and alert, then down.
        let swing = (0..10_000).map(|n| Some(if n % 2 == 0 { 80.0 } else { 85.0 }));
        let readings = [Some(86.0)].into_iter().chain(swing).chain([Some(79.9)]);
        assert_eq!(
            walk(&gauge, readings).0,
            [(0, MessageKind::Firing), (10_001, MessageKind::Resolved)]
        );
    }

    proptest! {
        #[test]
        fn a_band_keeps_still_whatever_swings_in_it(
            swing in proptest::collection::vec(80.0..=85.0_f64, 0..500),
            hold_for in 0_u64..5,
        ) {
            let gauge = gauge("< 80", "> 85", hold_for);
            let quiet = walk(&gauge, swing.iter().copied().map(Some));
            prop_assert_eq!(quiet.0, []);
            let beyond = std::iter::repeat_n(Some(90.0), usize::try_from(hold_for).expect("few") + 1);
            let readings: Vec<_> = beyond.chain(swing.iter().copied().map(Some)).chain([Some(10.0)]).collect();
            let last = u32::try_from(readings.len()).expect("few") - 1;
            let held = u32::try_from(hold_for).expect("few");
            prop_assert_eq!(walk(&gauge, readings).0, [(held, MessageKind::Firing), (last, MessageKind::Resolved)]);
        }

        #[test]
        fn firing_and_resolved_alternate_and_an_unknown_reading_says_neither(
            readings in proptest::collection::vec(proptest::option::weighted(0.8, 60.0..100.0_f64), 0..300),
            hold_for in 0_u64..4,
        ) {
            let gauge = gauge("< 80", "> 85", hold_for);
            let (told, levels) = walk(&gauge, readings.clone());
            for (place, (at, kind)) in told.iter().enumerate() {
                let expected = if place % 2 == 0 { MessageKind::Firing } else { MessageKind::Resolved };
                prop_assert_eq!(*kind, expected);
                let value = readings[usize::try_from(*at).expect("few")].expect("a known reading");
                let right = if place % 2 == 0 { value > 85.0 } else { value < 80.0 };
                prop_assert!(right);
            }
            for (level, reading) in levels.iter().zip(&readings) {
                prop_assert_eq!(reading.is_none(), *level == Level::Unknown);
            }
        }
    }

    #[test]
    fn an_alert_fires_only_after_it_has_held_for_long_enough() {
        let gauge = gauge("< 80", "> 85", 10);
        let mut readings = vec![Some(90.0); 10];
        assert_eq!(walk(&gauge, readings.clone()), (vec![], vec![Level::Pending; 10]));
        readings.push(Some(90.0));
        assert_eq!(walk(&gauge, readings.clone()).0, [(10, MessageKind::Firing)]);
        // One good reading begins the time anew; one that is unknown does not.
        readings[5] = Some(84.0);
        assert_eq!(walk(&gauge, readings.clone()).0, []);
        readings[5] = None;
        assert_eq!(walk(&gauge, readings).0, [(10, MessageKind::Firing)]);
    }

    #[test]
    fn what_is_unknown_neither_fires_nor_resolves_and_is_told_after_a_while() {
        let mut gauge = gauge("< 80", "> 85", 0);
        let readings = [Some(90.0), None, None, None, Some(82.0), None, Some(70.0)];
        assert_eq!(
            walk(&gauge, readings),
            (
                vec![(0, MessageKind::Firing), (6, MessageKind::Resolved)],
                vec![
                    Level::Firing,
                    Level::Unknown,
                    Level::Unknown,
                    Level::Unknown,
                    Level::Firing,
                    Level::Unknown,
                    Level::Ok
                ]
            )
        );
        gauge.unknown_after = Some(Duration::from_secs(120));
        let readings = [None, None, None, None, Some(70.0)];
        assert_eq!(
            walk(&gauge, readings).0,
            [(2, MessageKind::Unknown), (4, MessageKind::Resolved)]
        );
    }

    #[test]
    fn a_gauge_without_an_alert_tells_nothing_and_one_without_a_target_clears_at_its_alert() {
        assert_eq!(walk(&gauge("< 80", "", 0), [Some(99.0), None, Some(1.0)]).0, []);
        let (state, _) = step(
            &gauge("< 80", "", 0),
            None,
            minute(0),
            &Reading::Known(99.0),
            "percent",
        );
        assert_eq!((state.level, state.on_target), (Level::Ok, Some(false)));
        let readings = [Some(86.0), Some(85.0), Some(86.0)];
        let kinds: Vec<_> = walk(&gauge("", "> 85", 0), readings)
            .0
            .into_iter()
            .map(|(_, kind)| kind)
            .collect();
        assert_eq!(
            kinds,
            [MessageKind::Firing, MessageKind::Resolved, MessageKind::Firing]
        );
    }

    #[test]
    fn thresholds_are_read_with_their_units() {
        for (text, shown) in [
            ("< 80", "< 80"),
            (">85 %", "> 85 %"),
            ("<= 1 GiB", "<= 1.0 GiB"),
            ("> 3 days", "> 3 days"),
            (">= 1_000", ">= 1,000"),
        ] {
            assert_eq!(Threshold::parse(text).expect(text).show(""), shown);
        }
        assert_eq!(
            Threshold::parse("< 80").expect("a threshold").show("percent"),
            "< 80 %"
        );
        for bad in ["", "80", "< ", "= 80", "< eighty", "> 3 parsecs", "< NaN"] {
            assert!(Threshold::parse(bad).is_err(), "{bad}");
        }
    }
}
