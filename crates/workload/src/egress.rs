//! What a sandboxed workload may reach of the network: nothing, but what its profile allows by name and port.
//!
//! The workload lives in a network namespace with nothing but three sockets ([`crate::process::netns`]); an [`Egress`]
//! serves them from outside. Its name server gives each name that is allowed an address that stands for it, its gate
//! learns from that address which name a connection is for, decides, looks the name up, and connects. So any protocol
//! over TCP works, unchanged and encrypted or not, and what is judged is what is connected to. `docs/design/egress.md`
//! has the picture and what is not promised.
//!
//! Absent on purpose: looking into what is sent, UDP and IPv6 for the workload, and reading profiles.

mod audit;
mod dial;
mod dns;
mod door;
mod gate;
mod host_name;
mod name_server;
mod name_table;
mod outside;
mod pace;
mod policy;
mod relay;
mod reserved;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use telemetry::Tasks;

pub use audit::EgressCounts;
pub use host_name::HostName;
pub use outside::{Outside, SystemNetwork};
pub use policy::{BadEgress, Denial, Destination, EgressConfig, EgressPolicy, Verdict};
pub use reserved::Reserved;

use crate::process::netns::NetworkSockets;
use audit::Audit;
use gate::Gate;
use name_server::NameServer;
use name_table::NameTable;
use pace::Pace;

/// What is to be known of a workload to serve it.
#[derive(Clone, Debug)]
pub struct EgressSettings {
    /// Names it in events.
    pub workload: Arc<str>,
    /// What it may reach.
    pub policy: EgressPolicy,
    /// What it may take up.
    pub limits: EgressLimits,
}

/// What a workload may take up at most.
#[derive(Clone, Copy, Debug)]
pub struct EgressLimits {
    /// Connections at a time; one more is reset.
    pub connections: usize,
    /// Connections and questions for names in a second, and so many more at once. What is beyond that waits.
    pub per_second: u32,
    /// How long looking up and connecting may take together.
    pub connect: Duration,
    /// A connection on which nothing moves for this long is reset, at the latest after twice as long.
    pub idle: Duration,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            per_second: 500,
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(60 * 60),
        }
    }
}

/// The egress of one workload while it is served.
#[derive(Clone, Debug)]
pub struct Egress {
    audit: Arc<Audit>,
}

impl Egress {
    /// Serves the sockets of a namespace until `tasks` are to stop. The sockets keep the namespace alive, so the tasks
    /// should be the workload's own and stop with it.
    ///
    /// Must be called in a Tokio runtime with IO and time.
    ///
    /// # Errors
    /// When the runtime does not take the sockets.
    pub fn serve<O: Outside>(
        settings: EgressSettings,
        sockets: NetworkSockets,
        outside: O,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let EgressSettings { workload, policy, limits } = settings;
        let audit = Arc::new(Audit::new(workload));
        let (policy, names) = (Arc::new(policy), NameTable::new());
        let pace = Arc::new(Pace::new(limits.per_second, limits.per_second));
        let dns_udp = tokio::net::UdpSocket::from_std(adopt::<UdpSocket>(sockets.dns_udp)?)?;
        let dns_tcp = tokio::net::TcpListener::from_std(adopt::<TcpListener>(sockets.dns_tcp)?)?;
        let tcp = tokio::net::TcpListener::from_std(adopt::<TcpListener>(sockets.tcp)?)?;
        let name_server = Arc::new(NameServer {
            policy: Arc::clone(&policy),
            names: names.clone(),
            audit: Arc::clone(&audit),
            pace: Arc::clone(&pace),
        });
        let gate = Arc::new(Gate { policy, names, audit: Arc::clone(&audit), limits, pace, outside });
        tasks.spawn("egress dns", Arc::clone(&name_server).serve_udp(dns_udp, tasks.clone()));
        tasks.spawn("egress dns over tcp", name_server.serve_tcp(dns_tcp, tasks.clone()));
        tasks.spawn("egress gate", gate.serve(tcp, tasks.clone()));
        Ok(Self { audit })
    }

    /// How it went so far.
    #[must_use]
    pub fn counts(&self) -> EgressCounts {
        self.audit.counts()
    }
}

/// A runtime takes sockets that do not block.
fn adopt<S: From<OwnedFd>>(socket: OwnedFd) -> io::Result<S> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket.into())
}
