//! What is said between skep and pid 1 of a container.
//!
//! First pid 1 tells that it is ready, with the sockets of its network where that has to be served. Then skep asks: for
//! commands to be run, which may overlap, for signals, and for sockets. How a command ended is told unasked.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::line;
use crate::process::Cause;
use crate::sandbox::{Bounds, SetupError};

/// From skep.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Run a command, which skep knows by this number; with a memory file that holds the [`Order`].
    Start { run: u64 },
    /// Send a signal to the process group of a command.
    Signal { run: u64, signal: i32 },
    /// A new TCP socket, please.
    WantSocket,
}

/// From pid 1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// With the sockets of the network in the order of its fields, or none.
    Ready,
    /// There is nothing to run commands in.
    Unready(SetupError),
    /// A command runs; with our ends of its stdin (if it has one), stdout and stderr. The number is the container's own.
    Started { run: u64, pid: i32 },
    /// It does not.
    Failed { run: u64, error: SetupError },
    /// It has ended.
    Ended { run: u64, ending: Ending },
    /// With the socket that was asked for, if one could be made.
    Socket,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ending {
    Status(i32),
    Signal(i32),
}

impl From<Ending> for Cause {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Status(status) => Self::Exited(status),
            Ending::Signal(signal) => Self::Signalled(signal),
        }
    }
}

/// What to run. It has no `Debug`: arguments and variables hold secrets, which is also why it travels in a memory file
/// and not in what the runtime shows of a container.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    /// The program, looked up on the `PATH` of `env`, and its arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: OsString,
    /// As an image says it: `NAME`, `UID`, `NAME:GROUP`, …; empty is root.
    pub(crate) user: String,
    /// Whether stdin is a pipe.
    pub(crate) is_asked: bool,
    pub(crate) bounds: Bounds,
}

impl Order {
    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        line::in_memory("container-order", self)
    }

    pub(super) fn read(from: OwnedFd) -> io::Result<Self> {
        line::from_memory(from)
    }
}
