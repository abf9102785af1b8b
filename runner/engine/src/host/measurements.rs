//! `measurements`: numbers kept over time.

use sereno_core::report;

use crate::bindings::measurements::{Host, Measurement};
use crate::state::State;
use crate::text::{clean, line};

/// Bytes of a measurement's name, target or unit: they are keys, and columns of tables.
const KEY_BYTES_MAX: usize = 256;

impl Host for State {
    async fn add(&mut self, measurement: Measurement) -> wasmtime::Result<()> {
        self.count_call()?;
        // JSON has no such numbers, and a reading that is none is unknown.
        let value = measurement.value.filter(|value| value.is_finite());
        let note = match (&measurement.note, measurement.value) {
            (None, Some(value)) if !value.is_finite() => Some(format!("the plugin measured {value}")),
            (note, _) => note.as_deref().map(line),
        };
        let measurement = report::Measurement {
            name: clean(&measurement.name, KEY_BYTES_MAX),
            target: clean(&measurement.target, KEY_BYTES_MAX),
            value,
            unit: clean(&measurement.unit, KEY_BYTES_MAX),
            note,
        };
        let texts = [&measurement.name, &measurement.target, &measurement.unit];
        let bytes = texts.map(String::len).iter().sum::<usize>()
            + measurement.note.as_ref().map_or(0, String::len)
            + size_of::<f64>();
        self.count_output(bytes)?;
        self.book.measurement(measurement);
        Ok(())
    }
}
