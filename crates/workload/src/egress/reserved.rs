//! Addresses that are not the internet: this machine, its neighbours, its cloud's metadata service.
//!
//! A name never leads to one of these, whatever it resolves to. IPv6 is judged by what is known to be public, IPv4 by
//! what is known not to be; an IPv4 address within an IPv6 one is judged as itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// 127.0.0.0/8, ::1, and what means "this host".
    Loopback,
    /// RFC 1918, and fc00::/7.
    Private,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// Where clouds answer whoever asks with the machine's credentials.
    Metadata,
    /// 100.64.0.0/10, behind carriers' NAT; also what some overlay networks use.
    Shared,
    /// One to many, or to all.
    Multicast,
    /// An address of the machine that skep runs on.
    ThisMachine,
    /// Everything else that is set aside: benchmarks, transition, not allocated.
    SetAside,
}

impl Reserved {
    /// As events say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback address",
            Self::Private => "private address",
            Self::LinkLocal => "link-local address",
            Self::Metadata => "metadata address",
            Self::Shared => "shared address",
            Self::Multicast => "multicast address",
            Self::ThisMachine => "address of this machine",
            Self::SetAside => "reserved address",
        }
    }

    /// Judges an address; `None` is a public one.
    #[must_use]
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

/// The first line that covers an address judges it. The networks of documentation (RFC 5737) are none of them: nothing is there
/// but where a laboratory or a closed network gives them out as public ones.
const V4: [([u8; 4], u32, Reserved); 15] = [
    ([169, 254, 169, 254], 32, Reserved::Metadata),
    ([168, 63, 129, 16], 32, Reserved::Metadata),
    ([100, 100, 100, 200], 32, Reserved::Metadata),
    ([192, 0, 0, 192], 32, Reserved::Metadata),
    ([0, 0, 0, 0], 8, Reserved::Loopback),
    ([127, 0, 0, 0], 8, Reserved::Loopback),
    ([10, 0, 0, 0], 8, Reserved::Private),
    ([172, 16, 0, 0], 12, Reserved::Private),
    ([192, 168, 0, 0], 16, Reserved::Private),
    ([169, 254, 0, 0], 16, Reserved::LinkLocal),
    ([100, 64, 0, 0], 10, Reserved::Shared),
    ([192, 0, 0, 0], 24, Reserved::SetAside),
    ([192, 88, 99, 0], 24, Reserved::SetAside),
    ([198, 18, 0, 0], 15, Reserved::SetAside),
    ([224, 0, 0, 0], 4, Reserved::Multicast),
];

fn of_v4(address: Ipv4Addr) -> Option<Reserved> {
    let covers = |network: [u8; 4], bits: u32| {
        (address.to_bits() ^ Ipv4Addr::from(network).to_bits()).leading_zeros() >= bits
    };
    let listed = V4.iter().find(|(network, bits, _)| covers(*network, *bits)).map(|line| line.2);
    // 240.0.0.0/4, the broadcast address included.
    listed.or_else(|| (address.octets()[0] >= 240).then_some(Reserved::SetAside))
}

fn of_v6(address: Ipv6Addr) -> Option<Reserved> {
    let segments = address.segments();
    match segments {
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x0254] => {
            Some(Reserved::Metadata)
        }
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some(Reserved::Loopback),
        // Mapped; and NAT64, whose gateway takes it for the IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        [0xfc00..=0xfdff, ..] => Some(Reserved::Private),
        [0xfe80..=0xfebf, ..] => Some(Reserved::LinkLocal),
        [0xff00..=0xffff, ..] => Some(Reserved::Multicast),
        // Protocol assignments with Teredo, documentation twice, 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2002, ..] => {
            Some(Reserved::SetAside)
        }
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Reserved::SetAside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_the_internet() {
        let check = |text: &str, expect: Option<Reserved>| {
            assert_eq!(Reserved::of(text.parse().unwrap()), expect, "{text}");
        };
        for text in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "::1", "::", "::ffff:127.0.0.1"] {
            check(text, Some(Reserved::Loopback));
        }
        for text in [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "fc00::1",
            "fd12::1",
            "::ffff:10.1.1.1",
            "64:ff9b::192.168.0.1",
        ] {
            check(text, Some(Reserved::Private));
        }
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "fd00:ec2::254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
        ] {
            check(text, Some(Reserved::Metadata));
        }
        for text in ["169.254.0.1", "fe80::1", "febf::1"] {
            check(text, Some(Reserved::LinkLocal));
        }
        for text in ["100.64.0.1", "100.127.255.255"] {
            check(text, Some(Reserved::Shared));
        }
        for text in ["224.0.0.1", "239.255.255.255", "ff02::1"] {
            check(text, Some(Reserved::Multicast));
        }
        for text in [
            "198.18.0.1",
            "198.19.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "2001:db8::1",
            "2001::1",
            "2002:0a00:0001::1",
            "64:ff9b:1::1",
            "::10.0.0.1",
            "fec0::1",
            "4000::1",
        ] {
            check(text, Some(Reserved::SetAside));
        }
        for text in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "169.253.0.1",
            "198.20.0.1",
            "198.17.255.255",
            "203.0.113.9",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
        ] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_is_judged_the_same_in_each_of_its_forms(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let alone = Reserved::of(address.into());
            prop_assert_eq!(Reserved::of(address.to_ipv6_mapped().into()), alone);
            let nat64 = Ipv6Addr::from_bits(0x0064_ff9b_u128 << 96 | u128::from(bits));
            prop_assert_eq!(Reserved::of(nat64.into()), alone);
            if address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast() {
                prop_assert!(alone.is_some());
            }
        }
    }
}
