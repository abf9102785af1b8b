//! `[serve]`: the process that stays, its clock and its HTTP API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::document::{Entry, Node};
use super::shape::{Choice, Complaint, Key, Kind, Parsed, Presence, Shape};
use super::texts;
use crate::job::SecretText;
use crate::name::TargetName;
use crate::reference::{self, Part};
use crate::serve::{HASH_PREFIX, Role, ServeSettings, Token, hash_of_token};
use crate::units::parse_duration;

/// What stands for no address.
const NOWHERE: &str = "none";

/// This machine only.
const LISTEN_DEFAULT: &str = "127.0.0.1:8321";

const JITTER_DEFAULT: Duration = Duration::from_secs(10);

/// Less than what an orchestrator waits between its first and its last signal, which is 30 s nearly everywhere.
const DRAIN_DEFAULT: Duration = Duration::from_secs(25);

/// More runs than this want a second machine.
const RUNS_MAX: i64 = 256;

static LISTEN: Parsed = Parsed {
    what: "an address with a port, or `none`",
    code: "bad-address",
    pattern: None,
    check: |text| {
        if text == NOWHERE || text.parse::<SocketAddr>().is_ok() {
            return Ok(());
        }
        Err(Complaint::new(
            format!("`{text}` is no address with a port"),
            "write `127.0.0.1:8321`, `[::1]:8321`, or `0.0.0.0:8321` for all of this machine's addresses",
        ))
    },
};

static ROLE: Choice = Choice {
    what: "a role",
    code: "bad-value",
    texts: &["read", "operate"],
};

static TOKEN_SECRET: Parsed = Parsed {
    what: "`sha256:` and a token's hash, or a reference such as `${file:/run/secrets/token}`",
    code: "plain-secret",
    pattern: None,
    check: |text| {
        if text.starts_with(HASH_PREFIX) {
            return match hash_of_token(text) {
                Some(_) => Ok(()),
                None => Err(Complaint::new(
                    "this is no SHA-256: it has 64 hexadecimal digits",
                    "`printf %s \"$TOKEN\" | sha256sum` prints them",
                )),
            };
        }
        match reference::parse(text) {
            Err(error) => Err(Complaint::new(error.problem, error.hint)),
            Ok(parts) if parts.iter().any(|part| matches!(part, Part::Reference(_))) => Ok(()),
            Ok(_) => Err(Complaint::new(
                "a token stands in plain text",
                "write its hash, `sha256:…`, or keep it elsewhere: `${env:NAME}`, `${file:/run/secrets/name}`",
            )),
        }
    },
};

static TOKEN: Shape = Shape {
    keys: &[
        Key {
            name: "secret",
            kind: Kind::Parsed(&TOKEN_SECRET),
            presence: Presence::Required,
            doc: "`sha256:` and the token's hash (`openssl rand -hex 32 | tee token | tr -d '\\n' | sha256sum`), or the \
                  token by reference.",
        },
        Key {
            name: "role",
            kind: Kind::OneOf(&ROLE),
            presence: Presence::Default("\"read\""),
            doc: "`read` looks; `operate` also runs, plans, applies, cancels, pauses, resumes and reloads.",
        },
    ],
};

pub(super) static SERVE: Shape = Shape {
    keys: &[
        Key {
            name: "listen",
            kind: Kind::Parsed(&LISTEN),
            presence: Presence::Default("\"127.0.0.1:8321\""),
            doc: "Where the HTTP API and the probes will be, or `none`: it is checked, and this version answers nobody. Any other address than this machine's own needs a \
                  token. It speaks plain HTTP: put a proxy with TLS before it where it crosses a network.",
        },
        Key {
            name: "jitter",
            kind: Kind::Duration {
                min: Duration::from_millis(1),
                max: Duration::from_secs(3_600),
            },
            presence: Presence::Default("\"10s\""),
            doc: "Spreads work that is due at once: each job and round starts up to so much later than its time, always \
                  by the same, and never by more than a tenth of its period. Cutoffs are reckoned from the time itself.",
        },
        Key {
            name: "max_runs",
            kind: Kind::Integer {
                min: 1,
                max: RUNS_MAX,
            },
            presence: Presence::Optional,
            doc: "Runs at once. By default as many as the machine has cores.",
        },
        Key {
            name: "runs_per_database",
            kind: Kind::Integer {
                min: 1,
                max: RUNS_MAX,
            },
            presence: Presence::Default("1"),
            doc: "Of those on the same database.",
        },
        Key {
            name: "drain",
            kind: Kind::Duration {
                min: Duration::from_secs(1),
                max: Duration::from_secs(24 * 3_600),
            },
            presence: Presence::Default("\"25s\""),
            doc: "How long runs at work may take to end once the process is told to stop. What is left is interrupted: \
                  its batch is finished, and it goes on wherever it is delivered next.",
        },
        Key {
            name: "token",
            kind: Kind::Map {
                key: &texts::TARGET_NAME,
                of: &Kind::Table(&TOKEN),
            },
            presence: Presence::Optional,
            doc: "Who may use the HTTP API once there is one, by name. Without any, everybody on this machine may look and nobody may operate.",
        },
    ],
};

pub(super) fn read(root: &Node, mistakes: &mut Vec<Diagnostic>) -> ServeSettings {
    let serve = root.get("serve");
    let duration = |key: &str, default: Duration| {
        serve
            .and_then(|serve| serve.text_of(key))
            .and_then(|text| parse_duration(text).ok())
            .unwrap_or(default)
    };
    let integer = |key: &str| {
        serve
            .and_then(|serve| serve.integer_of(key))
            .and_then(|number| u32::try_from(number).ok())
    };
    let listen = serve
        .and_then(|serve| serve.text_of("listen"))
        .unwrap_or(LISTEN_DEFAULT);
    let tokens: BTreeMap<TargetName, Token> = serve
        .map_or(&[][..], |serve| serve.entries_of("token"))
        .iter()
        .filter_map(token)
        .collect();
    let listen: Option<SocketAddr> = listen.parse().ok();
    if let Some(address) = listen.filter(|address| !address.ip().is_loopback())
        && tokens.is_empty()
        && let Some(at) = serve.and_then(|serve| serve.get("listen"))
    {
        let message = format!("{address} is open to other machines, and no token is asked for");
        mistakes.push(
            Diagnostic::at("no-token", at.span.clone(), message)
                .label("anybody could look at what runs here")
                .hint("add a section `[serve.token.NAME]`, or listen on 127.0.0.1"),
        );
    }
    ServeSettings {
        listen,
        jitter: duration("jitter", JITTER_DEFAULT),
        max_runs: integer("max_runs"),
        runs_per_database: integer("runs_per_database").unwrap_or(1),
        drain: duration("drain", DRAIN_DEFAULT),
        tokens,
    }
}

fn token(entry: &Entry) -> Option<(TargetName, Token)> {
    let role = match entry.node.text_of("role") {
        Some("operate") => Role::Operate,
        _ => Role::Read,
    };
    let secret = SecretText::new(entry.node.text_of("secret")?);
    Some((entry.key.parse().ok()?, Token { secret, role }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{parse, read as read_all};
    use super::*;

    fn mistakes(text: &str) -> Vec<&'static str> {
        let reading = read_all(&format!("version = 1\n{text}"), Path::new("/srv"));
        reading.mistakes.into_iter().map(|one| one.code).collect()
    }

    #[test]
    fn it_listens_on_this_machine_alone_unless_it_is_told_otherwise() {
        let config = parse("version = 1\n", Path::new("/srv")).expect("a configuration");
        let listen = config.serve.listen.expect("an address");
        assert!(listen.ip().is_loopback());
        assert_eq!(config.serve.jitter, JITTER_DEFAULT);
        let none = parse("version = 1\n[serve]\nlisten = \"none\"\n", Path::new("/srv"));
        assert_eq!(none.expect("a configuration").serve.listen, None);
    }

    #[test]
    fn other_machines_need_a_token_and_a_token_is_no_plain_text() {
        let hash = "a".repeat(64);
        assert_eq!(mistakes("[serve]\nlisten = \"0.0.0.0:8321\"\n"), ["no-token"]);
        let open =
            format!("[serve]\nlisten = \"0.0.0.0:8321\"\n[serve.token.ops]\nsecret = \"sha256:{hash}\"\n");
        assert_eq!(mistakes(&open), [""; 0]);
        for wrong in ["hunter2hunter2hunter2", "sha256:abc"] {
            let text = format!("[serve.token.ops]\nsecret = \"{wrong}\"\n");
            assert_eq!(mistakes(&text), ["plain-secret"], "{wrong}");
        }
        assert_eq!(mistakes("[serve]\nlisten = \"8321\"\n"), ["bad-address"]);
        assert_eq!(
            mistakes("[serve.token.ops]\nsecret = \"${env:T}\"\nrole = \"admin\"\n"),
            ["bad-value"]
        );
    }
}
