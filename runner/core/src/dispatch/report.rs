//! Puts a report together: who ran and how it ended, effects and findings under their targets.
//!
//! How it ended is decided in `settle`; what really happened in `reconcile`.

use std::collections::BTreeMap;

use super::Services;
use crate::ports::ledger::RunRow;
use crate::report::{Effect, Finding, LimitsUsed, REPORT_SCHEMA_VERSION, Report, Severity, TargetReport};
use crate::run::Outcome;

/// A report with nothing in it but how it ended.
pub(super) fn empty_report(
    services: &Services,
    row: &RunRow,
    params: serde_json::Value,
    outcome: Outcome,
) -> Report {
    Report {
        schema_version: REPORT_SCHEMA_VERSION,
        run: row.id.clone(),
        key: row.key.clone(),
        attempt: row.attempt,
        work: row.work.clone(),
        mode: row.mode,
        reason: row.reason.clone(),
        scheduled_at: row.scheduled_at,
        started_at: row.started_at,
        ended_at: services.clock.now(),
        continued: outcome == Outcome::Continued,
        outcome,
        duplicate: false,
        targets: Vec::new(),
        measurements: Vec::new(),
        limits_used: LimitsUsed::default(),
        params,
        notes: Vec::new(),
        earlier: Vec::new(),
        steps: Vec::new(),
    }
}

/// Effects and findings under the target they are about; what was skipped becomes a finding.
pub(super) fn by_target(effects: Vec<Effect>, findings: Vec<Finding>) -> Vec<TargetReport> {
    let mut targets = BTreeMap::<String, TargetReport>::new();
    let mut entry = |path: &str, add: &mut dyn FnMut(&mut TargetReport)| {
        let target = target_of(path);
        add(targets.entry(target.clone()).or_insert_with(|| TargetReport {
            target,
            effects: Vec::new(),
            findings: Vec::new(),
        }));
    };
    for effect in effects {
        if effect.skipped > 0 && effect.unit != "tables" && effect.unit != "indexes" {
            let finding = left_behind(&effect);
            entry(&effect.on, &mut |target| target.findings.push(finding.clone()));
        }
        entry(&effect.on, &mut |target| target.effects.push(effect.clone()));
    }
    for finding in findings {
        entry(&finding.target, &mut |target| {
            target.findings.push(finding.clone());
        });
    }
    targets.into_values().collect()
}

/// What matched and was left. Plugins need not tell it: they see no more of it than the host does.
fn left_behind(effect: &Effect) -> Finding {
    let (one, why, next) = if effect.unit == "rows" {
        (
            "row",
            "locked by other transactions",
            "run the job again when the other work is over",
        )
    } else {
        (
            "file",
            "no permission, several hard links, or changed meanwhile",
            "look at the owners and modes of what is left",
        )
    };
    let left = crate::units::show_counted(effect.skipped, one, &effect.unit);
    let were = if effect.skipped == 1 { "was" } else { "were" };
    Finding {
        code: format!("{}-skipped", effect.unit),
        severity: Severity::Warn,
        target: effect.on.clone(),
        text: format!("{left} matched and {were} left: {why}"),
        next: Some(next.to_owned()),
    }
}

/// The first two parts of a grant path: `database.app`, `directory.temp`.
pub(super) fn target_of(path: &str) -> String {
    let end = path.match_indices('.').nth(1).map_or(path.len(), |(at, _)| at);
    path[..end].to_owned()
}
