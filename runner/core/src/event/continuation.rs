//! More work under a key: what a message carries that makes it go on. The cursor stays in the ledger.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// `{"v":1,"continue":{"key":"…","attempt":3}}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continuation {
    /// The run's key, as its report has it.
    pub key: String,
    /// The attempt that left more to do.
    pub attempt: u32,
}

impl Continuation {
    /// The event that asks for it.
    pub fn event(&self) -> Json {
        json!({ "v": 1, "continue": self })
    }
}
