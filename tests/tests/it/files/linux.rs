//! What only a real file system can show: links, mounts, special files, races, and places that are refused.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use sereno_adapters::files::{DEPTH_MAX, open};
use sereno_core::ports::files::{Allowance, FilesError, Removal};
use sereno_core::value::FileFilter;
use tempfile::TempDir;

use super::world::{Call, PLENTY, World, drive, everything_old, names, old, set_mtime, walk, young};

pub(super) fn disk() -> (World, PathBuf) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().to_owned();
    (World::Disk(root), path)
}

fn write_old(path: &Path) {
    fs::write(path, b"old").expect("a file");
    set_mtime(path, old());
}

fn emptying() -> FileFilter {
    FileFilter {
        remove_emptied: true,
        ..everything_old()
    }
}

#[tokio::test]
async fn a_link_is_neither_followed_nor_removed() {
    let outside = tempfile::tempdir().expect("a temporary directory");
    write_old(&outside.path().join("precious"));
    let (world, root) = disk();
    world.put("sub/a", 1, old());
    symlink(outside.path(), root.join("to-directory")).expect("a link");
    symlink(outside.path().join("precious"), root.join("to-file")).expect("a link");
    symlink(outside.path().join("precious"), root.join("sub/to-file")).expect("a link");
    for link in ["to-directory", "to-file", "sub/to-file"] {
        set_mtime(&root.join(link), old());
    }
    let preview = drive(&world.open(), Call::Preview, &emptying(), &[], 100, PLENTY).await;
    let removal = drive(&world.open(), Call::Remove, &emptying(), &[], 100, PLENTY).await;
    assert_eq!(
        removal,
        Removal {
            files: 1,
            bytes: 1,
            ..Removal::default()
        }
    );
    assert_eq!(preview, removal);
    let named = [b"to-file".to_vec(), b"to-directory/precious".to_vec()];
    let removal = world
        .open()
        .remove(&named, &everything_old(), PLENTY)
        .await
        .expect("a removal");
    assert_eq!((removal.files, removal.skipped), (0, 2));
    assert_eq!(world.files(), names(&["sub/to-file", "to-directory", "to-file"]));
    assert!(outside.path().join("precious").exists());
}

/// Ends a thread even when the test ends in a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    /// Rounds of one racer against one walk: each takes well under a millisecond.
    const ROUNDS: usize = 400;
    let outside = tempfile::tempdir().expect("a temporary directory");
    let precious: BTreeSet<_> = (0..20).map(|number| format!("f{number}")).collect();
    for name in &precious {
        write_old(&outside.path().join(name));
    }
    let (world, root) = disk();
    fs::create_dir(root.join("real")).expect("a directory");
    symlink(outside.path(), root.join("link")).expect("a link");
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut removed = 0;
    std::thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (one, other) = (root.join("real"), root.join("link"));
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("a swap");
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            for round in 0..ROUNDS {
                // Whichever of the two names is the directory now, it has files to remove.
                for name in ["real", "link"] {
                    let path = root.join(name);
                    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                        // The swap may come between the two lines, so it is put outside under a young name only.
                        let _ = fs::write(path.join(format!("bait{round}")), b"");
                    }
                }
                let directory = world.open();
                let named = precious
                    .iter()
                    .map(|name| format!("real/{name}").into_bytes())
                    .collect::<Vec<_>>();
                let all = FileFilter {
                    older_than: None,
                    include: vec!["**/bait*".into(), "**/f*".into()],
                    ..everything_old()
                };
                removed += drive(&directory, Call::Remove, &all, &[], 64, PLENTY).await.files;
                removed += directory
                    .remove(&named, &all, PLENTY)
                    .await
                    .expect("a removal")
                    .files;
            }
        });
    });
    let left: BTreeSet<_> = walk(outside.path())
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with('f'))
        .collect();
    assert_eq!(left, precious, "after {} swaps", swaps.load(Ordering::Relaxed));
    assert!(swaps.load(Ordering::Relaxed) > 100, "the race was run");
    assert!(removed > 0, "and there was something to remove");
}

#[tokio::test]
async fn a_file_with_two_names_is_skipped_and_counted() {
    let (world, root) = disk();
    let outside = tempfile::tempdir_in(root.parent().expect("a parent")).expect("a directory");
    write_old(&outside.path().join("live"));
    world.put_all(&["a", "unit/b"], old());
    fs::hard_link(outside.path().join("live"), root.join("other-name")).expect("a link");
    fs::hard_link(outside.path().join("live"), root.join("unit/other-name")).expect("a link");
    let summary = world
        .open()
        .summarize(&everything_old(), &[])
        .await
        .expect("a summary");
    assert_eq!((summary.files, summary.total), (4, 4));
    let unit = FileFilter {
        directory_as_unit: true,
        ..everything_old()
    };
    for call in [Call::Preview, Call::Remove] {
        let removal = drive(&world.open(), call, &unit, &[], 100, PLENTY).await;
        assert_eq!((removal.files, removal.directories, removal.skipped), (1, 0, 3));
    }
    assert_eq!(world.files(), names(&["other-name", "unit/b", "unit/other-name"]));
    let preview = drive(&world.open(), Call::Preview, &emptying(), &[], 100, PLENTY).await;
    let removal = drive(&world.open(), Call::Remove, &emptying(), &[], 100, PLENTY).await;
    assert_eq!(
        removal,
        Removal {
            files: 1,
            bytes: 10,
            skipped: 2,
            ..Removal::default()
        }
    );
    assert_eq!(preview, removal);
    let named = [b"other-name".to_vec()];
    let removal = world
        .open()
        .remove(&named, &everything_old(), PLENTY)
        .await
        .expect("a removal");
    assert_eq!((removal.files, removal.skipped), (0, 1));
    assert_eq!(world.files(), names(&["other-name", "unit/other-name"]));
}

#[tokio::test]
async fn special_files_are_never_opened_and_keep_their_unit() {
    let (world, root) = disk();
    world.put_all(&["a", "unit/b", "plain/c"], old());
    let _socket = UnixListener::bind(root.join("socket")).expect("a socket");
    for pipe in ["pipe", "unit/pipe"] {
        mknodat(CWD, root.join(pipe), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        set_mtime(&root.join(pipe), old());
    }
    set_mtime(&root.join("socket"), old());
    let sticky = root.join("sticky");
    write_old(&sticky);
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1644)).expect("a mode");
    let unit = FileFilter {
        directory_as_unit: true,
        ..everything_old()
    };
    // Opening a pipe that nobody writes to would never return.
    let limit = Duration::from_secs(20);
    let directory = world.open();
    let sweep = async {
        let removal = drive(&directory, Call::Remove, &unit, &[], 100, PLENTY).await;
        assert_eq!((removal.files, removal.directories, removal.skipped), (2, 1, 0));
        let removal = drive(&directory, Call::Remove, &emptying(), &[], 100, PLENTY).await;
        assert_eq!((removal.files, removal.directories, removal.skipped), (1, 0, 0));
        let named = ["pipe", "socket", "sticky"].map(|name| name.as_bytes().to_vec());
        let removal = directory
            .remove(&named, &everything_old(), PLENTY)
            .await
            .expect("a removal");
        assert_eq!((removal.files, removal.skipped), (0, 3));
    };
    tokio::time::timeout(limit, sweep)
        .await
        .expect("nothing waits for a pipe");
    assert_eq!(world.files(), names(&["pipe", "socket", "sticky", "unit/pipe"]));
}

#[tokio::test]
async fn names_are_bytes() {
    let (world, root) = disk();
    let long = vec![b'n'; 255];
    let odd: [&[u8]; 6] = [
        b"new\nline",
        b"\xff\xfe.tmp",
        b"\x1b[2J",
        b" ",
        "cod\u{202e}gpj".as_bytes(),
        &long,
    ];
    fs::create_dir(root.join(OsStr::from_bytes(b"dir\xff\n"))).expect("a directory");
    for name in odd {
        write_old(&root.join(OsStr::from_bytes(name)));
        write_old(
            &root
                .join(OsStr::from_bytes(b"dir\xff\n"))
                .join(OsStr::from_bytes(name)),
        );
    }
    let page = world
        .open()
        .entries(&everything_old(), &[], None, 100)
        .await
        .expect("a page");
    let paths: Vec<Vec<u8>> = page.entries.into_iter().map(|entry| entry.path).collect();
    let expected: BTreeSet<Vec<u8>> = odd
        .iter()
        .flat_map(|name| [name.to_vec(), [b"dir\xff\n/", *name].concat()])
        .collect();
    assert_eq!(paths.iter().cloned().collect::<BTreeSet<_>>(), expected);
    let tmp = FileFilter {
        include: vec!["**/*.tmp".into()],
        ..everything_old()
    };
    assert_eq!(
        world.open().summarize(&tmp, &[]).await.expect("a summary").files,
        2
    );
    let preview = world
        .open()
        .preview_remove(&paths[..6], &emptying(), &[], PLENTY)
        .await
        .expect("a preview");
    let removal = world
        .open()
        .remove(&paths[..6], &emptying(), PLENTY)
        .await
        .expect("a removal");
    assert_eq!((removal.files, removal.skipped), (6, 0));
    assert_eq!(preview, removal);
    drive(&world.open(), Call::Remove, &emptying(), &[], 2, PLENTY).await;
    assert_eq!((world.files(), world.directories()), (names(&[]), names(&[])));
}

/// A tmpfs that goes with the test.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path) -> Self {
        fs::create_dir_all(at).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "sereno-test"])
            .arg(at)
            .output();
        let mounted = mounted.expect("`mount` is there (package `mount`)");
        assert!(
            mounted.status.success(),
            "this test mounts a tmpfs and so needs root (in a container: CAP_SYS_ADMIN): {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        if !std::thread::panicking() {
            assert!(
                unmounted.is_ok_and(|status| status.success()),
                "could not unmount {}",
                self.0.display()
            );
        }
    }
}

#[tokio::test]
async fn another_file_system_is_not_entered_and_a_mount_root_is_fit() {
    let (world, root) = disk();
    world.put_all(&["a", "sub/b", "unit/c"], old());
    let mounts = ["mnt", "sub/mnt", "unit/mnt"].map(|at| Mount::tmpfs(&root.join(at)));
    for mount in &mounts {
        write_old(&mount.0.join("inside"));
    }
    let unit = FileFilter {
        directory_as_unit: true,
        ..everything_old()
    };
    let removal = drive(&world.open(), Call::Remove, &unit, &[], 100, PLENTY).await;
    assert_eq!((removal.files, removal.directories), (1, 0));
    let preview = drive(&world.open(), Call::Preview, &emptying(), &[], 100, PLENTY).await;
    let removal = drive(&world.open(), Call::Remove, &emptying(), &[], 100, PLENTY).await;
    assert_eq!(
        removal,
        Removal {
            files: 2,
            bytes: 20,
            ..Removal::default()
        }
    );
    assert_eq!(preview, removal);
    let named = [b"mnt/inside".to_vec()];
    let removal = world
        .open()
        .remove(&named, &everything_old(), PLENTY)
        .await
        .expect("a removal");
    assert_eq!((removal.files, removal.skipped), (0, 1));
    assert_eq!(world.open().files_up_to(true, 100).await.expect("a count"), 0);
    assert_eq!(
        world.files(),
        names(&["mnt/inside", "sub/mnt/inside", "unit/mnt/inside"])
    );
    let dedicated = open(&mounts[0].0).expect("a volume of its own");
    assert_eq!(
        drive(&dedicated, Call::Remove, &everything_old(), &[], 100, PLENTY)
            .await
            .files,
        1
    );
}

#[tokio::test]
async fn a_file_that_is_touched_between_listing_and_removal_survives() {
    let (world, root) = disk();
    let all: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
    for name in &all {
        world.put(name, 1, old());
    }
    let directory = world.open();
    // All ten names have been read after this; nine have not been looked at.
    let batch = directory
        .remove_batch(&everything_old(), None, 1, PLENTY)
        .await
        .expect("a batch");
    assert_eq!(batch.files, 1);
    let touched: BTreeSet<String> = world.files().into_iter().step_by(2).collect();
    for name in &touched {
        set_mtime(&root.join(name), young());
    }
    let mut cursor = batch.cursor;
    while cursor.is_some() {
        let batch = directory
            .remove_batch(&everything_old(), cursor.as_deref(), 1, PLENTY)
            .await
            .expect("a batch");
        assert_eq!(batch.skipped, 0);
        cursor = batch.cursor;
    }
    assert_eq!(world.files(), touched);
}

#[tokio::test]
async fn a_unit_that_changes_after_its_look_stays() {
    let (world, root) = disk();
    world.put_all(&["unit/a", "unit/b", "unit/c"], old());
    let unit = FileFilter {
        directory_as_unit: true,
        ..everything_old()
    };
    let directory = world.open();
    // The unit, its three files, and the first file of the pass that removes.
    let batch = directory
        .remove_batch(&unit, None, 5, PLENTY)
        .await
        .expect("a batch");
    assert_eq!((batch.files, batch.directories), (1, 0));
    let left = world.files();
    for name in &left {
        set_mtime(&root.join(name), young());
    }
    let batch = directory
        .remove_batch(&unit, batch.cursor.as_deref(), 100, PLENTY)
        .await
        .expect("a batch");
    assert_eq!(
        (batch.files, batch.directories, batch.skipped, batch.cursor),
        (0, 0, 2, None)
    );
    assert_eq!(world.files(), left);
}

#[test]
fn a_dropped_future_stops_at_the_next_entry() {
    const FILES: usize = 20_000;
    let (world, root) = disk();
    for number in 0..FILES {
        write_old(&root.join(format!("f{number}")));
    }
    let directory = world.open();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let filter = everything_old();
        let removal = directory.remove_batch(&filter, None, u32::MAX, PLENTY);
        let mut removal = std::pin::pin!(removal);
        assert!(futures::poll!(removal.as_mut()).is_pending());
    });
    // Waits for the blocking pool: whatever the walk still does, it has done after this.
    drop(runtime);
    let left = world.files().len();
    assert!(left > FILES / 2, "only {left} of {FILES} are left");
}

#[tokio::test]
async fn a_tree_deeper_than_the_bound_is_cut_off_and_counted() {
    let (world, root) = disk();
    let deepest = vec!["d"; DEPTH_MAX].join("/");
    world.put(&format!("{deepest}/reached"), 1, old());
    world.put(&format!("{deepest}/d/beyond"), 1, old());
    for call in [Call::Preview, Call::Remove] {
        let removal = drive(&world.open(), call, &emptying(), &[], 10, PLENTY).await;
        assert_eq!((removal.files, removal.directories, removal.skipped), (1, 0, 1));
    }
    assert_eq!(world.files(), [format!("{deepest}/d/beyond")].into());
    fs::remove_dir_all(root.join("d")).expect("a tree");
}

#[tokio::test]
async fn lost_and_found_is_left_alone() {
    let (world, _root) = disk();
    world.put_all(&["lost+found/a", "b"], old());
    let removal = drive(&world.open(), Call::Remove, &emptying(), &[], 10, PLENTY).await;
    assert_eq!((removal.files, removal.directories, removal.skipped), (1, 0, 0));
    assert_eq!(world.files(), names(&["lost+found/a"]));
}

#[tokio::test]
async fn a_wide_tree_goes_on_several_threads_and_no_file_is_counted_twice() {
    let (world, root) = disk();
    for number in 0..4_000 {
        let directory = root.join(format!("d{}/e{}", number % 40, number % 7));
        fs::create_dir_all(&directory).expect("a directory");
        write_old(&directory.join(format!("f{number}")));
    }
    // Enough names for two threads to share one directory.
    fs::create_dir(root.join("flat")).expect("a directory");
    for number in 0..3_000 {
        write_old(&root.join(format!("flat/with-a-longer-name-{number}")));
    }
    let expected = (7_000, 40 + 40 * 7 + 1, 7_000 * 3);
    let summary = world.open().summarize(&emptying(), &[]).await.expect("a summary");
    assert_eq!((summary.files, summary.directories, summary.bytes), expected);
    assert_eq!(summary.total, 7_000);
    let preview = drive(&world.open(), Call::Preview, &emptying(), &[], 700, PLENTY).await;
    assert_eq!((preview.files, preview.directories, preview.bytes), expected);
    let allowance = Allowance {
        files: 1_000,
        bytes: u64::MAX,
    };
    let some = drive(&world.open(), Call::Remove, &emptying(), &[], 10_000, allowance).await;
    assert_eq!((some.files, some.exhausted), (1_000, true));
    let rest = drive(&world.open(), Call::Remove, &emptying(), &[], 700, PLENTY).await;
    let sum = (
        some.files + rest.files,
        some.directories + rest.directories,
        some.bytes + rest.bytes,
    );
    assert_eq!(sum, expected);
    assert_eq!((world.files(), world.directories()), (names(&[]), names(&[])));
}

#[tokio::test]
async fn an_allowance_that_ends_on_several_threads_leaves_no_unit_half_gone() {
    // Which thread is where when it ends is chance.
    for max in [600, 10_000].repeat(6) {
        let (world, root) = disk();
        for unit in 0..50 {
            fs::create_dir(root.join(format!("u{unit}"))).expect("a directory");
            for number in 0..20 {
                write_old(&root.join(format!("u{unit}/f{number}")));
            }
        }
        let filter = FileFilter {
            directory_as_unit: true,
            ..everything_old()
        };
        let allowance = Allowance {
            files: 333,
            bytes: u64::MAX,
        };
        let removal = drive(&world.open(), Call::Remove, &filter, &[], max, allowance).await;
        assert_eq!(
            (removal.files, removal.directories, removal.exhausted),
            (320, 16, true),
            "{max} a batch"
        );
        for unit in world.directories() {
            let left = world
                .files()
                .into_iter()
                .filter(|path| path.starts_with(&format!("{unit}/")))
                .count();
            assert_eq!(left, 20, "{unit}, {max} a batch");
        }
    }
}

#[tokio::test]
async fn places_that_are_not_a_jobs_are_refused() {
    let (_world, root) = disk();
    fs::create_dir_all(root.join("pgdata/base/1")).expect("directories");
    fs::write(root.join("pgdata/PG_VERSION"), "15\n").expect("a file");
    fs::create_dir_all(root.join("image/etc")).expect("directories");
    fs::create_dir_all(root.join("image/usr")).expect("directories");
    fs::create_dir_all(root.join("real")).expect("directories");
    fs::write(root.join("file"), "").expect("a file");
    symlink(root.join("real"), root.join("link")).expect("a link");
    symlink("/etc", root.join("etc")).expect("a link");
    let refused = |path: PathBuf| match open(&path) {
        Err(FilesError::Unfit { reason, .. }) => reason,
        Err(other) => panic!("{}: {other}", path.display()),
        Ok(_) => panic!("{} was opened", path.display()),
    };
    for place in [
        "/", "/.", "//", "/etc", "/etc/", "/home", "/usr", "/var", "/proc", "/sys", "/dev", "/tmp/..",
        "/dev/shm",
    ] {
        refused(place.into());
    }
    assert!(refused(root.join("pgdata")).contains("PostgreSQL"));
    assert!(refused(root.join("pgdata/base/1")).contains("PostgreSQL"));
    assert!(refused(root.join("image")).contains("system"));
    assert!(refused(root.join("file")).contains("not a directory"));
    for link in ["link", "link/", "etc", "etc/."] {
        assert!(refused(root.join(link)).contains("link"), "{link}");
    }
    let missing = open(&root.join("missing\n"));
    assert!(matches!(&missing, Err(FilesError::NotFound { path }) if path.ends_with("missing\\n")));
    assert!(open(&root.join("real/")).is_ok());
}

/// Set for the part of a test that runs as somebody without root's rights.
const AS_NOBODY: &str = "SERENO_TEST_AS_NOBODY";

/// The user that every Linux has for owning nothing.
const NOBODY: u32 = 65_534;

#[tokio::test]
async fn what_may_not_be_removed_is_skipped_in_plan_and_apply_alike() {
    if let Some(root) = std::env::var_os(AS_NOBODY) {
        return sweep_as_nobody(Path::new(&root)).await;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives files to another user and so needs root"
    );
    let root = TempDir::new_in("/dev/shm").expect("a directory on tmpfs");
    for (directory, mode) in [
        ("own", 0o777),
        ("read-only", 0o755),
        ("sticky", 0o1777),
        ("closed", 0o700),
        ("", 0o777),
    ] {
        let path = root.path().join(directory);
        fs::create_dir_all(&path).expect("a directory");
        if !directory.is_empty() {
            for name in ["theirs", "mine"] {
                write_old(&path.join(name));
            }
            std::os::unix::fs::chown(path.join("mine"), Some(NOBODY), None).expect("another owner");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let test = "files::linux::what_may_not_be_removed_is_skipped_in_plan_and_apply_alike";
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--nocapture"])
        .env(AS_NOBODY, root.path())
        .current_dir("/")
        .uid(NOBODY)
        .output()
        .expect("this program again");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    let left: BTreeSet<_> = walk(root.path())
        .into_iter()
        .filter(|(_, is_dir)| !is_dir)
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        left,
        names(&[
            "closed/mine",
            "closed/theirs",
            "read-only/mine",
            "read-only/theirs",
            "sticky/theirs"
        ])
    );
}

async fn sweep_as_nobody(root: &Path) {
    let directory = open(root).expect("a fit directory");
    let preview = drive(&directory, Call::Preview, &emptying(), &[], 100, PLENTY).await;
    let summary = directory.summarize(&emptying(), &[]).await.expect("a summary");
    let removal = drive(&directory, Call::Remove, &emptying(), &[], 100, PLENTY).await;
    // In `own` both, in `sticky` its own; skipped are two, one, and the directory that may not be read.
    assert_eq!((removal.files, removal.directories, removal.skipped), (3, 1, 4));
    assert_eq!(preview, removal);
    assert_eq!((summary.files, summary.directories), (6, 1));
}
