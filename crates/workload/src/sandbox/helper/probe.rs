//! Tries each part of the isolation in a process of its own, and writes what came of it to stdout.

use std::io::{self, Write};

use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};
use rustix::process::{WaitOptions, waitpid};
use rustix::thread::set_no_new_privs;

use super::super::{Finding, Part, Standing};
use super::cgroup::{Controller, can_hold};
use super::{bounds, identity, mounts, syscalls};
use crate::process::os::namespace;

/// What stands in the place of the descriptors.
pub(in crate::sandbox) const ARGUMENT: &str = "check";

pub(super) fn run() -> ! {
    let findings: Vec<Finding> =
        Part::ALL.into_iter().map(|part| Finding { part, standing: standing(part) }).collect();
    let written = serde_json::to_vec(&findings).map_err(io::Error::other).and_then(|text| {
        io::stdout().write_all(&text)?;
        io::stdout().flush()
    });
    namespace::leave(i32::from(written.is_err()))
}

fn standing(part: Part) -> Standing {
    match try_part(part) {
        Ok(by) => Standing::Enforced { by },
        Err(error) => {
            let what_helps = part.what_helps().to_owned();
            Standing::Missing { why: part.reason(error).to_string(), what_helps }
        }
    }
}

fn try_part(part: Part) -> io::Result<Option<String>> {
    let fine = |()| None;
    match part {
        Part::UserNamespace => apart(|| identity::enter(0)).map(fine),
        Part::Mounts => apart(try_mounts).map(fine),
        Part::Pids => apart(try_pids).map(fine),
        Part::Ipc => {
            let flags = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
            apart(|| identity::enter(flags)).map(fine)
        }
        Part::Network => apart(|| {
            identity::enter(libc::CLONE_NEWNET)?;
            namespace::raise_loopback()
        })
        .map(fine),
        Part::Landlock => namespace::landlock_abi().map(|abi| Some(format!("ABI {abi}"))),
        Part::Seccomp => apart(try_seccomp).map(fine),
        Part::MemoryBound => {
            let by =
                if can_hold(Controller::Memory) { "a control group" } else { "a limit for each process" };
            Ok(Some(by.to_owned()))
        }
        Part::ProcessBound => match (can_hold(Controller::Pids), bounds::limit_holds_processes()) {
            (true, _) => Ok(Some("a control group".to_owned())),
            (false, true) => Ok(Some("a resource limit".to_owned())),
            // Resource limits on processes do not bind root.
            (false, false) => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        },
        Part::CpuBound if can_hold(Controller::Cpu) => Ok(Some("a control group".to_owned())),
        Part::CpuBound => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

fn try_mounts() -> io::Result<()> {
    identity::enter(libc::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mounts::try_show("/usr".as_ref())
}

fn try_pids() -> io::Result<()> {
    identity::enter(libc::CLONE_NEWNS | libc::CLONE_NEWPID)?;
    apart(|| mounts::new_mount("proc", &[], MountAttrFlags::MOUNT_ATTR_RDONLY).map(drop))
}

/// With the filter on, a call that it refuses is refused and one that it allows is not.
fn try_seccomp() -> io::Result<()> {
    set_no_new_privs(true)?;
    syscalls::restrict().map_err(io::Error::other)?;
    let refused = namespace::unshare(0).is_err_and(|error| error.raw_os_error() == Some(libc::EPERM));
    if refused { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ENOSYS)) }
}

/// Tries something in a child, which ends with it.
pub(super) fn apart(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let Some(child) = namespace::fork()? else {
        let errno = attempt().map_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO), |()| 0);
        namespace::leave(errno)
    };
    let ended = waitpid(Some(child), WaitOptions::empty())?;
    match ended.and_then(|(_, status)| status.exit_status()) {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(io::Error::other("the attempt was killed")),
    }
}
