//! Advisories in OSV's format: which versions they are about, how bad they are, and what mends them.

use std::collections::BTreeSet;

use semver::Version;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::Severity;
use crate::cvss;
use crate::lockfile::Package;

/// As much of an advisory as is used here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Advisory {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) modified: String,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    /// It was taken back.
    pub(crate) withdrawn: Option<String>,
    #[serde(default)]
    pub(crate) summary: String,
    #[serde(default)]
    details: String,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    database_specific: Json,
    #[serde(default)]
    affected: Vec<Affected>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Score {
    #[serde(default)]
    score: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Affected {
    #[serde(default)]
    package: AffectedPackage,
    #[serde(default)]
    ranges: Vec<Range>,
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    severity: Vec<Score>,
    #[serde(default)]
    database_specific: Json,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct AffectedPackage {
    #[serde(default)]
    name: String,
    #[serde(default)]
    ecosystem: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Range {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Event {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
}

/// `0` is before every version.
fn version(text: &str) -> Option<Version> {
    if text == "0" {
        return Some(Version {
            pre: semver::Prerelease::new("0").ok()?,
            ..Version::new(0, 0, 0)
        });
    }
    Version::parse(text).ok()
}

impl Range {
    fn holds(&self, at: &Version) -> bool {
        if self.kind == "GIT" {
            return false;
        }
        let mut events: Vec<(Version, u8)> = Vec::new();
        for event in &self.events {
            let known = [
                (&event.introduced, 0),
                (&event.last_affected, 1),
                (&event.fixed, 2),
            ];
            events.extend(
                known
                    .into_iter()
                    .filter_map(|(text, kind)| Some((version(text.as_deref()?)?, kind))),
            );
        }
        events.sort();
        let mut held = false;
        for (from, kind) in events {
            match kind {
                0 if from.cmp_precedence(at).is_le() => held = true,
                1 if from.cmp_precedence(at).is_lt() => held = false,
                2 if from.cmp_precedence(at).is_le() => held = false,
                _ => {}
            }
        }
        held
    }
}

impl Affected {
    fn is_about(&self, package: &Package) -> bool {
        // `npm`, and of others `Debian:12`.
        let ecosystem = self.package.ecosystem.split(':').next().unwrap_or_default();
        ecosystem == package.ecosystem && self.package.name == package.name
    }
}

impl Advisory {
    /// One of which only the id is known.
    pub(crate) fn without_details(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// The packages that it is about, without their versions.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.affected.iter().map(|affected| {
            let ecosystem = affected.package.ecosystem.split(':').next().unwrap_or_default();
            (ecosystem, affected.package.name.as_str())
        })
    }

    /// True when this very version is affected.
    pub(crate) fn affects(&self, package: &Package) -> bool {
        let at = version(&package.version);
        self.withdrawn.is_none()
            && self
                .affected
                .iter()
                .filter(|affected| affected.is_about(package))
                .any(|affected| {
                    affected.versions.contains(&package.version)
                        || at
                            .as_ref()
                            .is_some_and(|at| affected.ranges.iter().any(|range| range.holds(at)))
                })
    }

    /// The next version that is not affected.
    pub(crate) fn fixed_in(&self, package: &Package) -> Option<String> {
        let at = version(&package.version)?;
        self.affected
            .iter()
            .filter(|affected| affected.is_about(package))
            .flat_map(|affected| &affected.ranges)
            .filter(|range| range.kind != "GIT")
            .flat_map(|range| &range.events)
            .filter_map(|event| version(event.fixed.as_deref()?))
            .filter(|fixed| *fixed > at)
            .min()
            .map(|fixed| fixed.to_string())
    }

    /// How bad it is, as the one who wrote it says, or else by its score; none where neither tells.
    pub(crate) fn severity(&self, package: &Package) -> Option<Severity> {
        let about = || self.affected.iter().filter(|affected| affected.is_about(package));
        let told = std::iter::once(&self.database_specific)
            .chain(about().map(|affected| &affected.database_specific))
            .filter_map(|specific| specific.get("severity")?.as_str())
            .find_map(named);
        let scores = self
            .severity
            .iter()
            .chain(about().flat_map(|affected| &affected.severity));
        let scored = scores
            .filter_map(|score| cvss::score(&score.score))
            .reduce(f64::max);
        told.or_else(|| scored.map(of_score))
    }

    /// One line about it.
    pub(crate) fn line(&self) -> String {
        let text = if self.summary.is_empty() {
            &self.details
        } else {
            &self.summary
        };
        let line = text
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("no summary");
        let line = line.trim().trim_start_matches('#').trim();
        match line.char_indices().nth(160) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.to_owned(),
        }
    }

    /// Its id and everything else that it is called.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        std::iter::once(&self.id).chain(&self.aliases).cloned().collect()
    }
}

fn named(text: &str) -> Option<Severity> {
    Some(match text.to_ascii_lowercase().as_str() {
        "low" => Severity::Low,
        "moderate" | "medium" => Severity::Moderate,
        "high" => Severity::High,
        "critical" => Severity::Critical,
        _ => return None,
    })
}

fn of_score(score: f64) -> Severity {
    match score {
        score if score >= 9.0 => Severity::Critical,
        score if score >= 7.0 => Severity::High,
        score if score >= 4.0 => Severity::Moderate,
        _ => Severity::Low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &str) -> Package {
        Package {
            ecosystem: "npm",
            name: "a".to_owned(),
            version: version.to_owned(),
        }
    }

    fn advisory(affected: &str) -> Advisory {
        let text = format!("{{\"id\": \"GHSA-x\", \"affected\": [{affected}]}}");
        serde_json::from_str(&text).expect("an advisory")
    }

    #[test]
    fn ranges_hold_what_lies_between_their_events() {
        let semver = |events: &str| {
            advisory(&format!(
                "{{\"package\": {{\"name\": \"a\", \"ecosystem\": \"npm\"}}, \"ranges\": [{{\"type\": \"SEMVER\", \"events\": [{events}]}}]}}"
            ))
        };
        let two =
            semver(r#"{"introduced": "2.0.0"}, {"fixed": "2.3.1"}, {"introduced": "0"}, {"fixed": "1.4.0"}"#);
        for (version, affected, fixed) in [
            ("0.0.0", true, Some("1.4.0")),
            ("1.3.9", true, Some("1.4.0")),
            ("1.4.0-rc.1", true, Some("1.4.0")),
            ("1.4.0", false, Some("2.3.1")),
            ("1.9.9", false, Some("2.3.1")),
            ("2.0.0", true, Some("2.3.1")),
            ("2.3.0", true, Some("2.3.1")),
            ("2.3.1", false, None),
            ("2.3.1+build", false, None),
            ("3.0.0", false, None),
            ("not-a-version", false, None),
        ] {
            let found = (two.affects(&package(version)), two.fixed_in(&package(version)));
            assert_eq!(found, (affected, fixed.map(str::to_owned)), "{version}");
        }
        let last = semver(r#"{"introduced": "1.0.0"}, {"last_affected": "1.2.0"}"#);
        assert!(last.affects(&package("1.2.0")) && !last.affects(&package("1.2.1")));
        let open = semver(r#"{"introduced": "0"}"#);
        assert!(open.affects(&package("99.0.0")));
    }

    #[test]
    fn other_packages_lists_of_versions_and_withdrawn_advisories() {
        let listed = r#"{"package": {"name": "a", "ecosystem": "npm"}, "versions": ["1.0.0"]}"#;
        assert!(advisory(listed).affects(&package("1.0.0")));
        assert!(!advisory(listed).affects(&package("1.0.1")));
        let other = listed.replace("npm", "PyPI");
        assert!(!advisory(&other).affects(&package("1.0.0")));
        let withdrawn = Advisory {
            withdrawn: Some("2026-01-01T00:00:00Z".to_owned()),
            ..advisory(listed)
        };
        assert!(!withdrawn.affects(&package("1.0.0")));
    }

    #[test]
    fn a_severity_is_told_or_reckoned_or_unknown() {
        let of = |text: &str| {
            serde_json::from_str::<Advisory>(text)
                .expect("an advisory")
                .severity(&package("1.0.0"))
        };
        let scored = r#"{"id": "a", "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}"#;
        assert_eq!(of(scored), Some(Severity::Critical));
        assert_eq!(
            of(r#"{"id": "a", "database_specific": {"severity": "MODERATE"}}"#),
            Some(Severity::Moderate)
        );
        assert_eq!(
            of(r#"{"id": "a", "severity": [{"score": "CVSS:4.0/AV:N"}]}"#),
            None
        );
        assert_eq!(of(r#"{"id": "a"}"#), None);
    }
}
