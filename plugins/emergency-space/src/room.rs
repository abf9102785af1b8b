//! How full a file system is, and how much too much that is for the target.
//!
//! It asks nobody, and frees nothing.

use sereno_plugin::{DiskUsage, text};

use crate::Params;

/// What has to go until the target is reached; both 0 when it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) bytes: u64,
    /// Files, where it is the inodes that are used up.
    pub(crate) files: u64,
}

impl Excess {
    pub(crate) const fn is_none(self) -> bool {
        self.bytes == 0 && self.files == 0
    }

    /// By how much `usage` is above the target; none where the system tells nothing of it.
    pub(crate) fn of(usage: &DiskUsage, params: &Params) -> Option<Self> {
        let (total, free) = usage.bytes_total.zip(usage.bytes_free)?;
        let for_share = missing(total, free, params.used_under);
        let for_size = params.free_at_least.unwrap_or(0).saturating_sub(free);
        let inodes = usage
            .inodes_total
            .zip(usage.inodes_free)
            .filter(|(total, _)| *total > 0);
        Some(Self {
            bytes: for_share.max(for_size),
            files: inodes.map_or(0, |(total, free)| missing(total, free, params.inodes_used_under)),
        })
    }
}

/// How much more of `total` must be free so that less than `under` percent of it is used.
fn missing(total: u64, free: u64, under: f64) -> u64 {
    if used(total, free).is_none_or(|used| used < under) {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a total that is at most 100 %"
    )]
    let may_be_used = (total as f64 * under / 100.0).ceil() as u64;
    // At exactly that share it is not below it yet.
    let must_be_free = total.saturating_sub(may_be_used.saturating_sub(1)).min(total);
    must_be_free.saturating_sub(free).max(1)
}

fn used(total: u64, free: u64) -> Option<f64> {
    (total > 0).then(|| total.saturating_sub(free) as f64 * 100.0 / total as f64)
}

/// The share of the bytes that is used, in percent.
pub(crate) fn used_percent(usage: &DiskUsage) -> Option<f64> {
    let (total, free) = usage.bytes_total.zip(usage.bytes_free)?;
    used(total, free)
}

/// `97 % used, 1.9 MiB free`, and the inodes where they are above their target.
pub(crate) fn words(usage: &DiskUsage, excess: Excess) -> String {
    let bytes = usage.bytes_total.zip(usage.bytes_free).and_then(|(total, free)| {
        Some(format!(
            "{:.0} % used, {} free",
            used(total, free)?,
            text::bytes(free)
        ))
    });
    let inodes = usage
        .inodes_total
        .zip(usage.inodes_free)
        .filter(|_| excess.files > 0)
        .and_then(|(total, free)| Some(format!("{:.0} % of the inodes used", used(total, free)?)));
    let all: Vec<String> = bytes.into_iter().chain(inodes).collect();
    all.join(", ")
}

/// `less than 80 % used and 2 GiB free`.
pub(crate) fn target(params: &Params) -> String {
    let share = format!("less than {} % used", params.used_under);
    params.free_at_least.map_or(share.clone(), |free| {
        format!("{share} and {} free", text::bytes(free))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn params() -> Params {
        Params {
            database: None,
            free_at_least: None,
            inodes_used_under: 90.0,
            steps: Vec::new(),
            used_under: 80.0,
        }
    }

    fn usage(total: u64, free: u64) -> DiskUsage {
        DiskUsage {
            bytes_total: Some(total),
            bytes_free: Some(free),
            ..DiskUsage::default()
        }
    }

    #[test]
    fn what_goes_brings_it_just_below_the_target() {
        let bytes = |free, params: &Params| Excess::of(&usage(1_000, free), params).expect("told").bytes;
        assert_eq!(bytes(0, &params()), 201, "at 80 % it is not below 80 %");
        assert_eq!(bytes(200, &params()), 1);
        assert_eq!(bytes(201, &params()), 0);
        for free in 0..=1_000 {
            let excess = bytes(free, &params());
            let after = Excess::of(&usage(1_000, free + excess), &params());
            assert_eq!(after, Some(Excess::default()), "{free} and {excess}");
            assert!(excess == 0 || bytes(free + excess - 1, &params()) == 1);
        }
        let both = Params {
            free_at_least: Some(500),
            ..params()
        };
        assert_eq!(bytes(201, &both), 299);
        let never = Params {
            used_under: 0.0,
            ..params()
        };
        assert_eq!(bytes(0, &never), 1_000, "no more than there is");
        assert!(bytes(1_000, &never) > 0, "nothing is less than nothing");
    }

    #[test]
    fn inodes_count_where_there_is_a_number_of_them_and_an_untold_size_is_none() {
        let of = |inodes_total| DiskUsage {
            inodes_total: Some(inodes_total),
            inodes_free: Some(0),
            ..usage(1_000, 900)
        };
        let files = |total| Excess::of(&of(total), &params()).expect("told").files;
        assert_eq!((files(100), files(0)), (11, 0));
        let excess = Excess { bytes: 0, files: 11 };
        assert_eq!(
            words(&of(100), excess),
            "10 % used, 900 B free, 100 % of the inodes used"
        );
        assert_eq!(Excess::of(&DiskUsage::default(), &params()), None);
        assert_eq!(Excess::of(&usage(0, 0), &params()), Some(Excess::default()));
    }

    #[test]
    fn the_target_is_told() {
        assert_eq!(target(&params()), "less than 80 % used");
        let both = Params {
            free_at_least: Some(2 << 30),
            ..params()
        };
        assert_eq!(target(&both), "less than 80 % used and 2.0 GiB free");
    }
}
