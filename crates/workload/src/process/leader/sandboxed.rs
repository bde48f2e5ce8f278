//! When a sandbox has ended. What made it leaves soon, and is reaped then; pid 1 stays as long as the command.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::process::exit::Cause;
use crate::process::group::Group;
use crate::process::os::ExitWatch;
use crate::sandbox::Ending;

/// Tells when a sandbox has ended.
#[derive(Debug)]
pub(in crate::process) struct EndOfSandbox {
    maker: Pid,
    maker_left: ExitWatch,
    /// pid 1 writes there how the command ended; it closes with the last of the two.
    ending: OwnedFd,
}

impl EndOfSandbox {
    /// `maker_left` watches the leader of the group.
    pub(in crate::process) fn new(group: &Group, maker_left: ExitWatch, ending: OwnedFd) -> Self {
        Self { maker: group.id(), maker_left, ending }
    }

    /// Waits until it has ended. Where nothing says how, it was killed.
    pub(super) async fn come(self) -> io::Result<Cause> {
        self.maker_left.ended().await?;
        reap_if_done(self.maker)?;
        let mut bytes = Vec::new();
        pipe::Receiver::from_owned_fd(self.ending)?.read_to_end(&mut bytes).await?;
        Ok(match bytes.try_into().map(Ending::from_bytes) {
            Ok(Ending::Status(status)) => Cause::Exited(status.into()),
            Ok(Ending::Signal(signal)) => Cause::Signalled(signal.into()),
            Err(_) => Cause::Signalled(libc::SIGKILL),
        })
    }
}

/// Reaps what made the sandbox, if it has: then pid 1 keeps the number of the group. Otherwise nobody else may.
fn reap_if_done(maker: Pid) -> io::Result<()> {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = waitid(WaitId::Pid(maker), ended | WaitIdOptions::NOWAIT)?;
    if status.is_some_and(|status| status.exit_status() == Some(0)) {
        waitid(WaitId::Pid(maker), ended)?;
    }
    Ok(())
}
