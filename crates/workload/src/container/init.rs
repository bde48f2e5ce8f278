//! pid 1 of a container: skep's own program, which runs commands there for a skep outside.
//!
//! It has one thread and one line. What it needs rights for is done at first; of them it keeps those to become an image's
//! user and to signal what runs as one, and no command inherits any. When the line closes, because skep let go of the
//! container or is dead, it ends, and the kernel kills whatever else is in the container.

mod command;
mod user;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::fchown;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, kill_process_group, set_dumpable_behavior, waitpid,
};
use rustix::thread::{CapabilitySet, set_no_new_privs};

use super::message::{Ending, Order, Report, Request};
use super::{EGRESS, LINE};
use crate::line;
use crate::process::netns::prepare_made;
use crate::process::os::namespace;
use crate::sandbox::helper::walls;
use crate::sandbox::{SetupError, Step};
use user::User;

/// What it keeps: to give pipes to the image's user, to become that user without rights, and to signal what runs as it.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::KILL);

/// Is pid 1, and ends.
pub(super) fn run(words: &[std::ffi::OsString]) -> ! {
    let is_served = words.iter().any(|word| word == EGRESS);
    // Somebody called it by its hidden name.
    if !rustix::process::getpid().is_init() || !namespace::has_one_thread() {
        namespace::leave(64);
    }
    let Ok(line) = dial() else { namespace::leave(65) };
    match prepare(is_served) {
        Ok((sockets, children)) => {
            let told = line::send(&line, &Report::Ready, &sockets);
            drop(sockets);
            if told.is_ok() {
                Init { line, children, runs: Vec::new() }.serve();
            }
        }
        Err(error) => drop(line::send(&line, &Report::Unready(error), &[])),
    }
    namespace::leave(0)
}

/// Connects to skep.
fn dial() -> io::Result<OwnedFd> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    namespace::close_all_on_exec()?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(LINE)?)?;
    Ok(socket)
}

/// Everything that needs rights which are given up then. Gives the sockets of the network and what tells of children.
fn prepare(is_served: bool) -> Result<(Vec<OwnedFd>, OwnedFd), SetupError> {
    let sockets = if is_served {
        let sockets = prepare_made().map_err(|error| other(&format!("its network: {error}"), error))?;
        vec![sockets.dns_udp, sockets.dns_tcp, sockets.tcp]
    } else {
        Vec::new()
    };
    set_no_new_privs(true).map_err(|error| other("no_new_privs", error))?;
    walls::keep(KEPT).map_err(|error| other("capabilities cannot be given up", error))?;
    let children = namespace::child_ended().map_err(|error| other("children cannot be watched", error))?;
    Ok((sockets, children))
}

fn other(text: &str, error: impl Into<io::Error>) -> SetupError {
    Step::Other(text.to_owned()).failed(error)
}

/// A command that has not ended.
struct Run {
    number: u64,
    leader: Pid,
}

struct Init {
    line: OwnedFd,
    children: OwnedFd,
    runs: Vec<Run>,
}

impl Init {
    /// Until nobody is there any more.
    fn serve(mut self) {
        loop {
            let mut waited =
                [PollFd::new(&self.line, PollFlags::IN), PollFd::new(&self.children, PollFlags::IN)];
            let woken = poll(&mut waited, None);
            let is_asked = woken.is_ok() && !waited[0].revents().is_empty();
            let mut signals = [0; 1024];
            let _ = rustix::io::read(&self.children, &mut signals);
            // The ends come first, so that a signal is never for what has ended.
            if self.reap().is_err() || (is_asked && self.answer().is_err()) {
                return;
            }
        }
    }

    /// Answers one request. An error: nobody will ask any more.
    fn answer(&mut self) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (request, mut descriptors) = line::receive(&self.line)?.ok_or_else(gone)?;
        match request {
            Request::Start { run } => {
                let order = descriptors.pop().ok_or_else(gone).and_then(Order::read)?;
                match launch(&order) {
                    Ok((leader, pipes)) => {
                        self.runs.push(Run { number: run, leader });
                        let pid = leader.as_raw_nonzero().get();
                        line::send(&self.line, &Report::Started { run, pid }, &pipes)
                    }
                    Err(error) => line::send(&self.line, &Report::Failed { run, error }, &[]),
                }
            }
            Request::Signal { run, signal } => {
                let leader = self.runs.iter().find(|known| known.number == run).map(|known| known.leader);
                if let Some((leader, signal)) = leader.zip(Signal::from_named_raw(signal)) {
                    let _ = kill_process_group(leader, signal);
                }
                Ok(())
            }
            Request::WantSocket => {
                let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
                line::send(&self.line, &Report::Socket, &Vec::from_iter(socket))
            }
        }
    }

    /// Reaps what has ended, and with a leader ends its group.
    fn reap(&mut self) -> io::Result<()> {
        while let Some(pid) = namespace::ended_child() {
            let run = self.runs.iter().position(|run| run.leader == pid).map(|at| self.runs.swap_remove(at));
            if run.is_some() {
                // INVARIANT: before the leader is reaped, so that the number is still this group's.
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let status = waitpid(Some(pid), WaitOptions::NOHANG);
            if let Some((run, Ok(Some((_, status))))) = run.map(|run| (run, status)) {
                let ending = match (status.exit_status(), status.terminating_signal()) {
                    (Some(status), _) => Ending::Status(status),
                    (None, signal) => Ending::Signal(signal.unwrap_or_default()),
                };
                line::send(&self.line, &Report::Ended { run: run.number, ending }, &[])?;
            }
        }
        Ok(())
    }
}

/// Forks a command and waits until it was executed. Gives skep's ends of its pipes.
fn launch(order: &Order) -> Result<(Pid, Vec<OwnedFd>), SetupError> {
    let no_pipe = |error| other("no pipe could be made", error);
    let user = User::of_image(&order.user).map_err(|why| other(&why, io::ErrorKind::NotFound))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    if order.is_asked {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| no_pipe(error.into()))?;
        (ours, theirs) = (vec![writer], vec![reader]);
    } else {
        theirs.push(File::open("/dev/null").map_err(no_pipe)?.into());
    }
    for _ in 0..2 {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| no_pipe(error.into()))?;
        ours.push(reader);
        theirs.push(writer);
    }
    // So that what is written to /dev/stderr is not refused.
    for end in &theirs[usize::from(!order.is_asked)..] {
        fchown(end, Some(user.uid), Some(user.gid)).map_err(|error| no_pipe(error.into()))?;
    }
    let (reader, failure) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| no_pipe(error.into()))?;
    let forked = namespace::fork().map_err(|error| other("no process could be made", error))?;
    let Some(pid) = forked else { command::run(order, &user, &theirs, &failure) };
    drop((failure, theirs));
    let mut said = Vec::new();
    File::from(reader).read_to_end(&mut said).map_err(|error| other("the command cannot be heard", error))?;
    if said.is_empty() {
        return Ok((pid, ours));
    }
    let _ = waitpid(Some(pid), WaitOptions::empty());
    Err(serde_json::from_slice(&said)
        .unwrap_or_else(|error| other("the command was not started", io::Error::from(error))))
}
