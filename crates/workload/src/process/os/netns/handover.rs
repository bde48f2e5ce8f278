//! From the namespace to skep: the sockets cross a Unix socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::NetworkSockets;

const SOCKETS: usize = 3;

impl NetworkSockets {
    /// Sends the sockets to whoever has the other end of a Unix socket.
    ///
    /// # Errors
    /// When nobody has, or nothing can be sent.
    pub fn send(&self, to: impl AsFd) -> io::Result<()> {
        let sockets = [self.dns_udp.as_fd(), self.dns_tcp.as_fd(), self.tcp.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(&sockets));
        debug_assert!(fits, "the space is made for them");
        // Descriptors do not travel without a byte.
        sendmsg(to, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Takes what [`Self::send`] sent. Blocks until it has come, if the socket does.
    ///
    /// # Errors
    /// When it does not come: the sender is gone, or sent something else.
    pub fn receive(from: impl AsFd) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut sockets: Vec<OwnedFd> = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors);
            }
        }
        let [dns_udp, dns_tcp, tcp] = <[OwnedFd; SOCKETS]>::try_from(sockets)
            .map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, "the sockets did not come"))?;
        Ok(Self { dns_udp, dns_tcp, tcp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixStream;

    #[test]
    fn sockets_arrive_in_their_places() {
        let (here, there) = UnixStream::pair().unwrap();
        let [dns_tcp, tcp] = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [&dns_tcp, &tcp].map(|listener| listener.local_addr().unwrap().port());
        let dns_udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        NetworkSockets { dns_udp: dns_udp.into(), dns_tcp: dns_tcp.into(), tcp: tcp.into() }
            .send(&here)
            .unwrap();
        let got = NetworkSockets::receive(&there).unwrap();
        let got = [got.dns_tcp, got.tcp].map(|socket| TcpListener::from(socket).local_addr().unwrap().port());
        assert_eq!(got, ports);
    }

    #[test]
    fn without_them_it_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        drop(here);
        assert_eq!(NetworkSockets::receive(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
