//! What a walk counts, and how the counts of two threads become one.

use sereno_core::ports::files::{Bucket, Entry, Span, Summary};
use sereno_core::value::Instant;

use super::super::system::Time;

/// Where the buckets of a histogram start.
#[derive(Debug)]
pub(in super::super) struct Buckets(Vec<Time>);

impl Buckets {
    /// Equal parts of a span, to the microsecond.
    pub(in super::super) fn new(span: Span) -> Self {
        let whole = i128::from((span.end - span.start).num_microseconds().unwrap_or(i64::MAX));
        let starts = (0..span.buckets).map(|place| {
            let offset = whole * i128::from(place) / i128::from(span.buckets);
            let offset = i64::try_from(offset).expect("a part of what fitted");
            Time::from(span.start + chrono::TimeDelta::microseconds(offset))
        });
        Self(starts.collect())
    }

    fn place(&self, at: Time) -> usize {
        self.0.partition_point(|from| *from <= at).saturating_sub(1)
    }

    pub(in super::super) fn fill(&self, tally: &Tally) -> Vec<Bucket> {
        let counts = tally.buckets.iter().copied().chain(std::iter::repeat((0, 0)));
        self.0
            .iter()
            .zip(counts)
            .map(|(from, (files, bytes))| Bucket {
                from: from.instant(),
                files,
                bytes,
            })
            .collect()
    }
}

/// Counts of one batch.
#[derive(Debug, Default)]
pub(in super::super) struct Tally {
    /// Matched.
    pub(in super::super) files: u64,
    pub(in super::super) bytes: u64,
    pub(in super::super) directories: u64,
    pub(in super::super) skipped: u64,
    pub(in super::super) total: u64,
    pub(in super::super) exhausted: bool,
    pub(in super::super) entries: Vec<Entry>,
    oldest: Option<Time>,
    newest: Option<Time>,
    buckets: Vec<(u64, u64)>,
}

impl Tally {
    pub(super) fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    pub(super) fn show(&mut self, stamp: Time) {
        self.oldest = Some(self.oldest.map_or(stamp, |oldest| oldest.min(stamp)));
        self.newest = Some(self.newest.map_or(stamp, |newest| newest.max(stamp)));
    }

    pub(super) fn sort(&mut self, buckets: &Buckets, stamp: Time, bytes: u64) {
        self.buckets.resize(buckets.0.len(), (0, 0));
        let bucket = &mut self.buckets[buckets.place(stamp)];
        bucket.0 += 1;
        bucket.1 += bytes;
    }

    pub(super) fn did_nothing(&self) -> bool {
        self.files == 0 && self.directories == 0 && self.skipped == 0 && self.entries.is_empty()
    }

    pub(in super::super) fn summary(&self) -> Summary {
        let instant = |time: Time| -> Instant { time.instant() };
        Summary {
            files: self.files,
            bytes: self.bytes,
            directories: self.directories,
            total: self.total,
            oldest: self.oldest.map(instant),
            newest: self.newest.map(instant),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.directories += other.directories;
        self.skipped += other.skipped;
        self.total += other.total;
        self.exhausted |= other.exhausted;
        self.entries.extend(other.entries);
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.newest = self.newest.into_iter().chain(other.newest).max();
        if self.buckets.is_empty() {
            self.buckets = other.buckets;
        } else {
            for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
                mine.0 += theirs.0;
                mine.1 += theirs.1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_falls_into_the_bucket_that_starts_at_it_or_last_before_it() {
        let at = |second: i64| Time(second, 0).instant();
        let buckets = Buckets::new(Span {
            start: at(0),
            end: at(10),
            buckets: 3,
        });
        // Starts: 0, 3.333333 and 6.666666.
        let places = [
            (Time(-5, 0), 0),
            (Time(3, 333_332_999), 0),
            (Time(3, 333_333_000), 1),
            (Time(6, 666_665_999), 1),
            (Time(6, 666_666_000), 2),
            (Time(99, 0), 2),
        ];
        for (stamp, place) in places {
            assert_eq!(buckets.place(stamp), place, "{stamp:?}");
        }
    }
}
