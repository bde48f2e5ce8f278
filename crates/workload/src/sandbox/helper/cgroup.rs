//! A control group for a sandbox, where this user may make one: version 2 beside skep's own (or below it, at the root),
//! version 1 below skep's own.
//!
//! Made by the maker, removed by skep. Where skep was killed it stays behind, empty, until the next sandbox starts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::report::{SetupError, Step};
use super::super::{Bounds, Part};

/// How the directories begin; the maker's process id follows.
const PREFIX: &str = "skep-";
/// Over which the share of a processor is measured, in microseconds.
const CPU_PERIOD: u64 = 100_000;

/// What a control group can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    fn wanted(self, bounds: &Bounds) -> Option<u64> {
        match self {
            Self::Memory => bounds.memory,
            // pid 1 is in it too.
            Self::Pids => bounds.processes.map(|processes| processes.saturating_add(1)),
            Self::Cpu => bounds.cpu_percent,
        }
    }
}

/// The directories of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Cgroup {
    dirs: Vec<Dir>,
    held: Vec<Controller>,
}

#[derive(Debug)]
struct Dir {
    path: PathBuf,
    members: File,
}

/// Where groups of a hierarchy can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    dir: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// Makes what is wanted as far as it can be had. What could not is not held; that is for the caller to judge.
    pub(super) fn make(bounds: &Bounds) -> Self {
        let mut made = Self::default();
        for controller in Controller::ALL {
            if let Some(limit) = controller.wanted(bounds) {
                let _ = made.hold(controller, limit);
            }
        }
        made
    }

    /// Whether the bound is held by a group.
    pub(super) fn holds(&self, controller: Controller) -> bool {
        self.held.contains(&controller)
    }

    /// Moves this process in.
    pub(super) fn enter(&self) -> Result<(), SetupError> {
        for mut members in self.dirs.iter().map(|dir| &dir.members) {
            members.write_all(b"0").map_err(|error| Step::Part(Part::ProcessBound).failed(error))?;
        }
        Ok(())
    }

    fn hold(&mut self, controller: Controller, limit: u64) -> io::Result<()> {
        let place = place(controller).ok_or(io::ErrorKind::NotFound)?;
        let path = place.dir.join(format!("{PREFIX}{}", std::process::id()));
        if !self.dirs.iter().any(|dir| dir.path == path) {
            sweep(&place.dir);
            if place.is_v2 {
                // On already, or not ours to turn on; the next lines find out.
                let _ =
                    fs::write(place.dir.join("cgroup.subtree_control"), format!("+{}", controller.name()));
            }
            // Of another maker that had the same number.
            let _ = fs::remove_dir(&path);
            fs::create_dir(&path)?;
            let members = OpenOptions::new().write(true).open(path.join("cgroup.procs"));
            match members {
                Ok(members) => self.dirs.push(Dir { path: path.clone(), members }),
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    return Err(error);
                }
            }
        }
        for (file, value) in settings(controller, place.is_v2, limit) {
            fs::write(path.join(file), value)?;
        }
        self.held.push(controller);
        // Without it the kernel swaps instead of refusing. Absent where there is no swap.
        if controller == Controller::Memory {
            let (file, value) =
                if place.is_v2 { ("memory.swap.max", "0") } else { ("memory.swappiness", "0") };
            let _ = fs::write(path.join(file), value);
        }
        Ok(())
    }
}

/// Removes what a maker with this process id has made, once nobody is in it any more.
pub(in crate::sandbox) fn remove(maker: u32) {
    for place in Controller::ALL.into_iter().filter_map(place) {
        let _ = fs::remove_dir(place.dir.join(format!("{PREFIX}{maker}")));
    }
}

/// Whether a group for this could be made, found out by making one.
pub(super) fn can_hold(controller: Controller) -> bool {
    // Far above what is used, far below what a machine has.
    let limit = if controller == Controller::Memory { 1 << 30 } else { 100 };
    let held = Cgroup::default().hold(controller, limit).is_ok();
    remove(std::process::id());
    held
}

/// The files of a limit, in the order they are written.
fn settings(controller: Controller, is_v2: bool, limit: u64) -> Vec<(&'static str, String)> {
    match (controller, is_v2) {
        (Controller::Memory, true) => vec![("memory.max", limit.to_string())],
        (Controller::Memory, false) => vec![("memory.limit_in_bytes", limit.to_string())],
        (Controller::Pids, _) => vec![("pids.max", limit.to_string())],
        (Controller::Cpu, true) => vec![("cpu.max", format!("{} {CPU_PERIOD}", limit * CPU_PERIOD / 100))],
        (Controller::Cpu, false) => vec![
            ("cpu.cfs_period_us", CPU_PERIOD.to_string()),
            ("cpu.cfs_quota_us", (limit * CPU_PERIOD / 100).to_string()),
        ],
    }
}

/// Takes away what was left. A group with processes is not removed by the kernel.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn place(controller: Controller) -> Option<Place> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let place = place_in(&own, &mounts, controller)?;
    place.dir.is_dir().then_some(place)
}

/// Reads proc_pid_cgroup(5) and mountinfo(5). Pure.
fn place_in(own: &str, mounts: &str, controller: Controller) -> Option<Place> {
    let lines = || own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let v1 = lines().find(|(names, _)| names.split(',').any(|name| name == controller.name()));
    let (wanted, path) = match v1 {
        Some((_, path)) => (Some(controller.name()), path),
        None => (None, lines().find(|(names, _)| names.is_empty())?.1),
    };
    let (root, mounted) = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut kind = after.split(' ');
        let is_it = match (kind.next()?, wanted) {
            ("cgroup2", None) => true,
            ("cgroup", Some(name)) => kind.nth(1)?.split(',').any(|option| option == name),
            _ => false,
        };
        let mut fields = before.split(' ').skip(3);
        is_it.then_some((fields.next()?, fields.next()?))
    })?;
    let below = Path::new(path).strip_prefix(root).ok()?;
    let dir = Path::new(mounted).join(below);
    if wanted.is_some() {
        return Some(Place { dir, is_v2: false });
    }
    // A group with processes may not have children with limits, but for the root.
    let beside = if below == Path::new("") { dir } else { dir.parent()?.to_owned() };
    Some(Place { dir: beside, is_v2: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "5:pids:/a\n4:memory:/box/x\n1:cpu,cpuacct:/\n0::/\n";
    const V1_MOUNTS: &str = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        31 24 0:27 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const V2: &str = "0::/user.slice/user-1.slice/user@1.service/app.slice/skep.scope\n";
    const V2_MOUNTS: &str = "40 24 0:30 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_group_is_made_where_processes_may_be() {
        let place = |own, mounts, controller| {
            place_in(own, mounts, controller)
                .map(|place| (place.dir.into_os_string().into_string().unwrap(), place.is_v2))
        };
        let at = |dir: &str, is_v2| Some((dir.to_owned(), is_v2));
        assert_eq!(place(V1, V1_MOUNTS, Controller::Memory), at("/sys/fs/cgroup/memory/x", false));
        assert_eq!(place(V1, V1_MOUNTS, Controller::Cpu), at("/sys/fs/cgroup/cpu,cpuacct/", false));
        assert_eq!(place(V1, V1_MOUNTS, Controller::Pids), None, "it is not mounted");
        let beside = "/sys/fs/cgroup/user.slice/user-1.slice/user@1.service/app.slice";
        assert_eq!(place(V2, V2_MOUNTS, Controller::Pids), at(beside, true));
        assert_eq!(place("0::/\n", V2_MOUNTS, Controller::Pids), at("/sys/fs/cgroup/", true));
        assert_eq!(place("", V2_MOUNTS, Controller::Pids), None);
    }
}
