//! The thread that forks.
//!
//! INVARIANT: every child is forked by this one thread, and it lives as long as skep. The parent-death signal is about
//! the *thread* that forked: a child forked by a worker of the runtime would be killed when that worker goes. Nothing
//! here may panic. It also keeps the runtime's threads free of fork, which takes long in a large process.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::driver::{self, Streams};
use super::group::Group;
#[cfg(target_os = "linux")]
use super::leader::EndOfSandbox;
use super::leader::{EndOfLeader, Leader};
use super::os::{ExitWatch, Leash, pass_on};
use super::{Process, StdPipes, Wiring};
use crate::log::LogTail;

/// Spawns that may wait for the thread; more wait in their tasks.
const QUEUE: usize = 64;
/// The thread calls a few shallow functions.
const STACK_BYTES: usize = 256 * 1024;

/// A command to start, and who to tell.
pub(super) struct Order {
    pub(super) command: Command,
    /// For a command that makes a sandbox.
    pub(super) making: Option<Making>,
    pub(super) wiring: Wiring,
    pub(super) log: LogTail,
    pub(super) runtime: Handle,
    pub(super) reply: oneshot::Sender<io::Result<Started>>,
}

/// What a command that makes a sandbox has besides its standard streams.
pub(super) struct Making {
    /// What it inherits.
    pub(super) passed_on: [OwnedFd; 3],
    /// Where it is read how the sandbox ended.
    pub(super) ending: OwnedFd,
}

/// A running process, already looked after by a task of the order's runtime. Dropping it ends the process.
pub(super) struct Started {
    pub(super) process: Process,
    pub(super) pipes: Option<StdPipes>,
}

/// The way to the thread, which is started on first use.
pub(super) fn orders() -> io::Result<mpsc::Sender<Order>> {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    if let Some(orders) = ORDERS.get() {
        return Ok(orders.clone());
    }
    let (orders, mut inbox) = mpsc::channel::<Order>(QUEUE);
    let work = move || {
        while let Some(order) = inbox.blocking_recv() {
            let Order { command, making, wiring, log, runtime, reply } = order;
            let started = start(command, making, wiring, log, &runtime);
            // If nobody waits any more, what was started ends by being dropped here.
            let _ = reply.send(started);
        }
    };
    std::thread::Builder::new().name("workload-spawn".to_owned()).stack_size(STACK_BYTES).spawn(work)?;
    // Two first callers may start a thread each. The loser's ends at once, before it has forked anything.
    Ok(ORDERS.get_or_init(|| orders).clone())
}

fn start(
    mut command: Command,
    making: Option<Making>,
    wiring: Wiring,
    log: LogTail,
    runtime: &Handle,
) -> io::Result<Started> {
    let (stdin, stdout) = match wiring {
        Wiring::Piped => (Stdio::piped(), Stdio::piped()),
        Wiring::Logged => (Stdio::null(), Stdio::piped()),
    };
    let leash = Leash::new()?;
    leash.tie(&mut command);
    if let Some(making) = &making {
        pass_on(&mut command, &making.passed_on);
    }
    let child = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn()?;
    let mut group = Group::new(child, leash);
    let exit = match ExitWatch::open(group.id()) {
        Ok(exit) => exit,
        Err(error) => {
            group.destroy();
            return Err(error);
        }
    };
    let leader = group.leader_mut();
    let pipes = leader.stdin.take().map(|stdin| StdPipes { stdin, stdout: leader.stdout.take() });
    let streams = Streams { stdout: leader.stdout.take(), stderr: leader.stderr.take() };
    let (leader, end) = match making {
        None => (Leader::Child(group), EndOfLeader::Child(exit)),
        #[cfg(target_os = "linux")]
        Some(Making { ending, .. }) => {
            let end = EndOfSandbox::new(&group, exit, ending);
            (Leader::Sandboxed(group), EndOfLeader::Sandboxed(end))
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    let (process, driver) = driver::new(leader, end, streams, wiring, log);
    runtime.spawn(driver);
    Ok(Started { process, pipes })
}
