//! Linux: a leash that the kernel pulls when skep dies, and a pidfd to see a leader end.
//!
//! **The leash.** `PR_SET_PDEATHSIG` reaches the direct child only, and `npx`, `uvx` and shells put the real server
//! below that. So each process group gets a pipe on which nothing is ever written. skep alone holds the writing end;
//! the reading end is set (`F_SETOWN`, `F_SETSIG`, `O_ASYNC`) to send SIGKILL to the group when something happens on
//! the pipe, and all that can happen is that the last writer goes: skep closed it, or skep is dead, whatever killed it.
//! No helper process, no registration that could be missed, and since the kernel keeps the group itself and not its
//! number, no other group that later gets the number is hit.
//!
//! Without a gap: between fork and exec the child holds a copy of the writing end too. If skep dies in between, the
//! exec closes the last writer, after the child has armed the leash.
//!
//! Not covered: a descendant that moves to a process group or session of its own, or to another user (`setsid`,
//! daemons, `sudo`). Only a PID namespace holds those: a sandbox has one ([`crate::sandbox`]).
//!
//! PDEATHSIG is set as well, so that for the leader at least nothing hangs on the order in which files are closed.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getppid, getrlimit, pidfd_open,
    set_parent_process_death_signal, setrlimit,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Not in `libc` for this target; the same number on every architecture (`asm-generic/fcntl.h`).
const F_SETSIG: libc::c_int = 10;

/// What skep was given before it took more.
static OPEN_FILES: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process open as many files as the system allows it. Commands get the limit that it was given: there are
/// programs that do not work with numbers above 1024 (`select`), and that is why it is what it is.
pub fn raise_open_files() {
    let given = OPEN_FILES.get_or_init(|| getrlimit(Resource::Nofile));
    // It cannot be refused, and with less skep serves fewer connections.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: given.maximum, maximum: given.maximum });
}

/// Gives back the pages of this program's file that were looked at up to now. To be called when a process that is to live
/// long has begun: what only its beginning needed, the loader's table of addresses and the reading of arguments among it,
/// is a good part of what an idle one holds. What is needed again is mapped again from the page cache.
pub fn let_go_of_program_file() {
    /// The first object that is told is the program itself.
    unsafe extern "C" fn let_go(
        object: *mut libc::dl_phdr_info,
        _: libc::size_t,
        _: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader's description is valid during this call, its list of segments as long as it says.
        let (base, segments) = unsafe {
            let object = &*object;
            (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
        };
        // What may be written, if only until the loader was done, is not as in the file any more.
        let is_as_in_file = |flags| flags & libc::PF_W == 0;
        for segment in segments.iter().filter(|it| it.p_type == libc::PT_LOAD && is_as_in_file(it.p_flags)) {
            let page = u64::try_from(rustix::param::page_size()).unwrap_or(u64::MAX);
            let start = (base + segment.p_vaddr) / page * page;
            let bytes = base + segment.p_vaddr + segment.p_memsz - start;
            // SAFETY: the segment is mapped from the file, privately, and never written: its pages are read again.
            // That this very code is among them makes no difference to it. It cannot fail so that it would matter.
            unsafe { libc::madvise(start as *mut libc::c_void, bytes as usize, libc::MADV_DONTNEED) };
        }
        1
    }
    // SAFETY: the function keeps to the convention and nothing it is given is kept.
    unsafe { libc::dl_iterate_phdr(Some(let_go), std::ptr::null_mut()) };
}

/// Kills the group of the command it was tied to when it is dropped, or when this process ends in any way.
///
/// INVARIANT: when the last writing end goes, a reading end must still be open, or nobody is told. A dying process
/// closes its files in the order of their numbers, up or down depending on how the kernel defers the work, so there is
/// a reading end on each side of the writing end: `below < _writer < above`. They are opened separately, since a
/// duplicate is the same file, and that would only close with its last number.
#[derive(Debug)]
pub(in crate::process) struct Leash {
    /// Dropped first (fields drop in order), which is what pulls the leash.
    _writer: OwnedFd,
    below: OwnedFd,
    above: OwnedFd,
}

impl Leash {
    pub(in crate::process) fn new() -> io::Result<Self> {
        let (below, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Pipe memory per user is limited and nothing is written here. Failing to give it back is no reason to stop.
        let _ = fcntl_setpipe_size(&below, 1);
        let writer = numbered_above(writer, &below)?;
        let above = File::open(format!("/proc/self/fd/{}", below.as_raw_fd()))?;
        let above = numbered_above(above.into(), &writer)?;
        Ok(Self { _writer: writer, below, above })
    }

    /// Ties the group that `command` will lead to this leash. The command must be set to lead a new process group.
    pub(in crate::process) fn tie(&self, command: &mut Command) {
        let skep = rustix::process::getpid();
        let open_files = OPEN_FILES.get().copied();
        let readers = [self.below.as_raw_fd(), self.above.as_raw_fd()];
        // SAFETY: the closure runs in the forked child of a threaded process, so it may only do what is safe in a
        // signal handler: it makes system calls and allocates nothing, takes no lock and does not panic. The numbers
        // in `readers` are open in the child too: it is forked while `self` is borrowed from its owner, who spawns.
        unsafe {
            command.pre_exec(move || {
                die_with(skep)?;
                for reader in readers {
                    arm(reader)?;
                }
                close_all_on_exec();
                if let Some(given) = &open_files {
                    setrlimit(Resource::Nofile, *given)?;
                }
                Ok(())
            });
        }
    }
}

/// Lets these descriptors through the exec of a child. To be called after everything that closes descriptors on exec.
pub(in crate::process) fn pass_on(command: &mut Command, descriptors: &[OwnedFd]) {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: the closure runs between fork and exec and makes one system call per number, nothing else. The numbers
    // are open in the child too: the caller keeps the descriptors until it has spawned.
    unsafe {
        command.pre_exec(move || {
            for &number in &numbers {
                if libc::fcntl(number, libc::F_SETFD, 0) == -1 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// Gives the file a number above the other's.
fn numbered_above(file: OwnedFd, other: &OwnedFd) -> io::Result<OwnedFd> {
    if file.as_raw_fd() > other.as_raw_fd() {
        return Ok(file);
    }
    Ok(fcntl_dupfd_cloexec(&file, other.as_raw_fd() + 1)?)
}

/// In the child: SIGKILL when the thread that forked it ends.
fn die_with(skep: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the line above.
    if getppid() != Some(skep) {
        return Err(Errno::SRCH.into());
    }
    Ok(())
}

/// In the child, which leads its group already: SIGKILL to the group when the pipe has lost its last writer.
fn arm(reader: RawFd) -> io::Result<()> {
    // SAFETY: `reader` is open (see `tie`), and these three commands take an integer and touch no memory of ours.
    let failed = unsafe {
        libc::fcntl(reader, libc::F_SETOWN, -libc::getpid()) == -1
            || libc::fcntl(reader, F_SETSIG, libc::SIGKILL) == -1
            || libc::fcntl(reader, libc::F_SETFL, libc::O_ASYNC) == -1
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// In the child: whatever skep itself inherited and would pass on stays out of the workload. Everything skep opens is
/// close-on-exec anyway, so on a kernel older than 5.11 this may fail in silence.
fn close_all_on_exec() {
    // SAFETY: the system call changes flags of file descriptors and touches no memory.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Tells when a process has ended, without reaping it.
#[derive(Debug)]
pub(in crate::process) struct ExitWatch(OwnedFd);

impl ExitWatch {
    /// Watches a child that has not been reaped.
    pub(in crate::process) fn open(pid: Pid) -> io::Result<Self> {
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Waits until the process has ended. Must be called in a runtime.
    pub(in crate::process) async fn ended(self) -> io::Result<()> {
        // SAFETY: the `AsyncFd` owns the open file descriptor, whose number cannot change, and is not forgotten.
        let pidfd = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        pidfd.readable().await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_goes_on_without_the_pages_of_its_file() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = resident();
        let_go_of_program_file();
        let after = resident();
        assert!(after < before, "{before} kB before, {after} kB after");
        // What the loader has written is still there.
        let shown: Vec<&dyn std::fmt::Debug> = vec![&1, &"two"];
        assert_eq!(format!("{shown:?}"), "[1, \"two\"]");
    }

    #[test]
    fn the_writing_end_has_a_reading_end_on_each_side() {
        // Free low numbers, so that a new pipe could get any order.
        let fillers: Vec<OwnedFd> = (0..8).map(|_| pipe_with(PipeFlags::CLOEXEC).unwrap().0).collect();
        let leashes: Vec<Leash> = (0..4).map(|_| Leash::new().unwrap()).collect();
        drop(fillers);
        for leash in leashes.into_iter().chain((0..8).map(|_| Leash::new().unwrap())) {
            let order = [&leash.below, &leash._writer, &leash.above].map(AsRawFd::as_raw_fd);
            assert!(order.is_sorted(), "{order:?}");
        }
        let (low, high) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let high_number = high.as_raw_fd();
        let moved = numbered_above(low, &high).unwrap();
        assert!(moved.as_raw_fd() > high_number);
    }
}
