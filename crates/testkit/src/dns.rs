//! A name server that gives the same addresses to every question, until it is told others.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Seconds that an answer holds.
const TIME_TO_LIVE: [u8; 4] = [0, 0, 0, 1];
const HEAD: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
const CLASS_IN: [u8; 2] = [0, 1];

/// The server; it ends when dropped.
#[derive(Debug)]
pub struct NameServer {
    addresses: watch::Sender<Vec<Ipv4Addr>>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Answers at this address (UDP).
    ///
    /// # Errors
    /// It cannot be listened on.
    pub fn start(at: SocketAddr, addresses: &[Ipv4Addr]) -> anyhow::Result<Self> {
        Self::on(std::net::UdpSocket::bind(at)?, addresses)
    }

    /// Answers on this socket, wherever it is.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn on(socket: std::net::UdpSocket, addresses: &[Ipv4Addr]) -> anyhow::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let (addresses, known) = watch::channel(addresses.to_vec());
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut question).await {
                let answer = answer(&question[..size], &known.borrow());
                if let Some(answer) = answer {
                    // Whoever asked asks again.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Self { addresses, task })
    }

    /// From now on the name has these addresses; none: there is no such name.
    pub fn now(&self, addresses: &[Ipv4Addr]) {
        self.addresses.send_replace(addresses.to_vec());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to one question (RFC 1035 §4); `None` where it cannot be read.
fn answer(question: &[u8], addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
    let mut end = HEAD;
    while *question.get(end)? != 0 {
        end += usize::from(question[end]) + 1;
    }
    let kind = question.get(end + 1..end + 3)?;
    let asked = question.get(HEAD..end + 5)?;
    let given = if kind == TYPE_A { addresses } else { &[] };
    // A response to a standard query, recursion available; the code says whether there is such a name.
    let code = if addresses.is_empty() { 3 } else { 0 };
    let mut out = [&question[..2], &[0x81, 0x80 | code, 0, 1]].concat();
    out.extend(u16::try_from(given.len()).ok()?.to_be_bytes());
    out.extend([0; 4]);
    out.extend(asked);
    for address in given {
        // The name is the one asked for: a pointer behind the head.
        out.extend([0xc0, 12]);
        out.extend([TYPE_A, CLASS_IN].concat());
        out.extend(TIME_TO_LIVE);
        out.extend([0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &[u8] = b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x04test\x00\x00\x01\x00\x01";

    #[test]
    fn addresses_are_given_to_those_who_ask_for_them() {
        let address = Ipv4Addr::new(127, 0, 0, 2);
        let given = answer(ASKED, &[address]).unwrap();
        assert_eq!(given[..8], [1, 2, 0x81, 0x80, 0, 1, 0, 1]);
        assert!(given.ends_with(&[0, 4, 127, 0, 0, 2]));
        let other = [&ASKED[..ASKED.len() - 4], &[0, 28, 0, 1]].concat();
        assert_eq!(answer(&other, &[address]).unwrap()[3..8], [0x80, 0, 1, 0, 0], "no address of that kind");
        assert_eq!(answer(ASKED, &[]).unwrap()[3..8], [0x83, 0, 1, 0, 0], "no such name");
        assert_eq!(answer(&ASKED[..20], &[]), None);
    }
}
