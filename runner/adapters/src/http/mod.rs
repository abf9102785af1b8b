//! Requests to origins of the web: the one place that makes HTTP clients.
//!
//! What may be asked is decided before: `core::web` holds origins, paths, headers and addresses, the capability counts.
//! Here a request is sent, to an address that was looked at, and its answer is read up to its end or its limit.

mod client;
mod origin;

pub use client::{AddressRefused, client, reason_of};
pub use origin::{Options, open};
