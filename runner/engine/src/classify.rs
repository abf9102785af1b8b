//! What became of a guest, with the blame where it belongs.
//!
//! Order matters: a limit that was met explains the trap that followed it, and not the other way round.

use sereno_core::ports::plugins::GuestEnd;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use crate::limits::{LimitHit, LimitName};
use crate::text::line;

/// How wasmtime words what it gives no type for; `tests/it/guests.rs` holds each of them to a guest that meets it.
const HOSTCALL_FUEL: &str = "fuel allocated for hostcalls has been exhausted";
const HANDLES: &str = "store handle limit exceeded";
const INSTANCES: &str = "resource limit exceeded: instance";
const PARTS: &str = "resource limit exceeded";

/// The end of a guest whose call, or whose instantiation, failed with `error`.
pub(crate) fn classify(error: &wasmtime::Error, last_printed: &str) -> GuestEnd {
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return limit(hit.name, &hit.text);
    }
    let text = format!("{error:#}");
    if text.contains(HOSTCALL_FUEL) {
        return limit(
            LimitName::Bytes,
            "the plugin gave the host more bytes at once than one call may carry",
        );
    }
    let table_full = matches!(
        error.downcast_ref::<ResourceTableError>(),
        Some(ResourceTableError::Full)
    );
    if table_full || text.contains(HANDLES) {
        return limit(
            LimitName::Handles,
            "the plugin holds more handles open than it may have",
        );
    }
    if text.contains(INSTANCES) {
        return limit(LimitName::Handles, "the plugin has more parts than it may have");
    }
    if text.contains(PARTS) {
        return limit(
            LimitName::Memory,
            "the plugin has more memories or tables than it may have",
        );
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return GuestEnd::Trap(format!("it exited with status {status} instead of returning"));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => limit(LimitName::Stack, "the plugin's calls nest too deeply"),
        Some(trap) => GuestEnd::Trap(match last_printed {
            "" => trap.to_string(),
            words => line(&format!("{trap}; its last words: {words}")),
        }),
        None if error.downcast_ref::<PoolConcurrencyLimitError>().is_some()
            || error.downcast_ref::<std::io::Error>().is_some() =>
        {
            GuestEnd::Host(line(&text))
        }
        // What is left are values that break the contract: texts that are no UTF-8, cases that do not exist.
        None => GuestEnd::Trap(line(&text)),
    }
}

fn limit(name: LimitName, text: &str) -> GuestEnd {
    GuestEnd::Limit(name.as_str().to_owned(), line(text))
}
