//! The HTTP API of a process that stays: requests become runs and answers. It keeps no clock.
//!
//! `server` bounds connections, `auth` says who may do what, `body` what may be sent; `look`, `work` and `operate` are what can be asked,
//! `api` the table of it. Loopback by default: what leaves this machine needs a token, and a proxy with TLS.

mod api;
mod auth;
mod body;
mod look;
mod operate;
mod probes;
mod problem;
mod server;
mod work;

use std::sync::Arc;

use crate::serve::Host;

pub use api::openapi;
pub use server::Listener;

/// Answers requests about `host` for as long as it is polled.
pub async fn answer(host: &Arc<Host>, listener: Listener) {
    server::accept(listener, api::router(host)).await;
}
