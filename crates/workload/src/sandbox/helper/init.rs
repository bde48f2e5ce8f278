//! pid 1 of a sandbox until its command runs: builds it, and starts the command in it. Then it becomes a program that is
//! nothing but pid 1 ([`namespace::become_init`]), which reaps and ends as soon as the command has.
//!
//! When it ends, in whatever way, the kernel kills everything else in its PID namespace, processes that left the group
//! and the session included. It has no rights left by the time the command runs, and the command can neither signal it
//! nor look into it.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};

use super::super::report::{self, Message, SetupError, Step};
use super::super::{Network, Part, PrepareNetwork};
use super::cgroup::Controller;
use super::{Task, command, let_go_of_stdio, mounts, walls};
use crate::process::os::namespace;

/// Does all of it. `entered` is closed when this process is in its control group.
pub(super) fn run(task: &Task, entered: OwnedFd) -> ! {
    let Err(error) = start(task, entered).and_then(|running| become_init(&running, task));
    let _ = report::send(&task.control, &Message::Failed(error), &[]);
    namespace::leave(1)
}

/// A command that runs.
struct Running {
    command: Pid,
    /// Can be read when a child has ended.
    children: OwnedFd,
    /// The number of this process where skep is.
    init: i32,
}

fn start(task: &Task, entered: OwnedFd) -> Result<Running, SetupError> {
    die_with_skep(task).map_err(|error| other("pid 1 could not be tied to skep", error))?;
    task.cgroup.enter()?;
    drop(entered);
    let init = number_outside().map_err(|error| other("pid 1 does not know its number", error))?;
    enter_namespaces(task.plan.network)?;
    rustix::system::sethostname(b"sandbox").map_err(|error| Step::Part(Part::Ipc).failed(error))?;
    set_up_network(task.plan.network, task.prepare, &task.control)?;
    mounts::build(&task.plan)?;
    // For the command as well, which is forked below.
    walls::give_up_rights()?;
    let children = namespace::child_ended().map_err(|error| other("children cannot be watched", error))?;
    Ok(Running { command: launch(task)?, children, init })
}

/// Becomes the program that looks after the command; that one tells skep that it runs.
fn become_init(running: &Running, task: &Task) -> Result<Infallible, SetupError> {
    let failed = |error: io::Error| other("pid 1 could not become what it is to be", error);
    let text = |message: &Message| serde_json::to_string(message).map_err(|error| failed(error.into()));
    let mut args = vec!["skep: pid 1".to_owned(), running.command.as_raw_pid().to_string()];
    namespace::close_all_on_exec().map_err(failed)?;
    for passed_on in [&running.children, &task.control, &task.ending] {
        fcntl_setfd(passed_on, FdFlags::empty()).map_err(|error| failed(error.into()))?;
        args.push(passed_on.as_raw_fd().to_string());
    }
    args.extend([text(&Message::Started { init: running.init })?, text(&Message::Socket)?]);
    namespace::become_init(&args).map_err(failed)
}

fn other(text: &str, error: impl Into<io::Error>) -> SetupError {
    Step::Other(text.to_owned()).failed(error)
}

/// The process id that this process has in the namespace whose `/proc` is mounted here, which is still the host's.
fn number_outside() -> io::Result<i32> {
    let link = std::fs::read_link("/proc/self")?;
    link.to_str().and_then(|number| number.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn die_with_skep(task: &Task) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the line above: then nobody reads the ending any more.
    let mut ending = [PollFd::new(&task.ending, PollFlags::empty())];
    poll(&mut ending, Some(&Timespec::default()))?;
    if ending[0].revents().contains(PollFlags::ERR) { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
}

/// One by one, so that it is known which one is refused.
fn enter_namespaces(network: Network) -> Result<(), SetupError> {
    let all = [
        (libc::CLONE_NEWNS, Part::Mounts),
        (libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP, Part::Ipc),
        (libc::CLONE_NEWNET, Part::Network),
    ];
    for (flags, part) in
        all.into_iter().filter(|(_, part)| network != Network::Host || *part != Part::Network)
    {
        namespace::unshare(flags).map_err(|error| Step::Part(part).failed(error))?;
    }
    Ok(())
}

fn set_up_network(
    network: Network,
    prepare: Option<PrepareNetwork>,
    control: &OwnedFd,
) -> Result<(), SetupError> {
    let failed = |error: io::Error| Step::Part(Part::Network).failed(error);
    match (network, prepare) {
        (Network::Host, _) => Ok(()),
        (Network::None, _) => namespace::raise_loopback().map_err(failed),
        (Network::Egress, None) => {
            Err(other("nothing here can filter what leaves the sandbox", io::ErrorKind::Unsupported))
        }
        (Network::Egress, Some(prepare)) => {
            let sockets = prepare().map_err(failed)?;
            let descriptors = [sockets.dns_udp, sockets.dns_tcp, sockets.tcp];
            report::send(control, &Message::Network, &descriptors).map_err(failed)
        }
    }
}

/// Forks the command and waits until it was executed.
fn launch(task: &Task) -> Result<Pid, SetupError> {
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|error| other("no pipe could be made", error))?;
    // Before there is anybody who could look. The command is not kept from being looked into: exec undoes it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| other("pid 1 cannot be hidden", error))?;
    let forked = namespace::fork().map_err(|error| other("no process could be made", error))?;
    let Some(pid) = forked else {
        drop(reader);
        command::run(&task.plan, task.umask, task.cgroup.holds(Controller::Memory), &writer)
    };
    drop(writer);
    let_go_of_stdio().map_err(|error| other("pid 1 could not let go of the pipes", error))?;
    let mut failure = Vec::new();
    File::from(reader)
        .read_to_end(&mut failure)
        .map_err(|error| other("the command cannot be heard", error))?;
    if failure.is_empty() {
        return Ok(pid);
    }
    // A report that was cut says at least that there was one.
    Err(serde_json::from_slice(&failure)
        .unwrap_or_else(|error| other("the command was not started", io::Error::from(error))))
}
