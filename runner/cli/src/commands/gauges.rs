//! `gauges`: how every gauge stands.

use std::sync::Arc;

use sereno_core::dispatch::{self, GaugeShown};
use sereno_core::document;
use sereno_core::gauge::Level;

use super::source;
use crate::args::{GaugeFailOn, Gauges, Global};
use crate::compose;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::gauges::list;

/// Exit code of a success with something to look at.
const FOUND: u8 = 6;

pub(super) async fn gauges(global: &Global, args: &Gauges, output: &Output) -> Result<u8, Failure> {
    let config = source(global)?.parse(output)?;
    let services = compose::reading(Arc::clone(&config)).await?;
    let now = services.clock.now();
    let shown = dispatch::gauges(&services).await?;
    if output.is_text() {
        output.data(&list(&shown, now, output.paint))?;
    } else {
        output.documents("gauges", shown.iter().map(document::gauge).collect())?;
    }
    let stands = |one: &GaugeShown<'_>| {
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
