//! How every gauge stands: what the ledger keeps of it, its last readings and where it is going. Nothing is judged anew.

use std::collections::BTreeMap;

use super::judge::trend;
use super::{DispatchError, Services};
use crate::gauge::{Gauge, GaugeState};
use crate::ports::watch::{MeasurementQuery, Standing};
use crate::trend::{SAMPLE_EVERY, WINDOW};

/// As many readings as the line of a terminal has room for.
const READINGS: u32 = 16;

/// A gauge and all there is to tell of it.
pub struct GaugeShown<'a> {
    /// As it is configured.
    pub gauge: &'a Gauge,
    /// None: never measured.
    pub state: Option<GaugeState>,
    /// Oldest first; none is unknown.
    pub readings: Vec<Option<f64>>,
    /// Until the bound is met.
    pub days_until: Option<f64>,
}

/// All of them, by name.
///
/// # Errors
/// The ledger's own.
pub async fn gauges(services: &Services) -> Result<Vec<GaugeShown<'_>>, DispatchError> {
    let now = services.clock.now();
    let gauges = &services.config.gauges;
    let subjects: Vec<String> = gauges.values().map(Gauge::subject).collect();
    let standings = services.ledger.standings(&subjects).await?.into_iter();
    let standings: BTreeMap<String, Standing> = standings
        .map(|standing| (standing.subject.clone(), standing))
        .collect();
    let mut shown = Vec::new();
    for gauge in gauges.values() {
        let state = standings
            .get(&gauge.subject())
            .and_then(|standing| serde_json::from_value::<GaugeState>(standing.body.clone()).ok());
        let query = MeasurementQuery {
            name: gauge.of.clone(),
            target: gauge.on.clone(),
            since: now - WINDOW,
            every: Some(SAMPLE_EVERY),
            limit: READINGS,
        };
        let samples = services.ledger.measurements(&query).await?;
        let days_until = match gauge.capacity() {
            Some(bound) => trend(services, gauge, now, None)
                .await?
                .and_then(|trend| trend.days_until(bound.number)),
            None => None,
        };
        shown.push(GaugeShown {
            gauge,
            state,
            readings: samples.iter().map(|sample| sample.measurement.value).collect(),
            days_until,
        });
    }
    Ok(shown)
}
