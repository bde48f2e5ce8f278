//! The helper mode: one thread, three processes one after the other, of which two stay.
//!
//! 1. The **maker** is what skep started: it leads the process group that skep signals, makes the user and PID
//!    namespaces and, beside itself, pid 1; and leaves when that one is in its control group.
//! 2. **pid 1** ([`init`]), a child of skep from the start, makes the other namespaces and the mounts, reaps, and takes
//!    the namespace with it when it goes. It dies with skep.
//! 3. The **command** gives up what it must not have ([`walls`]) and is then executed.
//!
//! All are in the process group of the maker, which keeps its number as long as pid 1 is in it. So TERM reaches the
//! command as it would without a sandbox; pid 1 is deaf to it. Each tells what failed and is gone; nothing here is
//! repaired or tried again.

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
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::Mode;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::umask;

use self::cgroup::Cgroup;
pub(super) use self::cgroup::remove as remove_cgroups;
pub(super) use self::probe::ARGUMENT as PROBE;
use super::plan::Plan;
use super::report::{self, Message, SetupError, Step};
use super::{Part, PrepareNetwork};
use crate::process::os::namespace;

/// What pid 1 is given.
struct Task {
    plan: Plan,
    control: OwnedFd,
    /// Where the ending is written. skep reads; it is gone when nobody does.
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
    match <[OwnedFd; 3]>::try_from(inherited) {
        Ok([plan, control, ending]) => make(plan, control, ending, prepare),
        Err(_) if args.first().is_some_and(|arg| arg == PROBE) => probe::run(),
        // Not started by skep.
        Err(_) => namespace::leave(64),
    }
}

/// Leaves with status 0 where pid 1 is there.
fn make(plan: OwnedFd, control: OwnedFd, ending: OwnedFd, prepare: Option<PrepareNetwork>) -> ! {
    let told = control.try_clone();
    let failed = start(plan, control, ending, prepare).err();
    let status = i32::from(failed.is_some());
    if let (Some(error), Ok(control)) = (failed, told) {
        let _ = report::send(control, &Message::Failed(error), &[]);
    }
    namespace::leave(status)
}

fn start(
    plan: OwnedFd,
    control: OwnedFd,
    ending: OwnedFd,
    prepare: Option<PrepareNetwork>,
) -> Result<(), SetupError> {
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
    let (reader, entered) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| other("no pipe could be made").failed(error))?;
    let forked = namespace::fork_beside().map_err(|error| Step::Part(Part::Pids).failed(error))?;
    if forked.is_none() {
        drop(reader);
        init::run(&Task { plan, control, ending, cgroup, umask, prepare }, entered);
    }
    drop(entered);
    // Until then another sandbox that starts would take the group for one that nobody needs.
    File::from(reader)
        .read_to_end(&mut Vec::new())
        .map_err(|error| other("pid 1 cannot be heard").failed(error))?;
    Ok(())
}

/// Only the command holds the pipes that skep talks to it over, so that skep sees them end with it.
pub(crate) fn let_go_of_stdio() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}
