//! Who may be reached: the outbound part of a permission profile, checked once, then a pure function.
//!
//! In order: everything that is not the internet is closed ([`Reserved`]), unless its address stands in `allow_host`.
//! With `insecure_allow_all` the rest is open. Else the port must be in `allow_port`, if that was written, and the host
//! in `allow_host`, if that was written; where neither was, nothing is open. A list that was written empty opens
//! nothing.
//!
//! Absent on purpose: whose profile it is, and where it is read.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use url::Host;

use super::host_name::HostName;
use super::reserved::Reserved;

/// What a profile says, unchecked. Its default is what a profile without a network section, or without an outbound
/// part, says: nothing is allowed.
#[derive(Clone, Debug, Default)]
pub struct EgressConfig {
    /// Names; `.example.com` is the name and all below it; IPv4 addresses.
    pub allow_host: Option<Vec<String>>,
    /// Ports.
    pub allow_port: Option<Vec<i64>>,
    /// Everything that is the internet.
    pub insecure_allow_all: bool,
}

/// A checked policy.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    everything: bool,
    hosts: Option<Hosts>,
    ports: Option<BTreeSet<u16>>,
}

#[derive(Clone, Debug, Default)]
struct Hosts {
    exact: BTreeSet<String>,
    with_subdomains: BTreeSet<String>,
    addresses: BTreeSet<Ipv4Addr>,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The workload asked for a name.
    Name(HostName),
    /// The workload had an address of its own.
    Address(Ipv4Addr),
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be tried. A name's addresses are still looked at ([`Reserved`]).
    Allowed,
    /// It is not even tried.
    Denied(Denial),
}

/// Why a destination is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The policy opens nothing at all.
    NothingAllowed,
    /// The host is not in `allow_host`.
    Host,
    /// The port is not in `allow_port`.
    Port,
    /// It is not the internet.
    Reserved(Reserved),
    /// The address stands for a name, but for none that is known (any more).
    Forgotten,
    /// The workload has as many connections as it may have.
    TooMany,
}

/// Everything that is wrong with a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network.outbound is not usable: {}", .0.join("; "))]
pub struct BadEgress(pub Vec<String>);

impl Denial {
    /// As events say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NothingAllowed => "nothing is allowed",
            Self::Host => "host is not allowed",
            Self::Port => "port is not allowed",
            Self::Reserved(reserved) => reserved.name(),
            Self::Forgotten => "address stands for no name",
            Self::TooMany => "too many connections",
        }
    }
}

impl TryFrom<&EgressConfig> for EgressPolicy {
    type Error = BadEgress;

    fn try_from(config: &EgressConfig) -> Result<Self, BadEgress> {
        let mut wrong = Vec::new();
        let hosts = config.allow_host.as_ref().map(|entries| hosts(entries, &mut wrong));
        let ports = config.allow_port.as_ref().map(|entries| ports(entries, &mut wrong));
        if wrong.is_empty() {
            Ok(Self { everything: config.insecure_allow_all, hosts, ports })
        } else {
            Err(BadEgress(wrong))
        }
    }
}

impl EgressPolicy {
    /// Decides about a connection.
    #[must_use]
    pub fn decide(&self, destination: &Destination, port: u16) -> Verdict {
        let denial = match destination {
            Destination::Name(name) => self.denial(|hosts| hosts.allow_name(name), port),
            Destination::Address(address) => self
                .closed(*address)
                .map(Denial::Reserved)
                .or_else(|| self.denial(|hosts| hosts.addresses.contains(address), port)),
        };
        denial.map_or(Verdict::Allowed, Verdict::Denied)
    }

    /// Decides about a name alone: whether there is any port on which it could be reached.
    #[must_use]
    pub fn decide_name(&self, name: &HostName) -> Verdict {
        if self.everything {
            return Verdict::Allowed;
        }
        let some_port = self.ports.as_ref().and_then(|ports| ports.first()).copied();
        self.decide(&Destination::Name(name.clone()), some_port.unwrap_or_default())
    }

    /// Whether the profile names this address itself.
    #[must_use]
    pub fn names_address(&self, address: Ipv4Addr) -> bool {
        self.hosts.as_ref().is_some_and(|hosts| hosts.addresses.contains(&address))
    }

    fn closed(&self, address: Ipv4Addr) -> Option<Reserved> {
        if self.names_address(address) { None } else { Reserved::of(IpAddr::V4(address)) }
    }

    fn denial(&self, allows_host: impl FnOnce(&Hosts) -> bool, port: u16) -> Option<Denial> {
        if self.everything {
            return None;
        }
        if self.hosts.is_none() && self.ports.is_none() {
            return Some(Denial::NothingAllowed);
        }
        if !self.hosts.as_ref().is_none_or(allows_host) {
            return Some(Denial::Host);
        }
        let port_allowed = self.ports.as_ref().is_none_or(|ports| ports.contains(&port));
        (!port_allowed).then_some(Denial::Port)
    }
}

impl Hosts {
    fn allow_name(&self, name: &HostName) -> bool {
        self.exact.contains(name.as_str())
            || name.with_parents().any(|parent| self.with_subdomains.contains(parent))
    }
}

fn hosts(entries: &[String], wrong: &mut Vec<String>) -> Hosts {
    let mut hosts = Hosts::default();
    for (at, entry) in entries.iter().enumerate() {
        if let Err(why) = add_host(&mut hosts, entry) {
            wrong.push(format!("allow_host[{at}], {entry:?}, {why}"));
        }
    }
    hosts
}

fn add_host(hosts: &mut Hosts, entry: &str) -> Result<(), &'static str> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        hosts.addresses.insert(usable_address(address)?);
        return Ok(());
    }
    let (apex, with_subdomains) = match entry.strip_prefix('.') {
        Some(apex) => (apex, true),
        None => (entry, false),
    };
    if apex.contains('*') {
        return Err("has a wildcard: write .example.com for a name and all below it");
    }
    // Does what browsers do with letters of all scripts.
    let Ok(Host::Domain(name)) = Host::parse(apex) else {
        return Err("is neither a name nor an address");
    };
    let name = HostName::parse(&name).ok_or("is neither a name nor an address")?;
    let set = if with_subdomains { &mut hosts.with_subdomains } else { &mut hosts.exact };
    set.insert(name.as_str().to_owned());
    Ok(())
}

/// An address that a workload can get to: others would be allowed in vain.
fn usable_address(address: IpAddr) -> Result<Ipv4Addr, &'static str> {
    let IpAddr::V4(address) = address.to_canonical() else {
        return Err("is an IPv6 address, which a sandboxed workload has no way to");
    };
    match Reserved::of(address.into()) {
        Some(Reserved::Loopback) => Err("is the workload's own loopback, which is always open"),
        Some(Reserved::Multicast) => Err("is no address of one host"),
        _ if address.is_broadcast() => Err("is no address of one host"),
        _ if matches!(address.octets(), [198, 18 | 19, ..]) => Err("is of the range that stands for names"),
        _ => Ok(address),
    }
}

fn ports(entries: &[i64], wrong: &mut Vec<String>) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        match u16::try_from(*entry) {
            Ok(port) if port > 0 => {
                ports.insert(port);
            }
            _ => wrong.push(format!("allow_port[{at}], {entry}, is no port")),
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(hosts: Option<&[&str]>, ports: Option<&[i64]>) -> EgressConfig {
        EgressConfig {
            allow_host: hosts.map(|hosts| hosts.iter().map(|&host| host.to_owned()).collect()),
            allow_port: ports.map(<[i64]>::to_vec),
            insecure_allow_all: false,
        }
    }

    fn policy(hosts: Option<&[&str]>, ports: Option<&[i64]>) -> EgressPolicy {
        EgressPolicy::try_from(&config(hosts, ports)).unwrap()
    }

    fn everything(hosts: Option<&[&str]>) -> EgressPolicy {
        EgressPolicy::try_from(&EgressConfig { insecure_allow_all: true, ..config(hosts, Some(&[443])) })
            .unwrap()
    }

    fn destination(text: &str) -> Destination {
        text.parse().map_or_else(|_| Destination::Name(HostName::parse(text).unwrap()), Destination::Address)
    }

    /// `open` is what is allowed; everything else of the list is denied, for this reason.
    fn check(policy: &EgressPolicy, host: &str, port: u16, expect: Result<(), Denial>) {
        let expect = expect.map_or_else(Verdict::Denied, |()| Verdict::Allowed);
        assert_eq!(policy.decide(&destination(host), port), expect, "{host}:{port} under {policy:?}");
    }

    #[test]
    fn nothing_is_open_unless_something_was_written() {
        for closed in [EgressPolicy::default(), policy(None, None)] {
            check(&closed, "example.com", 443, Err(Denial::NothingAllowed));
            check(&closed, "1.1.1.1", 443, Err(Denial::NothingAllowed));
        }
        check(&policy(Some(&[]), None), "example.com", 443, Err(Denial::Host));
        check(&policy(Some(&[]), Some(&[443])), "example.com", 443, Err(Denial::Host));
        check(&policy(None, Some(&[])), "example.com", 443, Err(Denial::Port));
        check(&policy(Some(&["example.com"]), Some(&[])), "example.com", 443, Err(Denial::Port));
    }

    #[test]
    fn hosts_and_ports_must_both_fit() {
        let both =
            policy(Some(&["API.example.com", ".Example.ORG", "Bücher.example", "8.8.4.4"]), Some(&[443, 22]));
        for host in ["api.example.com", "example.org", "a.b.example.org", "xn--bcher-kva.example", "8.8.4.4"]
        {
            check(&both, host, 443, Ok(()));
            check(&both, host, 22, Ok(()));
            check(&both, host, 80, Err(Denial::Port));
        }
        for host in ["example.com", "x.api.example.com", "badexample.org", "org", "8.8.8.8"] {
            check(&both, host, 443, Err(Denial::Host));
        }
        let any_port = policy(Some(&["example.com"]), None);
        check(&any_port, "example.com", 1, Ok(()));
        check(&any_port, "example.org", 1, Err(Denial::Host));
        let any_host = policy(None, Some(&[443]));
        check(&any_host, "example.com", 443, Ok(()));
        check(&any_host, "1.1.1.1", 443, Ok(()));
        check(&any_host, "1.1.1.1", 80, Err(Denial::Port));
        check(&any_host, "10.0.0.1", 443, Err(Denial::Reserved(Reserved::Private)));
    }

    #[test]
    fn what_is_not_the_internet_opens_by_its_address_only() {
        let reserved = [
            ("10.0.0.1", Reserved::Private),
            ("169.254.169.254", Reserved::Metadata),
            ("127.0.0.1", Reserved::Loopback),
            ("100.64.0.1", Reserved::Shared),
            ("224.0.0.1", Reserved::Multicast),
            ("198.18.7.7", Reserved::SetAside),
        ];
        for policy in [everything(None), policy(None, Some(&[80])), policy(Some(&["10.0.0.2"]), None)] {
            for (host, why) in reserved {
                check(&policy, host, 80, Err(Denial::Reserved(why)));
            }
        }
        check(&everything(None), "1.1.1.1", 80, Ok(()));
        check(&everything(None), "example.com", 80, Ok(()));
        check(&everything(Some(&["10.0.0.1"])), "10.0.0.1", 80, Ok(()));
        check(&everything(Some(&["10.0.0.1"])), "10.0.0.2", 80, Err(Denial::Reserved(Reserved::Private)));
        check(&policy(Some(&["::ffff:169.254.169.254"]), None), "169.254.169.254", 80, Ok(()));
    }

    #[test]
    fn a_name_is_answered_for_where_some_port_of_it_is_open() {
        let name = HostName::parse("example.com").unwrap();
        let check = |policy: EgressPolicy, allowed: bool| {
            assert_eq!(policy.decide_name(&name) == Verdict::Allowed, allowed, "{policy:?}");
        };
        check(policy(None, None), false);
        check(policy(Some(&["example.com"]), None), true);
        check(policy(Some(&["example.com"]), Some(&[443])), true);
        check(policy(Some(&["example.com"]), Some(&[])), false);
        check(policy(Some(&["1.1.1.1"]), None), false);
        check(policy(None, Some(&[443])), true);
        check(everything(Some(&[])), true);
    }

    #[test]
    fn each_thing_that_is_wrong_is_said() {
        let hosts = [
            "",
            ".",
            "*.a.com",
            "https://a.com",
            "a.com:443",
            ".10.0.0.1",
            "::1",
            "2606::1",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.9",
            "10.1",
            "ok.example",
        ];
        let BadEgress(wrong) =
            EgressPolicy::try_from(&config(Some(&hosts), Some(&[0, 443, 65536, -1]))).unwrap_err();
        assert_eq!(wrong.len(), hosts.len() - 1 + 3, "{wrong:#?}");
        assert!(wrong[2].starts_with("allow_host[2], \"*.a.com\", has a wildcard"), "{}", wrong[2]);
        assert_eq!(wrong.last().unwrap(), "allow_port[3], -1, is no port");
    }

    proptest! {
        #[test]
        fn no_address_is_open_that_is_reserved_and_not_written(bits: u32, port: u16) {
            let address = Ipv4Addr::from_bits(bits);
            let verdict = everything(Some(&["example.com"])).decide(&Destination::Address(address), port);
            prop_assert_eq!(verdict == Verdict::Allowed, Reserved::of(address.into()).is_none());
        }

        #[test]
        fn entries_of_any_kind_are_taken_or_refused(entry in "\\PC{0,40}") {
            let _ = EgressPolicy::try_from(&config(Some(&[&entry]), None));
        }
    }
}
