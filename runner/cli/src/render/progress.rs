//! A line on standard error that tells how far a run is, while a person looks at it.
//!
//! Nothing is shown for the first moments, so that short runs leave no trace, and nothing at all without a terminal.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sereno_core::grant::Verb;
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

    fn waiting(&self, _what: &str) {}
}

/// A person watches a terminal.
#[derive(Default)]
pub(crate) struct Watched(Mutex<Line>);

/// The line of the run that is at work.
#[derive(Default)]
struct Line {
    /// When its first effect was told.
    since: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Line {
    fn show(&mut self, words: String) {
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(words);
    }
}

impl Watched {
    /// Takes the line away; the next run starts another.
    pub(crate) fn clear(&self) {
        if let Ok(mut line) = self.0.lock()
            && let Some(bar) = std::mem::take(&mut *line).bar
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
        // A line of progress is not worth a panic, nor waiting.
        let Ok(mut line) = self.0.try_lock() else { return };
        if line.since.get_or_insert_with(Instant::now).elapsed() < SHOWN_AFTER {
            return;
        }
        line.show(words(effect));
    }

    fn waiting(&self, what: &str) {
        if let Ok(mut line) = self.0.try_lock() {
            line.show(what.to_owned());
        }
    }
}

/// `deleting from app.user_sessions: 1,000 of 3,120 rows`.
fn words(effect: &Effect) -> String {
    let doing = match effect.verb {
        Verb::Delete => "deleting from",
        Verb::Remove => "removing from",
        Verb::Vacuum => "vacuuming",
        Verb::Analyze => "analyzing",
        Verb::Reindex => "reindexing",
        Verb::Read | Verb::Query => "reading",
    };
    let amount = if effect.done > 0 && effect.planned > effect.done {
        format!("{} of {}", show_count(effect.done), show_count(effect.planned))
    } else {
        show_count(effect.done.max(effect.planned))
    };
    format!("{doing} {}: {amount} {}", place(&effect.on), effect.unit)
}
