//! How large and how deep one event may be. A batch is as large as its events.

use serde_json::Value as Json;

use super::EventError;

/// A job's name and a few params: a hundred times more than any of ours. What a carrier would allow is far more.
const BYTES_MAX: usize = 64 << 10;

/// An envelope around params of records in lists is 7 deep.
const DEPTH_MAX: usize = 32;

/// Refuses what is larger or deeper, without copying it.
pub(super) fn check(event: &Json) -> Result<(), EventError> {
    let too_large = || {
        EventError::new(event, format!("the event is larger than {} KiB", BYTES_MAX >> 10))
            .hint("an event names work; what the work needs belongs into the configuration")
    };
    let mut bytes = 0_usize;
    let mut open = vec![(event, 1_usize)];
    while let Some((value, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            let message = format!("the event is nested deeper than {DEPTH_MAX} levels");
            return Err(EventError::new(event, message));
        }
        // Two for quotes or brackets, as its text would have.
        bytes += 2;
        match value {
            Json::String(text) => bytes += text.len(),
            Json::Array(elements) => open.extend(elements.iter().map(|element| (element, depth + 1))),
            Json::Object(keys) => {
                for (key, value) in keys {
                    bytes += key.len() + 3;
                    open.push((value, depth + 1));
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => bytes += 4,
        }
        if bytes > BYTES_MAX {
            return Err(too_large());
        }
    }
    Ok(())
}

/// The same for a text that is to become one.
pub(super) fn check_text(event: &Json, text: &str) -> Result<(), EventError> {
    if text.len() <= BYTES_MAX {
        return Ok(());
    }
    let message = format!("the body of the message is larger than {} KiB", BYTES_MAX >> 10);
    Err(EventError::new(event, message)
        .hint("an event names work; what the work needs belongs into the configuration"))
}
