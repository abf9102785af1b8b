//! Finds plugins and reads what they say of themselves, without compiling or running anything.
//!
//! Only the headers of the outermost component's sections are walked: the cost does not depend on what is inside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sereno_core::grant::Interface;
use sereno_core::manifest::{CONTRACT_VERSION, Manifest};
use sereno_core::name::PluginName;
use sereno_core::ports::plugins::{PluginError, PluginInfo};
use sereno_core::run::digest;
use wasmparser::{Chunk, ComponentExternalKind, ComponentTypeRef, Encoding, Parser, Payload, TypeBounds};

/// The custom section that holds `plugin.toml`; `sereno-pack` writes it.
pub const SECTION: &str = "sereno:manifest";

/// A plugin of ours has a tenth of a megabyte; interpreters of other languages, compiled in, have ten to thirty.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Enough for hundreds of params.
const MANIFEST_BYTES_MAX: usize = 256 << 10;

/// Imports of one component: the contract has eight, Rust's standard library fifteen.
const IMPORTS_MAX: u32 = 128;

/// The contract's package.
const PACKAGE: &str = "sereno:plugin/";

/// What every plugin exports.
const EXPORT: &str = "run";

/// The WASI interfaces that standard libraries of guest languages need for their standard streams, environment and
/// exit. There is no clock, no randomness, no file and no socket among them.
pub(crate) const WASI: [&str; 13] = [
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
];

/// Where plugins are looked for.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// `[plugin.NAME] path`.
    pub paths: BTreeMap<PluginName, PathBuf>,
    /// Folders that may hold `NAME.wasm`; the first that does counts.
    pub folders: Vec<PathBuf>,
}

/// Tells one state of a file from another, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

/// A plugin's file, opened.
pub(crate) struct Found {
    pub(crate) stamp: Stamp,
    file: File,
}

impl Places {
    /// Opens the file of `name`.
    pub(crate) fn find(&self, name: &PluginName) -> Result<Found, PluginError> {
        let places: Vec<PathBuf> = match self.paths.get(name) {
            Some(path) => vec![path.clone()],
            None => self
                .folders
                .iter()
                .map(|folder| folder.join(format!("{name}.wasm")))
                .collect(),
        };
        for path in &places {
            match open(path) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(PluginError::Host {
                        name: name.clone(),
                        reason: format!("{}: {error}", path.display()),
                    });
                }
            }
        }
        Err(PluginError::NotFound {
            name: name.clone(),
            places: places.iter().map(|path| path.display().to_string()).collect(),
            known: self.known().into_iter().collect(),
        })
    }

    /// Names of the plugins that there are. A folder that cannot be read has none.
    fn known(&self) -> BTreeSet<String> {
        let in_folders = self
            .folders
            .iter()
            .filter_map(|folder| folder.read_dir().ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
        self.paths
            .keys()
            .map(ToString::to_string)
            .chain(in_folders)
            .collect()
    }
}

fn open(path: &Path) -> std::io::Result<Found> {
    let file = File::open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    Ok(Found {
        stamp: Stamp {
            path: path.to_owned(),
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: found.modified().ok(),
            changed: (found.ctime(), found.ctime_nsec()),
        },
        file,
    })
}

impl Found {
    /// The component's bytes.
    pub(crate) fn read(mut self, name: &PluginName) -> Result<Vec<u8>, PluginError> {
        let mut wasm = Vec::with_capacity(
            usize::try_from(self.stamp.bytes.min(COMPONENT_BYTES_MAX)).unwrap_or_default(),
        );
        let read = (&mut self.file)
            .take(COMPONENT_BYTES_MAX + 1)
            .read_to_end(&mut wasm)
            .map_err(|error| PluginError::Host {
                name: name.clone(),
                reason: format!("{}: {error}", self.stamp.path.display()),
            })?;
        if read as u64 > COMPONENT_BYTES_MAX {
            return Err(invalid(
                name,
                format!("it has more than {} MiB", COMPONENT_BYTES_MAX >> 20),
            ));
        }
        Ok(wasm)
    }

    pub(crate) fn path(&self) -> String {
        self.stamp.path.display().to_string()
    }
}

fn invalid(name: &PluginName, reason: impl Into<String>) -> PluginError {
    PluginError::Invalid {
        name: name.clone(),
        reason: reason.into(),
    }
}

/// What the component `wasm` says of itself, held against what may be asked for.
///
/// A file that was found by its name must hold the plugin of that name; one that the configuration points to may
/// be called anything there.
pub(crate) fn examine(
    name: &PluginName,
    path: String,
    named_by_file: bool,
    wasm: &[u8],
) -> Result<PluginInfo, PluginError> {
    let outline = outline(wasm).map_err(|reason| invalid(name, reason))?;
    let Some(text) = outline.manifest else {
        return Err(invalid(
            name,
            "it has no manifest; run `sereno plugin pack` on it",
        ));
    };
    let manifest = Manifest::parse(text).map_err(|mistakes| {
        let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        invalid(name, format!("its manifest is wrong: {}", mistakes.join("; ")))
    })?;
    if named_by_file && manifest.name != *name {
        return Err(invalid(
            name,
            format!("its manifest calls it `{}`", manifest.name),
        ));
    }
    check_contract(name, &manifest)?;
    check_imports(name, &manifest, &outline.imports)?;
    if !outline.exports_run {
        return Err(invalid(name, format!("it does not export `{EXPORT}`")));
    }
    Ok(PluginInfo {
        manifest,
        digest: digest(wasm),
        path,
        imports: outline.imports.into_iter().collect(),
    })
}

fn check_contract(name: &PluginName, manifest: &Manifest) -> Result<(), PluginError> {
    let ours = semver::Version::parse(CONTRACT_VERSION).expect("a version");
    let theirs = &manifest.contract;
    // Additions within a minor version: an older plugin runs, a newer one may ask for what is not here.
    if (theirs.major, theirs.minor) == (ours.major, ours.minor) && *theirs <= ours {
        return Ok(());
    }
    Err(invalid(
        name,
        format!("it was built for contract {theirs}, and this program speaks {ours}"),
    ))
}

/// Every import is offered, and every capability among them is in the manifest.
fn check_imports(
    name: &PluginName,
    manifest: &Manifest,
    imports: &BTreeSet<String>,
) -> Result<(), PluginError> {
    let declared: BTreeSet<Interface> = manifest.needs.iter().map(|need| need.interface).collect();
    let mut unknown = Vec::new();
    let mut undeclared = Vec::new();
    for import in imports {
        match offer(import) {
            Some(Offer::Capability(interface)) if !declared.contains(&interface) => {
                undeclared.push(import.clone());
            }
            Some(_) => {}
            None => unknown.push(import.clone()),
        }
    }
    if !unknown.is_empty() {
        return Err(invalid(
            name,
            format!("it imports {}, which no plugin gets", unknown.join(", ")),
        ));
    }
    if !undeclared.is_empty() {
        return Err(PluginError::Undeclared {
            name: name.clone(),
            imports: undeclared,
        });
    }
    Ok(())
}

/// What an import can be linked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Types,
    Log,
    Measurements,
    Capability(Interface),
    Wasi(&'static str),
}

/// What the import called `name` is linked with; none: nobody offers it.
pub(crate) fn offer(name: &str) -> Option<Offer> {
    let (interface, version) = name.split_once('@')?;
    let version = semver::Version::parse(version).ok()?;
    if let Some(interface) = interface.strip_prefix(PACKAGE) {
        let ours = semver::Version::parse(CONTRACT_VERSION).expect("a version");
        if (version.major, version.minor) != (ours.major, ours.minor) || version > ours {
            return None;
        }
        return match interface {
            "types" => Some(Offer::Types),
            "log" => Some(Offer::Log),
            "measurements" => Some(Offer::Measurements),
            _ => Interface::parse(interface).map(Offer::Capability),
        };
    }
    let known = WASI.into_iter().find(|known| *known == interface)?;
    ((version.major, version.minor) == (0, 2)).then_some(Offer::Wasi(known))
}

#[derive(Default)]
struct Outline<'a> {
    manifest: Option<&'a str>,
    imports: BTreeSet<String>,
    exports_run: bool,
}

/// Walks the sections of the outermost component. What is inside modules and nested components is skipped.
fn outline(wasm: &[u8]) -> Result<Outline<'_>, String> {
    let damaged = |error: wasmparser::BinaryReaderError| format!("it is damaged: {error}");
    let mut outline = Outline::default();
    let mut parser = Parser::new(0);
    let mut rest = wasm;
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(rest, true).map_err(damaged)? else {
            return Err("it is cut off".to_owned());
        };
        rest = &rest[consumed..];
        match payload {
            Payload::Version { encoding, .. } if encoding != Encoding::Component => {
                return Err("it is a core module, not a component; build it for wasm32-wasip2".to_owned());
            }
            Payload::ModuleSection { unchecked_range, .. }
            | Payload::ComponentSection { unchecked_range, .. } => {
                rest = rest
                    .get(unchecked_range.len()..)
                    .ok_or_else(|| "it is cut off".to_owned())?;
            }
            Payload::ComponentImportSection(imports) => {
                if imports.count() > IMPORTS_MAX {
                    return Err(format!("it has more than {IMPORTS_MAX} imports"));
                }
                for import in imports {
                    let import = import.map_err(damaged)?;
                    // Another name for a type of the contract gives nobody anything.
                    if !matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                        outline.imports.insert(import.name.name.to_owned());
                    }
                }
                if outline.imports.len() > IMPORTS_MAX as usize {
                    return Err(format!("it has more than {IMPORTS_MAX} imports"));
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export.map_err(damaged)?;
                    outline.exports_run |=
                        export.name.name == EXPORT && export.kind == ComponentExternalKind::Func;
                }
            }
            Payload::CustomSection(section) if section.name() == SECTION => {
                if section.data().len() > MANIFEST_BYTES_MAX {
                    return Err(format!("its manifest has more than {MANIFEST_BYTES_MAX} bytes"));
                }
                let text = std::str::from_utf8(section.data())
                    .map_err(|_| "its manifest is not UTF-8".to_owned())?;
                if outline.manifest.replace(text).is_some() {
                    return Err("it has more than one manifest".to_owned());
                }
            }
            Payload::End(_) => return Ok(outline),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_offered_can_be_imported() {
        let files = Some(Offer::Capability(Interface::Files));
        assert_eq!(offer("sereno:plugin/files@0.1.0"), files);
        assert_eq!(offer("sereno:plugin/log@0.1.0"), Some(Offer::Log));
        assert_eq!(offer("wasi:cli/exit@0.2.9"), Some(Offer::Wasi("wasi:cli/exit")));
        for nobodys in [
            "sereno:plugin/files@0.2.0",
            "sereno:plugin/files@0.1.1",
            "sereno:plugin/restore@0.1.0",
            "sereno:plugin/files",
            "wasi:cli/exit@0.3.0",
            "wasi:filesystem/types@0.2.9",
            "wasi:clocks/monotonic-clock@0.2.9",
            "wasi:random/random@0.2.9",
            "wasi:sockets/tcp@0.2.9",
            "wasi:http/outgoing-handler@0.2.9",
            "run",
        ] {
            assert_eq!(offer(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn a_module_and_a_text_are_no_components() {
        let reason = |wasm: &[u8]| outline(wasm).err().expect("no component");
        assert!(reason(b"\0asm\x01\0\0\0").contains("core module"));
        assert!(reason(b"#!/bin/sh\n").contains("damaged"));
        assert!(!reason(b"").is_empty());
    }
}
