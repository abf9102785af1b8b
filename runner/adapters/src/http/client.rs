//! The client: no proxy, no redirect, no cookies, nothing unpacked, and addresses that are looked at before anything
//! connects to them.
//!
//! A name is resolved once for a connection, and the connection goes to what was found then: an answer that changes
//! between the check and the use (DNS rebinding) has nothing to change. A pooled connection stays where it was.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use sereno_core::web::{NotPublic, refuse};

/// A server that does not even take a connection is not there.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Long enough for a batch of requests, too short to keep what a name was resolved to.
const IDLE_TIME: Duration = Duration::from_secs(15);

/// A name that leads to where nobody may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRefused {
    address: IpAddr,
    why: NotPublic,
}

impl fmt::Display for AddressRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its name leads to {}, {}", self.address, self.why)
    }
}

impl Error for AddressRefused {}

/// Resolves with the system's resolver, and refuses a name of which any address is not of the public internet.
struct Guarded;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            check(&found)?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// All of them: who may choose among a good one and a bad one is not the one who checks.
fn check(found: &[SocketAddr]) -> Result<(), AddressRefused> {
    found
        .iter()
        .map(SocketAddr::ip)
        .find_map(|address| refuse(address).map(|why| AddressRefused { address, why }))
        .map_or(Ok(()), Err)
}

/// A client for one origin. `allow_private`: its name may lead anywhere. An address that stands in a URL itself is
/// resolved by nobody: whoever reads the URL looks at it.
///
/// # Errors
/// There are no certificates to trust.
pub fn client(allow_private: bool) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("sereno/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIME)
        .pool_idle_timeout(IDLE_TIME)
        .retry(reqwest::retry::never());
    if allow_private {
        builder.build()
    } else {
        builder.https_only(true).dns_resolver(Arc::new(Guarded)).build()
    }
}

/// The innermost reason of a failed request, which is what a person can act on. The outer ones repeat the URL.
pub fn reason_of(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The refusal of an address, somewhere below `error`.
pub(super) fn refusal(error: &(dyn Error + 'static)) -> Option<AddressRefused> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref::<AddressRefused>() {
            return Some(*refused);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_address_among_good_ones_is_enough() {
        let found = |texts: &[&str]| -> Vec<SocketAddr> {
            let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
            texts.iter().map(address).collect()
        };
        assert_eq!(check(&found(&["1.1.1.1", "2606:4700:4700::1111"])), Ok(()));
        for rebound in [
            "127.0.0.1",
            "169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(check(&found(&["1.1.1.1", rebound])).is_err(), "{rebound}");
            assert!(check(&found(&[rebound, "1.1.1.1"])).is_err(), "{rebound}");
        }
    }
}
