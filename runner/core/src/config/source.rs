//! `event_sources` of jobs and rounds: one rule or schedule means one of them.

use std::collections::BTreeMap;

use super::diagnostic::Diagnostic;
use super::document::Node;

/// Tells every source that a second job or round lists.
pub(super) fn check(root: &Node, mistakes: &mut Vec<Diagnostic>) {
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    for section in ["job", "round"] {
        for entry in root.entries_of(section) {
            let work = format!("{section} `{}`", entry.key);
            let listed = entry.node.get("event_sources").map_or(&[][..], Node::items);
            for node in listed {
                let Some(source) = node.text() else { continue };
                match first.get(source) {
                    Some(other) => mistakes.push(
                        Diagnostic::at(
                            "same-source",
                            node.span.clone(),
                            format!("{other} lists `{source}` too"),
                        )
                        .label("a second time")
                        .hint("one event starts one run: make a round of both, or give each a schedule of its own"),
                    ),
                    None => drop(first.insert(source, work.clone())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_source_means_one_job_or_round() {
        let text = r#"
version = 1
[job.a]
plugin = "temp-files"
event_sources = ["rule/nightly", "schedule/default/b"]
[job.b]
plugin = "temp-files"
event_sources = ["schedule/default/b"]
[round.c]
jobs = ["b"]
event_sources = ["rule/nightly", "rule/other"]
"#;
        let mistakes = crate::config::read(text, std::path::Path::new("/srv")).mistakes;
        let told: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
        assert_eq!(
            told,
            [
                "job `a` lists `schedule/default/b` too",
                "job `a` lists `rule/nightly` too"
            ]
        );
    }
}
