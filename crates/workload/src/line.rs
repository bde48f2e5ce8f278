//! A line between two processes: one pair of Unix sockets that keeps messages apart, each message a JSON text with
//! descriptors. What is said on it is up to whoever talks ([`crate::sandbox`], [`crate::container`]).

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longer than the longest message, which names one path.
const MESSAGE_BYTES: usize = 32 * 1024;
/// No file of memory that is handed on is larger; an argument list of the system is not either.
const MOST_BYTES: u64 = 16 << 20;
/// Most descriptors of one message: a network's sockets, or a command's pipes.
const DESCRIPTORS: usize = 3;

/// Sends one message, with descriptors.
pub(crate) fn send(to: impl AsFd, message: &impl Serialize, descriptors: &[OwnedFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    if !borrowed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(to, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message, with its descriptors. `None`: the other end is gone.
pub(crate) fn receive<M: DeserializeOwned>(from: impl AsFd) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let count = recvmsg(from, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&bytes[..count]).map_err(io::Error::other)?;
    Ok(Some((message, descriptors)))
}

/// A value in a file of memory, to be handed on: it may be longer than a message, and is in no argument and no
/// environment, where others would see it.
pub(crate) fn in_memory(name: &str, value: &impl Serialize) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(value).map_err(io::Error::other)?)?;
    file.rewind()?;
    Ok(file.into())
}

/// What [`in_memory`] was given.
pub(crate) fn from_memory<T: DeserializeOwned>(file: OwnedFd) -> io::Result<T> {
    let mut bytes = Vec::new();
    File::from(file).take(MOST_BYTES).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}
