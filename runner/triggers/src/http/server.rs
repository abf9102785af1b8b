//! Accepts connections and bounds what each may take: how many there are, how long headers, a request and a connection last.
//!
//! What a request means is the router's. Plain HTTP/1.1: a proxy brings TLS where it crosses a network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A client that is at work sends its headers at once.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of a request's headers, and of what is read ahead.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// Many more than clients of an API there are, so that slow ones leave room; few beside what a process may have open.
const CONNECTIONS_MAX: usize = 512;

/// A connection is told to end after this: no client keeps one for ever. Longer than the longest wait for a run.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);

/// How long a request that is at work then may still take.
const LAST_REQUEST_WITHIN: Duration = Duration::from_secs(70);

/// After an error that is no connection's own (no descriptors left), before the next try.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A socket that listens.
pub struct Listener(TcpListener);

impl Listener {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The system's own: the address is taken, or is none of this machine's.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's own.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Answers requests for as long as it is polled.
pub(super) async fn accept(listener: Listener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        match listener.0.accept().await {
            // Full: whoever comes now is told so by a closed connection, and those who are here are answered.
            Ok((stream, _)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(place) => {
                    tokio::spawn(answer(stream, router.clone(), place));
                }
                Err(_) => tracing::warn!(
                    most = CONNECTIONS_MAX,
                    "a connection was closed: there are too many"
                ),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, _place: OwnedSemaphorePermit) {
    // Answers are small and whole.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = tokio::time::sleep(CONNECTION_WITHIN) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_REQUEST_WITHIN, connection).await
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
