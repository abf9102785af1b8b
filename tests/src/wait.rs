//! Waits for something that happens in another process or thread, up to a limit.
//!
//! The only place of the tests that sleeps: a test never sleeps and hopes, it names what it waits for.

use std::time::{Duration, Instant};

/// How long to rest between two looks: short beside any limit, long beside what a look costs.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `condition` holds; `false` when it never did within `limit`.
pub fn wait_for(mut condition: impl FnMut() -> bool, limit: Duration) -> bool {
    let started = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
