//! `package lambda`: the program, the configuration and its plugins, compiled, in one zip. It needs no Rust toolchain and
//! reaches no cloud.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use sereno_core::job::Config;
use sereno_core::name::PluginName;
use sereno_core::units::show_bytes;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::check::configuration;
use super::source;
use crate::args::{Arch, Global, Package, PackageLambda};
use crate::compose;
use crate::config_source::FILE_NAME;
use crate::failure::Failure;
use crate::output::Output;

/// What Lambda starts.
const BOOTSTRAP: &str = "bootstrap";

/// What Lambda takes of an archive once it is unpacked, layers included. (Lambda quotas.)
const UNPACKED_BYTES_MAX: u64 = 250 << 20;

/// What Lambda takes of an archive that is uploaded at once; a larger one goes by way of a bucket. (Lambda quotas.)
const UPLOAD_BYTES_MAX: u64 = 50 << 20;

pub(super) async fn package(global: &Global, args: Package, output: &Output) -> Result<u8, Failure> {
    match args {
        Package::Lambda(args) => lambda(global, &args, output).await,
    }
}

async fn lambda(global: &Global, args: &PackageLambda, output: &Output) -> Result<u8, Failure> {
    let source = source(global)?;
    let config = configuration(&source, output).await?;
    let bootstrap = bootstrap(args)?;
    let mut archive = Archive::default();
    archive.add(BOOTSTRAP, 0o755, bootstrap);
    archive.add(FILE_NAME, 0o644, source.text.clone().into_bytes());
    let plugins: BTreeSet<&PluginName> = config.jobs.values().map(|job| &job.plugin).collect();
    for plugin in &plugins {
        output.talk(&format!("compiling {plugin} for {}", args.arch.name()));
        let path = path_of(&config, plugin)?;
        let made = compose::precompile(&config, plugin, args.arch.target()).await?;
        archive.add(&path, 0o644, made.component);
        let compiled = format!("{}/{}.cwasm", compose::PACKAGED, made.artefact_name);
        archive.add(&compiled, 0o644, made.artefact);
    }
    let default = || PathBuf::from(format!("sereno-lambda-{}.zip", args.arch.name()));
    let file = args.output.clone().unwrap_or_else(default);
    let unpacked = archive.unpacked();
    if unpacked > UNPACKED_BYTES_MAX {
        return Err(Failure::usage(format!(
            "the package unpacks to {}, and Lambda takes {}",
            show_bytes(unpacked),
            show_bytes(UNPACKED_BYTES_MAX)
        ))
        .hint("build the function as a container image, or with fewer plugins"));
    }
    let size = archive
        .write(&file)
        .with_context(|| format!("could not write {}", file.display()))?;
    if output.is_text() {
        let names: Vec<&str> = plugins.iter().map(|plugin| plugin.as_str()).collect();
        output.data(&format!(
            "{}: {}, unpacked {}, for {}, with {}\n",
            file.display(),
            show_bytes(size),
            show_bytes(unpacked),
            args.arch.name(),
            names.join(", ")
        ))?;
    } else {
        output.document(&json!({
            "schema_version": 1,
            "file": file,
            "arch": args.arch.name(),
            "bytes": size,
            "unpacked_bytes": unpacked,
            "plugins": plugins,
        }))?;
    }
    if size > UPLOAD_BYTES_MAX {
        output.talk("it is too large to be uploaded at once: put it into a bucket first");
    }
    Ok(0)
}

/// Where the function finds the plugin: where the copied configuration says, or beside it.
fn path_of(config: &Config, plugin: &PluginName) -> Result<String, Failure> {
    let Some(path) = config.plugins.get(plugin) else {
        return Ok(format!("plugins/{plugin}.wasm"));
    };
    path.strip_prefix(&config.folder)
        .ok()
        .and_then(Path::to_str)
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::usage(format!(
                "[plugin.{plugin}] is at {}, which is not below the configuration's folder",
                path.display()
            ))
            .hint("a function has nothing but what is packaged: give a relative path, or leave it out")
        })
}

/// The program for Lambda.
fn bootstrap(args: &PackageLambda) -> Result<Vec<u8>, Failure> {
    let beside = || {
        let program = std::env::current_exe().context("could not find this program's own file")?;
        let place = Path::new("lambda").join(args.arch.name()).join(BOOTSTRAP);
        Ok::<_, Failure>(program.with_file_name("").join(place))
    };
    let file = match &args.bootstrap {
        Some(file) => file.clone(),
        None => beside()?,
    };
    let found = match fs::read(&file) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(
                Failure::usage(format!("there is no program for Lambda at {}", file.display()))
                    .hint("`./just build-lambda` makes it; --bootstrap FILE names another"),
            );
        }
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("could not read {}", file.display()))
                .into());
        }
    };
    match machine(&found) {
        Some(arch) if arch == args.arch => Ok(found),
        Some(arch) => Err(Failure::usage(format!(
            "{} is a program for {}, not for {}",
            file.display(),
            arch.name(),
            args.arch.name()
        ))),
        None => Err(Failure::usage(format!(
            "{} is no program for Linux on x86_64 or arm64",
            file.display()
        ))),
    }
}

/// Which machine an ELF file is for: `e_machine`, two bytes from the 18th on. (System V ABI, chapter 4.)
fn machine(file: &[u8]) -> Option<Arch> {
    if !file.starts_with(b"\x7fELF") {
        return None;
    }
    match file.get(18..20)? {
        [62, 0] => Some(Arch::X86_64),
        [183, 0] => Some(Arch::Arm64),
        _ => None,
    }
}

/// What is in the zip, in its order.
#[derive(Default)]
struct Archive(Vec<(String, u32, Vec<u8>)>);

impl Archive {
    fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        // Two jobs of one plugin, or a path that is also the usual one.
        if !self.0.iter().any(|(other, ..)| other == path) {
            self.0.push((path.to_owned(), mode, bytes));
        }
    }

    fn unpacked(&self) -> u64 {
        self.0.iter().map(|(_, _, bytes)| bytes.len() as u64).sum()
    }

    /// Writes beside `file` first, so that there is a whole one or none. The same content makes the same bytes: no entry
    /// tells the time.
    fn write(&self, file: &Path) -> anyhow::Result<u64> {
        let draft = file.with_extension("zip.partial");
        let written = self.pack(&draft).and_then(|()| Ok(fs::rename(&draft, file)?));
        if written.is_err() {
            // What is left of it is of no use.
            let _ = fs::remove_file(&draft);
        }
        written?;
        Ok(fs::metadata(file)?.len())
    }

    fn pack(&self, draft: &Path) -> anyhow::Result<()> {
        let mut zip = ZipWriter::new(File::create(draft)?);
        for (path, mode, bytes) in &self.0 {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Deflated)
                .compression_level(Some(9))
                .unix_permissions(*mode);
            zip.start_file(path.as_str(), options)?;
            zip.write_all(bytes)?;
        }
        zip.finish()?.sync_all()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_of_a_program_is_read_and_anything_else_is_none() {
        let mut elf = b"\x7fELF".to_vec();
        elf.resize(18, 0);
        for (machine_bytes, arch) in [
            ([62, 0], Some(Arch::X86_64)),
            ([183, 0], Some(Arch::Arm64)),
            ([243, 0], None),
        ] {
            assert_eq!(machine(&[elf.clone(), machine_bytes.to_vec()].concat()), arch);
        }
        assert_eq!(machine(b"#!/bin/sh"), None);
        assert_eq!(machine(b"\x7fELF"), None);
    }

    #[test]
    fn the_same_content_makes_the_same_zip() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut archive = Archive::default();
        archive.add(BOOTSTRAP, 0o755, vec![7; 10_000]);
        archive.add("sereno.toml", 0o644, b"version = 1".to_vec());
        archive.add("sereno.toml", 0o644, b"again".to_vec());
        let packed = |name: &str| {
            let file = folder.path().join(name);
            archive.write(&file).expect("it is written");
            fs::read(file).expect("it is there")
        };
        let first = packed("a.zip");
        assert_eq!(first, packed("b.zip"));
        let mut zip = zip::ZipArchive::new(io::Cursor::new(first)).expect("a zip");
        assert_eq!(zip.len(), 2);
        assert_eq!(
            zip.by_name(BOOTSTRAP)
                .expect("an entry")
                .unix_mode()
                .map(|mode| mode & 0o777),
            Some(0o755)
        );
        let mut text = String::new();
        zip.by_name("sereno.toml")
            .expect("an entry")
            .read_to_string(&mut text)
            .expect("text");
        assert_eq!(text, "version = 1");
    }
}
