//! What a sandboxed command may reach, and the seam to whoever serves the way out of its network namespace.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The name server inside, with [`Network::Egress`].
pub const DNS_SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 53);

/// What a sandboxed command may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Nothing: a network namespace with only a loopback interface.
    #[default]
    None,
    /// A network namespace whose only way out is [`NetworkSockets`].
    Egress,
    /// The host's network, as if there were no sandbox.
    Host,
}

pub use crate::process::netns::NetworkSockets;

/// Prepares the fresh network namespace that it is called in, in a process with one thread and all rights over it.
pub type PrepareNetwork = fn() -> io::Result<NetworkSockets>;
