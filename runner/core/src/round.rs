//! A round: an ordered group of jobs in one maintenance window, and which of its steps comes next.
//!
//! The decision is pure: it is handed what became of the steps so far. Running them is `dispatch`.

use std::time::Duration;

use crate::grant::Verb;
use crate::job::Job;
use crate::name::{JobName, RoundName, SinkName};
use crate::report::StepReport;
use crate::run::Outcome;
use crate::schedule::Schedule;

/// `[round.NAME]`.
#[derive(Debug, Clone)]
pub struct Round {
    /// Its name.
    pub name: RoundName,
    /// When it runs by itself.
    pub schedule: Option<Schedule>,
    /// No step starts later than this after its beginning; none: whenever it is its turn.
    pub window: Option<Duration>,
    /// Rules and schedules whose bare events mean this round.
    pub event_sources: Vec<String>,
    /// Where messages go about steps that were not started.
    pub sinks: Vec<SinkName>,
    /// In their order.
    pub steps: Vec<Step>,
}

/// A job of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which job.
    pub job: JobName,
    /// Earlier steps that must have succeeded, defaults filled in.
    pub after: Vec<JobName>,
}

/// What to do about the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<'a> {
    /// Run it.
    Run(&'a Step),
    /// Leave it out, for this reason.
    Leave(&'a Step, String),
    /// There is none.
    End,
}

impl Round {
    /// True when `job` is one of its steps.
    pub fn has(&self, job: &JobName) -> bool {
        self.steps.iter().any(|step| step.job == *job)
    }

    /// What comes after `done`, which has one entry for each step so far, in their order.
    pub fn next(&self, done: &[StepReport], is_window_over: bool) -> Next<'_> {
        let Some(step) = self.steps.get(done.len()) else {
            return Next::End;
        };
        if is_window_over {
            return Next::Leave(step, "the window had ended".to_owned());
        }
        let failed = step.after.iter().find(|after| {
            let succeeded =
                |done: &StepReport| done.job == **after && done.outcome == Some(Outcome::Succeeded);
            !done.iter().any(succeeded)
        });
        match failed {
            Some(after) => Next::Leave(step, format!("it comes after `{after}`, which did not succeed")),
            None => Next::Run(step),
        }
    }
}

/// What a step comes after that does not say so: every earlier backup where it destroys, nothing where it reads.
pub fn after_by_default(job: &Job, earlier: &[&Job]) -> Vec<JobName> {
    if !job.grants.is_destructive() || is_backup(job) {
        return Vec::new();
    }
    let backups = earlier.iter().filter(|job| is_backup(job));
    backups.map(|job| job.name.clone()).collect()
}

/// True when the job may make a backup: nobody is granted that to do something else.
fn is_backup(job: &Job) -> bool {
    let mut verbs = job.grants.0.values().flatten();
    verbs.any(|verb| *verb == Verb::Backup)
}

/// How a round ends whose steps ended so: the worst of them decides.
pub fn outcome(steps: &[StepReport]) -> Outcome {
    let left: Vec<String> = steps
        .iter()
        .filter_map(|step| {
            Some(format!(
                "`{}` was not started: {}",
                step.job,
                step.why.as_deref()?
            ))
        })
        .collect();
    let worst = steps
        .iter()
        .filter_map(|step| Some((step, step.outcome.as_ref()?)))
        .max_by_key(|(_, outcome)| rank(outcome));
    let told = |step: &StepReport, outcome: &Outcome| {
        let message = outcome.message().filter(|text| !text.is_empty());
        let first = format!(
            "`{}` ended {}{}",
            step.job,
            outcome.label(),
            message.map(|text| format!(": {text}")).unwrap_or_default()
        );
        std::iter::once(first)
            .chain(left.iter().cloned())
            .collect::<Vec<_>>()
            .join("\n")
    };
    match worst {
        Some((_, Outcome::Succeeded)) | None if left.is_empty() => Outcome::Succeeded,
        Some((_, Outcome::Succeeded)) | None => Outcome::Partial(left.join("\n")),
        Some((step, outcome)) => {
            let text = told(step, outcome);
            match outcome {
                // One that was skipped or is not at its end does not say that of the others.
                Outcome::Succeeded | Outcome::Skipped(..) | Outcome::Continued | Outcome::Partial(_) => {
                    Outcome::Partial(text)
                }
                Outcome::Refused(why, _) => Outcome::Refused(why.clone(), text),
                Outcome::Failed(_) => Outcome::Failed(text),
                Outcome::Retryable(_) | Outcome::Lost(_) => Outcome::Retryable(text),
                Outcome::Unreachable(_) => Outcome::Unreachable(text),
                Outcome::Trap(_) => Outcome::Trap(text),
                Outcome::Invalid(_) => Outcome::Invalid(text),
                Outcome::Limit(name, _) => Outcome::Limit(name.clone(), text),
                Outcome::Usage(_) => Outcome::Usage(text),
                Outcome::Cancelled => Outcome::Cancelled,
                Outcome::Interrupted => Outcome::Interrupted,
            }
        }
    }
}

/// How bad an outcome is beside others of one round.
fn rank(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Succeeded => 0,
        Outcome::Skipped(..) => 1,
        Outcome::Continued | Outcome::Partial(_) => 2,
        Outcome::Refused(..) => 3,
        Outcome::Retryable(_) | Outcome::Lost(_) => 4,
        Outcome::Unreachable(_) => 5,
        Outcome::Limit(..) => 6,
        Outcome::Failed(_) | Outcome::Trap(_) | Outcome::Invalid(_) | Outcome::Usage(_) => 7,
        Outcome::Cancelled => 8,
        Outcome::Interrupted => 9,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn done(step: &Step, outcome: Option<Outcome>) -> StepReport {
        let why = outcome.is_none().then(String::new);
        StepReport {
            job: step.job.clone(),
            run: None,
            outcome,
            why,
        }
    }

    proptest! {
        #[test]
        fn every_step_is_decided_once_in_order_and_runs_only_after_what_succeeded(
            steps in prop::collection::vec((prop::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>()), 1..12),
            window in 0_usize..14,
        ) {
            let name = |place: usize| -> JobName { format!("job-{place}").parse().unwrap() };
            let plan: Vec<Step> = steps.iter().enumerate().map(|(place, (after, _))| Step {
                job: name(place),
                after: if place == 0 { Vec::new() } else { after.iter().map(|index| name(index.index(place))).collect() },
            }).collect();
            let round = Round { name: "nightly".parse().unwrap(), schedule: None, window: None, event_sources: Vec::new(), sinks: Vec::new(), steps: plan };
            let mut so_far: Vec<StepReport> = Vec::new();
            loop {
                let place = so_far.len();
                let is_over = place >= window;
                let succeeded = |job: &JobName| so_far.iter().any(|done| done.job == *job && done.outcome == Some(Outcome::Succeeded));
                match round.next(&so_far, is_over) {
                    Next::Run(step) => {
                        prop_assert!(!is_over && step.job == name(place) && step.after.iter().all(succeeded));
                        let outcome = if steps[place].1 { Outcome::Succeeded } else { Outcome::Failed(String::new()) };
                        so_far.push(done(step, Some(outcome)));
                    }
                    Next::Leave(step, _) => {
                        prop_assert!(step.job == name(place) && (is_over || !step.after.iter().all(succeeded)));
                        so_far.push(done(step, None));
                    }
                    Next::End => break,
                }
            }
            prop_assert_eq!(so_far.len(), round.steps.len());
            let all = so_far.iter().all(|done| done.outcome == Some(Outcome::Succeeded));
            prop_assert_eq!(outcome(&so_far) == Outcome::Succeeded, all);
        }
    }
}
