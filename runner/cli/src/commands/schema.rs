//! `schema`: the JSON Schema of the configuration.

use crate::failure::Failure;
use crate::output::Output;

pub(super) fn schema(output: &Output) -> Result<u8, Failure> {
    output.document(&sereno_core::config::schema())?;
    Ok(0)
}
