//! `[directory.NAME]`: a directory that jobs may look at or clean, and the ones that nobody should.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::diagnostic::Diagnostic;
use super::document::Node;
use super::shape::{Key, Kind, Presence, Shape};
use super::texts;
use crate::job::{DirectoryTarget, Scope};
use crate::name::TargetName;

pub(super) static DIRECTORY: Shape = Shape {
    keys: &[
        Key {
            name: "path",
            kind: Kind::Parsed(&texts::PATH),
            presence: Presence::Required,
            doc: "Absolute, or from this file's folder. System directories and whole homes are refused.",
        },
        Key {
            name: "scope",
            kind: Kind::OneOf(&texts::SCOPE),
            presence: Presence::Default("\"host\""),
            doc: "`host`: this machine's own. `shared`: the same from every machine (EFS, NFS).",
        },
    ],
};

/// Directories that belong to many programs: a folder below one of them is fine.
const SHARED_ROOTS: [&str; 17] = [
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

/// Directories in which the system itself lives, with everything below them.
const SYSTEM_ROOTS: [&str; 15] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/sbin",
    "/sys",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
    "/usr/share",
    "/usr/include",
];

pub(super) fn read(
    root: &Node,
    folder: &Path,
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeMap<TargetName, DirectoryTarget> {
    let mut directories = BTreeMap::new();
    for entry in root.entries_of("directory") {
        let (Ok(name), Some(at)) = (entry.key.parse::<TargetName>(), entry.node.get("path")) else {
            continue;
        };
        let Some(text) = at.text().filter(|text| (texts::PATH.check)(text).is_ok()) else {
            continue;
        };
        let path = absolute(folder, text);
        if let Some(reason) = unfit(&path) {
            mistakes.push(
                Diagnostic::at(
                    "bad-root",
                    at.span.clone(),
                    format!("`{}` {reason}", path.display()),
                )
                .label("not a directory to hand to jobs")
                .hint("name the folder itself that holds the files"),
            );
        }
        let scope = if entry.node.text_of("scope") == Some("shared") {
            Scope::Shared
        } else {
            Scope::Host
        };
        directories.insert(name, DirectoryTarget { path, scope });
    }
    directories
}

/// `text` from `folder`, with `.` and `..` worked out. Symbolic links are the files adapter's business.
pub(super) fn absolute(folder: &Path, text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in folder.join(text).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}

pub(super) fn unfit(path: &Path) -> Option<&'static str> {
    if SYSTEM_ROOTS.iter().any(|root| path.starts_with(root)) {
        return Some("belongs to the system");
    }
    if SHARED_ROOTS.iter().any(|root| path == Path::new(root)) {
        return Some("belongs to every program on the machine");
    }
    (path.parent() == Some(Path::new("/home"))).then_some("is somebody's whole home")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_from_the_folder_and_are_worked_out() {
        let folder = Path::new("/srv/app/config");
        assert_eq!(absolute(folder, "../temp/./x"), Path::new("/srv/app/temp/x"));
        assert_eq!(absolute(folder, "/srv/temp/"), Path::new("/srv/temp"));
        assert_eq!(absolute(folder, "../../../../.."), Path::new("/"));
    }

    #[test]
    fn roots_that_hold_more_than_a_jobs_files_are_unfit() {
        for bad in [
            "/",
            "/home",
            "/home/ana",
            "/etc",
            "/etc/app",
            "/var/log",
            "/proc/self",
            "/tmp",
            "/usr/lib/x",
        ] {
            assert!(unfit(Path::new(bad)).is_some(), "{bad}");
        }
        for good in [
            "/srv/app/temp",
            "/home/ana/temp",
            "/tmp/x",
            "/var/log/app",
            "/data",
            "/usr/local/app/temp",
        ] {
            assert_eq!(unfit(Path::new(good)), None, "{good}");
        }
    }
}
