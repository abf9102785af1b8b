//! URLs and the secrets in them: references are checked, passwords in plain text are refused and never shown.

use super::document::{self, Data, Node};
use super::shape::Complaint;
use crate::reference::{self, Part, Reference};

/// What stands for a reference while a URL is looked at; no URL has a zero byte.
const HOLE: &str = "\0";

const SCHEMES: [&str; 3] = ["postgres://", "postgresql://", "sqlite:"];

/// A URL of a database: of a known kind, its references readable, without a password in plain text.
pub(super) fn check_url(text: &str) -> Result<(), Complaint> {
    let parts = reference::parse(text).map_err(|error| Complaint::new(error.problem, error.hint))?;
    if has_password(&parts) {
        return Err(Complaint::new(
            "a password stands in plain text",
            "keep it elsewhere: `${file:/run/secrets/database_url}` or `${env:DATABASE_URL}`, for all of the URL or \
             for the password alone",
        ));
    }
    match parts.first() {
        None => Err(Complaint::new(
            "a URL cannot be blank",
            "write `sqlite://file.db`, `postgres://...` or `${env:NAME}`",
        )),
        Some(Part::Text(start)) if !SCHEMES.iter().any(|scheme| start.starts_with(scheme)) => {
            Err(Complaint::new(
                "this is no URL of a database that sereno knows",
                "write `postgres://user@host/database` or `sqlite://file.db`",
            ))
        }
        Some(_) => Ok(()),
    }
}

/// True when some password of the URL is not a reference.
fn has_password(parts: &[Part]) -> bool {
    let of_default = |part: &Part| match part {
        Part::Reference(Reference::Env {
            default: Some(default),
            ..
        }) => reference::parse(default).is_ok_and(|parts| has_password(&parts)),
        _ => false,
    };
    let whole: String = parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Reference(_) => HOLE,
        })
        .collect();
    parts.iter().any(of_default) || plain_password(&whole)
}

fn plain_password(url: &str) -> bool {
    let is_plain = |password: &str| !password.is_empty() && !password.contains(HOLE);
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.split('/').next().unwrap_or_default();
    let in_user = authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| is_plain(password));
    let in_query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .any(|(name, value)| name.eq_ignore_ascii_case("password") && is_plain(value));
    in_user || in_query
}

/// The text with every value that holds a password in plain text starred out, byte for byte: what a mistake is shown
/// in.
pub(super) fn masked(text: &str) -> String {
    let (root, _) = document::read(text);
    let mut bytes = text.as_bytes().to_vec();
    mask(&root, &mut bytes);
    let more = super::http::plain_secrets(&root).into_iter();
    for node in more.chain(super::sink::plain_secrets(&root)) {
        star_out(node, &mut bytes);
    }
    String::from_utf8(bytes).unwrap_or_else(|_| "*".repeat(text.len()))
}

fn mask(node: &Node, bytes: &mut [u8]) {
    match &node.data {
        Data::Text(text) => {
            let plain = match reference::parse(text) {
                Ok(parts) => has_password(&parts),
                Err(_) => plain_password(text),
            };
            if plain {
                star_out(node, bytes);
            }
        }
        Data::List(items) => items.iter().for_each(|item| mask(item, bytes)),
        Data::Table(entries) => entries.iter().for_each(|entry| mask(&entry.node, bytes)),
        _ => {}
    }
}

fn star_out(node: &Node, bytes: &mut [u8]) {
    if let Some(value) = bytes.get_mut(node.span.clone()) {
        value
            .iter_mut()
            .filter(|byte| !matches!(byte, b'"' | b'\'' | b'\n'))
            .for_each(|byte| *byte = b'*');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_a_known_kind_and_hold_no_password() {
        for good in [
            "sqlite://sereno.db",
            "sqlite::memory:",
            "postgres://app@db.internal/app",
            "postgres://app:${file:/run/secrets/pw}@db.internal/app?sslmode=require",
            "${env:DATABASE_URL}",
            "${env:UPKEEP_URL:-}",
            "${env:LEDGER:-sqlite://sereno.db}",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for (bad, reason) in [
            ("", "blank"),
            ("mysql://x", "no URL of a database"),
            ("${enw:X}", "reference"),
            ("${env:X", "not closed"),
            ("postgres://app:hunter2@db/app", "plain text"),
            ("postgres://app:pre${env:X}@db/app?password=hunter2", "plain text"),
            ("${env:URL:-postgres://app:hunter2@db/app}", "plain text"),
        ] {
            let complaint = check_url(bad).expect_err(bad);
            assert!(complaint.message.contains(reason), "{bad}: {}", complaint.message);
            assert!(!complaint.message.contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn a_password_is_starred_out_where_it_stands_and_nothing_moves() {
        let text = "[database.é]\nurl = \"postgres://app:hunter2@db/app\"\nx = 'sqlite://a.db'\n";
        let masked = masked(text);
        assert!(!masked.contains("hunter2"), "{masked}");
        assert_eq!(masked.len(), text.len());
        assert!(masked.ends_with("x = 'sqlite://a.db'\n"), "{masked}");
    }
}
