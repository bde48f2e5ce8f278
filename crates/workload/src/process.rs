//! One run of a command. The unit is its whole process group: what `npx`, `uvx` or a shell starts below it is
//! signalled, killed and cleaned up with it.
//!
//! A [`Process`] is a handle; a task behind it does the work and outlives it only as long as the process takes to die.
//! The child leads a group of its own, holds none of skep's file descriptors, and starts with an empty signal mask and
//! the default SIGPIPE. `docs/lifetime-of-a-workload.md` tells the story in order.
//!
//! A command with a sandbox ([`crate::sandbox`]) is started through a helper that leaves pid 1 of the sandbox in the group
//! in its place, which tells how the command ended; nothing else differs for whoever holds the [`Process`]. Nor does it
//! for a command in a container, which is started there by pid 1 ([`crate::container`]).
//!
//! Absent on purpose: framing, restarts ([`crate::supervisor`]).

mod command;
#[cfg(target_os = "linux")]
mod confined;
#[cfg(not(target_os = "linux"))]
#[path = "process/unconfined.rs"]
mod confined;
mod driver;
mod exit;
mod group;
mod ladder;
mod leader;
pub(crate) mod os;
mod spawn_error;
mod spawner;

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use tokio::process::{ChildStdin, ChildStdout};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

pub use command::{BadCommand, CommandSpec};
pub use exit::{Asked, Cause, Exit};
#[cfg(target_os = "linux")]
pub use os::netns;
pub use os::{let_go_of_program_file, raise_open_files};
pub use spawn_error::SpawnError;

use self::confined::Confined;
use self::spawner::Making;
use crate::log::LogTail;
use crate::sandbox::NetworkSockets;

/// No grace period is longer; it only keeps the arithmetic of deadlines within bounds.
const LONGEST_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// A running process. Dropping it kills the whole group, without grace and without waiting.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    stop: watch::Sender<Option<Duration>>,
    done: watch::Receiver<Option<Exit>>,
    log: LogTail,
    confined: Option<Confined>,
}

/// The two ends that talk to the process. Dropping `stdin` tells it that nobody will ask any more.
#[derive(Debug)]
pub struct Pipes {
    /// What the process reads.
    pub stdin: ChildStdin,
    /// What the process writes.
    pub stdout: ChildStdout,
}

/// What the standard streams are connected to; stderr always goes to the log.
#[derive(Clone, Copy, Debug)]
enum Wiring {
    /// stdin and stdout are pipes of whoever asked.
    Piped,
    /// stdin is empty, stdout goes to the log.
    Logged,
}

/// The pipes before a runtime has taken them over.
#[derive(Debug)]
struct StdPipes {
    stdin: std::process::ChildStdin,
    stdout: Option<std::process::ChildStdout>,
}

impl Process {
    /// Starts a command that is talked to over stdin and stdout.
    ///
    /// Must be called in a Tokio runtime with IO and time, which then looks after the process. When the future is
    /// dropped early, what was started by then is killed.
    ///
    /// # Errors
    /// [`SpawnError`] when it could not be started. A command that starts and ends at once is no error here: see
    /// [`Self::wait`] and [`Self::stderr_tail`].
    pub async fn spawn_piped(spec: &CommandSpec, log: &LogTail) -> Result<(Self, Pipes), SpawnError> {
        let explain = |error| SpawnError::explain(spec, error);
        let spawner::Started { process, pipes } = start(spec, Wiring::Piped, log).await?;
        let pipes = pipes.ok_or_else(|| io::ErrorKind::BrokenPipe.into()).and_then(adopt).map_err(explain)?;
        Ok((process, pipes))
    }

    /// Starts a command that is not talked to over its pipes: stdin is empty, stdout and stderr go to the log.
    /// Everything else is as for [`Self::spawn_piped`].
    ///
    /// # Errors
    /// [`SpawnError`] when it could not be started.
    pub async fn spawn_logged(spec: &CommandSpec, log: &LogTail) -> Result<Self, SpawnError> {
        Ok(start(spec, Wiring::Logged, log).await?.process)
    }

    /// Its process id; in a sandbox, that of the sandbox's pid 1.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Stops the whole group and waits until it is gone; at most about half a second longer than the grace period.
    ///
    /// Drop [`Pipes::stdin`] before: a piped process first gets half a second to leave because its input ended, then
    /// SIGTERM and the grace period, then SIGKILL. The steps go on if this future is dropped.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.request_stop(grace);
        self.wait().await
    }

    /// Begins what [`Self::stop`] does and returns at once. Asking again can only make it quicker.
    pub fn request_stop(&self, grace: Duration) {
        self.stop.send_replace(Some(grace.min(LONGEST_GRACE)));
    }

    /// Waits until the process has ended, the rest of its group was killed and its last output is in the log.
    /// Cancel-safe; may be called any number of times.
    pub async fn wait(&self) -> Exit {
        let mut done = self.done.clone();
        let exit = done.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        // Without a driver (its runtime went away) the group was killed by dropping it.
        exit.unwrap_or(Exit { cause: Cause::Unknown, asked: Asked::NothingMore })
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        *self.done.borrow()
    }

    /// How many bytes at the end of what was written to it nobody has read, and nobody will: none as long as it runs.
    #[must_use]
    pub fn unread(&self, stdin: &ChildStdin) -> usize {
        // What is left in a pipe without a reader stays there (FIONREAD of pipe(7), on either end).
        let left = || rustix::io::ioctl_fionread(stdin).ok().and_then(|bytes| usize::try_from(bytes).ok());
        self.exit().and_then(|_| left()).unwrap_or(0)
    }

    /// The sockets of its network namespace that have to be served, once: with [`crate::sandbox::Network::Egress`] and
    /// if nobody has taken them yet. A container serves its own.
    #[must_use]
    pub fn take_network(&mut self) -> Option<NetworkSockets> {
        self.confined.as_mut().and_then(Confined::take_network)
    }

    /// A new TCP socket that is inside the network of its sandbox or container, not connected: the way to a server that listens there.
    ///
    /// # Errors
    /// When there is no sandbox, or it has ended.
    pub async fn socket_inside(&self) -> io::Result<OwnedFd> {
        match &self.confined {
            Some(confined) => confined.socket().await,
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "the process has no network of its own")),
        }
    }

    /// At most the last `count` lines of its log, oldest first.
    #[must_use]
    pub fn stderr_tail(&self, count: usize) -> Vec<String> {
        self.log.tail(count)
    }

    /// The log it writes to.
    #[must_use]
    pub fn log(&self) -> &LogTail {
        &self.log
    }
}

/// Starts it, in its sandbox or container if it has one.
async fn start(spec: &CommandSpec, wiring: Wiring, log: &LogTail) -> Result<spawner::Started, SpawnError> {
    let explain = |error| SpawnError::explain(spec, error);
    #[cfg(target_os = "linux")]
    if let Some(container) = spec.container() {
        return confined::start_inside(spec, container, wiring, log).await;
    }
    let Some(sandbox) = spec.sandbox() else {
        return order(spec.to_command(), None, wiring, log).await.map_err(explain);
    };
    let (command, making, confining) = confined::prepare(spec, sandbox)?;
    let mut started = order(command, Some(making), wiring, log).await.map_err(explain)?;
    // When this fails the process is dropped, and what there is of the sandbox with it.
    let (init, confined) = confining.until_started(spec).await?;
    started.process.pid = init;
    started.process.confined = Some(confined);
    Ok(started)
}

/// Has the spawner thread start a command.
async fn order(
    command: Command,
    making: Option<Making>,
    wiring: Wiring,
    log: &LogTail,
) -> io::Result<spawner::Started> {
    let (reply, started) = oneshot::channel();
    let order =
        spawner::Order { command, making, wiring, log: log.clone(), runtime: Handle::current(), reply };
    let gone = || io::Error::other("the spawner thread is gone");
    spawner::orders()?.send(order).await.map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

/// Hands the pipes to the runtime.
fn adopt(pipes: StdPipes) -> io::Result<Pipes> {
    let stdout = pipes.stdout.ok_or(io::ErrorKind::BrokenPipe)?;
    Ok(Pipes { stdin: ChildStdin::from_std(pipes.stdin)?, stdout: ChildStdout::from_std(stdout)? })
}
