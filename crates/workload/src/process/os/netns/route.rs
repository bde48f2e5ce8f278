//! Interfaces, addresses and routes: the loopback interface up with an address that does not look like loopback, and
//! every IPv4 address one of this namespace.

use std::io;

use super::DNS_SERVER;
use super::netlink::{CREATE, EXCLUSIVE, Family, Request};

/// Messages and attributes (`linux/rtnetlink.h`).
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_OIF: u16 = 4;

const AF_INET: u8 = 2;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;

/// The loopback interface is the first of every namespace.
const LOOPBACK: u32 = 1;
const IFF_UP: u32 = 1;

/// A fresh namespace is known by its loopback interface being down.
pub(super) fn refuse_unless_fresh() -> io::Result<()> {
    let mut request = Request::default();
    request.plain(RTM_GETLINK, 0, &interface(0, 0), |_| ());
    let link = request.ask(Family::Route)?;
    let flags = link.get(8..12).and_then(<[u8]>::first_chunk).map(|flags| u32::from_ne_bytes(*flags));
    match flags {
        Some(flags) if flags & IFF_UP == 0 => Ok(()),
        Some(_) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "the namespace is in use")),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Kernel modules may put interfaces into every namespace; those are down, and lead nowhere.
pub(super) fn refuse_unless_alone() -> io::Result<()> {
    for entry in std::fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        let flags = std::fs::read_to_string(entry.path().join("flags"))?;
        let flags =
            u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16).map_err(io::Error::other)?;
        if entry.file_name() != "lo" && flags & IFF_UP != 0 {
            let why = format!("the namespace has the interface {:?}", entry.file_name());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
    }
    Ok(())
}

pub(super) fn loopback_up() -> io::Result<()> {
    let mut request = Request::default();
    request.message(RTM_NEWLINK, 0, &interface(IFF_UP, IFF_UP), |_| ());
    request.carry_out(Family::Route)
}

/// `ip address add 198.18.0.1/32 dev lo`. Resolvers leave out IPv4 (AI_ADDRCONFIG) where the machine has no address of
/// it but loopback's.
pub(super) fn add_address() -> io::Result<()> {
    let kind = [[AF_INET, 32, 0, 0], LOOPBACK.to_ne_bytes()].concat();
    let mut request = Request::default();
    request.message(RTM_NEWADDR, CREATE | EXCLUSIVE, &kind, |attributes| {
        for role in [IFA_LOCAL, IFA_ADDRESS] {
            attributes.bytes(role, &DNS_SERVER.ip().octets());
        }
    });
    request.carry_out(Family::Route)
}

/// `ip route add local 0.0.0.0/0 dev lo`. No source address is preferred, so a connection comes from the address that
/// it goes to: two connections to two servers cannot end up as the same pair of addresses after the redirect.
pub(super) fn everything_is_local() -> io::Result<()> {
    let kind = [AF_INET, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL, 0, 0, 0, 0];
    let mut request = Request::default();
    request.message(RTM_NEWROUTE, CREATE | EXCLUSIVE, &kind, |attributes| {
        attributes.number(RTA_OIF, LOOPBACK);
    });
    request.carry_out(Family::Route)
}

/// `struct ifinfomsg` of the loopback interface.
fn interface(flags: u32, change: u32) -> Vec<u8> {
    [[0; 4], LOOPBACK.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes()].concat()
}
