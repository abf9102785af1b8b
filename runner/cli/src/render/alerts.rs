//! Messages of the outbox in a list.

use serde_json::{Value as Json, json};
use sereno_core::ports::watch::{LetterState, Outgoing};
use sereno_core::value::{Instant, show_instant};

use super::paint::Paint;
use super::table::table;

/// Newest first.
pub(crate) fn list(outbox: &[Outgoing], paint: Paint) -> String {
    if outbox.is_empty() {
        return "no messages\n".to_owned();
    }
    let rows: Vec<[String; 7]> = outbox
        .iter()
        .map(|one| {
            let message = &one.letter.message;
            [
                show_instant(second(one.letter.created_at)),
                state(one.state).to_owned(),
                one.letter.sink.to_string(),
                message.kind.label().to_owned(),
                message.subject.clone(),
                one.attempts.to_string(),
                match &one.last_error {
                    Some(error) => format!("{} ({error})", message.title),
                    None => message.title.clone(),
                },
            ]
        })
        .collect();
    table(
        ["written", "state", "sink", "kind", "about", "tries", "message"],
        &rows,
        paint,
    )
}

fn state(state: LetterState) -> &'static str {
    match state {
        LetterState::Waiting => "waiting",
        LetterState::Sent => "sent",
        LetterState::GivenUp => "given up",
    }
}

fn second(at: Instant) -> Instant {
    Instant::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}

/// The same for programs.
pub(crate) fn outgoing_json(one: &Outgoing) -> Json {
    json!({
        "id": one.letter.id,
        "sink": one.letter.sink,
        "state": state(one.state).replace(' ', "-"),
        "attempts": one.attempts,
        "created_at": one.letter.created_at,
        "next_at": (one.state == LetterState::Waiting).then_some(one.next_at),
        "ended_at": one.ended_at,
        "last_error": one.last_error,
        "message": one.letter.message,
    })
}
