//! The world outside of the namespace: names to addresses, addresses to connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use tokio::net::TcpStream;

use super::host_name::HostName;

/// What egress needs of the world. Tests bring a world of their own.
pub trait Outside: Send + Sync + 'static {
    /// All addresses of a name, in the order in which they are to be tried.
    fn resolve(&self, name: &HostName) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;

    /// Connects to an address that is allowed.
    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send;

    /// Whether an address, public as it may be, belongs to the machine that skep runs on.
    fn is_this_machine(&self, address: IpAddr) -> bool;
}

/// The network that skep itself is in, with the system's name resolution (`resolv.conf`, `hosts`).
#[derive(Clone)]
pub struct SystemNetwork {
    dns: TokioResolver,
}

impl std::fmt::Debug for SystemNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemNetwork")
    }
}

impl SystemNetwork {
    /// Reads the system's configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new() -> io::Result<Self> {
        let build = || -> Result<TokioResolver, NetError> {
            let mut builder = TokioResolver::builder_tokio()?;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        };
        build().map(|dns| Self { dns }).map_err(io::Error::other)
    }
}

impl Outside for SystemNetwork {
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        // With its final dot, so that the system's search list does not make another name of it than was judged.
        let found = self.dns.lookup_ip(format!("{name}.")).await.map_err(io::Error::other)?;
        let (mut addresses, others): (Vec<IpAddr>, Vec<_>) = found.iter().partition(IpAddr::is_ipv4);
        addresses.extend(others);
        Ok(addresses)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    fn is_this_machine(&self, address: IpAddr) -> bool {
        // The kernel answers from the very address when it is its own. Connecting a datagram socket sends nothing.
        let unspecified = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let source = || -> io::Result<IpAddr> {
            let socket = UdpSocket::bind((unspecified, 0))?;
            socket.connect((address, 9))?;
            Ok(socket.local_addr()?.ip())
        };
        // What cannot be told, for instance because there are no more descriptors, is closed.
        source().map_or(true, |source| source == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_the_hosts_file_are_found() {
        let name = HostName::parse("localhost").unwrap();
        let found = SystemNetwork::new().unwrap().resolve(&name).await.unwrap();
        assert_eq!(found.first(), Some(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{found:?}");
    }

    #[tokio::test]
    async fn addresses_of_this_machine_are_known() {
        let network = SystemNetwork::new().unwrap();
        assert!(network.is_this_machine(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1))));
        assert!(!network.is_this_machine(IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1))));
    }
}
