//! Runs and gauges as programs read them: how a run ended and where it came from are the same short texts everywhere.
//!
//! The ledger keeps its own shape, in which a report can be read back; `docs/json.md` describes this one.

use serde_json::{Value as Json, json};

use crate::dispatch::GaugeShown;
use crate::ports::ledger::RunRow;
use crate::report::Report;
use crate::run::Outcome;

/// A whole report, with what its outcome says in `message`.
pub fn report(report: &Report) -> Json {
    let mut document = json!(report);
    document["outcome"] = json!(report.outcome.label());
    document["message"] = json!(report.outcome.message());
    document["reason"] = json!(report.reason.label());
    for (place, step) in report.steps.iter().enumerate() {
        let outcome = step.outcome.as_ref();
        document["steps"][place]["outcome"] = json!(outcome.map(Outcome::label));
        document["steps"][place]["message"] = json!(outcome.and_then(Outcome::message));
    }
    document
}

/// A run in a list. Its outcome is a label already; null while it is at work.
pub fn row(row: &RunRow) -> Json {
    let mut document = json!(row);
    document["reason"] = json!(row.reason.label());
    document
}

/// A gauge and how it stands.
pub fn gauge(one: &GaugeShown<'_>) -> Json {
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
