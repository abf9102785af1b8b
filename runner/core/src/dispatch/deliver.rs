//! Sends what waits in the outbox, for a bounded time. Whatever a sink does not take stays there for the next command.
//!
//! It never changes how a run ended. At least once: a sender that dies after a sink took a message and before that was
//! written down leaves it to be sent again, with the same id.

use std::time::Duration;

use futures::future::join_all;

use super::Services;
use crate::ports::watch::Outgoing;
use crate::value::Instant;

/// As long as a person waits for a command whose work is done.
pub const DELIVERY_TIME: Duration = Duration::from_secs(10);

/// Longer than [`DELIVERY_TIME`]: nobody else takes a letter that is being sent.
const HELD_FOR: Duration = Duration::from_mins(1);

/// After the first failure; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(30);

/// A sink that comes back is used again within the hour.
const BACKOFF_MAX: Duration = Duration::from_hours(1);

/// Letters that are under way at once.
const AT_ONCE: u32 = 16;

/// The same when somebody asks for all of them.
const ALL_MAX: u32 = 1_000;

/// What became of the letters that were tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Ids that a sink took.
    pub sent: Vec<String>,
    /// Ids that none took, each with the reason.
    pub put_off: Vec<(String, String)>,
    /// The time was over before all were tried, or the ledger could not be asked.
    pub cut_short: bool,
}

/// Sends what is due; with `all` also what was to be tried later.
pub async fn deliver(services: &Services, all: bool) -> Delivery {
    let mut delivery = Delivery::default();
    if services.config.sinks.is_empty() {
        return delivery;
    }
    let finished = tokio::select! {
        finished = send_due(services, all, &mut delivery) => finished,
        () = services.clock.sleep(DELIVERY_TIME) => false,
    };
    delivery.cut_short = !finished;
    delivery
}

async fn send_due(services: &Services, all: bool, delivery: &mut Delivery) -> bool {
    let begun = services.clock.now();
    let mut due = if all { begun + BACKOFF_MAX } else { begun };
    loop {
        let limit = if all { ALL_MAX } else { AT_ONCE };
        let claimed = services.ledger.claim(begun, due, begun + HELD_FOR, limit).await;
        // What is put off now is not tried again by this command.
        due = begun;
        let letters = match claimed {
            Ok(letters) if letters.is_empty() => return true,
            Ok(letters) => letters,
            Err(error) => {
                tracing::warn!(%error, "messages stay in the outbox");
                return false;
            }
        };
        let done = join_all(letters.iter().map(|letter| send(services, letter, begun))).await;
        for (letter, result) in letters.into_iter().zip(done) {
            match result {
                Ok(()) => delivery.sent.push(letter.letter.id),
                Err(reason) => delivery.put_off.push((letter.letter.id, reason)),
            }
        }
    }
}

async fn send(services: &Services, outgoing: &Outgoing, begun: Instant) -> Result<(), String> {
    let letter = &outgoing.letter;
    let taken = services.sinks.send(&letter.sink, &letter.message).await;
    let now = services.clock.now();
    let (written, answer) = match taken {
        Ok(()) => (services.ledger.sent(&letter.id, now).await, Ok(())),
        Err(error) => {
            // Reckoned so that nothing is tried twice by one command.
            let next_at = now.max(begun) + backoff(outgoing.attempts);
            tracing::warn!(sink = %letter.sink, reason = %error, "a message was not taken and is tried again later");
            let written = services.ledger.put_off(&letter.id, &error.reason, next_at).await;
            (written, Err(error.reason))
        }
    };
    if let Err(error) = written {
        tracing::warn!(%error, "what became of a message could not be written down");
    }
    answer
}

fn backoff(attempts: u32) -> Duration {
    let doubled = BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    doubled.min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_grow_rarer_up_to_an_hour() {
        let seconds: Vec<u64> = [1, 2, 3, 8, 50]
            .into_iter()
            .map(|n| backoff(n).as_secs())
            .collect();
        assert_eq!(seconds, [30, 60, 120, 3_600, 3_600]);
    }
}
