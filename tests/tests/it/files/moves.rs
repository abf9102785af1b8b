//! Files that are renamed, compressed, emptied and read by name: in every world, and what only a disk can show.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use sereno_core::ports::files::{Allowance, Compression, Content, FilesError, Left};
use sereno_core::value::FileFilter;

use super::world::{PLENTY, World, everything_old, names, old, set_mtime, young};

/// Lines with their numbers: what is lost or doubled shows.
fn lines(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "line {number} of a log");
        text
    })
}

fn paths(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|path| path.as_bytes().to_vec()).collect()
}

fn left(compression: &Compression) -> Vec<(String, Left)> {
    let name = |(path, why): &(Vec<u8>, Left)| (String::from_utf8_lossy(path).into_owned(), *why);
    compression.left.iter().map(name).collect()
}

/// What a gzip file holds, as another program reads it.
fn unpacked(path: &Path) -> String {
    let output = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .output()
        .expect("gzip");
    assert!(output.status.success(), "{}: {output:?}", path.display());
    String::from_utf8(output.stdout).expect("text")
}

async fn compress(world: &World, of: &[&str], filter: &FileFilter) -> Compression {
    let preview = world
        .open()
        .preview_compress(&paths(of), filter, &[], PLENTY)
        .await
        .expect("a preview");
    let done = world
        .open()
        .compress(&paths(of), filter, PLENTY)
        .await
        .expect("a compression");
    let went = |compression: &Compression| -> Vec<_> {
        let went = compression.done.iter();
        went.map(|file| (file.from.clone(), file.bytes, file.to.to.clone()))
            .collect()
    };
    assert_eq!(went(&preview), went(&done), "what a preview says is done");
    assert_eq!(left(&preview), left(&done));
    done
}

pub(super) async fn a_rename_never_replaces_and_never_leaves(world: World) {
    world.put("app.log", 3, old());
    world.put("other.log", 5, old());
    world.put("sub/x", 1, old());
    let directory = world.open();
    let rename = async |from: &str, to: &str| {
        let preview = directory
            .preview_rename(from.as_bytes(), to.as_bytes(), &[])
            .await;
        let done = directory.rename(from.as_bytes(), to.as_bytes()).await;
        let word = |answer: Result<_, FilesError>| match answer {
            Ok(_) => "done",
            Err(FilesError::Taken { .. }) => "taken",
            Err(FilesError::NotFound { .. }) => "not found",
            Err(FilesError::Invalid(_)) => "invalid",
            Err(_) => "other",
        };
        let (preview, done) = (word(preview), word(done));
        assert_eq!(preview, done, "{from} to {to}");
        done
    };
    assert_eq!(rename("app.log", "other.log").await, "taken");
    assert_eq!(rename("app.log", "sub").await, "taken", "a directory is there");
    assert_eq!(rename("app.log", "nowhere/x").await, "not found");
    assert_eq!(rename("gone.log", "x").await, "not found");
    assert_eq!(rename("sub", "bus").await, "invalid", "a directory");
    for (from, to) in [
        ("app.log", "../x"),
        ("../x", "y"),
        ("app.log", "/tmp/x"),
        ("app.log", "a/./b"),
        ("app.log", ""),
        ("app.log", "a\0b"),
    ] {
        assert_eq!(rename(from, to).await, "invalid", "{from} to {to:?}");
    }
    assert_eq!(world.files(), names(&["app.log", "other.log", "sub/x"]));
    assert_eq!(rename("app.log", "sub/app.log-2021-05-01").await, "done");
    assert_eq!(
        world.files(),
        names(&["other.log", "sub/app.log-2021-05-01", "sub/x"])
    );
}

pub(super) async fn a_file_is_compressed_once_and_only_while_it_matches(world: World) {
    for name in ["a.log", "sub/b.log"] {
        world.put(name, 5_000, old());
    }
    world.put("young.log", 5_000, young());
    world.put("c.log.gz", 10, old());
    world.put("taken.log", 10, old());
    world.put("taken.log.gz", 20, old());
    let asked = [
        "a.log",
        "sub/b.log",
        "young.log",
        "c.log.gz",
        "taken.log",
        "nothing",
        "a.log",
    ];
    let done = compress(&world, &asked, &everything_old()).await;
    assert_eq!((done.done.len(), done.bytes()), (2, 10_000));
    assert!(done.bytes_after() < 1_000, "{}", done.bytes_after());
    assert_eq!(done.done[0].to.mtime, old(), "it keeps its last write");
    let expected = [
        ("young.log", Left::NotMatching),
        ("c.log.gz", Left::NotMatching),
        ("taken.log", Left::NameTaken),
        ("nothing", Left::Gone),
        ("a.log", Left::Gone),
    ];
    assert_eq!(left(&done), expected.map(|(name, why)| (name.to_owned(), why)));
    assert_eq!(
        world.files(),
        names(&[
            "a.log.gz",
            "c.log.gz",
            "sub/b.log.gz",
            "taken.log",
            "taken.log.gz",
            "young.log"
        ])
    );
    let again = compress(&world, &asked, &everything_old()).await;
    assert_eq!(again.done.len(), 0, "a second time there is nothing to do");
}

pub(super) async fn a_compression_keeps_within_its_allowance(world: World) {
    world.put_all(&["a", "b", "c"], old());
    let allowance = Allowance { files: 5, bytes: 25 };
    let done = world
        .open()
        .compress(&paths(&["a", "b", "c"]), &everything_old(), allowance)
        .await
        .expect("a compression");
    assert_eq!((done.done.len(), done.exhausted), (2, true));
    assert_eq!(world.files(), names(&["a.gz", "b.gz", "c"]));
}

pub(super) async fn a_part_of_a_file_is_read_and_nothing_else(world: World) {
    world.put("app.log", 10, old());
    world.put("sub/x", 1, old());
    let directory = world.open();
    let read = async |path: &str, offset, max| directory.read_content(path.as_bytes(), offset, max).await;
    let content = |count| Content {
        bytes: vec![b'x'; count],
        total: 10,
    };
    assert_eq!(read("app.log", 0, 4).await.expect("a part"), content(4));
    assert_eq!(read("app.log", 8, 100).await.expect("the rest"), content(2));
    assert_eq!(read("app.log", 99, 100).await.expect("the end"), content(0));
    for path in ["../x", "/etc/passwd", "sub/../app.log", "", "sub"] {
        let answer = read(path, 0, 10).await;
        assert!(
            matches!(answer, Err(FilesError::Invalid(_))),
            "{path}: {answer:?}"
        );
    }
    assert!(matches!(
        read("gone", 0, 1).await,
        Err(FilesError::NotFound { .. })
    ));
}

pub(super) async fn a_copied_file_is_emptied_where_it_is(world: World) {
    world.put("app.log", 10, old());
    let moved = world
        .open()
        .copy_truncate(b"app.log", b"app.log.1")
        .await
        .expect("a copy");
    assert_eq!((moved.bytes, moved.to), (10, b"app.log.1".to_vec()));
    let content = |bytes: usize| Content {
        bytes: vec![b'x'; bytes],
        total: bytes as u64,
    };
    let directory = world.open();
    assert_eq!(
        directory.read_content(b"app.log", 0, 99).await.expect("it"),
        content(0)
    );
    assert_eq!(
        directory.read_content(b"app.log.1", 0, 99).await.expect("it"),
        content(10)
    );
    let again = directory.copy_truncate(b"app.log", b"app.log.1").await;
    assert!(matches!(again, Err(FilesError::Taken { .. })), "{again:?}");
}

fn disk() -> (World, std::path::PathBuf) {
    let root = tempfile::tempdir().expect("a temporary directory");
    let path = root.path().to_owned();
    (World::Disk(root), path)
}

fn write_log(path: &Path, count: usize) -> String {
    let text = lines(count);
    fs::write(path, &text).expect("a file");
    set_mtime(path, old());
    text
}

#[tokio::test]
async fn a_compressed_file_keeps_contents_mode_and_last_write() {
    let (world, root) = disk();
    let text = write_log(&root.join("app.log"), 40_000);
    fs::set_permissions(root.join("app.log"), fs::Permissions::from_mode(0o640)).expect("a mode");
    let before = fs::metadata(root.join("app.log")).expect("it");
    compress(&world, &["app.log"], &everything_old()).await;
    let after = fs::metadata(root.join("app.log.gz")).expect("it");
    assert_eq!(unpacked(&root.join("app.log.gz")), text);
    assert_eq!(
        (after.mode(), after.mtime(), after.mtime_nsec(), after.uid()),
        (before.mode(), before.mtime(), before.mtime_nsec(), before.uid())
    );
    assert_eq!(world.files(), names(&["app.log.gz"]));
}

#[tokio::test]
async fn what_somebody_writes_is_left_and_what_somebody_reads_is_not() {
    let (world, root) = disk();
    for name in ["written.log", "read.log"] {
        write_log(&root.join(name), 100);
    }
    let mut writer = OpenOptions::new()
        .append(true)
        .open(root.join("written.log"))
        .expect("it");
    let reader = fs::File::open(root.join("read.log")).expect("it");
    let done = compress(&world, &["written.log", "read.log"], &everything_old()).await;
    assert_eq!(left(&done), [("written.log".to_owned(), Left::BeingWritten)]);
    drop(reader);
    writer.write_all(b"one more\n").expect("a line");
    assert_eq!(
        fs::read_to_string(root.join("written.log")).expect("it"),
        lines(100) + "one more\n"
    );
    assert_eq!(world.files(), names(&["read.log.gz", "written.log"]));
}

#[tokio::test]
async fn links_and_files_of_several_names_are_not_touched() {
    let (world, root) = disk();
    let outside = tempfile::tempdir().expect("a temporary directory");
    write_log(&outside.path().join("secret"), 3);
    symlink(outside.path().join("secret"), root.join("link.log")).expect("a link");
    symlink(outside.path(), root.join("dir")).expect("a link");
    fs::hard_link(outside.path().join("secret"), root.join("twin.log")).expect("a link");
    let directory = world.open();
    for path in ["link.log", "dir/secret", "twin.log"] {
        let read = directory.read_content(path.as_bytes(), 0, 100).await;
        assert!(read.is_err(), "{path}: {read:?}");
        let renamed = directory.rename(path.as_bytes(), b"mine").await;
        assert!(renamed.is_err(), "{path}: {renamed:?}");
        let copied = directory.copy_truncate(path.as_bytes(), b"mine").await;
        assert!(copied.is_err(), "{path}: {copied:?}");
    }
    let done = compress(&world, &["link.log", "dir/secret", "twin.log"], &everything_old()).await;
    assert_eq!(done.done, []);
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).expect("it"),
        lines(3)
    );
    write_log(&root.join("a.log"), 1);
    let through = directory.rename(b"a.log", b"dir/a.log").await;
    assert!(through.is_err(), "a link is no way to a new name: {through:?}");
    assert!(root.join("a.log").exists());
}

#[tokio::test]
async fn what_a_dead_run_left_is_finished_or_cleaned_up() {
    let (world, root) = disk();
    let text = write_log(&root.join("a.log"), 1_000);
    write_log(&root.join("b.log"), 1_000);
    // Died while writing the copy.
    fs::write(root.join(".a.log.gz.partial"), b"half").expect("a file");
    // Died between naming the copy and removing the original.
    let copy = std::process::Command::new("gzip")
        .args(["-k", "b.log"])
        .current_dir(&root)
        .status();
    assert!(copy.expect("gzip").success());
    let done = compress(&world, &["a.log", "b.log"], &everything_old()).await;
    assert_eq!(left(&done), []);
    assert_eq!(world.files(), names(&["a.log.gz", "b.log.gz"]));
    for name in ["a.log.gz", "b.log.gz"] {
        assert_eq!(unpacked(&root.join(name)), text);
    }
}

/// A file system of its own, gone with the test.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(bytes: &str) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let options = std::ffi::CString::new(format!("size={bytes}")).expect("no NUL");
        mount(
            "tmpfs",
            root.path(),
            "tmpfs",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .expect("these tests run as root");
        Self(root)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_file_system_that_fills_up_in_the_middle_leaves_the_original() {
    let tmpfs = Tmpfs::new("4m");
    let root = tmpfs.0.path().to_owned();
    // Random bytes do not shrink: the copy is as large, and 3 MiB twice are more than 4.
    let mut noise = vec![0; 3 << 20];
    let mut state = 88_172_645_463_325_252_u64;
    for byte in &mut noise {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[3];
    }
    fs::write(root.join("noise.log"), &noise).expect("it fits once");
    write_log(&root.join("small.log"), 5_000);
    set_mtime(&root.join("noise.log"), old());
    let directory = sereno_adapters::files::open(&root).expect("a fit directory");
    let done = directory
        .compress(&paths(&["noise.log", "small.log"]), &everything_old(), PLENTY)
        .await
        .expect("a compression");
    assert_eq!(left(&done), [("noise.log".to_owned(), Left::NoSpace)]);
    assert_eq!(fs::read(root.join("noise.log")).expect("it"), noise);
    let there: std::collections::BTreeSet<_> = super::world::walk(&root)
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(
        there,
        names(&["noise.log", "small.log.gz"]),
        "no partial file is left"
    );
    assert_eq!(unpacked(&root.join("small.log.gz")), lines(5_000));
}
