//! A report for people: what ran, what it touched, how much, how long, and what to do next.

use std::collections::BTreeMap;

use chrono::SubsecRound as _;
use sereno_core::report::{Finding, Report};
use sereno_core::run::{Mode, Outcome, Reason, Work};
use sereno_core::units::{show_bytes, show_count, show_counted, show_duration};
use sereno_core::value::show_instant;

use super::next::{Asked, next};
use super::paint::Paint;
use super::table::table;
use super::words;

/// The whole report, with the commands that go on from what was `asked`.
pub(crate) fn report(report: &Report, asked: &Asked, verbose: u8, paint: Paint) -> String {
    let mut text = heading(report, paint);
    for effect in report.effects() {
        text.push_str(&format!("  {}\n", words::effect(effect, report.mode, paint)));
    }
    for (place, step) in report.steps.iter().enumerate() {
        let how = match (&step.outcome, &step.run) {
            (Some(outcome), Some(run)) => {
                format!("{} {}", outcome.label(), paint.faint(format!("run {run}")))
            }
            (Some(outcome), None) => outcome.label(),
            (None, _) => format!("not started: {}", step.why.as_deref().unwrap_or_default()),
        };
        text.push_str(&format!("  {}. {} {how}\n", place + 1, step.job));
    }
    text.push_str(&in_all(report, paint));
    text.push_str(&findings(report, paint));
    text.push_str(&measurements(report, paint));
    for note in &report.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text.push_str(&ending(report, paint));
    if verbose > 0 {
        text.push_str(&format!("{}\n", paint.faint(used(report))));
    }
    for (why, command) in next(report, asked) {
        text.push_str(&format!("{} {command}\n", paint.hint(format!("{why}:"))));
    }
    text
}

fn heading(report: &Report, paint: Paint) -> String {
    let how = match (&report.mode, &report.reason) {
        (Mode::Plan, _) => "plan of ".to_owned(),
        (Mode::Apply, Reason::Apply(plan)) => format!("apply of plan {plan}, "),
        (Mode::Apply, _) => String::new(),
    };
    let attempt = if report.attempt > 1 {
        format!(", attempt {}", report.attempt)
    } else {
        String::new()
    };
    format!(
        "{how}{} {}\n",
        paint.strong(report.work.name()),
        paint.faint(format!(
            "run {} scheduled at {}{attempt}",
            report.run,
            show_instant(report.scheduled_at)
        ))
    )
}

/// What all attempts of the key come to, where there was one before.
fn in_all(report: &Report, paint: Paint) -> String {
    if report.earlier.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "  in all, with what earlier attempts of key {} did:\n",
        report.key
    );
    for effect in report.effects_of_key() {
        text.push_str(&format!("    {}\n", words::effect(&effect, report.mode, paint)));
    }
    text
}

/// The worst first.
fn findings(report: &Report, paint: Paint) -> String {
    let mut findings: Vec<&Finding> = report.findings().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!(
            "  {} {}: {} {}\n",
            words::severity(finding.severity, paint),
            words::place(&finding.target),
            finding.text,
            paint.faint(format!("[{}]", finding.code))
        ));
        if let Some(next) = &finding.next {
            text.push_str(&format!("           {} {next}\n", paint.hint("next:")));
        }
    }
    text
}

fn measurements(report: &Report, paint: Paint) -> String {
    if report.measurements.is_empty() {
        return String::new();
    }
    let rows: Vec<[String; 4]> = report
        .measurements
        .iter()
        .map(|measurement| {
            [
                words::place(&measurement.target),
                measurement.name.clone(),
                words::measured(measurement),
                measurement.note.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let text = table(["where", "what", "how much", ""], &rows, paint);
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn ending(report: &Report, paint: Paint) -> String {
    let label = report.outcome.label();
    let label = match &report.outcome {
        Outcome::Succeeded => paint.good(label),
        Outcome::Continued | Outcome::Partial(_) | Outcome::Skipped(..) => paint.warn(label),
        _ => paint.error(label),
    };
    let took = (report.ended_at - report.started_at).to_std().unwrap_or_default();
    let mut text = if report.duplicate {
        format!(
            "{label} before, at {}: this is that run's report, and nothing was done now\n",
            show_instant(report.ended_at.trunc_subsecs(0))
        )
    } else {
        format!("{label} in {}; {}\n", show_duration(took), sum(report))
    };
    if let Some(message) = report.outcome.message().filter(|message| !message.is_empty()) {
        let message: String = message.lines().map(|line| format!("  {line}\n")).collect();
        text.push_str(&message);
    }
    text
}

/// `changed 3,120 rows`, `nothing was changed`; of a round how many of its jobs succeeded, whose runs tell the rest.
fn sum(report: &Report) -> String {
    if let Work::Round(_) = report.work {
        let succeeded = report
            .steps
            .iter()
            .filter(|step| step.outcome == Some(Outcome::Succeeded));
        let changed = if report.mode == Mode::Plan {
            ", and nothing was changed"
        } else {
            ""
        };
        return format!(
            "{} of {} jobs succeeded{changed}",
            succeeded.count(),
            report.steps.len()
        );
    }
    if report.mode == Mode::Plan {
        return "nothing was changed".to_owned();
    }
    let mut done = BTreeMap::<&str, u64>::new();
    for effect in report.effects().filter(|effect| effect.done > 0) {
        *done.entry(effect.unit.as_str()).or_default() += effect.done;
    }
    if done.is_empty() {
        return "nothing was changed".to_owned();
    }
    let parts: Vec<String> = done
        .into_iter()
        .map(|(unit, count)| {
            let one = match unit {
                "directories" => "directory",
                "indexes" => "index",
                unit => unit.trim_end_matches('s'),
            };
            show_counted(count, one, unit)
        })
        .collect();
    format!("changed {}", parts.join(", "))
}

fn used(report: &Report) -> String {
    let used = &report.limits_used;
    let dropped = match used.log_lines_dropped {
        0 => String::new(),
        dropped => format!(" ({} dropped)", show_count(dropped)),
    };
    format!(
        "used {} ms in the plugin, {} of memory, {} host calls, {} query rows, {} log lines{dropped}",
        show_count(used.cpu_ms),
        show_bytes(used.memory_bytes),
        show_count(used.host_calls),
        show_count(used.rows),
        show_count(used.log_lines)
    )
}

#[cfg(test)]
pub(super) mod tests {
    use sereno_core::grant::Verb;
    use sereno_core::guard::GuardState;
    use sereno_core::name::RunId;
    use sereno_core::report::{
        Effect, LimitsUsed, Measurement, REPORT_SCHEMA_VERSION, Severity, TargetReport,
    };
    use sereno_core::run::{Refusal, Skip};
    use sereno_core::value::Instant;

    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("a time")
    }

    pub(in super::super) fn sample(mode: Mode, outcome: Outcome, guard: GuardState) -> Report {
        let planned = 3_120;
        Report {
            schema_version: REPORT_SCHEMA_VERSION,
            run: RunId::try_from("k3v9x2m4qd".to_owned()).expect("an id"),
            key: "0123".to_owned(),
            attempt: 1,
            work: "expired-sessions".parse().expect("a name"),
            mode,
            reason: Reason::Manual,
            scheduled_at: at("2026-11-24T02:30:00Z"),
            started_at: at("2026-11-24T02:30:00Z"),
            ended_at: at("2026-11-24T02:30:01.200Z"),
            continued: outcome == Outcome::Continued,
            outcome,
            duplicate: false,
            targets: vec![TargetReport {
                target: "database.app".to_owned(),
                effects: vec![Effect {
                    planned,
                    total: Some(40_000),
                    done: if mode == Mode::Apply && !guard.exceeded {
                        planned
                    } else {
                        0
                    },
                    cutoff: Some(at("2026-11-17T02:30:00Z")),
                    guard: Some(guard),
                    ..Effect::of(
                        Verb::Delete,
                        "database.app.tables.user_sessions",
                        "rows",
                        "updated_at before 2026-11-17 02:30 UTC",
                    )
                }],
                findings: Vec::new(),
            }],
            measurements: Vec::new(),
            limits_used: LimitsUsed::default(),
            params: serde_json::Value::Null,
            notes: Vec::new(),
            earlier: Vec::new(),
            steps: Vec::new(),
        }
    }

    pub(in super::super) fn within() -> GuardState {
        GuardState::new("max_rows_percent", 20.0, 7.8)
    }

    fn text(sample: &Report) -> String {
        report(sample, &Asked::plainly("sereno"), 0, Paint::plain())
    }

    #[test]
    fn a_plan_ends_with_the_command_that_does_it() {
        assert_eq!(
            text(&sample(Mode::Plan, Outcome::Succeeded, within())),
            "plan of expired-sessions run k3v9x2m4qd scheduled at 2026-11-24 02:30 UTC\n\
             \x20 would delete 3,120 of 40,000 rows (7.8 %) from app.user_sessions, \
             updated_at before 2026-11-17 02:30 UTC; guard 20 %\n\
             succeeded in 1.2 s; nothing was changed\n\
             apply it (valid until 2026-11-25 02:30 UTC): sereno apply k3v9x2m4qd\n"
        );
    }

    #[test]
    fn an_apply_says_what_it_changed() {
        assert_eq!(
            text(&sample(Mode::Apply, Outcome::Succeeded, within())),
            "expired-sessions run k3v9x2m4qd scheduled at 2026-11-24 02:30 UTC\n\
             \x20 deleted 3,120 of 40,000 rows (7.8 %) from app.user_sessions, \
             updated_at before 2026-11-17 02:30 UTC; guard 20 %\n\
             succeeded in 1.2 s; changed 3,120 rows\n"
        );
    }

    #[test]
    fn a_plan_beyond_a_guard_names_the_flag_that_lifts_it_once() {
        let beyond = GuardState::new("max_rows_percent", 5.0, 7.8);
        let outcome = Outcome::Refused(Refusal::Guard, "too much".to_owned());
        let text = text(&sample(Mode::Plan, outcome, beyond));
        assert!(text.contains("; guard 5 % exceeded\n"), "{text}");
        assert!(
            text.ends_with(
                "refused(guard) in 1.2 s; nothing was changed\n  too much\n\
                 if that is what you want (valid until 2026-11-25 02:30 UTC): \
                 sereno apply k3v9x2m4qd --allow max_rows_percent=8\n\
                 after a change to the configuration: sereno plan expired-sessions\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn an_apply_beyond_a_guard_names_the_plan() {
        let beyond = GuardState::new("max_rows_percent", 5.0, 7.8);
        let outcome = Outcome::Refused(Refusal::Guard, "too much".to_owned());
        let text = text(&sample(Mode::Apply, outcome, beyond));
        assert!(
            text.contains("deleted 0 of 40,000 rows from app.user_sessions"),
            "{text}"
        );
        assert!(
            text.ends_with("see what it would do in all: sereno plan expired-sessions\n"),
            "{text}"
        );
    }

    #[test]
    fn a_guard_that_no_apply_lifts_is_not_offered() {
        let beyond = GuardState::new("retention_floor", 86_400.0, 3_600.0);
        let floor = GuardState {
            exceeded: true,
            ..beyond
        };
        let text = text(&sample(
            Mode::Plan,
            Outcome::Refused(Refusal::Guard, String::new()),
            floor,
        ));
        assert!(!text.contains("--allow"), "{text}");
        assert!(
            text.ends_with(
                "no apply can lift retention_floor: let the job keep at least 1 day (`keep`, `older_than`), or lower \
                 `retention_floor` under [job.expired-sessions.guard]\n\
                 after that: sereno plan expired-sessions\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn the_worst_finding_comes_first_and_says_what_to_do() {
        let mut report = sample(Mode::Apply, Outcome::Succeeded, within());
        let finding = |severity, code: &str, next: Option<&str>| Finding {
            code: code.to_owned(),
            severity,
            target: "database.app.tables.user_sessions".to_owned(),
            text: format!("this is {code}"),
            next: next.map(str::to_owned),
        };
        report.targets[0].findings = vec![
            finding(Severity::Info, "fine", None),
            finding(Severity::Critical, "bad", Some("call somebody")),
        ];
        let text = text(&report);
        let bad =
            text.find("  critical app.user_sessions: this is bad [bad]\n           next: call somebody\n");
        let fine = text.find("  info     app.user_sessions: this is fine [fine]\n");
        assert!(bad.expect("critical") < fine.expect("info"), "{text}");
    }

    #[test]
    fn a_later_attempt_tells_what_all_have_done() {
        let mut report = sample(Mode::Apply, Outcome::Succeeded, within());
        report.earlier = report.effects().cloned().collect();
        assert!(
            text(&report).contains(
                "  in all, with what earlier attempts of key 0123 did:\n    deleted 6,240 of 40,000 rows (15.6 %)"
            ),
            "{}",
            text(&report)
        );
    }

    #[test]
    fn a_duplicate_says_that_nothing_was_done_now() {
        let report = Report {
            duplicate: true,
            ..sample(Mode::Apply, Outcome::Succeeded, within())
        };
        assert!(text(&report).ends_with(
            "succeeded before, at 2026-11-24 02:30:01 UTC: this is that run's report, and nothing was done now\n"
        ));
    }

    #[test]
    fn measurements_line_up_and_unknown_says_why() {
        let mut report = sample(
            Mode::Apply,
            Outcome::Skipped(Skip::Overlap, "busy".to_owned()),
            within(),
        );
        report.targets.clear();
        let measurement = |name: &str, value, note: Option<&str>| Measurement {
            name: name.to_owned(),
            target: "directory.temp".to_owned(),
            value,
            unit: "percent".to_owned(),
            note: note.map(str::to_owned),
        };
        report.measurements = vec![
            measurement("disk.used_percent", Some(41.0), None),
            measurement(
                "disk.inodes_used_percent",
                None,
                Some("this file system counts none"),
            ),
        ];
        let text = text(&report);
        assert!(
            text.contains(
                "  directory.temp  disk.used_percent         41.0 %\n  directory.temp  disk.inodes_used_percent  \
                 unknown   this file system counts none\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with("skipped(overlap) in 1.2 s; nothing was changed\n  busy\n"),
            "{text}"
        );
    }

    #[test]
    fn without_colour_no_escape_is_written_and_with_it_the_words_are_the_same() {
        let sample = sample(Mode::Plan, Outcome::Succeeded, within());
        let colored = report(&sample, &Asked::plainly("sereno"), 1, Paint::colored());
        let plain = report(&sample, &Asked::plainly("sereno"), 1, Paint::plain());
        assert!(!plain.contains('\x1b') && colored.contains('\x1b'));
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), plain);
    }
}
