//! A process group and its leader, our child. Signals go to the whole group.
//!
//! INVARIANT: the group is signalled only while its leader is not reaped. Until then the leader, alive or a zombie,
//! keeps the number from being given to another group; afterwards [`Group`] sends nothing.
//!
//! Why not `process-wrap`: the standard library makes the group, and what is left is this order, which it leaves open.

use std::io;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process_group};

use super::exit::Cause;
use super::os::Leash;

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
        self.reap_with(|leader| leader.try_wait().map(|status| status.map_or(Cause::Unknown, Cause::from)))
    }

    /// Kills the whole group and waits for its leader. Blocks, if only until the kernel is done with it.
    pub(super) fn destroy(mut self) {
        self.reap_with(|leader| leader.wait().map(Cause::from));
    }

    fn reap_with(&mut self, wait: impl FnOnce(&mut Child) -> io::Result<Cause>) -> Cause {
        self.signal(Signal::KILL);
        self.is_reaped = true;
        wait(&mut self.leader).unwrap_or_else(|error| {
            tracing::warn!(process.pid = self.id.as_raw_pid(), %error, "process was not reaped");
            Cause::Unknown
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
