//! What is said between skep and the processes of a sandbox, over one line ([`crate::line`]).
//!
//! The helper tells, in order: the descriptors of a prepared network (only with [`super::Network::Egress`]), then that
//! the command runs, or why it does not. Afterwards pid 1 answers one request: for a socket of its network namespace.
//! The other end closing is the end of the sandbox.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{NetworkSockets, Part};
pub(super) use crate::line::{receive, send};

/// How long the helper may take. What it does is local, but for a mount of a file system that hangs.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long pid 1, which does nothing else, may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// With the descriptors of [`NetworkSockets`], in the order of its fields.
    Network,
    /// The command runs, below pid 1, whose number outside is this.
    Started { init: i32 },
    /// It does not.
    Failed(SetupError),
    /// To pid 1: a new TCP socket, please.
    WantSocket,
    /// From pid 1, with that socket if one could be made.
    Socket,
}

/// How the command ended: what pid 1 writes, last of all, in two bytes (0 and a status, or 1 and a signal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Status(u8),
    Signal(u8),
}

impl Ending {
    pub(crate) fn from_bytes(bytes: [u8; 2]) -> Self {
        match bytes {
            [0, status] => Self::Status(status),
            [_, signal] => Self::Signal(signal),
        }
    }
}

/// Which step inside the helper failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetupError {
    pub(crate) step: Step,
    /// What the system said, as a number; 0 where it said nothing.
    pub(crate) errno: i32,
}

/// What was attempted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// To make or enter this part.
    Part(Part),
    /// To show this path of the host.
    Show(PathBuf),
    /// To put something at this path inside.
    Place(PathBuf),
    /// To cover this path inside.
    Hide(PathBuf),
    /// To enter the working directory inside.
    Enter(PathBuf),
    /// To run the command.
    Exec,
    /// Anything else, in words.
    Other(String),
}

impl Step {
    /// The step with what the system said.
    pub(crate) fn failed(self, error: impl Into<io::Error>) -> SetupError {
        SetupError { step: self, errno: error.into().raw_os_error().unwrap_or(0) }
    }
}

/// Makes the two ends: ours, and the helper's.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// skep's end.
#[derive(Debug)]
pub(crate) struct Outside(UnixStream);

impl Outside {
    /// Must be called in a runtime with IO.
    pub(crate) fn new(ours: OwnedFd) -> io::Result<Self> {
        let stream = StdUnixStream::from(ours);
        stream.set_nonblocking(true)?;
        Ok(Self(UnixStream::from_std(stream)?))
    }

    /// Waits until the command runs. Gives the number of its pid 1, and its network if that has to be served.
    pub(crate) async fn started(&self) -> Result<(i32, Option<NetworkSockets>), SetupError> {
        let other = |text: &str| Step::Other(text.to_owned());
        let mut network = None;
        loop {
            let received = timeout(START_LIMIT, self.receive()).await;
            let received =
                received.map_err(|_| other("the helper does not answer").failed(io::ErrorKind::TimedOut))?;
            match received.map_err(|error| other("the helper cannot be heard").failed(error))? {
                Some((Message::Network, descriptors)) => network = sockets(descriptors),
                Some((Message::Started { init }, _)) => return Ok((init, network)),
                Some((Message::Failed(error), _)) => return Err(error),
                Some((Message::WantSocket | Message::Socket, _)) | None => {
                    return Err(other("the helper ended without a word").failed(io::ErrorKind::BrokenPipe));
                }
            }
        }
    }

    /// A new TCP socket of the sandbox's network namespace, not connected. One request at a time.
    pub(crate) async fn socket(&self) -> io::Result<OwnedFd> {
        send(&self.0, &Message::WantSocket, &[])?;
        match timeout(ANSWER_LIMIT, self.receive()).await?? {
            Some((Message::Socket, mut descriptors)) => {
                descriptors.pop().ok_or_else(|| io::Error::other("the sandbox could not make a socket"))
            }
            _ => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the sandbox is gone")),
        }
    }

    async fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        self.0.async_io(Interest::READABLE, || receive(&self.0)).await
    }
}

fn sockets(descriptors: Vec<OwnedFd>) -> Option<NetworkSockets> {
    let [dns_udp, dns_tcp, tcp] = descriptors.try_into().ok()?;
    Some(NetworkSockets { dns_udp, dns_tcp, tcp })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_descriptors_and_then_end() {
        let (ours, theirs) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let failed = Message::Failed(Step::Show("/x".into()).failed(io::Error::from_raw_os_error(2)));
        send(&theirs, &Message::Network, &[reader, writer]).unwrap();
        send(&theirs, &failed, &[]).unwrap();
        drop(theirs);
        let (first, descriptors) = receive::<Message>(&ours).unwrap().unwrap();
        assert_eq!((first, descriptors.len()), (Message::Network, 2));
        rustix::io::write(&descriptors[1], b"x").unwrap();
        assert_eq!(receive::<Message>(&ours).unwrap().unwrap().0, failed);
        assert!(receive::<Message>(&ours).unwrap().is_none());
    }
}
