//! How an instance is connected to where it is in a network of its own.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

/// A connection that is being made.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + 'a>>;

/// Connects to addresses that mean something elsewhere than in skep's own network.
pub trait Dial: Send + Sync + 'static {
    /// Connects; nothing has been sent by then.
    fn dial(&self, address: SocketAddr) -> Dialling<'_>;
}
