//! How much a sandbox may use: what a cgroup holds, and resource limits for the rest.
//!
//! A bound that nothing here holds is refused, unless the user accepts that by name. Resource limits are each process's
//! own, but for the number of processes, which is counted over the whole user namespace (Linux 5.14); not for root,
//! whom it does not bind.

use std::io;

use rustix::process::{Resource, Rlimit, geteuid, setrlimit};

use super::super::plan::Plan;
use super::super::report::{SetupError, Step};
use super::super::{Bounds, Part};
use super::cgroup::{Cgroup, Controller};
use super::probe;
use crate::process::os::namespace;

/// Whether a resource limit holds the number of processes. Not for root, but whoever is root in a user namespace need
/// not be it outside, so that is found out by trying.
pub(super) fn limit_holds_processes() -> bool {
    let try_it = || {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Nproc, none)?;
        match namespace::fork() {
            Err(_) => Ok(()),
            Ok(None) => namespace::leave(0),
            Ok(Some(_)) => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        }
    };
    !geteuid().is_root() || probe::apart(try_it).is_ok()
}

/// Refuses bounds that could not be held.
pub(super) fn refuse_unenforceable(plan: &Plan, cgroup: &Cgroup) -> Result<(), SetupError> {
    let bounds = &plan.bounds;
    let wanted = [
        (bounds.processes, Controller::Pids, Part::ProcessBound),
        (bounds.cpu_percent, Controller::Cpu, Part::CpuBound),
    ];
    for (bound, controller, part) in wanted {
        let is_held = bound.is_none()
            || cgroup.holds(controller)
            || (part == Part::ProcessBound && limit_holds_processes());
        if !is_held && !plan.waived.contains(&part) {
            return Err(Step::Part(part).failed(io::Error::from_raw_os_error(libc::ENOSYS)));
        }
    }
    Ok(())
}

/// In the process that becomes the command. Limits only ever go down from here.
pub(crate) fn limit(bounds: &Bounds, has_memory_cgroup: bool) -> Result<(), SetupError> {
    // pid 1 is of the same user in the same namespace.
    let processes = bounds.processes.map(|processes| processes.saturating_add(1));
    let memory = if has_memory_cgroup { None } else { bounds.memory };
    let limits = [
        (Resource::Core, Some(0), Part::MemoryBound),
        (Resource::Nproc, processes, Part::ProcessBound),
        (Resource::Nofile, bounds.open_files, Part::ProcessBound),
        (Resource::Data, memory, Part::MemoryBound),
    ];
    for (resource, limit, part) in limits {
        let Some(limit) = limit else { continue };
        let highest = rustix::process::getrlimit(resource).maximum;
        let limit = highest.map_or(limit, |highest| limit.min(highest));
        let both = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, both).map_err(|error| Step::Part(part).failed(error))?;
    }
    Ok(())
}
