//! `[gauge.NAME]`: a measurement held against a target and an alert; and `[alerts]`, where messages go by default.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnostic::{Diagnostic, did_you_mean};
use super::document::{Entry, Node};
use super::shape::{A_YEAR, Choice, Complaint, Key, Kind, Parsed, Presence, Shape};
use super::{sink, texts};
use crate::gauge::{Amount, AmountUnit, Gauge, Side, Threshold};
use crate::job::Config;
use crate::name::{GaugeName, SinkName};
use crate::report::Severity;
use crate::units::{UnitError, parse_duration};

impl From<UnitError> for Complaint {
    fn from(error: UnitError) -> Self {
        Self::new(error.problem, error.hint)
    }
}

static THRESHOLD: Parsed = Parsed {
    what: "a comparison with an amount",
    code: "bad-threshold",
    pattern: Some("^\\s*[<>]=?\\s*\\S.*$"),
    check: |text| Threshold::parse(text).map(drop).map_err(Complaint::from),
};

static AMOUNT: Parsed = Parsed {
    what: "an amount",
    code: "bad-amount",
    pattern: None,
    check: |text| Amount::parse(text).map(drop).map_err(Complaint::from),
};

static MEASUREMENT: Parsed = Parsed {
    what: "the name of a measurement",
    code: "bad-name",
    pattern: None,
    check: |text| {
        if text.is_empty() || text.contains(char::is_whitespace) {
            return Err(Complaint::new(
                "this is no name of a measurement",
                "write one as plugins do: `disk.used_percent`, `database.bytes`, `files.count`",
            ));
        }
        Ok(())
    },
};

static STRETCH: Choice = Choice {
    what: "a stretch of time",
    code: "bad-value",
    texts: &["week", "day"],
};

static SEVERITY: Choice = Choice {
    what: "a severity",
    code: "bad-value",
    texts: &["critical", "warn", "info"],
};

pub(super) static GAUGE: Shape = Shape {
    keys: &[
        Key {
            name: "of",
            kind: Kind::Parsed(&MEASUREMENT),
            presence: Presence::Required,
            doc: "The measurement's name, as the plugin keeps it: `disk.used_percent`, `database.bytes`.",
        },
        Key {
            name: "on",
            kind: Kind::Parsed(&texts::MEASURED),
            presence: Presence::Required,
            doc: "What was measured, as a grant path: `directory.temp`, `database.app`, `database.app.tables.x`.",
        },
        Key {
            name: "target",
            kind: Kind::Parsed(&THRESHOLD),
            presence: Presence::Optional,
            doc: "What is wished for, as `< 80 %`. A gauge that fires resolves when this is met; without it, when the \
                  alert no longer holds.",
        },
        Key {
            name: "alert",
            kind: Kind::Parsed(&THRESHOLD),
            presence: Presence::Optional,
            doc: "What fires, as `> 85 %`, on the other side of the target. Without it the gauge is only shown.",
        },
        Key {
            name: "for",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: A_YEAR,
            },
            presence: Presence::Optional,
            doc: "How long the alert must hold, from reading to reading, before it fires. By default it fires at once.",
        },
        Key {
            name: "per",
            kind: Kind::OneOf(&STRETCH),
            presence: Presence::Optional,
            doc: "Judge how much it grows in a week or a day instead of how much it is: in percent where the bounds \
                  are percentages, else in its own unit. Needs three readings over seven days.",
        },
        Key {
            name: "limit",
            kind: Kind::Parsed(&AMOUNT),
            presence: Presence::Optional,
            doc: "What it is full at, for the days until then. By default the alert's bound.",
        },
        Key {
            name: "unknown_after",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: A_YEAR,
            },
            presence: Presence::Optional,
            doc: "Send a message when its readings have been unknown for so long. By default none is sent.",
        },
        Key {
            name: "severity",
            kind: Kind::OneOf(&SEVERITY),
            presence: Presence::Default("\"critical\""),
            doc: "How bad it is when it fires.",
        },
        Key {
            name: "sinks",
            kind: Kind::List(&Kind::Parsed(&texts::SINK_NAME)),
            presence: Presence::Optional,
            doc: "Where its messages go. By default the sinks of `[alerts]`.",
        },
    ],
};

pub(super) static ALERTS: Shape = Shape {
    keys: &[Key {
        name: "sinks",
        kind: Kind::List(&Kind::Parsed(&texts::SINK_NAME)),
        presence: Presence::Default("[]"),
        doc: "Where messages go about runs that were refused or failed, and about gauges, jobs and rounds that name \
              no sinks of their own.",
    }],
};

/// `[alerts]`.
pub(super) fn read_alerts(root: &Node, config: &Config, mistakes: &mut Vec<Diagnostic>) -> Vec<SinkName> {
    let alerts = root.get("alerts");
    sink::named(alerts.and_then(|alerts| alerts.get("sinks")), config, mistakes).unwrap_or_default()
}

/// The gauges. `config` holds targets and sinks already.
pub(super) fn read(
    root: &Node,
    config: &Config,
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeMap<GaugeName, Gauge> {
    let entries = root.entries_of("gauge").iter();
    entries
        .filter_map(|entry| read_one(entry, config, mistakes))
        .map(|gauge| (gauge.name.clone(), gauge))
        .collect()
}

fn read_one(entry: &Entry, config: &Config, mistakes: &mut Vec<Diagnostic>) -> Option<Gauge> {
    let node = &entry.node;
    let threshold = |key: &str| node.text_of(key).and_then(|text| Threshold::parse(text).ok());
    let duration = |key: &str| node.text_of(key).and_then(|text| parse_duration(text).ok());
    let (target, alert) = (threshold("target"), threshold("alert"));
    check_target(node, config, mistakes);
    if node.get("target").is_none() && node.get("alert").is_none() {
        mistakes.push(
            Diagnostic::at(
                "no-threshold",
                entry.key_span.clone(),
                format!("gauge `{}` is held against nothing", entry.key),
            )
            .label("neither `target` nor `alert`")
            .hint("add `target = \"< 80 %\"`, `alert = \"> 85 %\"` or both"),
        );
    }
    if let (Some(target), Some(alert), Some(at)) = (&target, &alert, node.get("alert")) {
        check_band(target, alert, at, mistakes);
    }
    let sinks = sink::named(node.get("sinks"), config, mistakes);
    Some(Gauge {
        name: entry.key.parse().ok()?,
        of: node.text_of("of")?.to_owned(),
        on: node.text_of("on")?.to_owned(),
        target,
        alert,
        hold_for: duration("for").unwrap_or_default(),
        unknown_after: duration("unknown_after"),
        per: match node.text_of("per") {
            Some("week") => Some(Duration::from_secs(7 * 86_400)),
            Some("day") => Some(Duration::from_secs(86_400)),
            _ => None,
        },
        limit: node.text_of("limit").and_then(|text| Amount::parse(text).ok()),
        severity: match node.text_of("severity") {
            Some("info") => Severity::Info,
            Some("warn") => Severity::Warn,
            _ => Severity::Critical,
        },
        sinks: sinks.unwrap_or_else(|| config.alert_sinks.clone()),
    })
}

/// The alert lies on the far side of the target.
fn check_band(target: &Threshold, alert: &Threshold, at: &Node, mistakes: &mut Vec<Diagnostic>) {
    let mut mistake = |message: String, hint: &str| {
        mistakes.push(
            Diagnostic::at("bad-threshold", at.span.clone(), message)
                .label("does not go with the target")
                .hint(hint),
        );
    };
    let (wished, fires) = (target.show(""), alert.show(""));
    let units = [target.bound.unit, alert.bound.unit];
    if target.bound.unit != alert.bound.unit && !units.contains(&AmountUnit::Plain) {
        mistake(
            format!("target `{wished}` and alert `{fires}` count different things"),
            "write both in the same unit",
        );
    } else if target.side == alert.side {
        mistake(
            format!("target `{wished}` and alert `{fires}` point the same way"),
            "the alert is the bad side: `target = \"< 80 %\"` goes with `alert = \"> 85 %\"`",
        );
    } else if match target.side {
        Side::Below => target.bound.number > alert.bound.number,
        Side::Above => target.bound.number < alert.bound.number,
    } {
        mistake(
            format!(
                "between target `{wished}` and alert `{fires}` a reading would be both well and alarming"
            ),
            "move the alert beyond the target",
        );
    }
}

/// `on` names something that is configured.
fn check_target(node: &Node, config: &Config, mistakes: &mut Vec<Diagnostic>) {
    let Some(at) = node.get("on") else {
        return;
    };
    let mut parts = at.text().unwrap_or_default().splitn(3, '.');
    let (section, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let known: Vec<&str> = match section {
        "database" => config
            .databases
            .keys()
            .map(crate::name::TargetName::as_str)
            .collect(),
        "directory" => config
            .directories
            .keys()
            .map(crate::name::TargetName::as_str)
            .collect(),
        _ => return,
    };
    if !known.contains(&name) {
        let hint = did_you_mean(name, known.iter().copied());
        mistakes.push(
            Diagnostic::at(
                "unknown-target",
                at.span.clone(),
                format!("there is no `{section}.{name}`"),
            )
            .label("unknown")
            .hint(hint.unwrap_or_else(|| format!("add a section `[{section}.{name}]`"))),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{parse, read as read_all};
    use crate::gauge::Gauge;

    const SINK: &str = "version = 1\n[directory.temp]\npath = \"/srv/app/temp\"\n[sink.ops.log]\n[alerts]\nsinks = [\"ops\"]\n";

    fn mistakes(text: &str) -> Vec<(&'static str, String)> {
        let reading = read_all(&format!("{SINK}{text}"), Path::new("/srv"));
        reading
            .mistakes
            .into_iter()
            .map(|one| (one.code, one.message))
            .collect()
    }

    #[test]
    fn a_gauge_is_read_with_its_defaults() {
        let text = format!(
            "{SINK}[gauge.disk]\nof = \"disk.used_percent\"\non = \"directory.temp\"\nalert = \"> 85 %\"\n"
        );
        let config = parse(&text, Path::new("/srv")).expect("a configuration");
        let gauges: Vec<&Gauge> = config.gauges.values().collect();
        let [gauge] = gauges[..] else { panic!("{gauges:?}") };
        assert_eq!(
            (gauge.of.as_str(), gauge.on.as_str()),
            ("disk.used_percent", "directory.temp")
        );
        assert_eq!(gauge.sinks, config.alert_sinks);
        assert!(gauge.target.is_none() && gauge.hold_for.is_zero());
    }

    #[test]
    fn every_mistake_in_gauges_and_sinks_is_told_at_once() {
        let found = mistakes(
            "[gauge.a]\nof = \"x\"\non = \"directory.tmp\"\n\
             [gauge.b]\nof = \"x\"\non = \"directory.temp\"\ntarget = \"< 80\"\nalert = \"< 85\"\nsinks = [\"oops\"]\n\
             [gauge.c]\nof = \"x\"\non = \"directory.temp\"\ntarget = \"< 90\"\nalert = \"> 85\"\n\
             [gauge.d]\nof = \"x\"\non = \"directory.temp\"\ntarget = \"< 90 %\"\nalert = \"> 1 GiB\"\n\
             [gauge.e]\nof = \"x\"\non = \"nowhere\"\nalert = \"about 3\"\n\
             [sink.two.slack]\nurl = \"${env:A}\"\n[sink.two.log]\n\
             [sink.bot.telegram]\ntoken = \"123:abc\"\nchat = \"1\"\n\
             [sink.none]\n",
        );
        let codes: Vec<&str> = found.iter().map(|(code, _)| *code).collect();
        assert_eq!(
            codes,
            [
                "no-threshold",
                "unknown-target",
                "bad-threshold",
                "unknown-sink",
                "bad-threshold",
                "bad-threshold",
                "bad-target",
                "bad-threshold",
                "sink-kind",
                "plain-secret",
                "sink-kind"
            ],
            "{found:#?}"
        );
    }
}
