//! A line on standard error that tells how far a run is, while a person looks at it.
//!
//! Nothing is shown for the first moments, so that short runs leave no trace, and nothing at all without a terminal.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sereno_core::grant::Verb;
use sereno_core::ports::database::Progress;
use sereno_core::report::Effect;
use sereno_core::run::Mode;
use sereno_core::units::show_count;

use super::words::place;

/// A run that is over before this needs no progress.
pub(crate) const SHOWN_AFTER: Duration = Duration::from_millis(400);

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
    /// When it began.
    since: Option<Instant>,
    /// Which job, before what it is doing.
    job: String,
    /// What it is doing.
    doing: String,
    bar: Option<ProgressBar>,
}

impl Watched {
    /// A run begins, of which nothing more is known than what it is meant to do.
    pub(crate) fn start(&self, job: String, doing: String) {
        if let Ok(mut line) = self.0.lock() {
            *line = Line {
                since: Some(Instant::now()),
                job,
                doing,
                bar: None,
            };
        }
    }

    /// Shows the line of a run that has begun; [`SHOWN_AFTER`] is over.
    pub(crate) fn show(&self) {
        if let Ok(mut line) = self.0.lock()
            && line.since.is_some()
        {
            line.draw();
        }
    }

    /// Takes the line away; the next run starts another.
    pub(crate) fn clear(&self) {
        if let Ok(mut line) = self.0.lock()
            && let Some(bar) = std::mem::take(&mut *line).bar
        {
            bar.finish_and_clear();
        }
    }
}

impl Line {
    fn draw(&mut self) {
        let elapsed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_elapsed(elapsed);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(format!("{}: {}", self.job, self.doing));
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
        let since = *line.since.get_or_insert_with(Instant::now);
        line.doing = words(effect);
        if line.bar.is_some() || since.elapsed() >= SHOWN_AFTER {
            line.draw();
        }
    }

    fn waiting(&self, what: &str) {
        if let Ok(mut line) = self.0.try_lock() {
            what.clone_into(&mut line.doing);
            line.draw();
        }
    }
}

/// `looking at directory.temp`, which is all that is known at first.
pub(crate) fn beginning(mode: Mode, targets: &[String]) -> String {
    let doing = match mode {
        Mode::Plan => "looking at",
        Mode::Apply => "working on",
    };
    format!("{doing} {}", targets.join(", "))
}

/// `deleting from app.user_sessions: 1,000 of 3,120 rows`.
fn words(effect: &Effect) -> String {
    let doing = match effect.verb {
        Verb::Delete => "deleting from",
        Verb::Detach => "detaching from",
        Verb::Drop => "dropping from",
        Verb::Remove => "removing from",
        Verb::Rename => "renaming in",
        Verb::Compress => "compressing in",
        Verb::Truncate => "emptying in",
        Verb::Vacuum => "vacuuming",
        Verb::Analyze => "analyzing",
        Verb::Reindex => "reindexing",
        Verb::Post => "posting to",
        Verb::Write => "writing to",
        Verb::Notify => "telling",
        Verb::Terminate => "ending connections of",
        Verb::VacuumFull => "rewriting",
        Verb::Backup => "backing up",
        Verb::Restore => "restoring into",
        Verb::Read | Verb::ReadContent | Verb::Query | Verb::Get => "reading",
    };
    let amount = if effect.done > 0 && effect.planned > effect.done {
        format!("{} of {}", show_count(effect.done), show_count(effect.planned))
    } else {
        show_count(effect.done.max(effect.planned))
    };
    format!("{doing} {}: {amount} {}", place(&effect.on), effect.unit)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{sample, within};
    use super::*;

    fn message(watched: &Watched) -> Option<String> {
        let line = watched.0.lock().expect("nobody panicked");
        line.bar.as_ref().map(ProgressBar::message)
    }

    #[test]
    fn a_run_is_shown_before_its_first_effect_and_is_gone_at_its_end() {
        let watched = Watched::default();
        watched.show();
        assert_eq!(message(&watched), None, "no run has begun");
        let targets = ["database.app".to_owned(), "directory.temp".to_owned()];
        watched.start("expired-sessions".to_owned(), beginning(Mode::Plan, &targets));
        assert_eq!(message(&watched), None, "it may be over soon");
        watched.show();
        assert_eq!(
            message(&watched).as_deref(),
            Some("expired-sessions: looking at database.app, directory.temp")
        );
        let report = sample(Mode::Apply, sereno_core::run::Outcome::Succeeded, within());
        let effect = report.effects().next().expect("an effect");
        watched.effect(&Effect {
            done: 1_000,
            ..effect.clone()
        });
        assert_eq!(
            message(&watched).as_deref(),
            Some("expired-sessions: deleting from app.user_sessions: 1,000 of 3,120 rows")
        );
        watched.clear();
        assert_eq!(message(&watched), None);
    }
}
