//! Gauges in a list: value, target, state, and where it is going.

use std::time::Duration;

use sereno_core::dispatch::GaugeShown;
use sereno_core::gauge::{Level, show_value};
use sereno_core::units::show_duration;
use sereno_core::value::Instant;

use super::paint::Paint;
use super::table::table;

/// By name.
pub(crate) fn list(shown: &[GaugeShown<'_>], now: Instant, paint: Paint) -> String {
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

fn value(one: &GaugeShown<'_>) -> String {
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

fn state(one: &GaugeShown<'_>) -> &'static str {
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
