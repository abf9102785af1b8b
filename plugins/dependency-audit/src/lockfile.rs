//! Lock files: which packages, in which versions, from which registry.
//!
//! What comes from elsewhere (git, a path, an archive) has no advisories to ask for; it is counted and told.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A package of a registry, in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    /// As OSV calls it: `npm`, `crates.io`.
    pub(crate) ecosystem: &'static str,
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What a lock file names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Locked {
    pub(crate) packages: BTreeSet<Package>,
    /// Those of no registry.
    pub(crate) elsewhere: u64,
}

/// Reads a lock file by its name.
pub(crate) fn read(path: &str, bytes: &[u8]) -> Result<Locked, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}');
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((_, "lock")) => read_cargo(text),
        Some((_, "json")) => read_npm(text),
        _ => Err("only package-lock.json, npm-shrinkwrap.json and Cargo.lock can be read".to_owned()),
    }
}

#[derive(Deserialize)]
struct CargoLock {
    #[serde(default)]
    package: Vec<CargoPackage>,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
    source: Option<String>,
}

fn read_cargo(text: &str) -> Result<Locked, String> {
    let lock: CargoLock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let mut locked = Locked::default();
    for package in lock.package {
        match package.source.as_deref() {
            Some(source) if source.starts_with("registry+") || source.starts_with("sparse+") => {
                locked.packages.insert(Package {
                    ecosystem: "crates.io",
                    name: package.name,
                    version: package.version,
                });
            }
            Some(_) => locked.elsewhere += 1,
            // The workspace's own.
            None => {}
        }
    }
    Ok(locked)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NpmLock {
    lockfile_version: Option<u64>,
    packages: Option<BTreeMap<String, NpmPackage>>,
    dependencies: Option<BTreeMap<String, NpmDependency>>,
}

#[derive(Deserialize)]
struct NpmPackage {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    #[serde(default)]
    link: bool,
}

#[derive(Deserialize)]
struct NpmDependency {
    version: String,
    #[serde(default)]
    dependencies: BTreeMap<String, NpmDependency>,
}

fn read_npm(text: &str) -> Result<Locked, String> {
    let lock: NpmLock = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut locked = Locked::default();
    match (lock.packages, lock.dependencies) {
        (Some(packages), _) => {
            for (path, package) in packages {
                read_npm_package(&path, package, &mut locked);
            }
        }
        (None, Some(dependencies)) => read_npm_tree(dependencies, &mut locked),
        (None, None) if lock.lockfile_version.is_some() => {}
        (None, None) => return Err("it is no lock file of npm".to_owned()),
    }
    Ok(locked)
}

/// Versions 2 and 3: flat, by the path that it is installed at.
fn read_npm_package(path: &str, package: NpmPackage, locked: &mut Locked) {
    // The project itself, its workspaces, and links to those.
    let Some((_, installed_as)) = path.rsplit_once("node_modules/") else {
        return;
    };
    if package.link {
        return;
    }
    let name = package.name.unwrap_or_else(|| installed_as.to_owned());
    let from_registry = package
        .resolved
        .as_deref()
        .is_none_or(|from| from.starts_with("http://") || from.starts_with("https://"));
    locked.add_npm(
        &name,
        package.version.as_deref().unwrap_or_default(),
        from_registry,
    );
}

/// Version 1: a tree by name. A list of what is left instead of a call for each level: a lock file may be as deep as
/// somebody likes.
fn read_npm_tree(dependencies: BTreeMap<String, NpmDependency>, locked: &mut Locked) {
    let mut left: Vec<_> = dependencies.into_iter().collect();
    while let Some((name, dependency)) = left.pop() {
        // `npm:other@1.2.3`: installed under a name that is not its own.
        let (name, version) = match dependency.version.strip_prefix("npm:") {
            Some(alias) => match alias.rsplit_once('@') {
                Some((name, version)) if !name.is_empty() => (name.to_owned(), version.to_owned()),
                _ => (name, String::new()),
            },
            None => (name, dependency.version),
        };
        locked.add_npm(&name, &version, true);
        left.extend(dependency.dependencies);
    }
}

impl Locked {
    /// A version that is none is a path, an archive or a repository.
    fn add_npm(&mut self, name: &str, version: &str, from_registry: bool) {
        if from_registry && semver::Version::parse(version).is_ok() {
            self.packages.insert(Package {
                ecosystem: "npm",
                name: name.to_owned(),
                version: version.to_owned(),
            });
        } else {
            self.elsewhere += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(locked: &Locked) -> Vec<String> {
        let name = |package: &Package| format!("{} {} {}", package.ecosystem, package.name, package.version);
        locked.packages.iter().map(name).collect()
    }

    #[test]
    fn every_version_of_npms_lock_file_names_the_same() {
        let v1 = r#"{ "name": "app", "lockfileVersion": 1, "dependencies": {
            "lodash": { "version": "4.17.20" },
            "@scope/a": { "version": "1.0.0", "dependencies": { "b": { "version": "2.0.0-rc.1" } } },
            "alias": { "version": "npm:real@3.1.0" },
            "fork": { "version": "git+ssh://git@example.com/fork.git#0123" },
            "local": { "version": "file:../local" } } }"#;
        let v3 = r#"{ "name": "app", "lockfileVersion": 3, "packages": {
            "": { "name": "app", "version": "9.9.9" },
            "tools/own": { "version": "1.0.0" },
            "node_modules/own": { "resolved": "tools/own", "link": true },
            "node_modules/lodash": { "version": "4.17.20", "resolved": "https://registry.example/l.tgz" },
            "node_modules/@scope/a": { "version": "1.0.0" },
            "node_modules/@scope/a/node_modules/b": { "version": "2.0.0-rc.1" },
            "node_modules/alias": { "name": "real", "version": "3.1.0" },
            "node_modules/fork": { "version": "1.0.0", "resolved": "git+ssh://git@example.com/fork.git#0123" },
            "node_modules/local": { "version": "1.0.0", "resolved": "file:../local" } } }"#;
        let v2 = v3.replace(
            "\"lockfileVersion\": 3",
            "\"lockfileVersion\": 2, \"dependencies\": {}",
        );
        for text in [v1, &v2, v3] {
            let locked = read("web/package-lock.json", text.as_bytes()).expect("a lock file");
            assert_eq!(
                names(&locked),
                [
                    "npm @scope/a 1.0.0",
                    "npm b 2.0.0-rc.1",
                    "npm lodash 4.17.20",
                    "npm real 3.1.0"
                ]
            );
            assert_eq!(locked.elsewhere, 2);
        }
    }

    #[test]
    fn of_cargos_only_what_a_registry_has_is_asked_for() {
        let text = r#"
            version = 4
            [[package]]
            name = "app"
            version = "0.1.0"
            dependencies = ["time"]
            [[package]]
            name = "time"
            version = "0.2.22"
            source = "registry+https://github.com/rust-lang/crates.io-index"
            checksum = "00"
            [[package]]
            name = "fork"
            version = "1.0.0"
            source = "git+https://example.com/fork#0123"
        "#;
        let locked = read("Cargo.lock", text.as_bytes()).expect("a lock file");
        assert_eq!(
            (names(&locked), locked.elsewhere),
            (vec!["crates.io time 0.2.22".to_owned()], 1)
        );
    }

    #[test]
    fn what_is_no_lock_file_is_told_and_one_without_packages_is_one() {
        for (path, text) in [
            ("package-lock.json", ""),
            ("package-lock.json", "[]"),
            ("package-lock.json", "{}"),
            ("package-lock.json", "{\"packages\": 1}"),
            ("Cargo.lock", "[[package]]\nname = 1"),
            ("yarn.txt", ""),
        ] {
            assert!(read(path, text.as_bytes()).is_err(), "{path}: {text}");
        }
        assert!(read("Cargo.lock", b"\xff").is_err());
        assert_eq!(
            read("package-lock.json", b"{\"lockfileVersion\": 3}"),
            Ok(Locked::default())
        );
        assert_eq!(read("Cargo.lock", b"version = 4"), Ok(Locked::default()));
    }

    #[test]
    fn a_tree_of_any_depth_ends_in_an_answer() {
        let deep = "{\"dependencies\":{\"a\":{\"version\":\"1.0.0\",".repeat(5_000);
        assert!(read("package-lock.json", deep.as_bytes()).is_err());
    }
}
