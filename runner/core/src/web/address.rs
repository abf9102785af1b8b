//! Which addresses are of the public internet. Everything else is refused, so that no plugin talks to the machine it
//! runs on, to its cloud's metadata service, or to the neighbours behind the firewall.
//!
//! An address that only wraps another (mapped, translated, tunnelled) is judged as the one inside and refused either
//! way: nothing public needs to be written like that.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is none of the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPublic {
    /// `0.0.0.0/8`, `::`: this machine, by another name.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`: metadata services of clouds are here.
    LinkLocal,
    /// `10/8`, `172.16/12`, `192.168/16`, `fc00::/7`, `fec0::/10`.
    Private,
    /// `100.64.0.0/10`: behind a carrier's translation, where some clouds put services of their own.
    Shared,
    /// `224.0.0.0/4`, `ff00::/8`, `255.255.255.255`.
    Multicast,
    /// Documentation, benchmarks, protocols, the future, what nobody was given.
    Reserved,
    /// An IPv4 address inside an IPv6 one: mapped, compatible, NAT64, 6to4, Teredo, ISATAP.
    Wrapped,
}

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address, where metadata services are",
            Self::Private => "a private address",
            Self::Shared => "an address behind a carrier's translation",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
            Self::Wrapped => "an IPv4 address wrapped in an IPv6 one",
        })
    }
}

/// Why nobody may connect to `address`; none for one of the public internet.
pub fn refuse(address: IpAddr) -> Option<NotPublic> {
    match address {
        IpAddr::V4(address) => refuse_v4(address),
        IpAddr::V6(address) => refuse_v6(address),
    }
}

fn refuse_v4(address: Ipv4Addr) -> Option<NotPublic> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (0, ..) => NotPublic::Unspecified,
        (127, ..) => NotPublic::Loopback,
        (169, 254, _) => NotPublic::LinkLocal,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => NotPublic::Private,
        (100, 64..=127, _) => NotPublic::Shared,
        (224..=239, ..) | (255, 255, 255) => NotPublic::Multicast,
        // IETF protocols, three networks for documentation, 6to4 relays, AS112, benchmarks, and class E.
        (192, 0, 0 | 2)
        | (192, 88, 99)
        | (192, 31, 196)
        | (192, 52, 193)
        | (192, 175, 48)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113)
        | (240..=255, ..) => NotPublic::Reserved,
        // Azure's metadata and name service answers from inside only, at an address that looks public.
        (168, 63, 129) if address == Ipv4Addr::new(168, 63, 129, 16) => NotPublic::LinkLocal,
        _ => return None,
    })
}

fn refuse_v6(address: Ipv6Addr) -> Option<NotPublic> {
    let segments = address.segments();
    if address.is_unspecified() {
        return Some(NotPublic::Unspecified);
    }
    if address.is_loopback() {
        return Some(NotPublic::Loopback);
    }
    Some(match segments {
        // Mapped (::ffff:a.b.c.d), translated (::ffff:0:a.b.c.d), compatible (::a.b.c.d), NAT64 (64:ff9b::/96 and
        // 64:ff9b:1::/48), Teredo, 6to4.
        [0, 0, 0, 0, 0 | 0xffff, ..]
        | [0x64, 0xff9b, ..]
        | [0x2001, 0, ..]
        | [0x2002, ..]
        // ISATAP.
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => NotPublic::Wrapped,
        [a, ..] if a & 0xffc0 == 0xfe80 => NotPublic::LinkLocal,
        [a, ..] if a & 0xfe00 == 0xfc00 || a & 0xffc0 == 0xfec0 => NotPublic::Private,
        [a, ..] if a & 0xff00 == 0xff00 => NotPublic::Multicast,
        // Protocols, ORCHID, documentation (two networks).
        [0x2001, b, ..] if b < 0x200 || b == 0xdb8 => NotPublic::Reserved,
        [0x3fff, b, ..] if b < 0x1000 => NotPublic::Reserved,
        // Of all that is left only 2000::/3 was ever given out.
        [a, ..] if a & 0xe000 != 0x2000 => NotPublic::Reserved,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every address of another kind that a name may resolve to, with why it is refused.
    const REFUSED: &[(&str, NotPublic)] = &[
        ("0.0.0.0", NotPublic::Unspecified),
        ("0.1.2.3", NotPublic::Unspecified),
        ("127.0.0.1", NotPublic::Loopback),
        ("127.1.2.3", NotPublic::Loopback),
        ("127.255.255.255", NotPublic::Loopback),
        ("169.254.169.254", NotPublic::LinkLocal),
        ("169.254.170.2", NotPublic::LinkLocal),
        ("169.254.170.23", NotPublic::LinkLocal),
        ("169.254.0.1", NotPublic::LinkLocal),
        ("168.63.129.16", NotPublic::LinkLocal),
        ("10.0.0.1", NotPublic::Private),
        ("10.255.255.255", NotPublic::Private),
        ("172.16.0.1", NotPublic::Private),
        ("172.31.255.255", NotPublic::Private),
        ("192.168.0.1", NotPublic::Private),
        ("100.64.0.1", NotPublic::Shared),
        ("100.100.100.200", NotPublic::Shared),
        ("100.127.255.255", NotPublic::Shared),
        ("224.0.0.1", NotPublic::Multicast),
        ("239.255.255.250", NotPublic::Multicast),
        ("255.255.255.255", NotPublic::Multicast),
        ("192.0.0.192", NotPublic::Reserved),
        ("192.0.2.1", NotPublic::Reserved),
        ("192.88.99.1", NotPublic::Reserved),
        ("198.18.0.1", NotPublic::Reserved),
        ("198.19.255.255", NotPublic::Reserved),
        ("198.51.100.7", NotPublic::Reserved),
        ("203.0.113.9", NotPublic::Reserved),
        ("240.0.0.1", NotPublic::Reserved),
        ("::", NotPublic::Unspecified),
        ("::1", NotPublic::Loopback),
        ("::ffff:127.0.0.1", NotPublic::Wrapped),
        ("::ffff:169.254.169.254", NotPublic::Wrapped),
        ("::ffff:8.8.8.8", NotPublic::Wrapped),
        ("::ffff:0:127.0.0.1", NotPublic::Wrapped),
        ("::127.0.0.1", NotPublic::Wrapped),
        ("64:ff9b::7f00:1", NotPublic::Wrapped),
        ("64:ff9b::169.254.169.254", NotPublic::Wrapped),
        ("64:ff9b:1::a9fe:a9fe", NotPublic::Wrapped),
        ("2002:7f00:1::", NotPublic::Wrapped),
        ("2002:a9fe:a9fe::1", NotPublic::Wrapped),
        ("2001::1", NotPublic::Wrapped),
        ("2001:4860::5efe:a00:1", NotPublic::Wrapped),
        ("fe80::1", NotPublic::LinkLocal),
        ("febf::1", NotPublic::LinkLocal),
        ("fe80::a9fe:a9fe", NotPublic::LinkLocal),
        ("fc00::1", NotPublic::Private),
        ("fd00:ec2::254", NotPublic::Private),
        ("fd20:ce::254", NotPublic::Private),
        ("fec0::1", NotPublic::Private),
        ("ff02::1", NotPublic::Multicast),
        ("2001:db8::1", NotPublic::Reserved),
        ("2001:10::1", NotPublic::Reserved),
        ("3fff::1", NotPublic::Reserved),
        ("100::1", NotPublic::Reserved),
        ("5f00::1", NotPublic::Reserved),
        ("4000::1", NotPublic::Reserved),
    ];

    #[test]
    fn nothing_but_the_public_internet_may_be_connected_to() {
        for (text, why) in REFUSED {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(refuse(address), Some(*why), "{text}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "34.120.127.130",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "168.63.129.17",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450:4001::1",
        ] {
            assert_eq!(refuse(public.parse().expect("an address")), None, "{public}");
        }
    }
}
