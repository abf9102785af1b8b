//! The house itself: who depends on whom, and that what ARCHITECTURE.md promises is there.
//!
//! It reads manifests and sources. What code does is everybody else's matter.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// Longer than this, a file has more than one responsibility, or is one of `LONG`.
const LINES_MAX: usize = 700;

/// One subject each, and all of it: a conformance suite or a plugin's decisions with their tests.
const LONG: [&str; 3] = [
    "tests/tests/it/database/mod.rs",
    "tests/tests/it/database/postgres.rs",
    "tests/tests/it/files/mod.rs",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    features: BTreeSet<String>,
    uses_default_features: bool,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// What cargo says of the workspace in `folder`. It may fetch crates of other platforms, which no build here needed.
fn metadata(folder: &str) -> Metadata {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--locked", "--manifest-path"])
        .arg(root().join(folder).join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

impl Metadata {
    fn members(&self) -> impl Iterator<Item = &Package> {
        let member = |package: &&Package| self.workspace_members.contains(&package.id);
        self.packages.iter().filter(member)
    }

    fn package(&self, name: &str) -> &Package {
        self.members().find(|package| package.name == name).unwrap()
    }

    /// Names of all that is compiled into `name`, itself left out.
    fn closure(&self, name: &str) -> BTreeSet<&str> {
        let mut open = vec![self.package(name).id.as_str()];
        let mut found = BTreeSet::new();
        while let Some(id) = open.pop() {
            let node = self.resolve.nodes.iter().find(|node| node.id == id).unwrap();
            for edge in &node.deps {
                let compiled_in = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
                if compiled_in && found.insert(edge.pkg.as_str()) {
                    open.push(&edge.pkg);
                }
            }
        }
        let named = |id: &&str| self.packages.iter().find(|package| package.id == *id);
        found
            .iter()
            .filter_map(named)
            .map(|package| package.name.as_str())
            .collect()
    }
}

impl Package {
    /// Its folder from the root of the repository.
    fn folder(&self) -> String {
        let folder = self.manifest_path.parent().unwrap();
        folder.strip_prefix(root()).unwrap().display().to_string()
    }
}

/// Which of our crates each may name, tests of its own included; by folder, as ARCHITECTURE.md has it.
fn may_use(folder: &str, other: &str) -> bool {
    let pack = other == "plugins/sdk/pack";
    match folder {
        "runner/core" => false,
        "runner/engine" | "runner/adapters" | "runner/triggers" => other == "runner/core",
        "runner/cli" => other.starts_with("runner/") || pack,
        "tests" => true,
        _ if folder.starts_with("plugins/sdk") => other.starts_with("plugins/sdk"),
        _ if folder.starts_with("plugins/") => other == "plugins/sdk",
        _ => false,
    }
}

#[test]
fn crates_use_only_what_their_place_allows() {
    let metadata = metadata("");
    let folders: BTreeMap<&str, String> = metadata
        .members()
        .map(|package| (package.name.as_str(), package.folder()))
        .collect();
    for place in [
        "runner/core",
        "runner/engine",
        "runner/adapters",
        "runner/triggers",
        "runner/cli",
        "plugins/sdk",
        "tests",
    ] {
        assert!(
            folders.values().any(|folder| folder == place),
            "no crate is in {place}"
        );
    }
    let mut wrong = Vec::new();
    for package in metadata.members() {
        let folder = package.folder();
        for dependency in &package.dependencies {
            if let Some(other) = folders.get(dependency.name.as_str())
                && !may_use(&folder, other)
            {
                wrong.push(format!("{folder} uses {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Nor by way of somebody else.
    for plugin in [
        "temp-files",
        "row-retention",
        "table-upkeep",
        "capacity-check",
        "idle-connections",
        "slow-queries",
        "index-upkeep",
        "emergency-database",
        "emergency-space",
    ] {
        let closure = metadata.closure(plugin);
        assert!(closure.contains("sereno-plugin"), "{plugin}: {closure:?}");
        for ours in ["sereno-core", "sereno-engine", "sereno-adapters", "sereno"] {
            assert!(!closure.contains(ours), "{plugin} depends on {ours}");
        }
    }
}

#[test]
fn hostile_guests_know_the_contract_and_nothing_of_the_runner() {
    let guests = metadata("tests/guests");
    assert!(guests.members().count() > 1, "the guests are there");
    let ours = |package: &&Package| package.manifest_path.starts_with(root());
    for package in guests.packages.iter().filter(ours) {
        assert!(
            package.folder().starts_with("tests/guests/"),
            "{}",
            package.folder()
        );
    }
}

#[test]
fn without_its_feature_the_program_has_no_compiler() {
    let has_compiler = |features: &[&str]| {
        let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "tree",
                "--locked",
                "--edges=normal",
                "--prefix=none",
                "--package=sereno",
            ])
            .args(features)
            .current_dir(root())
            .output()
            .unwrap();
        let tree = String::from_utf8(output.stdout).unwrap();
        assert!(
            tree.contains("wasmtime v"),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        tree.contains("cranelift-codegen v")
    };
    assert!(has_compiler(&[]));
    assert!(!has_compiler(&["--no-default-features"]));
}

#[test]
fn core_has_nothing_that_does_input_or_output() {
    let metadata = metadata("");
    let closure = metadata.closure("sereno-core");
    assert!(
        closure.contains("serde"),
        "the walk reaches dependencies: {closure:?}"
    );
    for name in &closure {
        let outside = ["wasmtime", "cranelift", "sqlx", "libsqlite3", "cap-", "sereno"];
        assert!(
            !outside.iter().any(|start| name.starts_with(start)),
            "core depends on {name}"
        );
    }
    let core = metadata.package("sereno-core");
    let [tokio] = core
        .dependencies
        .iter()
        .filter(|dependency| dependency.name == "tokio" && dependency.kind.is_none())
        .collect::<Vec<_>>()[..]
    else {
        panic!("core names tokio once");
    };
    assert!(!tokio.uses_default_features);
    assert_eq!(
        tokio.features,
        ["macros", "sync"].map(str::to_owned).into(),
        "no runtime, clock, file or socket"
    );
}

/// Features of other crates are added to core's in a full build, so the ways out are closed one by one, by clippy.
#[test]
fn core_is_kept_from_clocks_files_sockets_and_the_environment() {
    #[derive(Deserialize)]
    struct Rules {
        #[serde(rename = "disallowed-methods")]
        methods: Vec<Rule>,
        #[serde(rename = "disallowed-types")]
        types: Vec<Rule>,
    }
    #[derive(Deserialize)]
    struct Rule {
        path: String,
    }
    let rules: Rules = toml::from_str(&read("runner/core/clippy.toml")).unwrap();
    let banned: BTreeSet<&str> = rules
        .methods
        .iter()
        .chain(&rules.types)
        .map(|rule| rule.path.as_str())
        .collect();
    for way in [
        "std::time::SystemTime::now",
        "std::time::Instant::now",
        "chrono::Utc::now",
        "std::env::var",
        "std::fs::read_to_string",
        "std::fs::File",
        "std::net::TcpStream",
        "std::process::Command",
        "tokio::time::sleep",
    ] {
        assert!(banned.contains(way), "{way} is not banned");
    }
}

/// Every trigger takes the same way to a guest: one function of the runner starts one.
#[test]
fn one_function_runs_guests_and_dispatch_alone_calls_it() {
    let callers: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| path.starts_with("runner/") && text.contains("plugins.run("))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(callers, ["runner/core/src/dispatch/execute.rs"]);
    let started: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| path.starts_with("runner/") && text.contains("execute::execute("))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(started, ["runner/core/src/dispatch/mod.rs"]);
}

#[test]
fn every_source_opens_with_what_it_is_and_none_is_too_long() {
    let sources = sources();
    let mut wrong = Vec::new();
    for (path, text) in &sources {
        if !text.starts_with("//! ") {
            wrong.push(format!("{path} does not open with `//!`"));
        }
        let lines = text.lines().count();
        match (lines > LINES_MAX, LONG.contains(&path.as_str())) {
            (true, false) => wrong.push(format!("{path} has {lines} lines, more than {LINES_MAX}")),
            (false, true) => wrong.push(format!(
                "{path} has {lines} lines: take it off the list of long ones"
            )),
            _ => {}
        }
    }
    for long in LONG {
        if !sources.contains_key(long) {
            wrong.push(format!("{long} is listed as long and is not there"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let text = read("ARCHITECTURE.md");
    let (_, section) = text.split_once("\n## Invariants\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut invariants: Vec<(String, Vec<String>)> = Vec::new();
    for line in section.lines() {
        let numbered = line
            .split_once(". ")
            .is_some_and(|(number, _)| number.parse::<usize>().is_ok());
        if numbered {
            invariants.push((line.to_owned(), Vec::new()));
        }
        if let Some((_, proofs)) = invariants.last_mut() {
            let quoted = line.split('`').skip(1).step_by(2);
            proofs.extend(quoted.filter(|quoted| quoted.contains('/')).map(str::to_owned));
        }
    }
    assert_eq!(invariants.len(), 10, "{invariants:#?}");
    let mut wrong = Vec::new();
    for (invariant, proofs) in &invariants {
        if proofs.is_empty() {
            wrong.push(format!("no test is named for: {invariant}"));
        }
        for proof in proofs {
            if !exists(proof) {
                wrong.push(format!("`{proof}` is no test; named for: {invariant}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether `path.rs::name` is a test function, or `tests/scenarios/CASE` a scenario.
fn exists(proof: &str) -> bool {
    let Some((path, name)) = proof.split_once(".rs::") else {
        return proof.starts_with("tests/scenarios/") && root().join(proof).join("scenario.toml").is_file();
    };
    let Ok(text) = fs::read_to_string(root().join(format!("{path}.rs"))) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let function = format!("fn {name}(");
    lines.iter().enumerate().any(|(place, line)| {
        let before = || {
            lines[..place]
                .iter()
                .rev()
                .take_while(|line| line.starts_with('#') || line.starts_with("//"))
        };
        line.contains(&function)
            && before().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

#[test]
fn a_test_that_is_not_there_is_not_found() {
    let here = "tests/tests/it/architecture.rs::a_test_that_is_not_there_is_not_found";
    assert!(exists(here));
    assert!(
        !exists("tests/tests/it/architecture.rs::exists"),
        "a function and no test"
    );
    assert!(!exists("tests/tests/it/architecture.rs::no_such_test"));
    assert!(!exists("tests/tests/it/no_such_file.rs::no_such_test"));
    assert!(exists("tests/scenarios/rows-go-as-planned") && !exists("tests/scenarios/no-such-case"));
    assert!(!exists("runner/core/clippy.toml"));
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every Rust source of the repository with its text, by path.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // What cargo builds is marked so; what others keep here is hidden.
            let kept = !name.starts_with('.') && !path.join("CACHEDIR.TAG").exists() && name != "target";
            if path.is_dir() && kept {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root()).unwrap().display().to_string(), text);
            }
        }
    }
    assert!(
        found.contains_key("runner/core/src/lib.rs"),
        "the walk finds the sources"
    );
    found
}
