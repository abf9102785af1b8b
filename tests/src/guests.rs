//! The guests of `tests/guests`, built and packed once a process.
//!
//! Building again what is built takes cargo a moment, so every test process makes sure for itself.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use crate::house::plugins_folder;

/// Where a guest's component is, packed, by the guest's name.
#[derive(Debug)]
pub struct Guests {
    /// Holds `NAME.wasm` for each.
    pub folder: PathBuf,
    /// Kept between two test processes, so that nothing is compiled to native code twice.
    pub cache: PathBuf,
    /// Every guest with its manifest.
    pub manifests: BTreeMap<String, String>,
}

/// All guests, as components with their manifests.
///
/// # Panics
/// They do not build; cargo's words say why.
pub fn guests() -> &'static Guests {
    static GUESTS: OnceLock<Guests> = OnceLock::new();
    GUESTS.get_or_init(|| build().expect("the guests of tests/guests build"))
}

/// The bytes of one packed guest.
///
/// # Panics
/// There is no guest of this name.
pub fn component(name: &str) -> Vec<u8> {
    let path = guests().folder.join(format!("{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn build() -> Result<Guests> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let target = target_folder()?;
    // Flags for this machine's programs mean nothing to WebAssembly, and would build everything twice.
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--locked",
            "--profile",
            "guest",
            "--target",
            "wasm32-wasip2",
            "--manifest-path",
        ])
        .arg(source.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .context("could not start cargo")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let folder = target.join("packed");
    fs::create_dir_all(&folder)?;
    let mut manifests = BTreeMap::new();
    for entry in fs::read_dir(&source)? {
        let entry = entry?;
        let Ok(manifest) = fs::read_to_string(entry.path().join("plugin.toml")) else {
            continue;
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        let built = format!("wasm32-wasip2/guest/{}.wasm", name.replace('-', "_"));
        let wasm = fs::read(target.join(&built)).with_context(|| format!("no {built}"))?;
        let packed = sereno_pack::append(&wasm, &manifest)?;
        // Another test process may read it at this very moment.
        let draft = folder.join(format!("{name}.{}.draft", std::process::id()));
        fs::write(&draft, packed)?;
        fs::rename(&draft, folder.join(format!("{name}.wasm")))?;
        manifests.insert(name, manifest);
    }
    ensure!(
        !manifests.is_empty(),
        "there are no guests in {}",
        source.display()
    );
    Ok(Guests {
        folder,
        cache: target.join("cache"),
        manifests,
    })
}

/// In the target folder, beside the plugins: the guests' own, as `scripts/guests` has it.
fn target_folder() -> Result<PathBuf> {
    Ok(plugins_folder()?.with_file_name("guests"))
}
