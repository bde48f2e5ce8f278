//! A process group and its leader, our child. Signals go to the whole group.
//!
//! INVARIANT: the group is signalled only while its leader is not reaped. Until then the leader, alive or a zombie,
//! keeps the number from being given to another group; afterwards [`Group`] sends nothing. In a sandbox, what made it
//! leads the group and leaves; pid 1, a child of ours as well, is in the group and keeps the number from then on.
//!
//! Why not `process-wrap`: the standard library makes the group, and what is left is this order, which it leaves open.

use std::process::Child;
#[cfg(target_os = "linux")]
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};

use super::exit::Cause;
use super::os::Leash;

/// Between two looks whether the kernel has ended a whole sandbox, at most.
#[cfg(target_os = "linux")]
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Owns a process group. Dropping it kills the group and does not wait.
#[derive(Debug)]
pub(super) struct Group {
    leader: Child,
    id: Pid,
    is_reaped: bool,
    /// Dropped after the kill of [`Drop`]; until then it holds the group to the life of skep.
    _leash: Leash,
}

impl Group {
    /// Takes a child that was spawned as the leader of a group of its own and tied to this leash.
    pub(super) fn new(leader: Child, leash: Leash) -> Self {
        let id = Pid::from_child(&leader);
        Self { leader, id, is_reaped: false, _leash: leash }
    }

    /// The leader's process id, which is also the group's.
    pub(super) fn id(&self) -> Pid {
        self.id
    }

    /// The ends of the leader's pipes that are ours.
    pub(super) fn leader_mut(&mut self) -> &mut Child {
        &mut self.leader
    }

    /// Sends a signal to every process of the group.
    pub(super) fn signal(&self, signal: Signal) {
        if self.is_reaped {
            return;
        }
        if let Err(error) = kill_process_group(self.id, signal) {
            tracing::debug!(process.pid = self.id.as_raw_pid(), %error, "process group was not signalled");
        }
    }

    /// Ends what the leader left behind, then reaps the leader. To be called once it has ended; does not block.
    pub(super) fn reap(&mut self) -> Cause {
        self.signal(Signal::KILL);
        self.is_reaped = true;
        let ended = self.leader.try_wait().map(|status| status.map_or(Cause::Unknown, Cause::from));
        ended.unwrap_or_else(|error| {
            tracing::warn!(process.pid = self.id.as_raw_pid(), %error, "process was not reaped");
            Cause::Unknown
        })
    }

    /// Reaps every child of skep that is in the group, once it has ended. Kills them before.
    #[cfg(target_os = "linux")]
    pub(super) async fn reap_all(&mut self) {
        self.signal(Signal::KILL);
        self.is_reaped = true;
        let mut pause = Duration::from_millis(1);
        // As long as there is one, the number is nobody else's.
        while let Ok(reaped) = waitpgid(self.id, WaitOptions::NOHANG) {
            if reaped.is_none() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Kills the whole group and waits for what of it is a child of skep. Blocks, if only until the kernel is done.
    pub(super) fn destroy(mut self) {
        self.signal(Signal::KILL);
        self.is_reaped = true;
        while waitpgid(self.id, WaitOptions::empty()).is_ok() {}
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
