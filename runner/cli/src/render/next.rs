//! What to do after a run: why, and the command that does it, ready to be typed.
//!
//! A command says again what the run was asked with: the configuration, params, the time, the key. Nothing is decided
//! here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use sereno_core::dispatch::PLAN_VALID;
use sereno_core::guard::{GuardState, Guards};
use sereno_core::report::{Effect, Report};
use sereno_core::run::{Mode, Outcome, Reason, Refusal, RunRequest, Work};
use sereno_core::units::show_duration;
use sereno_core::value::{Instant, rfc3339, show_instant};

/// What a run was asked with, as far as another command must say it again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// How the program is called.
    pub(crate) program: String,
    /// Params set over the configured ones.
    pub(crate) params: Vec<(String, Json)>,
    /// The time that was given; none: now.
    pub(crate) at: Option<Instant>,
    /// The key that was given; none: a random one.
    pub(crate) key: Option<String>,
    /// Guards that the apply lifts.
    pub(crate) allow: BTreeMap<String, f64>,
}

impl Asked {
    /// With nothing but the configuration.
    pub(crate) fn plainly(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            ..Self::default()
        }
    }

    /// As the ledger has it, which cannot tell what was given from what was made up: a command with all of it does
    /// the same work.
    pub(crate) fn recorded(program: &str, request: &RunRequest) -> Self {
        Self {
            program: program.to_owned(),
            params: request.params.clone().into_iter().collect(),
            at: request.scheduled_at,
            key: request.key.clone(),
            allow: request.allow.0.clone(),
        }
    }

    /// `--param keep='14 days' --at 2026-11-24T02:30:00Z`, with a blank before each.
    fn flags(&self) -> String {
        let params = self
            .params
            .iter()
            .map(|(name, value)| format!(" --param {}", shell_quoted(&format!("{name}={}", typed(value)))));
        let at = self.at.map(|at| format!(" --at {}", rfc3339(at)));
        params.chain(at).collect()
    }

    /// The plan of the same work. It takes no key: a plan settles nothing.
    fn plan(&self, report: &Report) -> String {
        format!("{} plan {}{}", self.program, named(report), self.flags())
    }

    /// The same work again.
    fn again(&self, report: &Report) -> String {
        match (report.mode, &report.reason) {
            (Mode::Plan, _) => self.plan(report),
            (Mode::Apply, Reason::Apply(plan)) => {
                let allow: String = self
                    .allow
                    .iter()
                    .map(|(guard, value)| format!(" --allow {guard}={value}"))
                    .collect();
                format!("{} apply {plan}{allow}", self.program)
            }
            (Mode::Apply, _) => format!(
                "{} run {}{}{}",
                self.program,
                named(report),
                self.flags(),
                self.key()
            ),
        }
    }

    /// What is left under the same key.
    fn rest(&self, report: &Report) -> String {
        match (report.mode, &report.reason) {
            (Mode::Apply, Reason::Apply(_)) => self.again(report),
            (mode, _) => format!(
                "{} run {}{}{}{} --once",
                self.program,
                named(report),
                if mode == Mode::Plan { " --plan" } else { "" },
                self.flags(),
                self.key()
            ),
        }
    }

    fn key(&self) -> String {
        let key = self.key.as_deref();
        key.map(|key| format!(" --key {}", shell_quoted(key)))
            .unwrap_or_default()
    }
}

/// The job, or the round as a command takes it.
fn named(report: &Report) -> String {
    match &report.work {
        Work::Job(name) => name.to_string(),
        Work::Round(name) => format!("--round {name}"),
    }
}

/// How to call the program so that it finds this configuration.
pub(crate) fn program(config: Option<&Path>) -> String {
    match config {
        Some(file) => format!("sereno --config {}", shell_quoted(&file.display().to_string())),
        None => "sereno".to_owned(),
    }
}

/// A text whose commands are those of a program that finds its configuration by itself, for one that does not.
pub(crate) fn called(text: &str, program: &str) -> String {
    // Commands that read a configuration; `sereno init` makes one.
    ["apply", "jobs", "plan", "run", "runs"]
        .iter()
        .fold(text.to_owned(), |text, command| {
            text.replace(&format!("sereno {command} "), &format!("{program} {command} "))
        })
}

/// A param's value as `--param` reads it.
fn typed(value: &Json) -> String {
    match value {
        // A text that reads as something else is told apart by its quotes.
        Json::String(text) if serde_json::from_str::<Json>(text).is_err() => text.clone(),
        value => value.to_string(),
    }
}

/// The guard that holds an apply to its plan: a new plan lifts it.
const PLAN: &str = "plan";

/// A reason, and the command.
pub(crate) type Next = (String, String);

/// What to do now.
pub(crate) fn next(report: &Report, asked: &Asked) -> Vec<Next> {
    let Asked { program, .. } = asked;
    if let Work::Round(_) = report.work {
        return of_round(report, asked);
    }
    let one = |why: &str, command: String| vec![(why.to_owned(), command)];
    match &report.outcome {
        Outcome::Succeeded
            if report.mode == Mode::Plan && report.effects().any(|effect| effect.planned > 0) =>
        {
            let why = format!("apply it (valid until {})", valid_until(report));
            vec![(why, format!("{program} apply {}", report.run))]
        }
        Outcome::Refused(Refusal::Future, _) => too_early(report, asked),
        Outcome::Refused(Refusal::Guard, _) => beyond_a_guard(report, asked),
        Outcome::Refused(Refusal::PlanNeeded, _) => {
            let approve = (
                "approve what schedules may do".to_owned(),
                format!("{program} plan --all"),
            );
            let mut next = if report.effects().any(|effect| effect.exceeded().next().is_some()) {
                beyond_a_guard(report, asked)
            } else {
                let why = format!("do this alone, once (valid until {})", valid_until(report));
                vec![(why, format!("{program} apply {}", report.run))]
            };
            next.push(approve);
            next
        }
        Outcome::Partial(_) => one("see it first", asked.plan(report)),
        Outcome::Continued => one("more is left", asked.rest(report)),
        Outcome::Cancelled | Outcome::Interrupted => {
            one("what is done stays done; the rest", asked.again(report))
        }
        Outcome::Failed(_) | Outcome::Trap(_) | Outcome::Invalid(_) | Outcome::Limit(..) => one(
            "what its plugin said",
            format!("{program} runs logs {}", report.run),
        ),
        Outcome::Retryable(_) | Outcome::Unreachable(_) | Outcome::Lost(_) => {
            one("try again", asked.again(report))
        }
        Outcome::Succeeded | Outcome::Skipped(..) | Outcome::Refused(..) | Outcome::Usage(_) => Vec::new(),
    }
}

/// Its steps are runs of their own: what went wrong is told by those.
fn of_round(report: &Report, asked: &Asked) -> Vec<Next> {
    let program = &asked.program;
    let bad = report
        .steps
        .iter()
        .filter(|step| step.outcome != Some(Outcome::Succeeded));
    let mut next: Vec<Next> = bad
        .filter_map(|step| {
            let command = format!("{program} runs show {}", step.run.as_ref()?);
            Some((format!("what `{}` met", step.job), command))
        })
        .collect();
    let is_whole = report.outcome == Outcome::Succeeded;
    match report.mode {
        Mode::Plan if is_whole => {
            let command = format!("{program} run {}{}", named(report), asked.flags());
            next.push(("do it".to_owned(), command));
        }
        Mode::Apply if !is_whole && asked.key.is_some() => {
            next.push(("then the rest".to_owned(), asked.again(report)));
        }
        _ => {}
    }
    next
}

/// To the minute, and never later than it is.
fn valid_until(report: &Report) -> String {
    (report.started_at + PLAN_VALID)
        .format("%Y-%m-%d %H:%M UTC")
        .to_string()
}

fn beyond_a_guard(report: &Report, asked: &Asked) -> Vec<Next> {
    let effects = report.effects_of_key();
    let exceeded: Vec<_> = effects.iter().flat_map(Effect::exceeded).collect();
    let fixed: Vec<Next> = exceeded
        .iter()
        .filter(|guard| guard.name != PLAN && !Guards::LIFTABLE.contains(&guard.name.as_str()))
        .map(|guard| unliftable(guard, report))
        .collect();
    if let Some(first) = fixed.into_iter().next() {
        return vec![first, ("after that".to_owned(), asked.plan(report))];
    }
    if report.mode == Mode::Apply {
        return vec![("see what it would do in all".to_owned(), asked.plan(report))];
    }
    // Of two tables beyond the same guard, the worse one says how far it must be lifted.
    let mut allow = BTreeMap::<&str, f64>::new();
    for guard in exceeded {
        let value = allow.entry(guard.name.as_str()).or_default();
        *value = value.max(guard.found.ceil());
    }
    let program = &asked.program;
    if allow.is_empty() {
        return vec![(
            "its guards".to_owned(),
            format!("{program} jobs explain {}", report.work.name()),
        )];
    }
    let flags: String = allow
        .iter()
        .map(|(name, value)| format!(" --allow {name}={value}"))
        .collect();
    vec![
        (
            format!("if that is what you want (valid until {})", valid_until(report)),
            format!("{program} apply {}{flags}", report.run),
        ),
        (
            "after a change to the configuration".to_owned(),
            asked.plan(report),
        ),
    ]
}

/// What to change for a guard that no apply lifts.
fn unliftable(guard: &GuardState, report: &Report) -> Next {
    let why = format!("no apply can lift {}", guard.name);
    let section = format!("[job.{}.guard]", report.work.name());
    let change = match guard.name.as_str() {
        "retention_floor" => {
            let floor = show_duration(Duration::try_from_secs_f64(guard.limit).unwrap_or_default());
            format!(
                "let the job keep at least {floor} (`keep`, `older_than`), or lower `retention_floor` under {section}"
            )
        }
        "accept" => format!("look at the hazards above, and name them in `accept` under {section}"),
        name => format!("change the job's params, or `{name}` under {section}"),
    };
    (why, change)
}

/// A time that has not come: now is as good, or else later.
fn too_early(report: &Report, asked: &Asked) -> Vec<Next> {
    if asked.at.is_none() {
        let why = "one of the two clocks is wrong; when it is set";
        return vec![(why.to_owned(), asked.again(report))];
    }
    let now = Asked {
        at: None,
        ..asked.clone()
    };
    let then = format!("or as it is, from {} on", show_instant(report.scheduled_at));
    vec![
        ("reckoned from now".to_owned(), now.again(report)),
        (then, asked.again(report)),
    ]
}

/// As it can be pasted into a shell.
pub(crate) fn shell_quoted(text: &str) -> String {
    if !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.:/=@+".contains(c))
    {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use sereno_core::run::RunRequest;

    use super::super::report::tests::{sample, within};
    use super::*;

    fn asked() -> Asked {
        Asked {
            program: program(Some(Path::new("my conf/sereno.toml"))),
            params: vec![
                ("keep".to_owned(), Json::from("14 days")),
                ("note".to_owned(), Json::from("12")),
                ("recursive".to_owned(), Json::from(true)),
            ],
            at: Some("2026-11-24T02:30:00Z".parse().expect("a time")),
            key: Some("it's mine".to_owned()),
            allow: BTreeMap::from([("max_rows_percent".to_owned(), 92.0)]),
        }
    }

    fn commands(mode: Mode, outcome: Outcome) -> Vec<String> {
        let sample = sample(mode, outcome, within());
        next(&sample, &asked())
            .into_iter()
            .map(|(_, command)| command)
            .collect()
    }

    const CALLED: &str = "sereno --config 'my conf/sereno.toml'";
    const FLAGS: &str =
        r#"--param 'keep=14 days' --param 'note="12"' --param recursive=true --at 2026-11-24T02:30:00Z"#;

    #[test]
    fn a_command_says_all_again_that_the_run_was_asked_with() {
        let lost = || Outcome::Lost(String::new());
        assert_eq!(
            commands(Mode::Apply, lost()),
            [format!(
                r"{CALLED} run expired-sessions {FLAGS} --key 'it'\''s mine'"
            )]
        );
        assert_eq!(
            commands(Mode::Apply, Outcome::Continued),
            [format!(
                r"{CALLED} run expired-sessions {FLAGS} --key 'it'\''s mine' --once"
            )]
        );
        // A plan goes on as a plan: nobody asked for the work itself.
        assert_eq!(
            commands(Mode::Plan, Outcome::Continued),
            [format!(
                r"{CALLED} run expired-sessions --plan {FLAGS} --key 'it'\''s mine' --once"
            )]
        );
        assert_eq!(
            commands(Mode::Plan, lost()),
            [format!("{CALLED} plan expired-sessions {FLAGS}")]
        );
        assert_eq!(
            commands(Mode::Plan, Outcome::Succeeded),
            [format!("{CALLED} apply k3v9x2m4qd")]
        );
        assert_eq!(
            commands(Mode::Apply, Outcome::Trap(String::new())),
            [format!("{CALLED} runs logs k3v9x2m4qd")]
        );
    }

    #[test]
    fn an_apply_that_did_not_end_well_is_that_apply_again() {
        let mut sample = sample(Mode::Apply, Outcome::Cancelled, within());
        sample.reason = Reason::Apply(sample.run.clone());
        assert_eq!(
            next(&sample, &asked())[0].1,
            format!("{CALLED} apply k3v9x2m4qd --allow max_rows_percent=92")
        );
    }

    #[test]
    fn what_was_recorded_is_said_again_as_it_was_typed() {
        let mut request = RunRequest::manual(
            "expired-sessions"
                .parse::<sereno_core::run::Work>()
                .expect("a name"),
        );
        request.params = asked().params.into_iter().collect();
        request.key = Some("k".to_owned());
        let asked = Asked::recorded("sereno", &request);
        let sample = sample(Mode::Apply, Outcome::Lost(String::new()), within());
        assert_eq!(
            next(&sample, &asked)[0].1,
            r#"sereno run expired-sessions --param 'keep=14 days' --param 'note="12"' --param recursive=true --key k"#
        );
    }

    #[test]
    fn only_commands_that_read_a_configuration_are_told_where_it_is() {
        assert_eq!(
            called("`sereno plan a` or `sereno runs list`, not `sereno init`", CALLED),
            format!("`{CALLED} plan a` or `{CALLED} runs list`, not `sereno init`")
        );
    }
}
