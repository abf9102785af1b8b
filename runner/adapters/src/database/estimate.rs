//! Whether work that cannot be done in parts will be over in its time, by the bytes that it goes through.
//!
//! It only keeps work from starting that would be cut off; the limit itself is the statement's.

use std::time::Duration;

use sereno_core::units::show_duration;

/// What VACUUM gets through at the pace of autovacuum (200 points every 2 ms) when it has to read and to write every page
/// (22 points for 8 KiB): 35 MiB/s. A rebuild is not slowed down, and a modest disk manages as much.
const BYTES_PER_SECOND: u64 = 32 << 20;

/// Why work on `bytes` is not begun; none: it fits into `limit`.
pub(super) fn beyond(bytes: u64, limit: Duration) -> Option<String> {
    let takes = Duration::from_millis(bytes.saturating_mul(1_000) / BYTES_PER_SECOND);
    (takes > limit).then(|| {
        format!(
            "skipped: it would not fit into the time left: about {} of work, and {} for it",
            show_duration(takes),
            show_duration(limit)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_begun_only_when_it_fits() {
        let minute = Duration::from_secs(60);
        assert_eq!(beyond(60 * BYTES_PER_SECOND, minute), None);
        assert_eq!(
            beyond(90 * BYTES_PER_SECOND, minute).as_deref(),
            Some("skipped: it would not fit into the time left: about 1 min 30 s of work, and 1 min for it")
        );
        assert!(beyond(u64::MAX, minute).is_some());
        assert_eq!(beyond(0, Duration::ZERO), None);
    }
}
