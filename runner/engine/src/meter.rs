//! Time of a thread that went into the guest, and into nothing else.
//!
//! Ticks of the wall would charge a guest for what the machine did beside it, and for the time its host calls
//! waited. So every poll of the guest's future is measured by the thread's own clock, less the polls of host calls
//! inside it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Thread time in nanoseconds; only differences on one thread mean anything.
fn thread_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanoseconds
}

/// What one guest has used. Only the thread that polls it writes.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "units come last in a name")]
pub(crate) struct Meter {
    /// Of finished polls.
    total_ns: AtomicU64,
    /// Of host calls.
    host_ns: AtomicU64,
    /// The thread's clock when the present poll began.
    poll_began_ns: AtomicU64,
}

impl Meter {
    /// Inside the guest, up to the beginning of the present poll.
    pub(crate) fn used(&self) -> Duration {
        self.less_host(self.total_ns.load(Ordering::Relaxed))
    }

    /// Inside the guest, up to now. Only for the thread that is polling it.
    pub(crate) fn used_now(&self) -> Duration {
        let present = thread_ns().saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        self.less_host(self.total_ns.load(Ordering::Relaxed) + present)
    }

    fn less_host(&self, total_ns: u64) -> Duration {
        Duration::from_nanos(total_ns.saturating_sub(self.host_ns.load(Ordering::Relaxed)))
    }
}

/// A future whose polls count as the guest's, and whose panics are answers.
pub(crate) struct Metered<F> {
    meter: Arc<Meter>,
    guest: Pin<Box<F>>,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(meter: Arc<Meter>, guest: F) -> Self {
        Self {
            meter,
            guest: Box::pin(guest),
        }
    }
}

impl<F: Future> Future for Metered<F> {
    /// `Err`: the host panicked, with these words.
    type Output = Result<F::Output, String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let began = thread_ns();
        this.meter.poll_began_ns.store(began, Ordering::Relaxed);
        let polled = catch_unwind(AssertUnwindSafe(|| this.guest.as_mut().poll(context)));
        this.meter
            .total_ns
            .fetch_add(thread_ns().saturating_sub(began), Ordering::Relaxed);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

/// A host call's future, whose polls do not count as the guest's.
pub(crate) struct Unmetered<F> {
    meter: Arc<Meter>,
    call: Pin<Box<F>>,
}

impl<F: Future> Unmetered<F> {
    pub(crate) fn new(meter: Arc<Meter>, call: F) -> Self {
        Self {
            meter,
            call: Box::pin(call),
        }
    }
}

impl<F: Future> Future for Unmetered<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let began = thread_ns();
        let polled = this.call.as_mut().poll(context);
        this.meter
            .host_ns
            .fetch_add(thread_ns().saturating_sub(began), Ordering::Relaxed);
        polled
    }
}
