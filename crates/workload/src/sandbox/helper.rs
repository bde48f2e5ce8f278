//! The helper mode: one thread, three processes, and the command at the end.
//!
//! 1. The **holder** is what skep started: the leader of the process group that skep signals. It makes the user and PID
//!    namespaces, waits, and ends as the command did.
//! 2. **pid 1** ([`init`]) makes the other namespaces and the mounts, reaps, and takes the namespace with it when it
//!    goes. It dies with the holder.
//! 3. The **command** gives up what it must not have ([`walls`]) and is then executed.
//!
//! All three are in the process group of the holder, so TERM reaches the command as it would without a sandbox; the
//! other two are deaf to it. Each tells what failed and is gone; nothing here is repaired or tried again.

pub(crate) mod bounds;
mod cgroup;
mod command;
mod identity;
mod init;
mod mounts;
mod probe;
mod syscalls;
pub(crate) mod walls;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, umask, waitpid};

use self::cgroup::Cgroup;
pub(super) use self::probe::ARGUMENT as PROBE;
use super::plan::Plan;
use super::report::{self, Message, SetupError, Step};
use super::{Part, PrepareNetwork};
use crate::process::os::namespace;

/// How a command ended: what pid 1 writes for the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Status(u8),
    Signal(u8),
}

impl Ending {
    fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Status(status) => [0, status],
            Self::Signal(signal) => [1, signal],
        }
    }

    fn from_bytes(bytes: [u8; 2]) -> Self {
        match bytes {
            [0, status] => Self::Status(status),
            [_, signal] => Self::Signal(signal),
        }
    }
}

/// What pid 1 is given.
struct Task {
    plan: Plan,
    control: OwnedFd,
    /// Where the ending is written. The holder reads; it is gone when nobody does.
    ending: OwnedFd,
    cgroup: Cgroup,
    umask: Mode,
    prepare: Option<PrepareNetwork>,
}

/// Is the helper, as its arguments say, and ends.
pub(super) fn run(prepare: Option<PrepareNetwork>) -> ! {
    let args: Vec<OsString> = std::env::args_os().skip(2).collect();
    let numbers: Vec<i32> = args.iter().filter_map(|arg| arg.to_str()?.parse().ok()).collect();
    let inherited: Vec<OwnedFd> = numbers.into_iter().filter_map(namespace::inherited).collect();
    match <[OwnedFd; 2]>::try_from(inherited) {
        Ok([plan, control]) => hold(plan, control, prepare),
        Err(_) if args.first().is_some_and(|arg| arg == PROBE) => probe::run(),
        // Not started by skep.
        Err(_) => namespace::leave(64),
    }
}

fn hold(plan: OwnedFd, control: OwnedFd, prepare: Option<PrepareNetwork>) -> ! {
    let told = control.try_clone();
    match start(plan, control, prepare) {
        Ok(held) => {
            drop(told);
            held.until_over()
        }
        Err(error) => {
            if let Ok(control) = told {
                let _ = report::send(control, &Message::Failed(error), &[]);
            }
            namespace::leave(1)
        }
    }
}

/// The sandbox as its holder has it.
struct Held {
    init: Pid,
    ending: OwnedFd,
    cgroup: Cgroup,
}

fn start(plan: OwnedFd, control: OwnedFd, prepare: Option<PrepareNetwork>) -> Result<Held, SetupError> {
    let other = |text: &str| Step::Other(text.to_owned());
    if !namespace::has_one_thread() {
        return Err(other("the helper was started too late: it has threads").failed(io::ErrorKind::Other));
    }
    let plan = Plan::read(plan).map_err(|error| other("the plan cannot be read").failed(error))?;
    let umask = umask(Mode::from_bits_truncate(0o022));
    namespace::leave_groups();
    let cgroup = Cgroup::make(&plan.bounds);
    bounds::refuse_unenforceable(&plan, &cgroup)?;
    identity::enter(libc::CLONE_NEWPID).map_err(|error| Step::Part(Part::UserNamespace).failed(error))?;
    let (reader, ending) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| other("no pipe could be made").failed(error))?;
    let forked = namespace::fork().map_err(|error| Step::Part(Part::Pids).failed(error))?;
    match forked {
        Some(init) => Ok(Held { init, ending: reader, cgroup }),
        None => {
            drop(reader);
            init::run(&Task { plan, control, ending, cgroup, umask, prepare })
        }
    }
}

impl Held {
    /// Waits for the end of the sandbox and ends in the same way.
    fn until_over(self) -> ! {
        namespace::block_signals();
        let _ = walls::give_up_rights();
        let _ = let_go_of_stdio();
        while let Err(rustix::io::Errno::INTR) = waitpid(Some(self.init), WaitOptions::empty()) {}
        let mut bytes = [0; 2];
        let ending =
            std::fs::File::from(self.ending).read_exact(&mut bytes).map(|()| Ending::from_bytes(bytes));
        drop(self.cgroup);
        match ending {
            Ok(Ending::Status(status)) => namespace::leave(status.into()),
            Ok(Ending::Signal(signal)) => {
                if let Some(name) = Signal::from_named_raw(signal.into()) {
                    namespace::die_by(name);
                }
                namespace::leave(128 + i32::from(signal))
            }
            // pid 1 was killed, and everything with it.
            Err(_) => {
                namespace::die_by(Signal::KILL);
                namespace::leave(137)
            }
        }
    }
}

/// Only the command holds the pipes that skep talks to it over, so that skep sees them end with it.
pub(crate) fn let_go_of_stdio() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}
