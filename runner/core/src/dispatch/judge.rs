//! What a run's readings and its outcome mean for gauges and alerts: new standings, and messages about what changed.
//!
//! Each job and each round has one standing: a job that fails every night is told once, and once more when it succeeds
//! again. A round tells only what its jobs cannot: which of them it did not start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Services;
use super::close::age_max;
use crate::alert::{MESSAGE_SCHEMA_VERSION, Message, MessageKind};
use crate::gauge::{Gauge, GaugeState, Reading, show_value, step};
use crate::name::SinkName;
use crate::ports::ledger::{LedgerError, RunRow};
use crate::ports::watch::{Aftermath, Letter, MeasurementQuery, Standing};
use crate::report::{Measurement, Report, Severity};
use crate::run::{Mode, Outcome, Reason, Work, digest};
use crate::trend::{SAMPLE_EVERY, SAMPLES_MAX, Trend, WINDOW};
use crate::value::Instant;

/// More different findings of one run than a person reads.
const FINDINGS_MAX: usize = 16;

/// Long enough for what a person reads of a message.
const TEXT_CHARS_MAX: usize = 1_000;

/// Holds what the run measured against the gauges of it.
pub(super) async fn gauges(
    services: &Services,
    report: &Report,
    after: &mut Aftermath,
) -> Result<(), LedgerError> {
    let measured: Vec<(&Gauge, &Measurement)> = services
        .config
        .gauges
        .values()
        .filter_map(|gauge| {
            let mut of = report.measurements.iter().rev();
            Some((gauge, of.find(|one| gauge.is_of(&one.name, &one.target))?))
        })
        .collect();
    if measured.is_empty() {
        return Ok(());
    }
    let subjects: Vec<String> = measured.iter().map(|(gauge, _)| gauge.subject()).collect();
    let standings = services.ledger.standings(&subjects).await?;
    for (gauge, measurement) in measured {
        let (version, before) = stood::<GaugeState>(&standings, &gauge.subject());
        let at = report.ended_at;
        let reading = match gauge.per {
            None => known(measurement),
            Some(_) if measurement.value.is_none() => known(measurement),
            Some(per) => {
                let trend = trend(services, gauge, at, measurement.value).await?;
                let grown = |trend: Trend| {
                    if gauge.is_relative() {
                        trend.growth_percent(per)
                    } else {
                        Some(trend.growth(per))
                    }
                };
                trend
                    .and_then(grown)
                    .map_or(Reading::Insufficient, Reading::Known)
            }
        };
        let unit = gauge.unit(&measurement.unit);
        let (state, told) = step(gauge, before.as_ref(), at, &reading, &unit);
        if let Some(kind) = told {
            let since = before
                .as_ref()
                .and_then(|before| before.firing_since.or(before.unknown_since));
            let message = about_gauge(services, report, gauge, &state, kind, since);
            letters_of(&message, &gauge.sinks, &mut after.letters);
        }
        after.standings.push(Standing {
            subject: gauge.subject(),
            version,
            body: serde_json::to_value(&state).unwrap_or_default(),
        });
    }
    Ok(())
}

fn known(measurement: &Measurement) -> Reading {
    match measurement.value.filter(|value| value.is_finite()) {
        Some(value) => Reading::Known(value),
        None => Reading::Unknown(
            measurement
                .note
                .clone()
                .unwrap_or_else(|| "nobody could tell".to_owned()),
        ),
    }
}

/// The line through what is kept of a gauge's readings, and `now`, which is not kept yet.
///
/// # Errors
/// The ledger's own.
pub async fn trend(
    services: &Services,
    gauge: &Gauge,
    at: Instant,
    now: Option<f64>,
) -> Result<Option<Trend>, LedgerError> {
    let query = MeasurementQuery {
        name: gauge.of.clone(),
        target: gauge.on.clone(),
        since: at - WINDOW,
        every: Some(SAMPLE_EVERY),
        limit: SAMPLES_MAX,
    };
    let samples = services.ledger.measurements(&query).await?;
    let kept = samples
        .iter()
        .filter_map(|sample| Some((sample.at, sample.measurement.value?)));
    let readings: Vec<(Instant, f64)> = kept.chain(now.map(|now| (at, now))).collect();
    Ok(Trend::of(&readings))
}

fn stood<T: serde::de::DeserializeOwned>(standings: &[Standing], subject: &str) -> (i64, Option<T>) {
    let found = standings.iter().find(|standing| standing.subject == subject);
    // A body of another version is forgotten: what is wrong is told once more.
    found.map_or((0, None), |standing| {
        (
            standing.version,
            serde_json::from_value(standing.body.clone()).ok(),
        )
    })
}

fn about_gauge(
    services: &Services,
    report: &Report,
    gauge: &Gauge,
    state: &GaugeState,
    kind: MessageKind,
    since: Option<Instant>,
) -> Message {
    let value = state
        .value
        .map_or("unknown".to_owned(), |value| show_value(value, &state.unit));
    let held = match kind {
        MessageKind::Firing => gauge.alert.as_ref(),
        _ => gauge.target.as_ref().or(gauge.alert.as_ref()),
    };
    let threshold = held.map(|threshold| threshold.show(&state.unit));
    let per = gauge.per.map_or(String::new(), |per| {
        if per.as_secs() > 86_400 {
            " a week".to_owned()
        } else {
            " a day".to_owned()
        }
    });
    let held = threshold.clone().unwrap_or_default();
    let (title, text) = match kind {
        MessageKind::Firing => (
            format!("{} is at {value}{per}", gauge.name),
            format!(
                "{} of {} is {value}{per}; the alert is {held}.",
                gauge.of, gauge.on
            ),
        ),
        MessageKind::Unknown => (
            format!("{} is unknown", gauge.name),
            format!(
                "{} of {} is unknown: {}.",
                gauge.of,
                gauge.on,
                state.note.as_deref().unwrap_or("nobody could tell")
            ),
        ),
        _ => (
            format!("{} is well again: {value}{per}", gauge.name),
            format!(
                "{} of {} is {value}{per}; wished for is {held}.",
                gauge.of, gauge.on
            ),
        ),
    };
    Message {
        id: id(&gauge.subject(), kind, "", report),
        kind,
        severity: gauge.severity,
        subject: gauge.subject(),
        title,
        text,
        next: Some("sereno gauges".to_owned()),
        since: since.or(state.firing_since),
        gauge: Some(gauge.name.clone()),
        target: Some(gauge.on.clone()),
        value: state.value,
        unit: Some(state.unit.clone()),
        threshold,
        ..about_run(services, report, kind)
    }
}

/// What is wrong with a job or a round, as far as it was told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Open {
    /// How its last run ended that ended badly.
    #[serde(default)]
    run: Option<Told>,
    /// Critical findings, by code.
    #[serde(default)]
    findings: BTreeMap<String, Told>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    about: String,
    since: Instant,
}

/// Holds how the run ended against what was told of its job or round.
pub(super) async fn work_alerts(
    services: &Services,
    row: &RunRow,
    report: &Report,
    after: &mut Aftermath,
) -> Result<(), LedgerError> {
    let config = &services.config;
    let (sinks, bad) = match &row.work {
        Work::Job(name) => {
            let Some(job) = config.jobs.get(name) else {
                return Ok(());
            };
            if let Some(sink) = job.heartbeat.as_ref().filter(|_| row.mode == Mode::Apply)
                && let Some(kind) = pulse(&report.outcome)
            {
                let message = heartbeat(services, report, kind);
                letters_of(&message, std::slice::from_ref(sink), &mut after.letters);
            }
            (&job.sinks, alarming(row, job.retries, &report.outcome))
        }
        Work::Round(name) => match config.rounds.get(name) {
            Some(round) => (&round.sinks, is_left_undone(row, report)),
            None => return Ok(()),
        },
    };
    if sinks.is_empty() {
        return Ok(());
    }
    let name = row.work.name();
    let subject = subject(row);
    let well = row.mode == Mode::Apply && report.outcome == Outcome::Succeeded;
    let critical: BTreeMap<&str, (&str, Option<&str>)> = report
        .findings()
        .filter(|finding| finding.severity == Severity::Critical && row.mode == Mode::Apply)
        .map(|finding| {
            (
                finding.code.as_str(),
                (finding.text.as_str(), finding.next.as_deref()),
            )
        })
        .take(FINDINGS_MAX)
        .collect();
    if !bad && !well && critical.is_empty() {
        return Ok(());
    }
    let standings = services.ledger.standings(std::slice::from_ref(&subject)).await?;
    let (version, before) = stood::<Open>(&standings, &subject);
    let before = before.unwrap_or_default();
    let mut open = before.clone();
    let mut messages = Vec::new();
    let say =
        |kind, about: &str, severity, title: String, text: String, next: Option<String>, since| Message {
            id: id(&subject, kind, about, report),
            subject: subject.clone(),
            about: about.to_owned(),
            severity,
            title,
            text: cut(&text),
            next,
            since: Some(since),
            ..about_run(services, report, kind)
        };
    let label = report.outcome.label();
    if bad && open.run.as_ref().is_none_or(|told| told.about != label) {
        let since = open.run.as_ref().map_or(report.ended_at, |told| told.since);
        let title = format!("{name} ended {label}");
        let next = Some(format!("sereno runs show {}", row.id));
        let text = report.outcome.text().unwrap_or(&label).to_owned();
        messages.push(say(
            MessageKind::Firing,
            &label,
            Severity::Critical,
            title,
            text,
            next,
            since,
        ));
        open.run = Some(Told { about: label, since });
    }
    if let Some(told) = open.run.take_if(|_| well) {
        let title = format!("{name} succeeded again");
        let text = format!("It had ended {}.", told.about);
        messages.push(say(
            MessageKind::Resolved,
            &told.about,
            Severity::Critical,
            title,
            text,
            None,
            told.since,
        ));
    }
    for (code, (text, next)) in &critical {
        if !open.findings.contains_key(*code) {
            let about = format!("finding({code})");
            let title = format!("{name} found {code}");
            let next = next.map(str::to_owned);
            messages.push(say(
                MessageKind::Firing,
                &about,
                Severity::Critical,
                title,
                (*text).to_owned(),
                next,
                report.ended_at,
            ));
            let since = report.ended_at;
            open.findings.insert((*code).to_owned(), Told { about, since });
        }
    }
    if well {
        let gone: Vec<String> = open
            .findings
            .keys()
            .filter(|code| !critical.contains_key(code.as_str()))
            .cloned()
            .collect();
        for code in gone {
            if let Some(told) = open.findings.remove(&code) {
                let title = format!("{name} no longer finds {code}");
                messages.push(say(
                    MessageKind::Resolved,
                    &told.about,
                    Severity::Critical,
                    title,
                    String::new(),
                    None,
                    told.since,
                ));
            }
        }
    }
    if open != before {
        after.standings.push(Standing {
            subject: subject.clone(),
            version,
            body: serde_json::to_value(&open).unwrap_or_default(),
        });
    }
    for message in &messages {
        letters_of(message, sinks, &mut after.letters);
    }
    Ok(())
}

fn subject(row: &RunRow) -> String {
    let kind = match &row.work {
        Work::Job(_) => "job",
        Work::Round(_) => "round",
    };
    match &row.shard {
        Some(shard) => format!("{kind}.{}.{shard}", row.work.name()),
        None => format!("{kind}.{}", row.work.name()),
    }
}

/// What none of a round's jobs can tell: that they were not started.
fn is_left_undone(row: &RunRow, report: &Report) -> bool {
    let is_over = report.outcome != Outcome::Cancelled && report.outcome != Outcome::Interrupted;
    let nobody_told = report.steps.is_empty() && alarming(row, 0, &report.outcome);
    row.mode == Mode::Apply && is_over && (nobody_told || report.steps.iter().any(|step| step.run.is_none()))
}

/// Whether somebody is told that a run ended so. A plan by hand is read by whoever made it, one that a
/// schedule came to, as a job without an approval does, by nobody; what a carrier delivers
/// again is told when it has been tried often enough.
fn alarming(row: &RunRow, retries: u32, outcome: &Outcome) -> bool {
    if row.mode == Mode::Plan && !row.reason.is_scheduled() {
        return false;
    }
    match outcome {
        Outcome::Refused(..)
        | Outcome::Failed(_)
        | Outcome::Trap(_)
        | Outcome::Invalid(_)
        | Outcome::Usage(_)
        | Outcome::Limit(..) => true,
        Outcome::Retryable(_) | Outcome::Unreachable(_) | Outcome::Lost(_) | Outcome::Interrupted => {
            !matches!(row.reason, Reason::Event(_)) || row.attempt > retries
        }
        Outcome::Succeeded
        | Outcome::Continued
        | Outcome::Partial(_)
        | Outcome::Skipped(..)
        | Outcome::Cancelled => false,
    }
}

/// What a dead man's switch hears of the end of a run.
fn pulse(outcome: &Outcome) -> Option<MessageKind> {
    match outcome {
        Outcome::Succeeded => Some(MessageKind::Success),
        Outcome::Continued | Outcome::Skipped(..) => None,
        _ => Some(MessageKind::Fail),
    }
}

/// A heartbeat of a run.
pub(super) fn heartbeat(services: &Services, report: &Report, kind: MessageKind) -> Message {
    // A line of its own, so that no alert waits behind it.
    let subject = format!("heartbeat.{}", report.work.name());
    Message {
        id: id(&subject, kind, "", report),
        subject,
        title: format!("{} {}", report.work.name(), kind.label()),
        text: if kind == MessageKind::Start {
            String::new()
        } else {
            report.outcome.label()
        },
        ..about_run(services, report, kind)
    }
}

fn about_run(services: &Services, report: &Report, kind: MessageKind) -> Message {
    Message {
        schema_version: MESSAGE_SCHEMA_VERSION,
        id: String::new(),
        kind,
        severity: Severity::Info,
        subject: String::new(),
        about: String::new(),
        title: String::new(),
        text: String::new(),
        next: None,
        at: report.ended_at,
        since: None,
        host: services.host.clone(),
        job: report.work.job().cloned(),
        run: Some(report.run.clone()),
        gauge: None,
        target: None,
        value: None,
        unit: None,
        threshold: None,
    }
}

/// The same for the same news of the same run.
fn id(subject: &str, kind: MessageKind, about: &str, report: &Report) -> String {
    let parts = serde_json::json!([subject, kind, about, report.run]);
    digest(parts.to_string().as_bytes())[..16].to_owned()
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// One letter a sink.
pub(super) fn letters_of(message: &Message, sinks: &[SinkName], letters: &mut Vec<Letter>) {
    letters.extend(sinks.iter().map(|sink| Letter {
        id: format!("{}@{sink}", message.id),
        sink: sink.clone(),
        message: message.clone(),
        created_at: message.at,
        expires_at: message.at + age_max(message.kind),
    }));
}
