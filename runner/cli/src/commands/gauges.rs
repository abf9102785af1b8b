//! `gauges`: how every gauge stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use sereno_core::dispatch::trend;
use sereno_core::gauge::{GaugeState, Level};
use sereno_core::ports::watch::{MeasurementQuery, Standing};
use sereno_core::trend::SAMPLE_EVERY;

use super::source;
use crate::args::{GaugeFailOn, Gauges, Global};
use crate::compose;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::gauges::{Shown, list, shown_json};

/// As many readings as the line of a terminal has room for.
const SPARKS: u32 = 16;

/// Exit code of a success with something to look at.
const FOUND: u8 = 6;

pub(super) async fn gauges(global: &Global, args: &Gauges, output: &Output) -> Result<u8, Failure> {
    let config = source(global)?.parse(output)?;
    let services = compose::reading(Arc::clone(&config)).await?;
    let now = services.clock.now();
    let subjects: Vec<String> = config
        .gauges
        .values()
        .map(sereno_core::gauge::Gauge::subject)
        .collect();
    let standings: BTreeMap<String, Standing> = services
        .ledger
        .standings(&subjects)
        .await?
        .into_iter()
        .map(|standing| (standing.subject.clone(), standing))
        .collect();
    let mut shown = Vec::new();
    for gauge in config.gauges.values() {
        let state = standings
            .get(&gauge.subject())
            .and_then(|standing| serde_json::from_value::<GaugeState>(standing.body.clone()).ok());
        let query = MeasurementQuery {
            name: gauge.of.clone(),
            target: gauge.on.clone(),
            since: now - sereno_core::trend::WINDOW,
            every: Some(SAMPLE_EVERY),
            limit: SPARKS,
        };
        let samples = services.ledger.measurements(&query).await?;
        let days_until = match gauge.capacity() {
            Some(bound) => trend(&services, gauge, now, None)
                .await?
                .and_then(|trend| trend.days_until(bound.number)),
            None => None,
        };
        shown.push(Shown {
            gauge,
            state,
            readings: samples.iter().map(|sample| sample.measurement.value).collect(),
            days_until,
        });
    }
    if output.is_text() {
        output.data(&list(&shown, now, output.paint))?;
    } else {
        output.documents("gauges", shown.iter().map(shown_json).collect())?;
    }
    let stands = |one: &Shown| {
        let state = one.state.as_ref();
        let fires = state.is_some_and(|state| state.firing_since.is_some());
        let misses = fires || state.is_some_and(|state| state.on_target == Some(false));
        let unknown = state.is_none_or(|state| state.level == Level::Unknown);
        match args.fail_on {
            GaugeFailOn::Firing => fires,
            GaugeFailOn::Target => misses,
            GaugeFailOn::Unknown => misses || unknown,
            GaugeFailOn::None => false,
        }
    };
    Ok(if shown.iter().any(stands) { FOUND } else { 0 })
}
