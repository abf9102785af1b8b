//! Tells systemd how the service is, where systemd asks (`Type=notify`, `WatchdogSec`). Nobody else hears anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told how the service is");
    }
}

/// It is up.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // Asked for by systemd since 253.
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// It is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the loop is alive, often enough for systemd's patience.
pub(super) struct Watchdog {
    every: Option<Duration>,
    started: Instant,
    /// Milliseconds since the start; the first time is at once.
    next: AtomicU64,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self {
            // Twice in the time after which it would be killed.
            every: sd_notify::watchdog_enabled().map(|patience| patience / 2),
            started: Instant::now(),
            next: AtomicU64::new(0),
        }
    }

    pub(super) fn calm(&self) {
        let Some(every) = self.every else {
            return;
        };
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now >= self.next.load(Ordering::Relaxed) {
            tell(&[NotifyState::Watchdog]);
            let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            self.next.store(now.saturating_add(every), Ordering::Relaxed);
        }
    }
}
