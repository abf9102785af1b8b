//! What an operator's word did: what is paused, and what of it is still at work.

use serde_json::{Value as Json, json};
use sereno_core::command::Extent;
use sereno_core::dispatch::Standstill;
use sereno_core::ports::orders::Raised;
use sereno_core::value::show_instant;

use super::paint::Paint;
use super::runs::second;
use crate::output::DOCUMENT_SCHEMA_VERSION;

/// What a pause or a resume did.
pub(crate) fn standstill(done: &Standstill, is_paused: bool, program: &str, paint: Paint) -> String {
    let mut text = match (&done.extent, is_paused) {
        (Extent::All, true) => "everything is paused: nothing starts, and what is at work stops\n".to_owned(),
        (Extent::All, false) => "everything may start again\n".to_owned(),
        (Extent::Of(work), true) => format!("{work} is paused: nothing starts it\n"),
        (Extent::Of(work), false) => format!("{work} may start again\n"),
    };
    for row in done.at_work.iter().filter(|_| is_paused) {
        text.push_str(&match &done.extent {
            Extent::All => format!("  run {} of {} is about to stop\n", row.id, row.work),
            Extent::Of(_) => format!(
                "  run {} goes on to its end; to stop it: {program} runs cancel {}\n",
                row.id, row.id
            ),
        });
    }
    if is_paused {
        let what = match &done.extent {
            Extent::All => "--all",
            Extent::Of(work) => work.name(),
        };
        text.push_str(&format!(
            "{} {program} jobs resume {what}\n",
            paint.hint("take it back:")
        ));
    } else {
        for raised in &done.paused {
            text.push_str(&format!("  {}\n", still_paused(raised, program)));
        }
    }
    text
}

/// One pause that stands.
pub(crate) fn still_paused(raised: &Raised, program: &str) -> String {
    let since = show_instant(second(raised.at));
    match raised.on.as_str() {
        "*" => format!("everything is paused since {since}: {program} jobs resume --all"),
        name => format!("`{name}` is paused since {since}: {program} jobs resume {name}"),
    }
}

/// The same for programs.
pub(crate) fn standstill_json(done: &Standstill) -> Json {
    json!({
        "schema_version": DOCUMENT_SCHEMA_VERSION,
        "on": done.extent.subject(),
        "paused": done.paused.iter().map(|raised| json!({ "on": raised.on, "since": raised.at })).collect::<Vec<_>>(),
        "at_work": done.at_work.iter().map(super::json::row).collect::<Vec<_>>(),
    })
}
