//! A writer in memory: how often it was told.

use super::FakeHost;
use crate::{Error, NotifyWriter};

/// One writer, which can be told. What keeps it from that is scripted with [`FakeHost::fail_on`].
#[derive(Debug, Default)]
pub struct FakeWriter {
    /// How often it was told.
    pub told: u32,
}

impl FakeHost {
    fn at_writer(&mut self, call: &'static str, name: &str) -> Result<&mut FakeWriter, Error> {
        self.enter(call, name)?;
        self.writers
            .get_mut(name)
            .ok_or_else(|| Error::Denied(format!("writer.{name} = [\"notify\"]")))
    }
}

impl NotifyWriter for FakeHost {
    fn look(&mut self, writer: &str) -> Result<String, Error> {
        self.at_writer("look", writer)?;
        Ok(format!("SIGHUP to process 4711 ({writer})"))
    }

    fn notify(&mut self, writer: &str) -> Result<String, Error> {
        self.at_writer("notify", writer)?.told += 1;
        Ok(format!("SIGHUP to process 4711 ({writer})"))
    }
}
