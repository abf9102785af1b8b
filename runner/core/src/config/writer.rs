//! `[writer.NAME]`: a program that keeps files open, and how it is told to open them anew.
//!
//! Nothing is looked at here: whether the process is the one that is meant is seen when it is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::directory;
use super::document::Node;
use super::shape::{Complaint, Key, Kind, Parsed, Presence, Shape};
use super::texts;
use crate::job::{Signal, WriterTarget};
use crate::name::TargetName;
use crate::units::parse_duration;

/// A program that tells another does no work of its own.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The program and what it is told: more is a script, which belongs into a file.
const ARGUMENTS_MAX: usize = 64;

pub(super) static WRITER: Shape = Shape {
    keys: &[
        Key {
            name: "pidfile",
            kind: Kind::Parsed(&texts::PATH),
            presence: Presence::Optional,
            doc: "The file in which the program keeps its process's number, as `/run/app.pid`. Nobody but root, sereno's \
                  own user and the process's own user may be able to write it.",
        },
        Key {
            name: "signal",
            kind: Kind::OneOf(&texts::SIGNAL),
            presence: Presence::Default("\"HUP\""),
            doc: "What the process of `pidfile` gets: `HUP` (most servers), `USR1` (nginx) or `USR2`. A process that does \
                  not handle it is left alone, because it would end.",
        },
        Key {
            name: "hook",
            kind: Kind::List(&Kind::Parsed(&ARGUMENT)),
            presence: Presence::Optional,
            doc: "Instead of `pidfile`: a program and its arguments, as `[\"/usr/sbin/nginx\", \"-s\", \"reopen\"]`. No shell \
                  reads them, and of the environment only `PATH` and `LANG` are given.",
        },
        Key {
            name: "timeout",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(600),
            },
            presence: Presence::Default("\"30s\""),
            doc: "The `hook` and all that it started are ended after this.",
        },
    ],
};

static ARGUMENT: Parsed = Parsed {
    what: "an argument of a program",
    code: "bad-value",
    pattern: None,
    check: |text| {
        if text.contains('\0') {
            Err(Complaint::new("an argument holds a NUL", "leave it out"))
        } else {
            Ok(())
        }
    },
};

pub(super) fn read(
    root: &Node,
    folder: &Path,
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeMap<TargetName, WriterTarget> {
    let mut writers = BTreeMap::new();
    for entry in root.entries_of("writer") {
        if let (Ok(name), Some(writer)) = (
            entry.key.parse::<TargetName>(),
            read_one(&entry.node, folder, mistakes),
        ) {
            writers.insert(name, writer);
        }
    }
    writers
}

fn read_one(node: &Node, folder: &Path, mistakes: &mut Vec<Diagnostic>) -> Option<WriterTarget> {
    let mut refuse = |at: &Node, message: &str, hint: &str| {
        mistakes.push(
            Diagnostic::at("bad-writer", at.span.clone(), message)
                .label("here")
                .hint(hint),
        );
    };
    match (node.get("pidfile"), node.get("hook")) {
        (Some(_), Some(hook)) => {
            refuse(
                hook,
                "a writer is told by a signal or by a hook",
                "keep `pidfile` or `hook`",
            );
            None
        }
        (None, None) => {
            refuse(
                node,
                "nothing says how this writer is told",
                "add `pidfile = \"/run/app.pid\"`, or `hook = [\"/usr/sbin/nginx\", \"-s\", \"reopen\"]`",
            );
            None
        }
        (Some(pidfile), None) => {
            if let Some(at) = node.get("timeout") {
                refuse(at, "a signal takes no time", "`timeout` is for a `hook`");
            }
            let text = pidfile.text().filter(|text| (texts::PATH.check)(text).is_ok())?;
            Some(WriterTarget::Process {
                pidfile: directory::absolute(folder, text),
                signal: match node.text_of("signal") {
                    Some("USR1") => Signal::Usr1,
                    Some("USR2") => Signal::Usr2,
                    _ => Signal::Hup,
                },
            })
        }
        (None, Some(hook)) => {
            if let Some(at) = node.get("signal") {
                refuse(at, "a hook sends what it likes", "`signal` is for a `pidfile`");
            }
            let argv: Vec<&str> = node.texts_of("hook");
            let Some((program, arguments)) = argv.split_first().filter(|_| argv.len() <= ARGUMENTS_MAX)
            else {
                let hint = "write the program and its arguments: `[\"/usr/sbin/nginx\", \"-s\", \"reopen\"]`";
                refuse(hook, "a hook is 1 to 64 texts", hint);
                return None;
            };
            if !program.contains('/') {
                let hint = "write its whole path; what `PATH` leads to is another program tomorrow";
                refuse(hook, &format!("`{program}` is not the path of a program"), hint);
                return None;
            }
            let program = directory::absolute(folder, program).display().to_string();
            let arguments = arguments.iter().map(|text| (*text).to_owned());
            Some(WriterTarget::Hook {
                argv: std::iter::once(program).chain(arguments).collect(),
                timeout: node
                    .text_of("timeout")
                    .and_then(|text| parse_duration(text).ok())
                    .unwrap_or(TIMEOUT_DEFAULT),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read as read_config;
    use super::*;

    fn codes(section: &str) -> Vec<&'static str> {
        let text = format!("version = 1\n[writer.app]\n{section}");
        let reading = read_config(&text, Path::new("/srv"));
        reading.mistakes.iter().map(|mistake| mistake.code).collect()
    }

    fn writer(section: &str) -> WriterTarget {
        let text = format!("version = 1\n[writer.app]\n{section}");
        let config = read_config(&text, Path::new("/srv")).into_config();
        config.expect("a good writer").writers.pop_first().expect("one").1
    }

    #[test]
    fn a_writer_is_told_by_a_signal_or_by_a_hook() {
        assert_eq!(
            writer("pidfile = \"app.pid\""),
            WriterTarget::Process {
                pidfile: "/srv/app.pid".into(),
                signal: Signal::Hup
            }
        );
        assert_eq!(
            writer("hook = [\"./reopen\", \"--all\"]\ntimeout = \"5s\""),
            WriterTarget::Hook {
                argv: vec!["/srv/reopen".to_owned(), "--all".to_owned()],
                timeout: Duration::from_secs(5)
            }
        );
        for (section, code) in [
            ("", "bad-writer"),
            ("pidfile = \"/run/a\"\nhook = [\"/bin/true\"]", "bad-writer"),
            ("hook = []", "bad-writer"),
            ("hook = [\"true\"]", "bad-writer"),
            ("hook = [\"/bin/true\"]\nsignal = \"HUP\"", "bad-writer"),
            ("pidfile = \"/run/a\"\ntimeout = \"1s\"", "bad-writer"),
            ("pidfile = \"/run/a\"\nsignal = \"KILL\"", "bad-value"),
            ("pidfile = \"/run/a\"\nsignal = \"TERM\"", "bad-value"),
            ("hook = [\"/bin/true\"]\ntimeout = \"1h\"", "out-of-range"),
        ] {
            assert_eq!(codes(section), [code], "{section}");
        }
    }
}
