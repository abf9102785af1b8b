//! Gauges in a list: value, target, state, and where it is going.

use std::time::Duration;

use serde_json::{Value as Json, json};
use sereno_core::gauge::{Gauge, GaugeState, Level, show_value};
use sereno_core::units::show_duration;
use sereno_core::value::Instant;

use super::paint::Paint;
use super::table::table;

/// A gauge and all there is to tell of it.
pub(crate) struct Shown<'a> {
    pub(crate) gauge: &'a Gauge,
    /// None: never measured.
    pub(crate) state: Option<GaugeState>,
    /// Oldest first; none is unknown.
    pub(crate) readings: Vec<Option<f64>>,
    /// Until the bound is met.
    pub(crate) days_until: Option<f64>,
}

/// By name.
pub(crate) fn list(shown: &[Shown<'_>], now: Instant, paint: Paint) -> String {
    if shown.is_empty() {
        return "no gauges yet: add a section `[gauge.NAME]`\n".to_owned();
    }
    let rows: Vec<[String; 8]> = shown
        .iter()
        .map(|one| {
            let unit = one.state.as_ref().map_or("", |state| state.unit.as_str());
            let held = |threshold: Option<&sereno_core::gauge::Threshold>| {
                threshold.map_or("-".to_owned(), |threshold| threshold.show(unit))
            };
            [
                one.gauge.name.to_string(),
                value(one),
                held(one.gauge.target.as_ref()),
                held(one.gauge.alert.as_ref()),
                state(one).to_owned(),
                sparkline(&one.readings),
                one.days_until.map_or("-".to_owned(), until),
                one.state.as_ref().map_or("never".to_owned(), |state| {
                    let age = (now - state.at).to_std().unwrap_or_default();
                    match age.as_secs() {
                        0..60 => "just now".to_owned(),
                        seconds => format!("{} ago", show_duration(Duration::from_secs(seconds))),
                    }
                }),
            ]
        })
        .collect();
    table(
        [
            "gauge", "value", "target", "alert", "state", "trend", "until", "read",
        ],
        &rows,
        paint,
    )
}

fn value(one: &Shown<'_>) -> String {
    let Some(state) = &one.state else {
        return "-".to_owned();
    };
    let Some(value) = state.value else {
        return "-".to_owned();
    };
    let per = match one.gauge.per {
        Some(per) if per.as_secs() > 86_400 => "/week",
        Some(_) => "/day",
        None => "",
    };
    format!("{}{per}", show_value(value, &state.unit))
}

fn state(one: &Shown<'_>) -> &'static str {
    match &one.state {
        None => "not measured",
        Some(state) => match state.level {
            Level::Ok if state.on_target == Some(false) => "off target",
            Level::Unknown if state.firing_since.is_some() => "unknown, firing",
            level => level.label(),
        },
    }
}

fn until(days: f64) -> String {
    if days < 1.0 {
        "today".to_owned()
    } else if days < 2.0 {
        "1 day".to_owned()
    } else if days > 3_650.0 {
        "years".to_owned()
    } else {
        format!("{days:.0} days")
    }
}

/// Readings as a line of blocks, from the least to the greatest of them; a dot is unknown.
pub(crate) fn sparkline(readings: &[Option<f64>]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let known = || readings.iter().flatten().copied();
    let (least, most) = (
        known().fold(f64::INFINITY, f64::min),
        known().fold(f64::NEG_INFINITY, f64::max),
    );
    let block = |value: f64| {
        let part = if most > least {
            (value - least) / (most - least)
        } else {
            0.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 7"
        )]
        let place = (part * 7.0).round() as usize;
        BLOCKS[place.min(7)]
    };
    readings
        .iter()
        .map(|reading| reading.map_or('·', block))
        .collect()
}

/// The same for programs.
pub(crate) fn shown_json(one: &Shown<'_>) -> Json {
    let state = one.state.as_ref();
    let unit = state.map_or("", |state| state.unit.as_str());
    json!({
        "gauge": one.gauge.name,
        "of": one.gauge.of,
        "on": one.gauge.on,
        "state": state.map_or("not-measured", |state| state.level.label()),
        "firing": state.is_some_and(|state| state.firing_since.is_some()),
        "value": state.and_then(|state| state.value),
        "unit": state.map(|state| &state.unit),
        "note": state.and_then(|state| state.note.as_ref()),
        "on_target": state.and_then(|state| state.on_target),
        "target": one.gauge.target.as_ref().map(|threshold| threshold.show(unit)),
        "alert": one.gauge.alert.as_ref().map(|threshold| threshold.show(unit)),
        "since": state.map(|state| state.since),
        "firing_since": state.and_then(|state| state.firing_since),
        "read_at": state.map(|state| state.at),
        "days_until": one.days_until,
        "readings": one.readings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_goes_from_the_least_to_the_greatest_and_shows_what_is_unknown() {
        assert_eq!(sparkline(&[Some(1.0), None, Some(4.5), Some(8.0)]), "▁·▅█");
        assert_eq!(sparkline(&[Some(3.0), Some(3.0)]), "▁▁");
        assert_eq!(sparkline(&[None]), "·");
        assert_eq!(sparkline(&[]), "");
    }
}
