//! The last steps in the process that becomes the command.
//!
//! It has no rights any more. INVARIANT: the order. Landlock after everything that opens files; the system call
//! filter last, since it would refuse half of this.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::Mode;
use rustix::process::umask;

use super::super::plan::Plan;
use super::super::report::{SetupError, Step};
use super::{bounds, walls};
use crate::process::os::namespace;

/// Becomes the command, or tells why not and ends. `failure` closes with a successful exec.
pub(super) fn run(plan: &Plan, mask: Mode, has_memory_cgroup: bool, failure: &OwnedFd) -> ! {
    umask(mask);
    let Err(error) = become_command(plan, has_memory_cgroup);
    if let Ok(text) = serde_json::to_vec(&error) {
        let _ = rustix::io::write(failure, &text);
    }
    namespace::leave(127)
}

fn become_command(plan: &Plan, has_memory_cgroup: bool) -> Result<Infallible, SetupError> {
    let other = |text: &str| Step::Other(text.to_owned());
    std::env::set_current_dir(Path::new(&plan.cwd))
        .map_err(|error| Step::Enter(Path::new(&plan.cwd).to_owned()).failed(error))?;
    bounds::limit(&plan.bounds, has_memory_cgroup)?;
    walls::restrict_files(plan)?;
    namespace::close_all_on_exec().map_err(|error| other("descriptors cannot be closed").failed(error))?;
    let mut command = Command::new(&plan.program);
    command.arg0(&plan.name).args(&plan.args).env_clear();
    command.envs(plan.env.iter().map(|(name, value)| (name, value)));
    walls::restrict_calls()?;
    Err(Step::Exec.failed(command.exec()))
}
