//! A network namespace whose only way out is three sockets that skep serves.
//!
//! [`prepare`] runs inside the namespace, before the workload: it makes every IPv4 address local, has the kernel turn
//! each outgoing TCP connection to one listener, and drops what is left. A socket stays in the namespace it was made
//! in, so whoever is handed [`NetworkSockets`] serves the workload from outside ([`crate::egress`]).
//!
//! INVARIANT: the namespace has no interface but `lo`. That is what keeps the workload in; the routes and rules made
//! here are how it finds the way out. A workload that removed them would reach nothing, not more.
//!
//! Absent on purpose: making the namespace, IPv6 (without a route it fails at once), UDP other than DNS.

mod handover;
mod netlink;
mod nft;
mod route;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::sockopt::ip_original_dst;

/// Where the workload finds its name server, on UDP and TCP. Of a range that is set aside for benchmarks (RFC 2544),
/// which nobody routes; the addresses that stand for names are of the same range.
pub const DNS_SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 53);

/// The `resolv.conf` of a workload in such a namespace.
pub const RESOLV_CONF: &str = "nameserver 198.18.0.1\n";

/// Connections that wait to be accepted. One more has to ask again, which the kernel does for it after a second.
const BACKLOG: i32 = 1024;

/// Sockets of the prepared namespace. They keep it alive: drop them when the workload is gone.
#[derive(Debug)]
pub struct NetworkSockets {
    /// UDP, at [`DNS_SERVER`].
    pub dns_udp: OwnedFd,
    /// TCP, at [`DNS_SERVER`], listening.
    pub dns_tcp: OwnedFd,
    /// TCP, listening: gets every connection that leaves the workload's own loopback.
    pub tcp: OwnedFd,
}

/// One step of [`prepare`] that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} in the network namespace")]
struct Unprepared {
    doing: &'static str,
    source: io::Error,
}

/// Prepares the namespace of the calling thread, which must be a fresh one.
///
/// Needs CAP_NET_ADMIN and CAP_NET_BIND_SERVICE in the namespace, as whoever made it in a user namespace of their own
/// has. Allocates, so it is not for the time between fork and exec of a process with threads.
///
/// # Errors
/// What could not be done; also where the loopback interface is up already, since then this is somebody's namespace
/// (perhaps the host's), whose traffic would be cut.
pub fn prepare() -> io::Result<NetworkSockets> {
    step("read the state of the loopback interface", route::refuse_unless_fresh())?;
    furnish()
}

/// The same for a namespace that a container runtime made, with the loopback interface up.
///
/// # Errors
/// As [`prepare`]; also where another interface is up, since then this is not a namespace without a way out.
pub fn prepare_made() -> io::Result<NetworkSockets> {
    step("look for other interfaces", route::refuse_unless_alone())?;
    furnish()
}

fn furnish() -> io::Result<NetworkSockets> {
    step("bring the loopback interface up", route::loopback_up())?;
    step("give the loopback interface an address", route::add_address())?;
    step("make every address local", route::everything_is_local())?;
    let tcp = step("listen for connections", listen(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)))?;
    let port = step("listen for connections", tcp.local_addr())?.port();
    step("redirect connections (nf_tables with NAT)", nft::install(port))?;
    let dns_udp = step("bind the name server's socket", UdpSocket::bind(DNS_SERVER))?;
    let dns_tcp = step("bind the name server's socket", listen(DNS_SERVER))?;
    Ok(NetworkSockets { dns_udp: dns_udp.into(), dns_tcp: dns_tcp.into(), tcp: tcp.into() })
}

/// Whether such a namespace can be prepared here. To be called in a fresh namespace that is thrown away afterwards.
///
/// # Errors
/// Why it cannot.
pub fn check() -> io::Result<()> {
    prepare().map(drop)
}

/// Where a connection that [`NetworkSockets::tcp`] accepted was going.
///
/// # Errors
/// What the kernel says.
pub(crate) fn original_destination(stream: &impl AsFd) -> io::Result<SocketAddrV4> {
    Ok(ip_original_dst(stream)?)
}

fn step<T>(doing: &'static str, done: io::Result<T>) -> io::Result<T> {
    done.map_err(|source| io::Error::new(source.kind(), Unprepared { doing, source }))
}

fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // The standard library's queue is short; listening again only changes its length.
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}
