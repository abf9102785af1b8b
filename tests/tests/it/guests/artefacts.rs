//! Components and their compiled artefacts, damaged in every way: never executed, never a crash.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use sereno_adapters::clock::SeededEntropy;
use sereno_core::ports::clock::Entropy;
use sereno_core::ports::plugins::{GuestEnd, PluginError, Plugins};
use sereno_engine::{Cache, CompileVia, Options, Places, PluginHost};
use sereno_tests::guests::{component, guests};

use super::stage::{Run, options, options_with_cache, plugin};

/// Bits that are flipped in an artefact.
const FLIPS: u64 = 1_000;

/// Flips one bit of `bytes`, somewhere.
fn flip(bytes: &mut [u8], random: &SeededEntropy) -> usize {
    let bit = usize::try_from(random.next() % (bytes.len() as u64 * 8)).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bit
}

fn artefact(cache: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    files
        .find(|path| path.extension().is_some_and(|kind| kind == "cwasm"))
        .unwrap()
}

#[tokio::test]
async fn an_artefact_with_any_bit_flipped_is_never_loaded() {
    let seed = 0x5e7e_4002;
    let random = SeededEntropy::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let host = PluginHost::new(options_with_cache(&cache));
    let noop = plugin("noop");
    host.prepare(&noop).await.unwrap();
    let digest = host.inspect(&noop).await.unwrap().digest;
    let path = artefact(&cache);
    let good = fs::read(&path).unwrap();
    assert!(Cache::new(&cache).load(&digest).unwrap().is_some());
    for _ in 0..FLIPS {
        let mut bad = good.clone();
        let bit = flip(&mut bad, &random);
        fs::write(&path, &bad).unwrap();
        assert_eq!(
            Cache::new(&cache).load(&digest).unwrap(),
            None,
            "seed {seed:#x}, bit {bit}"
        );
    }
    // Whoever cannot compile says so, and whoever can makes it anew.
    let nobody = PluginHost::new(Options {
        compile: CompileVia::Nobody,
        ..options_with_cache(&cache)
    });
    let error = nobody.prepare(&noop).await.unwrap_err();
    assert!(
        matches!(error, PluginError::Host { .. }) && error.to_string().contains("plugin compile"),
        "{error}"
    );
    let again = PluginHost::new(options_with_cache(&cache));
    assert_eq!(Run::of("noop").go(&again).await.end, GuestEnd::Done);
    assert_eq!(Run::of("noop").go(&nobody).await.end, GuestEnd::Done);
}

#[tokio::test]
async fn a_component_with_any_bit_flipped_has_another_digest_or_is_refused() {
    let seed = 0x5e7e_4003;
    let random = SeededEntropy::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let noop = plugin("noop");
    let good = component("noop");
    let pinned = PluginHost::new(options()).inspect(&noop).await.unwrap().digest;
    let places = Places {
        folders: vec![folder.path().to_owned()],
        ..Places::default()
    };
    let loose = Options {
        places,
        cache: folder.path().join("cache"),
        ..options()
    };
    let strict = Options {
        pins: [(noop.clone(), pinned.clone())].into(),
        ..loose.clone()
    };
    for _ in 0..FLIPS / 4 {
        let mut bad = good.clone();
        let bit = flip(&mut bad, &random);
        fs::write(folder.path().join("noop.wasm"), bad).unwrap();
        if let Ok(info) = PluginHost::new(loose.clone()).inspect(&noop).await {
            assert_ne!(info.digest, pinned, "seed {seed:#x}, bit {bit}");
        }
        let refused = PluginHost::new(strict.clone()).prepare(&noop).await;
        assert!(
            matches!(refused, Err(PluginError::Invalid { .. })),
            "seed {seed:#x}, bit {bit}: {refused:?}"
        );
    }
    // A few of them all the way: compiled if they can be, and never a crash of ours.
    for _ in 0..20 {
        let mut bad = good.clone();
        let bit = flip(&mut bad, &random);
        fs::write(folder.path().join("noop.wasm"), bad).unwrap();
        match PluginHost::new(loose.clone()).prepare(&noop).await {
            Ok(()) | Err(PluginError::Invalid { .. }) => {}
            Err(error) => panic!("seed {seed:#x}, bit {bit}: {error}"),
        }
    }
    fs::write(folder.path().join("noop.wasm"), &good).unwrap();
    PluginHost::new(strict).prepare(&noop).await.unwrap();
}

#[tokio::test]
async fn a_component_cut_off_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = component("noop");
    let host = PluginHost::new(Options {
        places: Places {
            folders: vec![folder.path().to_owned()],
            ..Places::default()
        },
        cache: folder.path().join("cache"),
        ..options()
    });
    for end in (0..good.len()).step_by(97) {
        fs::write(folder.path().join("noop.wasm"), &good[..end]).unwrap();
        let refused = host.inspect(&plugin("noop")).await;
        assert!(
            matches!(refused, Err(PluginError::Invalid { .. })),
            "cut at {end}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_no_plugin_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let host = PluginHost::new(Options {
        places: Places {
            folders: vec![folder.path().to_owned(), folder.path().join("more")],
            ..Places::default()
        },
        ..options()
    });
    let unpacked = guests()
        .folder
        .with_file_name("wasm32-wasip2")
        .join("guest/noop.wasm");
    let unpacked = fs::read(unpacked).unwrap();
    let other = sereno_pack::append(&component("noop"), &guests().manifests["trap"]).unwrap();
    let newer = guests().manifests["noop"].replace("contract = \"0.1.0\"", "contract = \"0.2.0\"");
    let newer = sereno_pack::append(&component("noop"), &newer).unwrap();
    let wrong = sereno_pack::append(&component("noop"), "[plugin]\nnam = 1\n").unwrap();
    for (bytes, reason) in [
        (&b"\0asm\x01\0\0\0"[..], "core module"),
        (b"hello", "damaged"),
        (&unpacked, "no manifest"),
        (&other, "calls it `trap`"),
        (&newer, "contract 0.2.0"),
        (&wrong, "manifest is wrong"),
    ] {
        fs::write(folder.path().join("noop.wasm"), bytes).unwrap();
        let error = host.inspect(&plugin("noop")).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let large = fs::File::create(folder.path().join("noop.wasm")).unwrap();
    large.set_len(sereno_engine::COMPONENT_BYTES_MAX + 1).unwrap();
    let error = host.inspect(&plugin("noop")).await.unwrap_err().to_string();
    assert!(error.contains("more than 64 MiB"), "{error}");
    let error = host.inspect(&plugin("nothing")).await.unwrap_err().to_string();
    assert!(error.contains("more/nothing.wasm"), "{error}");
}

#[tokio::test]
async fn a_plugin_that_was_replaced_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guest.wasm");
    let host = PluginHost::new(Options {
        places: Places {
            paths: [(plugin("any"), path.clone())].into(),
            folders: Vec::new(),
        },
        ..options()
    });
    let mut digests = Vec::new();
    for guest in ["noop", "look-around", "noop"] {
        fs::write(&path, component(guest)).unwrap();
        digests.push(host.inspect(&plugin("any")).await.unwrap().digest);
        host.prepare(&plugin("any")).await.unwrap();
    }
    assert_ne!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_start_together_compile_once_and_all_end_well() {
    let folder = tempfile::tempdir().unwrap();
    let host = Arc::new(PluginHost::new(options_with_cache(&folder.path().join("cache"))));
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let host = Arc::clone(&host);
            tokio::spawn(async move { Run::of("noop").go(&host).await.end })
        })
        .collect();
    for run in runs {
        assert_eq!(run.await.unwrap(), GuestEnd::Done);
    }
}

/// The name of the test below, which runs itself as the child.
const CHILD: &str = "guests::artefacts::a_child_compiles_and_one_that_fails_says_why";

#[tokio::test]
async fn a_child_compiles_and_one_that_fails_says_why() {
    if let (Some(input), Some(output)) = (
        std::env::var_os("SERENO_TEST_INPUT"),
        std::env::var_os("SERENO_TEST_OUTPUT"),
    ) {
        sereno_engine::compile_file(Path::new(&input), Path::new(&output), sereno_engine::TARGET).unwrap();
        let memory = Vec::<u8>::new().try_reserve_exact(2 << 30);
        assert!(memory.is_err(), "a compiler may not take two gibibytes");
        assert!(
            std::env::var_os("HOME").is_none(),
            "a compiler needs none of our environment"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let via = |script: String| Options {
        compile: CompileVia::Child {
            program: "sh".into(),
            args: ["-c".into(), script.into(), "child".into()].into(),
        },
        ..options_with_cache(&cache)
    };
    let program = std::env::current_exe().unwrap();
    let itself = format!(
        "SERENO_TEST_INPUT=$1 SERENO_TEST_OUTPUT=$3 exec '{}' --exact {CHILD} --nocapture",
        program.display()
    );
    let failing = PluginHost::new(via("echo it is cursed >&2; exit 1".to_owned()));
    let error = failing.prepare(&plugin("noop")).await.unwrap_err();
    assert!(
        matches!(error, PluginError::Invalid { .. }) && error.to_string().contains("it is cursed"),
        "{error}"
    );
    let killed = PluginHost::new(via("kill -9 $$".to_owned()));
    let error = killed.prepare(&plugin("noop")).await.unwrap_err();
    assert!(matches!(error, PluginError::Invalid { .. }), "{error}");
    let silent = PluginHost::new(via("exit 0".to_owned()));
    let error = silent.prepare(&plugin("noop")).await.unwrap_err();
    assert!(matches!(error, PluginError::Host { .. }), "{error}");
    let lying = PluginHost::new(via("echo no native code > $3".to_owned()));
    let error = lying.prepare(&plugin("noop")).await.unwrap_err();
    assert!(matches!(error, PluginError::Host { .. }), "{error}");
    let kept = fs::read_dir(&cache).unwrap().count();
    assert_eq!(kept, 0, "what does not load is not kept");

    let host = PluginHost::new(via(itself));
    assert_eq!(Run::of("noop").go(&host).await.end, GuestEnd::Done);
    let mut left: Vec<_> = fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(
        left,
        [artefact(&cache).file_name().unwrap().to_str().unwrap(), "key"],
        "no drafts stay"
    );
}
