//! The leader of a process group, wherever it runs: a child of ours, or a command in a container, whose parent does what
//! skep asks for.

use std::io;

use rustix::process::Signal;
#[cfg(target_os = "linux")]
use tokio::sync::oneshot;

#[cfg(target_os = "linux")]
pub(super) use self::sandboxed::EndOfSandbox;
use super::exit::Cause;
use super::group::Group;
use super::os::ExitWatch;
#[cfg(target_os = "linux")]
use crate::{container, sandbox};

#[cfg(target_os = "linux")]
mod sandboxed;

/// The leader and its group. Dropping it kills the group and does not wait.
#[derive(Debug)]
pub(super) enum Leader {
    Child(Group),
    /// What made a sandbox, as long as it is there, and pid 1.
    #[cfg(target_os = "linux")]
    Sandboxed(Group),
    #[cfg(target_os = "linux")]
    Inside(container::Run),
}

impl Leader {
    /// Its process id on this machine.
    pub(super) fn id(&self) -> i32 {
        match self {
            Self::Child(group) => group.id().as_raw_pid(),
            #[cfg(target_os = "linux")]
            Self::Sandboxed(group) => group.id().as_raw_pid(),
            #[cfg(target_os = "linux")]
            Self::Inside(run) => run.pid(),
        }
    }

    /// Sends a signal to every process of the group.
    pub(super) fn signal(&self, signal: Signal) {
        match self {
            Self::Child(group) => group.signal(signal),
            #[cfg(target_os = "linux")]
            Self::Sandboxed(group) => group.signal(signal),
            #[cfg(target_os = "linux")]
            Self::Inside(run) => run.signal(signal),
        }
    }

    /// Ends what it left behind, once it has ended, and says why it did where nobody has said so. In a sandbox it waits
    /// until everything there has ended.
    pub(super) async fn reap(&mut self) -> Cause {
        match self {
            Self::Child(group) => group.reap(),
            #[cfg(target_os = "linux")]
            Self::Sandboxed(group) => {
                group.reap_all().await;
                sandbox::clean_up(group.id().as_raw_pid().unsigned_abs());
                Cause::Unknown
            }
            #[cfg(target_os = "linux")]
            Self::Inside(_) => Cause::Unknown,
        }
    }
}

/// Tells when a leader has ended.
#[derive(Debug)]
pub(super) enum EndOfLeader {
    /// It has to be reaped then.
    Child(ExitWatch),
    #[cfg(target_os = "linux")]
    Sandboxed(EndOfSandbox),
    /// It was reaped inside.
    #[cfg(target_os = "linux")]
    Inside(oneshot::Receiver<Cause>),
}

impl EndOfLeader {
    /// Waits until it has ended; says why, where that is known by then.
    pub(super) async fn come(self) -> io::Result<Option<Cause>> {
        match self {
            Self::Child(exit) => exit.ended().await.map(|()| None),
            #[cfg(target_os = "linux")]
            Self::Sandboxed(end) => end.come().await.map(Some),
            #[cfg(target_os = "linux")]
            Self::Inside(ended) => Ok(Some(ended.await.unwrap_or(Cause::ContainerEnded))),
        }
    }
}
