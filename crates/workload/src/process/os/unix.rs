//! Unix systems other than Linux: a group dies when its owner is dropped, but not when skep is killed; a thread waits
//! for each leader. Enough to develop on.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::watch;

/// Commands would get it too: it is left as it is.
pub fn raise_open_files() {}

/// What lies in memory is the system's affair.
pub fn let_go_of_program_file() {}

/// Ties nothing: there is no parent-death signal here.
#[derive(Debug)]
pub(in crate::process) struct Leash;

impl Leash {
    #[expect(clippy::unnecessary_wraps, reason = "the same signature as on Linux")]
    pub(in crate::process) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "the same signature as on Linux")]
    pub(in crate::process) fn tie(&self, _command: &mut Command) {}
}

/// Nothing is passed on where there are no sandboxes.
pub(in crate::process) fn pass_on(_command: &mut Command, _descriptors: &[OwnedFd]) {}

/// Tells when a process has ended, without reaping it.
#[derive(Debug)]
pub(in crate::process) struct ExitWatch(watch::Receiver<bool>);

impl ExitWatch {
    /// Watches a child that has not been reaped.
    pub(in crate::process) fn open(pid: Pid) -> io::Result<Self> {
        let (told, ended) = watch::channel(false);
        std::thread::Builder::new().name("workload-wait".to_owned()).spawn(move || {
            // An error means that there is no such child any more.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            told.send_replace(true);
        })?;
        Ok(Self(ended))
    }

    /// Waits until the process has ended.
    pub(in crate::process) async fn ended(mut self) -> io::Result<()> {
        self.0.wait_for(|ended| *ended).await.map(|_| ()).map_err(io::Error::other)
    }
}
