//! Netlink, as little of it as is needed: requests are put together byte by byte, sent, and each is answered.
//!
//! The layout is that of netlink(7): a header, a fixed part that the family defines, then attributes, everything padded
//! to four bytes. Numbers of netlink itself are in the machine's order, those of nf_tables in the network's.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Flags of a request (`linux/netlink.h`).
pub(super) const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

/// The message that carries an acknowledgement or an error.
const NLMSG_ERROR: u16 = 2;
/// An attribute that contains attributes.
const NESTED: u16 = 0x8000;

const HEADER: usize = 16;
/// Longer than any answer to the requests made here.
const ANSWER: usize = 8192;

/// One or more messages that are sent together. Each has a sequence number, counted from one.
#[derive(Debug, Default)]
pub(super) struct Request {
    bytes: Vec<u8>,
    messages: u32,
    acknowledged: u32,
}

/// Which part of the kernel is talked to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Family {
    /// Interfaces and routes.
    Route,
    /// nf_tables.
    Netfilter,
}

impl Request {
    /// Adds a message that the kernel is to acknowledge. `fixed` is the family's own header.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: impl FnOnce(&mut Attributes),
    ) {
        self.acknowledged += 1;
        self.plain(kind, flags | ACK, fixed, attributes);
    }

    /// Adds a message that is not acknowledged.
    pub(super) fn plain(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: impl FnOnce(&mut Attributes),
    ) {
        let begin = self.bytes.len();
        self.messages += 1;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(fixed);
        pad(&mut self.bytes);
        attributes(&mut Attributes { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - begin).expect("requests are short");
        self.bytes[begin..begin + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Sends everything and waits for each acknowledgement.
    pub(super) fn carry_out(&self, family: Family) -> io::Result<()> {
        let socket = self.send(family)?;
        let mut missing = self.acknowledged;
        while missing > 0 {
            for answer in Answers(&receive(&socket)?) {
                if let Answer::Done = answer? {
                    missing = missing.saturating_sub(1);
                }
            }
        }
        Ok(())
    }

    /// Sends a question and gives the body of the first answer.
    pub(super) fn ask(&self, family: Family) -> io::Result<Vec<u8>> {
        let answers = receive(&self.send(family)?)?;
        for answer in Answers(&answers) {
            if let Answer::Body(body) = answer? {
                return Ok(body.to_vec());
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn send(&self, family: Family) -> io::Result<OwnedFd> {
        let protocol: Option<Protocol> = match family {
            // It has the number zero.
            Family::Route => None,
            Family::Netfilter => Some(NETFILTER),
        };
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        send(&socket, &self.bytes, SendFlags::empty())?;
        Ok(socket)
    }
}

/// The next datagram. The kernel has answered by the time that sending returns, so nothing is waited for.
fn receive(socket: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; ANSWER];
    let (_, length) = recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
    buffer.truncate(length);
    Ok(buffer)
}

/// What is said in an answer.
#[derive(Debug, PartialEq, Eq)]
enum Answer<'a> {
    Done,
    Body(&'a [u8]),
}

/// The messages of a datagram; errors that the kernel reports are errors here.
struct Answers<'a>(&'a [u8]);

impl<'a> Iterator for Answers<'a> {
    type Item = io::Result<Answer<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((kind, body, rest)) = split(self.0) else {
            self.0 = &[];
            return Some(Err(io::ErrorKind::InvalidData.into()));
        };
        self.0 = rest;
        if kind != NLMSG_ERROR {
            return Some(Ok(Answer::Body(body)));
        }
        let code = body.first_chunk().map(|code| i32::from_ne_bytes(*code));
        Some(match code {
            Some(0) => Ok(Answer::Done),
            Some(code) => Err(Errno::from_raw_os_error(code.wrapping_neg()).into()),
            None => Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// Type and body of the first message, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
    let body = bytes.get(HEADER..length)?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, rest))
}

/// Writes attributes: length, type, value, padding.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// Bytes as they are.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("values are short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        pad(self.bytes);
    }

    /// A name, which ends with a zero.
    pub(super) fn name(&mut self, kind: u16, name: &str) {
        self.bytes(kind, &[name.as_bytes(), &[0]].concat());
    }

    /// A number in the machine's order, as interfaces and routes have them.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A number in the network's order, as nf_tables has them.
    pub(super) fn network_number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Attributes in an attribute.
    pub(super) fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Attributes)) {
        let begin = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((NESTED | kind).to_ne_bytes());
        inside(&mut Attributes { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - begin).expect("requests are short");
        self.bytes[begin..begin + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_count_what_is_inside_and_padding_stands_outside() {
        let mut request = Request::default();
        request.message(7, CREATE, &[9; 2], |attributes| {
            attributes.name(1, "lo");
            attributes.nested(2, |inside| inside.network_number(3, 5));
        });
        let bytes = &request.bytes;
        assert_eq!(bytes.len(), 16 + 4 + 8 + 12);
        assert_eq!(bytes[..4], 40u32.to_ne_bytes());
        assert_eq!(bytes[6..8], (REQUEST | ACK | CREATE).to_ne_bytes());
        assert_eq!(bytes[16..20], [9, 9, 0, 0]);
        assert_eq!(bytes[20..28], [&7u16.to_ne_bytes()[..], &1u16.to_ne_bytes(), b"lo\0\0"].concat());
        assert_eq!(bytes[28..32], [12u16.to_ne_bytes(), (NESTED | 2).to_ne_bytes()].concat());
        assert_eq!(bytes[36..], [0, 0, 0, 5]);
    }

    #[test]
    fn an_answer_is_done_an_error_or_a_body() {
        let message = |kind: u16, body: &[u8]| {
            let length = u32::try_from(HEADER + body.len()).unwrap();
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
        };
        let all = [
            message(NLMSG_ERROR, &[0; 4]),
            message(16, b"body"),
            message(NLMSG_ERROR, &(-1i32).to_ne_bytes()),
        ];
        let all = all.concat();
        let answers: Vec<_> = Answers(&all).collect();
        assert_eq!(*answers[0].as_ref().unwrap(), Answer::Done);
        assert_eq!(*answers[1].as_ref().unwrap(), Answer::Body(b"body"));
        assert_eq!(answers[2].as_ref().unwrap_err().raw_os_error(), Some(1));
    }

    proptest! {
        #[test]
        fn whatever_is_answered_reading_it_ends(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(Answers(&bytes).count() <= bytes.len());
        }
    }
}
