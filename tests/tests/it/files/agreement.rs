//! Random trees and filters: every world ends in the same files, and every preview says what its apply does.
//!
//! Each round prints its seed when it fails.

use std::collections::BTreeSet;

use sereno_core::ports::files::{Entry, Removal};
use sereno_core::value::FileFilter;

use super::world::{Call, PLENTY, World, drive, everything_old, old, young};

/// Trees to try: each takes milliseconds.
const ROUNDS: u64 = 150;

/// A small generator, so that a round is its seed and nothing else (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("less than a usize")
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn path(&mut self, depth: usize) -> String {
        let parts: Vec<_> = (0..depth).map(|_| ["a", "b", "c.tmp"][self.roll(3)]).collect();
        parts.join("/")
    }

    fn globs(&mut self) -> Vec<String> {
        let some = ["**/*.tmp", "a", "a/**", "*", "**/b", "b/*", "**/f?", "**/d*"];
        (0..self.roll(3))
            .map(|_| some[self.roll(some.len())].to_owned())
            .collect()
    }

    fn filter(&mut self) -> FileFilter {
        FileFilter {
            older_than: if self.one_in(5) {
                None
            } else {
                everything_old().older_than
            },
            include: if self.one_in(2) { self.globs() } else { Vec::new() },
            exclude: if self.one_in(3) { self.globs() } else { Vec::new() },
            recursive: !self.one_in(6),
            directory_as_unit: self.one_in(3),
            remove_emptied: self.one_in(2),
            ..everything_old()
        }
    }

    fn grow(&mut self, worlds: &[World]) {
        let mut directories = BTreeSet::new();
        for number in 0..self.roll(30) {
            let depth = self.roll(4);
            let above = self.path(depth);
            let suffix = [".tmp", "", "d"][self.roll(3)];
            let path = if above.is_empty() {
                format!("f{number}{suffix}")
            } else {
                format!("{above}/f{number}{suffix}")
            };
            let mtime = if self.one_in(4) { young() } else { old() };
            for world in worlds {
                world.put(&path, number + 1, mtime);
            }
        }
        for _ in 0..self.roll(6) {
            let depth = 1 + self.roll(3);
            let path = self.path(depth);
            for world in worlds {
                world.directory(&path, old());
            }
        }
        for world in &worlds[..1] {
            directories.extend(world.directories());
        }
        // Deepest first, because making an entry changes its directory.
        for path in directories.iter().rev() {
            let stamp = if self.one_in(3) { young() } else { old() };
            for world in worlds {
                world.directory(path, stamp);
            }
        }
    }
}

fn paths(entries: Vec<Entry>) -> BTreeSet<Vec<u8>> {
    entries.into_iter().map(|entry| entry.path).collect()
}

fn counts(removal: &Removal) -> (u64, u64, u64, u64) {
    (removal.files, removal.directories, removal.bytes, removal.skipped)
}

#[tokio::test]
async fn previews_and_worlds_agree_on_random_trees() {
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed);
        let worlds = [World::memory(), World::shared_memory()];
        dice.grow(&worlds);
        let (first, second) = (dice.filter(), dice.filter());
        let max = [1, 3, 1_000][dice.roll(3)];
        let clue = format!(
            "seed {seed}: {first:?} then {second:?}, {max} a batch, of {:?}",
            worlds[0].files()
        );
        let mut ends = Vec::new();
        for world in &worlds {
            let untouched = (world.identities(), world.directories());
            let directory = world.open();
            let plan_1 = drive(&directory, Call::Preview, &first, &[], max, PLENTY).await;
            let plan_2 = drive(
                &directory,
                Call::Preview,
                &second,
                std::slice::from_ref(&first),
                max,
                PLENTY,
            )
            .await;
            let summary = directory
                .summarize(&second, std::slice::from_ref(&first))
                .await
                .expect("a summary");
            let page = directory
                .entries(&second, std::slice::from_ref(&first), None, 1_000)
                .await
                .expect("a page");
            assert_eq!((world.identities(), world.directories()), untouched, "{clue}");

            let done_1 = drive(&directory, Call::Remove, &first, &[], max, PLENTY).await;
            assert_eq!(counts(&done_1), counts(&plan_1), "the first removal, {clue}");
            let left = world.files();
            let found = directory.summarize(&second, &[]).await.expect("a summary");
            assert_eq!(
                (found.files, found.bytes, found.directories),
                (summary.files, summary.bytes, summary.directories),
                "{clue}"
            );
            let shown = directory
                .entries(&second, &[], None, 1_000)
                .await
                .expect("a page");
            assert_eq!(paths(shown.entries), paths(page.entries.clone()), "{clue}");

            let done_2 = drive(&directory, Call::Remove, &second, &[], max, PLENTY).await;
            assert_eq!(counts(&done_2), counts(&plan_2), "the second removal, {clue}");
            assert_eq!((done_2.files, done_2.skipped), (summary.files, 0), "{clue}");
            let gone: BTreeSet<Vec<u8>> = left
                .difference(&world.files())
                .map(|path| path.as_bytes().to_vec())
                .collect();
            assert_eq!(gone, paths(page.entries), "{clue}");
            let again = drive(&directory, Call::Remove, &second, &[], max, PLENTY).await;
            assert_eq!(again.files, 0, "{clue}");
            ends.push((
                world.files(),
                world.directories(),
                counts(&done_1),
                counts(&done_2),
            ));
        }
        assert_eq!(ends[0], ends[1], "{clue}");
    }
}
