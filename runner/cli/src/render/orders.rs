//! What an operator's word did: what is paused, what of it is still at work, and what was approved.

use sereno_core::approval::Standing;
use sereno_core::dispatch::{PlannedAll, PlannedJob, Standstill};
use sereno_core::event::Scope;
use sereno_core::ports::orders::Raised;
use sereno_core::run::Outcome;
use sereno_core::value::show_instant;

use super::paint::Paint;
use super::runs::second;
use super::words::effect as effect_words;

/// What a pause or a resume did.
pub(crate) fn standstill(done: &Standstill, is_paused: bool, program: &str, paint: Paint) -> String {
    let mut text = match (&done.scope, is_paused) {
        (Scope::All, true) => "everything is paused: nothing starts, and what is at work stops\n".to_owned(),
        (Scope::All, false) => "everything may start again\n".to_owned(),
        (Scope::One(work), true) => format!("{work} is paused: nothing starts it\n"),
        (Scope::One(work), false) => format!("{work} may start again\n"),
    };
    for row in done.at_work.iter().filter(|_| is_paused) {
        text.push_str(&match &done.scope {
            Scope::All => format!("  run {} of {} is about to stop\n", row.id, row.work),
            Scope::One(_) => format!(
                "  run {} goes on to its end; to stop it: {program} runs cancel {}\n",
                row.id, row.id
            ),
        });
    }
    if is_paused {
        let what = match &done.scope {
            Scope::All => "--all",
            Scope::One(work) => work.name(),
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

/// All jobs, planned: which of them a schedule may apply, and what each would do.
pub(crate) fn planned_all(all: &PlannedAll, program: &str, paint: Paint) -> String {
    let mut text = String::new();
    for job in &all.jobs {
        let how = match (&job.before, &job.report, &job.error) {
            (_, _, Some(error)) => paint.error(format!("not approved: {error}")),
            (_, None, None) => "only reads".to_owned(),
            (Some(Standing::NotNeeded), Some(report), None) => {
                format!("{}; needs no approval", report.outcome.label())
            }
            (Some(Standing::Given(_)), _, None) if job.is_approved => "approved, as before".to_owned(),
            (_, _, None) if job.is_approved => "approved".to_owned(),
            (_, Some(report), None) => paint.error(format!("not approved: {}", report.outcome.label())),
        };
        text.push_str(&format!("{}: {how}\n", paint.strong(&job.job)));
        for change in job.before.as_ref().map(Standing::changes).unwrap_or_default() {
            text.push_str(&format!("  since the last approval: {change}\n"));
        }
        if let Some(report) = &job.report {
            for effect in report.effects() {
                text.push_str(&format!("  {}\n", effect_words(effect, report.mode, paint)));
            }
            if !job.is_approved && report.outcome != Outcome::Succeeded {
                text.push_str(&format!(
                    "  {} {program} runs show {}\n",
                    paint.hint("why:"),
                    report.run
                ));
            }
        }
    }
    let needs = |job: &&PlannedJob| job.before.as_ref() != Some(&Standing::NotNeeded);
    let (needed, approved) = (
        all.jobs.iter().filter(needs).count(),
        all.jobs.iter().filter(|job| job.is_approved).count(),
    );
    text.push_str(&format!(
        "approved {approved} of {needed} jobs that need it; nothing was changed\n"
    ));
    text
}
