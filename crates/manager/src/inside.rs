//! The way to a server that listens in the network of its sandbox or container: connections are made with sockets from there.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use proxy::upstream::{Dial, Dialling};
use tokio::net::{TcpSocket, TcpStream};
use workload::Process;

/// The run of a command that is connected to: the newest one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inside(Arc<Mutex<Weak<Process>>>);

impl Inside {
    /// Connects to this run from now on.
    pub(crate) fn enter(&self, process: &Arc<Process>) {
        *self.0.lock() = Arc::downgrade(process);
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let process = self.0.lock().upgrade();
        let process =
            process.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the server does not run"))?;
        let socket = StdStream::from(process.socket_inside().await?);
        socket.set_nonblocking(true)?;
        TcpSocket::from_std_stream(socket).connect(address).await
    }
}

impl Dial for Inside {
    fn dial(&self, address: SocketAddr) -> Dialling<'_> {
        Box::pin(self.connect(address))
    }
}
