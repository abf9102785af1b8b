//! The conformance suite of the directory port: one meaning, held against a disk, tmpfs and the twin in memory.
//!
//! What only a real file system can show is in `linux`.

mod agreement;
mod linux;
mod moves;
mod usage;
mod world;

use sereno_core::ports::files::{Allowance, DiskUsage, FilesError, Removal, Span};
use sereno_core::value::{FileFilter, Instant, Stamp};

use moves::{
    a_compression_keeps_within_its_allowance, a_copied_file_is_emptied_where_it_is,
    a_file_is_compressed_once_and_only_while_it_matches, a_part_of_a_file_is_read_and_nothing_else,
    a_rename_never_replaces_and_never_leaves,
};
use world::{Call, PLENTY, World, cutoff, drive, everything_old, far_future, names, old, young};

/// Runs every test of the suite in every world.
macro_rules! conformance {
    ($($test:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $test() { super::$test(super::World::memory()).await; })*
        }
        mod disk {
            $(#[tokio::test] async fn $test() { super::$test(super::World::disk()).await; })*
        }
        mod tmpfs {
            $(#[tokio::test] async fn $test() { super::$test(super::World::shared_memory()).await; })*
        }
    };
}

conformance! {
    keeps_files_exactly_at_the_cutoff
    the_newest_of_the_named_stamps_decides
    a_filter_without_a_cutoff_takes_any_age
    globs_stop_at_slashes_and_exclusion_wins
    an_excluded_directory_is_not_entered
    goes_into_subdirectories_only_when_asked
    a_unit_goes_whole_or_stays_whole
    a_unit_without_files_goes_by_its_directories
    a_unit_is_included_by_its_own_path_or_by_its_files
    emptied_directories_follow_their_files
    the_allowance_is_never_exceeded
    a_unit_that_does_not_fit_the_allowance_stays_whole
    small_batches_visit_everything_exactly_once
    a_preview_changes_nothing_and_says_what_the_apply_does
    what_others_took_is_hidden
    a_histogram_adds_up_to_the_summary
    a_foreign_cursor_is_refused
    an_unknown_cursor_starts_again
    named_files_go_only_while_they_match
    named_files_take_their_directories_along
    a_path_that_leads_elsewhere_is_refused
    a_bad_glob_is_refused
    counts_files_by_name_up_to_a_limit
    a_directory_with_a_databases_data_is_not_entered
    usage_is_answered
    a_rename_never_replaces_and_never_leaves
    a_file_is_compressed_once_and_only_while_it_matches
    a_compression_keeps_within_its_allowance
    a_part_of_a_file_is_read_and_nothing_else
    a_copied_file_is_emptied_where_it_is
}

pub(crate) fn at(text: &str) -> Instant {
    text.parse().expect("a timestamp")
}

fn globs(list: &[&str]) -> Vec<String> {
    list.iter().map(|&glob| glob.to_owned()).collect()
}

/// Removes in one batch, and says what is left.
async fn survivors(world: &World, filter: &FileFilter) -> std::collections::BTreeSet<String> {
    let removal = world
        .open()
        .remove_batch(filter, None, 10_000, PLENTY)
        .await
        .expect("a removal");
    assert_eq!(
        (removal.cursor, removal.exhausted, removal.skipped),
        (None, false, 0)
    );
    world.files()
}

async fn keeps_files_exactly_at_the_cutoff(world: World) {
    let step = chrono::TimeDelta::nanoseconds(1);
    world.put("before", 1, cutoff() - step);
    world.put("at", 2, cutoff());
    world.put("after", 4, cutoff() + step);
    let removal = world
        .open()
        .remove_batch(&everything_old(), None, 100, PLENTY)
        .await
        .expect("a removal");
    assert_eq!(
        removal,
        Removal {
            files: 1,
            bytes: 1,
            ..Removal::default()
        }
    );
    assert_eq!(world.files(), names(&["after", "at"]));
}

async fn the_newest_of_the_named_stamps_decides(world: World) {
    world.put("a", 1, old());
    let filter = |age_by: &[Stamp], older_than| FileFilter {
        age_by: age_by.to_vec(),
        older_than: Some(older_than),
        ..everything_old()
    };
    let (m, c, b) = (Stamp::Mtime, Stamp::Ctime, Stamp::Btime);
    let directory = world.open();
    // Its last write is old; the inode was changed and born when the test began.
    for (age_by, matches) in [
        (vec![m], 1),
        (vec![c], 0),
        (vec![b], 0),
        (vec![m, c], 0),
        (vec![m, b], 0),
        (vec![], 0),
    ] {
        let found = directory
            .summarize(&filter(&age_by, cutoff()), &[])
            .await
            .expect("a summary");
        assert_eq!((found.files, found.total), (matches, 1), "{age_by:?}");
        let found = directory
            .summarize(&filter(&age_by, far_future()), &[])
            .await
            .expect("a summary");
        assert_eq!(found.files, 1, "{age_by:?} before 2100");
        let newest = found.newest.expect("a match has a stamp");
        assert_eq!(newest == old(), age_by == [m], "{age_by:?} shows {newest}");
    }
    assert_eq!(survivors(&world, &filter(&[], cutoff())).await, names(&["a"]));
    assert_eq!(survivors(&world, &filter(&[], far_future())).await, names(&[]));
}

async fn a_filter_without_a_cutoff_takes_any_age(world: World) {
    world.put_all(&["a", "b/c"], young());
    world.put("d", 10, far_future());
    let filter = FileFilter {
        older_than: None,
        ..everything_old()
    };
    assert_eq!(survivors(&world, &filter).await, names(&[]));
}

async fn globs_stop_at_slashes_and_exclusion_wins(world: World) {
    let all = [
        "a.tmp",
        "a.log",
        "keep.tmp",
        "sub/b.tmp",
        "sub/deep/c.tmp",
        "x.tmp.gz",
        ".hidden.tmp",
        "[1].tmp",
    ];
    world.put_all(&all, old());
    let matching = async |include: &[&str], exclude: &[&str]| {
        let filter = FileFilter {
            include: globs(include),
            exclude: globs(exclude),
            ..everything_old()
        };
        let page = world
            .open()
            .entries(&filter, &[], None, 100)
            .await
            .expect("a page");
        let paths = page
            .entries
            .into_iter()
            .map(|entry| String::from_utf8(entry.path).expect("plain names"));
        paths.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(
        matching(&["*.tmp"], &[]).await,
        names(&[".hidden.tmp", "[1].tmp", "a.tmp", "keep.tmp"])
    );
    assert_eq!(matching(&["*/*.tmp"], &[]).await, names(&["sub/b.tmp"]));
    assert_eq!(
        matching(&["sub/**"], &[]).await,
        names(&["sub/b.tmp", "sub/deep/c.tmp"])
    );
    assert_eq!(matching(&["?.{tmp,log}"], &[]).await, names(&["a.log", "a.tmp"]));
    assert_eq!(matching(&["\\[1\\].tmp"], &[]).await, names(&["[1].tmp"]));
    assert_eq!(matching(&[], &["**/*.tmp"]).await, names(&["a.log", "x.tmp.gz"]));
    let filter = FileFilter {
        include: globs(&["**/*.tmp"]),
        exclude: globs(&["keep.*", "sub/deep/c.tmp"]),
        ..everything_old()
    };
    assert_eq!(
        survivors(&world, &filter).await,
        names(&["a.log", "keep.tmp", "sub/deep/c.tmp", "x.tmp.gz"])
    );
}

async fn an_excluded_directory_is_not_entered(world: World) {
    world.put_all(&["cache/a", "cache/deep/b", "c", "other/cache/d"], old());
    let filter = FileFilter {
        exclude: globs(&["cache"]),
        remove_emptied: true,
        ..everything_old()
    };
    assert_eq!(
        survivors(&world, &filter).await,
        names(&["cache/a", "cache/deep/b"])
    );
    assert_eq!(world.directories(), names(&["cache", "cache/deep"]));
}

async fn goes_into_subdirectories_only_when_asked(world: World) {
    world.put_all(&["a", "sub/b"], old());
    let shallow = FileFilter {
        recursive: false,
        directory_as_unit: true,
        remove_emptied: true,
        ..everything_old()
    };
    assert_eq!(survivors(&world, &shallow).await, names(&["sub/b"]));
    assert_eq!(survivors(&world, &everything_old()).await, names(&[]));
    assert_eq!(world.directories(), names(&["sub"]));
}

fn units() -> FileFilter {
    FileFilter {
        directory_as_unit: true,
        ..everything_old()
    }
}

async fn a_unit_goes_whole_or_stays_whole(world: World) {
    world.put_all(
        &["loose-old", "gone/a", "gone/deep/b", "mixed/a", "mixed/deep/b"],
        old(),
    );
    world.put_all(&["loose-young", "mixed/deep/c", "young/a"], young());
    for directory in ["gone/deep", "gone/empty", "gone"] {
        // However young: its files decide.
        world.directory(directory, young());
    }
    for max in [1, 3, 1_000] {
        let preview = drive(&world.open(), Call::Preview, &units(), &[], max, PLENTY).await;
        assert_eq!(
            (preview.files, preview.bytes, preview.directories),
            (3, 30, 3),
            "{max} a batch"
        );
    }
    let summary = world.open().summarize(&units(), &[]).await.expect("a summary");
    assert_eq!((summary.files, summary.total, summary.directories), (3, 8, 3));
    let removal = drive(&world.open(), Call::Remove, &units(), &[], 2, PLENTY).await;
    assert_eq!(
        (removal.files, removal.bytes, removal.directories, removal.skipped),
        (3, 30, 3, 0)
    );
    assert_eq!(
        world.files(),
        names(&[
            "loose-young",
            "mixed/a",
            "mixed/deep/b",
            "mixed/deep/c",
            "young/a"
        ])
    );
    assert_eq!(world.directories(), names(&["mixed", "mixed/deep", "young"]));
}

async fn a_unit_without_files_goes_by_its_directories(world: World) {
    world.directory("old/deep", old());
    world.directory("old", old());
    world.directory("young/deep", young());
    world.directory("young", old());
    let removal = drive(&world.open(), Call::Remove, &units(), &[], 100, PLENTY).await;
    assert_eq!((removal.files, removal.directories), (0, 2));
    assert_eq!(world.directories(), names(&["young", "young/deep"]));
}

async fn a_unit_is_included_by_its_own_path_or_by_its_files(world: World) {
    world.put_all(
        &[
            "session-1/a",
            "session-2/keep",
            "all/a.tmp",
            "all/deep/b.tmp",
            "some/a.tmp",
            "some/b",
        ],
        old(),
    );
    let filter = FileFilter {
        include: globs(&["session-*", "**/*.tmp"]),
        exclude: globs(&["**/keep"]),
        ..units()
    };
    assert_eq!(
        survivors(&world, &filter).await,
        names(&["session-2/keep", "some/a.tmp", "some/b"])
    );
    assert_eq!(world.directories(), names(&["session-2", "some"]));
}

async fn emptied_directories_follow_their_files(world: World) {
    world.put_all(
        &[
            "emptied/a",
            "chain/of/three/b",
            "kept/c",
            "kept/inner/d",
            "excluded/inner/e.keep",
        ],
        old(),
    );
    world.put_all(&["kept/young"], young());
    world.directory("was-empty-old/inner", old());
    world.directory("was-empty-old", old());
    world.directory("was-empty-young", young());
    let filter = FileFilter {
        remove_emptied: true,
        exclude: globs(&["**/*.keep"]),
        ..everything_old()
    };
    let summary = world.open().summarize(&filter, &[]).await.expect("a summary");
    let preview = drive(&world.open(), Call::Preview, &filter, &[], 2, PLENTY).await;
    let removal = drive(&world.open(), Call::Remove, &filter, &[], 2, PLENTY).await;
    // emptied, chain, chain/of, chain/of/three, kept/inner, was-empty-old and was-empty-old/inner.
    assert_eq!((removal.files, removal.directories), (4, 7));
    assert_eq!((preview.files, preview.directories), (4, 7));
    assert_eq!((summary.files, summary.directories), (4, 7));
    assert_eq!(
        world.directories(),
        names(&["excluded", "excluded/inner", "kept", "was-empty-young"])
    );
    assert_eq!(world.files(), names(&["excluded/inner/e.keep", "kept/young"]));

    // With an inclusion, a directory that was empty already has nothing to do with the removal.
    world.put("late/a.tmp", 1, old());
    world.directory("was-empty-young", old());
    let filter = FileFilter {
        include: globs(&["**/*.tmp"]),
        ..filter
    };
    let removal = drive(&world.open(), Call::Remove, &filter, &[], 100, PLENTY).await;
    assert_eq!((removal.files, removal.directories), (1, 1));
    assert!(world.directories().contains("was-empty-young"));
}

async fn the_allowance_is_never_exceeded(world: World) {
    for name in ["a", "b", "c", "d", "e"] {
        world.put(name, 10, old());
    }
    let allowance = |files, bytes| Allowance { files, bytes };
    let directory = world.open();
    for (allowance, files, exhausted) in [
        (allowance(0, 1_000), 0, true),
        (allowance(4, 1_000), 4, true),
        (allowance(5, 1_000), 5, false),
        (allowance(100, 29), 2, true),
        (allowance(100, 50), 5, false),
    ] {
        for max in [1, 100] {
            let preview = drive(&directory, Call::Preview, &everything_old(), &[], max, allowance).await;
            assert_eq!(
                (preview.files, preview.exhausted),
                (files, exhausted),
                "{allowance:?}"
            );
        }
    }
    let removal = drive(
        &directory,
        Call::Remove,
        &everything_old(),
        &[],
        2,
        allowance(100, 29),
    )
    .await;
    assert_eq!((removal.files, removal.bytes, removal.exhausted), (2, 20, true));
    assert_eq!(world.files().len(), 3);
    let removal = drive(
        &directory,
        Call::Remove,
        &everything_old(),
        &[],
        2,
        allowance(3, 30),
    )
    .await;
    assert_eq!((removal.files, removal.bytes, removal.exhausted), (3, 30, false));
    assert_eq!(world.files(), names(&[]));
}

async fn a_unit_that_does_not_fit_the_allowance_stays_whole(world: World) {
    world.put_all(&["unit/a", "unit/b", "unit/c"], old());
    let directory = world.open();
    for allowance in [
        Allowance {
            files: 2,
            bytes: 1_000,
        },
        Allowance { files: 10, bytes: 29 },
    ] {
        for max in [1, 100] {
            let removal = drive(&directory, Call::Remove, &units(), &[], max, allowance).await;
            assert_eq!(
                (removal.files, removal.directories, removal.exhausted),
                (0, 0, true)
            );
        }
    }
    assert_eq!(world.files().len(), 3);
    let removal = drive(
        &directory,
        Call::Remove,
        &units(),
        &[],
        1,
        Allowance { files: 3, bytes: 30 },
    )
    .await;
    assert_eq!(
        (removal.files, removal.directories, removal.exhausted),
        (3, 1, false)
    );
}

async fn small_batches_visit_everything_exactly_once(world: World) {
    let paths: Vec<String> = (0..60).map(|n| format!("{}/{}/{n}", n % 3, n % 4)).collect();
    for path in &paths {
        world.put(path, 1, old());
    }
    world.put("top", 1, old());
    let directory = world.open();
    for max in [1, 2, 7, 1_000] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = directory
                .entries(&everything_old(), &[], cursor.as_deref(), max)
                .await
                .expect("a page");
            assert!(page.entries.len() <= max as usize);
            seen.extend(
                page.entries
                    .into_iter()
                    .map(|entry| String::from_utf8(entry.path).expect("plain")),
            );
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 61, "{max} a page");
        let seen: std::collections::BTreeSet<_> = seen.into_iter().collect();
        assert_eq!(seen, world.files(), "{max} a page");
    }
    let removal = drive(&directory, Call::Remove, &everything_old(), &[], 4, PLENTY).await;
    assert_eq!((removal.files, removal.bytes), (61, 61));
    assert_eq!(world.files(), names(&[]));
    let again = drive(&directory, Call::Remove, &everything_old(), &[], 4, PLENTY).await;
    assert_eq!(again, Removal::default());
}

async fn a_preview_changes_nothing_and_says_what_the_apply_does(world: World) {
    world.put_all(&["a", "b", "sub/c", "sub/deep/d", "other/e"], old());
    world.put_all(&["f", "other/g"], young());
    let filter = FileFilter {
        remove_emptied: true,
        ..everything_old()
    };
    let before = (world.identities(), world.directories());
    let preview = drive(&world.open(), Call::Preview, &filter, &[], 2, PLENTY).await;
    let summary = world.open().summarize(&filter, &[]).await.expect("a summary");
    let names_left: Vec<Vec<u8>> = vec![b"sub/c".to_vec(), b"a".to_vec()];
    let named = world
        .open()
        .preview_remove(&names_left, &filter, &[], PLENTY)
        .await
        .expect("a preview");
    assert_eq!((named.files, named.directories), (2, 0));
    assert_eq!((world.identities(), world.directories()), before);
    let removal = drive(&world.open(), Call::Remove, &filter, &[], 2, PLENTY).await;
    assert_eq!(removal, preview);
    assert_eq!(
        (summary.files, summary.bytes, summary.directories),
        (removal.files, removal.bytes, removal.directories)
    );
    assert_eq!((removal.files, removal.directories, removal.skipped), (5, 2, 0));
}

async fn what_others_took_is_hidden(world: World) {
    world.put_all(&["a.tmp", "b", "sub/c.tmp", "unit/d.tmp"], old());
    world.put_all(&["e", "sub/f.tmp"], young());
    let tmp = FileFilter {
        include: globs(&["**/*.tmp"]),
        ..everything_old()
    };
    let all = FileFilter {
        older_than: None,
        ..everything_old()
    };
    let directory = world.open();
    let summary = directory
        .summarize(&all, std::slice::from_ref(&tmp))
        .await
        .expect("a summary");
    assert_eq!((summary.files, summary.total), (3, 3));
    let page = directory
        .entries(&all, std::slice::from_ref(&tmp), None, 100)
        .await
        .expect("a page");
    let paths: std::collections::BTreeSet<_> = page
        .entries
        .into_iter()
        .map(|entry| String::from_utf8(entry.path).expect("plain"))
        .collect();
    assert_eq!(paths, names(&["b", "e", "sub/f.tmp"]));
    let removal = drive(
        &directory,
        Call::Preview,
        &all,
        std::slice::from_ref(&tmp),
        1,
        PLENTY,
    )
    .await;
    assert_eq!(removal.files, 3);
    let span = Span {
        start: old(),
        end: young(),
        buckets: 2,
    };
    let buckets = directory
        .age_histogram(&all, std::slice::from_ref(&tmp), span)
        .await
        .expect("a histogram");
    assert_eq!(
        buckets.iter().map(|bucket| bucket.files).collect::<Vec<_>>(),
        [1, 2]
    );
    let paths = [b"a.tmp".to_vec(), b"b".to_vec()];
    let named = directory
        .preview_remove(&paths, &all, std::slice::from_ref(&tmp), PLENTY)
        .await
        .expect("a preview");
    assert_eq!((named.files, named.skipped), (1, 1));
}

async fn a_histogram_adds_up_to_the_summary(world: World) {
    for day in 1..=28 {
        world.put(
            &format!("{}/{day}", day % 3),
            day,
            at(&format!("2021-02-{day:02}T12:00:00Z")),
        );
    }
    world.put("other", 1_000, at("2021-02-10T12:00:00Z"));
    let filter = FileFilter {
        include: globs(&["*/*"]),
        ..everything_old()
    };
    let span = |start, end, buckets| Span {
        start: at(start),
        end: at(end),
        buckets,
    };
    let directory = world.open();
    let summary = directory.summarize(&filter, &[]).await.expect("a summary");
    assert_eq!(
        (summary.files, summary.bytes, summary.total),
        (28, 28 * 29 / 2, 29)
    );
    assert_eq!(summary.oldest, Some(at("2021-02-01T12:00:00Z")));
    assert_eq!(summary.newest, Some(at("2021-02-28T12:00:00Z")));
    for buckets in [1, 2, 27, 4_096] {
        let span = span("2021-02-08T12:00:00Z", "2021-02-15T12:00:00Z", buckets);
        let found = directory
            .age_histogram(&filter, &[], span)
            .await
            .expect("a histogram");
        assert_eq!(found.len(), buckets as usize);
        assert_eq!(
            found.iter().map(|bucket| bucket.files).sum::<u64>(),
            summary.files
        );
        assert_eq!(
            found.iter().map(|bucket| bucket.bytes).sum::<u64>(),
            summary.bytes
        );
    }
    let week = span("2021-02-08T12:00:00Z", "2021-02-15T12:00:00Z", 7);
    let found = directory
        .age_histogram(&filter, &[], week)
        .await
        .expect("a histogram");
    // The first has the 1st to the 8th, the last the 14th to the 28th; a file at a start is in what starts there.
    assert_eq!(
        found.iter().map(|bucket| bucket.files).collect::<Vec<_>>(),
        [8, 1, 1, 1, 1, 1, 15]
    );
    assert_eq!(found[3].from, at("2021-02-11T12:00:00Z"));
    for bad in [
        span("2021-02-08T12:00:00Z", "2021-02-15T12:00:00Z", 0),
        span("2021-02-08T12:00:00Z", "2021-02-15T12:00:00Z", 4_097),
        span("2021-02-08T12:00:00Z", "2021-02-08T12:00:00Z", 1),
    ] {
        let refused = directory.age_histogram(&filter, &[], bad).await;
        assert!(matches!(refused, Err(FilesError::Invalid(_))), "{refused:?}");
    }
}

async fn a_foreign_cursor_is_refused(world: World) {
    world.put_all(&["a", "b"], old());
    let directory = world.open();
    let batch = directory
        .remove_batch(&everything_old(), None, 1, PLENTY)
        .await
        .expect("a batch");
    let cursor = batch.cursor.expect("one file is left");
    let other = FileFilter {
        remove_emptied: true,
        ..everything_old()
    };
    for foreign in [
        "",
        "0",
        "r",
        "../../etc/passwd",
        "r.0.0.0",
        &cursor[1..],
        &format!("{cursor} "),
    ] {
        let refused = directory
            .remove_batch(&everything_old(), Some(foreign), 1, PLENTY)
            .await;
        assert!(
            matches!(refused, Err(FilesError::Invalid(_))),
            "{foreign}: {refused:?}"
        );
    }
    let refused = directory.remove_batch(&other, Some(&cursor), 1, PLENTY).await;
    assert!(
        matches!(refused, Err(FilesError::Invalid(_))),
        "another filter: {refused:?}"
    );
    let refused = directory.entries(&everything_old(), &[], Some(&cursor), 1).await;
    assert!(
        matches!(refused, Err(FilesError::Invalid(_))),
        "another operation: {refused:?}"
    );
    let refused = directory
        .remove_batch(&everything_old(), Some(&cursor), 0, PLENTY)
        .await;
    assert!(
        matches!(refused, Err(FilesError::Invalid(_))),
        "no entries: {refused:?}"
    );
    assert_eq!(world.files().len(), 1);
    let batch = directory
        .remove_batch(&everything_old(), Some(&cursor), 10, PLENTY)
        .await
        .expect("a batch");
    assert_eq!((batch.files, batch.cursor), (1, None));
}

async fn an_unknown_cursor_starts_again(world: World) {
    world.put_all(&["a", "b", "c", "d"], old());
    world.put_all(&["e"], young());
    let batch = world
        .open()
        .remove_batch(&everything_old(), None, 2, PLENTY)
        .await
        .expect("a batch");
    let cursor = batch.cursor.expect("there is more");
    // As after a crash: another process, which knows nothing of the walk.
    let directory = world.open();
    let batch2 = directory
        .remove_batch(&everything_old(), Some(&cursor), 100, PLENTY)
        .await
        .expect("a batch");
    assert_eq!((batch.files + batch2.files, batch2.cursor), (4, None));
    assert_eq!(world.files(), names(&["e"]));
    // More walks than are kept: the oldest starts again, and nothing is lost.
    world.put_all(&["a", "b", "c", "d"], old());
    let mut cursors = Vec::new();
    for _ in 0..=sereno_adapters::files::OPEN_WALKS_MAX {
        let page = directory
            .entries(&everything_old(), &[], None, 1)
            .await
            .expect("a page");
        cursors.push(page.cursor.expect("there is more"));
    }
    let page = directory
        .entries(&everything_old(), &[], Some(&cursors[0]), 100)
        .await
        .expect("a page");
    assert_eq!((page.entries.len(), page.cursor), (4, None));
    let page = directory
        .entries(&everything_old(), &[], Some(&cursors[1]), 100)
        .await
        .expect("a page");
    assert!(page.entries.len() <= 4 && page.cursor.is_none());
}

async fn named_files_go_only_while_they_match(world: World) {
    world.put_all(&["a", "sub/b", "kept.keep", "not-asked"], old());
    world.put_all(&["young"], young());
    let filter = FileFilter {
        exclude: globs(&["*.keep"]),
        ..everything_old()
    };
    let paths: Vec<Vec<u8>> = [
        "a",
        "sub/b",
        "a",
        "missing",
        "sub/missing",
        "no/such",
        "young",
        "kept.keep",
        "sub",
    ]
    .map(|path| path.as_bytes().to_vec())
    .to_vec();
    let preview = world
        .open()
        .preview_remove(&paths, &filter, &[], PLENTY)
        .await
        .expect("a preview");
    let removal = world
        .open()
        .remove(&paths, &filter, PLENTY)
        .await
        .expect("a removal");
    assert_eq!(
        removal,
        Removal {
            files: 2,
            bytes: 20,
            skipped: 7,
            ..Removal::default()
        }
    );
    assert_eq!(preview, removal);
    assert_eq!(world.files(), names(&["kept.keep", "not-asked", "young"]));
    assert_eq!(world.directories(), names(&["sub"]));

    world.put_all(&["a", "b", "c"], old());
    let paths = ["a", "b", "c"].map(|path| path.as_bytes().to_vec());
    for allowance in [
        Allowance { files: 1, bytes: 100 },
        Allowance { files: 9, bytes: 19 },
    ] {
        let preview = world
            .open()
            .preview_remove(&paths, &filter, &[], allowance)
            .await
            .expect("a preview");
        assert_eq!((preview.files, preview.bytes, preview.exhausted), (1, 10, true));
    }
    let removal = world
        .open()
        .remove(&paths, &filter, Allowance { files: 2, bytes: 100 })
        .await
        .expect("a removal");
    assert_eq!((removal.files, removal.exhausted), (2, true));
    assert_eq!(world.files(), names(&["c", "kept.keep", "not-asked", "young"]));
}

async fn named_files_take_their_directories_along(world: World) {
    world.put_all(&["one/a", "chain/of/b", "two/c", "two/d", "pinned/e"], old());
    let filter = FileFilter {
        remove_emptied: true,
        exclude: globs(&["pinned"]),
        ..everything_old()
    };
    let paths = ["one/a", "chain/of/b", "two/c", "pinned/e"].map(|path| path.as_bytes().to_vec());
    let preview = world
        .open()
        .preview_remove(&paths, &filter, &[], PLENTY)
        .await
        .expect("a preview");
    let removal = world
        .open()
        .remove(&paths, &filter, PLENTY)
        .await
        .expect("a removal");
    assert_eq!(
        removal,
        Removal {
            files: 3,
            bytes: 30,
            directories: 3,
            skipped: 1,
            ..Removal::default()
        }
    );
    assert_eq!(preview, removal);
    assert_eq!(world.directories(), names(&["pinned", "two"]));
    assert_eq!(world.files(), names(&["pinned/e", "two/d"]));
}

async fn a_path_that_leads_elsewhere_is_refused(world: World) {
    world.put_all(&["a", "sub/b"], old());
    for bad in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../a",
        "sub/../a",
        "sub//b",
        "./a",
        "a/",
        "sub/.",
        "a\0b",
    ] {
        let paths = [b"a".to_vec(), bad.as_bytes().to_vec()];
        let refused = world.open().remove(&paths, &everything_old(), PLENTY).await;
        assert!(
            matches!(refused, Err(FilesError::Invalid(_))),
            "{bad}: {refused:?}"
        );
        let refused = world
            .open()
            .preview_remove(&paths, &everything_old(), &[], PLENTY)
            .await;
        assert!(
            matches!(refused, Err(FilesError::Invalid(_))),
            "{bad}: {refused:?}"
        );
    }
    let refused = world.open().remove(&[b"sub/b".to_vec()], &units(), PLENTY).await;
    assert!(
        matches!(refused, Err(FilesError::Invalid(_))),
        "in a unit: {refused:?}"
    );
    assert_eq!(world.files(), names(&["a", "sub/b"]));
}

async fn a_bad_glob_is_refused(world: World) {
    world.put_all(&["a"], old());
    for bad in ["[", "a{b", "\\"] {
        for filter in [
            FileFilter {
                include: globs(&["a", bad]),
                ..everything_old()
            },
            FileFilter {
                exclude: globs(&[bad]),
                ..everything_old()
            },
        ] {
            let refused = world.open().remove_batch(&filter, None, 10, PLENTY).await;
            assert!(
                matches!(&refused, Err(FilesError::Invalid(text)) if text.contains(bad.escape_debug().to_string().as_str())),
                "{refused:?}"
            );
        }
    }
    assert_eq!(world.files(), names(&["a"]));
}

async fn counts_files_by_name_up_to_a_limit(world: World) {
    world.put_all(&["a", "b", "c", "sub/d", "sub/deep/e"], young());
    let directory = world.open();
    for (recursive, limit, files) in [
        (true, 100, 5),
        (true, 5, 5),
        (true, 4, 5),
        (true, 0, 1),
        (true, u64::MAX, 5),
        (false, 100, 3),
        (false, 2, 3),
    ] {
        let found = directory.files_up_to(recursive, limit).await.expect("a count");
        assert_eq!(found, files, "recursive {recursive}, limit {limit}");
    }
}

async fn a_directory_with_a_databases_data_is_not_entered(world: World) {
    world.put_all(
        &[
            "a",
            "pgdata/PG_VERSION",
            "pgdata/base/1/2",
            "sub/pgdata/PG_VERSION",
            "sub/b",
        ],
        old(),
    );
    let filter = FileFilter {
        remove_emptied: true,
        ..everything_old()
    };
    let preview = drive(&world.open(), Call::Preview, &filter, &[], 100, PLENTY).await;
    let removal = drive(&world.open(), Call::Remove, &filter, &[], 100, PLENTY).await;
    assert_eq!(
        removal,
        Removal {
            files: 2,
            bytes: 20,
            skipped: 2,
            ..Removal::default()
        }
    );
    assert_eq!(preview, removal);
    let kept = names(&["pgdata/PG_VERSION", "pgdata/base/1/2", "sub/pgdata/PG_VERSION"]);
    assert_eq!(world.files(), kept);
    let removal = drive(&world.open(), Call::Remove, &units(), &[], 100, PLENTY).await;
    assert_eq!((removal.files, removal.directories), (0, 0));
    let named = [b"pgdata/base/1/2".to_vec()];
    let removal = world
        .open()
        .remove(&named, &everything_old(), PLENTY)
        .await
        .expect("a removal");
    assert_eq!((removal.files, removal.skipped), (0, 1));
    assert_eq!(world.files(), kept);
}

async fn usage_is_answered(world: World) {
    if let World::Memory(memory) = &world {
        assert_eq!(world.open().usage().await.expect("usage"), DiskUsage::default());
        let usage = DiskUsage {
            bytes_total: Some(100),
            bytes_free: Some(40),
            ..DiskUsage::default()
        };
        memory.set_usage(usage);
        assert_eq!(world.open().usage().await.expect("usage"), usage);
    } else {
        let usage = world.open().usage().await.expect("usage");
        let (total, free) = (
            usage.bytes_total.expect("a size"),
            usage.bytes_free.expect("space"),
        );
        assert!(total >= free && free > 0, "{usage:?}");
        assert!(usage.inodes_total >= usage.inodes_free, "{usage:?}");
    }
}
