//! `notify-writer`: the programs that keep files open.

use crate::bindings::notify_writer::Host;
use crate::bindings::types;
use crate::state::{Pace, State};

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl Host for State {
    async fn look(&mut self, writer: String) -> Answer<String> {
        let call = self.call(Pace::Look)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move { reach.writer(&writer)?.look(reach.time_left()).await })
            .await)
    }

    async fn notify(&mut self, writer: String) -> Answer<String> {
        let call = self.call(Pace::Step)?;
        let reach = call.reach.clone();
        Ok(call
            .answer(async move { reach.writer(&writer)?.notify(reach.time_left()).await })
            .await)
    }
}
