//! An origin: scheme, host and port, written in the one way that cannot be misread.
//!
//! Parsers of URLs disagree about everything but the plainest form (`0x7f.1`, a second `@`, a backslash), and each
//! disagreement is a way past a check. So only the plainest form is an origin here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::refuse;

/// No name of the internet is longer.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Where requests go, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    is_encrypted: bool,
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    Address(IpAddr),
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct OriginError {
    /// What is wrong; never repeats the text, which may hold a secret.
    pub problem: String,
    /// What to write instead.
    pub hint: &'static str,
}

const HINT: &str =
    "write scheme, host and port alone: `https://api.osv.dev` or `https://api.example.com:8443`";
const HINT_PRIVATE: &str = "if it is meant, write `allow_private = true` beside it; its requests can then reach this machine's own services";

impl Origin {
    /// Reads an origin. `allow_private` lets it be unencrypted, and an address of this machine or of its network.
    ///
    /// # Errors
    /// It is none, or it is one that nobody may be sent to.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, OriginError> {
        let refuse_text = |problem: &str| OriginError {
            problem: problem.to_owned(),
            hint: HINT,
        };
        let (is_encrypted, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) if allow_private => (false, rest),
            (None, Some(_)) => {
                return Err(OriginError {
                    problem: "an origin is asked over https alone".to_owned(),
                    hint: "write `https://`; for a server of your own network `allow_private = true` lets it be http",
                });
            }
            (None, None) => return Err(refuse_text("an origin starts with `https://`")),
        };
        // A slash at the end is how browsers show an origin.
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(refuse_text("an origin holds no user and no password"));
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(refuse_text("an origin has no path, no query and no fragment"));
        }
        let (host, port) = split_port(authority).map_err(refuse_text)?;
        let host = Host::parse(host).map_err(refuse_text)?;
        if let Host::Address(address) = host
            && !allow_private
            && let Some(why) = refuse(address)
        {
            return Err(OriginError {
                problem: format!("its host is {why}"),
                hint: HINT_PRIVATE,
            });
        }
        Ok(Self {
            is_encrypted,
            host,
            port: port.unwrap_or(if is_encrypted { 443 } else { 80 }),
        })
    }

    /// The host's name; none where it is an address, which nobody need resolve.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        }
    }

    /// The host's address, where it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Name(_) => None,
            Host::Address(address) => Some(address),
        }
    }

    /// True for https.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }
}

/// As it is asked: `https://api.osv.dev`, without a port that goes without saying.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.is_encrypted {
            ("https", 443)
        } else {
            ("http", 80)
        };
        match &self.host {
            Host::Name(name) => write!(f, "{scheme}://{name}")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{scheme}://{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "{scheme}://[{address}]")?,
        }
        if self.port == usual {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, after)) => {
            let host = &authority[..inside.len() + 2];
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err("its host is no name"),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let number = |port: &str| {
        let plain = !port.is_empty() && !port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit());
        port.parse().ok().filter(|_| plain).ok_or("its port is no port")
    };
    Ok((host, port.map(number).transpose()?))
}

impl Host {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside
                .strip_suffix(']')
                .and_then(|text| text.parse::<Ipv6Addr>().ok());
            return address
                .map(|address| Self::Address(address.into()))
                .ok_or("its host is no IPv6 address");
        }
        if text.is_empty() || text.len() > HOST_BYTES_MAX {
            return Err("it has no host");
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        if !text.split('.').all(is_label) {
            return Err(
                "its host is no name: lower-case letters, digits, `-` and dots, other letters as punycode (`xn--`)",
            );
        }
        // `2130706433`, `0x7f.1` and `0177.0.0.1` are addresses to some resolvers: a name never ends in a number.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_number = |label: &str| {
            label.bytes().all(|b| b.is_ascii_digit())
                || label
                    .strip_prefix("0x")
                    .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        if is_number(last) {
            return text
                .parse::<Ipv4Addr>()
                .map(|address| Self::Address(address.into()))
                .map_err(|_| "its host is a number, and no address in its usual form");
        }
        Ok(Self::Name(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ways to write this machine, a metadata service or a second host into an origin.
    const REFUSED: &[&str] = &[
        "",
        "https://",
        "http://api.osv.dev",
        "ftp://api.osv.dev",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_x",
        "HTTPS://api.osv.dev",
        "https:/api.osv.dev",
        "https:api.osv.dev",
        "//api.osv.dev",
        "https://127.0.0.1",
        "https://127.1",
        "https://127.0.1",
        "https://2130706433",
        "https://0x7f000001",
        "https://0x7f.1",
        "https://0x7f.0x0.0x0.0x1",
        "https://0177.0.0.1",
        "https://017700000001",
        "https://127.0.0.01",
        "https://0",
        "https://0.0.0.0",
        "https://169.254.169.254",
        "https://169.254.43518",
        "https://2852039166",
        "https://0xa9fea9fe",
        "https://0xa9.0xfe.0xa9.0xfe",
        "https://0251.0376.0251.0376",
        "https://[::1]",
        "https://[::]",
        "https://[::ffff:127.0.0.1]",
        "https://[::ffff:7f00:1]",
        "https://[0:0:0:0:0:ffff:127.0.0.1]",
        "https://[64:ff9b::a9fe:a9fe]",
        "https://[fd00:ec2::254]",
        "https://[fe80::1%25eth0]",
        "https://[fe80::1%eth0]",
        "https://[::1",
        "https://::1",
        "https://[api.osv.dev]",
        "https://api.osv.dev@127.0.0.1",
        "https://user:secret@api.osv.dev",
        "https://api.osv.dev#@127.0.0.1",
        "https://api.osv.dev?@127.0.0.1",
        "https://api.osv.dev\\@127.0.0.1",
        "https://api.osv.dev/../x",
        "https://api.osv.dev/v1",
        "https://api.osv.dev//",
        "https://api.osv.dev:",
        "https://api.osv.dev:0",
        "https://api.osv.dev:0443",
        "https://api.osv.dev:65536",
        "https://api.osv.dev:443:80",
        "https://api.osv.dev:+443",
        "https://api.osv.dev ",
        " https://api.osv.dev",
        "https://api.osv.dev\r\nHost: x",
        "https://api.osv.dev\0.evil",
        "https://api%2eosv.dev",
        "https://API.osv.dev",
        "https://ａｐｉ.osv.dev",
        "https://127。0。0。1",
        "https://①②⑦.0.0.1",
        "https://ⓛocalhost",
        "https://.osv.dev",
        "https://api..osv.dev",
        "https://api.osv.dev.",
        "https://-a.dev",
        "https://a-.dev",
        "https://*.osv.dev",
    ];

    #[test]
    fn an_origin_is_written_in_one_way_alone() {
        for text in REFUSED {
            let error = Origin::parse(text, false).expect_err(text);
            assert!(!error.problem.contains("secret"), "{text}");
        }
        for (text, shown) in [
            ("https://api.osv.dev", "https://api.osv.dev"),
            ("https://api.osv.dev/", "https://api.osv.dev"),
            ("https://api.osv.dev:443", "https://api.osv.dev"),
            (
                "https://xn--nxasmq6b.example:8443",
                "https://xn--nxasmq6b.example:8443",
            ),
            ("https://1.1.1.1", "https://1.1.1.1"),
            (
                "https://[2606:4700:4700::1111]:8443",
                "https://[2606:4700:4700::1111]:8443",
            ),
        ] {
            assert_eq!(Origin::parse(text, false).expect(text).to_string(), shown);
        }
    }

    #[test]
    fn a_private_origin_is_one_only_where_it_is_meant() {
        for text in [
            "http://127.0.0.1:8080",
            "https://10.0.0.7",
            "http://[::1]:8080",
            "http://osv.internal",
        ] {
            assert!(Origin::parse(text, false).is_err(), "{text}");
            assert_eq!(Origin::parse(text, true).expect(text).to_string(), text);
        }
        assert!(
            Origin::parse("http://0x7f.1", true).is_err(),
            "still one way to write it"
        );
    }
}
