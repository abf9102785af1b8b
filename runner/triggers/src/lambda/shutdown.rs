//! The end of a sandbox: the run at work is told, finishes its batch and gives its leases back.
//!
//! Lambda sends SIGTERM only to functions with an extension, and SIGKILL half a second later.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use sereno_core::dispatch::Stop;
use tokio::sync::watch;

/// Less than the half second that Lambda gives.
const GRACE: Duration = Duration::from_millis(450);

/// What is told, and whether anybody is at work.
pub(super) struct Shutdown {
    stop: watch::Sender<Stop>,
    at_work: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            stop: watch::channel(Stop::None).0,
            at_work: watch::channel(false).0,
        }
    }
}

impl Shutdown {
    /// For runs.
    pub(super) fn told(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// Holds the end back for as long as it lives.
    pub(super) fn working(&self) -> Working<'_> {
        self.at_work.send_replace(true);
        Working(self)
    }

    async fn end(&self) {
        self.stop.send_replace(Stop::Interrupt);
        let mut at_work = self.at_work.subscribe();
        let idle = at_work.wait_for(|at_work| !at_work);
        // What is not over by then is found by the next delivery, and closed as lost.
        let _ = tokio::time::timeout(GRACE, idle).await;
    }
}

/// See [`Shutdown::working`].
pub(super) struct Working<'a>(&'a Shutdown);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.at_work.send_replace(false);
    }
}

/// Listens for the end. Where no extension may be registered, as in some emulators, there is only the sudden one.
pub(super) async fn listen(shutdown: Arc<Shutdown>) {
    let hook = move || async move { shutdown.end().await };
    let listening = AssertUnwindSafe(lambda_runtime::spawn_graceful_shutdown_handler(hook));
    if listening.catch_unwind().await.is_err() {
        tracing::warn!("no extension could be registered: the end of the sandbox will come without a word");
    }
}
