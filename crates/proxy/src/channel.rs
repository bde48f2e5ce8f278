//! A server that speaks in messages over one connection: a child's pipes, a legacy SSE stream, a remote endpoint.
//!
//! The bridge puts HTTP in front of such a channel and does not know which of them it is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait in each direction. Full means: the sender waits.
pub const CHANNEL_DEPTH: usize = 64;

/// Why a channel could not be opened, in words for the person who runs the server.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ConnectError {
    /// What was attempted and why it failed, last lines of a child's stderr included.
    pub reason: String,
}

/// An open channel. Dropping it closes the connection (ends the child).
pub struct Channel {
    /// To the server, one whole JSON-RPC message each.
    pub outgoing: mpsc::Sender<Bytes>,
    /// From the server, likewise; it ends when the server is gone.
    pub incoming: mpsc::Receiver<Bytes>,
    /// Whatever must live as long as the channel.
    pub guard: Box<dyn Guard>,
    /// The process behind it, if it is one of this machine: the id of its group.
    pub process: Option<u32>,
    /// What was never delivered.
    pub undelivered: Undelivered,
}

/// Messages that a channel took and of which nothing whole reached the server: it cannot have acted on them.
#[derive(Debug, Default)]
pub struct Undelivered(Option<oneshot::Receiver<Vec<Bytes>>>);

impl Undelivered {
    /// To be told once, when nothing more is written.
    pub(crate) fn told_by() -> (oneshot::Sender<Vec<Bytes>>, Self) {
        let (tell, told) = oneshot::channel();
        (tell, Self(Some(told)))
    }

    /// Waits until nothing more is written, which is after all senders are gone. Empty where that is not known.
    pub(crate) async fn get(self) -> Vec<Bytes> {
        match self.0 {
            Some(told) => told.await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}

/// Something that is dropped when a server is gone.
pub type Held = Box<dyn Send + Sync>;

/// What stands behind a channel.
pub trait Guard: Send {
    /// After `incoming` ended: why, in words (exit status and last lines of stderr, or a connection error).
    fn why_closed(&mut self) -> Pin<Box<dyn Future<Output = String> + Send + '_>>;

    /// Keeps something until the server is gone, which may be later than the guard is dropped: a process is given time
    /// to end.
    fn hold(&mut self, until_gone: Held);
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

/// Opens channels to one server: each call is a new connection (a new child).
pub trait Connect: Send + Sync + 'static {
    /// Opens one.
    fn open(&self) -> Pin<Box<dyn Future<Output = Result<Channel, ConnectError>> + Send + '_>>;
}
