//! A line on standard error that tells how far a run is, while a person looks at it.
//!
//! Nothing is shown for the first moments, so that short runs leave no trace, and nothing at all without a terminal.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sereno_core::ports::database::Progress;
use sereno_core::report::Effect;
use sereno_core::units::show_count;

use super::words::place;

/// A run that is over before this needs no progress.
const SHOWN_AFTER: Duration = Duration::from_millis(400);

/// Steady enough to be read, often enough to look alive.
const TICK: Duration = Duration::from_millis(120);

/// Nobody watches.
pub(crate) struct Unwatched;

impl Progress for Unwatched {
    fn effect(&self, _effect: &Effect) {}
}

/// A person watches a terminal.
pub(crate) struct Watched {
    start: Instant,
    bar: Mutex<Option<ProgressBar>>,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            bar: Mutex::new(None),
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Progress for Watched {
    fn effect(&self, effect: &Effect) {
        if self.start.elapsed() < SHOWN_AFTER {
            return;
        }
        // A line of progress is not worth a panic, nor waiting.
        let Ok(mut slot) = self.bar.try_lock() else { return };
        let bar = slot.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(line(effect));
    }
}

/// `delete app.user_sessions: 1,000 of 3,120 rows`.
fn line(effect: &Effect) -> String {
    let amount = if effect.planned > effect.done {
        format!("{} of {}", show_count(effect.done), show_count(effect.planned))
    } else {
        show_count(effect.done.max(effect.planned))
    };
    format!("{} {}: {amount} {}", effect.verb, place(&effect.on), effect.unit)
}
