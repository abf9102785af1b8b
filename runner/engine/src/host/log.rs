//! `log`: lines for the run's log.

use crate::bindings::log::Host;
use crate::state::State;

impl Host for State {
    async fn write(
        &mut self,
        level: String,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.count_call()?;
        self.log.write(&level, &message, &fields);
        Ok(())
    }
}
