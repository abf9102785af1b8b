//! What the process is told from outside: stop in good order, stop now, read the configuration anew.
//!
//! The first word to stop drains: nothing new is taken, what runs may end within the grace, and what is left is interrupted.
//! The second stops at once; the next host finds what was at work and closes it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::host::Host;
use super::notify;

/// What was interrupted finishes its batch and writes its end; longer than that no batch takes.
const INTERRUPTED_GRACE: Duration = Duration::from_secs(15);

/// One word from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// How the process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that was at work has ended.
    Drained,
    /// Something was left where it stood.
    AtOnce,
}

/// The signals of this process, as orders.
///
/// # Errors
/// The system gives no signals.
pub fn signals() -> io::Result<mpsc::Receiver<Order>> {
    let (send, orders) = mpsc::channel(16);
    for (kind, order) in [
        (SignalKind::terminate(), Order::Stop),
        (SignalKind::interrupt(), Order::Stop),
        (SignalKind::hangup(), Order::Reload),
    ] {
        let mut signal = signal(kind)?;
        let send = send.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                if send.send(order).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(orders)
}

/// Does as told until the process is to end.
pub async fn obey(host: &Arc<Host>, mut orders: mpsc::Receiver<Order>) -> Ended {
    notify::ready();
    while let Some(Order::Reload) = orders.recv().await {
        notify::reloading();
        // What is wrong with it was told.
        let _ = host.reload().await;
        notify::ready();
    }
    notify::stopping();
    let grace = host.services().config.serve.drain;
    host.drain();
    tracing::info!(
        at_work = host.at_work(),
        "told to stop: nothing new is taken, and what runs may end"
    );
    let clock = host.clock();
    let in_order = async {
        tokio::select! {
            () = host.idle() => return Ended::Drained,
            () = clock.sleep(grace) => {}
        }
        tracing::warn!(at_work = host.at_work(), "interrupting what is still at work");
        host.interrupt();
        tokio::select! {
            () = host.idle() => Ended::Drained,
            () = clock.sleep(INTERRUPTED_GRACE) => Ended::AtOnce,
        }
    };
    let again = async {
        loop {
            match orders.recv().await {
                Some(Order::Stop) => return Ended::AtOnce,
                Some(Order::Reload) => {}
                None => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        ended = in_order => ended,
        ended = again => ended,
    }
}
