//! `[storage.NAME]`: a place for archives, backups and reports: a folder, or a part of a bucket.
//!
//! Nothing is opened and no reference is resolved here. Which of the two it is stands in the scheme, in plain text, because
//! that decides whose it is: a folder is this machine's own, a bucket the same for all.

use std::collections::BTreeMap;
use std::path::Path;

use super::diagnostic::Diagnostic;
use super::directory;
use super::document::Node;
use super::shape::{Complaint, Key, Kind, Parsed, Presence, Shape};
use super::texts;
use crate::job::{S3Place, Scope, SecretText, StoragePlace, StorageTarget};
use crate::name::TargetName;
use crate::reference;

const FOLDER: &str = "file://";
const BUCKET: &str = "s3://";

pub(super) static STORAGE: Shape = Shape {
    keys: &[
        Key {
            name: "url",
            kind: Kind::Parsed(&URL),
            presence: Presence::Required,
            doc: "`file:///srv/backups` (a folder that is there; without the third slash from this file's folder) or \
                  `s3://bucket/prefix`.",
        },
        Key {
            name: "scope",
            kind: Kind::OneOf(&texts::SCOPE),
            presence: Presence::Optional,
            doc: "`host`: this machine's own, which a folder is by default. `shared`: the same from every machine (EFS, \
                  NFS, a bucket).",
        },
        Key {
            name: "region",
            kind: Kind::Parsed(&S3_TEXT),
            presence: Presence::Optional,
            doc: "The bucket's region. Blank or absent: `AWS_REGION`, else `us-east-1`.",
        },
        Key {
            name: "endpoint",
            kind: Kind::Parsed(&S3_TEXT),
            presence: Presence::Optional,
            doc: "A server other than AWS that speaks S3's protocol, as `https://minio.example.com`; `http://` only where \
                  nobody can listen. Blank or absent: `AWS_ENDPOINT_URL`, else AWS.",
        },
        Key {
            name: "access_key_id",
            kind: Kind::Parsed(&S3_TEXT),
            presence: Presence::Optional,
            doc: "Blank or absent: what the environment or the machine's own role gives.",
        },
        Key {
            name: "secret_access_key",
            kind: Kind::Parsed(&S3_SECRET),
            presence: Presence::Optional,
            doc: "By reference only, as `${env:X}`.",
        },
    ],
};

static URL: Parsed = Parsed {
    what: "the URL of a storage",
    code: "bad-url",
    pattern: Some("^(file|s3)://."),
    check: |text| match (text.strip_prefix(FOLDER), text.strip_prefix(BUCKET)) {
        (Some(path), _) => (texts::PATH.check)(path),
        (_, Some(rest)) => {
            if rest.starts_with('/') || rest.is_empty() {
                return Err(Complaint::new("it names no bucket", "write `s3://bucket/prefix`"));
            }
            references(text)
        }
        _ => Err(Complaint::new(
            format!("`{}` is not the URL of a storage", scheme(text)),
            "write `file:///srv/backups`, `file://backups` for a folder beside this file, or `s3://bucket/prefix`",
        )),
    },
};

static S3_TEXT: Parsed = Parsed {
    what: "a text",
    code: "bad-value",
    pattern: None,
    check: references,
};

static S3_SECRET: Parsed = Parsed {
    what: "a reference to a secret",
    code: "plain-secret",
    pattern: Some(r"^\$\{[^}]+\}$|^$"),
    check: |text| {
        if text.is_empty() || text.starts_with("${") && text.ends_with('}') {
            return references(text);
        }
        Err(Complaint::new(
            "a secret does not stand in a configuration",
            "write `${env:AWS_SECRET_ACCESS_KEY}`, or another reference",
        ))
    },
};

/// What stands before a URL's `://`; the rest is nobody's business in a message.
fn scheme(text: &str) -> &str {
    text.split_once("://").map_or("...", |(scheme, _)| scheme)
}

fn references(text: &str) -> Result<(), Complaint> {
    reference::parse(text)
        .map(drop)
        .map_err(|error| Complaint::new(error.problem, error.hint))
}

pub(super) fn read(
    root: &Node,
    folder: &Path,
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeMap<TargetName, StorageTarget> {
    let mut storages = BTreeMap::new();
    for entry in root.entries_of("storage") {
        let (Ok(name), Some(at)) = (entry.key.parse::<TargetName>(), entry.node.get("url")) else {
            continue;
        };
        let Some(url) = at.text().filter(|text| (URL.check)(text).is_ok()) else {
            continue;
        };
        let place = match url.strip_prefix(FOLDER) {
            Some(text) => read_folder(text, at, &entry.node, folder, mistakes),
            None => read_bucket(url, &entry.node, mistakes),
        };
        let scope = match (&place, entry.node.text_of("scope")) {
            (_, Some("shared")) | (StoragePlace::S3(_), _) => Scope::Shared,
            _ => Scope::Host,
        };
        storages.insert(name, StorageTarget { place, scope });
    }
    storages
}

fn read_folder(
    text: &str,
    at: &Node,
    node: &Node,
    folder: &Path,
    mistakes: &mut Vec<Diagnostic>,
) -> StoragePlace {
    let path = directory::absolute(folder, text);
    let reason = directory::unfit(&path).or_else(|| {
        folder
            .starts_with(&path)
            .then_some("holds this configuration itself")
    });
    if let Some(reason) = reason {
        mistakes.push(
            Diagnostic::at(
                "bad-root",
                at.span.clone(),
                format!("`{}` {reason}", path.display()),
            )
            .label("not a folder to keep objects in")
            .hint("name a folder of its own, such as `file:///srv/backups`"),
        );
    }
    for key in ["region", "endpoint", "access_key_id", "secret_access_key"] {
        if let Some(found) = node.get(key) {
            mistakes.push(
                Diagnostic::at(
                    "unused-key",
                    found.span.clone(),
                    format!("a folder has no `{key}`"),
                )
                .label("only for `s3://`")
                .hint("remove it"),
            );
        }
    }
    StoragePlace::Folder(path)
}

fn read_bucket(url: &str, node: &Node, mistakes: &mut Vec<Diagnostic>) -> StoragePlace {
    if let Some(found) = node.get("scope").filter(|scope| scope.text() == Some("host")) {
        mistakes.push(
            Diagnostic::at(
                "bad-value",
                found.span.clone(),
                "a bucket is never one machine's own",
            )
            .label("here")
            .hint("remove it"),
        );
    }
    let text = |key: &str| {
        node.text_of(key)
            .filter(|text| !text.is_empty())
            .map(SecretText::new)
    };
    let place = S3Place {
        url: SecretText::new(url),
        region: text("region"),
        endpoint: text("endpoint"),
        access_key_id: text("access_key_id"),
        secret_access_key: text("secret_access_key"),
    };
    for (has, lacks, it, other) in [
        (
            &place.access_key_id,
            &place.secret_access_key,
            "access_key_id",
            "secret_access_key",
        ),
        (
            &place.secret_access_key,
            &place.access_key_id,
            "secret_access_key",
            "access_key_id",
        ),
    ] {
        if let (Some(_), None, Some(found)) = (has, lacks, node.get(it)) {
            mistakes.push(
                Diagnostic::at(
                    "missing-key",
                    found.span.clone(),
                    format!("`{it}` needs `{other}` beside it"),
                )
                .label("here")
                .hint(format!(
                    "add `{other}`, or remove this to take both from the environment"
                )),
            );
        }
    }
    StoragePlace::S3(Box::new(place))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(text: &str) -> (BTreeMap<TargetName, StorageTarget>, Vec<(&'static str, String)>) {
        let text = format!("version = 1\n[storage.s]\n{text}");
        let reading = super::super::read(&text, Path::new("/srv/app"));
        let mistakes = reading
            .mistakes
            .iter()
            .map(|mistake| (mistake.code, mistake.message.clone()));
        let mistakes = mistakes.collect();
        (reading.draft().storages.clone(), mistakes)
    }

    fn target(text: &str) -> StorageTarget {
        let (mut storages, mistakes) = read(text);
        assert_eq!(mistakes, []);
        storages.pop_first().expect("one").1
    }

    #[test]
    fn a_folder_is_this_machines_unless_it_is_shared() {
        let folder = |path: &str, scope| StorageTarget {
            place: StoragePlace::Folder(PathBuf::from(path)),
            scope,
        };
        assert_eq!(
            target("url = \"file:///srv/backups/\""),
            folder("/srv/backups", Scope::Host)
        );
        assert_eq!(
            target("url = \"file://backups\""),
            folder("/srv/app/backups", Scope::Host)
        );
        assert_eq!(
            target("url = \"file://../backups\"\nscope = \"shared\""),
            folder("/srv/backups", Scope::Shared)
        );
    }

    #[test]
    fn a_bucket_is_everybodys_and_blank_is_absent() {
        let text = "url = \"s3://${env:BUCKET}/nightly\"\nendpoint = \"${env:S3:-}\"\nregion = \"\"\n\
                    access_key_id = \"k\"\nsecret_access_key = \"${env:S}\"";
        let text_of = |text: &str| Some(SecretText::new(text));
        let place = S3Place {
            url: SecretText::new("s3://${env:BUCKET}/nightly"),
            region: None,
            endpoint: text_of("${env:S3:-}"),
            access_key_id: text_of("k"),
            secret_access_key: text_of("${env:S}"),
        };
        let expected = StorageTarget {
            place: StoragePlace::S3(Box::new(place)),
            scope: Scope::Shared,
        };
        assert_eq!(target(text), expected);
    }

    #[test]
    fn mistakes_are_told_by_their_code_and_no_secret_is() {
        for (text, codes) in [
            ("url = \"backups\"", &["bad-url"][..]),
            ("url = \"gs://hunter2\"", &["bad-url"]),
            ("url = \"s3:///x\"", &["bad-url"]),
            ("url = \"s3://${nope}\"", &["bad-url"]),
            ("url = \"file://\"", &["bad-url"]),
            ("url = \"file://~/x\"", &["bad-url"]),
            ("url = \"file:///etc/app\"", &["bad-root"]),
            ("url = \"file:///srv/app\"", &["bad-root"]),
            ("url = \"file:///srv/b\"\nregion = \"x\"", &["unused-key"]),
            ("url = \"s3://b\"\nscope = \"host\"", &["bad-value"]),
            ("url = \"s3://b\"\naccess_key_id = \"x\"", &["missing-key"]),
            (
                "url = \"s3://b\"\naccess_key_id = \"x\"\nsecret_access_key = \"hunter2\"",
                &["plain-secret"],
            ),
            ("scope = \"host\"", &["missing-key"]),
        ] {
            let (_, mistakes) = read(text);
            let found: Vec<&str> = mistakes.iter().map(|(code, _)| *code).collect();
            assert_eq!(found, codes, "{text}: {mistakes:?}");
            assert!(
                !mistakes.iter().any(|(_, message)| message.contains("hunter2")),
                "{text}"
            );
        }
    }
}
